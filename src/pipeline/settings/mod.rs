//! The virtual session settings: what SET, RESET and SHOW speak of. None of it reaches a source as the
//! client wrote it; the few that change the text form of values are applied there by their canonical value.

mod custom;
mod definitions;
mod number;
mod values;
mod zone;

pub(in crate::pipeline) use definitions::{Definition, Kind, definition};
pub(in crate::pipeline) use values::print_identifiers;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use crate::error::SettingError;
use values::Held;

/// Values that are not the setting's own default, by name.
type Values = BTreeMap<Box<str>, Box<str>>;

/// One session's settings, transactional as PostgreSQL's: a rollback undoes SET, the end of the
/// transaction undoes SET LOCAL.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct Settings {
    start: Rc<Values>,
    session: Rc<Values>,
    local: Rc<Values>,
    marks: Vec<Mark>,
    /// Names of the client's own settings (`my.var`). A name that was set once stays, as in PostgreSQL.
    custom: Rc<BTreeSet<Box<str>>>,
    bound: u64,
    generation: u64,
}

/// A setting by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) enum Name {
    /// PostgreSQL's, or pgwicket's.
    Known(&'static str),
    /// The client's own.
    Custom(Box<str>),
}

impl Name {
    /// As it is printed.
    pub(in crate::pipeline) fn as_str(&self) -> &str {
        match self {
            Self::Known(name) => name,
            Self::Custom(name) => name,
        }
    }
}

