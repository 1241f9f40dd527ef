//! A journal that someone changed.

use std::fs;

use proptest::prelude::*;

use super::*;

/// A statement of a random journal.
#[derive(Debug, Clone)]
enum Act {
    Read { text: String, rows: usize, keep: EvidenceRows },
    Refuse { text: String },
    Interrupt,
}

fn act() -> impl Strategy<Value = Act> {
    let keep = prop_oneof![
        Just(FULL),
        Just(EvidenceRows::Digest),
        (0..5u64).prop_map(|rows| EvidenceRows::Sample { rows }),
        (0..400u64).prop_map(|max_bytes| EvidenceRows::Full { max_bytes }),
    ];
    prop_oneof![
        4 => ("[a-c ]{0,40}", 0..30usize, keep).prop_map(|(text, rows, keep)| Act::Read { text, rows, keep }),
        1 => "[a-c ]{0,40}".prop_map(|text| Act::Refuse { text }),
        1 => Just(Act::Interrupt),
    ]
}

fn write(directory: &Path, acts: &[Act]) {
    let fixture = Fixture::new();
    let config = JournalConfig { segment_bytes: 3000, ..config(directory) };
    let mut lane = Lane::open(&config, 0, Clock::system()).unwrap();
    for act in acts {
        match act {
            Act::Read { text, rows, keep } => {
                let rows: Vec<_> = (0..*rows).map(ticket_row).collect();
                fixture.run(&mut lane, text, &rows, *keep);
            }
            Act::Refuse { text } => {
                fixture.refuse(&mut lane, text);
            }
            Act::Interrupt => drop(lane.decision(&fixture.decision("SELECT", "SELECT")).unwrap()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_flipped_byte_is_found_and_named(
        acts in prop::collection::vec(act(), 1..25),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8u32), 12),
    ) {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &acts);
        let clean = assert_clean(directory.path());
        let interrupted = acts.iter().filter(|act| matches!(act, Act::Interrupt)).count() as u64;
        prop_assert_eq!((clean.statements, clean.interrupted), (acts.len() as u64, interrupted));
        let files = layout(directory.path());
        for (file, place, bit) in flips {
            let (path, entries) = file.get(&files);
            let mut bytes = fs::read(path).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            fs::write(path, &bytes).unwrap();
            let report = verified(directory.path(), &[]);
            let named = report.findings.first().map(|finding| (finding.file.clone(), finding.entry));
            // A flip in the file's first bytes hides the whole file, from its first entry on.
            let hit = entries.iter().find(|(_, extent)| extent.contains(&(place as u64))).or(entries.first()).unwrap();
            prop_assert_eq!(named, Some((path.clone(), Some(hit.0))), "byte {} of {}: {:?}", place, path.display(), report.findings);
            prop_assert!(report.findings.len() <= 1, "consequences are not findings: {:?}", report.findings);
            bytes[place] ^= 1 << bit;
            fs::write(path, &bytes).unwrap();
        }
    }
}

#[test]
fn deleted_last_entries_are_found_by_an_anchor() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = Fixture::new();
    let mut lane = open(directory.path());
    fixture.refuse(&mut lane, "one");
    fixture.refuse(&mut lane, "two");
    drop(lane);
    let anchors = verified(directory.path(), &[]).heads;
    let copies: Vec<Anchor> = anchors.iter().map(|anchor| anchor.to_string().parse().unwrap()).collect();
    assert_eq!(anchors, copies);
    assert!(verified(directory.path(), &anchors).findings.is_empty());
    let (path, entries) = layout(directory.path()).remove(0);
    let (_, last) = entries.last().unwrap();
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(last.start).unwrap();
    fs::remove_file(directory.path().join("lane-0000/head")).unwrap();
    assert!(verified(directory.path(), &[]).findings.is_empty(), "a chain alone cannot show that its end is missing");
    let found = verified(directory.path(), &anchors).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].reason.contains("was anchored"));
}

#[test]
fn a_rewritten_lane_is_found_by_an_anchor() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for (directory, text) in [(&directory, "one"), (&other, "two")] {
        Fixture::new().refuse(&mut open(directory.path()), text);
    }
    let anchors = verified(directory.path(), &[]).heads;
    let found = verified(other.path(), &anchors).findings;
    assert!(found.len() == 1 && found[0].reason.contains("rewritten"), "{found:?}");
    fs::remove_dir_all(other.path().join("lane-0000")).unwrap();
    assert!(verified(other.path(), &anchors).findings[0].reason.contains("gone"));
}
