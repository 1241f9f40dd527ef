//! Journal files.

use std::{fs, path::Path};

use pgwicket::journal::{Anchor, Filter, Report, statement, statements, verify};

/// No bytes make a reader panic or read without end; what is listed can be read one by one.
pub(crate) fn run(bytes: &[u8]) {
    with(bytes, |journal| {
        let report = verify(journal, &[]).unwrap();
        let listing = statements(journal, &Filter::default()).unwrap();
        assert!(listing.statements.len() as u64 <= report.statements + report.findings.len() as u64 + 64, "{report:?}");
        for listed in listing.statements.iter().take(8) {
            assert!(statement(journal, listed.id).unwrap().is_some(), "{:?} is listed and cannot be read", listed.id);
        }
    });
}

/// The ends of a sound journal of these bytes, for [`tampered`].
pub(crate) fn anchors(bytes: &[u8]) -> Vec<Anchor> {
    let report = with(bytes, |journal| verify(journal, &[]).unwrap());
    assert!(report.findings.is_empty() && report.statements > 0, "{report:?}");
    report.heads
}

/// A changed copy of a sound journal that still verifies against the sound one's ends tells the same of every statement.
pub(crate) fn tampered(sound: &[u8], anchors: &[Anchor], changed: &[u8]) {
    let said = |journal: &Path| -> (Report, Vec<String>) {
        let listed = statements(journal, &Filter::default()).unwrap().statements;
        let told = listed.iter().map(|one| format!("{one:?} {:?}", statement(journal, one.id).unwrap().map(|(_, rows)| rows)));
        (verify(journal, anchors).unwrap(), told.collect())
    };
    let (report, after) = with(changed, said);
    if report.findings.is_empty() {
        let (_, before) = with(sound, said);
        // What is written behind the anchored end is not covered by it.
        assert!(before.iter().all(|statement| after.contains(statement)), "a change was not found:\n{before:?}\n{after:?}");
    }
}

fn with<T>(bytes: &[u8], then: impl FnOnce(&Path) -> T) -> T {
    let directory = tempfile::tempdir().unwrap();
    let lane = directory.path().join("lane-0000");
    fs::create_dir(&lane).unwrap();
    fs::write(lane.join("00000001.seg"), bytes).unwrap();
    then(directory.path())
}
