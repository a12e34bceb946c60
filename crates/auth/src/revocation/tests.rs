//! What is revoked holds no longer, here and in the process beside; what is not, does.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use policy::Scopes;
use tempfile::TempDir;

use super::*;

/// Stands still until it is moved.
#[derive(Debug, Default)]
struct HandClock(Mutex<Duration>);

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + *self.0.lock()
    }
}

struct World {
    revocations: Arc<Revocations>,
    clock: Arc<HandClock>,
    store: Store,
    folder: TempDir,
}

fn world() -> World {
    let folder = TempDir::new().unwrap();
    let clock = Arc::new(HandClock(Mutex::new(Duration::from_secs(1000))));
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let revocations = Revocations::open(store.clone(), clock.clone()).unwrap();
    World {
        revocations,
        clock,
        store,
        folder,
    }
}

fn alice() -> PrincipalId {
    PrincipalId::new("alice").unwrap()
}

fn holder(credential: Credential) -> Principal {
    Principal {
        id: alice(),
        roles: BTreeSet::new(),
        credential,
        client: Some("https://app.example/client.json".into()),
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Default::default(),
    }
}

fn token(issued_at: Option<u64>) -> Credential {
    Credential::Token(Token {
        issuer: "corp".into(),
        id: Some("t1".into()),
        key: Some("k1".into()),
        grant: Some("g1".into()),
        issued_at: issued_at.map(|at| UNIX_EPOCH + Duration::from_secs(at)),
    })
}

/// Each kind, with a credential that it hits and one that it does not.
#[tokio::test]
async fn each_kind_hits_its_own_and_nothing_else() {
    let (alice, other) = (alice(), PrincipalId::new("bob").unwrap());
    let key = || Credential::ApiKey("abc".to_owned());
    let cases = [
        (Revoked::Key("abc"), key(), token(None)),
        (
            Revoked::Token {
                issuer: "corp",
                jti: "t1",
            },
            token(None),
            key(),
        ),
        (Revoked::Grant("g1"), token(None), key()),
        (
            Revoked::Session("s1"),
            Credential::Session("s1".to_owned()),
            Credential::Session("s2".to_owned()),
        ),
        (Revoked::User(&alice), token(Some(999)), token(Some(1001))),
        (Revoked::User(&alice), token(None), key()),
        (
            Revoked::SigningKey {
                issuer: "corp",
                kid: "k1",
            },
            token(None),
            key(),
        ),
        (
            Revoked::Certificate("ff"),
            Credential::Certificate("ff".to_owned()),
            Credential::Certificate("fe".to_owned()),
        ),
    ];
    for (what, hit, missed) in cases {
        let world = world();
        let (hit, missed) = (holder(hit), holder(missed));
        assert!(!world.revocations.is_revoked(&hit), "{what:?}");
        world
            .revocations
            .revoke(what, None, "test", "")
            .await
            .unwrap();
        assert!(world.revocations.is_revoked(&hit), "{what:?}");
        assert!(!world.revocations.is_revoked(&missed), "{what:?}");
    }
    let harmless = [
        Revoked::Key("abd"),
        Revoked::Token {
            issuer: "other",
            jti: "t1",
        },
        Revoked::SigningKey {
            issuer: "other",
            kid: "k1",
        },
        Revoked::Token {
            issuer: "corp",
            jti: "k1",
        },
        Revoked::Session("g1"),
        Revoked::User(&other),
        Revoked::Disabled(&other),
        Revoked::Client("https://app.example/"),
    ];
    let world = world();
    for what in harmless {
        world
            .revocations
            .revoke(what, None, "test", "")
            .await
            .unwrap();
        assert!(
            !world.revocations.is_revoked(&holder(token(None))),
            "{what:?}"
        );
        assert!(!world.revocations.is_revoked(&holder(key())), "{what:?}");
    }
}

