//! The fuzz targets on the stable toolchain: the committed corpus (`fuzz/corpus`), what other tests have as cases, and
//! seeded mutations of both, on a stack of the size that a lane has. `docs/security/PROOF.md` has the coverage-guided way.
//!
//! `PGWICKET_FUZZ_SECONDS=s` runs as many as fit, `PGWICKET_SEED=s` starts elsewhere.

mod mutate;
mod opinion;
mod targets;

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    generator::Random,
    support::{number, repository, statements},
};
use targets::statement::Fate;

/// Half of what a lane's thread has (`app::lane::STACK`). Unit: bytes.
pub(crate) const STACK: usize = 4 << 20;

const SQL: &[&str] = &[
    "select",
    "from",
    "where",
    "union all",
    "(select",
    ")",
    "with x as (",
    "lateral",
    "join",
    "left join",
    "on true",
    "using (id)",
    "order by 1",
    "limit 1",
    "offset 0",
    "tickets",
    "customers",
    "orders",
    "external_support.tickets",
    "public.tickets",
    "\"public\".\"tickets\"",
    "tenant_id",
    "deleted_at",
    "t.*",
    "*",
    "$1",
    "$2",
    "'acme'",
    "--",
    "/*",
    "*/",
    "E'\\''",
    "U&\"!0074\" uescape '!'",
    "$$",
    "$a$",
    ";",
    "::",
    "::regclass",
    "pg_sleep(1)",
    "pg_class",
    "exists",
    "any (array[1])",
    "is null",
    "1e",
    "0x1",
    ".5",
    "case when",
    "end",
    "table tickets",
    "rows from (",
    "values (1)",
    "grouping sets",
    "over ()",
    "for update",
    "into x",
    "collate \"C\"",
    "operator(pg_catalog.+)",
    "recursive",
    "tablesample",
    "only",
    "as",
    "::text",
    "not",
    "and",
    "or",
    "in (1)",
    "between 1 and 2",
    "interval '1'",
    "row(1)",
    "array[",
    "]",
    "=",
    "<>",
];
const POLICY: &[&str] = &[
    "sources:",
    "schemas:",
    "agents:",
    "relations:",
    "from: public.tickets",
    "tenant_column: tenant_id",
    "single_tenant: true",
    "columns: [id]",
    "where: \"id > 0\"",
    "masks:",
    "null",
    "hash",
    "{ last: 4 }",
    "{ constant: \"x\" }",
    "env:X",
    "file:/etc/passwd",
    "&a",
    "*a",
    "<<: *a",
    "!!str",
    "|",
    ">",
    "- ",
    "? ",
    "---",
    "...",
    "\n  ",
    "\n    ",
    "\t",
    "[",
    "]",
    "{",
    "}",
    ": ",
    "#",
    "max_rows: -1",
    "max_rows: 99999999999999999999",
    "max_rows: 1000",
    "functions: [\"public.f(int)\"]",
    "tenant: acme",
    "evidence: digest",
    "evidence: { sample: 5 }",
    "on_limit: truncate",
];
const WIRE: &[&str] =
    &["Q", "P", "B", "D", "E", "S", "X", "F", "user\0", "database\0", "options\0-c a=b\0", "replication\0", "_pq_.x\0", "\0"];

#[test]
fn decoders_of_the_wire_survive_whatever_is_sent() {
    let outcome = drive("wire", Plan { words: WIRE, seeds: Vec::new(), count: 500_000, longest: 4096, recurses: false }, |bytes, _| {
        targets::wire::run(bytes);
        "decoded or refused"
    });
    assert!(outcome.seeds >= 20, "{} inputs in fuzz/corpus/wire", outcome.seeds);
}

#[test]
fn whatever_is_asked_what_is_sent_is_one_governed_select() {
    let outcome =
        drive("statement", Plan { words: SQL, seeds: known_statements(), count: 15_000, longest: 8192, recurses: true }, |bytes, _| {
            match targets::statement::run(bytes) {
                Fate::Accepted => "accepted",
                Fate::Refused => "refused",
            }
        });
    assert!(outcome.fates["accepted"] * 20 > outcome.inputs, "too few are accepted to say anything: {outcome:?}");
}

#[test]
fn a_template_filled_is_what_the_other_text_is_decided_as() {
    let outcome =
        drive("template", Plan { words: SQL, seeds: known_statements(), count: 8_000, longest: 4096, recurses: true }, |bytes, random| {
            // What its values become is the mutation's own choice, or that of the stream.
            let mut bytes = bytes.to_vec();
            if !bytes.contains(&0) {
                bytes.push(0);
                bytes.extend((0..8).map(|_| u8::try_from(random.below(256)).unwrap()));
            }
            match targets::template::run(&bytes) {
                targets::template::Fate::None => "without a template",
                targets::template::Fate::Filled => "filled",
                targets::template::Fate::Lifted => "lifted",
            }
        });
    let [filled, lifted] = ["filled", "lifted"].map(|fate| outcome.fates.get(fate).copied().unwrap_or_default());
    assert!(filled * 50 > outcome.inputs && lifted * 500 > outcome.inputs, "too few are filled to say anything: {outcome:?}");
}

