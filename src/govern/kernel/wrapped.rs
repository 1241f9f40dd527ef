//! Whether a text is a verified one with a known command around it, and nothing else.

use crate::sql::{Tree, parse, parse_select};

/// `CURSOR_OPT_SCROLL`, `CURSOR_OPT_NO_SCROLL`, `CURSOR_OPT_HOLD` and `CURSOR_OPT_FAST_PLAN` of nodes/parsenodes.h; the grammar sets
/// the last always.
const SCROLL: i64 = 0x2;
const NO_SCROLL: i64 = 0x4;
const HOLD: i64 = 0x20;
const FAST_PLAN: i64 = 0x100;

/// Whether `text` declares the cursor `name` over the query `verified`, with these options and no other.
pub(in crate::govern) fn is_declared(text: &str, verified: &str, name: &str, scroll: bool, hold: bool) -> bool {
    let (Ok(Some(Tree::Node(declared))), Some(query)) = (parse(text), parse_select(verified)) else { return false };
    let options = FAST_PLAN | if scroll { SCROLL } else { NO_SCROLL } | if hold { HOLD } else { 0 };
    let same = |tree: &Tree| tree.as_node() == Some(&query);
    declared.kind == "DeclareCursorStmt"
        && declared.fields.len() == 3
        && declared.text("portalname") == Ok(name)
        && declared.int("options") == Ok(options)
        && declared.field("query").is_ok_and(same)
}

/// Whether `text` asks for the plan of the query `verified`, in JSON with names, and does not run it.
pub(in crate::govern) fn is_explained(text: &str, verified: &str) -> bool {
    let (Ok(Some(Tree::Node(explained))), Some(query)) = (parse(text), parse_select(verified)) else { return false };
    // The options are those of the same command over a query that is known.
    let Ok(Some(Tree::Node(pattern))) = parse(&format!("{EXPLAIN} SELECT 1")) else { return false };
    explained.kind == "ExplainStmt"
        && explained.fields.len() == 2
        && explained.field("options").is_ok_and(|options| pattern.field("options") == Ok(options))
        && explained.field("query").is_ok_and(|tree| tree.as_node() == Some(&query))
}

/// The command that asks for a plan.
pub(in crate::govern) const EXPLAIN: &str = "EXPLAIN (VERBOSE, FORMAT JSON)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_command_itself_stands_around_the_query() {
        let query = "SELECT a FROM t WHERE b = $1 OFFSET 0";
        let passes = |text: &str| is_declared(text, query, "c1", false, false);
        assert!(passes(&format!("DECLARE c1 NO SCROLL CURSOR FOR {query}")));
        assert!(is_declared(&format!("DECLARE c1 SCROLL CURSOR FOR {query}"), query, "c1", true, false));
        let held = format!("DECLARE c1 NO SCROLL CURSOR WITH HOLD FOR {query}");
        assert!(is_declared(&held, query, "c1", false, true) && !is_declared(&held, query, "c1", false, false));
        assert!(!is_declared(&format!("DECLARE c1 NO SCROLL CURSOR FOR {query}"), query, "c1", false, true));
        for text in [
            format!("DECLARE c2 NO SCROLL CURSOR FOR {query}"),
            format!("DECLARE c1 SCROLL CURSOR FOR {query}"),
            // The plan would decide whether it goes back.
            format!("DECLARE c1 CURSOR FOR {query}"),
            format!("DECLARE c1 NO SCROLL CURSOR WITH HOLD FOR {query}"),
            format!("DECLARE c1 BINARY NO SCROLL CURSOR FOR {query}"),
            format!("DECLARE c1 NO SCROLL CURSOR FOR {query} LIMIT 1"),
            format!("DECLARE c1 NO SCROLL CURSOR FOR {query}; SELECT 1"),
            query.to_owned(),
        ] {
            assert!(!passes(&text), "{text}");
        }
    }

    #[test]
    fn a_plan_is_asked_for_and_nothing_runs() {
        let query = "SELECT a FROM t WHERE b = $1 OFFSET 0";
        assert!(is_explained(&format!("{EXPLAIN} {query}"), query));
        for text in [
            format!("EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {query}"),
            format!("EXPLAIN (VERBOSE, FORMAT JSON) {query} LIMIT 1"),
            format!("EXPLAIN {query}"),
            query.to_owned(),
        ] {
            assert!(!is_explained(&text, query), "{text}");
        }
    }
}
