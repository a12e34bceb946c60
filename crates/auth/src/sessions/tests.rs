//! What a revocation made void is not listed any more; what came after it, and what is somebody else's, is.

use std::time::UNIX_EPOCH;

use store::{BrowserSessionRow, CodeRow, GrantRow, RevocationRow};
use tempfile::TempDir;

use super::*;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

async fn sign_in(store: &Store, id: &str, principal: &str, seconds: u64) {
    let row = BrowserSessionRow {
        id: id.to_owned(),
        hash: [u8::try_from(seconds).unwrap(); 32],
        principal: principal.to_owned(),
        account: None,
        roles: Vec::new(),
        created_at: at(seconds),
        seen_at: at(seconds),
        expires_at: at(900),
    };
    store.put_browser_session(row, 9, at(0)).await.unwrap();
}

async fn allow(store: &Store, id: &str, principal: &str, client: &str, seconds: u64) {
    let grant = GrantRow {
        id: id.to_owned(),
        principal: principal.to_owned(),
        roles: Vec::new(),
        client_id: client.to_owned(),
        client_name: client.to_owned(),
        redirect_uri: "http://127.0.0.1/".to_owned(),
        scopes: String::new(),
        resource: "http://127.0.0.1/mcp".to_owned(),
        jkt: None,
        certificate: None,
        created_at: at(seconds),
        used_at: at(seconds),
        expires_at: at(900),
        revoked_at: None,
    };
    let code = CodeRow {
        hash: [u8::try_from(seconds).unwrap(); 32],
        challenge: String::new(),
        expires_at: at(900),
    };
    store.put_grant(grant, code).await.unwrap();
}

async fn revoke(store: &Store, kind: &str, id: &str) {
    let row = RevocationRow {
        kind: kind.to_owned(),
        issuer: String::new(),
        id: id.to_owned(),
        revoked_at: at(100),
        until: None,
        by: String::new(),
        reason: String::new(),
    };
    store.put_revocation(row).await.unwrap();
}

fn listed(store: &Store) -> Vec<String> {
    let all = list(store, at(200)).unwrap();
    all.into_iter().map(|held| held.id).collect()
}

#[tokio::test]
async fn what_was_revoked_is_not_listed() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    sign_in(&store, "b-alice", "alice", 10).await;
    sign_in(&store, "b-bob", "bob", 11).await;
    allow(&store, "g-alice", "alice", "app", 20).await;
    allow(&store, "g-bob", "bob", "app", 21).await;
    allow(&store, "g-bob-other", "bob", "other", 22).await;
    allow(&store, "g-carol", "carol", "other", 23).await;
    assert_eq!(listed(&store).len(), 6);

    revoke(&store, "user", "alice").await;
    let left = ["g-carol", "g-bob-other", "g-bob", "b-bob"];
    assert_eq!(listed(&store), left);
    sign_in(&store, "b-alice-again", "alice", 110).await;
    assert_eq!(listed(&store)[0], "b-alice-again");

    revoke(&store, "client", "app").await;
    let left = ["b-alice-again", "g-carol", "g-bob-other", "b-bob"];
    assert_eq!(listed(&store), left);

    revoke(&store, "grant", "g-bob-other").await;
    revoke(&store, "disabled", "carol").await;
    revoke(&store, "session", "b-bob").await;
    assert_eq!(listed(&store), ["b-alice-again"]);
}
