//! Reopening after every way a process can stop.

use std::fs::{self, File};

use super::{
    super::{JournalError, Refused},
    *,
};

#[test]
fn a_lane_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    for round in 0..5 {
        let mut lane = open(directory.path());
        // Ids sort by time: to the millisecond from one opening to the next, one after the other within one.
        let mut last = None;
        for _ in 0..3 {
            let id = fixture.run(&mut lane, "SELECT 1", &[ticket_row(round)], FULL);
            assert!(last < Some(id));
            last = Some(id);
        }
        fixture.refuse(&mut lane, "UPDATE t SET a = 1");
    }
    let text = fs::read(directory.path().join("lane-0000/head")).unwrap();
    assert_eq!(text, b"00000000000000000061\n");
}

/// A lane that stopped after a few statements, as a kill leaves it: nothing says how far it was durable.
fn stopped(directory: &Path) -> PathBuf {
    let fixture = Fixture::new();
    let mut lane = open(directory);
    for row in 0..3 {
        fixture.run(&mut lane, "SELECT id, subject FROM tickets", &[ticket_row(row)], FULL);
    }
    drop(lane);
    fs::remove_file(directory.join("lane-0000/head")).unwrap();
    directory.join("lane-0000/00000001.seg")
}

#[test]
fn a_file_cut_anywhere_is_repaired_and_says_so() {
    let origin = tempfile::tempdir().unwrap();
    let whole = fs::read(stopped(origin.path())).unwrap();
    let (_, entries) = layout(origin.path()).remove(0);
    // Thousands of opens sync thousands of times: in memory where there is such a file system.
    let memory = Path::new("/dev/shm");
    for length in 0..=whole.len() {
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let lane = directory.path().join("lane-0000");
        fs::create_dir(&lane).unwrap();
        fs::write(lane.join("00000001.seg"), &whole[..length]).unwrap();
        let mut lane = open(directory.path());
        Fixture::new().run(&mut lane, "SELECT 2", &[], FULL);
        drop(lane);
        let report = assert_clean(directory.path());
        let at_a_boundary = entries.iter().any(|(_, extent)| extent.end == length as u64);
        assert_eq!(report.notes.len(), usize::from(!at_a_boundary), "{length}: {:?}", report.notes);
        let aside = fs::read_dir(directory.path().join("lane-0000")).unwrap().map(|item| item.unwrap().path());
        let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains(".torn-")).collect();
        assert_eq!(aside.len(), usize::from(!at_a_boundary));
        let kept = entries.iter().map(|(_, extent)| extent.end).filter(|end| *end <= length as u64).max().unwrap_or(0);
        for path in aside {
            let start = usize::try_from(kept).unwrap();
            assert_eq!(fs::read(path).unwrap(), whole[start..length], "what was dropped is kept beside");
        }
    }
}

#[test]
fn a_cut_below_what_was_durable_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = stopped(directory.path());
    let (_, entries) = layout(directory.path()).remove(0);
    let (last, extent) = entries.last().cloned().unwrap();
    fs::write(directory.path().join("lane-0000/head"), format!("{last:020}\n")).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(extent.start).unwrap();
    let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
    assert!(matches!(&refused, JournalError::Chain { entry, .. } if *entry == last), "{refused}");
    let report = verified(directory.path(), &[]);
    assert!(report.findings[0].reason.contains("its last entries are gone"), "{:?}", report.findings);
}

#[test]
fn a_broken_chain_in_the_middle_refuses_to_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = stopped(directory.path());
    let (_, entries) = layout(directory.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let (sequence, extent) = entries[3].clone();
    bytes[usize::try_from(extent.start).unwrap() + 60] ^= 1;
    fs::write(&path, bytes).unwrap();
    let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
    let JournalError::Chain { entry, offset, .. } = refused else { panic!("{refused}") };
    assert_eq!((entry, offset), (sequence, extent.start));
}

#[test]
fn a_segment_that_never_got_its_first_entry_is_set_aside() {
    for torn in [&b""[..], b"PGW", b"PGWKTEV1", b"PGWKTEV1\0\0\0\x70\x01\x01"] {
        let directory = tempfile::tempdir().unwrap();
        stopped(directory.path());
        fs::write(directory.path().join("lane-0000/00000002.seg"), torn).unwrap();
        drop(open(directory.path()));
        assert_eq!(assert_clean(directory.path()).notes.len(), 1);
    }
}

