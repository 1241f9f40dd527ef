//! A session's prepared statements and portals, under the names the client gave them.

use std::{rc::Rc, time::Instant};

use hashbrown::HashMap;

use super::{catalog::is_catalog, describe::Description, draft::Bound, open::Open, plan::Plan, plans::Scope};
use crate::{
    error::SessionError,
    govern::GovernedStatement,
    source::{Setting, Settings, Wanted},
};

/// Prepared statements of one session at most.
const STATEMENTS: usize = 10_000;
/// `NAMEDATALEN` of PostgreSQL, less one. Unit: bytes.
const IDENTIFIER: usize = 63;
/// Portals of one session at most.
const PORTALS: usize = 1_000;

/// A prepared statement.
#[derive(Debug, Clone)]
pub(super) struct Prepared {
    /// What it does.
    pub(super) plan: Rc<Plan>,
    /// What it was planned under; under another scope it is planned again.
    pub(super) scope: Scope,
    /// The settings at that time: its literals mean what they meant then, whatever is set since.
    pub(super) analysed: Analysed,
    /// When that was.
    pub(super) since: Instant,
    /// What the source said of it. One that the client knows it by stays, as in PostgreSQL; another one goes with the source's schema.
    pub(super) described: Option<Rc<Description>>,
    /// The client knows it by its description.
    pub(super) told: bool,
    /// The batch in which the source was last asked.
    pub(super) asked_in: Option<u64>,
}

/// The settings that a statement's literals are read under.
#[derive(Debug, Clone)]
pub(super) struct Analysed {
    /// At a source.
    pub(super) upstream: Rc<Settings>,
    /// At the catalog.
    pub(super) catalog: Rc<Settings>,
}

impl Analysed {
    /// Those at the source of this statement.
    pub(super) fn at(&self, statement: &GovernedStatement) -> &Rc<Settings> {
        if is_catalog(statement.source()) { &self.catalog } else { &self.upstream }
    }

    /// Whether both were under one search path: as long as it stays, PostgreSQL does not read a prepared statement again.
    pub(super) fn same_path(&self, other: &Self) -> bool {
        self.catalog.value(Setting::SearchPath) == other.catalog.value(Setting::SearchPath)
    }
}

/// How a statement is to be prepared at its source.
#[derive(Debug)]
pub(super) struct Reading {
    /// The settings that its literals are read under.
    pub(super) analysed: Analysed,
    /// The digest of the description that it is to have; `None`: it is analysed anew, whatever comes out.
    pub(super) described: Option<u64>,
    /// What the source has parsed before will not do.
    pub(super) since: Option<Instant>,
}

impl Reading {
    /// As the source is asked for it; `None`: in the unnamed statement.
    pub(super) fn wanted(&self, statement: &GovernedStatement) -> Option<Wanted<'_>> {
        Some(Wanted { analysed: self.analysed.at(statement), described: self.described?, since: self.since })
    }
}

impl Prepared {
    /// By the description that it has now.
    pub(super) fn reading(&self, since: Option<Instant>) -> Reading {
        Reading { analysed: self.analysed.clone(), described: self.described.as_ref().map(|description| description.shape()), since }
    }
}

/// A portal.
#[derive(Debug)]
pub(super) struct Portal {
    /// Its name at the source.
    pub(super) number: PortalNumber,
    /// What it does.
    pub(super) plan: Rc<Plan>,
    /// Result formats the client asked for.
    pub(super) formats: Rc<[i16]>,
    /// Its columns.
    pub(super) described: Option<Rc<Description>>,
    /// The statement it runs, from Bind until it is complete; elsewhere while an Execute is under way.
    pub(super) open: Option<Open>,
    /// A statement that is answered here has been executed.
    pub(super) done: bool,
    /// The values of a write, until its Execute.
    pub(super) bound: Option<Box<Bound>>,
    /// Savepoints that there were when it was made: a rollback to one before that ends it.
    pub(super) level: usize,
}

/// A portal's number. The unnamed portal has a new one at each Bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortalNumber {
    number: u64,
    named: bool,
}

impl PortalNumber {
    /// Its name at the source: the client's names stay here.
    pub(super) fn upstream_name(self) -> String {
        if self.named { format!("c{}", self.number) } else { String::new() }
    }
}

/// What tells names apart: their first 63 bytes, as PostgreSQL's tables of them do, so that a name of a message and the same name in
/// a text, which the lexer cuts, are one.
fn key(name: &str) -> &str {
    name.get(..name.floor_char_boundary(IDENTIFIER)).unwrap_or(name)
}

/// Both kinds, by name; the unnamed ones apart, since they are the ones in the way of most statements.
#[derive(Debug, Default)]
pub(super) struct Names {
    unnamed_statement: Option<Prepared>,
    statements: HashMap<Box<str>, Prepared>,
    unnamed_portal: Option<Portal>,
    portals: HashMap<Box<str>, Portal>,
    last_portal: u64,
}

