//! `SET pgwicket.session_token`: one connection, one tenant after the other, each proven by a token.

use std::borrow::Cow;

use super::{
    bind::Parameters,
    plan::{Action, Plan},
    session::{Ended, Evidence, Interrupts, Session},
    settings,
};
use crate::{
    error::{CursorEnd, Error, SessionError, SettingError, TokenRefused},
    govern::{AppendedValue, ConfigArgument, GovernedStatement, Refusal, RefusalCode, SessionValue},
    sql::{value_without_tokens, withheld, without_tokens},
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

/// Whether a text that was not run may have meant to bind the session: it names the setting, however it goes on, or holds a token.
pub(super) fn asks_to_bind(text: &str) -> bool {
    const NAMED: &[u8] = b"pgwicket.session";
    text.as_bytes().windows(NAMED.len()).any(|window| window.eq_ignore_ascii_case(NAMED)) || matches!(without_tokens(text), Cow::Owned(_))
}

/// Bound values, in the wire form of a Bind, as evidence keeps them: without what looks like a token.
pub(super) fn recorded_values(values: &[u8]) -> Cow<'_, [u8]> {
    let mut each = Vec::new();
    let mut rest = values;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let value = usize::try_from(i32::from_be_bytes(*length)).ok().and_then(|length| after.get(..length));
        each.push((value, value.and_then(value_without_tokens)));
        rest = after.get(value.map_or(0, <[u8]>::len)..).unwrap_or_default();
    }
    if each.iter().all(|(_, changed)| changed.is_none()) {
        return Cow::Borrowed(values);
    }
    let mut out = Vec::with_capacity(values.len());
    for (value, changed) in &each {
        let value = changed.as_deref().or(*value);
        out.extend(value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX)).to_be_bytes());
        out.extend_from_slice(value.unwrap_or_default());
    }
    Cow::Owned(out)
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

    /// A text was refused or passed over. If it may have meant to bind the session, what was bound is bound no more: whoever sent it
    /// and does not look must not go on as somebody else.
    pub(super) async fn was_not_run(&mut self, text: Option<&str>) -> Result<(), Ended> {
        if self.who.bound.is_some() && text.is_some_and(asks_to_bind) {
            self.drain().await?;
            self.unbind();
        }
        Ok(())
    }

    fn act_as(&mut self, principal: Principal, bound: Option<Bound>) {
        self.end_portals();
        self.evidence = Evidence::default();
        // What they hold is what somebody else was allowed to read.
        self.forget_cursors(CursorEnd::Rebound);
        let (tenant, run) = (principal.tenant.as_ref().map_or("", TenantId::as_str), principal.run.as_ref().map_or("", RunId::as_str));
        self.settings.bind(tenant, run);
        if let Some(mark) = &mut self.unsynced_settings {
            self.settings.bind_mark(mark);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_meant_to_bind_is_known_however_it_is_written() {
        let token = "eyJhbGciOiJFZERTQSJ9.eyJvcmciOiJhY21lIn0.c2ln";
        for text in ["set pgwicket.session_token = ''", "SET PgWicket.Session-Token to 'x'", &format!("sett pgwiket.token = '{token}'")] {
            assert!(asks_to_bind(text), "{text}");
        }
        for text in ["select session_token from sessions", "set pgwicket.reason = 'x'", "select 'eyJ.x'", ""] {
            assert!(!asks_to_bind(text), "{text}");
        }
    }

    #[test]
    fn a_bound_value_loses_its_token_and_the_others_stay() {
        let bind = |values: &[Option<&[u8]>]| -> Vec<u8> {
            let wire = |value: Option<&[u8]>| {
                let length = value.map_or(-1_i32, |value| i32::try_from(value.len()).unwrap());
                [&length.to_be_bytes()[..], value.unwrap_or_default()].concat()
            };
            values.iter().copied().flat_map(wire).collect()
        };
        let plain = bind(&[Some(b"\0\xff"), None, Some(b""), Some(b"a.b.c")]);
        assert!(matches!(recorded_values(&plain), Cow::Borrowed(kept) if kept == plain));
        let token = b"eyJhbGciOiJFZERTQSJ9.eyJvcmciOiJhY21lIn0.c2ln";
        let kept = recorded_values(&bind(&[None, Some(token), Some(b"z")])).into_owned();
        let Some(changed) = value_without_tokens(token) else { panic!("not cut out") };
        assert_eq!(kept, bind(&[None, Some(&changed), Some(b"z")]));
        assert!(changed.starts_with(b"(withheld)"));
    }
}
