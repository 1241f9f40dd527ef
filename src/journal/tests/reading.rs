//! What was written is what is read.

use super::{
    super::{ColumnRecord, End, Filter, Kept, ParameterRecord, Verdict, split_data_row, statement, statements},
    *,
};

#[test]
fn a_statement_is_read_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut lane = open(directory.path());
    let rows = [data_row(&[Some("1"), None]), data_row(&[Some(""), Some("x")])];
    // The third run refers to what the second one shared.
    let ids: Vec<_> = (0..3).map(|_| fixture.run(&mut lane, "SELECT $1", &rows, FULL)).collect();
    for id in ids {
        let (read, kept) = statement(directory.path(), id).unwrap().unwrap();
        let decision = read.decision;
        assert_eq!(
            (decision.agent.as_str(), decision.tenant.as_deref(), decision.run.as_deref()),
            ("support_agent", Some("acme"), Some("run-7"))
        );
        assert_eq!((decision.client_text.as_slice(), decision.governed_text.as_deref()), (&b"SELECT $1"[..], Some("governed SELECT $1")));
        assert_eq!(decision.verdict, Verdict::Forwarded);
        assert_eq!(decision.relations, ["external_support.tickets"]);
        assert_eq!((decision.policy_epoch, decision.policy_digest), (3, Some(Digest([7; 32]))));
        assert_eq!(decision.parameters, [ParameterRecord { type_oid: 23, format: 0, value: Some(b"42".to_vec()) }]);
        let End::Outcome(outcome) = read.end else { panic!("no outcome") };
        assert_eq!((outcome.status_name(), outcome.rows, outcome.duration, outcome.kept), ("completed", 2, 812, Kept::Full));
        assert_eq!(outcome.columns[1], ColumnRecord { name: "subject".to_owned(), type_oid: 25, format: 0 });
        let (first, rest) = split_data_row(&kept).unwrap();
        let (second, rest) = split_data_row(rest).unwrap();
        assert_eq!((first, second, rest), (vec![Some(&b"1"[..]), None], vec![Some(&b""[..]), Some(&b"x"[..])], &b""[..]));
    }
}

#[test]
fn a_large_result_streams_in_chunks_however_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut lane = open(directory.path());
    let stream: Vec<u8> = (0..30_000).flat_map(ticket_row).collect();
    let decision = fixture.decision("SELECT *", "SELECT *");
    for (keep, kept_bytes, kept) in [
        (FULL, stream.len(), Kept::Full),
        (EvidenceRows::Full { max_bytes: 300_001 }, 300_001, Kept::Capped),
        (EvidenceRows::Sample { rows: 3 }, 3 * ticket_row(0).len(), Kept::Sample),
        (EvidenceRows::Digest, 0, Kept::Digest),
    ] {
        for piece in [7, 8192, 1 << 20] {
            let ticket = lane.decision(&decision).unwrap();
            let id = ticket.id();
            let mut recorder = lane.recorder(&ticket, keep);
            let pieces = stream.chunks(piece);
            let last = pieces.len() - 1;
            for (index, bytes) in pieces.enumerate() {
                recorder.record(&mut lane, bytes, if index == last { 30_000 } else { 0 }).unwrap();
            }
            lane.outcome(ticket, recorder, &Outcome { status: Status::Completed, duration: 1, columns: Columns::default() }).unwrap();
            let (read, rows) = statement(directory.path(), id).unwrap().unwrap();
            let End::Outcome(outcome) = read.end else { panic!("no outcome") };
            assert_eq!((outcome.kept, outcome.rows, outcome.bytes), (kept, 30_000, stream.len() as u64));
            assert!(rows == stream[..kept_bytes], "{keep:?} {piece}");
        }
    }
    drop(lane);
    assert_clean(directory.path());
}

#[test]
fn redacted_parameters_leave_count_and_digest() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut lane = open(directory.path());
    let mut decision = fixture.decision("SELECT $1", "SELECT $1");
    decision.parameters.redact = true;
    let id = lane.decision(&decision).unwrap().id();
    let (read, _) = statement(directory.path(), id).unwrap().unwrap();
    assert!(read.decision.parameters.is_empty() && read.decision.redacted.is_some_and(|(count, _)| count == 1));
}

#[test]
fn a_list_is_newest_first_filtered_and_says_how_each_ended() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let ended = |filter: &Filter| -> Vec<String> {
        let listed = statements(directory.path(), filter).unwrap().statements;
        listed
            .iter()
            .map(|statement| {
                let text = String::from_utf8_lossy(&statement.decision.client_text).into_owned();
                match &statement.end {
                    End::Outcome(outcome) => format!("{text} {}", outcome.status_name()),
                    End::Refused => format!("{text} refused"),
                    End::Running => format!("{text} running"),
                    End::Interrupted => format!("{text} interrupted"),
                }
            })
            .collect()
    };
    let config = JournalConfig { segment_bytes: 600, ..config(directory.path()) };
    let mut lane = Lane::open(&config, 0, Clock::system()).unwrap();
    fixture.run(&mut lane, "a", &[], FULL);
    drop(lane.decision(&fixture.decision("b", "b")).unwrap());
    fixture.refuse(&mut lane, "c");
    drop(lane);
    let mut lane = Lane::open(&config, 0, Clock::system()).unwrap();
    drop(lane.decision(&fixture.decision("d", "d")).unwrap());
    assert_eq!(ended(&Filter::default()), ["d running", "c refused", "b interrupted", "a completed"]);
    assert_eq!(ended(&Filter { limit: 2, ..Filter::default() }), ["d running", "c refused"]);
    assert_eq!(ended(&Filter { decision: Some("refused".to_owned()), ..Filter::default() }), ["c refused"]);
    assert_eq!(ended(&Filter { tenant: Some("globex".to_owned()), ..Filter::default() }).len(), 0);
    drop(lane);
    assert_eq!(ended(&Filter { limit: 1, ..Filter::default() }), ["d interrupted"]);
}
