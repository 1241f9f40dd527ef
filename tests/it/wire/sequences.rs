//! Cursors in transactions, savepoints and errors, in every order: random sequences, answered as PostgreSQL answers them.

use std::fmt::Write as _;

use super::script::Script;
use crate::{
    generator::Random,
    support::{AGENT, Cluster, Pgwicket},
};

/// Sessions at least; `PGWICKET_GENERATED` may ask for more.
const SESSIONS: u64 = 150;
const STEPS: usize = 40;

const QUERIES: [&str; 7] = [
    "select id from external_support.tickets where id < 60 order by id",
    "select id, subject from external_support.tickets where id < 12 order by id desc",
    "values (1), (2), (3)",
    "select count(*) from external_support.tickets where id < 30",
    "select t.id, c.name from external_support.tickets t join external_support.customers c on c.id = t.customer_id where t.id < 20 order by 1",
    "select generate_series(1, 40)",
    "select typname from pg_catalog.pg_type where typname in ('int2', 'int4', 'int8', 'text') order by 1",
];
const STEPS_OF_A_CURSOR: [&str; 12] =
    ["", "next", "prior", "first", "last", "absolute 3", "absolute -2", "relative 2", "forward 3", "backward 2", "all", "0"];

#[test]
fn cursors_live_and_end_as_in_postgresql_whatever_the_order() {
    let sessions =
        std::env::var("PGWICKET_GENERATED").ok().and_then(|count| count.parse::<u64>().ok()).map_or(SESSIONS, |count| count / 50);
    let postgresql = Cluster::tenant_copy().login(AGENT);
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let mut text = String::new();
    for seed in 0..sessions.max(SESSIONS) {
        session(&mut text, seed);
    }
    let script = Script::parse(&text);
    let found = script.disagreements(&script.play(&postgresql, &pgwicket.login()));
    assert!(!pgwicket.log().contains("panicked"), "{}", pgwicket.log());
    assert!(
        found.is_empty(),
        "{} of {sessions} sessions\n\n{}",
        found.len(),
        found.iter().take(8).cloned().collect::<Vec<_>>().join("\n\n")
    );
}

fn session(text: &mut String, seed: u64) {
    let mut random = Random::new((seed + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
    writeln!(text, "case seed {seed}").unwrap();
    // The catalog is another database: one batch over both is two transactions (docs/decisions/0012).
    let (queries, most) = if seed.is_multiple_of(4) { (QUERIES.len(), 1) } else { (QUERIES.len() - 1, 3) };
    for _ in 0..STEPS {
        if random.below(3) > 0 {
            let count = if random.below(4) == 0 { 1 + random.below(3) } else { 1 };
            let statements: Vec<String> = (0..count).map(|_| statement(&mut random, &QUERIES[..queries])).collect();
            writeln!(text, "> Query \"{}\"", statements.join("; ")).unwrap();
        } else {
            for _ in 0..=random.below(most) {
                text.push_str(&messages(&mut random, &QUERIES[..queries]));
            }
            text.push_str("> Sync\n");
        }
        text.push_str("until ReadyForQuery\n");
    }
}

/// A statement of the simple protocol.
fn statement(random: &mut Random, queries: &[&str]) -> String {
    let cursor = format!("c{}", random.below(4));
    let savepoint = format!("s{}", random.below(3));
    match random.below(24) {
        0..=2 => "begin".to_owned(),
        3 | 4 => "commit".to_owned(),
        5 => "rollback".to_owned(),
        6 => ["commit and chain", "rollback and chain"][random.below(2)].to_owned(),
        7 => format!("savepoint {savepoint}"),
        8 => format!("rollback to {savepoint}"),
        9 => format!("release {savepoint}"),
        10..=13 => declare(random, queries, &cursor),
        14..=18 => format!("fetch {} from {cursor}", STEPS_OF_A_CURSOR[random.below(12)]),
        19 => format!("move {} in {cursor}", STEPS_OF_A_CURSOR[random.below(12)]),
        20 => format!("close {cursor}"),
        21 => ["close all", "discard all"][random.below(2)].to_owned(),
        22 => ["select 1 / 0", "select nope from external_support.tickets"][random.below(2)].to_owned(),
        _ => "select count(*) from external_support.tickets where id < 9".to_owned(),
    }
}

fn declare(random: &mut Random, queries: &[&str], cursor: &str) -> String {
    // Without one of the two, whether it goes backward depends on the plan.
    let scroll = ["scroll", "no scroll"][random.below(2)];
    let hold = ["", " with hold", " with hold"][random.below(3)];
    let query = random.pick(queries);
    format!("declare {cursor} {scroll} cursor{hold} for {query}")
}

/// A message or two of the extended protocol.
fn messages(random: &mut Random, queries: &[&str]) -> String {
    let cursor = format!("c{}", random.below(4));
    let rows = random.below(4);
    match random.below(8) {
        0 | 1 => format!("> Execute \"{cursor}\" {rows}\n"),
        2 => format!("> Describe P \"{cursor}\"\n"),
        3 => format!("> Close P \"{cursor}\"\n"),
        4 => format!("> Parse \"\" \"{}\"\n> Bind \"\" \"\" / /\n> Execute \"\" 0\n", declare(random, queries, &cursor)),
        5 => "> Execute \"p\" 2\n".to_owned(),
        6 => "> Parse \"\" \"select 1 / 0\"\n> Bind \"\" \"\" / /\n> Execute \"\" 0\n".to_owned(),
        _ => {
            let step = STEPS_OF_A_CURSOR[random.below(12)];
            format!("> Parse \"\" \"fetch {step} from {cursor}\"\n> Bind \"p\" \"\" / / {}\n> Execute \"p\" {rows}\n", random.below(2))
        }
    }
}
