//! PREPARE and EXECUTE as SQL: the same prepared statements that Parse makes, under the same names.

use std::rc::Rc;

use super::{
    bind::{Bind, Formats, Parameters},
    draft::Bound,
    plan::{Action, Plan},
    prepared::Prepared,
    queue::Reply,
    session::{Interrupts, Session},
    upstream::Failure,
};
use crate::{
    error::{Error, SessionError},
    sql::{Execute, Prepare, Statement, TypeReference, catalog::Oid},
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
        let prepared = self.analyse_plan(plan).await?;
        self.names.put_statement(&prepare.name, prepared);
        Ok("PREPARE")
    }

    /// EXECUTE in the simple protocol.
    pub(super) async fn execute_named(&mut self, execute: &Execute) -> Result<(), Failure> {
        let Prepared { plan, analysed, .. } = self.current_plan(&execute.name).await?;
        let values = values_for(&plan, execute)?;
        let parameters = Parameters::new(execute.values.len(), &values);
        match plan.action() {
            Action::Forward(_) => {
                self.formats.0.clear();
                let open = self.decide(&plan, Some((parameters, &Rc::from([]))))?;
                self.forward(&plan, open, parameters, &analysed).await?;
                Ok(self.sync_upstream().await?)
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
        let meant = Rc::clone(&self.names.statement(&execute.name)?.plan);
        self.reply_in_turn(Reply::NoParameters);
        self.reply_in_turn(Reply::Portal(meant, None));
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

/// The values as a Bind message has them, in text form.
fn values_for(plan: &Plan, execute: &Execute) -> Result<Vec<u8>, Error> {
    let needed = plan.governed().map_or(0, |governed| governed.client_parameters());
    if execute.values.len() != needed {
        return Err(SessionError::ValueCount { statement: execute.name.as_str().into(), needed, given: execute.values.len() }.into());
    }
    let mut bytes = Vec::new();
    for value in &execute.values {
        let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(value.as_deref().unwrap_or_default().as_bytes());
    }
    Ok(bytes)
}
