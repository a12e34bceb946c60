//! Tokens for upstreams by their keys.

use std::time::Duration;

use super::*;
use crate::trial::Home;

fn row(issuer: &str, principal: &str, since: u64) -> UpstreamTokenRow {
    UpstreamTokenRow {
        issuer: issuer.to_owned(),
        upstream: "github".to_owned(),
        principal: principal.to_owned(),
        sealed: vec![1, 2, 3],
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(since),
        is_stale: false,
    }
}

#[tokio::test]
async fn a_principal_has_one_connection_whoever_gives_it_out() {
    for home in Home::both() {
        let store = home.open();
        store
            .put_upstream_token(row("https://one", "alice", 1))
            .await
            .unwrap();
        store
            .put_upstream_token(row("https://two", "alice", 2))
            .await
            .unwrap();
        let kept = store.get_upstream_token("github", "alice").unwrap();
        assert_eq!(kept, Some(row("https://two", "alice", 2)));
        assert_eq!(store.get_upstream_token("github", "bob").unwrap(), None);
    }
}

#[tokio::test]
async fn what_was_granted_anew_is_not_overwritten_by_an_old_refresh() {
    for home in Home::both() {
        let store = home.open();
        let (old, new) = (
            row("https://one", "alice", 1),
            row("https://one", "alice", 2),
        );
        store.put_upstream_token(old.clone()).await.unwrap();
        store.put_upstream_token(new.clone()).await.unwrap();
        assert!(
            !store
                .refresh_upstream_token(old.clone(), vec![9])
                .await
                .unwrap()
        );
        store
            .stale_upstream_token("github", "alice", old.since)
            .await
            .unwrap();
        assert_eq!(
            store.get_upstream_token("github", "alice").unwrap(),
            Some(new.clone())
        );
        assert!(store.refresh_upstream_token(new, vec![9]).await.unwrap());
        let kept = store
            .get_upstream_token("github", "alice")
            .unwrap()
            .unwrap();
        assert_eq!(kept.sealed, [9]);
    }
}

#[tokio::test]
async fn what_no_longer_holds_lists_for_nobody_and_goes_with_its_principal() {
    for home in Home::both() {
        let store = home.open();
        for (principal, since) in [("bob", 2), ("alice", 1), ("carol", 3)] {
            store
                .put_upstream_token(row("https://one", principal, since))
                .await
                .unwrap();
        }
        let alice = row("https://one", "alice", 1);
        store
            .stale_upstream_token("github", "alice", alice.since)
            .await
            .unwrap();
        let principals = |rows: Vec<UpstreamTokenRow>| -> Vec<String> {
            rows.into_iter().map(|row| row.principal).collect()
        };
        let listed = principals(store.list_upstream_tokens("github", 9).unwrap());
        assert_eq!(listed, ["bob", "carol"]);
        assert_eq!(
            store
                .delete_upstream_tokens("bob", Some("other"))
                .await
                .unwrap(),
            0
        );
        assert_eq!(store.delete_upstream_tokens("bob", None).await.unwrap(), 1);
        let listed = principals(store.list_upstream_tokens("github", 1).unwrap());
        assert_eq!(listed, ["carol"]);
    }
}

#[tokio::test]
async fn a_client_belongs_to_its_issuer() {
    for home in Home::both() {
        let store = home.open();
        let at = SystemTime::UNIX_EPOCH;
        store
            .put_upstream_client("https://one", "github", vec![7], at)
            .await
            .unwrap();
        assert_eq!(
            store.get_upstream_client("https://one", "github").unwrap(),
            Some(vec![7])
        );
        assert_eq!(
            store.get_upstream_client("https://two", "github").unwrap(),
            None
        );
        store
            .delete_upstream_client("https://one", "github")
            .await
            .unwrap();
        assert_eq!(
            store.get_upstream_client("https://one", "github").unwrap(),
            None
        );
    }
}
