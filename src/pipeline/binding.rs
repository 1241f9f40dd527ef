//! `SET pgwicket.session_token`: one connection, one tenant after the other, each proven by a token.

use std::borrow::Cow;

use super::{
    bind::Parameters,
    plan::{Action, Plan},
    session::{Interrupts, Session},
    settings,
};
use crate::{
    error::{CursorEnd, Error, SessionError, SettingError, TokenRefused},
    govern::{AppendedValue, ConfigArgument, GovernedStatement, Refusal, RefusalCode, SessionValue},
    sql::withheld,
    types::{Principal, RunId, TenantId},
};

/// The setting.
pub(super) const SESSION_TOKEN: &str = "pgwicket.session_token";

/// What a session token said, besides the principal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Unit: seconds since the Unix epoch.
    pub(super) expires_at: u64,
}

/// The text as evidence keeps it: a setting that pgwicket knows holds no secret, but the session token itself.
pub(super) fn recorded(text: &str) -> Cow<'_, str> {
    withheld(text, |name| name != SESSION_TOKEN && settings::definition(name).is_ok())
}

impl<I: Interrupts> Session<I> {
    /// Binds the session to what a token says, between transactions. What was bound before is gone, whether the token is taken
    /// or not, and wherever it is asked: a client that does not look must not go on as somebody else.
    pub(super) async fn bind_token(&mut self, token: Option<&str>, local: bool) -> Result<(), Error> {
        let Some(rules) = self.agent.session_token.clone() else { return Err(SettingError::Forbidden(SESSION_TOKEN.into()).into()) };
        self.unbind();
        if local || self.is_in_transaction() {
            return Err(SessionError::InBlock("SET pgwicket.session_token").into());
        }
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(()) };
        let claimed = self.lane.keyring().check(token, &rules, now()).await;
        let claimed = claimed.map_err(|error| SessionError::Token(TokenRefused(error.to_string().into())))?;
        let login = self.who.login.clone();
        let principal = Principal {
            tenant: claimed.tenant.or(login.tenant),
            run: claimed.run.or(login.run),
            subject: Some(claimed.subject),
            attributes: claimed.attributes,
            agent: login.agent,
        };
        self.act_as(principal, Some(Bound { expires_at: claimed.expires_at }));
        Ok(())
    }

    /// The session is what it was when it was made.
    pub(super) fn unbind(&mut self) {
        if self.who.bound.is_some() {
            self.act_as(self.who.login.clone(), None);
        }
    }

    fn act_as(&mut self, principal: Principal, bound: Option<Bound>) {
        self.end_portals();
        // What they hold is what somebody else was allowed to read.
        self.forget_cursors(CursorEnd::Rebound);
        let (tenant, run) = (principal.tenant.as_ref().map_or("", TenantId::as_str), principal.run.as_ref().map_or("", RunId::as_str));
        self.settings.bind(tenant, run);
        if let Some(mark) = &mut self.unsynced_settings {
            mark.bind(tenant, run);
        }
        self.who.bound_run = principal.run.is_some();
        self.who.principal = principal;
        self.who.bound = bound;
    }

    /// Refuses what asks for a setting that does not exist, as SHOW does; sets what the statement sets. `values`: the client's
    /// parameters, where they are bound.
    pub(super) fn settle_settings(&mut self, plan: &Plan, values: Option<Parameters<'_>>) -> Result<(), Error> {
        let Some(statement) = plan.governed() else { return Ok(()) };
        for appended in statement.appended() {
            let AppendedValue::Session(value) = &appended.value else { continue };
            match value {
                SessionValue::Setting { name, missing_ok } => match self.settings.shown(name) {
                    Err(SettingError::Unknown(_)) if *missing_ok => {}
                    found => drop(found?),
                },
                SessionValue::Config { .. } if !matches!(plan.action(), Action::Forward(_)) => {
                    let refusal = Refusal::new(RefusalCode::Denied, "function set_config is not available here: it changes the session");
                    return Err(refusal.hint("use SET").into());
                }
                SessionValue::Config { name, value, local } => {
                    let values = values.map(|values| values.iter().collect::<Vec<_>>());
                    if let (Given::Known(value), Given::Known(local)) = (given(value, values.as_deref()), given(local, values.as_deref())) {
                        let local = local.is_some_and(|flag| matches!(flag, "\u{1}") || settings::flag("row_security", flag) == Ok(true));
                        self.set_config(name, value, local)?;
                    }
                }
                SessionValue::User
                | SessionValue::Database
                | SessionValue::Schema
                | SessionValue::BackendPid
                | SessionValue::Version
                | SessionValue::Proposals
                | SessionValue::ProposalChanges => {}
            }
        }
        Ok(())
    }

    /// Refuses what reads a tenant's rows while there is no tenant, or its token is over.
    pub(super) fn check_binding(&self, statement: &GovernedStatement) -> Result<(), Error> {
        if self.who.bound.is_some_and(|bound| bound.expires_at <= now()) {
            return Err(SessionError::Token(TokenRefused("it has expired".into())).into());
        }
        let asks = || statement.appended().iter().any(|appended| matches!(appended.value, AppendedValue::Tenant));
        if self.who.principal.tenant.is_some() || !asks() {
            return Ok(());
        }
        let refusal = Refusal::new(RefusalCode::Denied, "this connection is not bound to a tenant");
        Err(refusal.hint("bind it first: SET pgwicket.session_token = '<token>'").into())
    }
}

/// An argument of `set_config`.
enum Given<'a> {
    /// A parameter whose value is not bound yet.
    Unbound,
    /// Its text, or NULL.
    Known(Option<&'a str>),
}

/// Text and binary format of a text are the same.
fn given<'a>(argument: &'a ConfigArgument, values: Option<&[Option<&'a [u8]>]>) -> Given<'a> {
    match argument {
        ConfigArgument::Null => Given::Known(None),
        ConfigArgument::Text(text) => Given::Known(Some(text)),
        ConfigArgument::Parameter(number) => {
            let value = values.zip(number.checked_sub(1)).and_then(|(values, place)| values.get(place));
            value.map_or(Given::Unbound, |value| Given::Known(value.and_then(|bytes| std::str::from_utf8(bytes).ok())))
        }
    }
}

/// Unit: seconds since the Unix epoch.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0)
}
