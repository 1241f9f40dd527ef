//! The virtual session settings: what SET, RESET and SHOW speak of. None of it reaches a source as the
//! client wrote it; the few that change the text form of values are applied there by their canonical value.

mod definitions;
mod values;

pub(in crate::pipeline) use definitions::{Definition, Kind, definition};
pub(in crate::pipeline) use values::print_identifiers;

use std::{collections::BTreeMap, rc::Rc};

use crate::error::SettingError;

/// Every setting, in the order of SHOW ALL.
pub(in crate::pipeline) fn all() -> impl Iterator<Item = &'static Definition> {
    definitions::ALL.iter()
}

type Values = BTreeMap<&'static str, Box<str>>;

/// One session's settings, transactional as PostgreSQL's: a rollback undoes SET, the end of the
/// transaction undoes SET LOCAL.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Settings {
    start: Rc<Values>,
    session: Rc<Values>,
    local: Rc<Values>,
    marks: Vec<Mark>,
    bound: u64,
    generation: u64,
}

/// What a rollback goes back to.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Mark {
    session: Rc<Values>,
    local: Rc<Values>,
}

/// What a session starts with.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Start<'a> {
    /// `server_version`
    pub(in crate::pipeline) server_version: &'a str,
    /// `server_version_num`
    pub(in crate::pipeline) server_version_number: u32,
    /// `session_authorization`: the agent's name.
    pub(in crate::pipeline) agent: &'a str,
    /// `pgwicket.tenant`, empty when there is none.
    pub(in crate::pipeline) tenant: &'a str,
    /// `pgwicket.run`, empty when there is none.
    pub(in crate::pipeline) run: &'a str,
    /// The default search path: the agent's alias schemas.
    pub(in crate::pipeline) search_path: &'a str,
    /// `statement_timeout` at most, in milliseconds; 0 is no bound.
    pub(in crate::pipeline) statement_timeout: u64,
    /// `ssl`
    pub(in crate::pipeline) tls: bool,
}

impl Settings {
    /// The settings of a new session, before the startup message's own.
    pub(in crate::pipeline) fn new(start: &Start<'_>) -> Self {
        let mut values: Values = definitions::ALL.iter().map(|definition| (definition.name, definition.default.into())).collect();
        values.insert("server_version", start.server_version.into());
        values.insert("server_version_num", start.server_version_number.to_string().into());
        values.insert("session_authorization", start.agent.into());
        values.insert("pgwicket.agent", start.agent.into());
        values.insert("pgwicket.tenant", start.tenant.into());
        values.insert("pgwicket.run", start.run.into());
        values.insert("search_path", start.search_path.into());
        values.insert("statement_timeout", values::print_milliseconds(start.statement_timeout).into());
        values.insert("ssl", if start.tls { "on" } else { "off" }.into());
        let values = Rc::new(values);
        Self {
            start: Rc::clone(&values),
            session: values,
            local: Rc::default(),
            marks: Vec::new(),
            bound: start.statement_timeout,
            generation: 0,
        }
    }

    /// Whom the session acts for, from now on. No rollback undoes it. What was said for whom it acted before is gone.
    pub(in crate::pipeline) fn bind(&mut self, tenant: &str, run: &str) {
        bind(&mut self.start, tenant, run);
        bind(&mut self.session, tenant, run);
        forget_said(&mut self.local);
        for mark in &mut self.marks {
            mark.bind(tenant, run);
        }
        self.generation += 1;
    }

    /// A setting of the startup message: also what RESET goes back to.
    pub(in crate::pipeline) fn set_at_startup(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let (definition, value) = self.checked(name, value)?;
        Rc::make_mut(&mut self.start).insert(definition.name, value.clone());
        Rc::make_mut(&mut self.session).insert(definition.name, value);
        self.generation += 1;
        Ok(())
    }