/// A value that was asked for is over the policy's bound, and the bound is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::pipeline) struct Cut {
    /// The setting.
    pub(in crate::pipeline) name: &'static str,
    /// The bound as SHOW prints it.
    pub(in crate::pipeline) bound: String,
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
        let number = start.server_version_number.to_string();
        let timeout = values::print_milliseconds(start.statement_timeout);
        let values: Values = [
            ("server_version", start.server_version),
            ("server_version_num", &number),
            ("session_authorization", start.agent),
            ("pgwicket.agent", start.agent),
            ("pgwicket.tenant", start.tenant),
            ("pgwicket.run", start.run),
            ("search_path", start.search_path),
            ("statement_timeout", &timeout),
            ("ssl", if start.tls { "on" } else { "off" }),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
        let values = Rc::new(values);
        Self {
            start: Rc::clone(&values),
            session: values,
            local: Rc::default(),
            marks: Vec::new(),
            custom: Rc::default(),
            bound: start.statement_timeout,
            generation: 0,
        }
    }

    /// Whom the session acts for, from now on. No rollback undoes it. What was said for whom it acted before is gone.
    pub(in crate::pipeline) fn bind(&mut self, tenant: &str, run: &str) {
        bind(&mut self.start, tenant, run);
        let start = Rc::clone(&self.start);
        for values in [&mut self.session, &mut self.local]
            .into_iter()
            .chain(self.marks.iter_mut().flat_map(|mark| [&mut mark.session, &mut mark.local]))
        {
            forget_said(values, &start);
        }
        bind(&mut self.session, tenant, run);
        for mark in &mut self.marks {
            bind(&mut mark.session, tenant, run);
        }
        let custom = Rc::make_mut(&mut self.custom);
        custom.retain(|name| start.contains_key(name));
        self.generation += 1;
    }

    /// As [`Self::bind`], for what a rollback of the batch at hand would restore: it has been done here.
    pub(in crate::pipeline) fn bind_mark(&self, mark: &mut Mark) {
        for values in [&mut mark.session, &mut mark.local] {
            forget_said(values, &self.start);
        }
        let value = |name: &str| self.start.get(name).map_or("", AsRef::as_ref);
        bind(&mut mark.session, value("pgwicket.tenant"), value("pgwicket.run"));
    }

    /// A setting of the startup message, as text: also what RESET goes back to.
    pub(in crate::pipeline) fn set_at_startup(&mut self, name: &str, value: &str) -> Result<Option<Cut>, SettingError> {
        let (name, value, cut) = self.checked(name, value)?;
        Rc::make_mut(&mut self.start).insert(name.as_str().into(), value.clone());
        Rc::make_mut(&mut self.session).insert(name.as_str().into(), value);
        self.note(name);
        Ok(cut)
    }

    /// `SET name = values`; `None` is DEFAULT.
    pub(in crate::pipeline) fn set(&mut self, name: &str, values: Option<&[String]>) -> Result<Option<Cut>, SettingError> {
        match values {
            Some(values) => {
                let text = joined(name, values)?;
                self.set_text(name, &text, false)
            }
            None => self.reset(name, false).map(|()| None),
        }
    }

    /// `SET LOCAL name = values`, inside a transaction block.
    pub(in crate::pipeline) fn set_local(&mut self, name: &str, values: Option<&[String]>) -> Result<Option<Cut>, SettingError> {
        match values {
            Some(values) => {
                let text = joined(name, values)?;
                self.set_text(name, &text, true)
            }
            None => self.reset(name, true).map(|()| None),
        }
    }

    /// As `set_config(name, value, is_local)`: the value is one text.
    pub(in crate::pipeline) fn set_text(&mut self, name: &str, value: &str, local: bool) -> Result<Option<Cut>, SettingError> {
        let (name, value, cut) = self.checked(name, value)?;
        self.put(&name, Some(value), local);
        self.note(name);
        Ok(cut)
    }

    /// `RESET name`, `SET [LOCAL] name = DEFAULT`, `set_config(name, NULL, …)`.
    pub(in crate::pipeline) fn reset(&mut self, name: &str, local: bool) -> Result<(), SettingError> {
        let name = self.named(name)?;
        if let Name::Known(known) = name {
            definitions::settable(definition(known)?)?;
        }
        let value = self.start.get(name.as_str()).cloned();
        if local {
            // What stands in the session must not show through.
            let value = value.unwrap_or_else(|| definition(name.as_str()).map_or("", |definition| definition.default).into());
            self.put(&name, Some(value), true);
        } else {
            self.put(&name, value, false);
        }
        self.note(name);
        Ok(())
    }

    fn put(&mut self, name: &Name, value: Option<Box<str>>, local: bool) {
        let name = name.as_str();
        let scope = if local { &mut self.local } else { &mut self.session };
        match value {
            Some(value) => drop(Rc::make_mut(scope).insert(name.into(), value)),
            None => drop(Rc::make_mut(scope).remove(name)),
        }
        if !local && self.local.contains_key(name) {
            Rc::make_mut(&mut self.local).remove(name);
        }
    }

    /// A setting has changed.
    fn note(&mut self, name: Name) {
        if let Name::Custom(name) = name
            && !self.custom.contains(&name)
        {
            Rc::make_mut(&mut self.custom).insert(name);
        }
        self.generation += 1;
    }

    /// `RESET ALL`, `DISCARD ALL`.
    pub(in crate::pipeline) fn reset_all(&mut self) {
        self.session = Rc::clone(&self.start);
        self.local = Rc::default();
        self.generation += 1;
    }

    /// The value in force of a setting, by its printed name.
    pub(in crate::pipeline) fn value(&self, name: &str) -> Option<&str> {
        let set = self.local.get(name).or_else(|| self.session.get(name)).map(AsRef::as_ref);
        set.or_else(|| definition(name).ok().map(|definition| definition.default)).or_else(|| self.custom.get(name).map(|_| ""))
    }

    /// The settings that the client is told of, with their values in force.
    pub(in crate::pipeline) fn reported(&self) -> impl Iterator<Item = (&'static Definition, &str)> {
        definitions::told().map(|definition| (definition, self.value(definition.name).unwrap_or_default()))
    }

    /// The setting of that name, to be shown.
    pub(in crate::pipeline) fn shown(&self, name: &str) -> Result<Name, SettingError> {
        match definition(name) {
            Ok(Definition { kind: Kind::Hidden, name, .. }) => Err(SettingError::Hidden(name)),
            Ok(definition) => Ok(Name::Known(definition.name)),
            Err(unknown) => self.own_name(name).map(|name| Name::Custom(name.into())).ok_or(unknown),
        }
    }

    /// The setting of that name, to be set.
    fn named(&self, name: &str) -> Result<Name, SettingError> {
        match definition(name) {
            Ok(definition) => Ok(Name::Known(definition.name)),
            Err(_) if self.own_name(name).is_some() => self.shown(name),
            Err(unknown) if !custom::is_custom(name) => Err(unknown),
            Err(_) => custom::check_name(name, self.custom.len()).map(|()| Name::Custom(name.into())),
        }
    }

    /// A setting of the client's own, as it is spelled.
    pub(in crate::pipeline) fn own_name(&self, name: &str) -> Option<&str> {
        let exactly = self.custom.get(name);
        exactly.or_else(|| self.custom.iter().find(|known| known.eq_ignore_ascii_case(name))).map(AsRef::as_ref)
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

    /// What SET LOCAL said is over where there is no transaction.
    pub(in crate::pipeline) fn end_local(&mut self) {
        if !self.local.is_empty() {
            self.local = Rc::default();
            self.generation += 1;
        }
    }

    /// `statement_timeout` in force, in milliseconds; 0 is none.
    pub(in crate::pipeline) fn statement_timeout(&self) -> u64 {
        self.value("statement_timeout").and_then(values::milliseconds).unwrap_or(self.bound)
    }

    /// The virtual search path as names.
    pub(in crate::pipeline) fn search_path(&self) -> Vec<Box<str>> {
        values::identifiers(self.value("search_path").unwrap_or_default()).unwrap_or_default()
    }

    fn checked(&self, name: &str, value: &str) -> Result<(Name, Box<str>, Option<Cut>), SettingError> {
        let name = self.named(name)?;
        let Name::Known(known) = name else {
            custom::check_value(&[&self.session, &self.local], name.as_str(), value)?;
            return Ok((name, value.into(), None));
        };
        let definition = definition(known)?;
        let held = Held {
            current: self.value(known).unwrap_or_default(),
            bound: self.bound,
            agent: self.start.get("pgwicket.agent").map_or("", AsRef::as_ref),
        };
        let cut = values::cut(definition, value, self.bound).map(|bound| Cut { name: known, bound });
        values::check(definition, value, held).map(|value| (name, value, cut))
    }
}

