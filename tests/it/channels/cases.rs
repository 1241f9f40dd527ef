//! `cases.txt`: families of statements, and the ways in which one is asked.

use std::{collections::BTreeMap, fs};

use crate::support::repository;

/// The families of a channel's file.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) options: Options,
    pub(super) cases: Vec<String>,
}

/// What is said of a family.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own in the file of cases")]
pub(super) struct Options {
    /// Several statements, `;;` between them.
    pub(super) script: bool,
    /// No setting may move the answer.
    pub(super) settings: bool,
    /// There is no copy to compare with.
    pub(super) nocopy: bool,
    /// Nothing received may hold a hidden value; answers may differ.
    pub(super) marks: bool,
    /// An error that both twins may give where the copy answers.
    pub(super) allowed: Option<String>,
    /// The first version that has what is asked.
    pub(super) since: u32,
}

/// A way of asking one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Door {
    Simple,
    Extended,
    Parameters,
    Copy,
    Cursor,
    Prepared,
    Bound,
}

/// All of them.
pub(super) const DOORS: [Door; 7] = [Door::Simple, Door::Extended, Door::Parameters, Door::Copy, Door::Cursor, Door::Prepared, Door::Bound];

/// How often a prepared statement runs: PostgreSQL decides between its plans after the fifth time.
const EXECUTIONS: usize = 7;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Simple(String),
    /// Parse, Bind, Describe, Execute, with these parameters of no declared type.
    Extended(String, Vec<String>),
    /// Parse of a named statement, with these types of its parameters.
    Parse(String, Vec<u32>),
    /// Bind, Describe, Execute of that statement.
    Bind(Vec<Option<String>>),
    /// Close of that statement.
    Close,
    /// By a writer of another tenant, of this number.
    Writer(usize, String),
}

/// The families, in the file's order.
pub(super) fn families() -> Vec<Family> {
    let text = fs::read_to_string(repository("tests/it/channels/cases.txt")).unwrap();
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if let Some(head) = line.strip_prefix("== ") {
            let (name, options) = head.split_once(" [").unwrap_or((head, ""));
            families.push(Family { name: name.to_owned(), options: Options::read(options.trim_end_matches(']')), cases: Vec::new() });
        } else {
            families.last_mut().unwrap().cases.push(line.to_owned());
        }
    }
    families
}

/// `open.txt`: families that are known to tell today on this version, and why.
pub(super) fn open(version: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository("tests/it/channels/open.txt")).unwrap();
    let mut open = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(": ").unwrap();
        let (name, since) = name.split_once(" since ").map_or((name, 0), |(name, since)| (name, since.parse().unwrap()));
        if since <= version {
            open.insert(name.to_owned(), reason.to_owned());
        }
    }
    open
}

impl Options {
    fn read(text: &str) -> Self {
        let mut options = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=') {
                None if word == "script" => options.script = true,
                None if word == "settings" => options.settings = true,
                None if word == "nocopy" => options.nocopy = true,
                None if word == "marks" => options.marks = true,
                Some(("allow", code)) => options.allowed = Some(code.to_owned()),
                Some(("since", version)) => options.since = version.parse().unwrap(),
                _ => panic!("no option: {word}"),
            }
        }
        options
    }
}

/// What is sent for this case in this way; `None` where there is no such way.
pub(super) fn steps(case: &str, door: Door, script: bool) -> Option<Vec<Step>> {
    if script && door == Door::Bound {
        return bound_script(case);
    }
    if script {
        let steps = case.split(";;").map(str::trim).map(|step| match step.split_once("> ") {
            Some(("w1", text)) => Step::Writer(0, text.to_owned()),
            Some(("w2", text)) => Step::Writer(1, text.to_owned()),
            _ => Step::Simple(step.to_owned()),
        });
        return (door == Door::Simple).then(|| steps.collect());
    }
    let (literal, numbered, values) = constants(case);
    let reads = !case.starts_with("update") && !case.starts_with("delete");
    Some(match door {
        Door::Simple => vec![Step::Simple(literal)],
        Door::Extended => vec![Step::Extended(literal, Vec::new())],
        Door::Parameters if values.is_empty() => return None,
        Door::Parameters => vec![Step::Extended(numbered, values.into_iter().map(|(value, _)| value).collect())],
        Door::Copy | Door::Cursor | Door::Prepared | Door::Bound if !reads => return None,
        Door::Copy => vec![Step::Simple(format!("copy ({literal}) to stdout"))],
        Door::Cursor => ["begin", &format!("declare c cursor for {literal}"), "fetch all from c", "rollback"]
            .map(|text| Step::Simple(text.to_owned()))
            .to_vec(),
        Door::Prepared => {
            let given = values.iter().map(|(_, literal)| literal.as_str()).collect::<Vec<_>>().join(", ");
            let given = if given.is_empty() { given } else { format!("({given})") };
            let mut steps = vec![Step::Simple(format!("prepare p as {numbered}"))];
            steps.extend(std::iter::repeat_n(Step::Simple(format!("execute p{given}")), EXECUTIONS));
            steps.push(Step::Simple("deallocate all".to_owned()));
            steps
        }
        Door::Bound => {
            let given = values.into_iter().map(|(value, _)| Some(value)).collect();
            let mut steps = vec![Step::Parse(numbered, Vec::new())];
            steps.extend(std::iter::repeat_n(Step::Bind(given), EXECUTIONS));
            steps.push(Step::Close);
            steps
        }
    })
}

/// A script of PREPARE, EXECUTE and DEALLOCATE as the extended protocol says it; `None` of one that says anything else.
fn bound_script(case: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for step in case.split(";;").map(str::trim) {
        if let Some((ty, text)) = step.strip_prefix("prepare q (").and_then(|rest| rest.split_once(") as ")) {
            let oid = match ty {
                "int" => 23,
                "text" => 25,
                "numeric" => 1700,
                _ => panic!("no such type: {ty}"),
            };
            steps.push(Step::Parse(text.to_owned(), vec![oid]));
        } else if let Some(value) = step.strip_prefix("execute q(").and_then(|rest| rest.strip_suffix(')')) {
            steps.push(Step::Bind(vec![(value != "null").then(|| value.trim_matches('\'').to_owned())]));
        } else if step == "deallocate q" {
            steps.push(Step::Close);
        } else {
            return None;
        }
    }
    Some(steps)
}

/// The case with literals, with numbered parameters, and these: as text and as a literal.
fn constants(case: &str) -> (String, String, Vec<(String, String)>) {
    let (mut literal, mut numbered, mut values) = (String::new(), String::new(), Vec::new());
    let mut rest = case;
    while let Some((before, after)) = rest.split_once('⟨') {
        let (constant, after) = after.split_once('⟩').unwrap();
        let (value, written) = match constant.strip_prefix("int:") {
            Some(number) => (number, number.to_owned()),
            None => (constant, format!("'{constant}'")),
        };
        literal.push_str(before);
        literal.push_str(&written);
        values.push((value.to_owned(), written));
        numbered.push_str(before);
        numbered.push('$');
        numbered.push_str(&values.len().to_string());
        rest = after;
    }
    literal.push_str(rest);
    numbered.push_str(rest);
    (literal, numbered, values)
}
