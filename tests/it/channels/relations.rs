//! What the policy of these tests exposes of `data.sql`, and what a copy of it holds.

use std::{fmt::Write as _, fs};

use crate::support::repository;

/// Columns of `base.masked` that are masked: `m_…` shows the last four characters, `h_…` a hash.
const MASKED: &[&str] = &["d", "ts", "lt", "iv", "f", "f4", "b", "m", "tz", "da", "fa", "r", "n", "t"];

/// A relation as the policy says it, and what it is in a copy.
#[derive(Debug, Clone)]
pub(super) struct Relation {
    pub(super) name: String,
    /// A line of the policy.
    pub(super) written: String,
    /// `None`: there is no copy.
    pub(super) copied: Option<String>,
    /// What an agent of acme may see of it, as the policy spells it.
    pub(super) derived: String,
    /// A second arm without rows, which makes it opaque to estimation.
    pub(super) arm: String,
}

/// What makes a copy of acme's rows, with the indexes that a statement may start from.
fn copied(name: &str, from: &str, columns: &str) -> String {
    let mut text = format!(
        "create table s.{name} as select {columns} from base.{from} where tenant_id = 'acme' order by id; alter table s.{name} add primary key (id)"
    );
    for column in ["amount", "subject", "total"].into_iter().filter(|column| columns.split(", ").any(|name| name == *column)) {
        write!(text, "; create index on s.{name} ({column})").unwrap();
    }
    text
}

/// All of them.
pub(super) fn relations() -> Vec<Relation> {
    let mut relations = vec![Relation {
        name: "g".to_owned(),
        written: "from: base.g, single_tenant: true, columns: [id, x, label]".to_owned(),
        copied: Some("create table s.g as select id, x, label from base.g order by id".to_owned()),
        derived: "select id, x, label from base.g".to_owned(),
        arm: "select id, x, label from only base.g where false".to_owned(),
    }];
    let relation = |name: &str, from: &str, columns: &str, further: &str| Relation {
        name: name.to_owned(),
        written: format!("from: base.{from}, tenant_column: tenant_id, columns: [{columns}], evidence: digest{further}"),
        // Reading it fails.
        copied: (name != "failing").then(|| copied(name, from, columns)),
        derived: format!("select {columns} from base.{from} where tenant_id = 'acme'"),
        arm: format!("select {columns} from only base.{from} where false"),
    };
    let text = fs::read_to_string(repository("tests/it/channels/relations.txt")).unwrap();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, rest) = line.split_once(" = ").unwrap();
        let (from, rest) = rest.split_once(": ").unwrap();
        let (columns, filter) = rest.split_once(" where ").map_or((rest, None), |(columns, filter)| (columns, Some(filter)));
        let writes = if name == "t" { ", primary_key: [id], writes: { update: [kind], delete: true }" } else { "" };
        let said = filter.map(|filter| format!(", where: {filter:?}")).unwrap_or_default();
        let made = relation(name, from, columns, &format!("{writes}{said}"));
        let derived = filter.map_or_else(|| made.derived.clone(), |filter| format!("{} and ({filter})", made.derived));
        relations.push(Relation { derived, ..made });
    }
    for column in MASKED {
        let text = format!("{column}::text");
        let last = format!("'***' || right({text}, case when length({text}) > 4 then 4 else 0 end)");
        for (letter, from, mask, value) in [('m', "masked", "{ last: 4 }", last), ('h', "hashed", "hash", format!("md5({text})"))] {
            let made = relation(&format!("{letter}_{column}"), from, &format!("id, {column}"), &format!(", masks: {{ {column}: {mask} }}"));
            let derived = format!("select id, {value} as {column} from base.{from} where tenant_id = 'acme'");
            relations.push(Relation { copied: None, derived, ..made });
        }
    }
    relations
}
