//! Who signs in, who does not, and what ends when.

use std::time::UNIX_EPOCH;

use policy::{Clock, Credential};
use store::Store;
use tempfile::TempDir;

use super::*;
use crate::{MasterKey, Revocations, Site, Vault};

const PASSWORD: &str = "plum tractor velvet 9";
const OTHER: &str = "brass lantern minnow 4";

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
        UNIX_EPOCH + Duration::from_secs(1_000_000) + *self.0.lock()
    }
}

struct World {
    accounts: Accounts,
    parts: Parts,
    clock: Arc<HandClock>,
    folder: TempDir,
}

fn world_with(settings: Settings) -> World {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let clock = Arc::new(HandClock::default());
    let shared = Arc::clone(&clock) as Arc<dyn Clock>;
    let parts = Parts {
        store: store.clone(),
        clock: Arc::clone(&shared),
        client: net::Client::new(net::Settings::default()),
        site: Site::new("https://gate.example.com"),
        vault: Vault::new(&MasterKey::new([1; 32])).unwrap(),
        revocations: Revocations::open(store, shared).unwrap(),
    };
    World {
        accounts: Accounts::new(&parts, settings, BTreeMap::new()),
        parts,
        clock,
        folder,
    }
}

fn world() -> World {
    world_with(Settings::default())
}

fn id(name: &str) -> PrincipalId {
    PrincipalId::new(name).unwrap()
}

fn roles(names: &[&str]) -> BTreeSet<RoleName> {
    names
        .iter()
        .map(|name| RoleName::new(name).unwrap())
        .collect()
}

impl World {
    async fn alice(&self) {
        let new = NewAccount {
            name: "alice",
            email: Some("alice@example.com"),
            roles: roles(&["reader"]),
            password: Some(PASSWORD),
        };
        self.accounts.add(new).await.unwrap();
    }

    async fn try_in(&self, password: &str, code: Option<&str>) -> Result<NewSession, SignInError> {
        self.accounts.sign_in("alice", password, code, None).await
    }

    async fn signed_in(&self) -> NewSession {
        self.try_in(PASSWORD, None).await.unwrap()
    }

    async fn holds(&self, new: &NewSession) -> bool {
        self.accounts.session(&new.cookie).await.unwrap().is_some()
    }

    /// Switches one-time passwords on; returns the secret and the recovery codes.
    async fn with_totp(&self) -> (Vec<u8>, Vec<Zeroizing<String>>) {
        self.accounts.begin_totp(&id("alice")).await.unwrap();
        let row = self.parts.store.get_account("alice").unwrap().unwrap();
        let sealed = row.totp_draft.unwrap();
        let secret = self.accounts.open_totp("alice", &sealed).unwrap().to_vec();
        let code = self.code(&secret);
        let codes = self.accounts.confirm_totp(&id("alice"), &code).await;
        (secret, codes.unwrap())
    }

    /// The code of this moment.
    fn code(&self, secret: &[u8]) -> Zeroizing<String> {
        let seconds = self.clock.wall().duration_since(UNIX_EPOCH).unwrap();
        totp::at(i64::try_from(seconds.as_secs() / 30).unwrap(), secret)
    }
}

fn is_wrong(tried: &Result<NewSession, SignInError>) -> bool {
    matches!(tried, Err(SignInError::Wrong))
}

