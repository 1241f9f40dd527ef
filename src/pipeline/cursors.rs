//! The cursors of a session, by the names the client gave them, and how far each has come.

use std::rc::Rc;

use hashbrown::HashMap;

use super::{describe::Description, plan::Plan};
use crate::{
    error::{CursorEnd, SessionError},
    govern::cursor_name,
    types::Digest,
};

/// Cursors of one session at most.
const CURSORS: usize = 1_000;

/// Whether a cursor outlives its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    /// It does not.
    No,
    /// It will, once that is committed.
    Pending,
    /// It has.
    Held,
}

/// A cursor that is open at the source.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    pub(super) number: u32,
    /// The DECLARE.
    pub(super) plan: Rc<Plan>,
    /// Its columns.
    pub(super) described: Rc<Description>,
    pub(super) binary: bool,
    pub(super) hold: Hold,
    /// The loan of the connection that has it.
    pub(super) loan: u64,
    /// How many savepoints there were when it was declared.
    pub(super) level: usize,
    /// What each FETCH returned, together, so far.
    pub(super) spent: Spent,
}

/// Rows and bytes that count towards a limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// The open cursors of a session, by the names the client gave them.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    open: HashMap<Box<str>, Cursor>,
    /// Those WITH HOLD that the client did not close, and why they are open no more.
    ended: HashMap<Box<str>, CursorEnd>,
    last: u32,
}

impl Cursors {
    /// Whether one of that name is open.
    pub(super) fn has(&self, name: &str) -> bool {
        self.open.contains_key(name)
    }

    /// Whether none is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether one more may be declared.
    pub(super) fn check(&self, name: &str) -> Result<(), SessionError> {
        if self.has(name) {
            return Err(SessionError::DuplicatePortal(name.into()));
        }
        if self.open.len() >= CURSORS { Err(SessionError::TooMany("cursors")) } else { Ok(()) }
    }

    /// A number for a new cursor; never given twice in a session.
    pub(super) fn number(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    /// Keeps a cursor that was declared.
    pub(super) fn put(&mut self, name: &str, cursor: Cursor) {
        self.ended.remove(name);
        self.open.insert(name.into(), cursor);
    }

    /// The cursor of that name.
    pub(super) fn find(&self, name: &str) -> Result<&Cursor, SessionError> {
        self.open.get(name).ok_or_else(|| match self.ended.get(name) {
            Some(why) => SessionError::CursorClosed { name: name.into(), why: *why },
            None => SessionError::NoCursor(name.into()),
        })
    }

    /// The names of those that are open.
    pub(super) fn names(&self) -> Vec<Box<str>> {
        self.open.keys().cloned().collect()
    }

    /// Forgets one; `true`: it had been closed for the client before.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.open.remove(name);
        self.ended.remove(name).is_some()
    }

    /// Forgets why cursors were closed.
    pub(super) fn forget_ends(&mut self) {
        self.ended.clear();
    }

    /// The transaction is over: what it held stays, if it was committed.
    pub(super) fn end(&mut self, committed: bool) {
        self.open.retain(|_, cursor| match cursor.hold {
            Hold::Pending if committed => {
                cursor.hold = Hold::Held;
                true
            }
            Hold::No | Hold::Pending => false,
            Hold::Held => true,
        });
    }

    /// As [`Self::end`], for those WITH HOLD on the connection of this loan.
    pub(super) fn settle(&mut self, loan: u64, committed: bool) {
        self.open.retain(|_, cursor| {
            let pending = cursor.loan == loan && cursor.hold == Hold::Pending;
            if pending && committed {
                cursor.hold = Hold::Held;
            }
            !pending || committed
        });
    }

    /// How many a commit on the connection of this loan would hold.
    pub(super) fn pending_on(&self, loan: u64) -> usize {
        self.open.values().filter(|cursor| cursor.loan == loan && cursor.hold == Hold::Pending).count()
    }

    /// The DECLARE of one that a commit would hold.
    pub(super) fn pending_plan(&self) -> Option<Rc<Plan>> {
        self.open.values().find(|cursor| cursor.hold == Hold::Pending).map(|cursor| Rc::clone(&cursor.plan))
    }

    /// ROLLBACK TO the savepoint at this depth: what was declared after it is gone. Answers the loans of what would have been held.
    pub(super) fn rollback_to(&mut self, depth: usize) -> Vec<u64> {
        let gone = self.open.extract_if(|_, cursor| cursor.hold != Hold::Held && cursor.level > depth);
        gone.filter(|(_, cursor)| cursor.hold == Hold::Pending).map(|(_, cursor)| cursor.loan).collect()
    }

    /// RELEASE of the savepoint at this depth: what was declared after it belongs to what is around it.
    pub(super) fn release(&mut self, depth: usize) {
        self.open.values_mut().for_each(|cursor| cursor.level = cursor.level.min(depth));
    }

    /// Whether the connection of this loan has one WITH HOLD.
    pub(super) fn held_on(&self, loan: u64) -> bool {
        self.open.values().any(|cursor| cursor.loan == loan && cursor.hold != Hold::No)
    }

