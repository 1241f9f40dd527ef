//! Generated statements against a tenant-only copy, against a role with row-level security, and against a source with other
//! poison in the rows the agent may not see.
//!
//! Every statement runs in four places: through pgwicket on a source whose other tenants' rows are poison; through a second
//! pgwicket whose source differs in those rows and in hidden columns only; in PostgreSQL itself on tables that hold the
//! agent's rows alone; and there as a role with row-level security and column grants on the first source. The first two must send
//! the same bytes, and the others must have the same rows.
//!
//! `PGWICKET_GENERATED=n` runs so many, `PGWICKET_GENERATED_SECONDS=s` as many as fit; `PGWICKET_SEED=s` starts elsewhere.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pgwicket::policy::PolicySet;

use crate::{
    generator::{SAMPLES, Statement, statement},
    support::{AGENT, Cluster, Database, Login, Message, Pgwicket, Wire, governed, number, repository, run},
};

/// Statements of a plain `cargo test`; `scripts/test` asks for more.
const STATEMENTS: u64 = 8_000;

/// Texts of one structure, with other literals each.
const VARIANTS: u64 = 2;

/// What agents set along the way, one after the other; the references are set the same.
const SETTINGS: &[&str] = &[
    "set timezone = 'Etc/GMT+12'",
    "set datestyle = 'SQL, DMY'",
    "set extra_float_digits = -10",
    "set intervalstyle = 'sql_standard'",
    "set timezone = 'Pacific/Kiritimati'",
    "set bytea_output = 'escape'",
    "set datestyle = 'German'",
    "reset all",
];

/// Statements of a worker between two settings.
const SETTING: u64 = 23;

/// Every so manieth statement is governed here too, to count what is fenced.
const SAMPLE: u64 = 16;

#[test]
fn generated_reads_tell_of_the_agents_own_rows_only() {
    let places = Places::start();
    let (first, limit, time) = (number("PGWICKET_SEED").unwrap_or(1), number("PGWICKET_GENERATED"), number("PGWICKET_GENERATED_SECONDS"));
    let began = Instant::now();
    let deadline = time.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let limit = limit.unwrap_or(if deadline.is_some() { u64::MAX } else { STATEMENTS });
    let next = AtomicU64::new(0);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut worker = Worker::start(&places);
                loop {
                    let structure = next.fetch_add(1, Ordering::Relaxed);
                    let over = deadline.is_some_and(|deadline| Instant::now() > deadline) || worker.totals.findings.len() > 20;
                    if over || structure * VARIANTS >= limit {
                        break;
                    }
                    for variant in 0..VARIANTS {
                        worker.check(first + structure, variant);
                    }
                }
                totals.lock().unwrap().add(worker.totals);
            });
        }
    });
    let totals = totals.into_inner().unwrap();
    eprintln!("{}\n  {:.1?} for the statements", totals.summary(first), began.elapsed());
    assert!(
        totals.findings.is_empty(),
        "{} of {} statements\n\n{}",
        totals.findings.len(),
        totals.statements,
        totals.findings.join("\n\n")
    );
    let refused: u64 = totals.refused.values().sum();
    eprintln!("over-blocking: {refused} of {} statements that are safe are refused", totals.statements);
    assert!(refused * 100 < totals.statements * 2 || totals.statements < 100, "2 % and more are refused: {}", totals.summary(first));
    assert!(totals.equal * 10 >= totals.statements * 6, "too few statements say anything: {}", totals.summary(first));
}

/// The four places.
struct Places {
    copy: Login,
    rls: Login,
    one: Pgwicket,
    other: Pgwicket,
    policy: PolicySet,
}

