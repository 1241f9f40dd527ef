//! The permit: SQL that policy has decided on.

use std::{fmt, ops::Range, sync::Arc};

use super::kernel;
use crate::{
    policy::{EvidenceRows, RowLimit},
    sql::{Literals, catalog::Oid, character},
    types::{Digest, PolicyEpoch, Secret, SourceName},
};

/// SQL that policy has decided on and the verifier has passed. Only [`super::govern`] can make one.
/// `Debug` prints the fingerprint, no literals.
///
/// It cannot be forged from outside, nor made from nothing:
///
/// ```compile_fail,E0451
/// fn forge(permit: pgwicket::govern::GovernedStatement) -> pgwicket::govern::GovernedStatement {
///     pgwicket::govern::GovernedStatement { text: "DROP TABLE tickets".into(), ..permit }
/// }
/// ```
/// ```compile_fail,E0277
/// fn conjure<T: Default>() -> T { T::default() }
/// let permit: pgwicket::govern::GovernedStatement = conjure();
/// ```
pub struct GovernedStatement {
    pub(super) text: Box<str>,
    pub(super) source: SourceName,
    pub(super) client_parameters: usize,
    pub(super) parameter_types: Vec<Oid>,
    pub(super) appended: Vec<Appended>,
    pub(super) relations: Vec<Box<str>>,
    pub(super) limit: RowLimit,
    pub(super) evidence: EvidenceRows,
    pub(super) fenced: bool,
    pub(super) fingerprint: Box<str>,
    pub(super) epoch: PolicyEpoch,
    pub(super) policy_digest: Digest,
    pub(super) rules: Vec<String>,
    pub(super) kept: Vec<(usize, usize, usize)>,
    pub(super) by_plan: bool,
    pub(super) looked_at_values: bool,
    pub(super) copies: usize,
    pub(super) literals: Literals,
}

impl GovernedStatement {
    /// What is sent to the source.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The source it is for.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// How many parameters are the client's: `$1..=$n`. The appended ones follow.
    pub fn client_parameters(&self) -> usize {
        self.client_parameters
    }

    /// Types for the upstream Parse: the client's (0 where it gave none), then the appended ones'.
    pub fn parameter_types(&self) -> &[Oid] {
        &self.parameter_types
    }

    /// The parameters that pgwicket appends after the client's, in order, bound in text format.
    pub fn appended(&self) -> &[Appended] {
        &self.appended
    }

    /// Alias names (`schema.relation`) of the governed relations, each once, in order of appearance.
    pub fn relations(&self) -> &[Box<str>] {
        &self.relations
    }

    /// The tightest limit over its relations.
    pub fn limit(&self) -> RowLimit {
        self.limit
    }

    /// How its rows are kept.
    pub fn evidence(&self) -> EvidenceRows {
        self.evidence
    }

    /// Whether its relations are fenced; if not, every qual position is leakproof. Either way upstream
    /// errors speak of the agent's own rows only.
    pub fn fenced(&self) -> bool {
        self.fenced
    }

    /// `pg_query`'s fingerprint of the client's text (16 hex digits): groups statements, decides nothing.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The policy it was decided under; compare before each run of a prepared statement.
    pub fn epoch(&self) -> PolicyEpoch {
        self.epoch
    }

    /// The digest of that policy.
    pub fn policy_digest(&self) -> Digest {
        self.policy_digest
    }

    /// Where a 1-based character position in the governed text stands in the client's, when it does.
    pub fn map_position(&self, client_text: &str, position: usize) -> Option<usize> {
        let byte = self.text.char_indices().nth(position.checked_sub(1)?).map(|(byte, _)| byte)?;
        let (start, client, _) = self.kept.iter().find(|(start, _, length)| (*start..start + length).contains(&byte))?;
        Some(character(client_text, client + (byte - start)))
    }

    /// The same position in the text that was decided on, where constants of that text travel as parameters. `None`: it is another text.
    pub fn position_in(&self, decided: &Self, position: usize) -> Option<usize> {
        let byte = self.text.char_indices().nth(position.checked_sub(1)?).map(|(byte, _)| byte)?;
        let before = self.text.get(..byte)?;
        let first = self.parameter_types.len() - self.constants().count() + 1;
        let mut written = String::with_capacity(before.len());
        let mut rest = before;
        while let Some((text, after)) = rest.split_once('$') {
            written.push_str(text);
            let digits = after.len() - after.trim_start_matches(|character: char| character.is_ascii_digit()).len();
            let (number, after) = after.split_at_checked(digits)?;
            let constant = number.parse::<usize>().ok().and_then(|number| self.constants().nth(number.checked_sub(first)?));
            match constant {
                Some(value) => written.push_str(value),
                None => written.extend(["$", number]),
            }
            rest = after;
        }
        written.push_str(rest);
        decided.text.starts_with(&written).then(|| written.chars().count() + 1)
    }

