//! Red-team cases as data: `tests/redteam/*.sql`, see the README there for the format.

use std::{collections::HashMap, fs};

use crate::support::repository;

/// One attack and what a correct proxy answers.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) id: String,
    pub(super) class: String,
    /// The file, for messages.
    pub(super) protocol: Protocol,
    /// In a session of its own; otherwise one session takes case after case.
    pub(super) own_session: bool,
    /// Marks that the answer may hold, since the statement itself says them another way.
    pub(super) says: Vec<String>,
    /// Parameters of the extended protocol, as text.
    pub(super) parameters: Vec<String>,
    /// The texts of Query or Parse messages, or one script of `wire` steps.
    pub(super) steps: Vec<String>,
    /// One an answer, or one for all.
    pub(super) expected: Vec<Expected>,
}

/// How the case's text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Simple,
    Extended,
    /// The text is a script of messages and bytes.
    Wire,
}

/// What a correct proxy answers: one of these SQLSTATEs, `ok`, `closed`, or [`TENANT_ONLY`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected(pub(super) Vec<String>);

/// As the same statement on a copy that holds nothing but what the agent may see.
pub(super) const TENANT_ONLY: &str = "tenant-only";

/// Every case of every file, variants spelled out.
pub(super) fn cases() -> Vec<Case> {
    let mut files: Vec<_> = fs::read_dir(repository("tests/redteam")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cases"));
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let class = file.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        cases.extend(text.split("\n-- case: ").skip(1).flat_map(|case| variants(class, case)));
    }
    number(&mut cases);
    cases
}

/// Gives cases of one name numbers.
fn number(cases: &mut [Case]) {
    let mut times: HashMap<(String, String), usize> = HashMap::new();
    for case in cases {
        let times = times.entry((case.class.clone(), case.id.clone())).or_default();
        *times += 1;
        if *times > 1 {
            case.id = format!("{} #{times}", case.id);
        }
    }
}

/// A case's variants: one for each value of every `each`, for each protocol.
fn variants(class: &str, text: &str) -> Vec<Case> {
    let (id, rest) = text.split_once('\n').unwrap();
    let (mut header, mut body) = (Vec::new(), rest);
    while let Some((field, after)) = body.strip_prefix("-- ").and_then(|line| line.split_once('\n'))
        && let Some((name, value)) = field.split_once(": ")
        && FIELDS.contains(&name)
    {
        header.push((name, value.trim()));
        body = after;
    }
    let field = |wanted: &str| header.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| *value).collect::<Vec<_>>();
    let one = |wanted: &str| field(wanted).first().copied();
    assert!(one("source").is_some(), "{class} {id} names no source");
    let steps: Vec<String> = body.trim().split("\n-- then\n").map(|step| step.trim().to_owned()).collect();
    let protocols: &[Protocol] = match one("protocol") {
        Some("wire") => &[Protocol::Wire],
        Some("simple") => &[Protocol::Simple],
        None if field("bind").is_empty() => &[Protocol::Simple, Protocol::Extended],
        Some("extended") | None => &[Protocol::Extended],
        Some(other) => panic!("{class} {id}: no protocol {other}"),
    };
    let expected = one("expect").unwrap_or_else(|| panic!("{class} {id} expects nothing"));
    let mut variants = vec![(id.trim().to_owned(), steps, field("bind").into_iter().map(str::to_owned).collect::<Vec<_>>())];
    for each in field("each") {
        let (name, values) = each.split_once(" = ").unwrap();
        let values = values_of(values);
        variants = variants
            .into_iter()
            .flat_map(|(id, steps, parameters)| {
                let hole = format!("{{{name}}}");
                let fill = move |value: &String| {
                    let filled = |texts: &[String]| texts.iter().map(|text| text.replace(&hole, value)).collect::<Vec<_>>();
                    (format!("{id}/{}", value.chars().take(80).collect::<String>()), filled(&steps), filled(&parameters))
                };
                values.iter().map(fill).collect::<Vec<_>>()
            })
            .collect();
    }
    let case = |protocol: Protocol, (id, steps, parameters): &(String, Vec<String>, Vec<String>)| Case {
        id: format!("{id} ({protocol:?})"),
        class: class.to_owned(),
        protocol,
        own_session: steps.len() > 1 || one("session") == Some("own"),
        says: field("says").into_iter().map(str::to_owned).collect(),
        parameters: parameters.clone(),
        steps: steps.clone(),
        expected: expected.split(", ").map(expectation).collect(),
    };
    protocols.iter().flat_map(|protocol| variants.iter().map(|variant| case(*protocol, variant))).collect()
}

