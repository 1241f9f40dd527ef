//! Random SELECTs over the relations of `policy.yaml`, from a seed: every form of query, with conditions and columns that
//! fail on rows the agent may not see (`data.sql`) and never on its own.
//!
//! A statement is chosen by two streams: one for its structure, one for its literals, so that the same structure with
//! other literals is a second text of one shape. What PostgreSQL leaves open (which rows a LIMIT keeps, the order of
//! ties, sums of floats) is not generated: an answer is a multiset that every correct plan gives.

mod columns;
mod expression;
mod pinned;
mod predicate;
mod query;
mod random;

use columns::{Domain, Ty};
use pinned::Pinned;
pub(crate) use query::SAMPLES;
pub(crate) use random::Random;

/// Of a hundred statements, how many single out a row that the agent may not see.
const PINNED: usize = 10;

/// A generated statement.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) text: String,
    /// Its ORDER BY names every column.
    pub(crate) ordered: bool,
    /// Text values and declared types (0: not declared); `None` for the simple protocol.
    pub(crate) parameters: Option<Vec<(u32, String)>>,
    /// Of one that singles out a row that is not the agent's (`pinned.rs`): what references are asked instead.
    pub(crate) staged: Option<String>,
}

/// The statement of a seed, with the literals of a variant.
pub(crate) fn statement(seed: u64, variant: u64) -> Statement {
    let mut structure = Random::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let literals = Random::new(seed ^ (variant + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
    let extended = structure.chance(12);
    let computed = *structure.pick(&[3, 10, 20, 70]);
    let mut generator =
        Generator { structure, literals, names: 0, ctes: Vec::new(), size: 0, computed, parameters: extended.then(Vec::new) };
    if generator.structure.chance(PINNED) {
        let Pinned { text, staged, ordered } = generator.pinned();
        return Statement { text, ordered, parameters: generator.parameters, staged: Some(staged) };
    }
    let (text, ordered) = generator.statement();
    Statement { text, ordered, parameters: generator.parameters, staged: None }
}

/// A column that an expression may name.
#[derive(Debug, Clone)]
struct Column {
    text: String,
    ty: Ty,
    domain: Domain,
}

/// A query and its columns, not yet named.
#[derive(Debug)]
struct Query {
    text: String,
    columns: Vec<(Ty, Domain)>,
}

/// A CTE in scope.
#[derive(Debug, Clone)]
struct Cte {
    name: String,
    columns: Vec<(String, Ty, Domain)>,
}

#[derive(Debug)]
struct Generator {
    structure: Random,
    literals: Random,
    names: usize,
    ctes: Vec<Cte>,
    /// Subqueries so far.
    size: usize,
    /// Of a hundred expressions, how many compute: with few, a statement is hardly fenced, or for one of them only.
    computed: usize,
    parameters: Option<Vec<(u32, String)>>,
}

impl Generator {
    fn statement(&mut self) -> (String, bool) {
        let query = if self.structure.chance(18) { self.with_query(&[], 0) } else { self.query(None, &[], 0) };
        if !self.structure.chance(30) || query.text.contains(" order by 1") && query.text.starts_with("with") {
            return (query.text, false);
        }
        let text = self.ordered(&query, 20);
        (text, true)
    }

    /// The query with every column in its ORDER BY, so that a LIMIT keeps the same rows under every plan.
    fn ordered(&mut self, query: &Query, limited: usize) -> String {
        let directions = ["", " desc", " nulls first", " desc nulls last"];
        let columns: Vec<String> =
            (1..=query.columns.len()).map(|column| format!("{column}{}", self.structure.pick(&directions))).collect();
        let limit = if self.structure.chance(limited) { self.limit() } else { String::new() };
        format!("{} order by {}{limit}", query.text, columns.join(", "))
    }

    fn limit(&mut self) -> String {
        match self.structure.below(5) {
            0 => format!(" limit {} offset {}", self.number(), self.number()),
            1 => format!(" fetch first {} rows only", self.number()),
            2 => " limit all".to_owned(),
            3 => format!(" offset {}", self.number()),
            _ => format!(" limit {}", self.number()),
        }
    }

    fn name(&mut self, prefix: char) -> String {
        self.names += 1;
        format!("{prefix}{}", self.names)
    }
}
