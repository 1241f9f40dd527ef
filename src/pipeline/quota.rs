//! What one principal may ask for in a window of time, counted over all of its connections to this process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use parking_lot::Mutex;

use crate::{
    govern::{Refusal, RefusalCode},
    policy::Limits,
    types::{AgentName, Principal, TenantId},
};

/// Unit: seconds.
const MINUTE: i64 = 60;
/// Unit: seconds.
const DAY: i64 = 86_400;
/// Principals that are counted before those of other days are forgotten.
const MANY: usize = 10_000;

type Key = (AgentName, Option<TenantId>);

/// Everybody's counts.
#[derive(Debug, Default)]
pub struct Quotas(DashMap<Key, Arc<Usage>>);

/// The counts of one principal: an agent, and the tenant it acts for.
#[derive(Debug, Default)]
pub(super) struct Usage {
    running: AtomicU64,
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    minute: i64,
    statements: u64,
    day: i64,
    rows: u64,
    bytes: u64,
}

/// A statement that runs. It stops counting as running when it is dropped.
pub(super) struct Running(Arc<Usage>);

impl Quotas {
    /// The counts of this principal.
    pub(super) fn of(&self, principal: &Principal) -> Arc<Usage> {
        if self.0.len() > MANY {
            let today = now().div_euclid(DAY);
            // What a session holds stays: another session of the principal must not count anew beside it.
            self.0.retain(|_, usage| Arc::strong_count(usage) > 1 || usage.windows.lock().day == today);
        }
        Arc::clone(&self.0.entry((principal.agent.clone(), principal.tenant.clone())).or_default())
    }
}

impl Usage {
    /// Counts one more statement, or says which limit is in its way.
    pub(super) fn begin(self: &Arc<Self>, agent: &AgentName, limits: &Limits) -> Result<Running, Refusal> {
        self.begin_at(agent, limits, now())
    }

    fn begin_at(self: &Arc<Self>, agent: &AgentName, limits: &Limits, now: i64) -> Result<Running, Refusal> {
        let refusal = |limit: u64, what: &str, setting: &str, resets: Option<i64>| over(agent, limits, limit, what, setting, resets, now);
        let mut windows = self.windows.lock();
        windows.turn(now);
        let (next_minute, next_day) = ((windows.minute + 1) * MINUTE, (windows.day + 1) * DAY);
        for (used, limit, what, setting) in [
            (windows.rows, limits.rows_per_day, "rows a day", "rows_per_day"),
            (windows.bytes, limits.bytes_per_day, "bytes a day", "bytes_per_day"),
        ] {
            if let Some(limit) = limit.filter(|limit| used >= *limit) {
                return Err(refusal(limit, what, setting, Some(next_day)));
            }
        }
        if let Some(limit) = limits.concurrent_statements.filter(|limit| self.running.load(Ordering::Relaxed) >= *limit) {
            return Err(refusal(limit, "statements at the same time", "concurrent_statements", None));
        }
        if let Some(limit) = limits.statements_per_minute.filter(|limit| windows.statements >= *limit) {
            return Err(refusal(limit, "statements a minute", "statements_per_minute", Some(next_minute)));
        }
        windows.statements += 1;
        self.running.fetch_add(1, Ordering::Relaxed);
        Ok(Running(Arc::clone(self)))
    }
}

impl Windows {
    fn turn(&mut self, now: i64) {
        let (minute, day) = (now.div_euclid(MINUTE), now.div_euclid(DAY));
        if self.minute != minute {
            (self.minute, self.statements) = (minute, 0);
        }
        if self.day != day {
            (self.day, self.rows, self.bytes) = (day, 0, 0);
        }
    }
}

impl Running {
    /// Counts what it returned.
    pub(super) fn returned(&self, rows: u64, bytes: u64) {
        let mut windows = self.0.windows.lock();
        windows.turn(now());
        windows.rows = windows.rows.saturating_add(rows);
        windows.bytes = windows.bytes.saturating_add(bytes);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Running")
    }
}

