//! DELETE: key, conflict column and every visible column as they are.

use pg_query::protobuf::DeleteStmt;

use super::{
    Context, Draft, Layout,
    draft::{skeleton, with},
    update::Outputs,
};
use crate::{
    govern::{Refusal, RefusalCode},
    proposal::Operation,
};

/// The draft of a DELETE.
pub(super) fn draft(context: Context<'_>, delete: DeleteStmt) -> Result<Draft, Refusal> {
    context.may_delete()?;
    let mut outputs = Outputs::default();
    let mut action = outputs.before_image(context, &context.visible(), |column| context.reference(column))?;
    action.operation = Operation::Delete;
    let mut select = skeleton(&format!("SELECT {} FROM {}", outputs.texts.join(", "), context.from()))?;
    select.from_clause.extend(delete.using_clause);
    select.where_clause = delete.where_clause;
    with(&mut select, delete.with_clause);
    Ok(Draft { select, layout: Layout { actions: vec![action], ..Layout::default() } })
}

impl Context<'_> {
    /// The policy lets rows go.
    pub(super) fn may_delete(&self) -> Result<(), Refusal> {
        if self.writes.delete {
            return Ok(());
        }
        let message = format!("the policy does not let rows of {}.{} be deleted", self.relation.schema, self.relation.name);
        Err(Refusal::new(RefusalCode::ReadOnly, message).hint("ask for `delete: true` in its `writes`, or propose an UPDATE"))
    }

    /// The columns whose real value the agent sees, less the key and the conflict column, which stand apart.
    pub(super) fn visible(&self) -> Vec<&str> {
        let apart =
            |name: &str| self.relation.primary_key.iter().any(|key| **key == *name) || self.writes.conflict_column.as_deref() == Some(name);
        let columns = self.relation.columns.iter().filter(|column| column.mask.is_none() && !apart(&column.name));
        columns.map(|column| &*column.name).collect()
    }
}
