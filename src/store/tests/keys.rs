//! API keys.

use super::*;
use crate::store::NewKey;

on_both!(a_key_is_found_by_its_hash_until_it_is_revoked);

async fn a_key_is_found_by_its_hash_until_it_is_revoked(bench: Arc<Bench>) {
    let key = |name: &str, hash: u8, reviewer: Option<&str>| NewKey {
        name: name.into(),
        scopes: vec!["proposals:read".into(), "proposals:approve".into()],
        reviewer: reviewer.map(|name| name.parse().unwrap()),
        sources: if reviewer.is_none() { vec![source("app"), source("an odd, name")] } else { Vec::new() },
        secret_hash: Digest([hash; 32]),
    };
    let alice = bench.store.create_key(&key("alice's laptop", 1, Some("alice")), NOW).await.unwrap();
    let worker = bench.store.create_key(&key("worker", 2, None), NOW + 1).await.unwrap();
    assert_ne!(alice.id, worker.id);
    assert_eq!((worker.sources.len(), alice.sources.len()), (2, 0));
    assert_eq!((alice.scopes.len(), &*alice.scopes[1], alice.created_at), (2, "proposals:approve", NOW));
    assert_eq!(bench.store.create_key(&key("again", 1, None), NOW + 2).await, Ok(alice.clone()));
    assert_eq!(bench.store.key_by_hash(Digest([1; 32])).await, Ok(Some(alice.clone())));
    assert_eq!(bench.store.key_by_hash(Digest([3; 32])).await, Ok(None));
    let revoked = bench.store.revoke_key(&alice.id, NOW + 3).await.unwrap().unwrap();
    assert_eq!(revoked.revoked_at, Some(NOW + 3));
    assert_eq!(bench.store.key_by_hash(Digest([1; 32])).await, Ok(None));
    assert_eq!(bench.store.revoke_key(&alice.id, NOW + 4).await, Ok(Some(revoked.clone())));
    assert_eq!(bench.store.revoke_key("key_none", NOW).await, Ok(None));
    assert_eq!(bench.store.keys().await, Ok(vec![worker, revoked]));
}
