//! DECLARE and FETCH: the query within, and how far a cursor moves.

use pg_query::protobuf::{FetchDirection, Token};

use super::{
    parse::{character, parse},
    tree::{Misread, Node},
};

/// `CURSOR_OPT_*` of nodes/parsenodes.h.
const BINARY: i64 = 0x1;
const SCROLL: i64 = 0x2;
const NO_SCROLL: i64 = 0x4;
const HOLD: i64 = 0x20;
/// `LONG_MAX` stands for ALL.
const ALL: i64 = i64::MAX;

/// `DECLARE name CURSOR FOR query`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declare {
    /// The cursor's name.
    pub name: String,
    /// The query within, as it was written.
    pub text: String,
    /// Characters of the statement before the query.
    pub before: usize,
    /// `SCROLL` (true), `NO SCROLL` (false), or neither.
    pub scroll: Option<bool>,
    /// `BINARY`
    pub binary: bool,
    /// `WITH HOLD`
    pub hold: bool,
}

/// `FETCH` or `MOVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The cursor's name.
    pub name: String,
    /// Where to.
    pub step: FetchStep,
}

/// How a cursor moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchStep {
    /// `MOVE`: no rows are returned.
    pub moves: bool,
    /// From where, and which way.
    pub direction: Direction,
    /// How far, negative the other way; `None` is ALL.
    pub count: Option<i64>,
}

/// From where a cursor moves, and which way. What else FETCH can say is one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// `FORWARD`
    Forward,
    /// `BACKWARD`
    Backward,
    /// `ABSOLUTE`
    Absolute,
    /// `RELATIVE`
    Relative,
}

/// Reads a DECLARE. `None`: in a form that is not understood.
pub(super) fn declare(text: &str, node: &Node) -> Result<Option<Declare>, Misread> {
    let options = node.int("options")?;
    let Some(start) = query_within(text) else { return Ok(None) };
    let inner = text.get(start..).unwrap_or_default();
    let inner = inner.trim_end_matches(|end: char| end.is_whitespace() || end == ';');
    // The text was cut by its tokens; that it is the query within, its tree says.
    if !matches!(parse(inner), Ok(Some(tree)) if tree == *node.field("query")?) {
        return Ok(None);
    }
    let has = |option: i64| options & option != 0;
    Ok(Some(Declare {
        name: node.text("portalname")?.to_owned(),
        text: inner.to_owned(),
        before: character(text, start) - 1,
        scroll: if has(SCROLL) { Some(true) } else { has(NO_SCROLL).then_some(false) },
        binary: has(BINARY),
        hold: has(HOLD),
    }))
}

/// Where the query begins: after the first FOR, which no name or option before it can be.
fn query_within(text: &str) -> Option<usize> {
    let tokens = pg_query::scan_tokens(text).ok()?;
    let after = tokens.iter().skip_while(|token| token.token() != Token::For).nth(1)?;
    usize::try_from(after.start).ok()
}

/// Reads a FETCH or MOVE. `None`: a direction that is not understood.
pub(super) fn fetch(node: &Node) -> Result<Option<Fetch>, Misread> {
    let wanted = node.int("direction")?;
    let directions = [
        (FetchDirection::FetchForward, Direction::Forward),
        (FetchDirection::FetchBackward, Direction::Backward),
        (FetchDirection::FetchAbsolute, Direction::Absolute),
        (FetchDirection::FetchRelative, Direction::Relative),
    ];
    let found = directions.into_iter().find(|(theirs, _)| wanted == i64::from(*theirs as i32));
    let count = node.int("how_many")?;
    let (name, moves) = (node.text("portalname")?.to_owned(), node.flag("ismove")?);
    Ok(found.map(|(_, direction)| Fetch { name, step: FetchStep { moves, direction, count: (count != ALL).then_some(count) } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Statement, classify};

    #[test]
    fn a_cursor_holds_the_query_within() {
        let Ok(Statement::Declare(declare)) = classify("declare \"for\" /* for */ binary no scroll cursor for -- é\n select 1;") else {
            panic!()
        };
        assert_eq!((declare.name.as_str(), declare.text.as_str(), declare.before), ("for", "-- é\n select 1", 52));
        assert_eq!((declare.scroll, declare.binary, declare.hold), (Some(false), true, false));
        let Ok(Statement::Declare(declare)) = classify("declare c scroll cursor with hold for table x") else { panic!() };
        assert_eq!((declare.scroll, declare.hold, declare.text.as_str()), (Some(true), true, "table x"));
        assert!(matches!(classify("declare c cursor for select * from t for update"), Ok(Statement::Refused(_))));
        assert!(matches!(classify("declare c cursor for with x as (delete from t returning *) table x"), Ok(Statement::Refused(_))));
    }

    #[test]
    fn every_way_to_move_is_one_of_four() {
        let step = |text: &str| match classify(text) {
            Ok(Statement::Fetch(fetch)) => (fetch.step.direction, fetch.step.count),
            other => panic!("{other:?}"),
        };
        assert_eq!(step("fetch c"), (Direction::Forward, Some(1)));
        assert_eq!(step("fetch prior from c"), (Direction::Backward, Some(1)));
        assert_eq!(step("fetch last c"), (Direction::Absolute, Some(-1)));
        assert_eq!(step("fetch all in c"), (Direction::Forward, None));
        assert_eq!(step("move backward all c"), (Direction::Backward, None));
        assert_eq!(step("fetch relative -3 from c"), (Direction::Relative, Some(-3)));
        assert_eq!(step("fetch -3 from c"), (Direction::Forward, Some(-3)));
    }
}
