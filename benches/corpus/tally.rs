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
        structure: Result<(), String>,
        /// With them.
        lists: Result<(), String>,
        /// How many relations it names.
        relations: usize,
    },
}

impl Verdict {
    /// Refused before any governing.
    pub(crate) fn refused(reason: &str) -> Self {
        Self::Governed { structure: Err(reason.to_owned()), lists: Err(reason.to_owned()), relations: 1 }
    }
}

/// The least share accepted, in percent: of statements that name a relation.
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
    structure: Reasons,
    lists: Reasons,
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
                for (outcome, reasons) in [(structure, &mut family.structure), (lists, &mut family.lists)] {
                    if let Err(reason) = outcome {
                        reasons.entry(reason).or_default().push(sql.to_owned());
                    }
                }
            }
        }
    }

    /// Whether every family meets its targets.
    pub(crate) fn holds(&self) -> bool {
        self.families.iter().all(|(name, family)| {
            TARGETS.iter().filter(|(prefix, ..)| name.starts_with(prefix)).all(|(_, structure, lists)| {
                family.share(&family.structure) >= *structure && lists.is_none_or(|lists| family.share(&family.lists) >= lists)
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
            for (what, reasons, least) in [
                ("structure", &family.structure, target.map(|(_, least, _)| *least)),
                ("with allow-lists", &family.lists, target.and_then(|(_, _, least)| *least)),
            ] {
                let least = least.map_or(String::new(), |least| format!(", target {least} %"));
                println!("  {what}: {:.2} % accepted{least}", family.share(reasons));
                let mut by_count: Vec<_> = reasons.iter().collect();
                by_count.sort_by_key(|(reason, statements)| (usize::MAX - statements.len(), *reason));
                for (reason, statements) in by_count {
                    println!("    {:6}  {reason}", statements.len());
                    for sql in statements.iter().take(examples) {
                        println!("              {}", one_line(sql));
                    }
                }
            }
        }
    }
}

impl Family {
    /// Percent of the governed statements that these reasons left.
    #[expect(clippy::cast_precision_loss, reason = "counts of statements are far below 2^52")]
    fn share(&self, reasons: &Reasons) -> f64 {
        let refused: usize = reasons.values().map(Vec::len).sum();
        if self.governed == 0 { 100.0 } else { 100.0 * (self.governed - refused) as f64 / self.governed as f64 }
    }
}

fn one_line(sql: &str) -> String {
    let line: String = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect::<Vec<_>>().join(" ");
    line.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