/// The values of a SET as one text (`flatten_set_variable_args`).
fn joined(name: &str, values: &[String]) -> Result<String, SettingError> {
    match (definition(name).map(|definition| definition.kind), values) {
        (Ok(Kind::Identifiers), values) => Ok(print_identifiers(values)),
        (Ok(Kind::DateStyle), values) => Ok(values.join(", ")),
        (_, [value]) => Ok(value.clone()),
        (_, _) => Err(SettingError::OneArgument(name.into())),
    }
}

/// `on` or `off`, in any spelling.
pub(in crate::pipeline) fn flag(name: &str, value: &str) -> Result<bool, SettingError> {
    let definition = definition(name)?;
    values::boolean(value).ok_or(SettingError::NotBoolean(definition.name))
}

/// Every setting, in the order of SHOW ALL.
pub(in crate::pipeline) fn all() -> impl Iterator<Item = &'static Definition> {
    definitions::all()
}

/// What a session says about one tenant's work: it goes with the binding, as the client's own settings do.
const SAID: [&str; 3] = ["pgwicket.reason", "pgwicket.idempotency_key", "pgwicket.run"];

fn bind(values: &mut Rc<Values>, tenant: &str, run: &str) {
    let values = Rc::make_mut(values);
    values.insert("pgwicket.tenant".into(), tenant.into());
    values.insert("pgwicket.run".into(), run.into());
    for name in ["pgwicket.reason", "pgwicket.idempotency_key"] {
        values.remove(name);
    }
}

