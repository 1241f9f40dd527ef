//! A statement that has been classified and governed: what a Parse leaves behind, shared by every session of
//! a lane that sends the same text under the same policy.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::describe::Description;
use crate::{
    govern::{GovernedStatement, Write},
    source::Settings,
    sql::{Copy, Declare, Explain, Literals, Statement, catalog::Oid},
};

/// A description that plans of one shape share: the last that the source gave.
pub(super) type SharedDescription = Rc<RefCell<Option<Rc<Description>>>>;

/// What is done with a statement.
#[derive(Debug)]
pub(super) enum Action {
    /// It is forwarded as governed.
    Forward(Arc<GovernedStatement>),
    /// Its read is forwarded, and what it would change is stored as a proposal; or it takes proposals back.
    Write(Arc<Write>),
    /// It is forwarded as governed, and its rows are told as COPY tells them.
    Copy(Copy, Arc<GovernedStatement>),
    /// The plan of what would be forwarded is told.
    Explain(Explain, Arc<GovernedStatement>),
    /// A cursor is opened over what is forwarded.
    Declare(Declare, Arc<GovernedStatement>),
    /// It is answered here: transactions, settings, nothing at all.
    Local(Statement),
}

/// A classified and governed statement.
#[derive(Debug)]
pub(super) struct Plan {
    text: Box<str>,
    declared_types: Box<[Oid]>,
    action: Action,
    traceparent: Option<Box<str>>,
    once: bool,
    description: SharedDescription,
    /// The settings under which the source has analysed it without an error.
    analysed: RefCell<Vec<Rc<Settings>>>,
}

/// Settings that a plan remembers at most; past them it forgets the oldest.
const ANALYSED: usize = 8;

impl Plan {
    /// A plan that its source has not described yet.
    pub(super) fn new(text: &str, declared_types: &[Oid], action: Action) -> Self {
        let traceparent = traceparent(text).map(Into::into);
        Self {
            text: text.into(),
            declared_types: declared_types.into(),
            action,
            traceparent,
            once: false,
            description: Rc::default(),
            analysed: RefCell::default(),
        }
    }

    /// A plan made from a template: another text of its shape is likelier to come than this one again. Slots hold
    /// small integers and plain strings, whose values decide no type, so one description is for all of them.
    pub(super) fn once(text: &str, declared_types: &[Oid], governed: Arc<GovernedStatement>, shared: &SharedDescription) -> Self {
        Self { once: !governed.is_lifted(), description: Rc::clone(shared), ..Self::new(text, declared_types, Action::Forward(governed)) }
    }

    /// Its description, for the plans of its shape.
    pub(super) fn shared_description(&self) -> SharedDescription {
        Rc::clone(&self.description)
    }

    /// Whether it is not expected to come again.
    pub(super) fn is_once(&self) -> bool {
        self.once
    }

    /// The client's text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The parameter types the client declared.
    pub(super) fn declared_types(&self) -> &[Oid] {
        &self.declared_types
    }

    /// What is done with it.
    pub(super) fn action(&self) -> &Action {
        &self.action
    }

    /// The governed statement that the source gets.
    pub(super) fn governed(&self) -> Option<&Arc<GovernedStatement>> {
        match &self.action {
            Action::Forward(governed) | Action::Declare(_, governed) | Action::Copy(_, governed) | Action::Explain(_, governed) => {
                Some(governed)
            }
            Action::Write(write) => Some(write.read()),
            Action::Local(_) => None,
        }
    }

    /// Where a character position in the governed text stands in the client's, when it does.
    pub(super) fn map_position(&self, position: usize) -> Option<usize> {
        let governed = self.governed()?;
        match &self.action {
            Action::Declare(declare, _) => governed.map_position(&declare.text, position).map(|position| position + declare.before),
            Action::Explain(explain, _) => {
                governed.map_position(explain.text.as_deref()?, position).map(|position| position + explain.before)
            }
            Action::Copy(copy, _) => governed.map_position(&copy.text, position).and_then(|position| Some(position + copy.before?)),
            Action::Forward(_) | Action::Write(_) | Action::Local(_) => governed.map_position(&self.text, position),
        }
    }

    /// `traceparent` of a sqlcommenter comment.
    pub(super) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// What the source last said of its parameters and columns, if it has been asked.
    pub(super) fn description(&self) -> Option<Rc<Description>> {
        self.description.borrow().clone()
    }

    /// Keeps what the source said. `true`: it said otherwise before.
    pub(super) fn describe(&self, description: Description) -> bool {
        let before = self.description.replace(None);
        let changed = before.as_ref().is_some_and(|before| before.shape() != description.shape());
        // One that is the same stays, so that sessions keep one copy.
        let same = before.filter(|before| !changed && before.row_body() == description.row_body());
        self.description.replace(Some(same.unwrap_or_else(|| Rc::new(description))));
        changed
    }

    /// Whether the source would take a Parse of it under these settings without an error: it has described it, and there is
    /// no literal that other settings might not take, or these have taken them.
    pub(super) fn is_analysed(&self, settings: &Rc<Settings>) -> bool {
        let literals = self.governed().is_some_and(|governed| governed.literals() != Literals::None);
        self.description().is_some() && (!literals || self.analysed.borrow().iter().any(|known| Rc::ptr_eq(known, settings)))
    }

    /// The source has taken a Parse of it under these settings.
    pub(super) fn analysed(&self, settings: &Rc<Settings>) {
        let mut analysed = self.analysed.borrow_mut();
        if analysed.iter().any(|known| Rc::ptr_eq(known, settings)) {
            return;
        }
        if analysed.len() == ANALYSED {
            analysed.remove(0);
        }
        analysed.push(Rc::clone(settings));
    }

    /// Roughly what it holds in memory, for the cache's bound. Unit: bytes.
    pub(super) fn size(&self) -> usize {
        let governed = self.governed().map_or(0, |governed| governed.text().len() + 512);
        self.text.len() + governed + self.declared_types.len() * 4 + 1024
    }
}

/// The W3C trace context of a sqlcommenter comment: `traceparent='00-<32 hex>-<16 hex>-<2 hex>'`.
fn traceparent(text: &str) -> Option<&str> {
    const LENGTH: usize = 55;
    let (_, after) = text.split_once("traceparent='")?;
    let value = after.get(..LENGTH)?;
    let shaped =
        value.bytes().enumerate().all(|(at, byte)| if matches!(at, 2 | 35 | 52) { byte == b'-' } else { byte.is_ascii_hexdigit() });
    (shaped && after.get(LENGTH..)?.starts_with('\'')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_context_is_taken_only_when_it_is_one() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&format!("select 1 /*app='x',traceparent='{context}'*/")), Some(context));
        assert_eq!(traceparent("select 1 /*traceparent='00-zz'*/"), None);
        assert_eq!(traceparent("select 1"), None);
    }
}
