//! A presented credential decides alone; without one, the place does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tempfile::TempDir;

use policy::Instant;
use store::KeyRow;

use super::*;
use crate::key::{Minted, mint};
use crate::{Auth, Loopback, Parts, Peer, Presented, Settings, Site};
use crate::{KeyDraft, KeyringError, NewKey, keyring};

/// Stands still until it is moved; both clocks go together.
#[derive(Debug, Default)]
struct HandClock(Mutex<Duration>);

impl HandClock {
    fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + *self.0.lock()
    }
}

struct World {
    auth: Arc<Auth>,
    store: Store,
    clock: Arc<HandClock>,
    _folder: TempDir,
}

fn world(settings: Settings) -> World {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let clock = Arc::new(HandClock::default());
    let parts = Parts {
        store: store.clone(),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        client: net::Client::new(net::Settings::default()),
        site: Site::new("http://127.0.0.1:8080"),
        vault: Vault::new(&crate::MasterKey::new([1; 32])).unwrap(),
        revocations: Revocations::open(store.clone(), Arc::clone(&clock) as Arc<dyn Clock>)
            .unwrap(),
    };
    let auth = Auth::new(parts, settings);
    World {
        auth,
        store,
        clock,
        _folder: folder,
    }
}

impl World {
    /// A key in the store for `alice`.
    async fn key(&self, expires_at: Option<SystemTime>) -> Minted {
        let key = mint().unwrap();
        let row = KeyRow {
            id: key.id.clone(),
            principal: "alice".to_owned(),
            roles: vec!["reader".to_owned()],
            scopes: None,
            hash: *key.hash.as_bytes(),
            hash_kind: store::KeyHashKind::Plain,
            created_at: self.clock.wall(),
            expires_at,
            revoked_at: None,
            last_used_at: None,
            rotated_from: None,
            note: String::new(),
        };
        self.store.put_key(row).await.unwrap();
        key
    }

    async fn bearer(&self, header: &str) -> Result<Arc<Principal>, AuthError> {
        self.auth
            .authenticate(&Presented {
                authorization: Some(header),
                ..Presented::nothing(Peer::Loopback)
            })
            .await
    }

    async fn with(&self, key: &Minted) -> Result<Arc<Principal>, AuthError> {
        self.auth
            .authenticate(&Presented {
                x_api_key: Some(key.text.expose()),
                ..Presented::nothing(Peer::Remote(None))
            })
            .await
    }

    async fn nothing(&self, peer: Peer) -> Result<Arc<Principal>, AuthError> {
        self.auth.authenticate(&Presented::nothing(peer)).await
    }
}

fn roles(names: &[&str]) -> BTreeSet<RoleName> {
    names
        .iter()
        .map(|name| RoleName::new(name).unwrap())
        .collect()
}

fn alice() -> PrincipalId {
    PrincipalId::new("alice").unwrap()
}

#[tokio::test]
async fn a_key_speaks_for_its_principal_with_all_its_roles() {
    let members = BTreeMap::from([(alice(), roles(&["member"]))]);
    let world = world(Settings {
        members,
        ..Settings::default()
    });
    let key = world.key(None).await;
    let expect = Principal {
        id: alice(),
        roles: roles(&["member", "reader"]),
        credential: Credential::ApiKey(key.id.clone()),
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Default::default(),
    };
    assert_eq!(*world.with(&key).await.unwrap(), expect);
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(
            *world
                .bearer(&format!("{scheme} {}", key.text.expose()))
                .await
                .unwrap(),
            expect
        );
    }
}