#[tokio::test]
async fn the_first_link_works_once_and_is_gone_once_there_is_an_account() {
    let world = world();
    let accounts = &world.accounts;
    assert!(!accounts.any().unwrap());
    let before = accounts.first_link().await.unwrap().unwrap();
    let link = accounts.first_link().await.unwrap().unwrap();
    assert_eq!(
        *link.url,
        format!(
            "https://gate.example.com/console/setup?token={}",
            *link.token
        )
    );
    let is_refused =
        |tried: Result<NewSession, AccountError>| matches!(tried, Err(AccountError::Link));
    assert!(is_refused(
        accounts.set_up(&before.token, "olga", None, PASSWORD).await
    ));
    assert!(is_refused(
        accounts.set_up("", "olga", None, PASSWORD).await
    ));
    // What is wrong with the form does not use it up.
    for (name, password) in [
        ("olga", "short"),
        ("corp/olga", PASSWORD),
        ("Local", PASSWORD),
    ] {
        let tried = accounts.set_up(&link.token, name, None, password).await;
        assert!(
            matches!(tried, Err(AccountError::Weak(_) | AccountError::Name(_))),
            "{name}"
        );
    }
    let new = accounts
        .set_up(&link.token, "olga", None, PASSWORD)
        .await
        .unwrap();
    assert!(new.session.principal.is_owner() && new.session.is_local);
    assert!(world.holds(&new).await);
    assert!(accounts.any().unwrap());
    assert!(is_refused(
        accounts.set_up(&link.token, "eve", None, PASSWORD).await
    ));
    assert!(accounts.first_link().await.unwrap().is_none());
}

#[tokio::test]
async fn a_first_link_ends_after_a_day_and_when_another_way_made_an_account() {
    let world = world();
    let link = world.accounts.first_link().await.unwrap().unwrap();
    assert_eq!(
        world.accounts.look_at(&link.token).unwrap(),
        LinkFor::FirstAccount
    );
    world.clock.pass(Duration::from_secs(24 * 60 * 60));
    let late = world
        .accounts
        .set_up(&link.token, "olga", None, PASSWORD)
        .await;
    assert!(matches!(late, Err(AccountError::Link)));
    let link = world.accounts.first_link().await.unwrap().unwrap();
    world.alice().await;
    assert!(world.accounts.look_at(&link.token).is_err());
    let second = world
        .accounts
        .set_up(&link.token, "olga", None, PASSWORD)
        .await;
    assert!(matches!(second, Err(AccountError::Link)));
}