#[test]
fn policy_files_of_any_text_are_read_or_refused() {
    let seeds = ["policies/support.yaml", "policies/pgbench/pgbench.yaml", "tests/redteam/policy.yaml", "tests/it/generator/policy.yaml"];
    let seeds = seeds.map(|path| fs::read(repository(path)).unwrap()).into();
    drive("policy", Plan { words: POLICY, seeds, count: 4_000, longest: 16_384, recurses: true }, |bytes, _| {
        targets::policy::run(bytes);
        "read or refused"
    });
}

#[test]
fn journal_files_of_any_bytes_are_read_and_no_change_goes_unseen() {
    let sound: Vec<(Vec<u8>, _)> = corpus("journal")
        .into_iter()
        .filter(|(name, _)| name.starts_with("sound"))
        .map(|(_, bytes)| (bytes.clone(), targets::journal::anchors(&bytes)))
        .collect();
    assert!(!sound.is_empty());
    drive("journal", Plan { words: &["PGWKTEV1"], seeds: Vec::new(), count: 2_500, longest: 65_536, recurses: false }, |bytes, random| {
        targets::journal::run(bytes);
        let (whole, anchors) = random.pick(&sound);
        let mut changed = whole.clone();
        let at = random.below(changed.len());
        match random.below(4) {
            0 => changed[at] = changed[at].wrapping_add(1 + u8::try_from(random.below(255)).unwrap()),
            1 => drop(changed.drain(at..(at + 1 + random.below(64)).min(whole.len()))),
            2 => changed.truncate(at),
            _ => {
                let part = whole[at..(at + 300).min(whole.len())].to_vec();
                let to = random.below(whole.len());
                changed.splice(to..to, part);
            }
        }
        targets::journal::tampered(whole, anchors, &changed);
        "read"
    });
}

/// What is run for a target.
struct Plan {
    /// What a mutation may put in.
    words: &'static [&'static str],
    /// Beside those in `fuzz/corpus`.
    seeds: Vec<Vec<u8>>,
    /// Mutations, when no time is given.
    count: u64,
    /// Bytes an input may have.
    longest: usize,
    /// It may run out of stack, which ends the process: an input is kept before it runs.
    recurses: bool,
}

#[derive(Debug)]
struct Outcome {
    seeds: usize,
    inputs: u64,
    fates: BTreeMap<&'static str, u64>,
}

/// Runs a target over its corpus and its mutations; ends at the first input that breaks a promise, and keeps it.
fn drive(target: &'static str, plan: Plan, mut run: impl FnMut(&[u8], &mut Random) -> &'static str + Send) -> Outcome {
    let (first, seconds) = (number("PGWICKET_SEED").unwrap_or(1), number("PGWICKET_FUZZ_SECONDS"));
    let body = || {
        let mut seeds: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, bytes)| bytes).collect();
        seeds.extend(plan.seeds);
        let mut outcome = Outcome { seeds: seeds.len(), inputs: 0, fates: BTreeMap::new() };
        let mut take = |bytes: &[u8], random: &mut Random| {
            if plan.recurses {
                keep(target, bytes);
            }
            let fate = catch_unwind(AssertUnwindSafe(|| run(bytes, random)));
            let fate = fate.unwrap_or_else(|_| {
                keep(target, bytes);
                panic!("the input is in {}", kept(target).display())
            });
            *outcome.fates.entry(fate).or_default() += 1;
            outcome.inputs += 1;
        };
        for seed in &seeds {
            take(seed, &mut Random::new(0));
        }
        let began = Instant::now();
        let deadline = seconds.map(|seconds| began + Duration::from_secs(seconds));
        for number in 0..if seconds.is_some() { u64::MAX } else { plan.count } {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            let mut random = Random::new((first + number).wrapping_mul(0x9fb2_1c65_1e98_df25));
            let bytes = mutate::mutated(&seeds, plan.words, &mut random, plan.longest);
            take(&bytes, &mut random);
        }
        eprintln!(
            "fuzz {target} from seed {first}: {} inputs ({} known), {:?}, {:.1?}",
            outcome.inputs,
            outcome.seeds,
            outcome.fates,
            began.elapsed()
        );
        outcome
    };
    std::thread::scope(|scope| {
        let lane = std::thread::Builder::new().name(format!("fuzz {target}")).stack_size(STACK).spawn_scoped(scope, body).unwrap();
        lane.join().unwrap_or_else(|_| panic!("fuzz {target} failed; its last input is in {}", kept(target).display()))
    })
}

/// Where the input that runs is, so that one that ends the process can be found.
fn kept(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"))
}

fn keep(target: &str, bytes: &[u8]) {
    fs::write(kept(target), bytes).unwrap();
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(repository("fuzz/corpus").join(target)).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<_> = files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect();
    found.sort();
    found
}

/// The statements that other tests have as cases.
fn known_statements() -> Vec<Vec<u8>> {
    let oracle = ["tests/oracle/statements.sql", "tests/oracle/leaks.sql"];
    let oracle = oracle.into_iter().flat_map(|path| statements(&fs::read_to_string(repository(path)).unwrap()));
    let oracle: Vec<_> = oracle.map(|statement| statement.text).collect();
    let redteam = crate::redteam::texts().into_iter().filter(|text| text.len() < 4096);
    oracle.into_iter().chain(redteam).map(String::into_bytes).collect()
}