#[tokio::test]
async fn a_configured_key_works_and_expires() {
    let key = mint().unwrap();
    let configured = ConfiguredKey {
        name: "ci".to_owned(),
        principal: alice(),
        roles: roles(&["deployer"]),
        hash: key.hash,
        expires_at: Some(UNIX_EPOCH + Duration::from_secs(60)),
    };
    let world = world(Settings {
        keys: vec![configured],
        ..Settings::default()
    });
    let principal = world.with(&key).await.unwrap();
    assert_eq!(
        (&principal.id, &principal.roles),
        (&alice(), &roles(&["deployer"]))
    );
    assert_eq!(principal.credential, Credential::ApiKey("ci".to_owned()));
    world.clock.pass(Duration::from_secs(60));
    assert!(matches!(world.with(&key).await, Err(AuthError::Expired)));
}

#[tokio::test]
async fn a_bad_credential_never_falls_to_the_local_principal() {
    let world = world(Settings {
        loopback: Loopback::Owner,
        ..Settings::default()
    });
    assert!(world.nothing(Peer::Loopback).await.is_ok());
    let key = world.key(None).await;
    let text = key.text.expose();
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        text,
        &format!("Bearer {text} {text}"),
    ] {
        assert!(
            matches!(world.bearer(header).await, Err(AuthError::Malformed(_))),
            "{header}"
        );
    }
    assert!(world.bearer("Bearer nonsense").await.is_err());
    assert!(matches!(
        world.with(&mint().unwrap()).await,
        Err(AuthError::Unknown)
    ));
    for peer in [
        Peer::Loopback,
        Peer::Remote(None),
        Peer::Stdio,
        Peer::InProcess,
    ] {
        let both = Presented {
            authorization: Some(&format!("Bearer {text}")),
            x_api_key: Some(text),
            ..Presented::nothing(peer)
        };
        assert!(matches!(
            world.auth.authenticate(&both).await,
            Err(AuthError::Malformed(_))
        ));
        let bad = Presented {
            x_api_key: Some(""),
            ..Presented::nothing(peer)
        };
        assert!(matches!(
            world.auth.authenticate(&bad).await,
            Err(AuthError::Malformed(_))
        ));
    }
}

#[tokio::test]
async fn a_made_up_secret_under_a_known_id_is_unknown() {
    let world = world(Settings::default());
    let key = world.key(None).await;
    world.with(&key).await.unwrap();
    let other = crate::key::with_id(&key.id);
    assert!(matches!(world.with(&other).await, Err(AuthError::Unknown)));
    world.with(&key).await.unwrap();
}

#[tokio::test]
async fn a_key_that_was_revoked_elsewhere_is_out_once_that_is_noticed() {
    let world = world(Settings::default());
    let key = world.key(None).await;
    world.with(&key).await.unwrap();
    assert!(
        world
            .store
            .revoke_key(&key.id, world.clock.wall())
            .await
            .unwrap()
    );
    assert!(
        world.with(&key).await.is_ok(),
        "the cached answer saves the query"
    );
    world.auth.revocations().refresh().unwrap();
    assert!(matches!(world.with(&key).await, Err(AuthError::Revoked)));
}

#[tokio::test]
async fn an_expiry_bites_at_once_even_from_the_cache() {
    let world = world(Settings::default());
    let key = world
        .key(Some(UNIX_EPOCH + Duration::from_millis(500)))
        .await;
    assert!(world.with(&key).await.is_ok());
    world.clock.pass(Duration::from_millis(500));
    assert!(matches!(world.with(&key).await, Err(AuthError::Expired)));
}

#[tokio::test]
async fn without_a_credential_the_place_decides() {
    let behind_proxy = Peer::Remote(Some([127, 0, 0, 1].into()));
    for (loopback, peer, known) in [
        (Loopback::Auto, Peer::Loopback, true),
        (Loopback::Owner, Peer::Loopback, true),
        (Loopback::Off, Peer::Loopback, false),
        (Loopback::Auto, Peer::Remote(None), false),
        (Loopback::Owner, Peer::Remote(None), false),
        (Loopback::Auto, behind_proxy, false),
        (Loopback::Owner, behind_proxy, false),
        (Loopback::Off, Peer::Stdio, true),
        (Loopback::Off, Peer::InProcess, true),
    ] {
        let found = world(Settings {
            loopback,
            ..Settings::default()
        })
        .nothing(peer)
        .await;
        match found {
            Ok(principal) => {
                assert!(known, "{loopback:?} {peer:?}");
                assert_eq!(principal.id.as_str(), "local");
                assert_eq!(principal.roles, roles(&["owner"]));
                assert_eq!(principal.credential, Credential::Local);
            }
            Err(error) => assert!(
                !known && matches!(error, AuthError::Missing),
                "{loopback:?} {peer:?}: {error}"
            ),
        }
    }
}

