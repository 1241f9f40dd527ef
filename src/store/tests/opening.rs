//! Opening, migrating, losing and finding the database again.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

on_both!(
    several_open_a_new_store_at_once,
    what_is_stored_is_there_after_opening_again,
    a_newer_store_is_refused,
    a_caller_may_go_away,
    a_store_is_used_from_any_runtime,
);

async fn several_open_a_new_store_at_once(bench: Arc<Bench>) {
    let fresh = bench.fresh();
    let tasks = (0..8).map(|_| {
        let location = fresh.clone();
        tokio::spawn(async move { Store::open(&location).await.unwrap() })
    });
    let mut stores = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        stores.push(task.await.unwrap());
    }
    let content = Content::of(proposal(&["1"]));
    stores[0].create(content.clone(), None, NOW).await.unwrap();
    for store in stores {
        store.check().await.unwrap();
        assert!(store.proposal(content.proposal().id).await.unwrap().is_some());
    }
}

async fn what_is_stored_is_there_after_opening_again(bench: Arc<Bench>) {
    let record = bench.approved(&["1"]).await;
    let second = Store::open(&bench.location).await.unwrap();
    assert_eq!(second.proposal(record.id()).await, Ok(Some(record)));
}

async fn a_newer_store_is_refused(bench: Arc<Bench>) {
    bench.sql("INSERT INTO store_versions (version) SELECT 1000 WHERE $1 <> ''", "x").await;
    let refused = Store::open(&bench.location).await.unwrap_err();
    assert_eq!(refused, StoreError::Newer { found: 1000, known: 4 });
    assert_eq!(refused.to_string(), "the store is of version 1000, this pgwicket knows up to 4: use the newer pgwicket");
}

async fn a_caller_may_go_away(bench: Arc<Bench>) {
    let content = Content::of(proposal(&["1"]));
    let (store, sent) = (bench.store.clone(), content.clone());
    let gone = tokio::spawn(async move { store.create(sent, None, NOW).await.map(drop) });
    tokio::task::yield_now().await;
    gone.abort();
    drop(gone.await);
    // What was begun is done whole; the next call is not disturbed.
    let created = bench.store.create(content, None, NOW).await.unwrap();
    assert_eq!(created.record.status, Status::Pending);
}

async fn a_store_is_used_from_any_runtime(bench: Arc<Bench>) {
    let threads = (0..3).map(|number| {
        let store = bench.store.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let content = Content::of(proposal(&[&number.to_string()]));
            runtime.block_on(store.create(content, None, NOW)).unwrap()
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        assert!(!thread.join().unwrap().repeated);
    }
}

#[test]
fn a_file_is_its_owners_alone_and_outlives_every_commit() {
    run(sqlite(), async |bench| {
        let Location::Sqlite(directory) = &bench.location else { panic!("SQLite") };
        bench.propose(&["1"]).await;
        for suffix in ["", "-wal", "-shm"] {
            let file = std::fs::metadata(directory.join(format!("pgwicket-state.db{suffix}"))).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600, "{suffix}");
        }
        for (pragma, expected) in [("journal_mode", "wal"), ("synchronous", "2"), ("foreign_keys", "1"), ("busy_timeout", "5000")] {
            assert_eq!(bench.pragma(pragma).await, expected, "{pragma}");
        }
        // Its owner opens it to a group, for a worker that is another user; to all it is not opened.
        let file = directory.join("pgwicket-state.db");
        for (given, kept) in [(0o660, 0o660), (0o666, 0o600), (0o640, 0o600), (0o777, 0o600)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(given)).unwrap();
            drop(Store::open(&bench.location).await.unwrap());
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, kept, "{given:o}");
        }
        let nowhere = Store::open(&Location::Sqlite("/proc/none/state.db".into())).await.unwrap_err();
        assert!(nowhere.to_string().starts_with("the store cannot be opened: /proc/none/state.db: "), "{nowhere}");
    });
}

#[test]
fn a_server_that_comes_back_is_used_again() {
    let server = Arc::new(Server::start("fsync = off\n"));
    let location = Location::Postgres(Secret::new(server.database("store")));
    let opened = async {
        let store = Store::open(&location).await.unwrap();
        Bench { store, location: location.clone(), directory: None, server: Some(Arc::clone(&server)) }
    };
    run(opened, async |bench| {
        let record = bench.approved(&["1"]).await;
        for mode in ["fast", "immediate"] {
            server.stop(mode);
            let (content, app) = (Content::of(proposal(&["2"])), [source("app")]);
            let (created, checked, claimed) =
                tokio::join!(bench.store.create(content, None, NOW), bench.store.check(), bench.store.claim("worker-1", &app, LEASE, NOW),);
            for error in [created.unwrap_err(), checked.unwrap_err(), claimed.unwrap_err()] {
                assert!(error.is_retryable(), "{error}");
            }
            server.boot();
            assert_eq!(bench.store.proposal(record.id()).await, Ok(Some(record.clone())));
            bench.propose(&["3"]).await;
        }
    });
}

#[test]
fn a_url_is_never_in_an_error() {
    let opened = async { sqlite().await };
    run(opened, async |_| {
        for url in ["postgresql://me:hunter2@127.0.0.1:1/none", "postgresql://me:hunter2@[/none", "hunter2", "mysql://me:hunter2@h/d"] {
            let error = Store::open(&Location::Postgres(Secret::new(url))).await.unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    });
}

/// What is stored in a file that is not at its path any more is lost at the next start: nothing is acknowledged then.
#[test]
fn a_file_that_was_removed_or_replaced_is_noticed_at_once() {
    for replaced in [false, true] {
        run(sqlite(), async |bench| {
            let Location::Sqlite(path) = &bench.location else { panic!("not SQLite") };
            let path = &if path.is_dir() { path.join("pgwicket-state.db") } else { path.clone() };
            bench.store.create(Content::of(proposal(&["1"])), None, NOW).await.unwrap();
            bench.store.check().await.unwrap();
            if replaced {
                let copy = path.with_extension("copy");
                std::fs::copy(path, &copy).unwrap();
                std::fs::rename(&copy, path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
            let told = |refused: StoreError| assert!(refused.to_string().contains("removed or replaced"), "{refused}");
            told(bench.store.check().await.unwrap_err());
            told(bench.store.create(Content::of(proposal(&["2"])), None, NOW).await.unwrap_err());
            told(bench.store.keys().await.unwrap_err());
        });
    }
}
