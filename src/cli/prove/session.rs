//! What the probes stand on: the policy, a session of the operator's on each source, and an agent's own connection.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use anyhow::Context as _;

use super::{
    client::{Answer, Client, Prepared},
    finding::{BYTES, Check, Finding, Findings, PROTOCOLS, Severity},
    reference::{identifier, literal, materialised, plain_columns},
};
use crate::{
    policy::{Agent, Bundle, ExposedRelation, Place, PolicySet},
    source::{Inspector, SourceAddress, SourceError},
    types::{SourceName, TenantId},
};

/// Times that two answers are compared again before rows that change are blamed.
const ATTEMPTS: usize = 3;

/// What the source answers: rows in text form, or an SQLSTATE.
pub(super) type Reference = Result<Vec<Vec<Option<String>>>, String>;

/// A run of the command.
pub(super) struct Run<'a> {
    pub(super) policy: &'a PolicySet,
    pub(super) bundle: &'a Bundle,
    /// Where the policy files are.
    pub(super) directory: &'a Path,
    pub(super) seed: u64,
    /// Generated statements for each agent.
    pub(super) statements: usize,
    pub(super) findings: Findings,
    pub(super) inspectors: BTreeMap<SourceName, Inspector>,
}

/// An agent that is probed.
pub(super) struct Probe<'a> {
    pub(super) agent: &'a Agent,
    /// How the report calls it.
    pub(super) scope: String,
    pub(super) relations: Vec<Arc<ExposedRelation>>,
    pub(super) client: Client,
    pub(super) canaries: Vec<Canary>,
}

/// A value that must not come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canary {
    pub(super) value: String,
    /// Whose it is, for the finding.
    pub(super) what: String,
}

impl Probe<'_> {
    /// The tenant the policy binds the agent to.
    pub(super) fn tenant(&self) -> Option<&str> {
        self.agent.tenant.as_ref().map(TenantId::as_str)
    }

    /// How findings call one of its relations.
    pub(super) fn subject(&self, relation: &ExposedRelation) -> String {
        format!("{}, {}.{}", self.scope, relation.schema, relation.name)
    }

    /// Watches for a value from now on, if it is long and odd enough not to turn up by chance.
    pub(super) fn watch(&mut self, value: &str, what: impl FnOnce() -> String) {
        let value: String = value.chars().take(64).collect();
        let telling = value.chars().count() >= 8 && value.chars().any(char::is_alphabetic);
        if telling && !self.canaries.iter().any(|known| known.value == value) {
            self.canaries.push(Canary { value, what: what() });
        }
    }
}

