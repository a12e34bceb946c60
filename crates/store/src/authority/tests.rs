//! A code and a refresh token are good once, and what hangs on a grant goes with it.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn grant(id: &str) -> GrantRow {
    GrantRow {
        id: id.to_owned(),
        principal: "alice".to_owned(),
        roles: vec!["reader".to_owned()],
        client_id: "app".to_owned(),
        client_name: "App".to_owned(),
        redirect_uri: "https://app.example/cb".to_owned(),
        scopes: "mcp:tools".to_owned(),
        resource: "http://127.0.0.1:8080/mcp".to_owned(),
        jkt: None,
        certificate: None,
        created_at: at(1),
        used_at: at(1),
        expires_at: at(1000),
        revoked_at: None,
    }
}

fn code(byte: u8) -> CodeRow {
    CodeRow {
        hash: [byte; 32],
        challenge: "challenge".to_owned(),
        expires_at: at(60),
    }
}

fn refresh(byte: u8) -> RefreshRow {
    RefreshRow {
        hash: [byte; 32],
        expires_at: at(500),
    }
}

#[tokio::test]
async fn a_code_is_good_once_and_its_second_use_revokes_the_grant() {
    for home in Home::both() {
        let store = home.open();
        store.put_grant(grant("g"), code(1)).await.unwrap();
        let redeem = async |client: &str| store.redeem_code([1; 32], client, at(9)).await.unwrap();
        assert_eq!(redeem("other").await, Redemption::Unknown);
        assert_eq!(redeem("app").await, Redemption::First(grant("g"), code(1)));
        assert_eq!(store.get_grant("g").unwrap().unwrap().revoked_at, None);
        assert_eq!(redeem("app").await, Redemption::Reused(grant("g")));
        let revoked = store.get_grant("g").unwrap().unwrap();
        assert_eq!(revoked.revoked_at, Some(at(9)));
        assert!(store.list_grants(None, at(9)).unwrap().is_empty());
    }
}

#[tokio::test]
async fn of_two_exchanges_of_a_refresh_token_the_second_revokes_the_grant() {
    for home in Home::both() {
        let store = home.open();
        store.put_grant(grant("g"), code(1)).await.unwrap();
        let bound = GrantRow {
            jkt: Some("key".to_owned()),
            certificate: Some([9; 32]),
            expires_at: at(2000),
            ..grant("g")
        };
        store.begin_grant(&bound, Some(refresh(2))).await.unwrap();
        let found = store.get_refresh_token(&[2; 32]).unwrap();
        assert_eq!(found, Some((bound.clone(), refresh(2), false)));
        let rotate = async |new| {
            store
                .rotate_refresh_token("g", [2; 32], refresh(new), at(7))
                .await
                .unwrap()
        };
        assert_eq!(rotate(3).await, Rotation::Rotated);
        assert_eq!(rotate(4).await, Rotation::Reused);
        assert_eq!(store.get_refresh_token(&[4; 32]).unwrap(), None);
        let (row, _, is_used) = store.get_refresh_token(&[3; 32]).unwrap().unwrap();
        assert!(!is_used);
        assert_eq!((row.used_at, row.revoked_at), (at(7), Some(at(7))));
    }
}

#[tokio::test]
async fn what_ended_is_deleted_with_all_that_hangs_on_it() {
    for home in Home::both() {
        let store = home.open();
        store.put_grant(grant("g"), code(1)).await.unwrap();
        store
            .begin_grant(&grant("g"), Some(refresh(2)))
            .await
            .unwrap();
        assert_eq!(store.prune_grants(at(1000)).await.unwrap(), 0);
        assert_eq!(store.prune_grants(at(1001)).await.unwrap(), 1);
        assert_eq!(store.get_refresh_token(&[2; 32]).unwrap(), None);
        assert_eq!(
            store.redeem_code([1; 32], "app", at(2)).await.unwrap(),
            Redemption::Unknown
        );
    }
}

#[tokio::test]
async fn one_key_signs_and_the_one_before_it_retires() {
    for home in Home::both() {
        let store = home.open();
        let key = |kid: &str, made| SigningKeyRow {
            kid: kid.to_owned(),
            public: "{}".to_owned(),
            sealed: vec![1, 2],
            created_at: at(made),
            retires_at: None,
        };
        let first = store.put_first_signing_key(key("a", 1)).await.unwrap();
        assert_eq!(first.kid, "a");
        // Another process comes second and takes over what is there.
        let second = store.put_first_signing_key(key("b", 1)).await.unwrap();
        assert_eq!(second.kid, "a");
        store.rotate_signing_key(key("c", 5), at(20)).await.unwrap();
        let kids = |now| -> Vec<String> {
            let keys = store.list_signing_keys(at(now)).unwrap();
            keys.into_iter().map(|key| key.kid).collect()
        };
        assert_eq!(kids(19), ["c", "a"]);
        assert_eq!(kids(20), ["c"]);
        assert_eq!(store.prune_signing_keys(at(20)).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn clients_are_bounded_and_those_of_no_use_go() {
    for home in Home::both() {
        let store = home.open();
        let client = |id: &str, used| ClientRow {
            id: id.to_owned(),
            metadata: "{}".to_owned(),
            secret_hash: Some([3; 32]),
            created_at: at(10),
            fresh_until: None,
            used_at: at(used),
        };
        let put = async |row| store.put_oauth_client(row, 3).await.unwrap();
        assert!(put(client("app", 10)).await && put(client("old", 12)).await);
        assert!(put(client("new", 40)).await && !put(client("more", 40)).await);
        // One that is known already is taken over all the same.
        assert!(put(client("new", 41)).await);
        store.touch_oauth_client("new", at(42)).await.unwrap();
        assert_eq!(
            store.get_oauth_client("new").unwrap(),
            Some(client("new", 42))
        );
        store.put_grant(grant("g"), code(1)).await.unwrap();
        // `app` has a grant.
        assert_eq!(store.prune_oauth_clients(at(20), at(30)).await.unwrap(), 1);
        assert!(store.get_oauth_client("app").unwrap().is_some());
        assert!(store.get_oauth_client("old").unwrap().is_none());
    }
}

#[tokio::test]
async fn consent_is_remembered_for_exactly_what_was_allowed() {
    for home in Home::both() {
        let store = home.open();
        store.put_consent(&grant("g")).await.unwrap();
        let allowed = |principal: &str, uri: &str, since| {
            store.get_consent(principal, "app", uri, at(since)).unwrap()
        };
        let uri = "https://app.example/cb";
        assert_eq!(allowed("alice", uri, 1).as_deref(), Some("mcp:tools"));
        assert_eq!(allowed("alice", uri, 2), None);
        assert_eq!(allowed("bob", uri, 1), None);
        assert_eq!(allowed("alice", "https://app.example/other", 1), None);
        store.delete_consents("alice", "app").await.unwrap();
        assert_eq!(allowed("alice", uri, 1), None);
    }
}
