//! Counts by family, and refusals by reason.

use std::collections::BTreeMap;

/// What became of a statement.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// PostgreSQL's grammar refuses it, or it is several statements.
    NotSql,
    /// It does not read.
    NotARead,
    /// It reads PostgreSQL's catalog: another corpus.
    Catalog,
    /// It was governed.
    Governed {
        /// With the allow-lists aside.
        structure: Outcome,
        /// With them.
        lists: Outcome,
        /// How many relations it names.
        relations: usize,
    },
}

impl Verdict {
    /// Refused before any governing.
    pub(crate) fn refused(reason: &str) -> Self {
        let outcome = Outcome::Refused(reason.to_owned());
        Self::Governed { structure: outcome.clone(), lists: outcome, relations: 1 }
    }
}

/// How a statement was governed.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It may be sent.
    Accepted,
    /// It calls a function or an operator that PostgreSQL does not have, and is told so, as PostgreSQL would.
    Undefined(String),
    /// It is refused, for this reason.
    Refused(String),
}

/// The least share accepted, in percent, of the statements that read a relation and call what PostgreSQL has.
const TARGETS: &[(&str, f64, Option<f64>)] = &[("llm", 99.0, Some(98.0)), ("regress", 97.0, None)];

/// Statements by the reason they were refused for.
type Reasons = BTreeMap<String, Vec<String>>;

#[derive(Debug, Default)]
struct Family {
    not_sql: usize,
    not_reads: usize,
    catalog: usize,
    without_relation: usize,
    governed: usize,
    structure: Outcomes,
    lists: Outcomes,
}

#[derive(Debug, Default)]
struct Outcomes {
    accepted: usize,
    undefined: Reasons,
    refused: Reasons,
}

/// The counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    families: BTreeMap<String, Family>,
}

impl Tally {
    /// Counts one statement.
    pub(crate) fn add(&mut self, family: &str, sql: &str, verdict: Verdict) {
        let family = self.families.entry(family.to_owned()).or_default();
        match verdict {
            Verdict::NotSql => family.not_sql += 1,
            Verdict::NotARead => family.not_reads += 1,
            Verdict::Catalog => family.catalog += 1,
            Verdict::Governed { relations: 0, .. } => family.without_relation += 1,
            Verdict::Governed { structure, lists, .. } => {
                family.governed += 1;
                family.structure.add(structure, sql);
                family.lists.add(lists, sql);
            }
        }
    }

    /// Whether every family meets its targets.
    pub(crate) fn holds(&self) -> bool {
        self.families.iter().all(|(name, family)| {
            TARGETS.iter().filter(|(prefix, ..)| name.starts_with(prefix)).all(|(_, structure, lists)| {
                family.structure.share() >= *structure && lists.is_none_or(|lists| family.lists.share() >= lists)
            })
        })
    }

    /// Prints it all, with so many examples a reason.
    #[expect(clippy::print_stdout, reason = "this is what the tool is for")]
    pub(crate) fn print(&self, examples: usize) {
        for (name, family) in &self.families {
            let target = TARGETS.iter().find(|(prefix, ..)| name.starts_with(prefix));
            println!("{name}: {} statements that read relations", family.governed);
            println!(
                "  left out: {} without a relation, {} over the catalog, {} that do not read, {} that PostgreSQL does not parse",
                family.without_relation, family.catalog, family.not_reads, family.not_sql
            );
            let (structure, lists) = target.map_or((None, None), |(_, structure, lists)| (Some(*structure), *lists));
            family.structure.print("structure", structure, examples);
            family.lists.print("with allow-lists", lists, examples);
        }
    }
}

impl Outcomes {
    fn add(&mut self, outcome: Outcome, sql: &str) {
        let (reasons, reason) = match outcome {
            Outcome::Accepted => {
                self.accepted += 1;
                return;
            }
            Outcome::Undefined(reason) => (&mut self.undefined, reason),
            Outcome::Refused(reason) => (&mut self.refused, reason),
        };
        reasons.entry(reason).or_default().push(sql.to_owned());
    }

    /// Percent accepted, of those that call what PostgreSQL has.
    fn share(&self) -> f64 {
        percent(self.accepted, self.accepted + count(&self.refused))
    }

    #[expect(clippy::print_stdout, reason = "this is what the tool is for")]
    fn print(&self, what: &str, least: Option<f64>, examples: usize) {
        let least = least.map_or(String::new(), |least| format!(", target {least} %"));
        let (refused, undefined) = (count(&self.refused), count(&self.undefined));
        println!("  {what}: {:.2} % accepted{least}: {} of {}", self.share(), self.accepted, self.accepted + refused);
        list(&self.refused, examples);
        if undefined > 0 {
            let all = percent(self.accepted, self.accepted + refused + undefined);
            println!("    not counted above, {undefined} that call what PostgreSQL does not have ({all:.2} % accepted with them counted)");
            list(&self.undefined, examples);
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the tool is for")]
fn list(reasons: &Reasons, examples: usize) {
    let mut by_count: Vec<_> = reasons.iter().collect();
    by_count.sort_by_key(|(reason, statements)| (usize::MAX - statements.len(), *reason));
    for (reason, statements) in by_count {
        println!("    {:6}  {reason}", statements.len());
        for sql in statements.iter().take(examples) {
            println!("              {}", one_line(sql));
        }
    }
}

fn count(reasons: &Reasons) -> usize {
    reasons.values().map(Vec::len).sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts of statements are far below 2^52")]
fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 100.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn one_line(sql: &str) -> String {
    let line: String = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join(" ");
    line.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