impl Places {
    fn start() -> Self {
        // The cluster's roles come with the support desk.
        let _desk = Cluster::desk();
        let _copy = Cluster::tenant_copy();
        let types = types();
        let [one, two, rls, copy] = ["one", "two", "rls", "copy"].map(|side| filled(side, &types));
        let policy = repository("tests/it/generator/policy.yaml");
        let text = fs::read_to_string(&policy).unwrap();
        Self {
            copy: copy.login(AGENT),
            rls: rls.login(AGENT),
            policy: governed::policy_at(&one, &policy),
            one: Pgwicket::start_with(&one, &text),
            other: Pgwicket::start_with(&two, &text),
        }
    }
}

/// A database of `data.sql`.
fn filled(side: &str, types: &Database) -> Database {
    let database = Cluster::copy_of(types);
    fill(&database, &[&format!("side={side}")]);
    database
}

/// A database with the types that the others share, and nothing else.
fn types() -> Database {
    let database = Cluster::fresh("generated");
    fill(&database, &["side=one", "types_only=1"]);
    database
}

fn fill(database: &Database, variables: &[&str]) {
    let set = variables.iter().flat_map(|variable| ["-v", variable]);
    run(database.psql().arg("-q").args(set).arg("-f").arg(repository("tests/it/generator/data.sql"))).ok();
}

/// What happened to how many statements.
#[derive(Default)]
struct Totals {
    statements: u64,
    equal: u64,
    rows: u64,
    sampled: u64,
    fenced: u64,
    pinned: u64,
    /// Of those that are equal to the copy's, how many are equal to the role's, too.
    rls_equal: u64,
    refused: BTreeMap<String, u64>,
    skipped: BTreeMap<String, u64>,
    rls_differs: BTreeMap<String, u64>,
    findings: Vec<String>,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.statements += other.statements;
        self.equal += other.equal;
        self.rows += other.rows;
        self.sampled += other.sampled;
        self.fenced += other.fenced;
        self.pinned += other.pinned;
        self.rls_equal += other.rls_equal;
        let kinds = [(&mut self.refused, other.refused), (&mut self.skipped, other.skipped), (&mut self.rls_differs, other.rls_differs)];
        for (into, from) in kinds {
            for (reason, count) in from {
                *into.entry(reason).or_default() += count;
            }
        }
        self.findings.extend(other.findings);
    }

    fn summary(&self, first: u64) -> String {
        let fenced = (self.fenced * 100).checked_div(self.sampled).unwrap_or_default();
        let mut text = format!(
            "generated from seed {first}: {} statements ({} pinned), {} equal to the copy ({} rows), {} equal to row-level security, \
             {fenced} % fenced (of {} sampled), {} refused, {} skipped, {} findings",
            self.statements,
            self.pinned,
            self.equal,
            self.rows,
            self.rls_equal,
            self.sampled,
            self.refused.values().sum::<u64>(),
            self.skipped.values().sum::<u64>(),
            self.findings.len()
        );
        for (what, counts) in [("refused", &self.refused), ("skipped", &self.skipped), ("row-level security", &self.rls_differs)] {
            for (reason, count) in counts {
                write!(text, "\n  {what} {count}: {reason}").unwrap();
            }
        }
        text
    }
}

/// A connection to each place.
struct Worker<'a> {
    policy: &'a PolicySet,
    copy: Wire,
    rls: Wire,
    one: Wire,
    other: Wire,
    totals: Totals,
}

impl<'a> Worker<'a> {
    fn start(places: &'a Places) -> Self {
        let wire = |login: &Login| login.wire().unwrap();
        Self {
            policy: &places.policy,
            copy: wire(&places.copy),
            rls: wire(&places.rls),
            one: wire(&places.one.login()),
            other: wire(&places.other.login()),
            totals: Totals::default(),
        }
    }

