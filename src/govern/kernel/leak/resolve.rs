//! How columns resolve: what an expression can see, by PostgreSQL's rules.

use super::shapes::Value;
use crate::sql::{Misread, Node, Tree};

/// A column as a level sees it.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: Box<str>,
    pub(super) value: Value,
    /// Its name in the source, when it is a relation's own unmasked column.
    pub(super) real: Option<Box<str>>,
    /// Masked: reading it runs the mask, which is not leakproof.
    pub(super) leaky: bool,
    /// Of a relation that hides rows, and computed as rows are read: by a view, a generated column or a foreign server.
    pub(super) computed: bool,
}

/// An entry of a level's range table.
#[derive(Debug)]
pub(super) struct Rte {
    pub(super) name: Option<Box<str>>,
    /// `None`: not known by name.
    pub(super) columns: Option<Vec<Column>>,
    /// Whether columns not known by name are computed from hidden rows' neighbours.
    pub(super) governed: bool,
    /// The number of the governed occurrence, when quals on it may be copied inside its fence.
    pub(super) occurrence: Option<usize>,
    /// On the nullable side of an outer join of this level.
    pub(super) nullable: bool,
    /// Whether one of its columns is computed as rows are read.
    pub(super) computed: bool,
}

impl Rte {
    /// A subquery or CTE.
    pub(super) fn query(name: Option<Box<str>>, columns: Option<Vec<Column>>) -> Self {
        Self { name, governed: columns.is_none(), columns, occurrence: None, nullable: false, computed: false }
    }

    /// A function, or rows of pgwicket itself.
    pub(super) fn function(name: Option<Box<str>>) -> Self {
        Self { name, columns: None, governed: false, occurrence: None, nullable: false, computed: false }
    }

    /// Out of sight behind a join's alias.
    pub(super) fn hide(&mut self) {
        self.name = None;
        self.columns = Some(Vec::new());
    }
}

/// What an expression can see.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) rtes: &'a [Rte],
    /// Columns merged by USING.
    pub(super) merged: &'a [Box<str>],
    pub(super) outer: Option<&'a View<'a>>,
}

/// Which relations an expression reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refs {
    None,
    /// Only this entry of the level's own range table.
    One(usize),
    Many,
}

impl Refs {
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, refs) | (refs, Self::None) => refs,
            (Self::One(a), Self::One(b)) if a == b => self,
            (Self::One(_) | Self::Many, Self::One(_) | Self::Many) => Self::Many,
        }
    }
}

/// A column reference, resolved.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the column")]
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) refs: Refs,
    pub(super) leaky: bool,
    pub(super) computed: bool,
    /// Of an outer level.
    pub(super) outer: bool,
    /// Whether the column was found.
    pub(super) known: bool,
}

const UNRESOLVED: Found = Found { value: Value::OPAQUE, refs: Refs::Many, leaky: false, computed: false, outer: false, known: false };

