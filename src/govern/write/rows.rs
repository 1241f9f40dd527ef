//! The rows of a draft's read, as changes.

use std::collections::HashMap;

use super::{Action, Place, WriteDraft};
use crate::{
    govern::{Refusal, RefusalCode},
    policy::TenantRule,
    proposal::{Cell, Operation, RowChange, Target, TenantGuard, Value},
    types::TenantId,
};

/// A row of the read: text forms under the settings of [`Value::Text`].
pub type DraftRow = Vec<Option<Box<str>>>;

impl WriteDraft {
    /// Rows one proposal may have.
    pub fn max_rows(&self) -> u64 {
        self.relation.writes.as_ref().map_or(0, |writes| writes.max_rows)
    }

    /// What is proposed. None at all when the statement would change nothing.
    pub fn changes(&self, rows: &[DraftRow], tenant: Option<&TenantId>) -> Result<Vec<RowChange>, Refusal> {
        let mut changes: Vec<RowChange> = Vec::new();
        let mut seen: HashMap<Vec<Box<str>>, usize> = HashMap::new();
        for row in rows {
            if self.layout.width.is_some_and(|width| width != row.len()) {
                return Err(Refusal::new(RefusalCode::Syntax, "INSERT has another number of expressions than of target columns"));
            }
            let Some(action) = self.action(row)? else { continue };
            self.is_of_tenant(action, row, tenant)?;
            let change = action.change(row)?;
            let key: Vec<Box<str>> = change.key.iter().filter_map(|cell| cell.value.text().map(Into::into)).collect();
            let whole = !key.is_empty() && key.len() == self.relation.primary_key.len();
            if !whole && action.operation != Operation::Insert {
                return Err(super::unread("a row without a key"));
            }
            match seen.get(&key).filter(|_| whole).and_then(|place| changes.get(*place)) {
                None => {
                    seen.insert(key, changes.len());
                    changes.push(change);
                }
                // As PostgreSQL, a row that FROM matches twice is changed once; but which way must not be chance.
                Some(known) if *known == change && change.operation != Operation::Insert => {}
                Some(_) => {
                    let message = "a row would be changed twice, in different ways";
                    return Err(Refusal::new(RefusalCode::Cardinality, message).hint("make FROM or USING match each row once"));
                }
            }
        }
        if changes.len() as u64 > self.max_rows() { Err(self.too_many()) } else { Ok(changes) }
    }

    /// 53400: more rows than the policy lets one proposal change.
    pub fn too_many(&self) -> Refusal {
        too_many(self.max_rows())
    }

    /// Where the changes go.
    pub fn target(&self, tenant: Option<&TenantId>) -> Result<Target, Refusal> {
        let relation = &self.relation;
        let guard = match &relation.tenant {
            TenantRule::Single => None,
            TenantRule::Column { name, type_name, .. } => {
                let tenant = tenant.cloned().ok_or_else(|| Refusal::new(RefusalCode::Denied, "this connection has no tenant"))?;
                Some(TenantGuard { column: name.clone(), type_name: type_name.clone(), tenant })
            }
        };
        Ok(Target {
            source: relation.source.clone(),
            schema: relation.schema.clone(),
            relation: relation.name.clone(),
            real_schema: relation.real_schema.clone(),
            real_name: relation.real_name.clone(),
            tenant: guard,
        })
    }

    fn action(&self, row: &DraftRow) -> Result<Option<&Action>, Refusal> {
        let number = match self.layout.choice {
            None => 0,
            Some(output) => match row.get(output).and_then(Option::as_deref) {
                None => return Ok(None),
                Some(number) => number.parse().map_err(|_no_number| super::unread("the choice of an action"))?,
            },
        };
        self.layout.actions.get(number).map(Some).ok_or_else(|| super::unread("the choice of an action"))
    }

    /// A row that gives the tenant column gives the principal's tenant.
    fn is_of_tenant(&self, action: &Action, row: &DraftRow, tenant: Option<&TenantId>) -> Result<(), Refusal> {
        let Some(output) = self.layout.tenant.filter(|_| action.operation == Operation::Insert) else { return Ok(()) };
        match row.get(output).and_then(Option::as_deref) {
            // NULL is DEFAULT here, or will be filled in.
            None => Ok(()),
            Some(given) if tenant.is_some_and(|tenant| tenant.as_str() == given) => Ok(()),
            Some(_) => Err(Refusal::new(RefusalCode::Denied, "a row of another tenant cannot be proposed")
                .hint("leave the tenant column out: it is filled in")),
        }
    }
}

impl Action {
    fn change(&self, row: &DraftRow) -> Result<RowChange, Refusal> {
        let cells = |places: &[Place]| places.iter().map(|place| place.cell(row)).collect::<Result<Vec<_>, _>>();
        let after = cells(&self.after)?;
        for (place, cell) in self.after.iter().zip(&after) {
            place.fits(cell)?;
        }
        Ok(RowChange {
            operation: self.operation,
            key: cells(&self.key)?,
            before: cells(&self.before)?,
            conflict: self.conflict.as_ref().map(|place| place.cell(row)).transpose()?,
            after,
        })
    }
}

impl Place {
    fn cell(&self, row: &DraftRow) -> Result<Cell, Refusal> {
        let value = match self.output {
            None => Value::Default,
            Some(output) => match row.get(output).ok_or_else(|| super::unread("a row that is too short"))? {
                Some(text) => Value::Text(text.clone()),
                None => Value::Null,
            },
        };
        Ok(Cell { column: self.column.clone(), type_name: self.type_name.clone(), value })
    }

    /// As an assignment in PostgreSQL: too long is an error, unless only spaces are cut off.
    fn fits(&self, cell: &Cell) -> Result<(), Refusal> {
        let (Some(length), Some(text)) = (self.length, cell.value.text()) else { return Ok(()) };
        if text.trim_end_matches(' ').chars().count() > length {
            return Err(Refusal::new(RefusalCode::TooLong, format!("value too long for type {}", self.type_name)));
        }
        Ok(())
    }
}

/// 53400 for more rows than the policy lets one proposal change.
pub(super) fn too_many(max_rows: u64) -> Refusal {
    Refusal::new(RefusalCode::Limit, format!("more than {max_rows} rows would change: one proposal may change {max_rows} at most"))
        .hint("the policy limits what one proposal changes: narrow the WHERE, and propose the rest separately")
}