const FIELDS: &[&str] = &["source", "expect", "protocol", "session", "bind", "each", "says", "why"];

fn expectation(text: &str) -> Expected {
    Expected(text.split('|').map(|outcome| outcome.trim().to_owned()).collect())
}

/// `a | b | c` where ¶ is a line's end, or `@denied CLASS …`: the names of these classes of the reviewed list of functions, or `@deep`.
fn values_of(values: &str) -> Vec<String> {
    if values == "@deep" {
        return deep();
    }
    let Some(classes) = values.strip_prefix("@denied ") else {
        return values.split(" | ").flat_map(|value| list(value).unwrap_or_else(|| vec![value.replace('¶', "\n")])).collect();
    };
    let answered = list("@catalog-functions").unwrap();
    let list = fs::read_to_string(repository("src/sql/allow/data/functions.txt")).unwrap();
    let wanted: Vec<&str> = classes.split(' ').collect();
    let mut names = Vec::new();
    for class in list.split("\nclass ").skip(1) {
        let (head, body) = class.split_once('\n').unwrap();
        if head.split(' ').nth(1) == Some("deny") && wanted.contains(&head.split(' ').next().unwrap()) {
            let lines = body.lines().filter(|line| line.starts_with("  "));
            // A name with an arity is also on another list, by its other arity.
            names.extend(
                lines
                    .flat_map(str::split_whitespace)
                    .filter(|name| !name.contains('/'))
                    .map(str::to_owned)
                    .filter(|name| !answered.contains(name)),
            );
        }
    }
    assert!(!names.is_empty(), "no function in {classes}");
    names
}

/// The names of a list of what the virtual catalog answers: `@catalog-functions`, `@catalog-relations`, `@catalog-types`.
fn list(name: &str) -> Option<Vec<String>> {
    let file = name.strip_prefix("@catalog-")?;
    let text = fs::read_to_string(repository(format!("src/sql/allow/data/catalog_{file}.txt"))).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("  "));
    let mut names: Vec<String> =
        lines.flat_map(str::split_whitespace).map(|name| name.split('/').next().unwrap_or(name).to_owned()).collect();
    names.sort();
    names.dedup();
    Some(names)
}

/// Statements nested, chained or long without end.
fn deep() -> Vec<String> {
    let nest = |open: &str, core: &str, close: &str, times: usize| format!("{}{core}{}", open.repeat(times), close.repeat(times));
    let mut texts = Vec::new();
    for times in [500, 5_000, 50_000] {
        texts.extend([
            format!("select {}", nest("(", "1", ")", times)),
            nest("select (", "select 1", ")", times),
            nest("select * from (", "select 1", ") x", times),
            format!("select 1{}", " + 1".repeat(times)),
            format!("select {}1", "-".repeat(times).replace('-', "- ")),
            format!("select {}true", "not ".repeat(times)),
            format!("select {}", nest("array[", "1", "]", times)),
            format!("select {}", nest("abs(", "1", ")", times)),
            format!("select {}", nest("case when true then ", "1", " end", times)),
            format!("select 1{}", " union all select 1".repeat(times)),
            format!("select count(*) from tickets where true{}", " and true".repeat(times)),
            format!("select 1{}", "::int".repeat(times)),
            format!("select 1 where 1 in (1{})", ", 1".repeat(times)),
            nest("with a as (", "select 1", ") select 1", times),
            // Deeper comments hold a lane for over a minute today; see the README.
            format!("select {} 1", nest("/*", "", "*/", times.min(500))),
            nest("(", "select 1", ")", times),
            format!("select * from tickets a{}", " cross join tickets".repeat(times)),
            format!("select 1{}", ", 1".repeat(times)),
            "(".repeat(times),
        ]);
    }
    texts
}
