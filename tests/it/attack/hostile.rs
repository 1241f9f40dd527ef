//! What rewriters that mean harm would send instead: to see that the judge sees it.

use super::Sent;

/// A name, what it does to a text (`None` when it finds nothing to do), and how many of a thousand at least must be seen:
/// of a relation that an aggregate over an empty join reads, nobody can see what was left out.
pub(super) type Rewriter = (&'static str, fn(&Sent) -> Option<Sent>, usize);

pub(super) const REWRITERS: &[Rewriter] = &[
    ("drops the tenant predicate", |sent| changed(sent, without_tenant(&sent.text)), 150),
    ("makes the tenant predicate true of all", |sent| changed(sent, sent.text.replace("\"tenant_id\" = $", "\"tenant_id\" >= $")), 150),
    ("drops the row filter", |sent| changed(sent, sent.text.replace(" AND (deleted_at is null)", "")), 100),
    (
        "widens the columns",
        |sent| {
            let fenced =
                sent.text.replace(&format!("(SELECT {}", opaque("id", "id")), &format!("(SELECT \"hidden\", {}", opaque("id", "id")));
            changed(sent, fenced.replace("(SELECT \"id\", ", "(SELECT \"hidden\", \"id\", "))
        },
        500,
    ),
    (
        "puts a hidden column under an allowed name",
        |sent| {
            let fenced = sent.text.replace(&opaque("subject", "subject"), &opaque("hidden", "subject"));
            let is_fenced = fenced != sent.text;
            changed(sent, if is_fenced { fenced } else { sent.text.replace("\"subject\", ", "\"hidden\" AS \"subject\", ") })
        },
        500,
    ),
    (
        "binds another tenant",
        |sent| {
            let mut other = sent.clone();
            other.values.iter_mut().filter(|value| value.as_deref() == Some("acme")).for_each(|value| *value = Some("globex".to_owned()));
            (other.values != sent.values).then_some(other)
        },
        150,
    ),
    (
        "sends the real table",
        |sent| {
            // A text of several columns would fail whatever it reads.
            let union = || changed(sent, format!("SELECT * FROM ({}) q UNION ALL SELECT subject FROM base.t", sent.text));
            has_one_column(&sent.text).then(union).flatten()
        },
        50,
    ),
    (
        "adds a union with every row",
        |sent| changed(sent, format!("SELECT row_to_json(q)::text FROM ({}) q UNION ALL SELECT subject FROM base.t", sent.text)),
        500,
    ),
    ("reads a decoy", |sent| changed(sent, sent.text.replace("\"base\".\"t\"", "\"s\".\"t\"")), 500),
    ("asks the catalog", |sent| changed(sent, format!("SELECT 'x' FROM ({}) q, pg_catalog.pg_class", sent.text)), 500),
    (
        "takes the fences away",
        |sent| sent.text.contains(" OFFSET 0)").then(|| changed(sent, plain(&sent.text).replace(" OFFSET 0)", ")"))).flatten(),
        1,
    ),
];

/// A column behind a fence, as the kernel prints it.
fn opaque(column: &str, name: &str) -> String {
    format!("CASE WHEN pg_catalog.now() IS NULL THEN \"{column}\" ELSE \"{column}\" END AS \"{name}\"")
}

/// The text with the columns of fences as they stand in the table.
fn plain(text: &str) -> String {
    let mut parts = text.split("CASE WHEN pg_catalog.now() IS NULL THEN ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // `"c" ELSE "c" END AS "c"` and what follows.
        let after = part.split_once(" END AS ").map_or(part, |(_, after)| after);
        plain += after;
    }
    plain
}

fn changed(sent: &Sent, text: String) -> Option<Sent> {
    (text != sent.text).then(|| Sent { text, ..sent.clone() })
}

fn has_one_column(text: &str) -> bool {
    let parsed = pg_query::parse(text, pg_query::ParserOptions::DEFAULT).unwrap().protobuf;
    let statement = parsed.stmts.first().and_then(|statement| statement.stmt.as_ref()?.node.as_ref());
    matches!(statement, Some(pg_query::NodeEnum::SelectStmt(select)) if select.target_list.len() == 1)
}

fn without_tenant(text: &str) -> String {
    let mut parts = text.split("\"tenant_id\" = $");
    let mut changed = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        changed += "$";
        // The parameter stays, so that its number does.
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        changed += &part[..digits];
        changed += " IS NOT NULL";
        changed += &part[digits..];
    }
    changed
}