#[tokio::test]
async fn the_first_key_ends_the_open_house() {
    let world = world(Settings::default());
    assert!(world.nothing(Peer::Loopback).await.is_ok());
    let key = world.key(None).await;
    world.auth.revocations().refresh().unwrap();
    assert!(matches!(
        world.nothing(Peer::Loopback).await,
        Err(AuthError::Missing)
    ));
    assert!(world.nothing(Peer::Stdio).await.is_ok());
    // Who took a key away did not mean to need none from now on.
    world
        .store
        .revoke_key(&key.id, world.clock.wall())
        .await
        .unwrap();
    world.auth.revocations().refresh().unwrap();
    assert!(matches!(
        world.nothing(Peer::Loopback).await,
        Err(AuthError::Missing)
    ));
}

fn draft() -> KeyDraft {
    KeyDraft {
        principal: alice(),
        roles: roles(&["reader"]).into_iter().collect(),
        scopes: Some(Scopes::parse("mcp:tools")),
        good_for: Some(Duration::from_secs(1000)),
        note: "laptop".to_owned(),
    }
}

impl World {
    async fn with_text(&self, key: &NewKey) -> Result<Arc<Principal>, AuthError> {
        self.bearer(&format!("Bearer {}", key.text.expose())).await
    }
}

#[tokio::test]
async fn what_the_database_has_of_a_key_is_no_hash_that_another_installation_could_use() {
    let world = world(Settings::default());
    let key = world.auth.keyring().create(draft()).await.unwrap();
    let row = world.store.get_key(&key.row.id).unwrap().unwrap();
    assert_eq!(row, key.row);
    assert_ne!(row.hash, *key.hash.as_bytes());
    let principal = world.with_text(&key).await.unwrap();
    assert_eq!(principal.scopes, Scopes::parse("mcp:tools"));

    // The same row under another master key lets nobody in.
    let vault = Vault::new(&crate::MasterKey::new([2; 32])).unwrap();
    let elsewhere = Auth::new(
        Parts {
            vault,
            ..world.auth.parts().clone()
        },
        Settings::default(),
    );
    let presented = Presented {
        x_api_key: Some(key.text.expose()),
        ..Presented::nothing(Peer::Loopback)
    };
    let refused = elsewhere.authenticate(&presented).await;
    assert!(matches!(refused, Err(AuthError::Unknown)), "{refused:?}");
}

#[tokio::test]
async fn keys_of_the_first_versions_work_before_and_after_their_hashes_are_keyed() {
    let world = world(Settings::default());
    let key = world.key(None).await;
    world.with(&key).await.unwrap();
    assert_eq!(world.auth.keyring().upgrade().await.unwrap(), 1);
    world.auth.revocations().refresh().unwrap();
    let row = world.store.get_key(&key.id).unwrap().unwrap();
    assert_ne!(row.hash, *key.hash.as_bytes());
    world.with(&key).await.unwrap();
}

