//! PREPARE and EXECUTE as SQL: the same prepared statements that Parse makes, under the same names.

use std::{rc::Rc, time::Instant};

use super::{
    bind::{Bind, Formats, Parameters},
    draft::Bound,
    plan::{Action, Plan},
    prepared::Prepared,
    queue::Reply,
    session::{Again, Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, SessionError},
    sql::{Execute, Prepare, Statement, TypeReference, ValueType, catalog::Oid},
};

impl<I: Interrupts> Session<I> {
    /// PREPARE: plans the statement within, as a Parse would.
    pub(super) async fn prepare_named(&mut self, prepare: &Prepare) -> Result<&'static str, Failure> {
        let types = prepare.types.iter().map(|of| self.type_named(of)).collect::<Result<Vec<_>, _>>()?;
        self.names.check_statement(&prepare.name)?;
        let plan = self.plan(&prepare.text, &types)?;
        if let Action::Local(_) = plan.action() {
            return Err(SessionError::NotPreparable.into());
        }
        let prepared = self.analyse_plan(plan, true).await?;
        self.names.put_statement(&prepare.name, prepared);
        Ok("PREPARE")
    }

    /// EXECUTE in the simple protocol.
    pub(super) async fn execute_named(&mut self, execute: &Execute) -> Result<(), Failure> {
        let prepared = self.current_plan(&execute.name).await?;
        let Prepared { plan, analysed, .. } = prepared.clone();
        let values = values_for(&plan, execute)?;
        let parameters = Parameters::new(execute.values.len(), &values);
        match plan.action() {
            Action::Forward(_) => {
                if self.execute_once(&execute.name, prepared.clone(), parameters, None).await? {
                    self.execute_once(&execute.name, prepared, parameters, Some(Instant::now())).await?;
                }
                Ok(())
            }
            Action::Write(_) => {
                let (values, count) = (values.into(), execute.values.len());
                let bound = Bound { formats: Vec::new(), values, count, analysed: Some(analysed) };
                self.write(&plan, &bound).await
            }
            Action::Local(_) | Action::Declare(..) | Action::Copy(..) | Action::Explain(..) => {
                Err(SessionError::NoStatement(execute.name.as_str().into()).into())
            }
        }
    }

    /// Forwards an EXECUTE, and settles it. True: it is to run again, since the source has changed under what a connection held.
    async fn execute_once(
        &mut self,
        name: &str,
        prepared: Prepared,
        parameters: Parameters<'_>,
        since: Option<Instant>,
    ) -> Result<bool, Failure> {
        let portal = self.names.new_portal("")?;
        let (prepared, reading, _) = self.hold(name, prepared, portal, since).await?;
        self.formats.0.clear();
        let open = self.decide(&prepared.plan, Some((parameters, &Rc::from([]))))?;
        self.again = if self.is_in_transaction() || since.is_some() { Again::No } else { Again::May };
        let forwarded = self.forward(&prepared.plan, open, parameters, &reading).await;
        let settled = match forwarded {
            Ok(()) => self.sync_upstream().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        let again = std::mem::replace(&mut self.again, Again::No) == Again::Shall;
        settled.map(|()| again)
    }

    /// EXECUTE in the extended protocol: its Bind is one of the statement that is meant, with the values in its text.
    pub(super) async fn bind_named(&mut self, execute: &Execute, bind: &Bind<'_>) -> Result<(), Failure> {
        let plan = Rc::clone(&self.names.statement(&execute.name)?.plan);
        let values = values_for(&plan, execute)?;
        let parameters = Parameters::new(execute.values.len(), &values);
        let meant = Bind { statement: &execute.name, formats: Formats::default(), parameters, ..*bind };
        Box::pin(self.try_bind(&meant)).await
    }

    /// What Describe of an EXECUTE answers: no parameters, and the columns of the statement that is meant.
    pub(super) fn describe_named(&mut self, execute: &Execute) -> Result<(), Error> {
        let Prepared { plan, described, .. } = self.names.statement(&execute.name)?.clone();
        self.reply_in_turn(Reply::NoParameters);
        self.reply_in_turn(Reply::Portal(plan, described, None));
        Ok(())
    }

    /// The EXECUTE that a statement is.
    pub(super) fn named(plan: &Plan) -> Option<&Execute> {
        match plan.action() {
            Action::Local(Statement::Execute(execute)) => Some(execute),
            Action::Local(_) | Action::Forward(_) | Action::Write(_) | Action::Declare(..) | Action::Copy(..) | Action::Explain(..) => None,
        }
    }

    /// The OID of a built-in type.
    fn type_named(&self, wanted: &TypeReference) -> Result<Oid, Error> {
        let source = self.agent.schemas.first().and_then(|schema| self.policy.sources.get(&schema.source));
        let types = source.iter().flat_map(|source| &source.catalog.types).filter(|(_, known)| known.schema == "pg_catalog");
        let found = types.clone().find(|(_, known)| known.name == wanted.name && !known.array).map(|(oid, _)| *oid);
        let found = match (found, wanted.array) {
            (Some(element), true) => types.clone().find(|(_, known)| known.array && known.base == element).map(|(oid, _)| *oid),
            (found, _) => found,
        };
        found.ok_or_else(|| SessionError::NoType(wanted.name.as_str().into()).into())
    }
}

