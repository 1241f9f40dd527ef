//! Decides without the kernel whether a text may be sent: by running it.
//!
//! The judge is a role that may read the columns a policy allows, on two sources: one has other tenants' rows and they are
//! poison, the other has the agent's alone. What may be sent runs into no denied column, catalog or function, gives both
//! times the same, and no mark of a hidden value.

use std::{collections::BTreeMap, sync::LazyLock};

use crate::support::{Cluster, Database, Login, Message, Wire, repository, run};

/// The sources.
#[derive(Debug)]
pub(crate) struct Sources {
    /// As an operator has it: what policies are compiled against.
    pub(crate) open: Database,
    poison: Database,
    pure: Database,
}

/// A text to run.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) text: String,
    pub(crate) types: Vec<u32>,
    pub(crate) values: Vec<Option<String>>,
    /// How many rows are asked for; of more the rest is not compared.
    pub(crate) rows: u32,
}

/// What the judge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Equal rows.
    Equal,
    /// The same error.
    Fails,
    /// Nothing to say, and why.
    Silent(&'static str),
    /// It must not be sent, and why.
    Unsound(String),
}

/// A connection to each source.
#[derive(Debug)]
pub(crate) struct Judge {
    logins: [Login; 2],
    wires: [Wire; 2],
    pub(crate) bytes: u64,
}

const MARK: &[u8] = b"CANARY";
/// `regproc` and its kin: their values are names of the source.
const NAMING_TYPES: [u32; 11] = [24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191];
/// Rows asked for; more are not compared.
pub(crate) const ROWS: u32 = 300;
/// A plan that takes rows in the order of the tables, and the planner's own.
const PLAIN_PLANS: &str = "set enable_indexscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off; set enable_hashagg = off; \
    set enable_hashjoin = off; set enable_mergejoin = off; set enable_memoize = off; set enable_material = off; set join_collapse_limit = 1; \
    set from_collapse_limit = 1; set enable_incremental_sort = off; set statement_timeout = '2s'";
const OWN_PLANS: &str = "reset all";
/// What the kernel's fences ask the clock for.
const FENCE_CLOCK: &str = "pg_catalog.now() IS NULL";
/// Words of texts that answer otherwise each time.
const CHANGING: [&str; 16] = [
    "now",
    "today",
    "tomorrow",
    "yesterday",
    "random",
    "uuid",
    "clock",
    "timeofday",
    "age",
    "timestamp",
    "current",
    "localtime",
    "date",
    "time",
    "txid",
    "allballs",
];

impl Sources {
    /// The ones of this process: roles belong to the cluster, and two may not make one at a time.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<Sources> = LazyLock::new(Sources::start);
        &SHARED
    }

    fn start() -> Self {
        let script = |database: &Database, path: &str, side: &str| {
            run(database.psql().arg("-q").args(["-v", &format!("side={side}")]).arg("-f").arg(repository(path))).ok();
        };
        let filled = |name: &str| {
            let database = Cluster::fresh(&format!("attack_{name}"));
            script(&database, "tests/it/generator/data.sql", "one");
            database
        };
        let side = |name: &str| {
            let database = filled(name);
            script(&database, "tests/it/attack/source.sql", name);
            database
        };
        // The cluster's roles come with the support desk.
        let desk = Cluster::desk();
        desk.sql("create role attack_judge login password 'correct horse battery'");
        Self { open: filled("open"), poison: side("poison"), pure: side("pure") }
    }
}

impl Judge {
    pub(crate) fn sit(sources: &Sources) -> Self {
        let logins = [&sources.poison, &sources.pure].map(|database| database.login("attack_judge"));
        Self { wires: [0, 1].map(|at: usize| logins[at].wire().unwrap()), logins, bytes: 0 }
    }

    /// A verdict for each.
    pub(crate) fn judge(&mut self, texts: &[Sent]) -> Vec<Verdict> {
        let [poison, pure] = self.both(texts);
        poison.into_iter().zip(pure).zip(texts).map(|((poison, pure), text)| self.compare(text, &poison, &pure)).collect()
    }