/// 53400: which limit, when its window is over, who can raise it.
fn over(agent: &AgentName, limits: &Limits, limit: u64, what: &str, setting: &str, resets: Option<i64>, now: i64) -> Refusal {
    let message = format!("agent {agent} may use {limit} {what}, and has");
    let who = limits.raised_by.as_deref().unwrap_or("whoever writes the policy");
    let raise = format!("{who} can raise `limits.{setting}` of this agent");
    let Some(resets) = resets else {
        return Refusal::new(RefusalCode::Limit, message).hint(format!("wait until one of them has ended; {raise}"));
    };
    let at = jiff::Timestamp::from_second(resets).map(|at| at.to_string()).unwrap_or_default();
    let refusal = Refusal::new(RefusalCode::Limit, message).hint(format!("wait, or ask for less; {raise}"));
    Refusal { detail: Some(format!("the window resets at {at}, in {} s", resets - now)), ..refusal }
}

/// Unit: seconds since the Unix epoch.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: i64 = 1_800_014_400;

    fn limits() -> Limits {
        Limits {
            statements_per_minute: Some(2),
            concurrent_statements: Some(1),
            rows_per_day: Some(100),
            raised_by: Some("dba@corp".into()),
            ..Limits::default()
        }
    }

    fn usage() -> (AgentName, Arc<Usage>) {
        ("ada".parse().unwrap(), Arc::default())
    }

    #[test]
    fn each_limit_names_its_window_and_who_can_raise_it() {
        let (ada, usage) = usage();
        let begin = |now: i64| usage.begin_at(&ada, &limits(), now);
        let running = begin(NOON).unwrap();
        let refused = begin(NOON).unwrap_err();
        assert_eq!(refused.message, "agent ada may use 1 statements at the same time, and has");
        drop(running);
        drop(begin(NOON + 1).unwrap());
        let refused = begin(NOON + 10).unwrap_err();
        assert_eq!(refused.message, "agent ada may use 2 statements a minute, and has");
        assert_eq!(refused.detail.as_deref(), Some("the window resets at 2027-01-15T12:01:00Z, in 50 s"));
        assert!(refused.hint.unwrap().contains("dba@corp can raise `limits.statements_per_minute`"));
        drop(begin(NOON + MINUTE).unwrap());
        usage.windows.lock().rows = 100;
        let refused = begin(NOON + 2 * MINUTE).unwrap_err();
        assert!(refused.message.contains("100 rows a day") && refused.detail.unwrap().contains("2027-01-16T00:00:00Z"));
        assert!(begin(NOON + DAY).is_ok());
    }

    /// A live session's counts stay the principal's, however many others come and go.
    #[test]
    fn what_a_session_holds_is_not_forgotten() {
        let quotas = Quotas::default();
        let principal = |number: usize| Principal {
            agent: "ada".parse().unwrap(),
            tenant: Some(format!("t{number}").parse().unwrap()),
            run: None,
            subject: None,
            attributes: Vec::new(),
        };
        let held = quotas.of(&principal(0));
        for number in 1..=MANY + 10 {
            quotas.of(&principal(number));
        }
        assert!(Arc::ptr_eq(&held, &quotas.of(&principal(0))));
        assert!(quotas.0.len() < MANY, "those of other days that nobody holds are forgotten");
    }

    #[test]
    fn principals_are_counted_apart() {
        let quotas = Quotas::default();
        let principal = |tenant: &str| Principal {
            agent: "ada".parse().unwrap(),
            tenant: Some(tenant.parse().unwrap()),
            run: None,
            subject: None,
            attributes: Vec::new(),
        };
        let (acme, globex) = (quotas.of(&principal("acme")), quotas.of(&principal("globex")));
        assert!(Arc::ptr_eq(&acme, &quotas.of(&principal("acme"))) && !Arc::ptr_eq(&acme, &globex));
    }
}