    fn check(&mut self, seed: u64, variant: u64) {
        let statement = statement(seed, variant);
        self.set_something();
        self.totals.statements += 1;
        self.totals.pinned += u64::from(statement.staged.is_some());
        let mut wires = [&mut self.copy, &mut self.rls, &mut self.one, &mut self.other];
        for (at, wire) in wires.iter_mut().enumerate() {
            let reference = statement.staged.as_ref().filter(|_| at < 2);
            let text = reference.unwrap_or(&statement.text);
            let text = if at == 1 { SAMPLES.iter().fold(text.clone(), |text, sample| text.replace(sample, "")) } else { text.clone() };
            send(wire, &text, statement.parameters.as_deref());
        }
        let [expected, rls, one, other] = wires.map(|wire| Answer::of(wire.until_ready().unwrap(), statement.ordered));
        if statement.parameters.is_none()
            && self.totals.statements.is_multiple_of(SAMPLE)
            && let Ok(decided) = governed::governed(self.policy, AGENT, &statement.text)
        {
            self.totals.sampled += 1;
            self.totals.fenced += u64::from(decided.fenced());
        }
        self.judge(&statement, seed, variant, &expected, &one, &other);
        self.hold_against_rls(&statement, seed, &expected, &rls, &one);
    }

    /// Another setting, now and then, at all four places.
    fn set_something(&mut self) {
        if !self.totals.statements.is_multiple_of(SETTING) {
            return;
        }
        let next = usize::try_from(self.totals.statements / SETTING).unwrap() % SETTINGS.len();
        for wire in [&mut self.copy, &mut self.rls, &mut self.one, &mut self.other] {
            let answer = wire.simple(SETTINGS[next]).unwrap();
            assert!(answer.iter().all(|message| message.tag != b'E'), "{}", SETTINGS[next]);
        }
    }

    /// The second reference. It fails where PostgreSQL's own security lets an expression see a hidden row, so an error of the role's
    /// is a finding only where the copy has it, too.
    fn hold_against_rls(&mut self, statement: &Statement, seed: u64, copy: &Answer, rls: &Answer, one: &Answer) {
        let class = |answer: &Answer| answer.code().and_then(|code| code.get(..2)).map(str::to_owned);
        let kind = match (rls.code(), one.code()) {
            (Some("57014"), _) | (_, Some("57014")) => "timed out".to_owned(),
            (Some(_), Some(_)) if class(rls) == class(one) => format!("fails as well, {}", rls.reason()),
            (_, Some("0A000" | "42501")) => "pgwicket refuses".to_owned(),
            (None, None) if rls.rows() == one.rows() && rls.columns() == one.columns() => {
                self.totals.rls_equal += 1;
                return;
            }
            (Some(code), None) if copy.code().is_none() && code.starts_with('2') => format!("the role alone fails, {}", rls.reason()),
            (Some(_), None) if class(copy) == class(rls) => "own rows fail, by plan".to_owned(),
            (None, Some(_)) if class(copy) == class(one) => "own rows fail, by plan".to_owned(),
            _ => {
                let said = [copy, rls, one].map(Answer::said);
                let [copy, rls, one] = said;
                self.totals.findings.push(format!(
                    "row-level security (seed {seed}): {}\n  parameters {:?}\n  copy: {copy}\n  rls:  {rls}\n  one:  {one}",
                    statement.text, statement.parameters
                ));
                return;
            }
        };
        *self.totals.rls_differs.entry(kind).or_default() += 1;
    }

    fn judge(&mut self, statement: &Statement, seed: u64, variant: u64, expected: &Answer, one: &Answer, other: &Answer) {
        let totals = &mut self.totals;
        let skip = |totals: &mut Totals, reason: String| *totals.skipped.entry(reason).or_default() += 1;
        let timed_out = |answer: &Answer| answer.code() == Some("57014");
        if timed_out(one) || timed_out(other) || timed_out(expected) {
            return skip(totals, "timed out".to_owned());
        }
        let finding = |what: &str| {
            format!(
                "{what} (seed {seed} variant {variant}): {}\n  parameters {:?}\n  copy:  {}\n  one:   {}\n  other: {}",
                statement.text,
                statement.parameters,
                expected.said(),
                one.said(),
                other.said()
            )
        };
        if one.messages != other.messages {
            // Of the agent's own rows that fail, which one fails first, and whether any is reached, is the plan's.
            let own = expected.code().is_some_and(|code| code.starts_with('2'));
            return if own { skip(totals, "own rows fail, by plan".to_owned()) } else { totals.findings.push(finding("interference")) };
        }
        match (expected.code(), one.code()) {
            (Some(code), Some(through)) if code.get(..2) == through.get(..2) => {
                skip(totals, format!("fails on the copy, {}", expected.reason()));
            }
            (_, Some("0A000" | "42501")) => *totals.refused.entry(one.reason()).or_default() += 1,
            (None, None) if expected.rows() == one.rows() && expected.columns() == one.columns() => {
                totals.equal += 1;
                totals.rows += expected.rows().len() as u64;
            }
            _ => totals.findings.push(finding("difference")),
        }
    }
}