    /// The transaction on the connection of this loan is over, and not committed.
    pub(super) fn end_transaction_on(&mut self, loan: u64) {
        self.open.retain(|_, cursor| cursor.loan != loan || cursor.hold == Hold::Held);
    }

    /// The connection of this loan is gone.
    pub(super) fn end_on(&mut self, loan: u64, why: CursorEnd) {
        self.end_those(why, |cursor| cursor.loan == loan);
    }

    /// Every cursor is closed for the client. Answers the loans of those WITH HOLD.
    pub(super) fn end_all(&mut self, why: CursorEnd) -> Vec<u64> {
        let loans = self.open.values().filter(|cursor| cursor.hold != Hold::No).map(|cursor| cursor.loan).collect();
        self.end_those(why, |_| true);
        loans
    }

    /// What is held and was decided on under another policy is closed for the client. Answers the loans.
    pub(super) fn end_older(&mut self, policy: Digest) -> Vec<u64> {
        let older = |cursor: &Cursor| {
            cursor.hold == Hold::Held && cursor.plan.governed().is_some_and(|governed| governed.policy_digest() != policy)
        };
        let loans = self.open.values().filter(|cursor| older(cursor)).map(|cursor| cursor.loan).collect();
        self.end_those(CursorEnd::PolicyChanged, older);
        loans
    }

    fn end_those(&mut self, why: CursorEnd, which: impl Fn(&Cursor) -> bool) {
        for (name, cursor) in self.open.extract_if(|_, cursor| which(cursor)) {
            if cursor.hold != Hold::No && self.ended.len() < CURSORS {
                self.ended.insert(name, why);
            }
        }
    }

    /// A FETCH returned this much.
    pub(super) fn spend(&mut self, number: u32, more: Spent) {
        if let Some(cursor) = self.open.values_mut().find(|cursor| cursor.number == number) {
            cursor.spent.rows += more.rows;
            cursor.spent.bytes += more.bytes;
        }
    }

    /// What the cursor of that number returned so far.
    pub(super) fn spent(&self, number: u32) -> Option<Spent> {
        self.open.values().find(|cursor| cursor.number == number).map(|cursor| cursor.spent)
    }

    /// A message of the source with the client's names of its cursors.
    pub(super) fn named_in(&self, message: &str) -> Option<String> {
        let named = self.open.iter().find(|(_, cursor)| message.contains(&format!("\"{}\"", cursor_name(cursor.number))));
        named.map(|(name, cursor)| message.replace(&cursor_name(cursor.number), name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pipeline::plan::Action, sql::Statement};

    fn declared(cursors: &mut Cursors, name: &str, hold: Hold, loan: u64, level: usize) {
        let plan = Rc::new(Plan::new("declare", &[], Action::Local(Statement::Empty)));
        let number = cursors.number();
        let described = Rc::default();
        cursors.put(name, Cursor { number, plan, described, binary: false, hold, loan, level, spent: Spent::default() });
    }

    #[test]
    fn a_commit_holds_what_was_declared_with_hold_and_nothing_else() {
        let mut cursors = Cursors::default();
        declared(&mut cursors, "plain", Hold::No, 1, 0);
        declared(&mut cursors, "held", Hold::Pending, 1, 0);
        cursors.end(true);
        assert!(cursors.has("held") && !cursors.has("plain") && cursors.held_on(1) && cursors.pending_on(1) == 0);
        declared(&mut cursors, "other", Hold::Pending, 1, 1);
        assert_eq!(cursors.rollback_to(0), [1], "what is held already stays");
        declared(&mut cursors, "another", Hold::Pending, 1, 0);
        cursors.end(false);
        assert_eq!(cursors.names(), ["held".into()]);
        declared(&mut cursors, "here", Hold::Pending, 1, 0);
        declared(&mut cursors, "there", Hold::Pending, 2, 0);
        cursors.settle(1, true);
        cursors.settle(2, false);
        assert!(cursors.has("held") && cursors.has("here") && !cursors.has("there") && cursors.pending_on(1) == 0);
    }

    #[test]
    fn what_was_closed_for_the_client_is_told_until_the_name_is_used_again() {
        let mut cursors = Cursors::default();
        declared(&mut cursors, "c", Hold::Held, 1, 0);
        declared(&mut cursors, "d", Hold::No, 1, 0);
        cursors.end_on(1, CursorEnd::Lost);
        assert_eq!(cursors.find("c").unwrap_err(), SessionError::CursorClosed { name: "c".into(), why: CursorEnd::Lost });
        assert_eq!(cursors.find("d").unwrap_err(), SessionError::NoCursor("d".into()));
        assert!(cursors.remove("c") && !cursors.remove("c"));
        declared(&mut cursors, "c", Hold::Held, 2, 0);
        assert_eq!(cursors.end_all(CursorEnd::Rebound), [2]);
        declared(&mut cursors, "c", Hold::No, 3, 0);
        cursors.end(true);
        assert_eq!(cursors.find("c").unwrap_err(), SessionError::NoCursor("c".into()));
    }
}