impl View<'_> {
    pub(super) fn resolve(&self, node: &Node) -> Result<Found, Misread> {
        let fields = node.list("fields")?;
        Ok(match fields {
            [only] => only.string().map_or(UNRESOLVED, |name| self.column(name)),
            [relation, column] => match (relation.string(), column.string()) {
                (Some(relation), Some(column)) => self.qualified(relation, column),
                _ => UNRESOLVED,
            },
            _ => UNRESOLVED,
        })
    }

    fn column(&self, name: &str) -> Found {
        let mut matches = self.rtes.iter().enumerate().flat_map(|(place, rte)| {
            rte.columns.iter().flatten().filter(|column| *column.name == *name).map(move |column| (place, column))
        });
        match (matches.next(), matches.next()) {
            (Some((place, column)), None) => Found::of(place, column),
            (Some((_, first)), Some((_, second))) => self.merged_column(name, first, second, matches.next().is_none()),
            (None, _) => {
                let unknown = self.rtes.iter().any(|rte| rte.columns.is_none() || rte.name.as_deref() == Some(name));
                if let (None, Some(place)) = (self.outer, self.only_function_with(name)) {
                    return Found { refs: Refs::One(place), ..Found::OF_FUNCTION };
                }
                match self.outer {
                    Some(outer) if !unknown => Found { refs: Refs::Many, outer: true, ..outer.column(name) },
                    None if unknown => {
                        let governed = self.rtes.iter().any(|rte| rte.governed);
                        Found { value: Value { governed, ..Value::OPAQUE }, computed: self.has_computed(), ..UNRESOLVED }
                    }
                    Some(_) if unknown => Found { computed: self.has_computed(), ..UNRESOLVED },
                    Some(_) | None => UNRESOLVED,
                }
            }
        }
    }

    /// The function in FROM that an unqualified name belongs to, when it can be no other's.
    fn only_function_with(&self, name: &str) -> Option<usize> {
        let mut unknown = self.rtes.iter().enumerate().filter(|(_, rte)| rte.columns.is_none());
        let (place, function) = unknown.next()?;
        let others = self.rtes.iter().enumerate().any(|(other, rte)| other != place && rte.name.as_deref() == Some(name));
        (unknown.next().is_none() && !function.governed && !others).then_some(place)
    }

    fn merged_column(&self, name: &str, first: &Column, second: &Column, only_two: bool) -> Found {
        let merged = only_two && self.merged.iter().any(|known| **known == *name) && first.value.of == second.value.of;
        if !merged {
            return UNRESOLVED;
        }
        Found {
            value: Value {
                collation: first.value.collation.and(second.value.collation),
                governed: first.value.governed || second.value.governed,
                ..first.value
            },
            refs: Refs::Many,
            leaky: first.leaky || second.leaky,
            computed: first.computed || second.computed,
            outer: false,
            known: true,
        }
    }

    fn qualified(&self, relation: &str, name: &str) -> Found {
        let Some((place, rte)) = self.rtes.iter().enumerate().find(|(_, rte)| rte.name.as_deref() == Some(relation)) else {
            return self.outer.map_or(UNRESOLVED, |outer| Found { refs: Refs::Many, outer: true, ..outer.qualified(relation, name) });
        };
        match &rte.columns {
            None if rte.governed => Found { computed: self.has_computed(), ..UNRESOLVED },
            // A column of a function: of no type that is known here, and of rows that passed.
            None => Found { refs: Refs::One(place), ..Found::OF_FUNCTION },
            Some(columns) => columns.iter().find(|column| *column.name == *name).map_or(UNRESOLVED, |column| Found::of(place, column)),
        }
    }

    /// Whether a relation in sight has a computed column: what is not resolved may read it.
    pub(super) fn has_computed(&self) -> bool {
        self.rtes.iter().any(|rte| rte.computed) || self.outer.is_some_and(View::has_computed)
    }

    /// The columns of `*` or `t.*`; `None` when not known.
    pub(super) fn star(&self, node: &Node) -> Result<Option<Vec<Column>>, Misread> {
        let fields = node.list("fields")?;
        let wanted = match fields {
            [_] => None,
            [relation, _] => relation.string(),
            _ => return Ok(None),
        };
        if wanted.is_none() && !self.merged.is_empty() {
            return Ok(None);
        }
        let mut columns = Vec::new();
        for rte in self.rtes.iter().filter(|rte| wanted.is_none() || rte.name.as_deref() == wanted) {
            match &rte.columns {
                Some(known) => columns.extend(known.iter().cloned().map(|column| Column { real: None, ..column })),
                None => return Ok(None),
            }
        }
        Ok((wanted.is_none() || !columns.is_empty()).then_some(columns))
    }
}

impl Found {
    /// A column of a function in FROM: of no type that is known here, and of rows that passed.
    const OF_FUNCTION: Self = Self { value: Value { governed: false, ..Value::OPAQUE }, known: true, ..UNRESOLVED };

    fn of(place: usize, column: &Column) -> Self {
        Self { value: column.value, refs: Refs::One(place), leaky: column.leaky, computed: column.computed, outer: false, known: true }
    }
}

/// The name PostgreSQL gives an output column, where it is simple (`parse_target.c`, `FigureColname`).
pub(super) fn output_name(tree: &Tree) -> Box<str> {
    let name = match tree.as_node() {
        Some(node) if node.kind == "ColumnRef" => node.list("fields").ok().and_then(|fields| fields.last()).and_then(Tree::string),
        Some(node) if node.kind == "FuncCall" => node.list("funcname").ok().and_then(|names| names.last()).and_then(Tree::string),
        Some(_) | None => None,
    };
    name.unwrap_or("?column?").into()
}
