//! The red-team corpus: hostile statements and bytes against a real PostgreSQL, through pgwicket.
//!
//! Whatever is not the agent's is a mark (`tests/redteam/source.sql`), and the source's credential may do nearly
//! anything: what is refused here, pgwicket refused. A case passes when no mark arrives, its answer is the
//! expected one, another tenant on the same upstream connection sees nothing of it, and the source is unchanged.

mod answers;
mod case;
mod control;
mod deciding;
mod marks;
mod session;

use std::{collections::BTreeMap, fs, sync::Mutex};

use answers::Answers;
use case::{Case, Expected, Protocol, TENANT_ONLY, cases};
use session::{Answer, Session};

use crate::support::{self, Cluster, Database, Login, PASSWORD, Pgwicket, repository, run};

#[test]
fn no_case_of_the_corpus_gets_through() {
    let source = database("redteam_reader", "off");
    let copy = database("redteam_copy", "on");
    let policy = fs::read_to_string(repository("tests/redteam/policy.yaml")).unwrap();
    let pgwicket = Pgwicket::start_with_policy_and_flags(&source, &policy, &["--lanes", "1"]);
    let certificate = tempfile::tempdir().unwrap();
    let flags = support::certificate(certificate.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let under_tls = Pgwicket::start_with_policy_and_flags(&source, &policy, &[&["--lanes", "1"], &flags[..]].concat());
    let corpus = Corpus {
        source: &source,
        tls: under_tls.login_as("acme_agent"),
        acme: pgwicket.login_as("acme_agent"),
        globex: pgwicket.login_as("globex_agent"),
        copy: copy.login("redteam_copy"),
        before: state(&source),
    };
    let mut all = cases();
    for case in &mut all {
        name_types(case, &source);
    }
    assert!(all.len() >= 300, "{} cases", all.len());
    let mut classes: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in &all {
        classes.entry(&case.class).or_default().push(case);
    }
    let mut wrong = Vec::new();
    let mut recorded = Answers::read(source.cluster().version());
    for (class, cases) in &classes {
        let began = std::time::Instant::now();
        let found = corpus.run(cases, &mut recorded);
        eprintln!("{class}: {} cases, {} wrong, {} ms", cases.len(), found.len(), began.elapsed().as_millis());
        wrong.extend(found);
    }
    wrong.extend(recorded.end());
    run(pgwicket.command().args(["evidence", "verify", "--journal"]).arg(pgwicket.journal())).ok();
    assert!(!pgwicket.log().contains("panicked"), "{}", pgwicket.log());
    assert!(wrong.is_empty(), "{} findings in {} cases\n\n{}", wrong.len(), all.len(), wrong.join("\n\n"));
    control::admit(&source, PASSWORD);
    let plain = control::run(&corpus, &all, "zzhid_real", str::to_owned);
    let naive = control::run(&corpus, &all, "public", control::naive);
    eprintln!("control, a plain READ ONLY role: {plain:?}\ncontrol, a naive derived-table rewrite: {naive:?}");
    assert!(plain.leaks > 100 && naive.leaks > 50, "the corpus bites no more: {plain:?} {naive:?}");
}

/// Puts the OIDs that the source has given its own types for `i32:type:NAME`.
fn name_types(case: &mut Case, source: &Database) {
    for step in &mut case.steps {
        while let Some((before, rest)) = step.split_once("i32:type:") {
            let (name, after) = rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len()));
            *step = format!("{before}i32:{}{after}", source.sql(&format!("select '{name}'::regtype::oid")).trim());
        }
    }
}

/// The texts of every case that is sent as a statement.
pub(crate) fn texts() -> Vec<String> {
    cases().into_iter().filter(|case| case.protocol == Protocol::Simple).flat_map(|case| case.steps).collect()
}

/// What every case is run against.
struct Corpus<'a> {
    source: &'a Database,
    /// A server with a certificate, for the cases of class `tls`.
    tls: Login,
    acme: Login,
    globex: Login,
    copy: Login,
    /// [`state`] before any case.
    before: String,
}

