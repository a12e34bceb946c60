//! Which passwords are taken, and that a hash is good for its password, its vault and nothing else.

use super::*;
use crate::MasterKey;

const GOOD: &str = "plum tractor velvet 9";

impl Passwords {
    /// As it would be if costs had been raised since.
    pub(in crate::accounts) async fn hash_of_other_days(&self, password: &str) -> String {
        let old = Hash {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
            salt: vec![7; SALT_LEN],
            hash: [0; HASH_LEN],
        };
        let hash = *self.derive(password, &old).await.unwrap();
        Hash { hash, ..old }.to_string()
    }
}

fn passwords(master: u8) -> Passwords {
    Passwords::new(&Vault::new(&MasterKey::new([master; 32])).unwrap())
}

#[test]
fn weak_passwords_are_refused_with_a_reason() {
    for (weak, reason) in [
        ("plum 9", "at least 12"),
        ("", "at least 12"),
        ("äöüäöüäöüäö", "11 characters"),
        ("passwordpassword", "examples"),
        ("ChangeMe-ChangeMe-1", "examples"),
        ("<your password>", "examples"),
        ("aaaaaaaaaaaaaaaa", "easy to guess"),
        ("abcdefghijklmnop", "easy to guess"),
        ("qwertyuiop1234", "easy to guess"),
        ("alice.liddell1", "easy to guess"),
    ] {
        let why = ensure_strong(weak, &["alice.liddell"]).unwrap_err();
        assert!(why.contains(reason), "{weak}: {why}");
    }
    assert!(
        ensure_strong(&"x!".repeat(200), &[])
            .unwrap_err()
            .contains("too long")
    );
    for good in [GOOD, "Fünf blaue Wörter, gut gemischt", "h7#kQ2!vLp9z"] {
        assert_eq!(ensure_strong(good, &["alice"]), Ok(()), "{good}");
    }
}

#[tokio::test]
async fn a_hash_is_good_for_its_password_and_its_vault_alone() {
    let ours = passwords(1);
    let (one, two) = (
        ours.hash(GOOD).await.unwrap(),
        ours.hash(GOOD).await.unwrap(),
    );
    assert_ne!(one, two, "salted");
    assert!(one.starts_with("$argon2id$v=19$m=32768,t=3,p=1$"), "{one}");
    let good = Checked {
        matches: true,
        is_outdated: false,
    };
    assert_eq!(ours.check(GOOD, Some(&one)).await.unwrap(), good);
    for (checker, password, kept) in [
        (&ours, "plum tractor velvet 8", Some(one.as_str())),
        (&ours, "", Some(&one)),
        (&ours, GOOD, None),
        (&ours, GOOD, Some("")),
        (&ours, GOOD, Some("$argon2id$v=19$m=32768,t=3,p=1$$")),
        (&passwords(2), GOOD, Some(&one)),
    ] {
        let checked = checker.check(password, kept).await.unwrap();
        assert!(!checked.matches, "{password} {kept:?}");
    }
    let long = format!("{GOOD}{}", " ".repeat(PASSWORD_BYTES_MAX));
    let kept = ours.hash(&long).await.unwrap();
    assert!(!ours.check(&long, Some(&kept)).await.unwrap().matches);
}

#[tokio::test]
async fn a_hash_of_other_days_is_good_and_known_as_such() {
    let ours = passwords(1);
    let kept = ours.hash_of_other_days(GOOD).await;
    let checked = ours.check(GOOD, Some(&kept)).await.unwrap();
    assert!(checked.matches && checked.is_outdated);
}

#[tokio::test]
async fn a_flood_of_passwords_has_only_so_much_memory() {
    let ours = Passwords {
        turn_wait: Duration::from_millis(20),
        ..passwords(1)
    };
    let _all = Arc::clone(&ours.turns)
        .acquire_many_owned(HASHES_MAX.try_into().unwrap())
        .await
        .unwrap();
    assert!(matches!(ours.check(GOOD, None).await, Err(Undone::Busy)));
}