#[tokio::test]
async fn a_disabled_user_is_out_with_everything_until_it_is_enabled() {
    let world = world();
    let all = [
        Credential::Local,
        Credential::ApiKey("abc".to_owned()),
        token(Some(2000)),
        Credential::Certificate("ff".to_owned()),
        Credential::Session("s1".to_owned()),
    ];
    let alice = alice();
    let disabled = Revoked::Disabled(&alice);
    world
        .revocations
        .revoke(disabled, None, "root", "left")
        .await
        .unwrap();
    for credential in &all {
        assert!(
            world.revocations.is_revoked(&holder(credential.clone())),
            "{credential:?}"
        );
    }
    assert!(world.revocations.is_disabled(&alice));
    assert!(world.revocations.lift(disabled, "root").await.unwrap());
    assert!(!world.revocations.lift(disabled, "root").await.unwrap());
    for credential in &all {
        assert!(
            !world.revocations.is_revoked(&holder(credential.clone())),
            "{credential:?}"
        );
    }
}

#[tokio::test]
async fn what_a_client_has_goes_with_it() {
    let world = world();
    let client = Revoked::Client("https://app.example/client.json");
    world
        .revocations
        .revoke(client, None, "root", "")
        .await
        .unwrap();
    assert!(world.revocations.is_revoked(&holder(token(None))));
    let without = Principal {
        client: None,
        ..holder(token(None))
    };
    assert!(!world.revocations.is_revoked(&without));
}

#[tokio::test]
async fn the_process_beside_notices_within_half_a_second_and_after_a_restart_it_still_holds() {
    let world = world();
    let beside = Store::open(&world.folder.path().join("gate.db")).unwrap();
    let beside = Revocations::open(beside, world.clock.clone()).unwrap();
    let key = holder(Credential::ApiKey("abc".to_owned()));
    let stop = CancellationToken::new();
    let mut changes = world.revocations.changes();
    changes.mark_unchanged();
    let watched = world.revocations.watch(&stop);
    let told = async {
        beside
            .revoke(Revoked::Key("abc"), None, "root", "")
            .await
            .unwrap();
        tokio::time::timeout(Duration::from_millis(500), changes.changed())
            .await
            .expect("in time")
            .unwrap();
        stop.cancel();
    };
    tokio::join!(watched, told);
    assert!(world.revocations.is_revoked(&key));

    let again = Revocations::open(world.store.clone(), world.clock.clone()).unwrap();
    assert!(again.is_revoked(&key));
    let rows = again.list().unwrap();
    assert_eq!(
        (rows[0].kind.as_str(), rows[0].by.as_str()),
        ("key", "root")
    );
}

#[tokio::test]
async fn a_list_that_cannot_be_read_for_long_lets_nobody_in() {
    let world = world();
    world.revocations.ensure_fresh().unwrap();
    // Nothing but the path is taken away: the connections that are open would go on reading the old file.
    let path = world.folder.path().join("gate.db");
    let away = world.folder.path().join("away.db");
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    world.revocations.source.lock().changes = None;
    *world.clock.0.lock() += STALE_MAX;
    world.revocations.ensure_fresh().unwrap();
    *world.clock.0.lock() += Duration::from_millis(1);
    for _ in 0..2 {
        let refused = world.revocations.ensure_fresh();
        assert!(
            matches!(refused, Err(AuthError::Unavailable(_))),
            "{refused:?}"
        );
    }
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    *world.clock.0.lock() += RETRY;
    world.revocations.ensure_fresh().unwrap();
}

#[tokio::test]
async fn what_has_ended_by_itself_is_forgotten() {
    let world = world();
    let until = world.clock.wall() + Duration::from_secs(60);
    let token = Revoked::Token {
        issuer: "corp",
        jti: "t1",
    };
    world
        .revocations
        .revoke(token, Some(until), "root", "")
        .await
        .unwrap();
    world.store.prune_revocations(until).await.unwrap();
    world.revocations.refresh().unwrap();
    assert!(world.revocations.list().unwrap().is_empty());
}
