//! The one decision about a text: what serves a client decides by it, and so do `policy explain` and `policy test`. No I/O.

use super::{
    plan::Action,
    settings::{self, Settings},
};
use crate::{
    error::{Error, SessionError, SettingError, TransactionError},
    govern::{self, AppendedValue, ConfigArgument, GovernedStatement, Refusal, RefusalCode, Request, SessionValue},
    sql::{self, Copy, Declare, Explain, Statement},
};

/// Whether a statement is governed, rather than answered from the session.
pub(super) fn is_governed(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Read | Statement::Write | Statement::Declare(_) | Statement::Copy(_) | Statement::Explain(_) | Statement::Refused(_)
    )
}

/// What is done with a statement of this kind and text.
pub(super) fn decide(request: &Request<'_>, statement: Statement) -> Result<Action, Error> {
    match statement {
        Statement::Read => Ok(Action::Forward(govern::govern(request)?)),
        Statement::Write => Ok(Action::Write(govern::propose(request)?)),
        Statement::Copy(copy) => decide_copy(request, copy),
        Statement::Explain(explain) => decide_explain(request, explain),
        Statement::Declare(declare) => decide_declare(request, declare),
        Statement::Refused(refused) => Err(Error::Kind(refused)),
        local @ (Statement::Empty
        | Statement::Begin { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint(_)
        | Statement::Release(_)
        | Statement::RollbackTo(_)
        | Statement::SetTransaction(_)
        | Statement::SetSessionCharacteristics(_)
        | Statement::Set { .. }
        | Statement::Reset(_)
        | Statement::ResetAll
        | Statement::Show(_)
        | Statement::ShowAll
        | Statement::DiscardAll
        | Statement::DiscardPart(_)
        | Statement::Prepare(_)
        | Statement::Execute(_)
        | Statement::Deallocate(_)
        | Statement::Fetch(_)
        | Statement::Close(_)
        | Statement::CloseAll
        | Statement::Unlisten) => Ok(Action::Local(local)),
    }
}

fn decide_copy(request: &Request<'_>, copy: Copy) -> Result<Action, Error> {
    super::copy::check(&copy)?;
    let inner = Request { text: &copy.text, declared_types: &[], ..*request };
    let governed = govern::govern(&inner).map_err(|refusal| match copy.before {
        Some(before) => refusal.after(before),
        None => Refusal { position: None, ..refusal },
    })?;
    if governed.client_parameters() > 0 { Err(SessionError::NoParameter.into()) } else { Ok(Action::Copy(copy, governed)) }
}

fn decide_explain(request: &Request<'_>, explain: Explain) -> Result<Action, Error> {
    let Some(text) = &explain.text else { return Ok(Action::Local(Statement::Explain(explain))) };
    if !request.agent.allow_explain {
        let refusal = Refusal::new(RefusalCode::Denied, "EXPLAIN is not allowed here");
        return Err(refusal.hint("its estimates speak of all rows; the policy may allow it with allow_explain").into());
    }
    let governed = govern::govern(&Request { text, ..*request }).map_err(|refusal| refusal.after(explain.before))?;
    Ok(Action::Explain(explain, governed))
}

fn decide_declare(request: &Request<'_>, declare: Declare) -> Result<Action, Error> {
    let governed = govern::govern(&Request { text: &declare.text, ..*request }).map_err(|refusal| refusal.after(declare.before))?;
    Ok(Action::Declare(declare, governed))
}

/// What a session that has just begun does with its first statement, sent by the simple protocol where it has no parameters.
pub fn first_statement(request: &Request<'_>) -> Result<First, Error> {
    let mut settings = Settings::new(&settings::Start {
        server_version: "15.0",
        server_version_number: 150_000,
        agent: request.agent.name.as_str(),
        tenant: "",
        run: "",
        search_path: "",
        statement_timeout: u64::try_from(request.agent.statement_timeout.as_millis()).unwrap_or(u64::MAX),
        tls: false,
    });
    match decide(request, sql::classify(request.text).map_err(Error::Parse)?)? {
        Action::Forward(governed) => {
            settle(&governed, &mut settings)?;
            Ok(First::Forward(governed))
        }
        Action::Copy(_, governed) | Action::Explain(_, governed) => Ok(First::Forward(governed)),
        Action::Declare(declare, governed) if declare.hold => Ok(First::Forward(governed)),
        Action::Declare(..) => Err(TransactionError::NoBlock("DECLARE CURSOR").into()),
        Action::Write(write) => Ok(First::Write(write)),
        Action::Local(statement) => local(request, statement, &mut settings),
    }
}

/// What [`first_statement`] decides.
#[derive(Debug)]
pub enum First {
    /// It is forwarded as this.
    Forward(std::sync::Arc<GovernedStatement>),
    /// It is a write.
    Write(std::sync::Arc<govern::Write>),
    /// It is answered without the source.
    Local(Statement),
}

/// The settings that a read asks for or sets.
fn settle(governed: &GovernedStatement, settings: &mut Settings) -> Result<(), Error> {
    for appended in governed.appended() {
        match &appended.value {
            AppendedValue::Session(SessionValue::Setting { name, missing_ok }) => match settings.shown(name) {
                Err(SettingError::Unknown(_)) if *missing_ok => {}
                found => drop(found?),
            },
            AppendedValue::Session(SessionValue::Config { name, value: ConfigArgument::Text(value), .. }) if !is_of_transaction(name) => {
                drop(settings.set_text(name, value, false)?);
            }
            AppendedValue::Session(_) | AppendedValue::Tenant | AppendedValue::MaskKey(_) | AppendedValue::Constant(_) => {}
        }
    }
    Ok(())
}

/// Settings that stand for SET TRANSACTION.
fn is_of_transaction(name: &str) -> bool {
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable"].iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn local(request: &Request<'_>, statement: Statement, settings: &mut Settings) -> Result<First, Error> {
    match &statement {
        Statement::Set { name, value, .. } if !is_of_transaction(name) && !name.eq_ignore_ascii_case(super::binding::SESSION_TOKEN) => {
            drop(settings.set(name, value.as_deref())?);
        }
        Statement::Reset(name) if !name.eq_ignore_ascii_case(super::binding::SESSION_TOKEN) => settings.reset(name, false)?,
        Statement::Show(name) => drop(settings.shown(name)?),
        Statement::Prepare(prepare) => {
            return match first_statement(&Request { text: &prepare.text, ..*request })? {
                First::Local(_) => Err(SessionError::NotPreparable.into()),
                decided @ (First::Forward(_) | First::Write(_)) => Ok(decided),
            };
        }
        Statement::Execute(execute) => return Err(SessionError::NoStatement(execute.name.as_str().into()).into()),
        Statement::Deallocate(Some(name)) => return Err(SessionError::NoStatement(name.as_str().into()).into()),
        Statement::Fetch(fetch) => return Err(SessionError::NoCursor(fetch.name.as_str().into()).into()),
        Statement::Close(name) => return Err(SessionError::NoCursor(name.as_str().into()).into()),
        Statement::Savepoint(_) => return Err(TransactionError::NoBlock("SAVEPOINT").into()),
        Statement::Release(_) => return Err(TransactionError::NoBlock("RELEASE SAVEPOINT").into()),
        Statement::RollbackTo(_) => return Err(TransactionError::NoBlock("ROLLBACK TO SAVEPOINT").into()),
        Statement::Commit { chain: true } => return Err(TransactionError::NoBlock("COMMIT AND CHAIN").into()),
        Statement::Rollback { chain: true } => return Err(TransactionError::NoBlock("ROLLBACK AND CHAIN").into()),
        Statement::Empty
        | Statement::Begin { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::SetTransaction(_)
        | Statement::SetSessionCharacteristics(_)
        | Statement::Set { .. }
        | Statement::Reset(_)
        | Statement::ResetAll
        | Statement::ShowAll
        | Statement::DiscardAll
        | Statement::DiscardPart(_)
        | Statement::Deallocate(None)
        | Statement::CloseAll
        | Statement::Unlisten
        | Statement::Explain(_)
        // These are decided before, and are not answered here.
        | Statement::Read
        | Statement::Write
        | Statement::Copy(_)
        | Statement::Declare(_)
        | Statement::Refused(_) => {}
    }
    Ok(First::Local(statement))
}
