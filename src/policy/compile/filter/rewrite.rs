//! The text of a filter with constants and clock arithmetic written as every session reads them.

use std::collections::BTreeMap;

use pg_query::{
    DeparseOptions, Node, NodeEnum,
    protobuf::{AConst, AExpr, CoercionForm, FuncCall, LimitOption, ResTarget, SelectStmt, SetOperation, String as Name, a_const},
};

use crate::sql;

/// What is written otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Edit {
    /// A constant's text.
    Constant(String),
    /// A timestamptz and an interval are added in UTC; the timestamptz is on the left, or else on the right.
    Utc {
        /// Which side.
        left: bool,
    },
}

/// Edits by where the constant or operator stands in [`CONDITION`] and the text.
pub(super) type Edits = BTreeMap<usize, Edit>;

/// What stands before the text when it is parsed.
const CONDITION: &str = "SELECT 1 WHERE (";

/// The filter with the edits made. `None` when what is printed is not what was meant: the printer is not trusted.
pub(super) fn rewritten(text: &str, edits: &Edits) -> Option<String> {
    let mut expression = condition(text)?;
    let mut left = edits.clone();
    edit(&mut expression, &mut left)?;
    if !left.is_empty() {
        return None;
    }
    let target = ResTarget { val: Some(Box::new(expression.clone())), location: -1, ..ResTarget::default() };
    let select = SelectStmt {
        target_list: vec![Node { node: Some(NodeEnum::ResTarget(Box::new(target))) }],
        limit_option: LimitOption::Default.into(),
        op: SetOperation::SetopNone.into(),
        ..SelectStmt::default()
    };
    let printed = NodeEnum::SelectStmt(Box::new(select)).deparse(DeparseOptions::default()).ok()?;
    let printed = printed.strip_prefix("SELECT ")?.to_owned();
    (sql::tree(&condition(&printed)?)? == sql::tree(&expression)?).then_some(printed)
}

/// The expression of a text, with its positions.
#[expect(clippy::wildcard_enum_match_arm, reason = "any other statement is none of ours, and refused")]
fn condition(text: &str) -> Option<Node> {
    let parsed = pg_query::parse(&format!("{CONDITION}{text}\n)"), pg_query::ParserOptions::DEFAULT).ok()?;
    let [statement] = <[_; 1]>::try_from(parsed.protobuf.stmts).ok()?;
    match statement.stmt?.node? {
        NodeEnum::SelectStmt(select) => select.where_clause.map(|node| *node),
        _ => None,
    }
}

/// Makes the edits in a node and below; each is taken out as it is made. `None`: a node that no filter has.
#[expect(clippy::wildcard_enum_match_arm, reason = "what no filter may hold is not walked, and the rewriting fails")]
fn edit(node: &mut Node, edits: &mut Edits) -> Option<()> {
    let Some(found) = &mut node.node else { return Some(()) };
    match found {
        NodeEnum::AConst(constant) => {
            if let Some(text) = taken(constant.location, edits, |edit| match edit {
                Edit::Constant(text) => Some(text.clone()),
                Edit::Utc { .. } => None,
            }) {
                constant.val = Some(a_const::Val::Sval(Name { sval: text }));
            }
        }
        NodeEnum::ColumnRef(_) | NodeEnum::SqlvalueFunction(_) => {}
        NodeEnum::TypeCast(cast) => boxed(&mut cast.arg, edits)?,
        NodeEnum::NullTest(test) => boxed(&mut test.arg, edits)?,
        NodeEnum::BooleanTest(test) => boxed(&mut test.arg, edits)?,
        NodeEnum::BoolExpr(expression) => each(&mut expression.args, edits)?,
        NodeEnum::List(list) => each(&mut list.items, edits)?,
        NodeEnum::AArrayExpr(array) => each(&mut array.elements, edits)?,
        NodeEnum::CoalesceExpr(coalesce) => each(&mut coalesce.args, edits)?,
        NodeEnum::FuncCall(call) => each(&mut call.args, edits)?,
        NodeEnum::CaseExpr(case) => {
            boxed(&mut case.arg, edits)?;
            each(&mut case.args, edits)?;
            boxed(&mut case.defresult, edits)?;
        }
        NodeEnum::CaseWhen(when) => {
            boxed(&mut when.expr, edits)?;
            boxed(&mut when.result, edits)?;
        }
        NodeEnum::AExpr(expression) => {
            boxed(&mut expression.lexpr, edits)?;
            boxed(&mut expression.rexpr, edits)?;
            let left = taken(expression.location, edits, |edit| match edit {
                Edit::Utc { left } => Some(*left),
                Edit::Constant(_) => None,
            });
            if let Some(left) = left {
                let inside = in_utc(std::mem::take(expression), left);
                *found = inside;
            }
        }
        _ => return None,
    }
    Some(())
}

fn taken<T>(location: i32, edits: &mut Edits, wanted: impl Fn(&Edit) -> Option<T>) -> Option<T> {
    let place = usize::try_from(location).ok()?.checked_sub(CONDITION.len())?;
    let found = wanted(edits.get(&place)?)?;
    edits.remove(&place);
    Some(found)
}

fn boxed(node: &mut Option<Box<Node>>, edits: &mut Edits) -> Option<()> {
    node.as_deref_mut().map_or(Some(()), |node| edit(node, edits))
}

fn each(nodes: &mut [Node], edits: &mut Edits) -> Option<()> {
    nodes.iter_mut().try_for_each(|node| edit(node, edits))
}

/// `timezone('UTC', timezone('UTC', x) - i)`: days and months as UTC has them.
fn in_utc(mut expression: Box<AExpr>, left: bool) -> NodeEnum {
    let side = if left { &mut expression.lexpr } else { &mut expression.rexpr };
    *side = side.take().map(|node| Box::new(Node { node: Some(timezone(*node)) }));
    timezone(Node { node: Some(NodeEnum::AExpr(expression)) })
}

fn timezone(value: Node) -> NodeEnum {
    let name = |text: &str| Node { node: Some(NodeEnum::String(Name { sval: text.to_owned() })) };
    let utc = AConst { val: Some(a_const::Val::Sval(Name { sval: "UTC".to_owned() })), location: -1, ..AConst::default() };
    NodeEnum::FuncCall(Box::new(FuncCall {
        funcname: vec![name("pg_catalog"), name("timezone")],
        args: vec![Node { node: Some(NodeEnum::AConst(utc)) }, value],
        funcformat: CoercionForm::CoerceExplicitCall.into(),
        location: -1,
        ..FuncCall::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_made_where_they_belong_or_not_at_all() {
        let text = "a > '2024-06-01' and now() - interval '7 days' < a";
        let constant = Edit::Constant("2024-06-01 00:00:00+00".to_owned());
        let edits = Edits::from([(4, constant.clone()), (27, Edit::Utc { left: true })]);
        assert_eq!(
            rewritten(text, &edits).as_deref(),
            Some("a > '2024-06-01 00:00:00+00' AND pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', now()) - '7 days'::interval) < a")
        );
        for edits in [Edits::from([(5, constant.clone())]), Edits::from([(27, constant)]), Edits::from([(4, Edit::Utc { left: true })])] {
            assert_eq!(rewritten(text, &edits), None);
        }
    }
}
