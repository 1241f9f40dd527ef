//! `sqlsmith` as a second generator: its queries through pgwicket, and on tables that hold the agent's rows alone.
//!
//! It reads the catalogs of what it is pointed at, which pgwicket does not show; so it is shown a database with the alias
//! relations and the reviewed functions (`shim.sql`), and what it would have sent there is sent through pgwicket.
//!
//! `PGWICKET_SQLSMITH=n` asks it for so many queries, `PGWICKET_SEED=s` for others.

use std::{collections::BTreeMap, fmt::Write as _, fs, process::Command};

use pgwicket::{govern::RefusalCode, policy::PolicySet};

use crate::{
    attack::judge::{Judge, Sources, Verdict},
    support::{AGENT, Cluster, Database, Message, Pgwicket, Wire, governed, number, repository, run},
};

/// Queries of a plain `cargo test` and of `scripts/test`.
const QUERIES: u64 = 300;

/// What hidden columns and other tenants' rows hold in `data.sql`.
const MARKS: &[&[u8]] = &[b"own 1", b"other 1"];

/// Operands of the types that operators are declared with and no value has: sqlsmith writes NULLs of them.
const PSEUDO_TYPES: &[(&str, &str)] = &[
    ("anyarray", "cast(null as int4[])"),
    ("anycompatiblearray", "cast(null as int4[])"),
    ("anyelement", "cast(null as int4)"),
    ("anycompatible", "cast(null as int4)"),
    ("anynonarray", "cast(null as int4)"),
    ("anycompatiblenonarray", "cast(null as int4)"),
    ("anyenum", "cast(null as text)"),
    ("anyrange", "cast(null as int4range)"),
    ("anymultirange", "cast(null as int4multirange)"),
];

#[test]
fn what_sqlsmith_asks_is_answered_as_by_a_tenant_only_copy() {
    // The cluster's roles come with the support desk.
    let (_desk, _reference) = (Cluster::desk(), Cluster::tenant_copy());
    let [source, copy, shown] = [("one", "one"), ("copy", "copy"), ("copy", "shown")].map(|(side, name)| filled(side, name));
    copy.sql(&format!("alter database {} set statement_timeout = '250ms'", copy.name));
    shim(&shown);
    let policy = repository("tests/it/generator/policy.yaml");
    let text = fs::read_to_string(&policy).unwrap().replace("statement_timeout: 2s", "statement_timeout: 250ms");
    let pgwicket = Pgwicket::start_with(&source, &text);
    let mut asked = Asked {
        policy: governed::policy_at(&source, &policy),
        judge: None,
        through: pgwicket.login().wire().unwrap(),
        copy: copy.login(AGENT).wire().unwrap(),
        counts: BTreeMap::new(),
        findings: Vec::new(),
    };
    let (seed, count) = (number("PGWICKET_SEED").unwrap_or(1), number("PGWICKET_SQLSMITH").unwrap_or(QUERIES));
    let queries = queries(&shown, seed, count);
    for query in &queries {
        asked.ask(query);
    }
    let mut summary = format!("sqlsmith from seed {seed}: {} queries, {} findings", queries.len(), asked.findings.len());
    for (what, count) in &asked.counts {
        write!(summary, "\n  {what}: {count}").unwrap();
    }
    eprintln!("{summary}");
    assert!(asked.findings.is_empty(), "{}\n\n{}", summary, asked.findings.join("\n\n"));
    assert!(queries.len() as u64 * 10 >= count * 9, "sqlsmith gave {} queries", queries.len());
    let answered = asked.counts.get("equal").copied().unwrap_or_default();
    assert!(answered * 20 > queries.len(), "too few queries say anything: {summary}");
}

/// A database of the generator's data.
fn filled(side: &str, name: &str) -> Database {
    let database = Cluster::fresh(&format!("sqlsmith_{name}"));
    let script = repository("tests/it/generator/data.sql");
    run(database.psql().arg("-q").args(["-v", &format!("side={side}")]).arg("-f").arg(script)).ok();
    database
}

fn shim(shown: &Database) {
    let array = |path: &str| format!("{{{}}}", allowed(path).join(","));
    let functions = format!("functions={}", array("src/sql/allow/data/functions.txt"));
    let types = format!("types={}", array("src/sql/allow/data/types.txt"));
    run(shown.psql().arg("-q").args(["-v", &functions, "-v", &types]).arg("-f").arg(repository("tests/it/sqlsmith/shim.sql"))).ok();
}