impl Run<'_> {
    /// Asks the source itself.
    pub(super) async fn reference(&mut self, source: &SourceName, sql: &str) -> anyhow::Result<Reference> {
        let mut inspector = if let Some(inspector) = self.inspectors.remove(source) {
            inspector
        } else {
            let found = self.policy.sources.get(source).context("a relation of a source that is not there")?;
            Inspector::connect(&SourceAddress::from(&**found)).await.with_context(|| format!("source {}", source.as_str()))?
        };
        let answer = inspector.rows(sql).await;
        // A session that is lost is not kept; the next question has a new one.
        match answer {
            Ok(rows) => {
                self.inspectors.insert(source.clone(), inspector);
                Ok(Ok(rows))
            }
            Err(SourceError::Startup(error)) => {
                if !error.is_fatal() {
                    self.inspectors.insert(source.clone(), inspector);
                }
                Ok(Err(error.sqlstate.into()))
            }
            Err(error) => Err(error).with_context(|| format!("source {}", source.as_str())),
        }
    }

    /// Asks as the agent, by both protocols, and looks for what must not come out in every byte of the answers. What comes
    /// back is the simple protocol's.
    pub(super) async fn ask(&mut self, probe: &mut Probe<'_>, sql: &str) -> anyhow::Result<Answer> {
        let answer = probe.client.ask(sql).await?;
        self.search(probe, sql, &answer).await?;
        // What writes is asked once: a second proposal of the same change is another answer.
        if reads(sql) {
            let prepared = probe.client.ask_prepared(sql).await?;
            self.search(probe, sql, &prepared.whole).await?;
            self.agree_with(probe, sql, &answer, &prepared);
        }
        Ok(answer)
    }

    async fn search(&mut self, probe: &Probe<'_>, sql: &str, answer: &Answer) -> anyhow::Result<()> {
        let mut clean = true;
        for canary in &probe.canaries {
            // What the statement itself holds may come back in a message.
            if sql.contains(&canary.value) || !answer.holds(&canary.value) || self.visible(probe, &canary.value).await? {
                continue;
            }
            clean = false;
            let what = format!("{} came out of: {}", canary.what, shortened(sql));
            let fix = "report it as a vulnerability (SECURITY.md); until it is fixed, take the relation out of the policy".to_owned();
            let finding = Finding {
                check: &BYTES,
                severity: Severity::Error,
                subject: probe.scope.clone(),
                what,
                fix,
                place: self.place_of_agent(probe),
            };
            self.findings.fail(&probe.scope, finding);
        }
        if clean && !probe.canaries.is_empty() {
            self.findings.pass(&BYTES, &probe.scope);
        }
        Ok(())
    }

    /// What the extended protocol answers is what the simple one does: the same rows in text form, as many in binary form.
    fn agree_with(&mut self, probe: &Probe<'_>, sql: &str, simple: &Answer, prepared: &Prepared) {
        if [simple, &prepared.whole].iter().any(|answer| answer.sqlstate() == Some("57014")) {
            self.findings.inconclusive(&PROTOCOLS, &probe.scope, "the source's statement timeout");
            return;
        }
        let (text, _) = prepared.whole.rows.split_at_checked(prepared.text).unwrap_or_default();
        let rows = simple.rows.len() == prepared.binary && sorted(&simple.rows) == sorted(text);
        let same = match (simple.sqlstate(), prepared.whole.sqlstate()) {
            (None, None) => rows,
            // No binary form: PostgreSQL says so after the rows in text form.
            (None, Some("42883")) => sorted(&simple.rows) == sorted(text),
            (one, other) => one.map(class) == other.map(class),
        };
        if same {
            self.findings.pass(&PROTOCOLS, &probe.scope);
            return;
        }
        let what = format!(
            "{} by the simple protocol; {}, {} rows in text and {} in binary form by the extended: {}",
            simple.outcome(),
            prepared.whole.outcome(),
            prepared.text,
            prepared.binary,
            shortened(sql)
        );
        let fix = "run it again while nobody writes; if it stays, report it as a vulnerability (SECURITY.md)".to_owned();
        let place = self.place_of_agent(probe);
        let finding = Finding { check: &PROTOCOLS, severity: Severity::Error, subject: probe.scope.clone(), what, fix, place };
        self.findings.fail(&probe.scope, finding);
    }

    /// Whether the agent may see this value after all, in some other place.
    async fn visible(&mut self, probe: &Probe<'_>, value: &str) -> anyhow::Result<bool> {
        for relation in &probe.relations {
            let Some(rows) = materialised(relation, probe.tenant(), "r") else { continue };
            let value = literal(value);
            // Not the row as one text: that form quotes and doubles what is in a value.
            let values = plain_columns(relation).map(|column| format!("{}::text", identifier(&column.name))).collect::<Vec<_>>().join(", ");
            let sql = format!("WITH {rows} SELECT EXISTS (SELECT FROM r WHERE position({value} IN concat_ws(chr(10), {values})) > 0)");
            let found = self.reference(&relation.source, &sql).await?;
            if found.is_ok_and(|rows| rows.into_iter().flatten().flatten().any(|value| value == "t")) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Holds an agent's answer against the source's own.
    pub(super) async fn agree(
        &mut self,
        probe: &mut Probe<'_>,
        check: &'static Check,
        relation: &ExposedRelation,
        asked: &str,
        direct: &str,
    ) -> anyhow::Result<()> {
        let scope = probe.scope.clone();
        for _ in 0..ATTEMPTS {
            let before = self.reference(&relation.source, direct).await?;
            let answer = self.ask(probe, asked).await?;
            match compare(&answer, &before) {
                Verdict::Same => self.findings.pass(check, &scope),
                Verdict::Refused => self.findings.tally(check, &scope).refused += 1,
                Verdict::Unknown(why) => self.findings.inconclusive(check, &scope, why),
                Verdict::Different => {
                    if self.reference(&relation.source, direct).await? != before {
                        continue;
                    }
                    let expected = match &before {
                        Ok(rows) => format!("{} rows", rows.len()),
                        Err(code) => format!("error {code}"),
                    };
                    let what = format!("{} where the tenant's rows alone give {expected}: {}", answer.outcome(), shortened(asked));
                    let fix = "run `pgwicket policy explain` on the statement, and report what it shows as a vulnerability (SECURITY.md)"
                        .to_owned();
                    let place = self.place(relation);
                    let finding = Finding { check, severity: Severity::Error, subject: probe.subject(relation), what, fix, place };
                    self.findings.fail(&scope, finding);
                }
            }
            return Ok(());
        }
        self.findings.inconclusive(check, &scope, "rows change while they are read; run it while nobody writes");
        Ok(())
    }

    /// Where the policy defines a relation.
    pub(super) fn place(&self, relation: &ExposedRelation) -> Option<Place> {
        self.bundle.place_of_relation(&relation.schema, &relation.name).cloned()
    }

    /// Where the policy defines an agent.
    pub(super) fn place_of_agent(&self, probe: &Probe<'_>) -> Option<Place> {
        self.bundle.place_of_agent(probe.agent.name.as_str()).cloned()
    }
}

/// What comparing two answers says.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Different,
    /// pgwicket refused by its own rules, which look at no row.
    Refused,
    Unknown(&'static str),
}

fn compare(answer: &Answer, reference: &Reference) -> Verdict {
    match (answer.sqlstate(), reference) {
        (Some("57014"), _) => Verdict::Unknown("the source's statement timeout"),
        (_, Err(code)) if code == "57014" => Verdict::Unknown("the source's statement timeout"),
        (Some("53400"), _) => Verdict::Unknown("the policy's limit of rows or bytes"),
        (None, Ok(rows)) => {
            if answer.rows == *rows || sorted(&answer.rows) == sorted(rows) {
                Verdict::Same
            } else {
                Verdict::Different
            }
        }
        (Some(code), Err(expected)) if code == expected || class(code) == class(expected) => Verdict::Same,
        (Some(code), _) if matches!(class(code), "42" | "0A" | "54") => Verdict::Refused,
        (_, Err(expected)) if class(expected) == "42" => Verdict::Unknown("a statement that this source does not know"),
        // Which of two predicates is evaluated first is the plan's affair; an index may spare the source the one that fails.
        (None, Err(_)) => Verdict::Unknown("an error that the order of evaluation decides"),
        (Some(code), _) if class(code) != "22" => Verdict::Unknown("pgwicket or the source failed for another reason"),
        (Some(_), _) => Verdict::Different,
    }
}

/// The class of an SQLSTATE.
fn class(code: &str) -> &str {
    code.get(..2).unwrap_or_default()
}

/// Rows without ORDER BY come as the plan has it.
fn sorted(rows: &[Vec<Option<String>>]) -> Vec<Vec<Option<String>>> {
    let mut rows = rows.to_vec();
    rows.sort();
    rows
}

/// Whether a probe is one read; a string of statements has no extended form.
fn reads(sql: &str) -> bool {
    sql.starts_with("SELECT ") && !sql.contains(';')
}

/// A statement as a report shows it.
pub(super) fn shortened(sql: &str) -> String {
    const LONGEST: usize = 300;
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > LONGEST { format!("{}…", line.chars().take(LONGEST).collect::<String>()) } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(error: Option<&str>, rows: &[&str]) -> Answer {
        let rows = rows.iter().map(|value| vec![Some((*value).to_owned())]).collect();
        Answer { error: error.map(|code| (code.to_owned(), String::new())), rows, ..Answer::default() }
    }

    #[test]
    fn only_an_answer_that_other_rows_can_explain_is_a_difference() {
        let rows = |values: &[&str]| -> Reference { Ok(answer(None, values).rows) };
        let failed = |code: &str| -> Reference { Err(code.to_owned()) };
        assert_eq!(compare(&answer(None, &["1", "2"]), &rows(&["2", "1"])), Verdict::Same);
        assert_eq!(compare(&answer(None, &["1"]), &rows(&["1", "1"])), Verdict::Different);
        assert_eq!(compare(&answer(Some("22012"), &[]), &rows(&["0"])), Verdict::Different);
        assert!(matches!(compare(&answer(None, &["0"]), &failed("22012")), Verdict::Unknown(_)));
        assert_eq!(compare(&answer(Some("22P02"), &[]), &failed("22003")), Verdict::Same);
        assert_eq!(compare(&answer(Some("42501"), &[]), &rows(&["0"])), Verdict::Refused);
        assert!(matches!(compare(&answer(Some("53400"), &[]), &rows(&["0"])), Verdict::Unknown(_)));
        assert!(matches!(compare(&answer(None, &["0"]), &failed("42883")), Verdict::Unknown(_)));
    }
}
