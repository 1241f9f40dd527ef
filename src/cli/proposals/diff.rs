//! What changes, row by row: column, before → after.

use super::{
    super::visible::{value, visible},
    put,
};
use crate::proposal::{Cell, Operation, Proposal, RowChange, Value};

/// Characters of a value that are shown as they are.
const WHOLE: usize = 300;
/// Characters that two long values are shown around where they differ.
const AROUND: usize = 24;

/// Colours for a terminal, or none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn old(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn fresh(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Every row of a proposal.
pub(super) fn rows(proposal: &Proposal, paint: Paint) -> String {
    proposal.changes.iter().map(|change| row(change, paint)).collect()
}

fn row(change: &RowChange, paint: Paint) -> String {
    let mark = match change.operation {
        Operation::Insert => paint.fresh("+ insert"),
        Operation::Update => paint.bold("~ update"),
        Operation::Delete => paint.old("- delete"),
    };
    let key: Vec<String> = change.key.iter().map(|cell| format!("{} = {}", visible(&cell.column), shown(&cell.value))).collect();
    let key = if key.is_empty() { "key by default".to_owned() } else { key.join(", ") };
    let mut out = format!("  {mark} {}\n", paint.bold(&key));
    let columns: Vec<&str> = match change.operation {
        Operation::Insert | Operation::Update => change.after.iter().map(|cell| &*cell.column).collect(),
        Operation::Delete => change.before.iter().map(|cell| &*cell.column).collect(),
    };
    let width = columns.iter().map(|name| visible(name).chars().count()).max().unwrap_or(0);
    for name in columns {
        let of = |cells: &[Cell]| cells.iter().find(|cell| *cell.column == *name).map(|cell| cell.value.clone());
        let name = format!("{:width$}", visible(name));
        put(&mut out, format_args!("      {name}  {}\n", column(of(&change.before), of(&change.after), paint)));
    }
    out
}

fn column(before: Option<Value>, after: Option<Value>, paint: Paint) -> String {
    match (before, after) {
        (Some(before), Some(after)) if before == after => format!("{} {}", cut(&shown(&before)), paint.dim("(unchanged)")),
        (Some(before), Some(after)) => {
            let (before, after) = around(&before, &after);
            format!("{} → {}", paint.old(&before), paint.fresh(&after))
        }
        (None, Some(after)) => paint.fresh(&cut(&shown(&after))),
        (Some(before), None) => paint.old(&cut(&shown(&before))),
        (None, None) => String::new(),
    }
}

fn shown(cell: &Value) -> String {
    match cell {
        Value::Null => "NULL".to_owned(),
        Value::Default => "DEFAULT".to_owned(),
        Value::Text(text) => value(text),
    }
}

/// Two values; of long ones where they differ, and how much is the same.
fn around(before: &Value, after: &Value) -> (String, String) {
    let (old, new) = (shown(before), shown(after));
    let long = |text: &str| text.chars().count() > WHOLE;
    if !long(&old) && !long(&new) {
        return (old, new);
    }
    let (old, new): (Vec<char>, Vec<char>) = (old.chars().collect(), new.chars().collect());
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let (skip, keep) = (head.saturating_sub(AROUND), tail.saturating_sub(AROUND));
    let part = |text: &[char]| {
        let middle: String = text.iter().skip(skip).take(text.len() - keep - skip).collect();
        let same = |count: usize| if count == 0 { String::new() } else { format!("[{count} same]") };
        format!("{}{}{}", same(skip), cut(&middle), same(keep))
    };
    (part(&old), part(&new))
}

/// The text, with its length said where it is cut.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= WHOLE {
        text.to_owned()
    } else {
        format!("{}[{} more, see --json]", text.chars().take(WHOLE).collect::<String>(), count - WHOLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    #[test]
    fn a_long_value_is_shown_where_it_changes() {
        let long = "x".repeat(1000);
        let (old, new) = around(&text(&format!("{long}a{long}")), &text(&format!("{long}bc{long}")));
        let (sixes, more) = ("x".repeat(24), "[976 same]");
        assert_eq!((old, new), (format!("{more}{sixes}a{sixes}{more}"), format!("{more}{sixes}bc{sixes}{more}")));
        assert_eq!(around(&text("a"), &Value::Null), ("a".to_owned(), "NULL".to_owned()));
        assert_eq!(cut(&long), format!("{}[700 more, see --json]", "x".repeat(300)));
        let (old, new) = around(&text(&long), &text(&format!("{long}{long}")));
        assert_eq!(old, format!("[976 same]{sixes}"));
        assert_eq!(new, format!("[976 same]{}[724 more, see --json]", "x".repeat(300)));
    }

    #[test]
    fn colour_is_for_terminals_and_text_cannot_bring_its_own() {
        let hostile = column(Some(text("a\u{1b}[0m")), Some(text("b\u{202e}c")), Paint(false));
        assert_eq!(hostile, "a\\u{1b}[0m → b\\u{202e}c");
        assert_eq!(column(Some(text("a")), Some(text("b")), Paint(true)), "\u{1b}[31ma\u{1b}[0m → \u{1b}[32mb\u{1b}[0m");
        assert_eq!(column(Some(text("a")), Some(text("a")), Paint(false)), "a (unchanged)");
        assert_eq!(column(None, Some(Value::Default), Paint(false)), "DEFAULT");
        assert_eq!(column(None, Some(text("DEFAULT")), Paint(false)), "'DEFAULT'");
    }
}
