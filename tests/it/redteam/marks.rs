//! What must not arrive: the marks of `tests/redteam/source.sql`, in the forms an answer could carry them.

/// The marks found in what was received, less those that were sent.
pub(super) fn found(received: &[u8], sent: &[u8], says: &[String]) -> Vec<&'static str> {
    let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (mut received_text, sent_text) = (lower(received), lower(sent));
    for island in ISLANDS {
        received_text = received_text.replace(island, "");
    }
    let text = TEXT
        .iter()
        .copied()
        .filter(|mark| received_text.contains(mark) && !sent_text.contains(mark) && !says.iter().any(|said| said == mark));
    let binary = BINARY.iter().filter(|(_, mark)| holds(received, mark)).map(|(name, _)| *name);
    text.chain(binary).collect()
}

/// Whether bytes hold a mark.
pub(super) fn holds(bytes: &[u8], mark: &[u8]) -> bool {
    bytes.windows(mark.len()).any(|window| window == mark)
}

/// PostgreSQL's own lists of time zones and collations know them.
const ISLANDS: &[&str] = &["atlantic/canary", "canary islands"];

/// In lower case: as text, reversed, hexadecimal, base64.
const TEXT: &[&str] = &[
    "canary",
    "yranac",
    "43414e415259",
    "q0foqvjz",
    "2054847098",
    "2.054847098",
    "8907484502",
    "8825501086245354106",
    "7777-07-07",
    "ca11a7ca",
    "zzhid",
];

/// As the binary formats of int4 and int8, numeric, uuid carry them.
const BINARY: &[(&str, &[u8])] = &[
    ("int4 7a7a7a7a", &[0, 0, 0, 4, 0x7a, 0x7a, 0x7a, 0x7a]),
    ("numeric 2054847098", &[0, 20, 0x15, 0x6c, 0x1b, 0xba]),
    ("uuid ca11a7ca", &[0xca, 0x11, 0xa7, 0xca]),
];