    /// The constants of the client's text that travel as parameters.
    fn constants(&self) -> impl Iterator<Item = &str> {
        self.appended.iter().filter_map(|parameter| match &parameter.value {
            AppendedValue::Constant(value) => Some(&**value),
            AppendedValue::Tenant | AppendedValue::MaskKey(_) | AppendedValue::Session(_) => None,
        })
    }

    /// Where a stretch of the client's text stands in the governed text.
    pub(super) fn governed_offset(&self, client: &Range<usize>) -> Option<usize> {
        let (start, from, _) = self.kept.iter().find(|(_, from, length)| *from <= client.start && client.end <= from + length)?;
        Some(start + (client.start - from))
    }

    /// Whether constants of the client's text travel as parameters, so that the governed text comes again.
    pub fn is_lifted(&self) -> bool {
        self.appended.iter().any(|parameter| matches!(parameter.value, AppendedValue::Constant(_)))
    }

    /// What its literals may read when the source analyses it.
    pub fn literals(&self) -> Literals {
        self.literals
    }

    /// Whether no Parse but its own will do for a run of it.
    pub fn is_parsed_each_time(&self) -> bool {
        self.reads_clock() || self.is_planned_each_time()
    }

    /// Whether what it says may depend on the moment of its Parse.
    pub fn reads_clock(&self) -> bool {
        self.literals == Literals::Clock
    }

    /// Whether it has to be planned for the values of its parameters each time: an error may come or not by plan, and the source would
    /// choose between a plan for the values and one for all by what they cost, which everybody's rows decide.
    pub fn is_planned_each_time(&self) -> bool {
        let session = || self.appended.iter().any(|parameter| matches!(parameter.value, AppendedValue::Session(_)));
        self.by_plan && (self.client_parameters > 0 || session())
    }

    /// The read of a write: rows go to no client, so no limit on what a read returns is for it, and its text is not the
    /// client's, so no position maps back. It groups with the write.
    pub(super) fn for_write(self, client_text: &str) -> Self {
        let limit = RowLimit { rows: None, bytes: None, ..self.limit };
        Self { limit, kept: Vec::new(), fingerprint: super::fingerprint(client_text), ..self }
    }

    /// A statement of pgwicket's own, without anything of the client's text and over no relation: the source reads the values as the types of
    /// their parameters, and returns no row.
    pub(super) fn reading_values(&self, values: Vec<Appended>) -> Self {
        let names: Vec<String> = (1..=values.len()).map(|number| format!("${number}")).collect();
        let text = format!("SELECT {} WHERE FALSE", names.iter().map(|name| format!("{name} IS NULL")).collect::<Vec<_>>().join(" AND "));
        Self {
            client_parameters: 0,
            parameter_types: values.iter().map(|value| value.type_oid).collect(),
            appended: values,
            relations: Vec::new(),
            ..self.with_text(text.into())
        }
    }

    /// A statement of pgwicket's own over the relations of this one, without anything of the client's text: its values are parameters.
    pub(super) fn of_our_own(&self, text: &str, values: Vec<Appended>) -> Self {
        Self {
            client_parameters: 0,
            parameter_types: values.iter().map(|value| value.type_oid).collect(),
            appended: values,
            ..self.with_text(text.into())
        }
    }

    /// The same decision with these parameters appended after the others, over the text that names them.
    pub(super) fn with_constants(&self, text: Box<str>, constants: impl Iterator<Item = Appended>) -> Self {
        let mut lifted = self.with_text(text);
        for constant in constants {
            lifted.parameter_types.push(constant.type_oid);
            lifted.appended.push(constant);
        }
        lifted
    }

    /// The same decision over a text of the same shape. Positions are not mapped back: the stretches moved.
    pub(super) fn with_text(&self, text: Box<str>) -> Self {
        Self {
            text,
            source: self.source.clone(),
            client_parameters: self.client_parameters,
            parameter_types: self.parameter_types.clone(),
            appended: self.appended.clone(),
            relations: self.relations.clone(),
            limit: self.limit,
            evidence: self.evidence,
            fenced: self.fenced,
            fingerprint: self.fingerprint.clone(),
            epoch: self.epoch,
            policy_digest: self.policy_digest,
            rules: self.rules.clone(),
            kept: Vec::new(),
            by_plan: self.by_plan,
            looked_at_values: self.looked_at_values,
            copies: self.copies,
            literals: self.literals,
        }
    }

