//! TABLESAMPLE: a sample of the rows that the agent may see.
//!
//! PostgreSQL samples a table by its blocks and by the places in them: which of its own rows an agent drew would tell how many others
//! stand between. So the rows are drawn here from what the fence lets through, each by itself. They are drawn once: a materialised CTE
//! gives the same rows however often the plan comes back to them, as PostgreSQL's own sample does.

use super::identifier;
use crate::{
    govern::{Refusal, RefusalCode},
    policy::ExposedRelation,
    sql::{Node, Tree},
};

/// Which share of the rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    /// From 0 to 100, with the precision that PostgreSQL has for it.
    percent: f32,
    /// REPEATABLE
    seed: Option<f64>,
}

impl Sample {
    /// What a `RangeTableSample` asks for: decided by its constants alone.
    pub(super) fn read(node: &Node) -> Result<Self, Refusal> {
        let names = node.names("method")?;
        let method = match names.as_slice() {
            [method @ ("bernoulli" | "system")] | ["pg_catalog", method @ ("bernoulli" | "system")] => *method,
            _ => {
                let message = format!("tablesample method {} does not exist", names.join("."));
                return Err(Refusal::new(RefusalCode::UndefinedObject, message).hint("there are BERNOULLI and SYSTEM"));
            }
        };
        let [argument] = node.list("args")? else {
            let message = format!("tablesample method {method} requires 1 argument, not {}", node.list("args")?.len());
            return Err(Refusal::new(RefusalCode::SampleArgument, message));
        };
        let null = Refusal::new(RefusalCode::SampleArgument, "TABLESAMPLE parameter cannot be null");
        let open = Refusal::unsupported("TABLESAMPLE with a percentage that is not a number").hint("write WHERE random() < $1 / 100.0");
        #[expect(clippy::cast_possible_truncation, reason = "PostgreSQL takes a real")]
        let percent = number(argument, null, open)? as f32;
        if !(0.0..=100.0).contains(&percent) {
            return Err(Refusal::new(RefusalCode::SampleArgument, "sample percentage must be between 0 and 100"));
        }
        let seed = match node.field("repeatable")? {
            Tree::Null => None,
            seed @ (Tree::Node(_) | Tree::List(_) | Tree::Bool(_) | Tree::Int(_) | Tree::Text(_) | Tree::Position(_)) => {
                let null = Refusal::new(RefusalCode::SampleRepeat, "TABLESAMPLE REPEATABLE parameter cannot be null");
                let open = Refusal::unsupported("REPEATABLE of a seed that is not a number").hint("write the seed into the statement");
                Some(number(seed, null, open)?)
            }
        };
        Ok(Self { percent, seed })
    }

    /// `(SELECT …)` that gives the sample of what `derived` gives. The condition runs above the fence.
    pub(super) fn of(self, derived: &str, relation: &ExposedRelation) -> Result<String, Refusal> {
        let condition = match self.seed {
            None => format!("pg_catalog.random() < '{}'::pg_catalog.float8", f64::from(self.percent) / 100.0),
            Some(seed) => {
                let key = key(relation)?;
                // -0 and 0 are one seed.
                let seed = (seed + 0.0).to_bits().cast_signed();
                // 32 bits of the hash, and of them as many as PostgreSQL takes (bernoulli.c).
                let cutoff = (f64::from(self.percent) / 100.0 * 4_294_967_296.0).round();
                format!("(pg_catalog.hash_record_extended(ROW({key}), '{seed}'::pg_catalog.int8) & 4294967295) < {cutoff}")
            }
        };
        Ok(format!(
            "(WITH \"pgwicket\" AS MATERIALIZED (SELECT * FROM {derived} AS \"pgwicket\" WHERE {condition}) SELECT * FROM \"pgwicket\")"
        ))
    }
}

/// The refusal for a sample of what has no rows of its own.
pub(super) fn not_a_table() -> Refusal {
    Refusal::new(RefusalCode::Unsupported, "TABLESAMPLE clause can only be applied to tables and materialized views")
}

/// A seed draws by the rows' keys, as the agent sees them.
fn key(relation: &ExposedRelation) -> Result<String, Refusal> {
    let shown = |name: &str| relation.columns.iter().any(|column| *column.name == *name && column.mask.is_none());
    if relation.primary_key.is_empty() || !relation.primary_key.iter().all(|name| shown(name)) {
        let what = format!("REPEATABLE over {}.{}, whose primary key is not shown,", relation.schema, relation.name);
        return Err(Refusal::unsupported(what).hint("leave REPEATABLE out, or draw by a column: WHERE id % 10 = 0"));
    }
    Ok(relation.primary_key.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", "))
}

/// A number written out; the refusals are for NULL and for anything else.
fn number(tree: &Tree, null: Refusal, open: Refusal) -> Result<f64, Refusal> {
    let Some(constant) = tree.of_kind("AConst") else { return Err(open) };
    if constant.flag("isnull")? {
        return Err(null);
    }
    let written = match constant.node("val")? {
        Some(value) if value.kind == "Integer" => value.int("ival")?.to_string(),
        Some(value) if value.kind == "Float" => value.text("fval")?.to_owned(),
        Some(_) | None => return Err(open),
    };
    written.parse().map_err(|_unread: std::num::ParseFloatError| open)
}