impl Corpus<'_> {
    /// Runs the cases of a class; what went wrong, in words.
    fn run(&self, cases: &[&Case], recorded: &mut Answers) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut shared = Session::login(&self.acme);
        let mut other = Session::login(&self.globex);
        let mut copy = Session::login(&self.copy);
        let quiet = residue(&mut other);
        for case in cases {
            let mut own = case.own_session.then(|| Session::login(&self.acme));
            let mut raw =
                (case.protocol == Protocol::Wire).then(|| Session::open(if case.class == "tls" { &self.tls } else { &self.acme }));
            let session = raw.as_mut().or(own.as_mut()).unwrap_or(&mut shared);
            let answers = session.play(case);
            wrong.extend(Self::judge(case, &answers, session, &mut copy));
            wrong.extend(recorded.differ(case, &answers));
            let alone = own.is_some() || raw.is_some();
            // Gone without a farewell: what it left must not reach the next.
            drop((own, raw));
            if !alone && !shared.works() {
                wrong.push(format!("{}/{}: the session is of no use afterwards", case.class, case.id));
                shared = Session::login(&self.acme);
            }
            if alone {
                let seen = residue(&mut other);
                if seen != quiet {
                    wrong.push(format!("{}/{}: another agent sees it\n  before {quiet:?}\n  after  {seen:?}", case.class, case.id));
                }
            }
        }
        let seen = residue(&mut Session::login(&self.globex));
        if seen != quiet {
            wrong.push(format!("another agent sees {}\n  before {quiet:?}\n  after  {seen:?}", cases[0].class));
        }
        let after = state(self.source);
        if after != self.before {
            wrong.push(format!("{} changed the source\n  before {}\n  after  {after}", cases[0].class, self.before));
        }
        wrong
    }

    /// What is wrong with the answers to a case.
    fn judge(case: &Case, answers: &[Answer], session: &Session, copy: &mut Session) -> Vec<String> {
        let mut wrong = Vec::new();
        let marks = marks::found(session.received(), session.sent(), &case.says);
        if !marks.is_empty() {
            wrong.push(format!("LEAK {marks:?}"));
        }
        if case.expected.len() != 1 && case.expected.len() != answers.len() {
            wrong.push(format!("{} answers where {} were expected: {answers:?}", answers.len(), case.expected.len()));
        }
        let reference =
            case.expected.iter().any(|Expected(outcomes)| outcomes.iter().any(|outcome| outcome == TENANT_ONLY)).then(|| copy.play(case));
        for (at, answer) in answers.iter().enumerate() {
            let expected = case.expected.get(at).or(case.expected.first()).unwrap();
            let direct = reference.as_ref().and_then(|answers| answers.get(at));
            let as_direct = || direct.is_some_and(|direct| direct.says_as(answer));
            let Expected(outcomes) = expected;
            if !outcomes.iter().any(|outcome| if outcome == TENANT_ONLY { as_direct() } else { *outcome == answer.outcome() }) {
                wrong.push(format!("answer {at} is {answer:?}\n  expected {expected:?} {direct:?}"));
            }
        }
        let text: String = case.steps.join("; ").chars().take(400).collect();
        let said = |finding: String| format!("{}/{}: {finding}\n  {text:?} {:?}", case.class, case.id, case.parameters);
        wrong.into_iter().map(said).collect()
    }
}

/// What `globex_agent` sees: its own rows, its session, its formats. Nothing of acme may ever be in it.
fn residue(session: &mut Session) -> Vec<Answer> {
    const PROBES: &[&str] = &[
        "select count(*), min(id), max(score), min(placed_on), 0.1::float8 + 0.2::float8, interval '1 day 2 hours' from tickets",
        "show search_path",
        "show application_name",
        "show statement_timeout",
        "select current_user, current_setting('TimeZone'), current_setting('pgwicket.run')",
        "select relname from pg_temp.acme_temp",
    ];
    let answers: Vec<Answer> = PROBES.iter().map(|probe| session.simple(probe)).collect();
    assert!(!marks::holds(session.received(), b"ACMEOWN"), "another tenant's rows reached globex");
    session.forget();
    answers
}

fn database(reader: &'static str, copy: &str) -> Database {
    // Its roles belong to the cluster, and two scripts may not make one role at a time.
    static MAKING: Mutex<()> = Mutex::new(());
    let _alone = MAKING.lock().unwrap();
    let database = Cluster::empty(reader);
    let variables = ["-v".to_owned(), format!("password={PASSWORD}"), "-v".to_owned(), format!("copy={copy}")];
    run(database.psql().arg("-q").args(variables).arg("-f").arg(repository("tests/redteam/source.sql"))).ok();
    database
}

/// Everything in the source that a statement could change, as text to compare.
fn state(source: &Database) -> String {
    source.sql(include_str!("../../redteam/state.sql"))
}
