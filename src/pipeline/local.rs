//! Statements that are answered here: transaction control, session settings, prepared statements by name.

use std::rc::Rc;

use bytes::BytesMut;

use super::{
    binding::SESSION_TOKEN,
    explain,
    plan::{Action, Plan},
    reply,
    session::{Derived, Evidence, Interrupts, Session},
    settings::{self, Cut, Kind, Settings},
    transaction::{Status, Transaction, isolation_name, isolation_named},
    upstream::Failure,
};
use crate::{
    error::{CursorEnd, Error, Report, SessionError, SettingError, TransactionError},
    source::TransactionCommand,
    sql::{Isolation, Statement, TransactionModes},
};

/// The columns of SHOW ALL.
const ALL_COLUMNS: [&str; 3] = ["name", "setting", "description"];

/// Writes RowDescription or NoData of a statement that is answered here.
pub(super) fn describe(statement: &Statement, formats: &[i16], out: &mut BytesMut) {
    if let Statement::Show(name) = statement {
        let name = settings::definition(name).map_or(&**name, |definition| definition.name);
        reply::text_columns(out, &[name], formats);
    } else if let Statement::Explain(explain) = statement {
        explain::describe(explain, formats, out);
    } else if *statement == Statement::ShowAll {
        reply::text_columns(out, &ALL_COLUMNS, formats);
    } else {
        reply::bare(out, b'n');
    }
}

/// A setting as SHOW prints it, the ones that are not stored included.
pub(super) fn shown<'a>(
    name: &str,
    settings: &'a Settings,
    derived: &'a Derived,
    evidence: &'a Evidence,
    transaction: &Transaction,
) -> Option<&'a str> {
    let modes = transaction.block().map(|block| block.modes).unwrap_or_default();
    match name {
        "pgwicket.evidence_id" => Some(evidence.text()),
        "pgwicket.policy_epoch" => Some(&derived.policy_epoch),
        "transaction_isolation" => modes.isolation.map(isolation_name).or_else(|| settings.value("default_transaction_isolation")),
        "transaction_read_only" => match modes.read_only.or_else(|| transaction.block().map(|block| block.read_only)) {
            Some(read_only) => Some(if read_only { "on" } else { "off" }),
            None => settings.value("default_transaction_read_only"),
        },
        "transaction_deferrable" => Some(if modes.deferrable == Some(true) { "on" } else { "off" }),
        name => settings.value(name),
    }
}

impl<I: Interrupts> Session<I> {
    /// A statement of the simple protocol that is answered here.
    pub(super) async fn answer_here(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        if let Action::Local(statement @ (Statement::Show(_) | Statement::ShowAll)) = plan.action() {
            if let Statement::Show(name) = statement {
                self.settings.shown(name)?;
            }
            describe(statement, &[], self.client.outgoing());
        }
        self.execute_here(plan).await
    }

    /// Executes a statement that is answered here. Everything before it has been settled.
    pub(super) async fn execute_here(&mut self, plan: &Rc<Plan>) -> Result<(), Failure> {
        let Action::Local(statement) = plan.action() else { return Ok(()) };
        let tag = match statement {
            Statement::Empty => {
                reply::bare(self.client.outgoing(), b'I');
                return Ok(());
            }
            Statement::Begin { modes, start } => self.begin(*modes, *start).await?,
            Statement::Commit { chain } => self.commit(*chain).await?,
            Statement::Rollback { chain } => self.rollback(*chain).await?,
            Statement::Savepoint(name) => self.savepoint(name).await?,
            Statement::Release(name) => self.release(name).await?,
            Statement::RollbackTo(name) => self.rollback_to(name).await?,
            Statement::SetTransaction(modes) => {
                if self.transaction.status() == Status::Idle {
                    self.notice(&Report::warning("25P01", "SET TRANSACTION can only be used in transaction blocks"));
                }
                self.set_transaction(*modes)?
            }
            Statement::SetSessionCharacteristics(modes) => self.set_characteristics(*modes)?,
            Statement::Set { name, value, local } if name.eq_ignore_ascii_case(SESSION_TOKEN) => {
                let token = value.as_ref().map(|values| values.join(", "));
                self.bind_token(token.as_deref(), *local).await?;
                "SET"
            }
            Statement::Set { name, value, local } => self.set(name, value.as_deref(), *local)?,
            Statement::Reset(name) if name.eq_ignore_ascii_case(SESSION_TOKEN) => {
                self.bind_token(None, false).await?;
                "RESET"
            }
            Statement::Reset(name) => {
                self.set(name, None, false)?;
                "RESET"
            }
            Statement::ResetAll => {
                self.mark_settings();
                self.unbind();
                self.settings.reset_all();
                "RESET"
            }
            Statement::Show(name) => self.show(name)?,
            Statement::ShowAll => self.show_all(),
            Statement::DiscardAll => self.discard_all()?,
            Statement::DiscardPart(part) => *part,
            Statement::Prepare(prepare) => self.prepare_named(prepare).await?,
            // The extended protocol binds it to the statement that is meant.
            Statement::Execute(execute) => return Err(SessionError::NoStatement(execute.name.as_str().into()).into()),
            Statement::Deallocate(name) => self.deallocate(name.as_deref())?,
            Statement::Close(name) => self.close_cursor(name).await?,
            Statement::CloseAll => self.close_all().await?,
            Statement::Unlisten => "UNLISTEN",
            // Planning does not let these come here.
            Statement::Read
            | Statement::Write
            | Statement::Copy(_)
            | Statement::Explain(_)
            | Statement::Declare(_)
            | Statement::Fetch(_) => {
                return Err(SessionError::NoStatement("".into()).into());
            }
            Statement::Refused(refused) => return Err(Error::Kind(refused.clone()).into()),
        };
        reply::command_complete(self.client.outgoing(), tag);
        Ok(())
    }