#[tokio::test]
async fn a_rotated_key_is_good_for_the_overlap_and_its_heir_may_do_the_same_for_as_long() {
    let world = world(Settings::default());
    let keyring = world.auth.keyring();
    let old = keyring.create(draft()).await.unwrap();
    world.clock.pass(Duration::from_secs(100));
    let new = keyring
        .rotate(&old.row.id, Duration::from_secs(60))
        .await
        .unwrap();
    let (before, after) = (
        world.with_text(&old).await.unwrap(),
        world.with_text(&new).await.unwrap(),
    );
    assert_eq!(
        (&before.id, &before.roles, before.scopes),
        (&after.id, &after.roles, after.scopes)
    );
    let end = UNIX_EPOCH + Duration::from_secs(1100);
    assert_eq!(after.expires_at, Some(end));
    let again = keyring.rotate(&old.row.id, keyring::OVERLAP).await;
    let Err(KeyringError::Replaced { heir, .. }) = again else {
        panic!("{again:?}");
    };
    assert_eq!(heir, new.row.id);
    world.clock.pass(Duration::from_secs(60));
    let refused = world.with_text(&old).await;
    assert!(matches!(refused, Err(AuthError::Expired)), "{refused:?}");
    assert!(world.with_text(&new).await.is_ok());

    let again = keyring.rotate(&old.row.id, keyring::OVERLAP).await;
    assert!(matches!(again, Err(KeyringError::Over(_))), "{again:?}");
    keyring.revoke(&new.row.id).await.unwrap();
    let refused = world.with_text(&new).await;
    assert!(matches!(refused, Err(AuthError::Revoked)), "{refused:?}");
    let again = keyring.rotate(&new.row.id, keyring::OVERLAP).await;
    assert!(matches!(again, Err(KeyringError::Over(_))), "{again:?}");
    let unknown = keyring.rotate("nothing", keyring::OVERLAP).await;
    assert!(
        matches!(unknown, Err(KeyringError::Unknown(_))),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_key_is_good_for_some_time_or_is_not_made() {
    let world = world(Settings::default());
    let none = KeyDraft {
        good_for: Some(Duration::ZERO),
        ..draft()
    };
    let refused = world.auth.keyring().create(none).await;
    assert!(matches!(refused, Err(KeyringError::NoTime)), "{refused:?}");
    assert!(world.store.list_keys().unwrap().is_empty());
}

#[tokio::test]
async fn the_last_use_of_a_key_is_noted_beside_the_calls_and_at_the_end() {
    let world = world(Settings::default());
    let key = world.auth.keyring().create(draft()).await.unwrap();
    let used = || {
        let row = world.store.get_key(&key.row.id).unwrap().unwrap();
        row.last_used_at
    };
    world.with_text(&key).await.unwrap();
    world.clock.pass(Duration::from_secs(5));
    world.with_text(&key).await.unwrap();
    assert_eq!(used(), None);
    let stop = CancellationToken::new();
    stop.cancel();
    world.auth.upkeep(&stop).await;
    assert_eq!(used(), Some(UNIX_EPOCH + Duration::from_secs(5)));
}

#[tokio::test]
async fn a_configured_key_can_be_revoked_without_another_config() {
    let key = mint().unwrap();
    let world = world(Settings {
        keys: vec![ConfiguredKey {
            name: "ci".to_owned(),
            principal: alice(),
            roles: roles(&["deployer"]),
            hash: key.hash,
            expires_at: None,
        }],
        ..Settings::default()
    });
    let principal = world.with(&key).await.unwrap();
    assert!(world.auth.is_current(&principal));
    world
        .auth
        .revocations()
        .revoke(crate::Revoked::Key("ci"), None, "root", "")
        .await
        .unwrap();
    assert!(matches!(world.with(&key).await, Err(AuthError::Revoked)));
    assert!(!world.auth.is_current(&principal));
}

#[tokio::test]
async fn a_certificate_is_its_principal_until_it_ends_or_its_mapping_goes() {
    let settings = |principal: &str| Settings {
        certificates: certificate::Settings {
            mappings: vec![certificate::Mapping {
                name: "dns:agent.example".to_owned(),
                principal: PrincipalId::new(principal).unwrap(),
                roles: BTreeSet::from([RoleName::new("reader").unwrap()]),
            }],
        },
        loopback: Loopback::Owner,
        ..Settings::default()
    };
    let world = world(settings("agent"));
    let named = |name: &str| ClientCertificate {
        sha256: [7; 32],
        names: vec![name.to_owned()],
        expires_at: UNIX_EPOCH + Duration::from_secs(60),
    };
    let (ours, stranger) = (named("dns:agent.example"), named("dns:other.example"));
    let shown = |certificate| Presented {
        certificate: Some(certificate),
        ..Presented::nothing(Peer::Loopback)
    };
    let agent = world.auth.authenticate(&shown(&ours)).await.unwrap();
    assert_eq!(agent.id.as_str(), "agent");
    assert!(matches!(
        world.auth.authenticate(&shown(&stranger)).await,
        Err(AuthError::Unknown)
    ));
    assert!(world.auth.is_current(&agent));
    world.auth.reload(settings("somebody"));
    assert!(!world.auth.is_current(&agent));
    world.auth.reload(settings("agent"));
    assert!(world.auth.is_current(&agent));
    world.clock.pass(Duration::from_secs(60));
    world.auth.revocations().refresh().unwrap();
    assert!(!world.auth.is_current(&agent));
    assert!(matches!(
        world.auth.authenticate(&shown(&ours)).await,
        Err(AuthError::Expired)
    ));
}

#[tokio::test]
async fn with_an_account_nobody_is_the_owner_by_place_alone() {
    for (loopback, is_owner) in [(Loopback::Auto, false), (Loopback::Owner, true)] {
        let world = world(Settings {
            loopback,
            ..Settings::default()
        });
        let here = Presented::nothing(Peer::Loopback);
        assert!(world.auth.authenticate(&here).await.is_ok());
        let account = accounts::NewAccount {
            name: "alice",
            email: None,
            roles: BTreeSet::new(),
            password: None,
        };
        world.auth.accounts().add(account).await.unwrap();
        let authenticated = world.auth.authenticate(&here).await;
        assert_eq!(authenticated.is_ok(), is_owner, "{loopback:?}");
        let inside = Presented::nothing(Peer::Stdio);
        assert!(world.auth.authenticate(&inside).await.is_ok());
    }
}

#[tokio::test]
async fn what_a_config_took_back_ends_what_was_opened_with_it() {
    let (stolen, fresh) = (mint().unwrap(), mint().unwrap());
    let with = |hash, names: &[&str]| Settings {
        keys: vec![ConfiguredKey {
            name: "ci".to_owned(),
            principal: alice(),
            roles: roles(names),
            hash,
            expires_at: None,
        }],
        ..Settings::default()
    };
    let world = world(with(stolen.hash, &["owner"]));
    let principal = world.with(&stolen).await.unwrap();
    world.auth.reload(with(stolen.hash, &["owner"]));
    assert!(world.auth.is_current(&principal), "nothing changed");
    world.auth.reload(with(stolen.hash, &["reader"]));
    assert!(!world.auth.is_current(&principal), "other roles");
    world.auth.reload(with(stolen.hash, &["owner"]));
    let (changes, epoch) = (
        world.auth.revocations().changes(),
        world.auth.epoch(&alice()),
    );
    world.auth.reload(with(fresh.hash, &["owner"]));
    assert!(changes.has_changed().unwrap(), "open streams look again");
    assert_ne!(
        world.auth.epoch(&alice()),
        epoch,
        "another key of the same name"
    );
    let now = world.with(&fresh).await.unwrap();
    assert_eq!(*now, *principal, "the same name, the same holder");
    let epoch = world.auth.epoch(&alice());
    let members = BTreeMap::from([(alice(), roles(&["owner"]))]);
    world.auth.reload(Settings {
        members,
        ..with(fresh.hash, &["owner"])
    });
    assert_ne!(world.auth.epoch(&alice()), epoch, "members changed");
    let bob = PrincipalId::new("bob").unwrap();
    assert_eq!(world.auth.epoch(&bob), 0, "nothing of bob's");
}