/// The names of the classes of a reviewed list that are allowed, whatever the number of arguments.
fn allowed(path: &str) -> Vec<String> {
    let list = fs::read_to_string(repository(path)).unwrap();
    let mut names = Vec::new();
    for class in list.split("\nclass ").skip(1) {
        let (head, body) = class.split_once('\n').unwrap();
        if head.split(' ').nth(1) == Some("allow") {
            let lines = body.lines().filter(|line| line.starts_with("  "));
            names.extend(lines.flat_map(str::split_whitespace).filter(|name| !name.contains('/')).map(str::to_owned));
        }
    }
    names
}

/// What sqlsmith would send.
fn queries(shown: &Database, seed: u64, count: u64) -> Vec<String> {
    let login = shown.login(AGENT);
    let mut sqlsmith = Command::new("sqlsmith");
    login.environment(&mut sqlsmith);
    sqlsmith.args([&format!("--target=dbname={}", login.database), "--exclude-catalog", "--dry-run"]);
    sqlsmith.args([format!("--seed={seed}"), format!("--max-queries={count}")]);
    let printed = sqlsmith.output().unwrap_or_else(|error| panic!("sqlsmith: {error}; scripts/test --prepare installs it"));
    let printed = String::from_utf8(printed.stdout).unwrap();
    let valued = PSEUDO_TYPES.iter().fold(printed, |text, (pseudo, value)| text.replace(&format!("cast(null as {pseudo})"), value));
    valued.split(";\n").map(str::trim).filter(|query| !query.is_empty()).map(str::to_owned).collect()
}

struct Asked {
    policy: PolicySet,
    /// For answers that differ; sits down when it is needed.
    judge: Option<Judge>,
    through: Wire,
    copy: Wire,
    counts: BTreeMap<String, usize>,
    findings: Vec<String>,
}

impl Asked {
    fn ask(&mut self, query: &str) {
        let decided = match governed::governed(&self.policy, AGENT, query) {
            Ok(decided) => decided,
            Err(refusal) => {
                let outside: Vec<&str> = refusal.message.split('"').step_by(2).collect();
                assert_ne!(refusal.code, RefusalCode::Unverified, "{query}: {refusal:?}");
                return self.count(format!("refused, {} {}", refusal.code.sqlstate(), outside.join("…")));
            }
        };
        for wire in [&mut self.through, &mut self.copy] {
            wire.send(b'Q', format!("{query}\0").as_bytes()).unwrap();
        }
        let [through, copy] = [&mut self.through, &mut self.copy].map(|wire| Answer::of(wire.until_ready().unwrap()));
        if MARKS.iter().any(|mark| through.holds(mark)) {
            self.findings.push(format!("a mark: {query}"));
        }
        match (through.code().as_str(), copy.code().as_str()) {
            ("57014", _) | (_, "57014") => self.count("timed out".to_owned()),
            ("", "") if through.rows == copy.rows => self.count("equal".to_owned()),
            (one, other) if !one.is_empty() && one == other => self.count(format!("fails on the copy as well, {one}")),
            (one, other) => {
                // LIMIT without ORDER BY, aggregates over an order: the judge knows what the agent may not see from what is open.
                let judge = self.judge.get_or_insert_with(|| Judge::sit(Sources::shared()));
                match judge.judge(&[crate::attack::sent_for(&decided)]).remove(0) {
                    Verdict::Unsound(why) => self
                        .findings
                        .push(format!("{why}: {query}\n  through {one}: {:?}\n  copy {other}: {:?}", through.error, copy.error)),
                    Verdict::Equal | Verdict::Fails | Verdict::Silent(_) => {
                        self.count("differs from the copy, and by nothing that is hidden".to_owned());
                    }
                }
            }
        }
    }

    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }
}

struct Answer {
    error: Option<Message>,
    rows: Vec<Vec<u8>>,
}

impl Answer {
    fn of(messages: Vec<Message>) -> Self {
        let mut answer = Self { error: None, rows: Vec::new() };
        for message in messages {
            match message.tag {
                b'E' => answer.error = Some(message),
                b'D' => answer.rows.push(message.body),
                _ => {}
            }
        }
        answer.rows.sort();
        answer
    }

    fn code(&self) -> String {
        self.error.as_ref().and_then(|error| error.field('C')).unwrap_or_default()
    }

    fn holds(&self, mark: &[u8]) -> bool {
        let error = self.error.iter().map(|error| &error.body);
        self.rows.iter().chain(error).any(|body| body.windows(mark.len()).any(|window| window == mark))
    }
}
