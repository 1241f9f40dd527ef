//! What an agent meets when it writes: errors that name a proposal, the same one for a repeat, and its own in SQL.

use serde_json::Value as Json;
use tokio_postgres::{
    Client, SimpleQueryMessage,
    error::{DbError, SqlState},
    types::ToSql,
};

use crate::support::{Cluster, Login, Pgwicket, block_on, support_policy};

const UPDATE: &str = "update tickets set priority = 'proposed', amount = amount + 1 where id = 42";

#[test]
fn a_write_is_an_error_that_names_the_proposal_and_its_repeat_is_the_same() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let client = pgwicket.login().connect().await;
        let first = proposed(&client, UPDATE).await;
        assert!(
            first["proposal_id"].as_str().unwrap().starts_with("prop_") && first["rows"] == 1 && first["status"] == "pending",
            "{first}"
        );
        assert_eq!(proposed(&client, UPDATE).await["proposal_id"], first["proposal_id"], "the same pending change");
        let again = pgwicket.login().connect().await;
        assert_eq!(proposed(&again, UPDATE).await["proposal_id"], first["proposal_id"], "from another connection");
        let other = proposed(&client, "update tickets set priority = 'other' where id = 42").await;
        assert_ne!(other["proposal_id"], first["proposal_id"]);
        let listed = "select proposal_id, status, operation, evidence_id, conflicts_with from pgwicket.proposals order by created_at";
        let listed = rows(&client, listed).await;
        let ids: Vec<_> = listed.iter().map(|row| row[0].clone().unwrap()).collect();
        assert_eq!(ids, [first["proposal_id"].as_str().unwrap(), other["proposal_id"].as_str().unwrap()]);
        assert_eq!((listed[0][1].as_deref(), listed[0][2].as_deref()), (Some("pending"), Some("update")));
        assert_eq!(listed[0][3].as_deref(), first["evidence_id"].as_str());
        assert_eq!(listed[1][4].as_deref(), Some(&*format!("[{}]", first["proposal_id"])), "they are on one row");
        let changes = "select \"column\", before, after from pgwicket.proposal_changes where proposal_id = (select min(proposal_id) from pgwicket.proposals) order by 1";
        let changes = rows(&client, changes).await;
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[1][2].as_deref(), Some("proposed"));
        let theirs = Login { user: "globex_agent".to_owned(), ..pgwicket.login() }.connect().await;
        assert_eq!(
            rows(&theirs, "select count(*) from pgwicket.proposals").await[0][0].as_deref(),
            Some("0"),
            "another agent's are not seen"
        );
    });
}

#[test]
fn every_way_to_send_a_write_ends_as_a_proposal() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let client = pgwicket.login().connect().await;
        // Binary parameters, their types as the source has them.
        let statement = client.prepare("update tickets set subject = $1, tags = $2, rating_note = $3 where id = $4").await;
        assert_eq!(code(&statement.unwrap_err()), "42703", "an unknown column is known at Parse");
        let statement = client.prepare("update tickets set subject = $1, tags = $2, priority = $4 where id = $3").await.unwrap();
        let types: Vec<&str> = statement.params().iter().map(tokio_postgres::types::Type::name).collect();
        assert_eq!((types, statement.columns().len()), (vec!["text", "_text", "int8", "text"], 0));
        let tags = vec!["a", "b \"c\""];
        let parameters: [&(dyn ToSql + Sync); 4] = [&"bound", &tags, &42_i64, &None::<&str>];
        let error = client.execute(&statement, &parameters).await.unwrap_err();
        let detail = detail(error.as_db_error().unwrap());
        let changes = changes(&client, &detail).await;
        assert_eq!(changes[0]["after"], serde_json::json!({"subject": "bound", "tags": "{a,\"b \\\"c\\\"\"}", "priority": null}));
        let repeated = client.execute(&statement, &parameters).await.unwrap_err();
        assert_eq!(self::detail(repeated.as_db_error().unwrap())["proposal_id"], detail["proposal_id"]);
        let insert = client.prepare("insert into tickets (id, subject, amount) values ($1, $2, default)").await.unwrap();
        assert_eq!(insert.params().iter().map(tokio_postgres::types::Type::name).collect::<Vec<_>>(), ["int8", "text"]);
        assert_eq!(code(&client.execute(&insert, &[&900_001_i64, &"x"]).await.unwrap_err()), "25006");
        // PREPARE and EXECUTE, of a write and of a read.
        client.simple_query("prepare w (text) as update tickets set priority = $1 where id = $2").await.unwrap();
        let by_name = proposed(&client, "execute w ('by name', 43)").await;
        assert_eq!(self::changes(&client, &by_name).await[0]["after"]["priority"], "by name");
        client.simple_query("prepare r as select id from tickets where id = $1").await.unwrap();
        assert_eq!(rows(&client, "execute r (42)").await, [[Some("42".to_owned())]]);
        assert_eq!(rows(&client, "execute r (7777)").await.len(), 0, "another tenant's");
        assert_eq!(client.query("execute r (43)", &[]).await.unwrap()[0].get::<_, i64>(0), 43, "in the extended protocol, too");
        for (text, expected) in [
            ("execute r", "42601"),
            ("execute nothing", "26000"),
            ("execute r (1 + 1)", "0A000"),
            ("prepare r as select 1", "42P05"),
            ("prepare x as show all", "42601"),
            ("prepare x as select * from nowhere", "42P01"),
            ("prepare x as drop table tickets", "42601"),
        ] {
            assert_eq!(code(&client.simple_query(text).await.unwrap_err()), expected, "{text}");
        }
        client.simple_query("deallocate r").await.unwrap();
        assert_eq!(code(&client.simple_query("execute r (42)").await.unwrap_err()), "26000");
    });
}

