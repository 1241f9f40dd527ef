//! Seeded mutation of inputs, without coverage: what `cargo fuzz` does, on the stable toolchain.

use crate::generator::Random;

/// One of the corpus, changed in one to six ways.
pub(super) fn mutated(corpus: &[Vec<u8>], words: &[&str], random: &mut Random, longest: usize) -> Vec<u8> {
    let mut bytes = random.pick(corpus).clone();
    for _ in 0..=random.below(6) {
        change(&mut bytes, corpus, words, random);
    }
    bytes.truncate(longest);
    bytes
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str], random: &mut Random) {
    const NUMBERS: [[u8; 4]; 8] = [
        [0, 0, 0, 0],
        [0, 0, 0, 4],
        [0xff, 0xff, 0xff, 0xff],
        [0x7f, 0xff, 0xff, 0xff],
        [0x80, 0, 0, 0],
        [0, 0, 0xff, 0xff],
        [0, 1, 0, 0],
        [0xff, 0xff, 0xff, 0xfb],
    ];
    let at = random.below(bytes.len() + 1);
    let stretch = |random: &mut Random, bytes: &[u8]| {
        let start = random.below(bytes.len() + 1);
        start..start + random.below((bytes.len() - start).min(64) + 1)
    };
    match random.below(12) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        2 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
        3 => drop(bytes.drain(stretch(random, bytes))),
        4 => {
            let twice = bytes[stretch(random, bytes)].to_vec();
            bytes.splice(at..at, twice);
        }
        5 => {
            let many = bytes[stretch(random, bytes)].repeat(1 + random.below(40));
            bytes.splice(at..at, many);
        }
        6 if at + 4 <= bytes.len() => bytes[at..at + 4].copy_from_slice(random.pick::<[u8; 4]>(&NUMBERS).as_slice()),
        7 | 8 => {
            let other = random.pick(corpus);
            let part = other[stretch(random, other)].to_vec();
            bytes.splice(at..at, part);
        }
        9 => bytes.truncate(at),
        _ => {
            let word = format!(" {} ", random.pick(words));
            bytes.splice(at..at, word.into_bytes());
        }
    }
}