#[cfg(test)]
mod tests {
    use crate::govern::tests::governed;

    #[test]
    fn a_sample_is_drawn_above_the_fence() {
        const ALL: &str = r#"(SELECT opaque "id", opaque "subject", opaque "status", opaque "amount", opaque "price", opaque "created_at", opaque "tags", opaque "meta", opaque "customer_id" FROM "public"."real_t" WHERE "tenant_id" = $1 OFFSET 0)"#;
        let sample = |condition: &str| {
            format!(
                "(WITH \"pgwicket\" AS MATERIALIZED (SELECT * FROM {ALL} AS \"pgwicket\" WHERE {condition}) SELECT * FROM \"pgwicket\")"
            )
        };
        let half = sample("pg_catalog.random() < '0.5'::pg_catalog.float8");
        let seeded = |seed: &str| {
            sample(&format!("(pg_catalog.hash_record_extended(ROW(\"id\"), '{seed}'::pg_catalog.int8) & 4294967295) < 42949673"))
        };
        for (text, sent) in [
            ("select id from t tablesample bernoulli (50)", format!("select id from {half} AS \"t\" ")),
            (
                "select id from s.t as x (a) tablesample pg_catalog.system ( 50.0 ) where a = 1",
                format!("select id from {half} as x (a)  where a = 1"),
            ),
            (
                "select id from t * tablesample system (50), g",
                format!("select id from {half} AS \"t\" , (SELECT \"id\", \"x\" FROM \"public\".\"real_g\") AS \"g\""),
            ),
            ("select id from t tablesample system (1) repeatable (0)", format!("select id from {} AS \"t\" ", seeded("0"))),
            (
                "select id from t /* a */ tablesample /* b */ system (1) /* c */ repeatable /* d */ (-0.0) /* e */",
                format!("select id from {} AS \"t\"   ", seeded("0")),
            ),
            (
                "select id from t tablesample system (1) repeatable (1)",
                format!("select id from {} AS \"t\" ", seeded("4607182418800017408")),
            ),
        ] {
            assert_eq!(governed(text).trim_end(), sent.trim_end(), "{text}");
        }
        let sent = governed("select * from only (t) tablesample system (10) where id = 5 and 'x' ~ subject");
        assert!(
            sent.contains(
                r#"FROM ONLY "public"."real_t" WHERE "tenant_id" = $1 AND (("id") = (5)) OFFSET 0) AS "pgwicket" WHERE pg_catalog.random()"#
            ),
            "{sent}"
        );
        assert!(governed("select * from g tablesample system (1)").contains(r#"FROM "public"."real_g") AS "pgwicket" WHERE"#));
    }

    #[test]
    fn what_is_no_sample_of_a_relation_is_refused_by_name() {
        for (text, refusal) in [
            ("select * from t tablesample system_rows (10)", "REFUSED 42704 tablesample method system_rows does not exist"),
            ("select * from t tablesample public.system (10)", "REFUSED 42704 tablesample method public.system does not exist"),
            ("select * from t tablesample system (10, 20)", "REFUSED 2202H tablesample method system requires 1 argument, not 2"),
            ("select * from t tablesample system (101)", "REFUSED 2202H sample percentage must be between 0 and 100"),
            ("select * from t tablesample bernoulli (-0.1)", "REFUSED 2202H sample percentage must be between 0 and 100"),
            ("select * from t tablesample bernoulli (1e400)", "REFUSED 2202H"),
            ("select * from t tablesample system (null)", "REFUSED 2202H TABLESAMPLE parameter cannot be null"),
            ("select * from t tablesample system (1) repeatable (null)", "REFUSED 2202G TABLESAMPLE REPEATABLE parameter cannot be null"),
            ("select * from t tablesample system ($1)", "REFUSED 0A000 TABLESAMPLE with a percentage that is not a number"),
            ("select * from t tablesample system ('1')", "REFUSED 0A000 TABLESAMPLE with a percentage that is not a number"),
            ("select * from t tablesample system ((select 1))", "REFUSED 0A000 TABLESAMPLE with a percentage that is not a number"),
            ("select * from t tablesample system (pg_sleep(1))", "REFUSED 0A000 TABLESAMPLE with a percentage that is not a number"),
            ("select * from t tablesample system ((select n from nowhere))", "REFUSED 42P01 relation \"nowhere\" does not exist"),
            ("select * from t tablesample system (1) repeatable (amount)", "REFUSED 0A000 REPEATABLE of a seed that is not a number"),
            (
                "select * from m tablesample system (1) repeatable (1)",
                "REFUSED 0A000 REPEATABLE over s.m, whose primary key is not shown, is not",
            ),
            ("select * from nowhere tablesample system (1)", "REFUSED 42P01 relation \"nowhere\" does not exist"),
            (
                "with x as (table t) select * from x tablesample system (1)",
                "REFUSED 0A000 TABLESAMPLE clause can only be applied to tables",
            ),
            ("select * from pgwicket.relations tablesample system (1)", "REFUSED 0A000 TABLESAMPLE clause can only be applied to tables"),
            ("select * from pg_class tablesample system (1)", "REFUSED 0A000 TABLESAMPLE of the catalog is not supported"),
        ] {
            let answer = governed(text);
            assert!(answer.starts_with(refusal), "{text}: {answer}");
        }
    }
}
