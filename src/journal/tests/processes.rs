//! Real processes: killed while they append, out of space, and a second reader in another language.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
};

use super::{
    super::{End, JournalError, statement},
    *,
};

const DIRECTORY: &str = "PGWICKET_TEST_JOURNAL";

#[expect(clippy::disallowed_methods, reason = "how a test tells its child process what to do")]
fn told() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Runs one test of this binary as a child process; `wrapper` is a shell line that ends in `exec "$@"`.
fn child(test: &str, directory: &Path, wrapper: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", wrapper, "sh"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("journal::tests::processes::{test}"), "--nocapture", "--test-threads=1"]);
    command.env(DIRECTORY, directory).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Appends until it is killed, and says each statement that it has recorded. Does nothing as a test of its own.
#[test]
fn appender() {
    let Some(directory) = told() else { return };
    let fixture = Fixture::new();
    let mut lane = Lane::open(&JournalConfig { segment_bytes: 1 << 16, ..config(&directory) }, 0, Clock::system()).unwrap();
    let rows: Vec<_> = (0..200).map(ticket_row).collect();
    for turn in 0.. {
        let id = fixture.run(&mut lane, &format!("SELECT {}", turn % 7), &rows[..turn % 200], FULL);
        std::io::stdout().write_all(format!("{id}\n").as_bytes()).unwrap();
    }
}

#[test]
fn a_kill_loses_no_acknowledged_statement() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..25u64 {
        let mut child = child("appender", directory.path(), "exec \"$@\"");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter(|line| line.starts_with("ev_"));
        let mut ids: Vec<String> = lines.by_ref().take(1).collect();
        if round == 0 {
            let refused = Lane::open(&config(directory.path()), 0, Clock::system()).unwrap_err();
            assert!(matches!(refused, JournalError::Locked { .. }), "two processes on one lane");
        }
        std::thread::sleep(Duration::from_micros(round * 791));
        child.kill().unwrap();
        child.wait().unwrap();
        ids.extend(lines.filter(|line| line.len() == 29));
        drop(open(directory.path()));
        assert_clean(directory.path());
        acknowledged += ids.len();
        for id in ids.iter().rev().take(3).chain(ids.first()) {
            let (read, _) = statement(directory.path(), id.parse().unwrap()).unwrap().unwrap();
            assert!(matches!(read.end, End::Outcome(_)), "{id}");
        }
    }
    let report = assert_clean(directory.path());
    assert!(report.statements - report.interrupted >= acknowledged as u64 && report.interrupted <= 25, "{report:?} {acknowledged}");
}

/// Appends past the file size limit it was started with.
#[test]
fn fills_the_disk() {
    let Some(directory) = told() else { return };
    let fixture = Fixture::new();
    let mut lane = open(&directory);
    let long = "x".repeat(5_000);
    let refused = (0..100).find_map(|turn| lane.decision(&fixture.decision(&format!("{turn} {long}"), "")).err()).unwrap();
    assert!(matches!(refused, JournalError::Io { .. }), "{refused}");
    assert_eq!(lane.gauge().status().errors, 1);
    fixture.run(&mut lane, "a small one fits", &[], FULL);
    drop(lane);
    std::io::stdout().write_all(b"did it\n").unwrap();
}

#[test]
fn a_full_disk_fails_the_statement_and_leaves_no_half_entry() {
    let directory = tempfile::tempdir().unwrap();
    let child = child("fills_the_disk", directory.path(), "trap '' XFSZ; ulimit -f 128; exec \"$@\"");
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("did it"), "{output:?}");
    let report = assert_clean(directory.path());
    assert_eq!(report.notes.len(), 0, "{:?}", report.notes);
    assert_eq!(report.statements - report.interrupted, 1);
}

#[test]
fn a_second_reader_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let config = JournalConfig { segment_bytes: 1 << 15, ..config(directory.path()) };
    for number in 0..2 {
        let mut lane = Lane::open(&config, number, Clock::system()).unwrap();
        let rows: Vec<_> = (0..20_000).map(ticket_row).collect();
        for turn in 0..40 {
            fixture.run(&mut lane, "SELECT $1", &rows[..turn], FULL);
        }
        fixture.run(&mut lane, "SELECT *", &rows, FULL);
        fixture.refuse(&mut lane, "DELETE");
        drop(lane.decision(&fixture.decision("SELECT", "SELECT")).unwrap());
    }
    let second = || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/verify-evidence.py");
        let output = Command::new("python3").arg(script).arg(directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let report = assert_clean(directory.path());
    let mut expected: Vec<String> = report.heads.iter().map(Anchor::to_string).collect();
    expected.push(format!("{} statements, {} without outcome, {} rows\n", report.statements, report.interrupted, report.rows));
    assert_eq!(second(), (Some(0), expected.join("\n")));
    let (path, entries) = layout(directory.path()).remove(1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(entries[1].1.start).unwrap() + 70] ^= 4;
    std::fs::write(path, bytes).unwrap();
    let found = verified(directory.path(), &[]).findings;
    let (code, text) = second();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("entry {}", found[0].entry.unwrap())), "{text}");
}
