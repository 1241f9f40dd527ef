//! What the sessions say: random, but a function of the stream of choices and of the states that the reference is in.

use super::Step;
use crate::generator::Random;

/// Sessions that may hold a connection of the pool at a time: one is left for the others.
const HOLDERS: usize = 2;

/// What ReadyForQuery said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    InBlock,
    Failed,
}

impl State {
    /// From the line of a ReadyForQuery.
    pub(super) fn of(line: &str) -> Option<Self> {
        match line.strip_prefix("ReadyForQuery ")? {
            "I" => Some(Self::Idle),
            "T" => Some(Self::InBlock),
            "E" => Some(Self::Failed),
            other => panic!("no state {other}"),
        }
    }
}

/// What is known of a session.
#[derive(Debug, Clone)]
struct Client {
    state: State,
    /// Names of its prepared statements; one that failed to be made is found out by its use.
    prepared: Vec<(String, usize)>,
    cursor: bool,
}

/// The sessions, as far as what they say next depends on it.
#[derive(Debug)]
pub(super) struct Generator {
    clients: Vec<Client>,
    /// Texts that were said: said again by others.
    said: Vec<String>,
    names: usize,
}

const ZONES: [&str; 7] =
    ["UTC", "Asia/Tokyo", "America/New_York", "Europe/Paris", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Auckland"];
const STYLES: [&str; 6] = ["ISO, MDY", "ISO, DMY", "SQL, DMY", "German, DMY", "Postgres, MDY", "ISO, YMD"];
const INTERVALS: [&str; 4] = ["postgres", "sql_standard", "iso_8601", "postgres_verbose"];
const DIGITS: [&str; 5] = ["1", "0", "-3", "-15", "3"];
const BYTES: [&str; 2] = ["hex", "escape"];
const PATHS: [&str; 3] = ["app, ops", "ops, app", "ops"];

const DATES: [&str; 13] = [
    "01/02/2024",
    "03-04-2026",
    "2024-02-01",
    "today",
    "TOMORROW",
    " yesterday ",
    "now",
    "epoch",
    "infinity",
    "31/12/2023",
    "Jan 8, 1999",
    "1/2/3",
    "nonsense",
];
const TIMES: [&str; 12] = [
    "2026-03-08 02:30",
    "2024-07-01 12:00",
    "now",
    "today",
    "10/11/2026 10:00 PM",
    "tomorrow 10:00",
    "2026-06-01 12:00 Europe/Paris",
    "yesterday",
    "2026-03-04 05:06+02",
    "epoch",
    "Now",
    "07/03/2026 23:59",
];
const SPANS: [&str; 6] = ["1 day 2:03:04", "-1 2:03:04", "P1DT2H", "1-2", "-1 day +2:03:04", "3 days ago"];
const DAYS: [&str; 8] = ["04:05", "23:30", "now", "04:05 PM", "12:00+02", "allballs", "02:30:30", "today"];
/// Moments about the changes to and from daylight saving time, and about midnight in one zone or another.
const CLOCK: [&str; 10] = [
    "2026-03-07 23:59:59",
    "2026-03-08 06:59:59.5",
    "2026-03-08 07:00:01",
    "2026-03-29 00:59:59",
    "2026-03-29 01:00:01.25",
    "2026-11-01 05:59:59",
    "2026-11-01 06:00:01",
    "2026-06-02 15:00:00",
    "2026-04-04 14:59:59",
    "2026-12-31 23:59:59.999",
];
/// None of them waits for a session that reads: a lock timeout would not end that, with a clock that stands still.
const DDL: [&str; 4] = [
    "analyze {items}",
    "analyze {parts}",
    "create index if not exists items_day on {items} (day)",
    "create table if not exists elsewhere (a int); alter table elsewhere add column if not exists b int",
];

impl Generator {
    pub(super) fn new(sessions: usize) -> Self {
        let client = Client { state: State::Idle, prepared: Vec::new(), cursor: false };
        Self { clients: vec![client; sessions], said: Vec::new(), names: 0 }
    }

    /// Takes note of the state that a session is in.
    pub(super) fn answered(&mut self, session: usize, state: State) {
        let client = &mut self.clients[session];
        client.cursor &= state == State::InBlock;
        client.state = state;
    }

    /// What happens next, and how many statements that is.
    pub(super) fn step(&mut self, random: &mut Random) -> (Step, u64) {
        match random.below(200) {
            0..=3 => return (Step::Clock(one(random, &CLOCK).to_owned()), 0),
            4 => return (Step::Ddl(one(random, &DDL)), 0),
            5 => {
                let session = random.below(self.clients.len());
                self.clients[session] = Client { state: State::Idle, prepared: Vec::new(), cursor: false };
                return (Step::Reconnect(session), 0);
            }
            _ => {}
        }
        let session = random.below(self.clients.len());
        let messages = match self.clients[session].state {
            State::Failed => query(one(random, &["rollback", "rollback", "commit", "select 1"])),
            State::InBlock if random.chance(25) => Self::end_block(random),
            State::InBlock if random.chance(10) => self.cursor(random, session),
            State::InBlock | State::Idle => self.statement(random, session),
        };
        let statements = messages.lines().filter(|line| line.starts_with("Query") || line.starts_with("Execute")).count();
        (Step::Send(session, messages), statements as u64)
    }

    fn end_block(random: &mut Random) -> String {
        query(one(random, &["commit", "rollback", "savepoint s", "rollback to s", "release s", "rollback"]))
    }

    fn cursor(&mut self, random: &mut Random, session: usize) -> String {
        if std::mem::replace(&mut self.clients[session].cursor, true) {
            return query(one(random, &["fetch 2 from c", "fetch all from c", "move 1 in c"]));
        }
        query(&format!("declare c no scroll cursor for {}", self.text(random)))
    }

    fn statement(&mut self, random: &mut Random, session: usize) -> String {
        let idle = self.clients[session].state == State::Idle;
        let holders = self.clients.iter().filter(|client| client.state != State::Idle).count();
        match random.below(100) {
            0..=17 => set(random),
            // A block begins at the source with its first statement there, so that is said at once (docs/decisions/0013).
            18..=22 if idle && holders < HOLDERS => query("begin; select now()"),
            23 if idle => {
                self.clients[session].prepared.clear();
                query(one(random, &["discard all", "reset all", "discard all"]))
            }
            24 => query(one(random, &["select 1 / 0", "select date 'nope'", "select nothing from app.items"])),
            25..=27 => query(&format!("copy ({}) to stdout", self.text(random))),
            28..=31 => query(&format!("{}; {}", self.text(random), self.text(random))),
            32..=55 => self.unnamed(random),
            56..=66 => self.prepare(random, session),
            67..=82 if !self.clients[session].prepared.is_empty() => self.run_prepared(random, session),
            _ => query(&self.text(random)),
        }
    }

    /// Parse, Bind, Describe, Execute of the unnamed statement; sometimes an error before or behind.
    fn unnamed(&mut self, random: &mut Random) -> String {
        let (text, parameters) = if random.chance(40) { Self::parameterised(random) } else { (self.text(random), 0) };
        let mut lines = vec![format!("Parse \"\" \"{text}\"")];
        if random.chance(30) {
            lines.push("Describe S \"\"".to_owned());
        }
        lines.push(bind(random, "", parameters));
        if random.chance(50) {
            lines.push("Describe P \"\"".to_owned());
        }
        lines.push(format!("Execute \"\" {}", random.pick(&[0, 0, 2])));
        if random.chance(8) {
            lines.extend(["Parse \"\" \"select 1 / 0\"", "Bind \"\" \"\" / /", "Execute \"\" 0"].map(str::to_owned));
        }
        lines.push("Sync".to_owned());
        lines.join("\n")
    }

    fn prepare(&mut self, random: &mut Random, session: usize) -> String {
        self.names += 1;
        let name = format!("n{}", self.names);
        let (text, parameters) = if random.chance(50) { Self::parameterised(random) } else { (self.kept(random), 0) };
        let once = reads_clock(&text);
        if !once {
            self.clients[session].prepared.push((name.clone(), parameters));
        }
        if random.chance(25) {
            return query(&format!("prepare {name} as {text}"));
        }
        let mut lines = vec![format!("Parse \"{name}\" \"{text}\"")];
        if once || random.chance(50) {
            lines.extend([format!("Describe S \"{name}\""), bind(random, &name, parameters), "Execute \"\" 0".to_owned()]);
        }
        lines.push("Sync".to_owned());
        lines.join("\n")
    }

    fn run_prepared(&mut self, random: &mut Random, session: usize) -> String {
        let prepared = &mut self.clients[session].prepared;
        let at = random.below(prepared.len());
        let (name, parameters) = prepared[at].clone();
        if random.chance(10) {
            prepared.remove(at);
            return query(&format!("deallocate {name}"));
        }
        if random.chance(25) {
            let values = (0..parameters).map(|_| format!("'{}'", random.pick(&TIMES)));
            let values = values.collect::<Vec<_>>().join(", ");
            return query(&if parameters > 0 { format!("execute {name}({values})") } else { format!("execute {name}") });
        }
        [bind(random, &name, parameters), "Describe P \"\"".to_owned(), "Execute \"\" 0".to_owned(), "Sync".to_owned()].join("\n")
    }

    /// A text without parameters: new, or one that somebody has said.
    fn text(&mut self, random: &mut Random) -> String {
        if !self.said.is_empty() && random.chance(50) {
            return random.pick(&self.said).clone();
        }
        let text = if random.chance(12) { folded(random) } else { plain(random) };
        self.said.push(text.clone());
        text
    }

    /// A text for a prepared statement. PostgreSQL keeps its plan, and in it what the planner has folded, until something
    /// happens to a table: that depends on more than the session has done, so nothing that is folded is in it.
    fn kept(&mut self, random: &mut Random) -> String {
        let said: Vec<&String> = self.said.iter().filter(|text| !text.contains("::text")).collect();
        if !said.is_empty() && random.chance(50) {
            return (*random.pick(&said)).clone();
        }
        let text = plain(random);
        self.said.push(text.clone());
        text
    }

    /// A text with parameters, and their number: all of them are moments.
    fn parameterised(random: &mut Random) -> (String, usize) {
        let (date, time) = (literal(random, &DATES), literal(random, &TIMES));
        match random.below(4) {
            0 => (format!("select $1::timestamptz, {date}::date, 'a'"), 1),
            1 => (format!("select id, at, day from app.items where at > $1::timestamptz and day <> {date} order by id limit 5"), 1),
            2 => (format!("select $1::timestamp, $2::date, {time}::timestamptz"), 2),
            _ => (format!("select count(*) from {{log}} where at between $1::timestamptz and {time}"), 1),
        }
    }
}

/// Whether a statement may read the clock when it is analysed. PostgreSQL freezes that at Parse, and pgwicket reads it anew in
/// each transaction (docs/decisions/0013): such a statement runs in the batch of its Parse only.
fn reads_clock(text: &str) -> bool {
    let text = text.to_lowercase();
    ["now", "today", "tomorrow", "yesterday", "e'", "u&'", "tm >", "timetz"].iter().any(|word| text.contains(word))
}

fn set(random: &mut Random) -> String {
    let (name, value) = match random.below(6) {
        0 => ("timezone", format!("'{}'", random.pick(&ZONES))),
        1 => ("datestyle", format!("'{}'", random.pick(&STYLES))),
        2 => ("intervalstyle", format!("'{}'", random.pick(&INTERVALS))),
        3 => ("extra_float_digits", one(random, &DIGITS).to_owned()),
        4 => ("bytea_output", format!("'{}'", random.pick(&BYTES))),
        _ => ("search_path", one(random, &PATHS).to_owned()),
    };
    let text = match random.below(10) {
        0 => format!("reset {name}"),
        1 => format!("set local {name} = {value}"),
        _ => format!("set {name} = {value}"),
    };
    if random.chance(20) { format!("Parse \"\" \"{text}\"\nBind \"\" \"\" / /\nExecute \"\" 0\nSync") } else { query(&text) }
}

/// One of these texts.
fn one(random: &mut Random, texts: &[&'static str]) -> &'static str {
    texts[random.below(texts.len())]
}

fn query(text: &str) -> String {
    format!("Query \"{text}\"")
}

fn bind(random: &mut Random, statement: &str, parameters: usize) -> String {
    let values: Vec<String> = (0..parameters).map(|_| format!("=\"{}\"", random.pick(&TIMES))).collect();
    format!("Bind \"\" \"{statement}\" / {} / {}", values.join(" "), random.pick(&["", "1", "0"]))
        .replace("/  /", "/ /")
        .trim_end()
        .to_owned()
}

/// A literal, in one of the ways to write it.
fn literal(random: &mut Random, values: &[&str]) -> String {
    let value = *random.pick(values);
    match random.below(12) {
        0 => format!("$${value}$$"),
        1 => format!("E'\\\\x{:02x}{}'", value.as_bytes()[0], &value[1..]).replace("\\\\", "\\"),
        2 => format!("U&'\\+{:06x}{}'", value.as_bytes()[0], &value[1..]),
        _ => format!("'{value}'"),
    }
}

/// What the planner folds, though a setting decides it.
fn folded(random: &mut Random) -> String {
    one(
        random,
        &[
            "select (1.1::float8 / 3)::text, f from app.items where id % 50 = 1",
            "select (interval '1 day 2:03:04' * 2)::text",
            "select ('\\xdead00'::bytea)::text",
            "select count(*) from app.items where (2.0::float8 / 3)::text like '0.6666666%7'",
            "select 'at ' || (1.0::float4 / 3)::text || (interval '1 mon')::text",
        ],
    )
    .to_owned()
}

fn plain(random: &mut Random) -> String {
    let (date, other) = (literal(random, &DATES), literal(random, &DATES));
    let (time, later) = (literal(random, &TIMES), literal(random, &TIMES));
    let (span, hour) = (literal(random, &SPANS), literal(random, &DAYS));
    let id = 1 + random.below(160);
    match random.below(26) {
        0 => format!("select {date}::date, {time}::timestamptz, {time}::timestamp"),
        1 => format!("select id from app.items where at > {time} order by id"),
        2 => format!("select id, at, lt, day from app.items where day = {date} or id = {id} order by id"),
        3 => format!("select count(*) from {{log}} where at <= {time}"),
        4 => format!("select id from app.items where at between {time} and {later} order by id"),
        5 => format!("select {span}::interval, iv from app.items where iv > {span} order by id limit 3"),
        6 => format!("select f, r, b from app.items where id in ({id}, 3, 103) order by id"),
        7 => "select now(), current_date, current_timestamp(0), localtimestamp, localtime(0)".to_owned(),
        8 => format!("select array[{date}, {other}]::date[], {time}::timestamptz - {span}::interval"),
        9 => format!("select daterange({date}, null), tstzrange({time}, null)"),
        10 => "select '{today,01/02/2024}'::date[], '[today,tomorrow)'::daterange, '[now,infinity)'::tstzrange".to_owned(),
        11 => format!("select coalesce(null, {date}::date), case when true then {time}::timestamptz end"),
        12 => format!("select x from (values ({date}::date), ({other})) v(x) order by 1"),
        13 => format!("select id from app.items where day in ({date}, {other}) order by id"),
        14 => "select count(*), min(name) from items".to_owned(),
        15 => format!("select id, name, at from items where id = {id}"),
        16 => format!("select id, day from app.items where name = 'today' and day < {date} order by id limit 4"),
        17 => format!("select id from app.items where at at time zone 'Europe/Paris' > {time} order by id limit 3"),
        18 => format!("select {hour}::timetz, {hour}::time"),
        19 => format!("select id, tm from app.items where tm > {hour} order by id limit 4"),
        20 => format!("select at, day, iv, f from app.items where id = {id}"),
        21 => "select days, span from app.items where id in (2, 102)".to_owned(),
        22 => format!("select id from app.items where days @> {date} order by id limit 2")
            .replace("@> '", "@> array[date '")
            .replace("' order", "'] order"),
        23 => format!("select id from app.items where span @> {time}::timestamptz order by id"),
        24 => {
            format!("with w as (select {date}::date as d) select i.id from app.items i, w where i.day = w.d or i.at::date = w.d order by 1")
        }
        _ => format!("select id from app.items where at > {time} union select id from app.log where day = {date} order by 1 limit 6")
            .replace("app.log", "{log}"),
    }
}
