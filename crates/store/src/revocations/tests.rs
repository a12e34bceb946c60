//! Revocations are kept, only ever widened, and forgotten when they can match nothing.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn row(id: &str, revoked_at: u64, until: Option<u64>) -> RevocationRow {
    RevocationRow {
        kind: "token".to_owned(),
        issuer: "corp".to_owned(),
        id: id.to_owned(),
        revoked_at: at(revoked_at),
        until: until.map(at),
        by: "alice".to_owned(),
        reason: "lost".to_owned(),
    }
}

#[tokio::test]
async fn a_revocation_is_widened_by_another_and_never_narrowed() {
    for home in Home::both() {
        let store = home.open();
        for (revoked_at, until) in [(5, Some(50)), (3, Some(90)), (4, Some(70))] {
            store
                .put_revocation(row("a", revoked_at, until))
                .await
                .unwrap();
        }
        assert_eq!(store.list_revocations().unwrap(), [row("a", 5, Some(90))]);
        store.put_revocation(row("a", 1, None)).await.unwrap();
        store.put_revocation(row("a", 6, Some(91))).await.unwrap();
        assert_eq!(store.list_revocations().unwrap(), [row("a", 6, None)]);
    }
}

#[tokio::test]
async fn only_what_has_ended_is_pruned() {
    for home in Home::both() {
        let store = home.open();
        for (id, until) in [("a", Some(10)), ("b", Some(11)), ("c", None)] {
            store.put_revocation(row(id, 1, until)).await.unwrap();
        }
        assert_eq!(store.prune_revocations(at(10)).await.unwrap(), 1);
        let left = store.list_revocations().unwrap();
        assert_eq!(
            left.iter().map(|row| &*row.id).collect::<Vec<_>>(),
            ["b", "c"]
        );
        assert!(store.delete_revocation("token", "corp", "c").await.unwrap());
        assert!(!store.delete_revocation("token", "", "b").await.unwrap());
    }
}
