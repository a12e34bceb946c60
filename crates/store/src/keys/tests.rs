//! Keys are kept, found, listed and revoked.

use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use super::*;

fn key(id: &str, seconds: u64) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        principal: "alice".to_owned(),
        roles: vec!["reader".to_owned(), "writer".to_owned()],
        hash: [7; 32],
        created_at: UNIX_EPOCH + Duration::from_secs(seconds),
        expires_at: Some(UNIX_EPOCH + Duration::from_secs(seconds + 60)),
        revoked_at: None,
        note: "laptop".to_owned(),
    }
}

#[tokio::test]
async fn a_key_is_kept_found_and_revoked_once() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    assert!(!store.has_keys().unwrap());
    store.put_key(key("b", 1)).await.unwrap();
    store
        .put_key(KeyRow {
            expires_at: None,
            ..key("a", 2)
        })
        .await
        .unwrap();
    assert!(store.has_keys().unwrap());
    assert_eq!(store.get_key("b").unwrap(), Some(key("b", 1)));
    assert_eq!(store.get_key("c").unwrap(), None);

    let at = UNIX_EPOCH + Duration::from_secs(9);
    for id in ["a", "b"] {
        assert!(store.revoke_key(id, at).await.unwrap());
    }
    assert!(
        store
            .revoke_key("b", at + Duration::from_secs(1))
            .await
            .unwrap()
    );
    assert!(!store.revoke_key("c", at).await.unwrap());
    let listed = store.list_keys().unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|key| (&*key.id, key.revoked_at))
            .collect::<Vec<_>>(),
        [("b", Some(at)), ("a", Some(at))]
    );
    assert!(store.has_keys().unwrap(), "revoked ones count");
}

#[tokio::test]
async fn a_change_that_fails_takes_nobody_elses_with_it() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    store.put_key(key("a", 1)).await.unwrap();
    let (twice, other) = tokio::join!(store.put_key(key("a", 2)), store.put_key(key("b", 2)));
    assert!(matches!(twice, Err(Error::Database(_))));
    other.unwrap();
    assert_eq!(store.get_key("a").unwrap(), Some(key("a", 1)));
    assert_eq!(store.get_key("b").unwrap(), Some(key("b", 2)));
}
