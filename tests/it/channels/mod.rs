//! Every channel by which an agent could learn of rows, values and names that it may not see, as families of statements
//! (`cases.txt`): twins that differ in nothing else must answer with the same bytes, and as a copy of what the agent may see does.
//!
//! Each statement is asked in every way (simple, extended, with parameters, COPY, a cursor, prepared and run seven times), on sources
//! whose planners are led in different ways (`places.rs`), with everything analysed. `open.txt` lists the families that still tell.
//!
//! `PGWICKET_CHANNELS=text,…` asks the families alone whose name holds one of these, and prints every finding. With `PGWICKET_CONTROL` (a rule
//! is taken out: `scripts/controls`) one session asks, and is done with the first finding.

mod cases;
mod client;
mod control;
mod places;
mod relations;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use cases::{DOORS, Door, Family, Step, families, open, steps};
use client::{Answer, Client};
use places::{PROFILES, Places, agent};

/// Sessions that ask at once.
const CLIENTS: usize = 3;

/// Names a rule that is not there.
const CONTROL: &str = "PGWICKET_CONTROL";

/// Errors by which pgwicket refuses a statement, whoever's rows are there.
const REFUSALS: &[&str] = &["0A000", "42501", "42704", "42P01", "42883", "3F000", "22023", "25006"];

/// What an agent may set; a server that does not take one is not asked under it.
const SETTINGS: &[&str] = &[
    "set timezone = 'Etc/GMT+12'",
    "set timezone = 'Pacific/Kiritimati'",
    "set timezone = 'Asia/Kathmandu'",
    "set datestyle = 'SQL, DMY'",
    "set datestyle = 'German'",
    "set datestyle = 'Postgres, YMD'",
    "set intervalstyle = 'sql_standard'",
    "set intervalstyle = 'iso_8601'",
    "set extra_float_digits = -15",
    "set extra_float_digits = 0",
    "set bytea_output = 'escape'",
    "set lc_monetary = 'C.UTF-8'",
    "set xmlbinary = 'hex'",
];

#[test]
fn no_channel_tells_of_what_an_agent_may_not_see() {
    let places = Places::start();
    let only = std::env::var("PGWICKET_CHANNELS").ok();
    let families: Vec<Family> = families()
        .into_iter()
        .filter(|family| {
            only.as_ref().is_none_or(|only| only.split(',').any(|only| family.name.contains(only)))
                && family.options.since <= places.version
        })
        .collect();
    let control = std::env::var(CONTROL).is_ok_and(|rule| !rule.is_empty());
    if control {
        return until_told(&places, &families);
    }
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS.min(families.len()) {
            scope.spawn(|| {
                while let Some(family) = families.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = Judge { places: &places, family, outcome: Outcome::default(), first: false }.family();
                    outcomes.lock().unwrap().insert(family.name.clone(), outcome);
                }
            });
        }
    });
    report(&outcomes.into_inner().unwrap(), &places, only.is_some());
}

/// A control: fails with the first statement that tells.
fn until_told(places: &Places, families: &[Family]) {
    let mut asked = 0;
    for family in families {
        let outcome = Judge { places, family, outcome: Outcome::default(), first: true }.family();
        asked += outcome.asked;
        if let Some((case, findings)) = outcome.telling.first_key_value() {
            panic!("told at statement {asked}: {case}\n{}", findings.join("\n"));
        }
    }
    eprintln!("{asked} statements, and none tells");
}

/// What came of a family.
#[derive(Debug, Default)]
struct Outcome {
    asked: usize,
    equal: usize,
    refused: usize,
    /// Not comparable: what is the agent's own fails in the copy, and by plan in the twins.
    failed: usize,
    /// Cases that tell, and what they tell.
    telling: BTreeMap<String, Vec<String>>,
}

