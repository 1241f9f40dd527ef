//! A look at a source from time to time: whether it answers, whether its catalog is the one that was read, and which relations it
//! filters by rules of its own.

use super::{
    Connection, SourceAddress, SourceError,
    connect::{Connector, within},
    error::Step,
};

/// How long one look may take.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(20);

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Another digest, another catalog. It covers what the policy is compiled from: names, columns, types, keys, privileges.
    pub digest: Box<str>,
    /// Schema and name of the relations whose rows the source filters by row-level security.
    pub filtered: Vec<(String, String)>,
}

/// Connects, checks the session, looks, and goes away again.
///
/// # Errors
/// As connecting; [`SourceError::Startup`] when a query is refused.
pub async fn look(address: &SourceAddress<'_>) -> Result<Look, SourceError> {
    let mut connection = Connector::new(address)?.connect().await?;
    within(LIMIT, Step::Introspect, read(&mut connection)).await?
}

/// Looks on a connection that is there.
pub(super) async fn read(connection: &mut Connection) -> Result<Look, SourceError> {
    let digest = connection.query(DIGEST).await?.into_iter().flatten().next().flatten().unwrap_or_default();
    let filtered = connection.query(FILTERED).await?.into_iter().filter_map(|row| {
        let [schema, name] = <[Option<String>; 2]>::try_from(row).ok()?;
        Some((schema?, name?))
    });
    Ok(Look { digest: digest.into(), filtered: filtered.collect() })
}

/// The rows of the catalogs that the policy is compiled from, by version (`xmin`): any change to one is another digest. `pg_class`, which
/// ANALYZE changes too, is told by its columns; temporary relations, which come and go, are left out.
const DIGEST: &str = "
WITH r AS (
  SELECT c.* FROM pg_class c
  WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'c') AND c.relpersistence <> 't'
), n AS (
  SELECT oid, nspname FROM pg_namespace WHERE (oid >= 16384 OR nspname = 'public') AND nspname !~ '^pg_(toast|temp)'
)
SELECT md5(coalesce(string_agg(x, ',' ORDER BY x), '')) FROM (
  SELECT concat_ws('.', 'c', oid, relname, relnamespace, relkind, relrowsecurity, relispartition, relacl, has_table_privilege(oid, 'SELECT'))
    FROM r WHERE relkind <> 'c'
  UNION ALL SELECT concat_ws('.', 'a', a.attrelid, a.attnum, a.xmin) FROM pg_attribute a JOIN r ON r.oid = a.attrelid WHERE a.attnum > 0
  UNION ALL SELECT concat_ws('.', 't', t.oid, t.xmin) FROM pg_type t JOIN n ON n.oid = t.typnamespace
    WHERE t.oid >= 16384 AND t.typtype IN ('e', 'd', 'r', 'b') AND t.typcategory <> 'A'
  UNION ALL SELECT concat_ws('.', 'e', oid, xmin) FROM pg_enum
  UNION ALL SELECT concat_ws('.', 'n', oid, nspname, has_schema_privilege(oid, 'USAGE')) FROM n
  UNION ALL SELECT concat_ws('.', 'k', k.oid, k.xmin) FROM pg_constraint k JOIN r ON r.oid = k.conrelid WHERE k.contype IN ('p', 'f', 'u', 'x', 'c')
  UNION ALL SELECT concat_ws('.', 'i', i.indexrelid, i.xmin) FROM pg_index i JOIN r ON r.oid = i.indrelid WHERE i.indisunique OR i.indisexclusion
  UNION ALL SELECT concat_ws('.', 'g', g.oid, g.xmin) FROM pg_trigger g JOIN r ON r.oid = g.tgrelid WHERE NOT g.tgisinternal
  UNION ALL SELECT concat_ws('.', 'd', d.oid, d.xmin) FROM pg_attrdef d JOIN r ON r.oid = d.adrelid
  UNION ALL SELECT concat_ws('.', 'w', w.oid, w.xmin) FROM pg_rewrite w JOIN r ON r.oid = w.ev_class
  UNION ALL SELECT concat_ws('.', 'p', p.oid, p.xmin) FROM pg_proc p JOIN n ON n.oid = p.pronamespace WHERE p.oid >= 16384
  UNION ALL SELECT concat_ws('.', 'o', o.oid, o.xmin) FROM pg_operator o WHERE o.oid >= 16384
  UNION ALL SELECT concat_ws('.', 'm', oid, xmin) FROM pg_amop WHERE oid >= 16384
  UNION ALL SELECT concat_ws('.', 'x', oid, xmin) FROM pg_cast WHERE oid >= 16384
  UNION ALL SELECT concat_ws('.', 'y', oid, xmin) FROM pg_extension
) catalog (x)";

const FILTERED: &str = "
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relrowsecurity AND row_security_active(c.oid) ORDER BY 1, 2";
