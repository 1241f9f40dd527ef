//! What agents may propose to change in a relation.

use std::time::Duration;

use super::{
    super::{
        OnWrite, Receipts, RowCheck, Writes,
        decode::Spanned,
        document::WritesDocument,
        problem::{Place, shown},
    },
    Compiler,
    relation::Real,
};

/// How long a proposal waits for a decision, unless the policy says.
const TTL: Duration = Duration::from_hours(24);
/// Rows that one proposal may change, unless the policy says.
const MAX_ROWS: u64 = 100;
/// Rows that one proposal may change at most: it is read by a person, and held in memory.
const ROWS_AT_MOST: u64 = 10_000;

/// The `writes` section of a relation.
pub(super) fn writes(compiler: &mut Compiler<'_>, real: &Real<'_>, primary_key: &[Box<str>]) -> Option<Writes> {
    let writes = real.document.writes.as_ref()?;
    let WritesDocument { update, insert, delete, conflict_column, max_rows, ttl, on_write, receipts, check } = &writes.value;
    for (section, list) in [("update", update), ("insert", insert)] {
        let list = list.as_deref().unwrap_or_default();
        super::relation::duplicates(compiler, section, list);
        for name in list {
            writable(compiler, real, section, name);
        }
    }
    if let Some(name) = conflict_column {
        writable(compiler, real, "conflict_column", name);
    }
    guarded(compiler, real, update.iter().flatten(), conflict_column.as_ref());
    bounds(compiler, max_rows.as_ref(), *ttl, &writes.at);
    let changes_rows = update.as_ref().is_some_and(|columns| !columns.is_empty()) || *delete == Some(true);
    if changes_rows && primary_key.is_empty() {
        compiler
            .problems
            .error(&writes.at, "UPDATE and DELETE need a primary key that agents see: it says which row is meant")
            .hint("list the key's columns in `columns` without a mask, or give `primary_key`");
    }
    let columns = |list: &Option<Vec<Spanned<String>>>| list.iter().flatten().map(|name| name.value.as_str().into()).collect();
    Some(Writes {
        update: columns(update),
        insert: columns(insert),
        delete: delete.unwrap_or(false),
        conflict_column: conflict_column.as_ref().map(|name| name.value.as_str().into()),
        max_rows: max_rows.as_ref().map_or(MAX_ROWS, |rows| rows.value),
        ttl: ttl.unwrap_or(TTL),
        on_write: on_write.unwrap_or(OnWrite::Error),
        receipts: receipts.unwrap_or(Receipts::Required),
        check: check.unwrap_or(RowCheck::Filter),
    })
}

/// A reviewer sees before and after, so what is written must be what agents see.
fn writable(compiler: &mut Compiler<'_>, real: &Real<'_>, section: &str, name: &Spanned<String>) {
    if real.column(compiler, &name.value, &name.at).is_none() {
        return;
    }
    if !real.document.columns.iter().any(|column| column.value == name.value) {
        compiler
            .problems
            .error(&name.at, format!("{} is in `{section}` and not in `columns`", shown(&name.value)))
            .hint("agents propose changes to what they see: list it in `columns`, or remove it here");
    } else if real.document.masks.named(&name.value).is_some() {
        compiler
            .problems
            .error(&name.at, format!("{} is masked and in `{section}`", shown(&name.value)))
            .hint("a before-image would be the mask: remove the mask, or remove it here");
    }
}

fn guarded<'a>(
    compiler: &mut Compiler<'_>,
    real: &Real<'_>,
    update: impl Iterator<Item = &'a Spanned<String>>,
    conflict_column: Option<&Spanned<String>>,
) {
    let tenant = real.document.tenant_column.value().map(|name| name.value.as_str());
    let given = real.document.primary_key.iter().flatten().map(|name| name.value.as_str());
    let key = real.relation.primary_key.iter().map(String::as_str).chain(given);
    let guarded: Vec<&str> = key.chain(tenant).chain(conflict_column.map(|name| name.value.as_str())).collect();
    for name in update.filter(|name| guarded.contains(&name.value.as_str())) {
        compiler
            .problems
            .error(&name.at, format!("{} is guarded and cannot be assigned", shown(&name.value)))
            .hint("primary key, tenant column and conflict column say which row is changed: remove it from `update`");
    }
}

fn bounds(compiler: &mut Compiler<'_>, max_rows: Option<&Spanned<u64>>, ttl: Option<Duration>, at: &Place) {
    if let Some(rows) = max_rows {
        if rows.value == 0 {
            compiler.problems.error(&rows.at, "`max_rows: 0` would refuse every proposal").hint("write 1 or more, or remove it");
        } else if rows.value > ROWS_AT_MOST {
            compiler
                .problems
                .error(&rows.at, format!("`max_rows` of writes is at most {ROWS_AT_MOST}"))
                .hint("a proposal is read by a person; a larger change is a migration");
        }
    }
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        compiler.problems.error(at, "`ttl: 0` would expire every proposal at once").hint("write a duration, e.g. `24h`, or remove it");
    }
}