fn report(outcomes: &BTreeMap<String, Outcome>, places: &Places, all: bool) {
    let open = open(places.version);
    let mut wrong = Vec::new();
    eprintln!("relations that the policy's compiler refuses: {:?}", places.refused);
    for (name, outcome) in outcomes {
        let Outcome { asked, equal, refused, failed, telling } = outcome;
        let members = telling.len();
        eprintln!("{name}: {asked} asked, {equal} equal, {refused} refused, {failed} fail in the copy, {members} members tell");
        for (case, findings) in telling {
            let shown = if all { findings.len() } else { 1 };
            eprintln!("  {case}");
            findings.iter().take(shown).for_each(|finding| eprintln!("    {finding}"));
        }
        match open.get(name) {
            None if members > 0 => wrong.push(format!("{name}: {members} members tell of what an agent may not see")),
            Some(reason) if members == 0 => wrong.push(format!("{name} is in open.txt and tells of nothing: strike it ({reason})")),
            None | Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Judge<'a> {
    places: &'a Places,
    family: &'a Family,
    outcome: Outcome,
    /// Whether the first finding is enough.
    first: bool,
}

/// A session with each of the twins, and with the copy.
struct Sessions {
    without: Client,
    with: Client,
    copy: Client,
}

impl Sessions {
    fn start(places: &Places, profile: &str) -> Self {
        let agent = agent(profile);
        Self {
            without: Client::start(&places.without.login_as(&agent), &[]),
            with: Client::start(&places.with.login_as(&agent), &places.writers),
            copy: Client::start(&places.copy, &[]),
        }
    }
}

impl Judge<'_> {
    fn family(mut self) -> Outcome {
        let family = self.family;
        let cases: Vec<&String> =
            family.cases.iter().filter(|case| !self.places.refused.iter().any(|name| case.split(' ').any(|word| word == name))).collect();
        let dropped = family.cases.len() - cases.len();
        self.outcome.asked += dropped;
        self.outcome.refused += dropped;
        for (number, (profile, _)) in PROFILES.iter().enumerate() {
            let mut sessions = Sessions::start(self.places, profile);
            for (place, case) in cases.iter().enumerate() {
                for door in DOORS {
                    // Every way with the usual planner; with the others the first, and one of the others in turn.
                    let asked = number == 0 || door == Door::Simple || (place + number) % DOORS.len() == door as usize;
                    if let Some(steps) = steps(case, door, family.options.script).filter(|_| asked) {
                        self.asked(&mut sessions, case, &format!("{door:?}, {profile}"), &steps, &steps);
                        if self.is_over() {
                            return self.outcome;
                        }
                    }
                }
            }
        }
        if family.options.settings {
            self.settings(&cases);
        }
        self.outcome
    }

    /// Asks the twins what is sent, and the copy what the agent wrote.
    fn asked(&mut self, sessions: &mut Sessions, case: &str, how: &str, sent: &[Step], written: &[Step]) {
        let ordered = case.contains("order by");
        // Writers of two cases would meet each other.
        let _alone = case.contains("w1> ").then(|| self.places.writing.lock().unwrap());
        let without = sessions.without.play(sent, ordered);
        let with = sessions.with.play(sent, ordered);
        let copy = if self.family.options.nocopy { without.clone() } else { sessions.copy.play(written, ordered) };
        self.outcome.asked += 1;
        if self.family.options.marks {
            let marked = String::from_utf8_lossy(&with.bytes())
                .match_indices("hidden")
                .any(|(at, mark)| with.bytes().get(at + mark.len()).is_some_and(u8::is_ascii_digit));
            if marked {
                self.tells(case, format!("{how}: {}", with.says()));
            } else {
                self.outcome.equal += 1;
            }
        } else if without != with && !self.family.options.nocopy && copy.code().is_some_and(|code| code.starts_with('2')) {
            self.outcome.failed += 1;
        } else if without != with {
            self.tells(case, format!("{how}: without {} / with {} / copy {}", without.says(), with.says(), copy.says()));
        } else if self.family.options.nocopy {
            self.outcome.equal += 1;
        } else {
            self.against_copy(case, how, &without, &copy);
        }
    }

    /// The twins are alike: as the copy is, refused, or of another mind.
    fn against_copy(&mut self, case: &str, how: &str, twins: &Answer, copy: &Answer) {
        let refused = |code: &str| REFUSALS.contains(&code) || self.family.options.allowed.as_deref() == Some(code);
        match (twins.code(), copy.code()) {
            (None, None) if twins.results() == copy.results() => self.outcome.equal += 1,
            // What is the agent's own may fail or not, by plan; here it does in the copy.
            (_, Some(_)) => self.outcome.failed += 1,
            (Some(code), _) if refused(&code) => self.outcome.refused += 1,
            // The copy's planner is led as usual.
            (Some(code), None) if code.starts_with('2') && !how.ends_with(PROFILES[0].0) => self.outcome.failed += 1,
            _ => self.tells(case, format!("{how}: both twins {} / copy {}", twins.says(), copy.says())),
        }
    }

    /// No setting may move an answer of either twin, however it is asked.
    fn settings(&mut self, cases: &[&String]) {
        let mut sessions = Sessions::start(self.places, PROFILES[0].0);
        for case in cases {
            for door in [Door::Simple, Door::Extended, Door::Prepared] {
                if let Some(steps) = steps(case, door, false) {
                    self.moved(&mut sessions, case, &steps);
                    if self.is_over() {
                        return;
                    }
                }
            }
        }
    }

    /// No setting may move the answer to what is sent.
    fn moved(&mut self, sessions: &mut Sessions, case: &str, sent: &[Step]) {
        let expected = sessions.without.play(sent, true);
        for setting in SETTINGS {
            if sessions.without.set(setting) && sessions.with.set(setting) {
                let answers = [sessions.without.play(sent, true), sessions.with.play(sent, true)];
                self.outcome.asked += 1;
                match answers.iter().find(|answer| **answer != expected) {
                    None => self.outcome.equal += 1,
                    Some(answer) => self.tells(case, format!("{setting}: {} / usually {}", answer.says(), expected.says())),
                }
            }
            sessions.without.set("reset all");
            sessions.with.set("reset all");
        }
    }

    fn is_over(&self) -> bool {
        self.first && !self.outcome.telling.is_empty()
    }

    fn tells(&mut self, case: &str, finding: String) {
        self.outcome.telling.entry(case.to_owned()).or_default().push(finding);
    }
}
