//! Several sessions of two tenants, interleaved over one small pool: each is answered as on a PostgreSQL of its own.
//!
//! What a statement answers depends on its text, its parameters, its own session's settings, the clock and the rows it may
//! see. So the sessions change their settings along the way, hold transactions open, fail, and prepare; the clock moves (of
//! the source and of the reference alike, by libfaketime); the source's schema changes where no client looks. Whatever one of
//! them says goes through pgwicket to a pool of three connections, and to a backend of its own in a database that holds the
//! tenant's rows only; both answers must be the same, byte for byte. A difference ends the run and is made as small as it gets.

mod generate;
mod world;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use crate::{
    generator::Random,
    support::{AGENT, Cluster, Pgwicket, Wire, number, repository},
    wire::{Script, encoded, line},
};
use generate::{Generator, State};
use world::World;

/// Statements that one run sends; `PGWICKET_INTERLEAVED` asks for others, `PGWICKET_INTERLEAVED_SECONDS` for as many as fit.
const STATEMENTS: u64 = 20_000;
/// Sessions at a time, every second one of the other tenant.
const SESSIONS: usize = 6;
/// Attempts to make a failing script smaller.
const ATTEMPTS: usize = 400;
/// Findings after which a run ends. The first is made small; of the others, the last step is told.
const FINDINGS: usize = 8;
/// Steps between two fresh starts: a failing script is no longer than this.
const ROUND: usize = 600;

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A session sends these messages, one a line; the last of them is a Query or a Sync.
    Send(usize, String),
    /// A session ends, and another takes its place.
    Reconnect(usize),
    /// The clock stands at this time.
    Clock(String),
    /// The superuser does this at the source and in the copies.
    Ddl(&'static str),
}

/// One client, twice: through pgwicket, and on a backend of its own.
struct Session {
    through: Side,
    alone: Side,
}

/// A connection, and the settings that the server has reported on it.
struct Side {
    wire: Wire,
    reported: BTreeMap<String, String>,
}

/// What was answered otherwise.
#[derive(Debug)]
struct Difference {
    alone: Vec<String>,
    through: Vec<String>,
}