    /// DECLARE of a cursor over this read, under a name of our own. `None`: the verifier does not pass it. It always says whether
    /// the cursor scrolls: PostgreSQL lets the plan decide otherwise, and the plan knows of everybody's rows.
    pub fn declared(&self, number: u32, scroll: bool, hold: bool) -> Option<Arc<Self>> {
        let name = cursor_name(number);
        let words = if scroll { "SCROLL " } else { "NO SCROLL " };
        let holds = if hold { "WITH HOLD " } else { "" };
        let text = format!("DECLARE {name} {words}CURSOR {holds}FOR {}", self.text);
        kernel::is_declared(&text, &self.text, &name, scroll, hold).then(|| Arc::new(self.with_text(text.into())))
    }

    /// EXPLAIN of this read. `None`: the verifier does not pass it.
    pub fn explained(&self) -> Option<Arc<Self>> {
        let text = format!("{} {}", kernel::EXPLAIN, self.text);
        kernel::is_explained(&text, &self.text).then(|| Arc::new(self.with_text(text.into())))
    }

    /// Each rule that applied, in words, for `policy explain`.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }
}

impl fmt::Debug for GovernedStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GovernedStatement").field("fingerprint", &self.fingerprint).field("fenced", &self.fenced).finish_non_exhaustive()
    }
}

/// The name of a client's cursor at the source: the client's own names stay here.
pub fn cursor_name(number: u32) -> String {
    format!("pgwicket_cursor_{number}")
}

/// A parameter that pgwicket appends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Declared type, 0 to infer.
    pub type_oid: Oid,
    /// Where its value comes from at Bind.
    pub value: AppendedValue,
}

/// Where an appended parameter's value comes from at Bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendedValue {
    /// The principal's tenant.
    Tenant,
    /// A mask's key.
    MaskKey(Secret),
    /// A value of the virtual session.
    Session(SessionValue),
    /// An integer constant of the client's text, lifted out so that the text comes again.
    Constant(Box<str>),
}

/// A value of the virtual session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionValue {
    /// `current_user`, `session_user`, `user`, `current_role`: the agent's name.
    User,
    /// `current_database()`, `current_catalog`: the database name of the startup message.
    Database,
    /// `current_schema()`: the first entry of the virtual search path; NULL when it is empty.
    Schema,
    /// `pg_backend_pid()`: the process id in BackendKeyData.
    BackendPid,
    /// `version()`.
    Version,
    /// `current_setting(name)`: a virtual setting.
    Setting {
        /// As it was written.
        name: Box<str>,
        /// NULL for a name that is unknown, which is an error otherwise.
        missing_ok: bool,
    },
    /// `set_config(name, value, is_local)`: sets, and is the value in force then.
    Config {
        /// As it was written.
        name: Box<str>,
        /// The value; NULL is the default.
        value: ConfigArgument,
        /// Whether it is for the transaction.
        local: ConfigArgument,
    },
    /// `pgwicket.proposals`: the agent's own proposals, a JSON array of objects.
    Proposals,
    /// `pgwicket.proposal_changes`: their changes by column, a JSON array of objects.
    ProposalChanges,
}

/// An argument of `set_config`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigArgument {
    /// NULL
    Null,
    /// A constant's text.
    Text(Box<str>),
    /// The client's parameter of this number, from 1.
    Parameter(usize),
}

#[cfg(test)]
impl GovernedStatement {
    /// A permit for tests of the rooms that forward one; not in any build that ships.
    pub(crate) fn for_tests(text: &str, parameter_types: &[Oid], appended: Vec<Appended>) -> Arc<Self> {
        Arc::new(Self {
            text: text.into(),
            source: "test".parse().expect("a source name"),
            client_parameters: parameter_types.len() - appended.len(),
            parameter_types: parameter_types.to_vec(),
            appended,
            relations: Vec::new(),
            limit: RowLimit { rows: None, bytes: None, on_limit: crate::policy::OnLimit::Error },
            evidence: EvidenceRows::Digest,
            fenced: true,
            fingerprint: "0000000000000000".into(),
            epoch: PolicyEpoch(0),
            policy_digest: Digest([0; 32]),
            rules: Vec::new(),
            kept: Vec::new(),
            by_plan: false,
            looked_at_values: false,
            copies: 0,
            literals: Literals::None,
        })
    }
}