#[test]
fn in_a_block_the_error_aborts_and_the_proposal_stays() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let client = pgwicket.login().connect().await;
        client.simple_query("begin; ").await.unwrap();
        rows(&client, "select id from tickets where id = 42").await;
        let stored = proposed(&client, UPDATE).await;
        assert_eq!(code(&client.simple_query("select 1").await.unwrap_err()), "25P02");
        client.simple_query("rollback").await.unwrap();
        client.simple_query("begin").await.unwrap();
        client.simple_query("savepoint s").await.unwrap();
        assert_eq!(proposed(&client, UPDATE).await["proposal_id"], stored["proposal_id"], "it stayed");
        client.simple_query("rollback to s").await.unwrap();
        assert_eq!(rows(&client, "select count(*) from pgwicket.proposals").await[0][0].as_deref(), Some("1"));
        client.simple_query("commit").await.unwrap();
    });
}

#[test]
fn a_key_makes_a_repeat_explicit_and_a_comment_says_why() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let client = pgwicket.login().connect().await;
        client.simple_query("set pgwicket.idempotency_key = 'job-7'").await.unwrap();
        let first = proposed(&client, UPDATE).await;
        assert_eq!(proposed(&client, UPDATE).await["proposal_id"], first["proposal_id"]);
        let other = "update tickets set priority = 'other' where id = 42";
        let reused = client.simple_query(other).await.unwrap_err();
        assert_eq!(code(&reused), "22023");
        assert!(reused.as_db_error().unwrap().message().contains(first["proposal_id"].as_str().unwrap()), "{reused}");
        let tagged = proposed(&client, &format!("{other} /* idempotency_key='job-8',reason='the%20customer%20asked' */")).await;
        let said = format!("select idempotency_key, reason from pgwicket.proposals where proposal_id = {}", tagged["proposal_id"])
            .replace('"', "'");
        assert_eq!(rows(&client, &said).await, [[Some("job-8".to_owned()), Some("the customer asked".to_owned())]]);
    });
}

#[test]
fn an_agent_takes_its_own_back_in_sql() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let mut client = pgwicket.login().connect().await;
        let mut ids = Vec::new();
        for id in 40..44 {
            let stored = proposed(&client, &format!("update tickets set priority = 'mine' where id = {id}")).await;
            ids.push(stored["proposal_id"].as_str().unwrap().to_owned());
        }
        let status = async |client: &Client, id: &str| {
            rows(client, &format!("select status from pgwicket.proposals where proposal_id = '{id}'")).await[0][0].clone().unwrap()
        };
        let one = client.prepare("delete from pgwicket.proposals where proposal_id = $1").await.unwrap();
        assert_eq!(one.params(), [tokio_postgres::types::Type::TEXT]);
        assert_eq!(client.execute(&one, &[&ids[0]]).await.unwrap(), 1);
        assert_eq!(status(&client, &ids[0]).await, "canceled");
        assert_eq!(client.execute(&one, &[&ids[0]]).await.unwrap(), 0, "it was canceled before");
        assert_eq!(client.execute(&one, &[&"prop_nothing"]).await.unwrap(), 0);
        // Another agent's are not there.
        let theirs = Login { user: "globex_agent".to_owned(), ..pgwicket.login() }.connect().await;
        assert_eq!(theirs.execute("delete from pgwicket.proposals", &[]).await.unwrap(), 0);
        assert_eq!(status(&client, &ids[1]).await, "pending");
        // With all that a DELETE has; in a block it holds at once, as a proposal does.
        let block = client.transaction().await.unwrap();
        let joined = "with p as (select proposal_id as id from pgwicket.proposal_changes where key ->> 'id' = '41') \
             delete from pgwicket.proposals as mine using p, tickets where mine.proposal_id = p.id";
        assert_eq!(block.execute(joined, &[]).await.unwrap(), 1);
        block.rollback().await.unwrap();
        assert_eq!(status(&client, &ids[1]).await, "canceled");
        let status_of = |expected: &str, text: &str, error: &tokio_postgres::Error| assert_eq!(code(error), expected, "{text}");
        for (text, expected) in [
            ("delete from pgwicket.proposals returning proposal_id", "0A000"),
            ("update pgwicket.proposals set status = 'approved'", "42501"),
            ("insert into pgwicket.proposals values ('x')", "42501"),
            ("delete from pgwicket.proposal_changes", "42501"),
            ("delete from pgwicket.proposals where tenant = 'globex'", "42703"),
            ("delete from pgwicket.proposals where proposal_id = (select pg_read_file('/etc/passwd'))", "42501"),
        ] {
            status_of(expected, text, &client.simple_query(text).await.unwrap_err());
        }
        // A write may ask for its proposer's own proposals.
        let written = "update tickets set priority = (select count(*)::text from pgwicket.proposals) where id = 42";
        let stored = proposed(&client, written).await;
        assert_eq!(changes(&client, &stored).await[0]["after"]["priority"], "4");
        assert_eq!(client.execute("delete from pgwicket.proposals where status = 'pending'", &[]).await.unwrap(), 3);
    });
}

