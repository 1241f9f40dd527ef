//! Holds the structure that `docs/ARCHITECTURE.md` describes: rooms, arrows, purity, the size of a file.
//!
//! Read from the code with comments and literals blanked out: `use crate::a::…`, `use crate::{a::…, b}` and
//! `crate::a::…` inside an expression are all arrows to room `a`.

use std::{collections::BTreeMap, collections::BTreeSet, fs, path::Path};

use crate::support::repository;

/// Which rooms a room may use. A room that is not here may not exist.
const ARROWS: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("wire", &["types"]),
    ("sql", &["types"]),
    ("proposal", &["types"]),
    ("policy", &["proposal", "sql", "types"]),
    ("govern", &["policy", "proposal", "sql", "types"]),
    ("config", &["types"]),
    ("auth", &["policy", "types", "wire"]),
    ("journal", &["govern", "policy", "sql", "types"]),
    ("store", &["proposal", "types"]),
    ("source", &["govern", "policy", "proposal", "sql", "types", "wire"]),
    ("catalog", &["source", "policy", "sql", "types"]),
    ("error", &["catalog", "auth", "source", "journal", "store", "govern", "policy", "proposal", "sql", "types", "wire"]),
    ("pipeline", &["auth", "catalog", "error", "source", "journal", "store", "govern", "policy", "proposal", "sql", "types", "wire"]),
    ("worker", &["error", "source", "store", "policy", "proposal", "types"]),
    ("frontend", &["pipeline", "auth", "error", "source", "journal", "store", "govern", "policy", "proposal", "sql", "types", "wire"]),
    ("control", &["pipeline", "auth", "error", "source", "journal", "store", "govern", "policy", "proposal", "sql", "types", "wire"]),
    (
        "app",
        &[
            "catalog", "frontend", "control", "worker", "pipeline", "auth", "config", "error", "source", "journal", "store", "govern",
            "policy", "proposal", "sql", "types", "wire",
        ],
    ),
    (
        "cli",
        &[
            "catalog", "app", "frontend", "control", "worker", "pipeline", "auth", "config", "error", "source", "journal", "store",
            "govern", "policy", "proposal", "sql", "types", "wire",
        ],
    ),
];

/// Rooms without I/O, clocks, randomness, environment and logging.
const PURE: &[&str] = &["types", "sql", "proposal", "policy", "govern"];

/// Crates and names that a pure room must not mention.
const IMPURE_NAMES: &[&str] = &[
    "tokio",
    "tracing",
    "log",
    "rand",
    "getrandom",
    "metrics",
    "tokio_postgres",
    "socket2",
    "notify",
    "SystemTime",
    "Instant",
    "println",
    "eprintln",
];

/// Modules of `std` that a pure room must not mention.
const IMPURE_STD: &[&str] = &["fs", "net", "env", "process", "thread", "io", "os"];

/// Lines a file may have.
const FILE_LINES: usize = 600;

struct SourceFile {
    path: String,
    room: String,
    text: String,
    code: String,
}