fn send(wire: &mut Wire, text: &str, parameters: Option<&[(u32, String)]>) {
    let Some(parameters) = parameters else { return wire.send(b'Q', format!("{text}\0").as_bytes()).unwrap() };
    let count = u16::try_from(parameters.len()).unwrap().to_be_bytes();
    let mut parse = format!("\0{text}\0").into_bytes();
    parse.extend(count);
    let mut bind = vec![0, 0, 0, 0];
    bind.extend(count);
    for (declared, value) in parameters {
        parse.extend(declared.to_be_bytes());
        bind.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        bind.extend(value.as_bytes());
    }
    bind.extend([0, 0]);
    for (tag, body) in [(b'P', &parse[..]), (b'B', &bind), (b'D', b"P\0"), (b'E', b"\0\0\0\0\0"), (b'S', b"")] {
        wire.send(tag, body).unwrap();
    }
}

/// What a client received, less what is unique to a statement's run; rows sorted where no order was asked for.
struct Answer {
    messages: Vec<Message>,
}

impl Answer {
    fn of(mut messages: Vec<Message>, ordered: bool) -> Self {
        messages.retain(|message| !(message.tag == b'S' && message.strings()[0] == "pgwicket.evidence_id"));
        let failed = messages.iter().any(|message| message.tag == b'E');
        if failed {
            // How many rows went before an error depends on the plan.
            messages.retain(|message| message.tag != b'D');
        } else if !ordered && let Some(first) = messages.iter().position(|message| message.tag == b'D') {
            let rows = messages.iter().filter(|message| message.tag == b'D').count();
            messages[first..first + rows].sort_by(|one, other| one.body.cmp(&other.body));
        }
        Self { messages }
    }

    fn error(&self) -> Option<&Message> {
        self.messages.iter().find(|message| message.tag == b'E')
    }

    fn code(&self) -> Option<&str> {
        let body = &self.error()?.body;
        let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C'))?;
        str::from_utf8(&field[1..]).ok()
    }

    /// SQLSTATE and message, names left out.
    fn reason(&self) -> String {
        let message = self.error().and_then(|error| error.field('M')).unwrap_or_default();
        let outside: Vec<&str> = message.split('"').step_by(2).collect();
        format!("{} {}", self.code().unwrap_or_default(), outside.join("…"))
    }

    fn rows(&self) -> Vec<&Message> {
        self.messages.iter().filter(|message| message.tag == b'D').collect()
    }

    /// The names in RowDescription.
    fn columns(&self) -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        if let Some(description) = self.messages.iter().find(|message| message.tag == b'T') {
            let mut rest = &description.body[2..];
            while let Some(end) = rest.iter().position(|byte| *byte == 0) {
                names.push(rest[..end].to_vec());
                rest = &rest[end + 1 + 18..];
            }
        }
        names
    }

    fn said(&self) -> String {
        if let Some(error) = self.error() {
            return format!("{} {}", self.code().unwrap_or_default(), error.field('M').unwrap_or_default());
        }
        let rows: Vec<_> = self.rows().iter().take(3).map(|row| String::from_utf8_lossy(&row.body).into_owned()).collect();
        format!("{} rows {rows:?}", self.rows().len())
    }
}