#[tokio::test]
async fn whoever_is_refused_hears_the_same_whatever_the_reason() {
    let world = world();
    world.alice().await;
    let bob = NewAccount {
        name: "bob",
        email: None,
        roles: BTreeSet::new(),
        password: None,
    };
    world.accounts.add(bob).await.unwrap();
    let mut words = BTreeSet::new();
    for (name, password) in [
        ("alice", OTHER),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("not a name!", PASSWORD),
        ("", PASSWORD),
        ("bob", ""),
    ] {
        let tried = world.accounts.sign_in(name, password, None, None).await;
        assert!(is_wrong(&tried), "{name}");
        words.insert(tried.unwrap_err().to_string());
    }
    world.accounts.disable("alice", "test").await.unwrap();
    words.insert(world.try_in(PASSWORD, None).await.unwrap_err().to_string());
    world.accounts.enable("alice", "test").await.unwrap();
    for _ in 0..6 {
        assert!(is_wrong(&world.try_in(OTHER, None).await));
    }
    words.insert(world.try_in(PASSWORD, None).await.unwrap_err().to_string());
    assert_eq!(words.len(), 1);
    world.clock.pass(Duration::from_secs(60));
    assert!(world.try_in(PASSWORD, None).await.is_ok());
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long it really takes is the question"
)]
async fn an_unknown_name_takes_as_long_as_a_wrong_password() {
    let world = world();
    world.alice().await;
    let mut fastest = [Duration::MAX; 2];
    for nth in 0..4 {
        for (name, fastest) in ["alice", "nobody"].into_iter().zip(&mut fastest) {
            let start = std::time::Instant::now();
            let tried = world.accounts.sign_in(name, OTHER, None, None).await;
            assert!(is_wrong(&tried), "{nth}");
            *fastest = start.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest.map(|long| long.as_secs_f64());
    assert!((0.5..2.0).contains(&(unknown / known)), "{known} {unknown}");
}

#[tokio::test]
async fn name_and_address_find_the_account_in_any_case() {
    let world = world();
    world.alice().await;
    for name in ["alice", "ALICE", "Alice@Example.com"] {
        let new = world.accounts.sign_in(name, PASSWORD, None, None).await;
        assert_eq!(new.unwrap().session.principal.id, id("alice"));
    }
}

#[tokio::test]
async fn wrong_tries_close_an_account_for_a_while_and_a_restart_does_not_open_it() {
    let world = world();
    world.alice().await;
    for _ in 0..5 {
        assert!(is_wrong(&world.try_in(OTHER, None).await));
    }
    assert!(is_wrong(&world.try_in(PASSWORD, None).await));
    let restarted = Accounts::new(&world.parts, Settings::default(), BTreeMap::new());
    let tried = restarted.sign_in("ALICE", PASSWORD, None, None).await;
    assert!(is_wrong(&tried));
    world.clock.pass(Duration::from_millis(1999));
    assert!(is_wrong(&world.try_in(PASSWORD, None).await));
    world.clock.pass(Duration::from_millis(1));
    assert!(world.try_in(PASSWORD, None).await.is_ok());
    let row = world.parts.store.get_account("alice").unwrap().unwrap();
    assert_eq!((row.failures, row.failed_at), (0, None));
    assert!(is_wrong(&world.try_in(OTHER, None).await), "free again");
}

#[tokio::test]
async fn an_address_that_guesses_waits_whatever_names_it_takes() {
    let world = world();
    world.alice().await;
    let from = "192.0.2.7".parse().ok();
    for nth in 0..20 {
        let name = format!("name{nth}");
        let tried = world.accounts.sign_in(&name, PASSWORD, None, from).await;
        assert!(is_wrong(&tried));
    }
    let tried = world.accounts.sign_in("alice", PASSWORD, None, from).await;
    let Err(SignInError::Later { after }) = tried else {
        panic!("{tried:?}");
    };
    assert!(world.try_in(PASSWORD, None).await.is_ok(), "from elsewhere");
    world.clock.pass(after);
    let tried = world.accounts.sign_in("alice", PASSWORD, None, from).await;
    assert!(tried.is_ok());
}

#[tokio::test]
async fn with_one_time_passwords_a_password_is_not_enough_and_no_code_is_good_twice() {
    let world = world();
    world.alice().await;
    let (secret, recovery) = world.with_totp().await;
    let tried = world.try_in(PASSWORD, None).await;
    assert!(matches!(tried, Err(SignInError::CodeNeeded)));
    let tried = world.try_in(PASSWORD, Some(" ")).await;
    assert!(matches!(tried, Err(SignInError::CodeNeeded)));
    assert!(is_wrong(&world.try_in(OTHER, None).await), "nothing told");
    // The code that switched it on was taken.
    let code = world.code(&secret);
    assert!(is_wrong(&world.try_in(PASSWORD, Some(&code)).await));
    world.clock.pass(Duration::from_secs(30));
    let code = world.code(&secret);
    assert!(world.try_in(PASSWORD, Some(&code)).await.is_ok());
    assert!(is_wrong(&world.try_in(PASSWORD, Some(&code)).await));

    assert_eq!(recovery.len(), 10);
    let typed = recovery[3].to_uppercase();
    assert!(world.try_in(PASSWORD, Some(&typed)).await.is_ok());
    assert!(is_wrong(&world.try_in(PASSWORD, Some(&typed)).await));
    let account = world.accounts.get("alice").unwrap().unwrap();
    assert_eq!((account.has_totp, account.recovery_codes), (true, 9));

    world.clock.pass(Duration::from_secs(60));
    let alice = id("alice");
    let off = world.accounts.disable_totp(&alice, "aaaaa-aaaaa").await;
    assert!(matches!(off, Err(AccountError::Wrong)));
    world
        .accounts
        .disable_totp(&alice, &recovery[0])
        .await
        .unwrap();
    assert!(world.try_in(PASSWORD, None).await.is_ok());
}

#[tokio::test]
async fn codes_cannot_be_tried_faster_than_passwords() {
    let world = world();
    world.alice().await;
    let (secret, _) = world.with_totp().await;
    world.clock.pass(Duration::from_secs(60));
    for _ in 0..5 {
        assert!(is_wrong(&world.try_in(PASSWORD, Some("000000")).await));
        // The step in between: the password alone gives no tries back.
        drop(world.try_in(PASSWORD, None).await);
    }
    let code = world.code(&secret);
    assert!(is_wrong(&world.try_in(PASSWORD, Some(&code)).await));
}

#[tokio::test]
async fn a_secret_is_in_force_only_once_a_code_confirmed_it() {
    let world = world();
    world.alice().await;
    let alice = id("alice");
    let confirmed = world.accounts.confirm_totp(&alice, "123456").await;
    assert!(matches!(confirmed, Err(AccountError::TotpOff)));
    let new = world.accounts.begin_totp(&alice).await.unwrap();
    assert!(new.uri.contains(&*new.secret) && new.svg.starts_with("<svg"));
    assert!(world.try_in(PASSWORD, None).await.is_ok());
    world.with_totp().await;
    let again = world.accounts.begin_totp(&alice).await;
    assert!(matches!(again, Err(AccountError::TotpOn)));
    world.accounts.clear_totp("alice").await.unwrap();
    assert!(world.try_in(PASSWORD, None).await.is_ok());
}

#[tokio::test]
async fn the_database_file_has_no_secret_in_clear() {
    let world = world();
    world.alice().await;
    let (secret, recovery) = world.with_totp().await;
    let link = world.accounts.link_for("alice").await.unwrap();
    world.clock.pass(Duration::from_secs(30));
    let code = world.code(&secret);
    let new = world.try_in(PASSWORD, Some(&code)).await.unwrap();
    world.parts.store.flush().await.unwrap();
    let plain = totp::plain_recovery_code(&recovery[0]);
    let text = totp::base32(&secret);
    let needles = [
        secret.as_slice(),
        text.as_bytes(),
        PASSWORD.as_bytes(),
        new.cookie.as_bytes(),
        new.session.csrf.as_bytes(),
        link.token.as_bytes(),
        recovery[0].as_bytes(),
        plain.as_bytes(),
    ];
    let mut read = 0;
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        read += bytes.len();
        for (nth, needle) in needles.iter().enumerate() {
            let found = bytes.windows(needle.len()).any(|window| window == *needle);
            assert!(!found, "{nth}");
        }
    }
    assert!(read > 4096);
}

#[tokio::test]
async fn a_session_ends_unused_and_at_its_end_and_another_cookie_is_none() {
    let world = world();
    world.alice().await;
    let hour = Duration::from_secs(60 * 60);
    let new = world.signed_in().await;
    let session = world.accounts.session(&new.cookie).await.unwrap().unwrap();
    assert_eq!(session.csrf, new.session.csrf);
    let credential = Credential::Session(session.id.clone());
    assert_eq!(session.principal.credential, credential);
    for other in ["", "a", &"a".repeat(43), &new.cookie.to_lowercase()] {
        assert!(world.accounts.session(other).await.unwrap().is_none());
    }
    // Used, it goes on, but not for ever.
    for nth in 0..23 {
        world.clock.pass(hour * 7);
        assert!(world.holds(&new).await, "{nth}");
    }
    world.clock.pass(hour * 7);
    assert!(!world.holds(&new).await, "a week has 168 hours");

    let new = world.signed_in().await;
    world.clock.pass(hour * 8 - Duration::from_secs(1));
    assert!(world.holds(&new).await);
    world.clock.pass(hour * 8);
    assert!(!world.holds(&new).await);
}

#[tokio::test]
async fn each_sign_in_has_a_cookie_of_its_own_and_ends_alone() {
    let world = world();
    world.alice().await;
    let (one, two) = (world.signed_in().await, world.signed_in().await);
    assert_ne!(*one.cookie, *two.cookie);
    assert_ne!(one.session.csrf, two.session.csrf);
    assert!(world.accounts.sign_out(&one.session.id).await.unwrap());
    assert!(!world.accounts.sign_out(&one.session.id).await.unwrap());
    assert!(!world.holds(&one).await && world.holds(&two).await);
    assert!(world.parts.revocations.is_revoked(&one.session.principal));
    assert!(!world.parts.revocations.is_revoked(&two.session.principal));
}

#[tokio::test]
async fn a_revoked_session_is_over_though_its_row_is_there() {
    let world = world();
    world.alice().await;
    let new = world.signed_in().await;
    let session = Revoked::Session(&new.session.id);
    let revocations = &world.parts.revocations;
    revocations.revoke(session, None, "test", "").await.unwrap();
    assert!(!world.holds(&new).await);
    let new = world.signed_in().await;
    world.clock.pass(Duration::from_secs(1));
    let alice = id("alice");
    let user = Revoked::User(&alice);
    revocations.revoke(user, None, "test", "").await.unwrap();
    assert!(!world.holds(&new).await);
    let new = world.signed_in().await;
    assert!(world.holds(&new).await, "a new one is as good as ever");
}

#[tokio::test]
async fn another_password_ends_every_session_and_this_browser_gets_a_new_one() {
    let world = world();
    world.alice().await;
    let (here, there) = (world.signed_in().await, world.signed_in().await);
    let change = |current, new| world.accounts.change_password(&here.session, current, new);
    let refused = change(OTHER, "some wholly different one 5").await;
    assert!(matches!(refused, Err(AccountError::Wrong)));
    assert!(matches!(
        change(PASSWORD, "short").await,
        Err(AccountError::Weak(_))
    ));
    assert!(world.holds(&here).await && world.holds(&there).await);
    world.clock.pass(Duration::from_secs(1));
    let new = change(PASSWORD, OTHER).await.unwrap();
    assert!(!world.holds(&here).await && !world.holds(&there).await);
    assert!(world.holds(&new).await);
    assert!(is_wrong(&world.try_in(PASSWORD, None).await));
    assert!(world.try_in(OTHER, None).await.is_ok());
    let since = world.parts.revocations.valid_since(&id("alice"));
    assert_eq!(since, Some(world.clock.wall()), "tokens and grants too");
}

#[tokio::test]
async fn other_roles_disabling_and_deleting_end_sessions_at_once() {
    let world = world();
    world.alice().await;
    let accounts = &world.accounts;
    let new = world.signed_in().await;
    assert_eq!(new.session.principal.roles, roles(&["reader"]));
    world.clock.pass(Duration::from_secs(1));
    accounts
        .set_roles("ALICE", &roles(&["owner"]))
        .await
        .unwrap();
    assert!(!world.holds(&new).await);
    let new = world.signed_in().await;
    assert!(new.session.principal.is_owner());

    accounts.disable("alice", "test").await.unwrap();
    assert!(!world.holds(&new).await);
    assert!(world.parts.revocations.is_revoked(&new.session.principal));
    assert!(is_wrong(&world.try_in(PASSWORD, None).await));
    assert!(accounts.enable("alice", "test").await.unwrap());
    assert!(!accounts.enable("alice", "test").await.unwrap());
    assert!(!world.holds(&new).await, "what ended stays ended");

    let new = world.signed_in().await;
    accounts.delete("Alice").await.unwrap();
    assert!(!world.holds(&new).await);
    assert!(is_wrong(&world.try_in(PASSWORD, None).await));
    assert!(matches!(
        accounts.delete("alice").await,
        Err(AccountError::Unknown)
    ));
    assert!(!accounts.any().unwrap());
}

#[tokio::test]
async fn members_of_the_config_have_their_roles_in_a_session_too() {
    let world = world();
    world.alice().await;
    let new = world.signed_in().await;
    let members = BTreeMap::from([(id("alice"), roles(&["writer"]))]);
    world.accounts.reload(Settings::default(), members);
    let session = world.accounts.session(&new.cookie).await.unwrap().unwrap();
    assert_eq!(session.principal.roles, roles(&["reader", "writer"]));
}

#[tokio::test]
async fn what_the_config_gave_somebody_from_outside_it_can_take() {
    let world = world();
    let members = BTreeMap::from([(id("corp/alice"), roles(&["writer"]))]);
    world.accounts.reload(Settings::default(), members);
    let opened = world
        .accounts
        .open_external(id("corp/alice"), roles(&["reader"]));
    let new = opened.await.unwrap();
    assert_eq!(new.session.principal.roles, roles(&["reader", "writer"]));
    assert_eq!(
        new.session.roles,
        roles(&["reader"]),
        "what a grant is to have"
    );
    world.accounts.reload(Settings::default(), BTreeMap::new());
    let session = world.accounts.session(&new.cookie).await.unwrap().unwrap();
    assert_eq!(session.principal.roles, roles(&["reader"]));
}

#[tokio::test]
async fn what_ends_all_during_a_sign_in_ends_the_new_session_too() {
    let world = world();
    world.alice().await;
    let since = world.clock.wall();
    world.clock.pass(Duration::from_secs(5));
    world
        .accounts
        .end_sessions(&id("alice"), "test")
        .await
        .unwrap();
    let (alice, none) = (id("alice"), BTreeSet::new());
    let opened = world.accounts.open(&alice, Some("alice"), none, since);
    assert!(!world.holds(&opened.await.unwrap()).await);
}

#[tokio::test]
async fn somebody_from_outside_is_never_taken_for_an_account() {
    let world = world();
    world.alice().await;
    let open = |name| world.accounts.open_external(id(name), roles(&["reader"]));
    assert!(matches!(open("alice").await, Err(AccountError::Name(_))));
    let new = open("corp/alice").await.unwrap();
    let session = world.accounts.session(&new.cookie).await.unwrap().unwrap();
    assert!(!session.is_local);
    assert_eq!(session.principal.id, id("corp/alice"));
    assert_eq!(session.principal.roles, roles(&["reader"]));
    let changed = world
        .accounts
        .change_password(&session, PASSWORD, OTHER)
        .await;
    assert!(matches!(changed, Err(AccountError::Unknown)));
}

#[tokio::test]
async fn a_link_sets_one_password_once_and_in_time() {
    let world = world();
    world.alice().await;
    let (secret, _) = world.with_totp().await;
    let accounts = &world.accounts;
    let late = accounts.link_for("ALICE").await.unwrap();
    world.clock.pass(Duration::from_secs(24 * 60 * 60));
    let is_refused =
        |tried: Result<PrincipalId, AccountError>| matches!(tried, Err(AccountError::Link));
    assert!(is_refused(accounts.reset(&late.token, OTHER).await));
    let code = world.code(&secret);
    let new = world.try_in(PASSWORD, Some(&code)).await.unwrap();
    for _ in 0..6 {
        assert!(is_wrong(&world.try_in(OTHER, None).await));
    }
    world.clock.pass(Duration::from_secs(1));
    let (one, two) = (
        accounts.link_for("alice").await.unwrap(),
        accounts.link_for("alice").await.unwrap(),
    );
    assert_eq!(
        accounts.look_at(&one.token).unwrap(),
        LinkFor::Account(id("alice"))
    );
    let weak = accounts.reset(&one.token, "alice@example.com").await;
    assert!(matches!(weak, Err(AccountError::Weak(_))), "{weak:?}");
    assert_eq!(
        accounts.reset(&one.token, OTHER).await.unwrap(),
        id("alice")
    );
    assert!(
        is_refused(accounts.reset(&one.token, PASSWORD).await),
        "used"
    );
    assert!(
        is_refused(accounts.reset(&two.token, PASSWORD).await),
        "with the other"
    );
    assert!(!world.holds(&new).await);
    // It opens an account that was closed, but not the second lock.
    let tried = world.try_in(OTHER, None).await;
    assert!(matches!(tried, Err(SignInError::CodeNeeded)));
}

#[tokio::test]
async fn nobody_hears_whether_there_is_an_account_to_reset() {
    let world = world();
    assert_eq!(world.accounts.begin_reset("alice", None), Reset::NoMail);
    let mailer = Mailer::new(net::mail::Settings {
        host: "127.0.0.1".to_owned(),
        // Nobody is there: what a mail comes to is not told either.
        port: 9,
        security: net::mail::Security::Plain,
        credentials: None,
        from: "gate@example.com".to_owned(),
        authorities: None,
    });
    let world = world_with(Settings {
        mailer: Some(Arc::new(mailer.unwrap())),
        ..Settings::default()
    });
    world.alice().await;
    let last = || world.parts.store.last_link_at("alice").unwrap();
    for asked in ["nobody", "", "alice\r\nBcc: x@example.com"] {
        assert_eq!(world.accounts.begin_reset(asked, None), Reset::Queued);
    }
    world.accounts.stop().await;
    assert_eq!(last(), None);
    let asked = " ALICE@example.com ";
    assert_eq!(world.accounts.begin_reset(asked, None), Reset::Queued);
    world.accounts.stop().await;
    let first = last();
    assert!(first.is_some());
    // One mail in five minutes.
    world.clock.pass(Duration::from_secs(299));
    world.accounts.begin_reset("alice", None);
    world.accounts.stop().await;
    assert_eq!(last(), first);
    world.clock.pass(Duration::from_secs(1));
    world.accounts.begin_reset("alice", None);
    world.accounts.stop().await;
    assert_ne!(last(), first);
}

#[tokio::test]
async fn asking_for_resets_is_bounded_per_address_and_in_all() {
    let mailer = Mailer::new(net::mail::Settings {
        host: "192.0.2.1".to_owned(),
        port: 9,
        security: net::mail::Security::Plain,
        credentials: None,
        from: "gate@example.com".to_owned(),
        authorities: None,
    });
    let world = world_with(Settings {
        mailer: Some(Arc::new(mailer.unwrap())),
        ..Settings::default()
    });
    world.alice().await;
    let from = "192.0.2.7".parse().ok();
    for _ in 0..100 {
        assert_eq!(world.accounts.begin_reset("alice", from), Reset::Queued);
    }
    assert!(world.accounts.mails.lock().len() <= MAILS_MAX);
    let tried = world.accounts.sign_in("alice", PASSWORD, None, from).await;
    assert!(matches!(tried, Err(SignInError::Later { .. })));
}

#[tokio::test]
async fn names_and_addresses_are_what_they_should_be() {
    let world = world();
    let add = |name, email| {
        world.accounts.add(NewAccount {
            name,
            email,
            roles: BTreeSet::new(),
            password: None,
        })
    };
    for name in ["", "a b", "corp/alice", "local", "LOCAL", "ä"] {
        assert!(
            matches!(add(name, None).await, Err(AccountError::Name(_))),
            "{name}"
        );
    }
    for email in ["alice", "a@b@c", "a@example.com\r\nBcc: b@example.com", ""] {
        assert!(matches!(
            add("alice", Some(email)).await,
            Err(AccountError::Email(_))
        ));
    }
    add("alice", Some("a@example.com")).await.unwrap();
    assert!(matches!(add("ALICE", None).await, Err(AccountError::Taken)));
    assert!(matches!(
        add("bob", Some("A@Example.com")).await,
        Err(AccountError::Taken)
    ));
    assert_eq!(world.accounts.list().unwrap().len(), 1);
}

#[tokio::test]
async fn a_hash_of_other_days_is_replaced_at_the_next_sign_in() {
    let world = world();
    world.alice().await;
    let old = world.accounts.passwords.hash_of_other_days(PASSWORD).await;
    let store = &world.parts.store;
    let kept = store.get_account("alice").unwrap().unwrap().password;
    let kept = kept.unwrap();
    let change = |from: &str| store.change_password("alice", from.to_owned(), old.clone());
    assert!(!change("another").await.unwrap(), "not in the place of it");
    assert!(change(&kept).await.unwrap());
    assert!(is_wrong(&world.try_in(OTHER, None).await));
    let kept = || store.get_account("alice").unwrap().unwrap().password;
    assert_eq!(kept(), Some(old.clone()));
    assert!(world.try_in(PASSWORD, None).await.is_ok());
    assert_ne!(kept(), Some(old));
    assert!(world.try_in(PASSWORD, None).await.is_ok());
}
