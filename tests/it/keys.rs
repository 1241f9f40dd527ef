//! Keys and names of every kind, from the agent's statement to the changed row: a composite key of text and uuid, names with
//! quotes, spaces and letters beyond ASCII.

use pgwicket::{
    proposal::{Approval, Decider, Decision, Status},
    store::{Location, Store},
    types::ProposalId,
};

use crate::support::{Cluster, PASSWORD, Pgwicket, Worker};

const POLICY: &str = r#"
sources: { app_postgres: { kind: postgres, url: "env:APP_POSTGRES_URL", ssl: disable } }
schemas:
  "Odd Schema":
    source: app_postgres
    relations:
      'the "table"':
        from: 'public."Wörter ""x"""'
        tenant_column: "Tenant Id"
        columns: ["Key A", "key-b", "Wert ä", select, flag]
        writes: { update: ["Wert ä", select, flag], insert: ["Key A", "key-b", "Wert ä", select], delete: true }
agents: { support_agent: { auth: { scram: "env:SUPPORT_AGENT_PASSWORD" }, tenant: acme, schemas: ["Odd Schema"] } }
reviewers: { sam: {} }
approvals: { rules: [{ relations: ["Odd Schema.*"], operations: [insert, update, delete], reviewers: [sam] }] }
"#;

const TABLE: &str = r#"
create table "Wörter ""x""" ("Key A" text, "key-b" uuid, "Tenant Id" text not null, "Wert ä" numeric(20,5), "select" text, flag boolean default true,
    hidden text, primary key ("key-b", "Key A"));
insert into "Wörter ""x""" values
    ('a''b"c', '00000000-0000-0000-0000-000000000001', 'acme', 1.5, 'x', true, 'h'),
    ('a''b"c', '00000000-0000-0000-0000-000000000002', 'acme', null, null, null, 'h'),
    ('z', '00000000-0000-0000-0000-000000000003', 'acme', 3, 'gone', false, 'h'),
    ('a''b"c', '00000000-0000-0000-0000-000000000009', 'globex', 9, 'theirs', true, 'h');
"#;

const WRITES: [&str; 4] = [
    r#"update "Odd Schema"."the ""table""" set "Wert ä" = coalesce("Wert ä", 0) + 0.00001, "select" = 'ü "q" ''s''' where "Key A" = 'a''b"c'"#,
    r#"delete from "the ""table""" where "key-b" = '00000000-0000-0000-0000-000000000003'"#,
    r#"insert into "the ""table""" ("key-b", "Key A", "select") values ('00000000-0000-0000-0000-000000000004', '', null)"#,
    r#"insert into "the ""table""" ("key-b", "Key A", "Wert ä") values ('00000000-0000-0000-0000-000000000005', 'n', 5)
       on conflict ("Key A", "key-b") do update set "Wert ä" = excluded."Wert ä""#,
];

#[test]
fn any_key_and_any_name_from_statement_to_row() {
    let database = Cluster::empty("reader_of_keys");
    let writer = format!("writer_of_{}", database.name);
    database.sql(&format!("create role reader_of_keys login password '{PASSWORD}'; create role {writer} login password '{PASSWORD}'"));
    database.sql(TABLE);
    database.sql(&format!(
        r#"grant select on "Wörter ""x""" to reader_of_keys; grant select, insert, update, delete on "Wörter ""x""" to {writer}"#
    ));
    database.sql(&pgwicket::source::migration(pgwicket::source::RECEIPTS_SCHEMA, Some(&writer)));
    let pgwicket = Pgwicket::start_with(&database, POLICY);
    let mut wire = pgwicket.login().wire().unwrap();
    let ids: Vec<ProposalId> = WRITES
        .iter()
        .map(|text| {
            let answer = wire.simple(text).unwrap();
            let error = answer.iter().find(|message| message.tag == b'E').unwrap();
            let detail = error.field('D').unwrap_or_else(|| panic!("{text}: {:?}", error.field('M')));
            let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
            detail["proposal_id"].as_str().unwrap().parse().unwrap()
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(Store::open(&Location::Sqlite(pgwicket.store()))).unwrap();
    for id in &ids {
        let digest = runtime.block_on(store.proposal(*id)).unwrap().unwrap().content.digest();
        let decider = Decider::ApiKey { reviewer: "sam".parse().unwrap(), key: "key_1".into() };
        let at = crate::worker::now();
        let approval = Approval { decision: Decision::Approve, decider, digest, reason: None, at, until: None, revoked: false };
        runtime.block_on(store.decide(*id, approval, 1, crate::worker::now())).unwrap();
    }
    let arguments = ["--sources", "app_postgres=env:WRITE_URL", "--poll", "20", "--name", "keys", "--policies"];
    let policies = pgwicket.policies().display().to_string();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).chain([policies]).collect();
    let environment = [("PGWICKET_STORE", pgwicket.store().display().to_string()), ("WRITE_URL", database.login(&writer).url())];
    let _worker = Worker::start(&pgwicket.store().with_file_name("worker.log"), &arguments, &environment);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    for id in &ids {
        loop {
            let record = runtime.block_on(store.proposal(*id)).unwrap().unwrap();
            if record.status == Status::Applied {
                break;
            }
            let open = matches!(record.status, Status::Approved | Status::Applying) && std::time::Instant::now() < deadline;
            assert!(open, "{} is {}: {:?}", record.content.proposal().statement, record.status, record.result);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let rows = database
        .sql(r#"select "Key A", right("key-b"::text, 1), "Tenant Id", "Wert ä", "select", flag, hidden from "Wörter ""x""" order by 2"#);
    assert_eq!(
        rows.trim(),
        "a'b\"c|1|acme|1.50001|ü \"q\" 's'|t|h\na'b\"c|2|acme|0.00001|ü \"q\" 's'||h\n|4|acme|||t|\nn|5|acme|5.00000||t|\na'b\"c|9|globex|9.00000|theirs|t|h"
    );
}
