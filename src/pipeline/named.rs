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