    fn both(&mut self, texts: &[Sent]) -> [Vec<Answer>; 2] {
        let asked: Vec<Vec<u8>> = texts.iter().map(Sent::messages).collect();
        for wire in &mut self.wires {
            drop(wire.send_raw(&asked.concat()));
        }
        let mut answers = [Vec::new(), Vec::new()];
        for (at, answers) in answers.iter_mut().enumerate() {
            while answers.len() < texts.len() {
                if let Ok(messages) = self.wires[at].until_ready() {
                    answers.push(Answer::of(messages));
                    continue;
                }
                // Out of memory, or the text ended the session: the rest is asked again.
                self.wires[at] = self.logins[at].wire().unwrap();
                answers.push(Answer { error: Some("the session ended".to_owned()), ..Answer::default() });
                drop(self.wires[at].send_raw(&asked[answers.len()..].concat()));
            }
        }
        self.bytes += answers.iter().flatten().map(|answer| answer.bytes).sum::<u64>();
        answers
    }

    fn compare(&mut self, text: &Sent, poison: &Answer, pure: &Answer) -> Verdict {
        for answer in [poison, pure] {
            if answer.code() == "42501" {
                return Verdict::Unsound(format!("denied: {}", answer.error.as_deref().unwrap_or_default()));
            }
            if let Some(naming) = answer.types.iter().find(|oid| NAMING_TYPES.contains(oid)) {
                return Verdict::Unsound(format!("a result of type {naming}"));
            }
        }
        let holds = |bytes: &[u8]| bytes.windows(MARK.len()).any(|window| window == MARK);
        let marked = poison.rows.iter().any(|row| holds(row)) || poison.error.as_ref().is_some_and(|error| holds(error.as_bytes()));
        if marked && !text.says("CANARY") {
            return Verdict::Unsound("a mark".to_owned());
        }
        match (&poison.error, &pure.error) {
            _ if poison.code() == "57014" || pure.code() == "57014" => Verdict::Silent("timed out"),
            _ if poison.more || pure.more => Verdict::Silent("too many rows"),
            (Some(one), Some(other)) if one == other => Verdict::Fails,
            (None, None) if poison.rows == pure.rows => Verdict::Equal,
            (Some(_), Some(_)) if poison.code() == pure.code() => Verdict::Fails,
            _ if text.changes() => Verdict::Silent("answers otherwise each time"),
            _ => self.look_again(text),
        }
    }

    /// Two answers differ: by what the agent may not see, or by what SQL leaves open?
    fn look_again(&mut self, text: &Sent) -> Verdict {
        let mut own_errors = Vec::new();
        let mut told = Vec::new();
        for plans in [OWN_PLANS, PLAIN_PLANS] {
            for wire in &mut self.wires {
                wire.simple(plans).unwrap();
            }
            let [poison, pure] = self.both(std::slice::from_ref(text)).map(|mut answers| answers.remove(0));
            own_errors.extend(pure.error.clone());
            told.push((poison, pure));
        }
        for wire in &mut self.wires {
            wire.simple(OWN_PLANS).unwrap();
        }
        let plain = &told[1];
        if told.iter().any(|(poison, pure)| poison.code() == "57014" || pure.code() == "57014") {
            return Verdict::Silent("timed out");
        }
        // An error that the agent's own rows raise as well may come or not, by plan.
        if let Some(error) = told.iter().find_map(|(poison, _)| poison.error.clone()) {
            let code = |error: &str| error.split(' ').next().unwrap_or_default().to_owned();
            if own_errors.iter().any(|own| code(own) == code(&error)) {
                return Verdict::Silent("own rows fail, by plan");
            }
        }
        if plain.0.error == plain.1.error && plain.0.rows == plain.1.rows && told[0].0.error == told[0].1.error {
            return Verdict::Silent("SQL leaves it open");
        }
        if let Some(whole) = text.unlimited()
            && self.picks_of(&whole, &told)
        {
            return Verdict::Silent("LIMIT picks others of the agent's own rows");
        }
        Verdict::Unsound(format!("tells\n  poison: {}\n  pure:   {}\n  plain plans: {} / {}", told[0].0, told[0].1, plain.0, plain.1))
    }
}

impl Judge {
    /// Whether both sources gave rows that the agent's own rows alone can give: as many, each of them in the whole answer.
    fn picks_of(&mut self, whole: &Sent, told: &[(Answer, Answer)]) -> bool {
        let [_, pure] = self.both(std::slice::from_ref(whole)).map(|mut answers| answers.remove(0));
        let within = |answer: &Answer| {
            let mut left = pure.rows.clone();
            answer.error.is_none()
                && answer.rows.iter().all(|row| left.iter().position(|own| own == row).map(|at| left.swap_remove(at)).is_some())
        };
        let counts = told.iter().all(|(poison, own)| poison.rows.len() == own.rows.len());
        pure.error.is_none() && !pure.more && counts && told.iter().all(|(poison, _)| within(poison))
    }
}

