//! TABLESAMPLE draws from the agent's own rows: all of them, none of them, about as many as asked for, and with a seed the same ones.

use std::collections::BTreeSet;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::{AGENT, Cluster, Login, Pgwicket, block_on};

/// A statement's first column, or its SQLSTATE and message.
async fn ask(client: &Client, text: &str) -> Result<Vec<String>, String> {
    let reply = client.simple_query(text).await.map_err(|error| {
        let error = error.as_db_error().unwrap_or_else(|| panic!("{text}: {error}"));
        format!("{} {}", error.code().code(), error.message())
    })?;
    let rows = reply.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { row.get(0) } else { None });
    Ok(rows.map(str::to_owned).collect())
}

fn both(then: impl AsyncFnOnce(&Client, &Client)) {
    let pgwicket = Pgwicket::start(&Cluster::desk());
    let connect = async |login: &Login| {
        let (client, connection) = login.config().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    block_on(async {
        let (direct, through) = (connect(&Cluster::tenant_copy().login(AGENT)).await, connect(&pgwicket.login()).await);
        then(&direct, &through).await;
    });
}

#[test]
fn a_sample_of_all_or_of_nothing_is_what_a_tenant_only_copy_gives() {
    both(async |direct, through| {
        for text in [
            "select id from tickets tablesample bernoulli (100) where id < 900 order by id",
            "select id from tickets as t (n) tablesample system (100.0) repeatable (7) where n < 100 order by id",
            "select t.n from tickets as t (n) tablesample system (1e2) repeatable (-7) where n < 100 order by 1",
            "select id from only external_support.tickets tablesample pg_catalog.system (100) where id < 900 order by id",
            "select count(*) from tickets tablesample system (0)",
            "select count(*) from tickets tablesample bernoulli (0.0) repeatable (1)",
            "select c.id from customers c tablesample bernoulli (100) left join tickets t tablesample system (0) on t.customer_id = c.id order by 1",
            "select c.id from customers c where exists (select from tickets t tablesample system (100) where t.customer_id = c.id) order by 1",
            "with s as (select * from tickets tablesample system (100) where amount > 5 and id < 900) select s.id, secret ~ 'x' from s order by 1",
            "select (select count(*) from orders tablesample system (100) where customer_id = c.id) from customers c order by c.id",
            "select id from tickets tablesample system (100) where 'x' ~ secret or id < 50 order by id",
            "select count(*) from tickets tablesample system (100.001)",
            "select count(*) from tickets tablesample bernoulli (-1)",
            "select count(*) from tickets tablesample bernoulli (null)",
            "select count(*) from tickets tablesample bernoulli (1) repeatable (null)",
            "select count(*) from tickets tablesample bernoulli (1, 2)",
            "select count(*) from tickets tablesample system_rows (1)",
            "with s as (select 1) select * from s tablesample system (1)",
        ] {
            let (expected, seen) = (ask(direct, text).await, ask(through, text).await);
            assert_eq!(expected, seen, "{text}");
        }
        let prepared = through.prepare("select id from tickets tablesample system (100) where id < $1 order by id").await.unwrap();
        let expected = ask(direct, "select id from tickets where id < 60 order by id").await.unwrap();
        for _ in 0..2 {
            let rows = through.query(&prepared, &[&60_i64]).await.unwrap();
            assert_eq!(rows.iter().map(|row| row.get::<_, i64>(0).to_string()).collect::<Vec<_>>(), expected);
        }
    });
}

#[test]
fn a_sample_of_half_is_about_half_of_the_own_rows() {
    both(async |direct, through| {
        let all: BTreeSet<String> = ask(direct, "select id from tickets where id < 1800").await.unwrap().into_iter().collect();
        let half = all.len() * 2 / 5..all.len() * 3 / 5;
        let mut drawn = BTreeSet::new();
        for sample in ["bernoulli (50)", "system (50)", "bernoulli (50)", "bernoulli (50) repeatable (1)", "system (50) repeatable (2)"] {
            let text = format!("select id from tickets tablesample {sample} where id < 1800");
            let rows: BTreeSet<String> = ask(through, &text).await.unwrap().into_iter().collect();
            assert!(rows.is_subset(&all), "{text}");
            assert!(half.contains(&rows.len()), "{text}: {} of {}", rows.len(), all.len());
            assert!(drawn.insert(rows.clone()), "{text}: another draw of the same rows");
            let again: BTreeSet<String> = ask(through, &text).await.unwrap().into_iter().collect();
            assert_eq!(rows == again, text.contains("repeatable"), "{text}");
        }
        // The larger of two samples of one seed holds the smaller, and both methods draw alike.
        let ids = async |sample: &str| {
            ask(through, &format!("select id from tickets tablesample {sample} where id < 1800 order by id")).await.unwrap()
        };
        let (small, large) = (ids("system (5) repeatable (3)").await, ids("bernoulli (20) repeatable (3)").await);
        assert!(!small.is_empty() && small.iter().all(|id| large.contains(id)) && small.len() < large.len());
    });
}

#[test]
fn a_sample_is_drawn_once_however_often_it_is_read() {
    both(async |_, through| {
        // Every row of the outer relation meets the same sample, as in PostgreSQL, whatever joins them.
        for text in [
            "select count(distinct n) from (select (select count(*) from tickets t tablesample bernoulli (50) where t.id > c.id * 0) n from customers c) x",
            "select count(distinct n) from (select c.id, count(t.id) n from customers c cross join tickets t tablesample system (50) group by 1) x",
            "select count(distinct n) from customers c, lateral (select count(*) n from tickets t tablesample system (50) where t.id <> -c.id) l",
        ] {
            assert_eq!(ask(through, text).await.unwrap(), ["1"], "{text}");
        }
    });
}