    /// `SET name = value`; `None` is DEFAULT.
    pub(in crate::pipeline) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        let (definition, value) = self.wanted(name, value)?;
        Rc::make_mut(&mut self.session).insert(definition.name, value);
        if self.local.contains_key(definition.name) {
            Rc::make_mut(&mut self.local).remove(definition.name);
        }
        self.generation += 1;
        Ok(())
    }

    /// `SET LOCAL name = value`, inside a transaction block.
    pub(in crate::pipeline) fn set_local(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingError> {
        let (definition, value) = self.wanted(name, value)?;
        Rc::make_mut(&mut self.local).insert(definition.name, value);
        self.generation += 1;
        Ok(())
    }

    /// `RESET ALL`, `DISCARD ALL`.
    pub(in crate::pipeline) fn reset_all(&mut self) {
        self.session = Rc::clone(&self.start);
        self.local = Rc::default();
        self.generation += 1;
    }

    /// The value in force of a setting, by its canonical name.
    pub(in crate::pipeline) fn value(&self, name: &str) -> Option<&str> {
        self.local.get(name).or_else(|| self.session.get(name)).map(AsRef::as_ref)
    }

    /// Every setting with its value in force, in the order of SHOW ALL.
    pub(in crate::pipeline) fn all(&self) -> impl Iterator<Item = (&'static Definition, &str)> {
        definitions::ALL.iter().map(|definition| (definition, self.value(definition.name).unwrap_or_default()))
    }

    /// Grows with every change, so that what was derived from the settings can be kept until then.
    pub(in crate::pipeline) fn generation(&self) -> u64 {
        self.generation
    }

    /// What a rollback to here would restore.
    pub(in crate::pipeline) fn mark(&self) -> Mark {
        Mark { session: Rc::clone(&self.session), local: Rc::clone(&self.local) }
    }

    /// Goes back to a mark.
    pub(in crate::pipeline) fn restore(&mut self, mark: &Mark) {
        self.session = Rc::clone(&mark.session);
        self.local = Rc::clone(&mark.local);
        self.generation += 1;
    }

    /// A transaction block or savepoint starts.
    pub(in crate::pipeline) fn push(&mut self) {
        self.marks.push(self.mark());
    }

    /// ROLLBACK TO: back to the state at mark `depth` (0 is the block itself), which stays.
    pub(in crate::pipeline) fn rollback_to(&mut self, depth: usize) {
        self.marks.truncate(depth + 1);
        if let Some(mark) = self.marks.last().cloned() {
            self.restore(&mark);
        }
    }

    /// RELEASE: forgets mark `depth` and those above, keeps the values.
    pub(in crate::pipeline) fn release(&mut self, depth: usize) {
        self.marks.truncate(depth);
    }

    /// The transaction block ends.
    pub(in crate::pipeline) fn end(&mut self, committed: bool) {
        if !committed && !self.marks.is_empty() {
            self.rollback_to(0);
        }
        self.generation += u64::from(!self.local.is_empty());
        self.local = Rc::default();
        self.marks.clear();
    }

    /// `statement_timeout` in force, in milliseconds; 0 is none.
    pub(in crate::pipeline) fn statement_timeout(&self) -> u64 {
        self.value("statement_timeout").and_then(values::milliseconds).unwrap_or(self.bound)
    }

    /// The virtual search path as names.
    pub(in crate::pipeline) fn search_path(&self) -> Vec<Box<str>> {
        values::identifiers(self.value("search_path").unwrap_or_default())
    }

    /// What SET asks for. Names in a list were folded by the grammar already, so they are quoted to stay as they are.
    fn wanted(&self, name: &str, value: Option<&str>) -> Result<(&'static Definition, Box<str>), SettingError> {
        match value {
            None => self.default_of(name),
            Some(value) if definition(name)?.kind == Kind::Identifiers => {
                let names: Vec<&str> = value.split(", ").map(|name| name.trim_matches('"')).collect();
                self.checked(name, &print_identifiers(&names))
            }
            Some(value) => self.checked(name, value),
        }
    }

    fn checked(&self, name: &str, value: &str) -> Result<(&'static Definition, Box<str>), SettingError> {
        let definition = definition(name)?;
        let current = self.value(definition.name).unwrap_or_default();
        values::check(definition, value, current, self.bound).map(|value| (definition, value))
    }

    fn default_of(&self, name: &str) -> Result<(&'static Definition, Box<str>), SettingError> {
        let definition = definition(name)?;
        if definition.kind == Kind::Fixed {
            return Err(SettingError::Fixed(definition.name));
        }
        Ok((definition, self.start.get(definition.name).cloned().unwrap_or_default()))
    }
}

/// What a session says about one tenant's work: it goes with the binding.
const SAID: [&str; 2] = ["pgwicket.reason", "pgwicket.idempotency_key"];

impl Mark {
    /// As [`Settings::bind`], for what a rollback would restore.
    pub(in crate::pipeline) fn bind(&mut self, tenant: &str, run: &str) {
        bind(&mut self.session, tenant, run);
        forget_said(&mut self.local);
    }
}

fn bind(values: &mut Rc<Values>, tenant: &str, run: &str) {
    let values = Rc::make_mut(values);
    values.insert("pgwicket.tenant", tenant.into());
    values.insert("pgwicket.run", run.into());
    for name in SAID {
        values.insert(name, "".into());
    }
}

