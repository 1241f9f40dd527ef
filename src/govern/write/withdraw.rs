//! DELETE on `pgwicket.proposals`: which of its own proposals an agent takes back.

use pg_query::{NodeEnum, protobuf::DeleteStmt};

use super::draft::{print, skeleton, with};
use crate::govern::{Refusal, RefusalCode, kernel::identifier};

/// The text of the read that says which. What else could be written there is refused.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever else the grammar has is not a withdrawal")]
pub(super) fn read(statement: NodeEnum, (written, alias): &(String, Option<String>)) -> Result<String, Refusal> {
    let delete = match statement {
        NodeEnum::DeleteStmt(delete) if delete.returning_clause.is_none() => delete,
        NodeEnum::DeleteStmt(_) => return Err(Refusal::unsupported("RETURNING of proposals that are taken back")),
        _ => {
            let message = "pgwicket.proposals is not written to: a proposal comes from a write to a relation";
            let hint = "take one of your proposals back with DELETE FROM pgwicket.proposals WHERE proposal_id = '…'";
            return Err(Refusal::new(RefusalCode::Denied, message).hint(hint));
        }
    };
    select(*delete, written, alias.as_deref())
}

fn select(delete: DeleteStmt, written: &str, alias: Option<&str>) -> Result<String, Refusal> {
    let renamed = alias.map(|alias| format!(" AS {}", identifier(alias))).unwrap_or_default();
    let name = identifier(alias.unwrap_or(written));
    let mut select = skeleton(&format!("SELECT {name}.proposal_id FROM pgwicket.proposals{renamed}"))?;
    select.from_clause.extend(delete.using_clause);
    select.where_clause = delete.where_clause;
    with(&mut select, delete.with_clause);
    print(&select)
}