impl Names {
    /// Whether Parse may make a statement of that name.
    pub(super) fn check_statement(&self, name: &str) -> Result<(), SessionError> {
        let name = key(name);
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(SessionError::DuplicateStatement(name.into()));
        }
        if self.statements.len() >= STATEMENTS { Err(SessionError::TooMany("prepared statements")) } else { Ok(()) }
    }

    /// Keeps a statement; the unnamed one replaces its predecessor.
    pub(super) fn put_statement(&mut self, name: &str, prepared: Prepared) {
        if name.is_empty() {
            self.unnamed_statement = Some(prepared);
        } else {
            self.statements.insert(key(name).into(), prepared);
        }
    }

    /// The statement of that name.
    pub(super) fn statement(&self, name: &str) -> Result<&Prepared, SessionError> {
        let found = if name.is_empty() { self.unnamed_statement.as_ref() } else { self.statements.get(key(name)) };
        found.ok_or_else(|| SessionError::NoStatement(name.into()))
    }

    /// Forgets a statement.
    pub(super) fn remove_statement(&mut self, name: &str) -> Option<Prepared> {
        if name.is_empty() { self.unnamed_statement.take() } else { self.statements.remove(key(name)) }
    }

    /// DEALLOCATE ALL: the unnamed one stays.
    pub(super) fn remove_statements(&mut self) {
        self.statements.clear();
    }

    /// A number for a new portal of that name, if it may be made.
    pub(super) fn new_portal(&mut self, name: &str) -> Result<PortalNumber, SessionError> {
        if !name.is_empty() && self.portals.contains_key(key(name)) {
            return Err(SessionError::DuplicatePortal(name.into()));
        }
        if self.portals.len() >= PORTALS {
            return Err(SessionError::TooMany("portals"));
        }
        self.last_portal += 1;
        Ok(PortalNumber { number: self.last_portal, named: !name.is_empty() })
    }

    /// Keeps a portal; answers the unnamed one it displaces.
    pub(super) fn put_portal(&mut self, name: &str, portal: Portal) -> Option<Portal> {
        if name.is_empty() { self.unnamed_portal.replace(portal) } else { self.portals.insert(key(name).into(), portal) }
    }

    /// The portal of that name.
    pub(super) fn portal(&mut self, name: &str) -> Result<&mut Portal, SessionError> {
        let found = if name.is_empty() { self.unnamed_portal.as_mut() } else { self.portals.get_mut(key(name)) };
        found.ok_or_else(|| SessionError::NoPortal(name.into()))
    }

    /// The portal of that number, unless it was closed or replaced meanwhile.
    pub(super) fn portal_numbered(&mut self, number: PortalNumber) -> Option<&mut Portal> {
        if number.named {
            return self.portals.values_mut().find(|portal| portal.number == number);
        }
        self.unnamed_portal.as_mut().filter(|portal| portal.number == number)
    }

    /// Whether there is a portal of that name.
    pub(super) fn has_portal(&self, name: &str) -> bool {
        self.portals.contains_key(key(name))
    }

    /// The names of the portals that have one.
    pub(super) fn portal_names(&self) -> Vec<Box<str>> {
        self.portals.keys().cloned().collect()
    }

    /// Forgets a portal.
    pub(super) fn remove_portal(&mut self, name: &str) -> Option<Portal> {
        if name.is_empty() { self.unnamed_portal.take() } else { self.portals.remove(key(name)) }
    }

    /// Forgets the portal of that number.
    pub(super) fn remove_portal_numbered(&mut self, number: PortalNumber) -> Option<Portal> {
        if number.named {
            return self.portals.extract_if(|_, portal| portal.number == number).next().map(|(_, portal)| portal);
        }
        self.unnamed_portal.take_if(|portal| portal.number == number)
    }

    /// ROLLBACK TO the savepoint at this depth: forgets the portals that were made after it.
    pub(super) fn take_portals_above(&mut self, depth: usize) -> Vec<Portal> {
        let unnamed = self.unnamed_portal.take_if(|portal| portal.level > depth);
        unnamed.into_iter().chain(self.portals.extract_if(|_, portal| portal.level > depth).map(|(_, portal)| portal)).collect()
    }

    /// RELEASE of the savepoint at this depth: what was made after it belongs to what is around it.
    pub(super) fn release_portals(&mut self, depth: usize) {
        let portals = self.unnamed_portal.iter_mut().chain(self.portals.values_mut());
        portals.for_each(|portal| portal.level = portal.level.min(depth));
    }

    /// Forgets every portal: the transaction they lived in is over.
    pub(super) fn take_portals(&mut self) -> impl Iterator<Item = Portal> {
        let named = if self.portals.is_empty() { HashMap::new() } else { std::mem::take(&mut self.portals) };
        self.unnamed_portal.take().into_iter().chain(named.into_values())
    }
}