/// Of the client's own settings, those of the startup message are as it said them, and the others are gone.
fn forget_said(values: &mut Rc<Values>, start: &Values) {
    Rc::make_mut(values).retain(|name, value| {
        if !custom::is_custom(name) {
            return !SAID.contains(&&**name);
        }
        start.get(name).inspect(|said| value.clone_from(said)).is_some()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(value: &str) -> [String; 1] {
        [value.to_owned()]
    }

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
        settings.set("application_name", Some(&words("a"))).unwrap();
        settings.set_local("application_name", Some(&words("b"))).unwrap();
        assert_eq!(settings.value("application_name"), Some("b"));
        settings.end(true);
        assert_eq!(settings.value("application_name"), Some("a"));
        settings.push();
        settings.set("application_name", Some(&words("c"))).unwrap();
        settings.push();
        settings.set("application_name", Some(&words("d"))).unwrap();
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
        settings.set_at_startup("my.started", "by the client").unwrap();
        settings.set("pgwicket.reason", Some(&words("acme's reason"))).unwrap();
        settings.push();
        settings.set("pgwicket.idempotency_key", Some(&words("acme's key"))).unwrap();
        settings.set_local("pgwicket.reason", Some(&words("acme's other reason"))).unwrap();
        settings.set("my.customer", Some(&words("acme's customer"))).unwrap();
        settings.set_local("my.started", Some(&words("acme's"))).unwrap();
        let mut batch = settings.mark();
        settings.bind("globex", "run-2");
        settings.bind_mark(&mut batch);
        let said = |settings: &Settings| {
            let names = ["pgwicket.tenant", "pgwicket.run", "pgwicket.reason", "pgwicket.idempotency_key"];
            assert_eq!((settings.value("my.customer"), settings.value("my.started")), (None, Some("by the client")));
            assert!(settings.shown("my.customer").is_err(), "its name, too");
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
        let mut set = |name: &str, value: &str| match settings.set(name, Some(&words(value))) {
            Ok(_) => settings.value(definition(name).unwrap().name).unwrap_or_default().to_owned(),
            Err(error) => format!("{error}"),
        };
        assert_eq!(set("datestyle", "german"), "German, DMY");
        assert_eq!(set("DateStyle", "ISO, mdy"), "ISO, MDY");
        assert_eq!(set("datestyle", "klingon"), "invalid value for parameter \"DateStyle\": \"klingon\"");
        assert_eq!(set("statement_timeout", "1500"), "1500ms");
        assert_eq!(set("statement_timeout", "2s"), "2s");
        assert_eq!(set("statement_timeout", "0"), "5s");
        assert_eq!(set("statement_timeout", "1min"), "5s");
        assert_eq!(set("client_encoding", "utf-8"), "UTF8");
        assert_eq!(set("client_encoding", "latin1"), "invalid value for parameter \"client_encoding\": \"latin1\"");
        assert_eq!(set("timezone", "-7"), "<-07>+07");
        assert_eq!(set("timezone", "Europe/Berlin"), "Europe/Berlin");
        assert_eq!(set("timezone", "'; drop"), "invalid value for parameter \"TimeZone\": \"'; drop\"");
        assert_eq!(set("extra_float_digits", "3"), "3");
        assert_eq!(set("extra_float_digits", "4"), "4 is outside the valid range for parameter \"extra_float_digits\" (-15 .. 3)");
        assert_eq!(set("default_transaction_read_only", "off"), "off");
        assert_eq!(set("work_mem", "1GB"), "1GB");
        assert_eq!(set("work_mem", "65536"), "64MB");
        assert_eq!(set("Enable_SeqScan", "f"), "off");
        assert_eq!(set("enable_seqscan", "maybe"), "parameter \"enable_seqscan\" requires a Boolean value");
        assert_eq!(set("synchronous_commit", "no"), "off");
        assert_eq!(set("log_statement", "all"), "permission denied to set parameter \"log_statement\"");
        assert_eq!(set("data_directory", "/"), "permission denied to set parameter \"data_directory\"");
        assert_eq!(set("shared_buffers", "1GB"), "parameter \"shared_buffers\" cannot be changed without restarting the server");
        assert_eq!(set("wal_segment_size", "1GB"), "parameter \"wal_segment_size\" cannot be changed");
        assert_eq!(set("xmlbinary", "BASE64"), "base64");
        assert_eq!(set("xmlbinary", "hex"), "parameter \"xmlbinary\" can only be \"base64\" here");
        assert_eq!(set("role", "support_agent"), "support_agent");
        assert_eq!(set("session_authorization", "postgres"), "permission denied to set parameter \"session_authorization\"");
        assert_eq!(set("server_version", "99"), "parameter \"server_version\" cannot be changed");
        assert_eq!(set("nope", "1"), "unrecognized configuration parameter \"nope\"");
    }

    #[test]
    fn a_search_path_is_read_as_identifiers() {
        let mut settings = settings();
        let path: Vec<String> = ["A", "B c", "$user", "user", "a_1"].map(str::to_owned).to_vec();
        settings.set("search_path", Some(&path)).unwrap();
        assert_eq!(settings.value("search_path"), Some("\"A\", \"B c\", \"$user\", \"user\", a_1"));
        assert_eq!(settings.search_path(), ["A", "B c", "$user", "user", "a_1"].map(Box::<str>::from));
        settings.set("search_path", Some(&words("ext, pg_temp"))).unwrap();
        assert_eq!(settings.search_path(), ["ext, pg_temp".into()] as [Box<str>; 1]);
        settings.set("search_path", Some(&words(""))).unwrap();
        assert_eq!(settings.value("search_path"), Some("\"\""));
        settings.set_at_startup("search_path", "A, \"B\"\"c\"").unwrap();
        assert_eq!(settings.search_path(), ["a".into(), "B\"c".into()] as [Box<str>; 2]);
        for wrong in ["a,,b", "a b", "\"a", "a,"] {
            assert!(settings.set_text("search_path", wrong, false).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_of_the_client_s_own_have_bounds() {
        let mut settings = settings();
        assert_eq!(settings.shown("my.var"), Err(SettingError::Unknown("my.var".into())));
        settings.push();
        settings.set_local("My.Var", Some(&words("x"))).unwrap();
        assert_eq!(settings.shown("my.var").map(|name| name.as_str().to_owned()), Ok("My.Var".to_owned()));
        assert_eq!(settings.value("My.Var"), Some("x"));
        settings.end(false);
        assert_eq!(settings.value("My.Var"), Some(""));
        for wrong in ["pgwicket.nope", "a.1", "a.", "a b.c", "nope"] {
            assert!(settings.set(wrong, Some(&words("x"))).is_err(), "{wrong}");
        }
        let long = "x".repeat(50_000);
        let taken = (0..1000).filter(|number| settings.set(&format!("a.v{number}"), Some(&words(&long))).is_ok()).count();
        assert!((1..=10).contains(&taken), "{taken}");
        let taken = (0..1000).filter(|number| settings.set(&format!("b.v{number}"), Some(&words(""))).is_ok()).count();
        assert!((50..=256).contains(&taken), "{taken}");
    }
}
