//! What a run found: checks, how often each held, findings with what to do, and what was not run.

use std::collections::BTreeMap;

use crate::policy::Place;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// A promise does not hold.
    Error,
    /// The promise rests on less than it should.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// For tables and JSON; also SARIF's `level`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A rule that is checked.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Check {
    /// Stable name, for programs.
    pub(super) id: &'static str,
    /// The rule in one line.
    pub(super) title: &'static str,
    /// Why it matters.
    pub(super) why: &'static str,
}

/// Every check, in the order of the report.
pub(super) static CHECKS: &[&Check] = &[
    &ROLE,
    &WRITE,
    &CREATE,
    &READ,
    &FUNCTIONS,
    &EXTENSIONS,
    &TENANCY,
    &ROWS,
    &KEYS,
    &HIDDEN,
    &MASKS,
    &PLANNER,
    &STATEMENTS,
    &EFFECTS,
    &CATALOGS,
    &BYTES,
    &PROTOCOLS,
    &NONINTERFERENCE,
];

macro_rules! checks {
    ($($name:ident $id:literal $title:literal $why:literal)*) => {
        $(pub(super) static $name: Check = Check { id: $id, title: $title, why: $why };)*
    };
}

checks! {
    ROLE "credential/role" "the role is an ordinary one"
        "if pgwicket failed, or its URL leaked, the role is what is left between an agent and the server"
    WRITE "credential/write" "the role can write nothing"
        "reads need no right to write; READ ONLY transactions are a floor, not a wall"
    CREATE "credential/create" "the role can create nothing"
        "objects of its own are a place to run code from and to carry data out"
    READ "credential/read" "the role can read only what the policy exposes"
        "what the role cannot read no mistake of a policy or of pgwicket can give away"
    FUNCTIONS "credential/functions" "the role can execute only functions that the policy needs"
        "a SECURITY DEFINER function runs with its owner's rights"
    EXTENSIONS "credential/extensions" "no extension reaches out of the database"
        "dblink and foreign data wrappers run SQL elsewhere, outside a READ ONLY transaction"
    TENANCY "policy/tenancy" "the policy says whose each row is"
        "isolation is as good as the tenant column that the policy names"
    ROWS "isolation/rows" "an agent sees exactly its tenant's rows"
        "the same rows, computed on the source without pgwicket, are the reference"
    KEYS "isolation/foreign-keys" "asking for another tenant's key finds no row"
        "keys can be guessed; a row found by one is a leak"
    HIDDEN "isolation/hidden-columns" "a column that is not exposed does not exist"
        "a hidden column that can be named in any clause can be read from which rows come back"
    MASKS "isolation/masks" "a masked value never comes out"
        "a mask that can be seen through, or compared through, hides nothing"
    PLANNER "isolation/planner" "an expression that fails on other tenants' rows does not fail here"
        "a planner that runs an agent's predicate before the tenant's tells by an error what it read"
    STATEMENTS "isolation/statements" "generated statements answer as on the tenant's rows alone"
        "joins, aggregates, windows and subqueries are where rewriting goes wrong"
    EFFECTS "isolation/side-effects" "no statement changes the source or its session"
        "READ ONLY transactions let locks, notifications, large objects and settings pass"
    CATALOGS "isolation/catalogs" "catalogs and statistics tell nothing of the source"
        "pg_stats holds values, pg_stat_activity holds other sessions' SQL"
    BYTES "isolation/bytes" "no value of another tenant or hidden column is in any byte received"
        "errors, notices and row descriptions are answers too"
    PROTOCOLS "isolation/protocols" "the extended protocol answers as the simple one, in text and in binary form"
        "drivers prepare what they ask; a statement that is governed on one way only is not governed"
    NONINTERFERENCE "isolation/noninterference" "what the agent may not see changes no byte of what it receives"
        "this is isolation itself: two sources that differ only in other tenants' rows and hidden columns look the same"
}

/// Something a person should act on.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    pub(super) check: &'static Check,
    pub(super) severity: Severity,
    /// The source, or the agent and the relation.
    pub(super) subject: String,
    /// What was found.
    pub(super) what: String,
    /// What to do.
    pub(super) fix: String,
    /// Where the policy speaks of it.
    pub(super) place: Option<Place>,
}

/// How often a check held, for one agent or source.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// How often it held.
    pub(super) passed: u64,
    /// How often it did not.
    pub(super) failed: u64,
    /// How often pgwicket refused what would have been harmless: safe, and proves nothing.
    pub(super) refused: u64,
    /// How often nothing can be said.
    pub(super) inconclusive: u64,
    /// Why the first of those.
    pub(super) reason: Option<String>,
}

/// A check that did not take place.
#[derive(Debug, Clone)]
pub(super) struct NotRun {
    pub(super) check: &'static Check,
    pub(super) scope: String,
    pub(super) why: String,
    /// How to run it.
    pub(super) how: String,
}

/// Everything that a run found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) list: Vec<Finding>,
    pub(super) tallies: BTreeMap<(usize, String), Tally>,
    pub(super) not_run: Vec<NotRun>,
}

impl Findings {
    /// Counts one more look at a check.
    pub(super) fn tally(&mut self, check: &'static Check, scope: &str) -> &mut Tally {
        let order = CHECKS.iter().position(|known| known.id == check.id).unwrap_or(CHECKS.len());
        self.tallies.entry((order, scope.to_owned())).or_default()
    }

    /// It held.
    pub(super) fn pass(&mut self, check: &'static Check, scope: &str) {
        self.tally(check, scope).passed += 1;
    }

    /// Nothing can be said, and why.
    pub(super) fn inconclusive(&mut self, check: &'static Check, scope: &str, why: impl Into<String>) {
        let tally = self.tally(check, scope);
        tally.inconclusive += 1;
        tally.reason.get_or_insert_with(|| why.into());
    }

    /// It did not hold. An equal finding is kept once; a note counts as held.
    pub(super) fn fail(&mut self, scope: &str, finding: Finding) {
        let tally = self.tally(finding.check, scope);
        if finding.severity == Severity::Note {
            tally.passed += 1;
        } else {
            tally.failed += 1;
        }
        let known = |other: &Finding| other.check.id == finding.check.id && other.subject == finding.subject && other.what == finding.what;
        if !self.list.iter().any(known) {
            self.list.push(finding);
        }
    }

    /// It did not take place.
    pub(super) fn skip(&mut self, check: &'static Check, scope: &str, why: impl Into<String>, how: impl Into<String>) {
        self.not_run.push(NotRun { check, scope: scope.to_owned(), why: why.into(), how: how.into() });
    }

    /// How many findings are this bad.
    pub(super) fn count(&self, severity: Severity) -> usize {
        self.list.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Some of a long list, by name, and how many more.
pub(super) fn listed(names: &[String]) -> String {
    const LISTED: usize = 8;
    let shown = names.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