#[test]
fn a_lane_rotates_and_the_chain_goes_through_its_segments() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let config = JournalConfig { segment_bytes: 4096, ..config(directory.path()) };
    for _ in 0..2 {
        let mut lane = Lane::open(&config, 0, Clock::system()).unwrap();
        for row in 0..100 {
            fixture.run(&mut lane, "SELECT id, subject FROM tickets", &[ticket_row(row)], FULL);
        }
    }
    let report = assert_clean(directory.path());
    assert!(report.segments > 8, "{report:?}");
    assert_eq!((report.statements, report.rows, report.interrupted), (200, 200, 0));
}

#[test]
fn one_lane_has_one_writer() {
    let directory = tempfile::tempdir().unwrap();
    let lane = open(directory.path());
    let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
    assert!(matches!(refused, JournalError::Locked { .. }), "{refused}");
    Lane::open(&config(directory.path()), 1, Clock::system()).unwrap();
    drop(lane);
    open(directory.path());
}

#[test]
fn one_lane_has_one_writer_also_when_its_lock_file_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let mut lane = open(directory.path());
    Fixture::new().run(&mut lane, "SELECT 1", &[], FULL);
    fs::remove_file(directory.path().join("lane-0000/lock")).unwrap();
    let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
    assert!(matches!(refused, JournalError::Locked { .. }), "{refused}");
    drop(lane);
    open(directory.path());
}

#[test]
fn a_head_that_cannot_be_read_is_not_a_lane_of_which_nothing_was_durable() {
    let directory = tempfile::tempdir().unwrap();
    stopped(directory.path());
    let head = directory.path().join("lane-0000/head");
    for damaged in [&b"0000000000000000001x\n"[..], b"\xff\n", b"\n", b"-1\n", b"17", b"99999999999999999999\n"] {
        fs::write(&head, damaged).unwrap();
        let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
        assert!(matches!(refused, JournalError::Head { .. }), "{refused}");
        let report = verified(directory.path(), &[]);
        assert!(report.findings[0].reason.contains("does not say how far"), "{:?}", report.findings);
    }
    fs::remove_file(&head).unwrap();
    fs::create_dir(&head).unwrap();
    let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
    assert!(matches!(refused, JournalError::Io { action: "read", .. }), "{refused}");
    assert!(verify(directory.path(), &[]).is_err());
    fs::remove_dir(&head).unwrap();
    // A power loss kept it from the disk.
    for lost in [&b""[..], &[0; 21]] {
        fs::write(&head, lost).unwrap();
        drop(open(directory.path()));
        assert_clean(directory.path());
    }
}

#[tokio::test]
async fn strict_waits_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let config = JournalConfig { group_commit: Duration::from_hours(1), ..config(directory.path()) };
    let mut lane = Lane::open(&config, 0, Clock::system()).unwrap();
    let fixture = Fixture::new();
    let refused = Refused { sqlstate: "25006", message: "no" };
    let entry = lane.refusal(&fixture.decision("DELETE FROM t", ""), &refused).unwrap();
    let gauge = lane.gauge();
    assert!(gauge.status().unsynced_bytes > 0);
    lane.durable(entry.position).await.unwrap();
    assert_eq!(gauge.status().unsynced_bytes, 0);
    assert_eq!((gauge.status().entries, gauge.status().errors), (2, 0));
}

#[tokio::test]
async fn a_deleted_segment_fails_closed() {
    let directory = tempfile::tempdir().unwrap();
    let mut lane = open(directory.path());
    let fixture = Fixture::new();
    fs::remove_file(directory.path().join("lane-0000/00000001.seg")).unwrap();
    let refused = Refused { sqlstate: "25006", message: "no" };
    let entry = lane.refusal(&fixture.decision("DELETE FROM t", ""), &refused).unwrap();
    assert!(matches!(lane.durable(entry.position).await, Err(JournalError::Sync { .. })));
    assert!(lane.refusal(&fixture.decision("DELETE FROM t", ""), &refused).is_err());
    assert!(lane.gauge().status().errors > 0);
}