    /// A portal that was executed before: rows are over, and what has none cannot be run twice.
    pub(super) fn execute_again(&mut self, plan: &Plan, portal: &str) -> Result<(), Failure> {
        if let Action::Local(Statement::Show(_) | Statement::ShowAll) = plan.action() {
            reply::command_complete(self.client.outgoing(), "SHOW");
            return Ok(());
        }
        if let Action::Local(Statement::Fetch(fetch)) = plan.action()
            && !fetch.step.moves
        {
            reply::command_complete(self.client.outgoing(), "FETCH 0");
            return Ok(());
        }
        Err(SessionError::PortalDone(portal.into()).into())
    }

    async fn begin(&mut self, modes: TransactionModes, start: bool) -> Result<&'static str, Failure> {
        if self.transaction.status() == Status::Idle {
            // What ran before it in the same batch ends first, so that the block's own snapshot is its first statement's.
            self.sync_upstream().await?;
            if self.skipping {
                return Err(Failure::PassedOver);
            }
            self.start_block(modes);
            self.note_isolation(modes.isolation);
        } else {
            self.transaction.set_modes(modes)?;
            self.note_isolation(modes.isolation);
            if self.transaction.is_implicit() {
                self.transaction.set_implicit(false);
            } else {
                self.notice(&Report::warning("25001", "there is already a transaction in progress"));
            }
        }
        Ok(if start { "START TRANSACTION" } else { "BEGIN" })
    }

    /// Starts a block with the session's defaults for what is not given.
    pub(super) fn start_block(&mut self, modes: TransactionModes) {
        let deferrable = self.settings.value("default_transaction_deferrable") == Some("on");
        let modes = TransactionModes {
            isolation: modes.isolation.or_else(|| self.default_isolation()),
            read_only: modes.read_only,
            deferrable: modes.deferrable.or(deferrable.then_some(true)),
        };
        let read_only = self.settings.value("default_transaction_read_only") == Some("on");
        self.transaction.begin(modes, read_only);
        self.settings.push();
    }

    pub(super) fn default_isolation(&self) -> Option<Isolation> {
        self.settings.value("default_transaction_isolation").and_then(isolation_named)
    }

    async fn commit(&mut self, chain: bool) -> Result<&'static str, Failure> {
        match self.transaction.status() {
            Status::Failed => self.rollback(chain).await,
            Status::Idle | Status::Open if chain && !self.transaction.is_explicit() => {
                Err(TransactionError::NoBlock("COMMIT AND CHAIN").into())
            }
            Status::Idle => {
                self.notice(&Report::warning("25P01", "there is no transaction in progress"));
                Ok("COMMIT")
            }
            Status::Open => {
                if self.transaction.is_implicit() {
                    self.notice(&Report::warning("25P01", "there is no transaction in progress"));
                }
                self.end_block(TransactionCommand::Commit, true, chain).await?;
                Ok("COMMIT")
            }
        }
    }

    async fn rollback(&mut self, chain: bool) -> Result<&'static str, Failure> {
        let explicit = self.transaction.is_explicit();
        if chain && !explicit {
            return Err(TransactionError::NoBlock("ROLLBACK AND CHAIN").into());
        }
        if !explicit {
            self.notice(&Report::warning("25P01", "there is no transaction in progress"));
        }
        if self.transaction.status() != Status::Idle {
            self.end_block(TransactionCommand::Rollback, false, chain).await?;
        }
        Ok("ROLLBACK")
    }

    /// Ends the block, here and at the source.
    pub(super) async fn end_block(&mut self, command: TransactionCommand, committed: bool, chain: bool) -> Result<(), Failure> {
        self.end_portals();
        let Some(block) = self.transaction.end() else { return Ok(()) };
        let modes = block.modes;
        if !committed {
            self.cursors.end(false);
        }
        let ended = self.control(command).await;
        self.release_upstream();
        let ended = match ended {
            Ok(()) => self.end_catalog(committed).await,
            Err(failure) => {
                self.drop_upstreams();
                Err(failure)
            }
        };
        // What a cursor WITH HOLD holds is computed by COMMIT, which may fail.
        self.end_cursors(committed && ended.is_ok());
        self.settings.end(committed && ended.is_ok());
        ended?;
        if chain {
            self.start_block(modes);
        }
        Ok(())
    }

    async fn savepoint(&mut self, name: &str) -> Result<&'static str, Failure> {
        let number = self.transaction.savepoint(name)?;
        self.settings.push();
        self.control(TransactionCommand::Savepoint(number)).await?;
        Ok("SAVEPOINT")
    }

    async fn release(&mut self, name: &str) -> Result<&'static str, Failure> {
        let (depth, number) = self.transaction.release(name)?;
        self.settings.release(depth + 1);
        self.cursors.release(depth);
        self.names.release_portals(depth);
        self.control(TransactionCommand::Release(number)).await?;
        Ok("RELEASE")
    }

    async fn rollback_to(&mut self, name: &str) -> Result<&'static str, Failure> {
        let (depth, number) = self.transaction.rollback_to(name)?;
        self.settings.rollback_to(depth + 1);
        self.roll_cursors_back_to(depth);
        self.end_portals_above(depth);
        self.control(TransactionCommand::RollbackTo(number)).await?;
        Ok("ROLLBACK")
    }

    fn set_transaction(&mut self, modes: TransactionModes) -> Result<&'static str, Error> {
        self.transaction.set_modes(modes)?;
        if self.transaction.status() != Status::Idle {
            self.note_isolation(modes.isolation);
        }
        Ok("SET")
    }

    /// Says what SERIALIZABLE is here, to a client that asks for it.
    pub(super) fn note_isolation(&mut self, asked: Option<Isolation>) {
        if asked == Some(Isolation::Serializable) {
            let notice = Report::notice("isolation level serializable is answered by repeatable read");
            self.notice(&notice.hint("every transaction here only reads, and takes no part in the conflicts of others"));
        }
    }

    fn set_characteristics(&mut self, modes: TransactionModes) -> Result<&'static str, Error> {
        self.mark_settings();
        if let Some(isolation) = modes.isolation {
            self.settings.set_text("default_transaction_isolation", isolation_name(isolation), false)?;
            self.note_isolation(Some(isolation));
        }
        let flags = [("default_transaction_read_only", modes.read_only), ("default_transaction_deferrable", modes.deferrable)];
        for (name, flag) in flags {
            if let Some(on) = flag {
                self.settings.set_text(name, if on { "on" } else { "off" }, false)?;
            }
        }
        Ok("SET")
    }

    fn set(&mut self, name: &str, values: Option<&[String]>, local: bool) -> Result<&'static str, Error> {
        let lower = name.to_ascii_lowercase();
        if let Some([value]) = values
            && let Some(modes) = transaction_setting(&lower, value)?
        {
            return self.set_transaction(modes);
        }
        self.check_settable(&lower)?;
        self.mark_settings();
        let cut = if !local {
            self.settings.set(name, values)?
        } else if self.is_in_transaction() {
            self.settings.set_local(name, values)?
        } else {
            // Outside a block nothing of it stays, and what is wrong is told all the same.
            let cut = self.settings.set_local(name, values)?;
            self.settings.end_local();
            self.notice(&Report::warning("25P01", "SET LOCAL can only be used in transaction blocks"));
            cut
        };
        self.note_set(&lower, cut.as_ref());
        Ok("SET")
    }

    /// `set_config(name, value, is_local)`: as SET, and outside a block what is local lasts until the batch ends.
    pub(super) fn set_config(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<(), Error> {
        let lower = name.to_ascii_lowercase();
        if let Some(modes) = transaction_setting(&lower, value.unwrap_or_default())? {
            return self.set_transaction(modes).map(|_tag| ());
        }
        if lower == SESSION_TOKEN {
            return Err(SettingError::Forbidden(SESSION_TOKEN.into()).into());
        }
        self.check_settable(&lower)?;
        self.mark_settings();
        let cut = if let Some(value) = value {
            self.settings.set_text(name, value, local)?
        } else {
            self.settings.reset(name, local)?;
            None
        };
        self.note_set(&lower, cut.as_ref());
        self.refresh()
    }

    /// Refuses what was settled at authentication.
    fn check_settable(&self, lower: &str) -> Result<(), Error> {
        if lower == "pgwicket.run" && self.who.bound_run { Err(SettingError::Fixed("pgwicket.run").into()) } else { Ok(()) }
    }

    fn note_set(&mut self, lower: &str, cut: Option<&Cut>) {
        if let Some(cut) = cut {
            self.notice(&cut_short(cut));
        }
        if lower == "default_transaction_isolation" {
            self.note_isolation(self.default_isolation());
        }
    }

    /// Outside a block, an error later in the same batch takes a SET back.
    fn mark_settings(&mut self) {
        if !self.is_in_transaction() && self.unsynced_settings.is_none() {
            self.unsynced_settings = Some(self.settings.mark());
        }
    }

    fn show(&mut self, name: &str) -> Result<&'static str, Error> {
        let Self { client, settings, derived, evidence, transaction, .. } = self;
        let value = shown(settings.shown(name)?.as_str(), settings, derived, evidence, transaction);
        reply::text_row(client.outgoing(), &[value.unwrap_or_default()]);
        Ok("SHOW")
    }

    fn show_all(&mut self) -> &'static str {
        let Self { client, settings, derived, evidence, transaction, .. } = self;
        for definition in settings::all().filter(|definition| definition.kind != Kind::Hidden) {
            let value = shown(definition.name, settings, derived, evidence, transaction);
            reply::text_row(client.outgoing(), &[definition.name, value.unwrap_or_default(), definition.description]);
        }
        "SHOW"
    }

    fn discard_all(&mut self) -> Result<&'static str, Error> {
        if self.is_in_transaction() {
            return Err(SessionError::InBlock("DISCARD ALL").into());
        }
        self.end_portals();
        self.forget_cursors(CursorEnd::Rebound);
        self.cursors.forget_ends();
        self.names.remove_statements();
        self.unbind();
        self.settings.reset_all();
        Ok("DISCARD ALL")
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<&'static str, Error> {
        match name {
            None => {
                self.names.remove_statements();
                Ok("DEALLOCATE ALL")
            }
            Some(name) => {
                self.names.remove_statement(name).ok_or_else(|| SessionError::NoStatement(name.into()))?;
                Ok("DEALLOCATE")
            }
        }
    }
}

/// What the client is told of a value that is over the policy's bound.
pub(super) fn cut_short(cut: &Cut) -> Report {
    Report::notice(format!("{} is set to {}, the longest that the policy allows", cut.name, cut.bound))
}

/// `SET transaction_isolation = ...` is SET TRANSACTION in other words.
fn transaction_setting(name: &str, value: &str) -> Result<Option<TransactionModes>, Error> {
    let modes = TransactionModes::default();
    match name {
        "transaction_isolation" => {
            let invalid =
                || SettingError::Invalid { name: "transaction_isolation", value: value.chars().take(100).collect::<String>().into() };
            let isolation = isolation_named(&value.to_ascii_lowercase()).ok_or_else(invalid)?;
            Ok(Some(TransactionModes { isolation: Some(isolation), ..modes }))
        }
        "transaction_read_only" => Ok(Some(TransactionModes { read_only: Some(settings::flag(name, value)?), ..modes })),
        "transaction_deferrable" => Ok(Some(TransactionModes { deferrable: Some(settings::flag(name, value)?), ..modes })),
        _ => Ok(None),
    }
}
