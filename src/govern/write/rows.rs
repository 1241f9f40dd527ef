//! The rows of a draft's read, as changes.

use std::collections::{HashMap, HashSet};

use super::{Action, Met, Place, WriteDraft};
use crate::{
    govern::{Refusal, RefusalCode},
    policy::TenantRule,
    proposal::{Cell, Operation, RowChange, Target, TenantGuard, Value, Verb},
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
        let acting = match &self.layout.met {
            None => rows.iter().collect(),
            Some(met) => self.upserted(met, rows)?,
        };
        let mut changes: Vec<RowChange> = Vec::new();
        let mut seen: HashMap<Vec<Box<str>>, usize> = HashMap::new();
        for row in acting {
            if self.layout.width.is_some_and(|width| width != row.len()) {
                return Err(Refusal::new(RefusalCode::Syntax, "INSERT has another number of expressions than of target columns"));
            }
            let Some(action) = self.action(row)? else { continue };
            self.is_of_tenant(action, row, tenant)?;
            self.is_not_doubted(row)?;
            let change = action.change(row)?;
            self.is_complete(&change)?;
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
                Some(known) if change.operation == Operation::Insert && known.operation == Operation::Insert => {
                    let message = "duplicate key value violates a unique constraint: two of the new rows have one key";
                    return Err(Refusal::new(RefusalCode::Unique, message).hint("give each new row a key of its own"));
                }
                Some(known) if self.verb == Verb::Merge && ![change.operation, known.operation].contains(&Operation::Insert) => {
                    return Err(Refusal::new(RefusalCode::Cardinality, "MERGE command cannot affect row a second time")
                        .hint("Ensure that not more than one source row matches any one target row."));
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

    /// The rows of an upsert that do something, in the order of the new rows: as PostgreSQL takes them one after the other.
    fn upserted<'r>(&self, met: &Met, rows: &'r [DraftRow]) -> Result<Vec<&'r DraftRow>, Refusal> {
        let cell = |row: &'r DraftRow, output: usize| row.get(output).and_then(Option::as_deref);
        let mut numbered = Vec::new();
        for row in rows {
            let number: u64 = cell(row, met.order).and_then(|text| text.parse().ok()).ok_or_else(|| super::unread("the place of a row"))?;
            numbered.push((number, row));
        }
        numbered.sort_by_key(|(number, _)| *number);
        let update = self.layout.actions.last().filter(|_| met.updates);
        let (mut acting, mut changed, mut new, mut last) = (Vec::new(), HashSet::new(), HashSet::new(), None);
        for (number, row) in numbered {
            self.may_be_written(met, row)?;
            if last.replace(number) == Some(number) {
                return Err(Refusal::unsupported("a new row in the way of two rows").hint("propose an UPDATE of the row that is meant"));
            }
            if cell(row, met.hit) == Some("t") {
                let Some(update) = update else { continue };
                let key: Vec<Option<&str>> = update.key.iter().map(|place| cell(row, place.output.unwrap_or(usize::MAX))).collect();
                if changed.contains(&key) {
                    // What the first update made of the row may be in no new row's way.
                    return Err(if met.moves { moving() } else { second_time() });
                }
                if self.action(row)?.is_some() {
                    changed.insert(key);
                    acting.push(row);
                }
                continue;
            }
            let mine: Vec<(usize, &str)> =
                met.groups.iter().enumerate().filter_map(|(at, output)| Some((at, cell(row, *output)?))).collect();
            if mine.iter().any(|group| new.contains(group)) {
                if met.updates {
                    return Err(second_time());
                }
                continue;
            }
            if met.deferrable {
                let message = "ON CONFLICT does not support deferrable unique constraints/exclusion constraints as arbiters";
                return Err(Refusal::new(RefusalCode::ObjectState, message));
            }
            new.extend(mine);
            acting.push(row);
        }
        if met.moves && acting.len() > 1 {
            return Err(moving());
        }
        Ok(acting)
    }

    /// What PostgreSQL checks of a new row before it looks for one in its way.
    fn may_be_written(&self, met: &Met, row: &DraftRow) -> Result<(), Refusal> {
        let missing = met.required.iter().find(|place| place.output.is_some_and(|output| row.get(output).is_some_and(Option::is_none)));
        if let Some(place) = missing {
            return Err(self.no_value(&place.column));
        }
        for place in self.layout.actions.first().iter().flat_map(|action| &action.after) {
            place.fits(&place.cell(row)?)?;
        }
        if met.broken.and_then(|output| row.get(output)).and_then(Option::as_deref) == Some("t") {
            let message = format!("new row for relation \"{}\" violates a check constraint", self.relation.name);
            return Err(Refusal::new(RefusalCode::Check, message));
        }
        Ok(())
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
                if !relation.tenant.keeps(tenant.as_str()) {
                    let message = "this connection's tenant is no value of the tenant column: the column would cut it off";
                    return Err(
                        Refusal::new(RefusalCode::Denied, message).hint("the tenant comes from the policy or a token: mend it there")
                    );
                }
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

    /// 23502 for a new row without a value that it must have, where nothing at the source fills it in.
    fn is_complete(&self, change: &RowChange) -> Result<(), Refusal> {
        let rules = self.catalog.rules(&self.relation.real_schema, &self.relation.real_name).filter(|rules| !rules.fills_in);
        let Some(rules) = rules.filter(|_| change.operation == Operation::Insert) else { return Ok(()) };
        let tenant = match &self.relation.tenant {
            TenantRule::Column { name, .. } => Some(name),
            TenantRule::Single => None,
        };
        let missing = self.relation.columns.iter().filter(|column| column.not_null && column.mask.is_none()).find(|column| {
            let given = change.after.iter().find(|cell| cell.column == column.name).map(|cell| &cell.value);
            match given {
                Some(Value::Text(_)) => false,
                Some(Value::Null) => true,
                Some(Value::Default) | None => rules.column(&column.name).is_none() && tenant != Some(&column.name),
            }
        });
        missing.map_or(Ok(()), |column| Err(self.no_value(&column.name)))
    }

    fn no_value(&self, column: &str) -> Refusal {
        let message = format!("null value in column \"{column}\" of relation \"{}\" violates not-null constraint", self.relation.name);
        Refusal::new(RefusalCode::NotNull, message).hint("a new row must be complete, also where it becomes an update")
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
    pub(super) fn cell(&self, row: &DraftRow) -> Result<Cell, Refusal> {
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
        match (&self.limit, cell.value.text()) {
            (Some(limit), Some(text)) => limit.takes(text),
            (_, _) => Ok(()),
        }
    }
}

/// 53400 for more rows than the policy lets one proposal change.
pub(super) fn too_many(max_rows: u64) -> Refusal {
    Refusal::new(RefusalCode::Limit, format!("more than {max_rows} rows would change: one proposal may change {max_rows} at most"))
        .hint("the policy limits what one proposal changes: narrow the WHERE, and propose the rest separately")
}

fn moving() -> Refusal {
    Refusal::unsupported("DO UPDATE of what the conflict is about, for several rows,").hint("propose the rows in several statements")
}

fn second_time() -> Refusal {
    Refusal::new(RefusalCode::Cardinality, "ON CONFLICT DO UPDATE command cannot affect row a second time")
        .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
}