#[test]
fn arrows_between_rooms_go_one_way() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for file in source_files() {
        let Some(rooms) = allowed.get(file.room.as_str()) else {
            wrong.push(format!("{}: room `{}` is not in the table", file.path, file.room));
            continue;
        };
        for used in second_segments(&file.code, "crate") {
            if used != file.room && !rooms.contains(&used.as_str()) {
                wrong.push(format!("{}: `{}` may not use `{used}`", file.path, file.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_rooms_has_no_cycle() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    while placed.len() < allowed.len() {
        let next = allowed.iter().find(|(room, uses)| !placed.contains(**room) && uses.iter().all(|used| placed.contains(used)));
        placed.insert(next.expect("some rooms use each other").0);
    }
}

#[test]
fn pure_rooms_do_no_io() {
    let mut wrong = Vec::new();
    for file in source_files().into_iter().filter(|file| PURE.contains(&file.room.as_str())) {
        let words: BTreeSet<&str> = file.code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        wrong.extend(IMPURE_NAMES.iter().filter(|name| words.contains(**name)).map(|name| format!("{}: mentions {name}", file.path)));
        let std = second_segments(&file.code, "std");
        wrong.extend(
            IMPURE_STD.iter().filter(|module| std.contains(**module)).map(|module| format!("{}: mentions std::{module}", file.path)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let wrong: Vec<String> = source_files()
        .into_iter()
        .filter_map(|file| {
            let room_door = file.path == format!("src/{}/mod.rs", file.room);
            if !file.text.starts_with("//!") {
                Some(format!("{}: does not open with `//!`", file.path))
            } else if room_door && !file.text.contains("May use") {
                Some(format!("{}: does not say `May use`", file.path))
            } else {
                None
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<String> = rust_files("src")
        .into_iter()
        .chain(rust_files("tests"))
        .filter_map(|(path, text)| {
            (text.lines().count() > FILE_LINES).then(|| format!("{path}: {} lines, {FILE_LINES} at most", text.lines().count()))
        })
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_test_is_switched_off_and_no_lint_is_waved_through() {
    let mut wrong = Vec::new();
    for (path, text) in rust_files("src").into_iter().chain(rust_files("tests")) {
        let code = blank_comments_and_literals(&text);
        for attribute in ["#[ignore", "#[allow", "#![allow"] {
            if code.contains(attribute) {
                wrong.push(format!("{path}: `{attribute}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arrows_are_read_from_every_spelling() {
    let code = blank_comments_and_literals(
        "use crate::sql::Footprint; // crate::comment::x\nuse crate::{policy::{Agent, PolicySet}, types::Digest, error};\n\
         /* crate::block::x */ fn f<'a>(x: &'a str) { let s = \"crate::text\"; let c = '\"'; r#\"crate::raw \"# ; crate::wire::header(s) }\npub(crate) fn g() {}",
    );
    let found: Vec<String> = second_segments(&code, "crate").into_iter().collect();
    assert_eq!(found, ["error", "policy", "sql", "types", "wire"]);
}

fn source_files() -> Vec<SourceFile> {
    rust_files("src")
        .into_iter()
        .filter(|(path, _)| path != "src/lib.rs" && path != "src/main.rs")
        .map(|(path, text)| {
            let inside = path.trim_start_matches("src/");
            let room = inside.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            let code = blank_comments_and_literals(&text);
            SourceFile { path, room, text, code }
        })
        .collect()
}

/// Every `.rs` file under a folder of the repository: path from the root, text.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(repository("")).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&repository(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no Rust file under {folder}");
    found
}

/// The names right after `root::`, in a plain path or at the first level of a `{…}` group.
fn second_segments(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in code.match_indices(root) {
        let glued = code[..start].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let Some(rest) = code[start + root.len()..].strip_prefix("::").filter(|_| !glued) else { continue };
        match rest.trim_start().strip_prefix('{') {
            Some(group) => found.extend(first_level(group)),
            None => found.extend(identifier(rest)),
        }
    }
    found
}

/// The leading identifiers of a group's members, its closing brace somewhere in `group`.
fn first_level(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut members = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => members.push(String::new()),
            c => members.last_mut().unwrap().push(c),
        }
    }
    members.iter().filter_map(|member| identifier(member)).collect()
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The code with comments, strings and characters blanked out, lifetimes kept.
fn blank_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_or_comment(rest, &code);
        if length > 0 {
            code.push(' ');
            rest = &rest[length..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// Bytes of the literal or comment that `rest` begins with; zero if it begins with neither.
fn literal_or_comment(rest: &str, before: &str) -> usize {
    let in_word = before.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    let raw = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r')).filter(|_| !in_word);
    if let Some(raw) = raw {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let body = rest.len() - raw.len() + hashes + 1;
            return rest[body..].find(&close).map_or(rest.len(), |end| body + end + close.len());
        }
    }
    match rest.as_bytes()[0] {
        b'"' => quoted(rest, b'"'),
        // A character, unless it is a lifetime: `'a` without a closing quote right after.
        b'\'' if rest[1..].starts_with('\\') || rest[1..].chars().nth(1) == Some('\'') => quoted(rest, b'\''),
        _ => 0,
    }
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}
