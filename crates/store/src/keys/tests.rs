//! Keys are kept, found, listed and revoked.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn key(id: &str, seconds: u64) -> KeyRow {
    KeyRow {
        id: id.to_owned(),
        principal: "alice".to_owned(),
        roles: vec!["reader".to_owned(), "writer".to_owned()],
        scopes: Some("mcp:tools".to_owned()),
        hash: [7; 32],
        hash_kind: KeyHashKind::Plain,
        created_at: UNIX_EPOCH + Duration::from_secs(seconds),
        expires_at: Some(UNIX_EPOCH + Duration::from_secs(seconds + 60)),
        revoked_at: None,
        last_used_at: None,
        rotated_from: None,
        note: "laptop".to_owned(),
    }
}

#[tokio::test]
async fn a_key_is_kept_found_and_revoked_once() {
    for home in Home::both() {
        let store = home.open();
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
}

#[tokio::test]
async fn a_change_that_fails_takes_nobody_elses_with_it() {
    for home in Home::both() {
        let store = home.open();
        store.put_key(key("a", 1)).await.unwrap();
        let (twice, other) = tokio::join!(store.put_key(key("a", 2)), store.put_key(key("b", 2)));
        assert!(matches!(twice, Err(Error::Database(_))));
        other.unwrap();
        assert_eq!(store.get_key("a").unwrap(), Some(key("a", 1)));
        assert_eq!(store.get_key("b").unwrap(), Some(key("b", 2)));
    }
}

#[tokio::test]
async fn a_rotated_key_ends_soon_and_one_that_is_revoked_or_replaced_is_not_rotated() {
    for home in Home::both() {
        let store = home.open();
        store.put_key(key("a", 100)).await.unwrap();
        let soon = UNIX_EPOCH + Duration::from_secs(120);
        let next = KeyRow {
            rotated_from: Some("a".to_owned()),
            ..key("b", 101)
        };
        let rotated = store.rotate_key("a", next.clone(), soon).await.unwrap();
        assert_eq!(rotated, KeyRotation::Rotated);
        assert_eq!(store.get_key("b").unwrap(), Some(next));
        assert_eq!(store.get_key("a").unwrap().unwrap().expires_at, Some(soon));

        let later = soon + Duration::from_secs(9);
        let again = store.rotate_key("a", key("c", 102), later).await.unwrap();
        assert_eq!(again, KeyRotation::Replaced("b".to_owned()));
        assert_eq!(store.get_key("c").unwrap(), None);

        // What ends earlier than that stays as it is.
        store.put_key(key("early", 10)).await.unwrap();
        let heir = KeyRow {
            rotated_from: Some("early".to_owned()),
            ..key("heir", 11)
        };
        let rotated = store.rotate_key("early", heir, later).await.unwrap();
        assert_eq!(rotated, KeyRotation::Rotated);
        let early = store.get_key("early").unwrap().unwrap();
        assert_eq!(early.expires_at, key("early", 10).expires_at);

        store.revoke_key("b", soon).await.unwrap();
        let revoked = store.rotate_key("b", key("d", 103), later).await.unwrap();
        assert_eq!(revoked, KeyRotation::Over);
        assert_eq!(store.get_key("d").unwrap(), None);
    }
}

#[tokio::test]
async fn plain_hashes_become_keyed_ones_once() {
    for home in Home::both() {
        let store = home.open();
        store.put_key(key("a", 1)).await.unwrap();
        let keyed = |hash: &[u8; 32]| hash.map(|byte| byte + 1);
        assert_eq!(store.key_plain_hashes(keyed).await.unwrap(), 1);
        assert_eq!(store.key_plain_hashes(keyed).await.unwrap(), 0);
        let row = store.get_key("a").unwrap().unwrap();
        assert_eq!((row.hash, row.hash_kind), ([8; 32], KeyHashKind::Keyed));
    }
}