/// The values as a Bind message has them, in text form, each as an assignment makes it of its parameter's type.
fn values_for(plan: &Plan, execute: &Execute) -> Result<Vec<u8>, Error> {
    let needed = plan.governed().map_or(0, |governed| governed.client_parameters());
    if execute.values.len() != needed {
        return Err(SessionError::ValueCount { statement: execute.name.as_str().into(), needed, given: execute.values.len() }.into());
    }
    let description = plan.description();
    let types = description.as_deref().map_or(&[][..], |description| description.parameter_types());
    let mut bytes = Vec::new();
    for (place, value) in execute.values.iter().enumerate() {
        let value = match &value.text {
            Some(text) => Some(
                assigned(text, value.of, types.get(place).copied().unwrap_or(0))
                    .map_err(|(from, to)| Error::from(SessionError::Coercion { number: place + 1, from, to }))?,
            ),
            None => None,
        };
        let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value.as_deref().unwrap_or_default().as_bytes());
    }
    Ok(bytes)
}

/// The names of built-in types, as an error has them. In order: `bool`, numbers, text, and what nothing but its own kind is assigned to.
const NAMES: [(Oid, &str, Kind); 32] = [
    (16, "boolean", Kind::Boolean),
    (20, "bigint", Kind::Integer),
    (21, "smallint", Kind::Integer),
    (23, "integer", Kind::Integer),
    (26, "oid", Kind::Oid),
    (700, "real", Kind::Number),
    (701, "double precision", Kind::Number),
    (1700, "numeric", Kind::Number),
    (790, "money", Kind::Number),
    (19, "name", Kind::Text),
    (25, "text", Kind::Text),
    (1042, "character", Kind::Text),
    (1043, "character varying", Kind::Text),
    (17, "bytea", Kind::Other),
    (18, "\"char\"", Kind::Other),
    (114, "json", Kind::Other),
    (142, "xml", Kind::Other),
    (650, "cidr", Kind::Other),
    (829, "macaddr", Kind::Other),
    (869, "inet", Kind::Other),
    (1007, "integer[]", Kind::Other),
    (1009, "text[]", Kind::Other),
    (1016, "bigint[]", Kind::Other),
    (1082, "date", Kind::Other),
    (1083, "time without time zone", Kind::Other),
    (1114, "timestamp without time zone", Kind::Other),
    (1184, "timestamp with time zone", Kind::Other),
    (1186, "interval", Kind::Other),
    (1266, "time with time zone", Kind::Other),
    (1560, "bit", Kind::Other),
    (2950, "uuid", Kind::Other),
    (3802, "jsonb", Kind::Other),
];

/// What may be assigned to a type (`pg_cast`, contexts `i` and `a`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer,
    Oid,
    Number,
    Text,
    Other,
}

/// A constant's text as the parameter's type takes it, or the names of the two types. What is not known here, the source reads.
fn assigned(text: &str, of: ValueType, wanted: Oid) -> Result<String, (&'static str, &'static str)> {
    let Some((_, name, kind)) = NAMES.iter().find(|(oid, _, _)| *oid == wanted) else { return Ok(text.to_owned()) };
    match (of, kind) {
        (ValueType::Unknown, _)
        | (ValueType::Boolean, Kind::Boolean)
        | (ValueType::Integer, Kind::Integer | Kind::Oid | Kind::Number | Kind::Text)
        | (ValueType::Numeric, Kind::Number | Kind::Text)
        | (ValueType::Text, Kind::Text) => Ok(text.to_owned()),
        (ValueType::Numeric, Kind::Integer) => Ok(rounded(text)),
        (ValueType::Boolean, Kind::Text) => Ok(if text == "t" { "true" } else { "false" }.to_owned()),
        (ValueType::Integer, _) => Err(("integer", name)),
        (ValueType::Numeric, _) => Err(("numeric", name)),
        (ValueType::Boolean, _) => Err(("boolean", name)),
        (ValueType::Text, _) => Err(("text", name)),
    }
}

/// A decimal to the nearest integer, halves away from zero, as `numeric` is rounded.
fn rounded(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let Some((whole, part)) = digits.split_once('.').filter(|(_, part)| part.bytes().all(|byte| byte.is_ascii_digit())) else {
        return text.to_owned();
    };
    let mut number: Vec<u8> = if whole.is_empty() { vec![b'0'] } else { whole.bytes().collect() };
    if part.as_bytes().first().is_some_and(|digit| *digit >= b'5') {
        let nines = number.iter().rev().take_while(|digit| **digit == b'9').count();
        let kept = number.len() - nines;
        number.iter_mut().skip(kept).for_each(|digit| *digit = b'0');
        match kept.checked_sub(1).and_then(|last| number.get_mut(last)) {
            Some(digit) => *digit += 1,
            None => number.insert(0, b'1'),
        }
    }
    format!("{sign}{}", String::from_utf8(number).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_assigned_as_postgresql_assigns_it() {
        for (text, of, wanted, given) in [
            ("2.5", ValueType::Numeric, 23, Ok("3")),
            ("-2.5", ValueType::Numeric, 20, Ok("-3")),
            ("2.49", ValueType::Numeric, 21, Ok("2")),
            ("99.5", ValueType::Numeric, 23, Ok("100")),
            (".5", ValueType::Numeric, 23, Ok("1")),
            ("1", ValueType::Integer, 16, Err(("integer", "boolean"))),
            ("1", ValueType::Integer, 25, Ok("1")),
            ("1", ValueType::Integer, 1082, Err(("integer", "date"))),
            ("t", ValueType::Boolean, 25, Ok("true")),
            ("t", ValueType::Boolean, 23, Err(("boolean", "integer"))),
            ("x", ValueType::Text, 23, Err(("text", "integer"))),
            ("x", ValueType::Unknown, 23, Ok("x")),
            ("1.5", ValueType::Numeric, 3802, Err(("numeric", "jsonb"))),
        ] {
            assert_eq!(assigned(text, of, wanted), given.map(str::to_owned), "{text} {of:?} {wanted}");
        }
    }
}