#[test]
fn what_cannot_be_proposed_leaves_nothing() {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    block_on(async {
        let client = pgwicket.login().connect().await;
        for (text, expected) in [
            ("update tickets set priority = 'x'", "53400"),
            ("update tickets set priority = 'x' where id = 7777", "P0002"),
            ("update tickets set tenant_id = 'globex' where id = 42", "42703"),
            ("update tickets set internal_notes = 'x' where id = 42", "42703"),
            ("update tickets set id = 1 where id = 42", "42501"),
            ("update tickets set updated_at = now() where id = 42", "42501"),
            ("update orders set paid = true where id = 40", "25006"),
            ("update tickets set amount = 1 / 0 where id = 42", "22012"),
            ("update tickets set subject = pg_read_file('/etc/passwd') where id = 42", "42501"),
            ("insert into tickets (id, tenant_id) values (1, 'globex')", "42703"),
            ("update tickets set amount = $1 where id = 42", "42P02"),
            ("with gone as (delete from tickets where id = 42 returning id) select * from gone", "25006"),
            ("explain analyze update tickets set priority = 'x' where id = 42", "25006"),
            ("truncate tickets", "25006"),
            ("copy tickets from stdin", "25006"),
        ] {
            assert_eq!(code(&client.simple_query(text).await.unwrap_err()), expected, "{text}");
        }
        assert_eq!(rows(&client, "select count(*) from pgwicket.proposals").await[0][0].as_deref(), Some("0"));
    });
}

#[test]
fn a_client_that_cannot_bear_an_error_gets_a_notice() {
    let policy = support_policy().replacen("          delete: true\n", "          delete: true\n          on_write: notice\n", 1);
    let pgwicket = Pgwicket::start_with(&Cluster::desk(), &policy);
    let mut wire = pgwicket.login().wire().unwrap();
    let answer = wire.simple(UPDATE).unwrap();
    let notice = answer.iter().find(|message| message.tag == b'N').expect("no NOTICE");
    assert_eq!(notice.field('V').as_deref(), Some("NOTICE"));
    assert!(notice.field('M').is_some_and(|text| text.contains("stored as proposal prop_")), "{:?}", notice.field('M'));
    let tags: Vec<_> = answer.iter().filter(|message| message.tag == b'C').map(|message| message.body.clone()).collect();
    assert_eq!(tags, [b"UPDATE 1\0"]);
    let none = wire.simple("delete from tickets where id = 7777").unwrap();
    assert!(none.iter().any(|message| message.tag == b'C' && message.body == b"DELETE 0\0"));
    let returning = wire.simple(&format!("{UPDATE} returning id")).unwrap();
    let error = returning.iter().find(|message| message.tag == b'E').expect("RETURNING was answered");
    assert_eq!(error.field('C').as_deref(), Some("0A000"));
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("", SqlState::code)
}

fn detail(error: &DbError) -> Json {
    assert_eq!(error.code().code(), "25006", "{error}");
    serde_json::from_str(error.detail().unwrap_or_else(|| panic!("no detail: {error}"))).unwrap()
}

async fn proposed(client: &Client, text: &str) -> Json {
    let error = client.simple_query(text).await.unwrap_err();
    detail(error.as_db_error().unwrap_or_else(|| panic!("{text}: {error}")))
}

async fn changes(client: &Client, proposal: &Json) -> Json {
    let id = proposal["proposal_id"].as_str().unwrap();
    let found = rows(client, &format!("select changes from pgwicket.proposals where proposal_id = '{id}'")).await;
    serde_json::from_str(found[0][0].as_deref().unwrap()).unwrap()
}

async fn rows(client: &Client, text: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    let row = |message: &SimpleQueryMessage| {
        if let SimpleQueryMessage::Row(row) = message {
            return Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect());
        }
        None
    };
    messages.iter().filter_map(row).collect()
}