#[test]
fn each_session_is_answered_as_on_a_postgresql_of_its_own() {
    let world = World::start();
    let seed = number("PGWICKET_SEED").unwrap_or(1);
    let until = number("PGWICKET_INTERLEAVED_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let wanted = number("PGWICKET_INTERLEAVED").unwrap_or(STATEMENTS);
    let (mut sent, mut round, mut found) = (0, 0, Vec::new());
    while until.map_or(sent < wanted, |until| Instant::now() < until) {
        let mut random = Random::new((seed + round + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        let (statements, finding) = play_round(&world, &mut random, found.is_empty());
        sent += statements;
        round += 1;
        found.extend(finding.map(|finding| format!("seed {seed}, round {}, after {sent} statements:\n{finding}", round - 1)));
        if found.len() == FINDINGS {
            break;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    eprintln!("interleaved: {sent} statements in {round} rounds from seed {seed}, all answered as on a PostgreSQL of their own");
    assert!(!world.log().contains("panicked"), "{}", world.log());
}

/// The kinds by name (`tests/wire/shared-state.pgt`), on every version: a session, then another one that says the same.
#[test]
fn what_another_session_said_decides_nothing() {
    let text = fs::read_to_string(repository("tests/wire/shared-state.pgt")).unwrap();
    let script = Script::parse(&text);
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let found = script.disagreements(&script.play(&Cluster::tenant_copy().login(AGENT), &pgwicket.login()));
    assert!(found.is_empty(), "{}", found.join("\n\n"));
}

/// A round from a fresh start; how many statements it sent, and what was answered otherwise.
fn play_round(world: &World, random: &mut Random, first: bool) -> (u64, Option<String>) {
    let mut sessions = fresh(world);
    let mut generator = Generator::new(SESSIONS);
    let (mut steps, mut sent) = (Vec::new(), 0);
    while steps.len() < ROUND {
        let (step, statements) = generator.step(random);
        steps.push(step.clone());
        sent += statements;
        let states = match play(world, &mut sessions, &step) {
            Ok(state) => state,
            Err(difference) if first => {
                let (smallest, difference) = shrink(world, &steps).unwrap_or((steps, difference));
                return (sent, Some(script(&smallest, &difference)));
            }
            Err(difference) => return (sent, Some(script(&[step], &difference))),
        };
        if let (Some(state), Step::Send(session, _)) = (states, &step) {
            generator.answered(*session, state);
        }
    }
    (sent, None)
}

/// Sessions as they are at first, and connections to the source that know nothing.
fn fresh(world: &World) -> Vec<Session> {
    world.reset();
    (0..SESSIONS).map(|session| connect(world, session)).collect()
}

fn connect(world: &World, session: usize) -> Session {
    let [through, alone] = world.logins(session).map(|login| Side { wire: login.wire().unwrap(), reported: BTreeMap::new() });
    Session { through, alone }
}

/// Plays one step; in which state the session is then.
fn play(world: &World, sessions: &mut [Session], step: &Step) -> Result<Option<State>, Difference> {
    match step {
        Step::Clock(time) => world.set_clock(time),
        Step::Ddl(text) => world.ddl(text),
        Step::Reconnect(session) => sessions[*session] = connect(world, *session),
        Step::Send(session, messages) => {
            let Session { through, alone } = &mut sessions[*session];
            let mut answers =
                [through.answer(&messages.replace("{log}", "app.log")), alone.answer(&messages.replace("{log}", world::FILTERED))];
            let state = answers[1].last().and_then(|ready| State::of(ready));
            if state == Some(State::Idle) {
                // When a setting is reported within a block that fails is the server's own affair.
                answers[0].extend(through.settings());
                answers[1].extend(alone.settings());
            }
            let [through, alone] = answers;
            return if through == alone { Ok(state) } else { Err(Difference { alone, through }) };
        }
    }
    Ok(None)
}

impl Side {
    /// The settings reported so far, where they were reported at all.
    fn settings(&self) -> impl Iterator<Item = String> {
        self.reported.iter().map(|(name, value)| format!("{name} is reported as {value}"))
    }

    /// What the server says to these messages, up to ReadyForQuery.
    fn answer(&mut self, messages: &str) -> Vec<String> {
        let (settings, answers): (Vec<_>, Vec<_>) =
            answer(&mut self.wire, messages).into_iter().partition(|line| line.starts_with("ParameterStatus "));
        for setting in settings {
            let (name, value) = setting["ParameterStatus ".len()..].split_once('=').unwrap();
            // PostgreSQL reports it from version 18 on, pgwicket does not.
            if name == "search_path" {
                continue;
            }
            self.reported.insert(name.to_owned(), value.to_owned());
        }
        answers
    }
}

/// What a server says to these messages, up to ReadyForQuery.
fn answer(wire: &mut Wire, messages: &str) -> Vec<String> {
    let bytes: Vec<u8> = messages.lines().flat_map(|message| encoded(message, &world::no_login())).collect();
    wire.send_raw(&bytes).unwrap();
    let mut lines = Vec::new();
    loop {
        let message = match wire.receive() {
            Ok(message) => message,
            Err(error) => {
                lines.push(format!("closed: {error}"));
                return lines;
            }
        };
        // Notices are a server's own words, as is the text of an error; its code is not.
        if message.tag == b'N' {
            continue;
        }
        let Some(line) = line(&message) else { continue };
        let line = if message.tag == b'E' { format!("ErrorResponse {}", message.field('C').unwrap_or_default()) } else { line };
        let last = message.tag == b'Z';
        lines.push(line);
        if last {
            return lines;
        }
    }
}

/// The shortest script found that still shows a difference: halves, quarters, … and single steps are left out while it does.
fn shrink(world: &World, steps: &[Step]) -> Option<(Vec<Step>, Difference)> {
    let mut smallest = (steps.to_vec(), shows(world, steps)?);
    let (mut piece, mut attempts) = (steps.len() / 2, 0);
    while piece > 0 {
        let (mut from, mut shorter) = (0, false);
        while from < smallest.0.len() && attempts < ATTEMPTS {
            attempts += 1;
            let mut candidate = smallest.0.clone();
            candidate.drain(from..(from + piece).min(candidate.len()));
            match shows(world, &candidate) {
                Some(difference) => (smallest, shorter) = ((candidate, difference), true),
                None => from += piece,
            }
        }
        piece = if piece == 1 && shorter && attempts < ATTEMPTS { 1 } else { piece / 2 };
    }
    Some(smallest)
}

/// The difference that a script ends in, if it does. What finds no free connection shows nothing.
fn shows(world: &World, steps: &[Step]) -> Option<Difference> {
    let mut sessions = fresh(world);
    let difference = steps.iter().find_map(|step| play(world, &mut sessions, step).err())?;
    let starved = |lines: &[String]| lines.iter().any(|line| line.starts_with("ErrorResponse 53300") || line.starts_with("closed"));
    (!starved(&difference.through)).then_some(difference)
}

fn script(steps: &[Step], difference: &Difference) -> String {
    let lines = steps.iter().map(|step| match step {
        Step::Send(session, messages) => {
            let tenant = world::TENANTS[session % 2].0;
            format!("session {session} ({tenant})\n  > {}", messages.replace('\n', "\n  > "))
        }
        Step::Reconnect(session) => format!("session {session} connects anew"),
        Step::Clock(time) => format!("the clock: {time}"),
        Step::Ddl(text) => format!("at the source: {text}"),
    });
    let lines: Vec<String> = lines.collect();
    let Difference { alone, through } = difference;
    format!("{}\nPostgreSQL\n  {}\npgwicket\n  {}", lines.join("\n"), alone.join("\n  "), through.join("\n  "))
}