fn forget_said(local: &mut Rc<Values>) {
    let local = Rc::make_mut(local);
    local.retain(|name, _| !SAID.contains(name) && *name != "pgwicket.run");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings::new(&Start {
            server_version: "15.18",
            server_version_number: 150_018,
            agent: "support_agent",
            tenant: "acme",
            run: "",
            search_path: "external_support",
            statement_timeout: 5000,
            tls: false,
        })
    }

    #[test]
    fn set_local_ends_with_the_transaction_and_set_with_a_rollback() {
        let mut settings = settings();
        settings.push();
        settings.set("application_name", Some("a")).unwrap();
        settings.set_local("application_name", Some("b")).unwrap();
        assert_eq!(settings.value("application_name"), Some("b"));
        settings.end(true);
        assert_eq!(settings.value("application_name"), Some("a"));
        settings.push();
        settings.set("application_name", Some("c")).unwrap();
        settings.push();
        settings.set("application_name", Some("d")).unwrap();
        settings.rollback_to(1);
        assert_eq!(settings.value("application_name"), Some("c"));
        settings.end(false);
        assert_eq!(settings.value("application_name"), Some("a"));
        settings.reset_all();
        assert_eq!(settings.value("application_name"), Some(""));
    }

    /// Nothing that was said for one tenant is there under another, and no rollback brings it back.
    #[test]
    fn what_a_session_says_goes_with_its_binding() {
        let mut settings = settings();
        settings.set("pgwicket.reason", Some("acme's reason")).unwrap();
        settings.push();
        settings.set("pgwicket.idempotency_key", Some("acme's key")).unwrap();
        settings.set_local("pgwicket.reason", Some("acme's other reason")).unwrap();
        let mut batch = settings.mark();
        settings.bind("globex", "run-2");
        batch.bind("globex", "run-2");
        let said = |settings: &Settings| {
            let names = ["pgwicket.tenant", "pgwicket.run", "pgwicket.reason", "pgwicket.idempotency_key"];
            names.map(|name| settings.value(name).unwrap_or_default().to_owned())
        };
        let expected = ["globex", "run-2", "", ""];
        assert_eq!(said(&settings), expected);
        settings.rollback_to(0);
        assert_eq!(said(&settings), expected);
        settings.end(false);
        assert_eq!(said(&settings), expected);
        settings.restore(&batch);
        assert_eq!(said(&settings), expected);
        settings.reset_all();
        assert_eq!(said(&settings), expected);
    }

    #[test]
    fn values_are_checked_and_printed_as_postgresql_prints_them() {
        let mut settings = settings();
        let mut set = |name: &str, value: &str| match settings.set(name, Some(value)) {
            Ok(()) => settings.value(definition(name).unwrap().name).unwrap_or_default().to_owned(),
            Err(error) => format!("{error}"),
        };
        assert_eq!(set("datestyle", "german"), "German, DMY");
        assert_eq!(set("DateStyle", "ISO, mdy"), "ISO, MDY");
        assert_eq!(set("datestyle", "klingon"), "invalid value for parameter \"DateStyle\": \"klingon\"");
        assert_eq!(set("statement_timeout", "1500"), "1500ms");
        assert_eq!(set("statement_timeout", "2s"), "2s");
        assert_eq!(set("statement_timeout", "0"), "5s");
        assert_eq!(set("statement_timeout", "1min"), "parameter \"statement_timeout\" can be set to at most \"5s\" here");
        assert_eq!(set("client_encoding", "utf-8"), "UTF8");
        assert_eq!(set("client_encoding", "latin1"), "invalid value for parameter \"client_encoding\": \"latin1\"");
        assert_eq!(set("timezone", "-7"), "<-07>+07");
        assert_eq!(set("timezone", "Europe/Berlin"), "Europe/Berlin");
        assert_eq!(set("timezone", "'; drop"), "invalid value for parameter \"TimeZone\": \"'; drop\"");
        assert_eq!(set("extra_float_digits", "3"), "3");
        assert_eq!(set("extra_float_digits", "4"), "invalid value for parameter \"extra_float_digits\": \"4\"");
        assert_eq!(set("default_transaction_read_only", "off"), "cannot set transaction read-write mode: pgwicket only reads");
        assert_eq!(set("work_mem", "1GB"), "permission denied to set parameter \"work_mem\"");
        assert_eq!(set("server_version", "99"), "parameter \"server_version\" cannot be changed");
        assert_eq!(set("nope", "1"), "unrecognized configuration parameter \"nope\"");
    }

    #[test]
    fn a_search_path_is_read_as_identifiers() {
        let mut settings = settings();
        settings.set("search_path", Some("A, B c, $user")).unwrap();
        assert_eq!(settings.value("search_path"), Some("\"A\", \"B c\", \"$user\""));
        assert_eq!(settings.search_path(), ["A".into(), "B c".into(), "$user".into()] as [Box<str>; 3]);
        settings.set_at_startup("search_path", "A, \"B\"\"c\"").unwrap();
        assert_eq!(settings.search_path(), ["a".into(), "B\"c".into()] as [Box<str>; 2]);
    }
}
