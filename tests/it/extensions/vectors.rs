//! pgvector, where it is installed: answers as on PostgreSQL, and a search that is exact whatever index there is.

use pgwicket::policy::PolicySet;

use super::{answer, error};
use crate::support::{Cluster, Database, Pgwicket, governed, run};

const POLICY: &str = "
sources:
  app_postgres: { kind: postgres, url: \"env:APP_POSTGRES_URL\", ssl: disable }
schemas:
  external_support:
    source: app_postgres
    relations:
      items:
        from: public.items
        tenant_column: tenant_id
        columns: [id, embedding, half, title]
        primary_key: [id]
        writes: { update: [embedding], insert: [id, embedding, title], max_rows: 5 }
agents:
  support_agent: { auth: { scram: \"env:SUPPORT_AGENT_PASSWORD\" }, tenant: acme, schemas: [external_support] }
";

const STATEMENTS: [&str; 31] = [
    "select id from items order by embedding <-> '[1,2,3]', id limit 10",
    "select id from items order by embedding <=> '[1,2,3]'::vector, id limit 10",
    "select id from items order by embedding <#> '[1,2,3]'::vector(3), id limit 10",
    "select id from items order by embedding <+> '[1,2,3]', id limit 10",
    "select id, embedding <-> '[1,2,3]' as distance from items order by distance, id limit 10",
    "select id, 1 - (embedding <=> '[1,2,3]') from items where embedding <-> '[1,2,3]' < 5 order by id",
    "select id from items where embedding = '[1,2,3]'",
    "select id from items where embedding in ('[1,2,3]', '[2,4,5]') order by id",
    "select id from items where embedding <> '[1,2,3]' order by id limit 5",
    "select id from items order by half <-> '[1,2,3]', id limit 10",
    "select id from items order by embedding::halfvec(3) <-> '[1,2,3]', id limit 10",
    "select id from items order by half::vector <-> embedding, id limit 10",
    "select avg(embedding), sum(embedding), avg(half) from items",
    "select id, vector_dims(embedding), vector_norm(embedding), l2_normalize(embedding), subvector(embedding, 1, 2) from items order by id limit 5",
    "select id, l2_distance(embedding, '[1,2,3]'), cosine_distance(embedding, '[1,2,3]'), inner_product(embedding, '[1,2,3]') from items order by id",
    "select id, embedding + '[1,1,1]', embedding * '[2,2,2]', embedding - '[1,1,1]', embedding || '[9]' from items order by id limit 5",
    "select id, embedding::real[], array[1, 2, 3]::vector, embedding::text from items order by id limit 5",
    "select id, binary_quantize(embedding) <~> b'101' from items order by id limit 5",
    "select '{1:1,3:2}/5'::sparsevec <-> '{1:2}/5'",
    "select embedding, count(*) from items group by embedding order by embedding limit 5",
    "select distinct embedding from items order by embedding desc limit 5",
    "select a.id, b.id from items a join items b using (embedding) order by 1, 2 limit 5",
    "select id from items where embedding <-> (select embedding from items where id = 3) < 2 order by id",
    "select i.id, n.id from items i, lateral (select id from items j where j.id <> i.id order by j.embedding <-> i.embedding, j.id limit 1) n order by 1 limit 5",
    "with q as (select '[3,2,1]'::vector as v) select id from items, q order by embedding <-> q.v, id limit 5",
    "select id from items order by embedding <-> '[1,2]' limit 1",
    "select '[1,2]'::vector(3)",
    "select 'x'::vector",
    "select id from items where embedding between '[0,0,0]' and '[9,9,9]' order by id",
    "select id from items where embedding is distinct from '[1,2,3]' order by id limit 3",
    "select case embedding when '[1,2,3]' then 'y' else 'n' end from items order by id limit 3",
];

/// Nothing where pgvector is not installed: Debian 12 has no package of it (`scripts/versions` runs this on 16 and 18).
fn source() -> Option<Database> {
    let source = Cluster::fresh_desk();
    if source.sql("select count(*) from pg_available_extensions where name = 'vector'").trim() == "0" {
        eprintln!("pgvector is not installed here: nothing was looked at");
        return None;
    }
    source.sql(
        "create schema extensions; grant usage on schema extensions to public; create extension vector schema extensions; \
         set search_path = public, extensions; \
         create table items (id integer primary key, tenant_id text not null, embedding vector(3), half halfvec(3), title text); \
         insert into items select n, case when n % 3 = 0 then 'globex' else 'acme' end, \
           format('[%s,%s,%s]', n % 7, n % 11, n % 13)::vector, format('[%s,%s,%s]', n % 5, n % 3, n % 2)::halfvec, 'item ' || n \
         from generate_series(1, 3000) n; \
         create index items_embedding on items using hnsw (embedding vector_l2_ops); analyze items; \
         grant select on items to pgwicket_reader",
    );
    Some(source)
}

#[test]
fn vectors_answer_as_on_postgresql() {
    let (Some(source), Some(copy)) = (source(), source()) else { return };
    source.sql("delete from items where id > 300");
    copy.sql(
        "set search_path = public, extensions; create schema external_support; grant usage on schema external_support to public; \
         create table external_support.items as select id, embedding, half, title from items where tenant_id = 'acme' and id <= 300 order by id; \
         drop table public.items; grant select on external_support.items to pgwicket_reader",
    );
    let pgwicket = Pgwicket::start_with(&source, POLICY);
    let (mut direct, mut through) = (copy.login("pgwicket_reader").wire().unwrap(), pgwicket.login().wire().unwrap());
    direct.simple("set search_path = external_support, extensions").unwrap();
    let mut failed = 0;
    for text in STATEMENTS {
        let (expected, seen) = (answer(&mut direct, text), answer(&mut through, text));
        let message = error(&through.simple(text).unwrap()).and_then(|error| error.field('M'));
        assert_eq!(expected, seen, "{text}: {message:?}");
        failed += usize::from(expected.is_err());
    }
    assert_eq!(failed, 3);
}

/// An index that orders by distance computes it on everybody's rows, and an approximate one gives fewer rows where another tenant's
/// are nearer. So a search is fenced: it is exact, over the tenant's rows, and uses the tenant's index.
#[test]
fn a_vector_search_goes_over_the_tenants_rows_and_no_others() {
    let Some(source) = source() else { return };
    source.sql("create index items_tenant on public.items (tenant_id)");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("policy.yaml"), POLICY).unwrap();
    let policy: PolicySet = governed::policy_at(&source, directory.path());
    for text in [
        "select id, title from items order by embedding <-> '[1,2,3]' limit 10",
        "select id, embedding <-> '[1,2,3]'::vector(3) as distance from items order by distance limit 10",
        "select id from items where embedding <-> '[1,2,3]' < 2 order by id",
    ] {
        let sent = governed::governed(&policy, "support_agent", text).unwrap();
        assert!(sent.fenced(), "{text}");
        let explain = format!(
            "set search_path = pg_catalog, extensions; set enable_seqscan = off; \
             prepare q(text) as {}; explain (costs off) execute q('acme')",
            sent.text()
        );
        let plan = run(source.psql().args(["-q", "-A", "-t", "-c", &explain])).ok();
        assert!(plan.contains("items_tenant") && !plan.contains("items_embedding"), "{text}\n{plan}");
    }
}
