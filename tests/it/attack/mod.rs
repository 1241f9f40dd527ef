//! The verifier under attack: statements derived from PostgreSQL's grammar, known statements with tokens out of place, and
//! both in every spelling of the lexer. Whatever is accepted is run by a judge that knows nothing of the kernel (`judge.rs`).
//!
//! `PGWICKET_ATTACKS=n` tries so many, `PGWICKET_ATTACK_SECONDS=s` as many as fit; `PGWICKET_SEED=s` starts elsewhere. Long runs
//! want `cargo test --profile proof`, some ten times as fast; what has been tried so far is printed every minute.

mod grammar;
mod hostile;
pub(crate) mod judge;
mod noise;

use std::{
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pgwicket::{
    govern::{AppendedValue, GovernedStatement, Refusal, RefusalCode},
    policy::PolicySet,
};

use crate::{
    generator::{Random, statement},
    support::{AGENT, governed, number, repository, statements},
};
use judge::{Counts, Judge, Sent, Sources, Verdict};

/// Inputs of a plain `cargo test`; `scripts/test` asks for more.
const INPUTS: u64 = 5_000;

/// Inputs governed before the accepted ones go to the judge together.
const BATCH: u64 = 32;

/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_mins(1);

#[test]
fn nothing_unsound_is_accepted() {
    let arena = Arena::start();
    let (first, limit, time) = (number("PGWICKET_SEED").unwrap_or(1), number("PGWICKET_ATTACKS"), number("PGWICKET_ATTACK_SECONDS"));
    let began = Instant::now();
    let deadline = time.map(|seconds| began + Duration::from_secs(seconds));
    let limit = limit.unwrap_or(if deadline.is_some() { u64::MAX } else { INPUTS });
    let next = AtomicU64::new(0);
    let totals = Mutex::new((Totals::default(), Instant::now()));
    let attack = || {
        let mut judge = Judge::sit(arena.sources);
        loop {
            let batch = next.fetch_add(BATCH, Ordering::Relaxed);
            if batch >= limit || deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            let mut own = Totals::default();
            arena.round(first + batch..first + batch + BATCH, &mut judge, &mut own);
            own.bytes = std::mem::take(&mut judge.bytes);
            for finding in &own.findings {
                eprintln!("{finding}");
            }
            let (totals, said) = &mut *totals.lock().unwrap();
            totals.add(own);
            if said.elapsed() > PROGRESS {
                *said = Instant::now();
                eprintln!("{}\n  {:.1?}", totals.summary(first), began.elapsed());
            }
            if totals.findings.len() > 10 {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            std::thread::Builder::new().stack_size(crate::fuzz::STACK).spawn_scoped(scope, attack).unwrap();
        }
    });
    let (totals, _) = totals.into_inner().unwrap();
    for text in &totals.unverified {
        eprintln!("made and not passed, {text}");
    }
    eprintln!("{}\n  {:.1?}", totals.summary(first), began.elapsed());
    assert!(totals.findings.is_empty(), "{} findings\n\n{}", totals.findings.len(), totals.findings.join("\n\n"));
    assert!(totals.count("accepted") * 10 > totals.count("inputs"), "too few are accepted to say anything: {}", totals.summary(first));
    assert!(totals.count("judged equal") * 4 > totals.count("accepted"), "too few run to say anything: {}", totals.summary(first));
}

/// The judge is one: what hostile rewriters would send does not get past it. (That the verifier does not pass it in the first
/// place is in `src/govern/kernel/tests.rs`.)
#[test]
fn the_judge_sees_what_hostile_rewriters_do() {
    let arena = Arena::start();
    let mut judge = Judge::sit(arena.sources);
    // Statements that single out one row show next to nothing of what was changed around it.
    let whole = (1..2_500_u64).map(|seed| (seed, statement(seed, 0))).filter(|(_, statement)| statement.staged.is_none());
    let honest: Vec<Sent> = whole.filter_map(|(seed, statement)| arena.accepted(&statement.text, seed).ok().flatten()).collect();
    for (name, rewriter, per_mille) in hostile::REWRITERS {
        let changed: Vec<Sent> = honest.iter().filter_map(rewriter).take(if name.contains("fences") { 700 } else { 100 }).collect();
        let seen = changed.chunks(16).flat_map(|chunk| judge.judge(chunk)).filter(|verdict| matches!(verdict, Verdict::Unsound(_))).count();
        eprintln!("hostile rewriter: {name}: {seen} of {} texts judged unsound", changed.len());
        assert!(changed.len() > 50 && seen * 1000 >= changed.len() * per_mille, "{name}: {seen} of {}", changed.len());
    }
}

/// What inputs are made of and judged by.
struct Arena {
    sources: &'static Sources,
    policy: PolicySet,
    /// Statements of other tests, over this one's relations.
    known: Vec<String>,
}

impl Arena {
    fn start() -> Self {
        let sources = Sources::shared();
        let policy = governed::policy_at(&sources.open, &repository("tests/it/generator/policy.yaml"));
        let mut known: Vec<String> = ["tests/oracle/statements.sql", "tests/oracle/leaks.sql"]
            .into_iter()
            .flat_map(|path| statements(&fs::read_to_string(repository(path)).unwrap()))
            .map(|statement| statement.text)
            .collect();
        known.extend(crate::redteam::texts().into_iter().filter(|text| text.len() < 2000));
        let renamed = |text: String| {
            let pairs =
                [("external_support", "s"), ("desk.", "s."), ("tickets", "t"), ("customers", "c"), ("orders", "m"), ("documents", "g")];
            pairs.into_iter().fold(text, |text, (from, to)| text.replace(from, to))
        };
        Self { sources, policy, known: known.into_iter().map(renamed).collect() }
    }

    /// The input of a seed, and where it comes from.
    fn input(&self, seed: u64) -> (&'static str, String) {
        let random = &mut Random::new(seed.wrapping_mul(0x9fb2_1c65_1e98_df25));
        let generated = |random: &mut Random| statement(random.below(1 << 40) as u64, 0).text;
        let (origin, text) = match random.below(100) {
            0..35 => ("grammar", grammar::derived(random)),
            35..55 => ("generator", generated(random)),
            55..75 => ("generator, mutated", noise::mutated(&generated(random), &grammar::derived(random), random)),
            75..87 => ("known, mutated", noise::mutated(random.pick::<String>(&self.known), random.pick::<String>(&self.known), random)),
            87..91 => ("token soup", noise::soup(random)),
            _ => ("grammar, mutated", noise::mutated(&grammar::derived(random), &grammar::derived(random), random)),
        };
        (origin, if random.chance(35) { noise::respelled(&text, random) } else { text })
    }

    /// What is sent for `text`, with values for its parameters, when it is accepted.
    /// `None`: it goes to the virtual catalog, and to no source.
    fn accepted(&self, text: &str, seed: u64) -> Result<Option<Sent>, Refusal> {
        let decided = governed::governed(&self.policy, AGENT, text)?;
        let source = !decided.source().as_str().starts_with("pgwicket_catalog_");
        Ok(source.then(|| sent(&decided, &mut Random::new(seed))))
    }

    fn round(&self, seeds: std::ops::Range<u64>, judge: &mut Judge, totals: &mut Totals) {
        let mut accepted = Vec::new();
        for seed in seeds {
            let (origin, text) = self.input(seed);
            totals.more("inputs");
            totals.more(&format!("from {origin}"));
            match catch_unwind(AssertUnwindSafe(|| self.accepted(&text, seed))) {
                Err(_) => totals.findings.push(format!("panic (seed {seed}): {text}")),
                // What PostgreSQL itself would not parse says nothing of what is accepted.
                Ok(Err(Refusal { code: RefusalCode::Syntax, .. })) => totals.more("no statement"),
                Ok(Err(refusal)) => {
                    if refusal.code == RefusalCode::Unverified && totals.unverified.len() < 3 {
                        totals.unverified.push(format!("seed {seed}: {text}"));
                    }
                    totals.more(&format!("refused {}", refusal.code.sqlstate()));
                }
                Ok(Ok(None)) => totals.more("for the virtual catalog"),
                Ok(Ok(Some(sent))) => {
                    totals.more("accepted");
                    totals.more(&format!("accepted from {origin}"));
                    accepted.push((seed, text, sent));
                }
            }
        }
        let texts: Vec<Sent> = accepted.iter().map(|(_, _, sent)| sent.clone()).collect();
        for ((seed, text, sent), verdict) in accepted.into_iter().zip(judge.judge(&texts)) {
            match verdict {
                Verdict::Equal => totals.more("judged equal"),
                Verdict::Fails => totals.more("fail alike"),
                Verdict::Silent(why) => totals.more(&format!("not comparable: {why}")),
                Verdict::Unsound(why) => totals.findings.push(format!("UNSOUND (seed {seed}): {why}\n  asked: {text}\n  sent:  {sent:?}")),
            }
        }
    }
}

/// What is sent for a statement without parameters of the client's.
pub(crate) fn sent_for(decided: &GovernedStatement) -> Sent {
    sent(decided, &mut Random::new(1))
}

fn sent(decided: &GovernedStatement, random: &mut Random) -> Sent {
    const VALUES: &[&str] = &["1", "2", "0", "x", "7777", "acme", "globex", "(", "{}", "2024-01-05", "t", "' or 1=1 --", "-1"];
    let client = (0..decided.client_parameters()).map(|_| Some((*random.pick(VALUES)).to_owned()));
    let appended = decided.appended().iter().map(|parameter| match &parameter.value {
        AppendedValue::Tenant => Some("acme".to_owned()),
        AppendedValue::Constant(value) => Some(value.to_string()),
        AppendedValue::MaskKey(_) | AppendedValue::Session(_) => Some("1".to_owned()),
    });
    Sent {
        text: decided.text().to_owned(),
        values: client.chain(appended).collect(),
        types: decided.parameter_types().to_vec(),
        rows: judge::ROWS,
    }
}

#[derive(Debug, Default)]
struct Totals {
    counts: Counts,
    bytes: u64,
    findings: Vec<String>,
    /// The first that the rewriter made and the verifier did not pass: safe, and yet one of the two is wrong.
    unverified: Vec<String>,
}

impl Totals {
    fn more(&mut self, what: &str) {
        match self.counts.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(what.to_owned(), 1)),
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.bytes += other.bytes;
        self.findings.extend(other.findings);
        self.unverified.extend(other.unverified);
        self.unverified.truncate(40);
    }

    fn summary(&self, first: u64) -> String {
        let (inputs, accepted) = (self.count("inputs"), self.count("accepted"));
        let rate = (accepted * 1000).checked_div(inputs).unwrap_or_default();
        let mut text = format!(
            "attack from seed {first}: {inputs} inputs, {accepted} accepted ({}.{} %), {} bytes of answers compared, {} findings",
            rate / 10,
            rate % 10,
            self.bytes,
            self.findings.len()
        );
        for (what, count) in &self.counts {
            write!(text, "\n  {what}: {count}").unwrap();
        }
        text
    }
}