impl Sent {
    /// The same without its LIMIT, when it has one, and all the rows of the answer.
    fn unlimited(&self) -> Option<Self> {
        let mut tree = pg_query::parse(&self.text, pg_query::ParserOptions::DEFAULT).ok()?.protobuf;
        let Some(pg_query::NodeEnum::SelectStmt(select)) = tree.stmts.first_mut()?.stmt.as_mut()?.node.as_mut() else { return None };
        select.limit_count.take()?;
        select.limit_offset = None;
        select.limit_option = pg_query::protobuf::LimitOption::Default.into();
        Some(Self { text: tree.deparse(pg_query::DeparseOptions::default()).ok()?, rows: 100_000, ..self.clone() })
    }

    /// Parse, Bind, Describe, Execute and Sync, as bytes: a batch of texts is one write.
    fn messages(&self) -> Vec<u8> {
        let count = |items: usize| u16::try_from(items).unwrap().to_be_bytes();
        let mut parse = format!("\0{}\0", self.text).into_bytes();
        parse.extend(count(self.types.len()));
        for oid in &self.types {
            parse.extend(oid.to_be_bytes());
        }
        let mut bind = vec![0, 0, 0, 0];
        bind.extend(count(self.values.len()));
        for value in &self.values {
            match value {
                Some(value) => {
                    bind.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                    bind.extend(value.as_bytes());
                }
                None => bind.extend((-1_i32).to_be_bytes()),
            }
        }
        bind.extend([0, 0]);
        let execute = [&b"\0"[..], &self.rows.to_be_bytes()].concat();
        let mut bytes = Vec::new();
        for (tag, body) in [(b'P', &parse[..]), (b'B', &bind), (b'D', b"P\0"), (b'E', &execute), (b'S', b"")] {
            bytes.push(tag);
            bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend(body);
        }
        bytes
    }

    /// Whether it may answer otherwise each time. The clock in the kernel's own fence decides nothing, so it is looked past: a judge
    /// that took it for one would be silent on every fenced text.
    fn changes(&self) -> bool {
        let text = self.text.replace(FENCE_CLOCK, "");
        let without = Self { text, ..self.clone() };
        CHANGING.iter().any(|word| without.says(word))
    }

    fn says(&self, word: &str) -> bool {
        let lower = word.to_ascii_lowercase();
        self.text.to_ascii_lowercase().contains(&lower)
            || self.values.iter().flatten().any(|value| value.to_ascii_lowercase().contains(&lower))
    }
}

#[derive(Debug, Default, Clone)]
struct Answer {
    /// SQLSTATE and message.
    error: Option<String>,
    /// Sorted: the order is the plan's where none is asked for, and equal where one is.
    rows: Vec<Vec<u8>>,
    types: Vec<u32>,
    more: bool,
    bytes: u64,
}

impl Answer {
    fn of(messages: Vec<Message>) -> Self {
        let mut answer = Self::default();
        for message in messages {
            answer.bytes += message.body.len() as u64 + 5;
            match message.tag {
                b'E' if answer.error.is_none() => {
                    let field = |code| message.field(code).unwrap_or_default();
                    answer.error = Some(format!("{} {} {}", field('C'), field('M'), field('D')));
                }
                b'D' => answer.rows.push(message.body),
                b's' => answer.more = true,
                b'T' => answer.types = types(&message.body),
                _ => {}
            }
        }
        if answer.error.is_some() {
            // How many came before an error is the plan's.
            answer.rows.clear();
        }
        answer.rows.sort();
        answer
    }

    fn code(&self) -> &str {
        self.error.as_deref().and_then(|error| error.split(' ').next()).unwrap_or_default()
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(error) = &self.error {
            return f.write_str(error);
        }
        let rows: Vec<_> = self.rows.iter().take(3).map(|row| String::from_utf8_lossy(row).into_owned()).collect();
        write!(f, "{} rows {rows:?}", self.rows.len())
    }
}

/// The type OIDs of a RowDescription.
fn types(body: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let Some(field) = rest.get(end + 1..end + 19) else { break };
        found.push(u32::from_be_bytes([field[6], field[7], field[8], field[9]]));
        rest = &rest[end + 19..];
    }
    found
}

/// Counts by word.
pub(crate) type Counts = BTreeMap<String, u64>;
