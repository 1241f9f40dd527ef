//! The format of the reviewed lists: classes, each with its verdict, its reason and its names.

use std::{collections::HashMap, fmt};

/// Why a group of names is in or out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// A word: `text`, `file`, `sql-in-string`, ...
    pub name: &'static str,
    /// Ends the sentence "function f is not available: ..."; for an allowed class, why it is safe.
    pub reason: &'static str,
    /// What to do instead.
    pub hint: Option<&'static str>,
    pub(super) verdict: Verdict,
    pub(super) kind: Kind,
}

/// How a function is called, as far as governing cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One value for each call.
    Normal,
    /// Rows for each call.
    SetReturning,
    /// An aggregate; also a window function when written with OVER.
    Aggregate,
    /// A window function. `rank`, `dense_rank`, `percent_rank` and `cume_dist` are aggregates when written WITHIN GROUP.
    Window,
}

/// What is done with the names of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Virtual,
    Deny,
}

/// A line that is not in the format; the unit tests hold that there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    line: usize,
    why: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A parsed list. The default is empty: a list that does not parse allows nothing.
#[derive(Debug, Default)]
pub(super) struct List {
    classes: Vec<Class>,
    /// By name; the number of arguments where the line gives one.
    names: HashMap<&'static str, Vec<(Option<usize>, usize)>>,
}

impl List {
    /// Reads the whole text.
    pub(super) fn parse(text: &'static str) -> Result<Self, BadLine> {
        let mut list = Self::default();
        for (index, line) in text.lines().enumerate() {
            list.line(line).map_err(|why| BadLine { line: index + 1, why })?;
        }
        Ok(list)
    }

    /// The class of a name: the entry for this number of arguments before the one for any.
    pub(super) fn class(&self, name: &str, arguments: Option<usize>) -> Option<&Class> {
        let entries = self.names.get(name)?;
        let exact = entries.iter().find(|(n, _)| n.is_some() && *n == arguments);
        let (_, class) = exact.or_else(|| entries.iter().find(|(n, _)| n.is_none()))?;
        self.classes.get(*class)
    }

    fn line(&mut self, line: &'static str) -> Result<(), &'static str> {
        if line.is_empty() || line.starts_with("# ") || line == "#" {
            return Ok(());
        }
        if let Some(names) = line.strip_prefix("  ") {
            return names.split_whitespace().try_for_each(|name| self.name(name));
        }
        match line.split_once(' ') {
            Some(("class", head)) => self.classes.push(head_of(head)?),
            Some(("reason", text)) => self.last()?.reason = text,
            Some(("hint", text)) => self.last()?.hint = Some(text),
            _ => return Err("neither class, reason, hint nor names"),
        }
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Class, &'static str> {
        self.classes.last_mut().ok_or("no class yet")
    }

    fn name(&mut self, written: &'static str) -> Result<(), &'static str> {
        let class = self.classes.len().checked_sub(1).ok_or("no class yet")?;
        let arity = written.rsplit_once('/').and_then(|(name, n)| Some((name, n.parse().ok()?)));
        let (name, arguments) = arity.map_or((written, None), |(name, n)| (name, Some(n)));
        let entries = self.names.entry(name).or_default();
        if entries.iter().any(|(n, _)| *n == arguments) {
            return Err("a name twice");
        }
        entries.push((arguments, class));
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'static str, Option<usize>, &Class)> {
        self.names.iter().flat_map(|(name, entries)| entries.iter().map(|(n, class)| (*name, *n, &self.classes[*class])))
    }
}

fn head_of(head: &'static str) -> Result<Class, &'static str> {
    let mut words = head.split(' ');
    let name = words.next().ok_or("a class without a name")?;
    let verdict = match words.next() {
        Some("allow") => Verdict::Allow,
        Some("virtual") => Verdict::Virtual,
        Some("deny") => Verdict::Deny,
        _ => return Err("a verdict is allow, virtual or deny"),
    };
    let kind = match words.next() {
        Some("normal") => Kind::Normal,
        Some("set") => Kind::SetReturning,
        Some("aggregate") => Kind::Aggregate,
        Some("window") => Kind::Window,
        _ => return Err("a kind is normal, set, aggregate or window"),
    };
    match words.next() {
        None => Ok(Class { name, reason: "", hint: None, verdict, kind }),
        Some(_) => Err("more than a name, a verdict and a kind"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_not_in_the_format_is_refused_with_its_line() {
        for (text, line) in [
            ("reason without a class", 1),
            ("  name_without_a_class", 1),
            ("class a maybe normal", 1),
            ("class a allow often", 1),
            ("class a allow normal at-all", 1),
            ("class a allow normal\nreason r\n  x y x", 3),
            ("class a allow normal\nx", 2),
        ] {
            assert_eq!(List::parse(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn the_number_of_arguments_is_looked_at_first() {
        let list = List::parse("class in allow normal\nreason r\n  f/3 g\nclass out deny normal\nreason r\n  f/2").unwrap();
        assert_eq!(list.class("f", Some(3)).map(|c| c.name), Some("in"));
        assert_eq!(list.class("f", Some(2)).map(|c| c.name), Some("out"));
        assert_eq!(list.class("f", Some(1)), None);
        assert_eq!(list.class("g", Some(9)).map(|c| c.name), Some("in"));
    }
}
