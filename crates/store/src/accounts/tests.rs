//! What must happen together does, and what works once works once.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::BrowserSessionRow;
use crate::trial::Home;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn draft(name: &str, email: Option<&str>) -> AccountDraft {
    AccountDraft {
        name: name.to_owned(),
        email: email.map(str::to_owned),
        roles: vec!["owner".to_owned()],
        password: None,
        created_at: at(1),
    }
}

fn link(hash: u8, account: Option<&str>) -> LinkRow {
    LinkRow {
        hash: [hash; 32],
        account: account.map(str::to_owned),
        created_at: at(1),
        expires_at: at(100),
    }
}

fn session(id: &str, principal: &str, created: u64) -> BrowserSessionRow {
    let mut hash = [0; 32];
    hash[..id.len()].copy_from_slice(id.as_bytes());
    BrowserSessionRow {
        id: id.to_owned(),
        hash,
        principal: principal.to_owned(),
        account: (!principal.contains('/')).then(|| principal.to_owned()),
        roles: Vec::new(),
        created_at: at(created),
        seen_at: at(created),
        expires_at: at(created + 1000),
    }
}

#[tokio::test]
async fn names_and_addresses_are_one_in_any_case() {
    for home in Home::both() {
        let store = home.open();
        assert!(!store.has_accounts().unwrap());
        assert!(
            store
                .put_account(draft("Alice", Some("a@example.com")))
                .await
                .unwrap()
        );
        assert!(store.has_accounts().unwrap());
        assert!(!store.put_account(draft("aLICE", None)).await.unwrap());
        assert!(
            !store
                .put_account(draft("bob", Some("A@example.com")))
                .await
                .unwrap()
        );
        assert_eq!(store.get_account("alice").unwrap().unwrap().name, "Alice");
        assert_eq!(
            store.find_account("A@EXAMPLE.com").unwrap().unwrap().name,
            "Alice"
        );
        assert_eq!(store.get_account("a@example.com").unwrap(), None);
    }
}

#[tokio::test]
async fn the_first_account_is_made_once_and_by_the_last_link() {
    for home in Home::both() {
        let store = home.open();
        assert!(store.put_link(link(1, None)).await.unwrap());
        assert!(store.put_link(link(2, None)).await.unwrap());
        let make =
            |hash: u8, now| store.put_first_account(draft("alice", None), [hash; 32], at(now));
        assert!(!make(1, 2).await.unwrap(), "replaced");
        assert!(!make(2, 100).await.unwrap(), "too old");
        assert!(make(2, 99).await.unwrap());
        assert!(!make(2, 99).await.unwrap(), "used");
        assert!(
            !store.put_link(link(3, None)).await.unwrap(),
            "not the first"
        );
    }
}

#[tokio::test]
async fn a_password_set_by_link_ends_links_and_sessions_of_that_account_alone() {
    for home in Home::both() {
        let store = home.open();
        for name in ["alice", "bob"] {
            store.put_account(draft(name, None)).await.unwrap();
            let row = session(name, name, 1);
            store.put_browser_session(row, 5, at(0)).await.unwrap();
        }
        for (hash, account) in [(1, "alice"), (2, "alice"), (3, "bob")] {
            store.put_link(link(hash, Some(account))).await.unwrap();
        }
        let set = |hash: u8| store.set_password_by_link([hash; 32], "phc".to_owned(), at(2));
        assert_eq!(set(1).await.unwrap().as_deref(), Some("alice"));
        assert_eq!(set(1).await.unwrap(), None);
        assert_eq!(set(2).await.unwrap(), None);
        assert!(store.get_link([3; 32], at(2)).unwrap().is_some());
        let left = store.list_browser_sessions().unwrap();
        assert_eq!(left, [session("bob", "bob", 1)]);
    }
}

#[tokio::test]
async fn a_step_and_a_recovery_code_are_taken_once() {
    for home in Home::both() {
        let store = home.open();
        store.put_account(draft("alice", None)).await.unwrap();
        assert!(store.draft_totp("alice", vec![1]).await.unwrap());
        let confirm = |sealed| store.confirm_totp("alice", vec![sealed], 7, vec![[1; 32], [2; 32]]);
        assert!(!confirm(9).await.unwrap(), "another draft");
        assert!(confirm(1).await.unwrap());
        assert!(!confirm(1).await.unwrap());
        assert!(!store.draft_totp("alice", vec![2]).await.unwrap());
        assert!(!store.take_totp_step("alice", 7).await.unwrap());
        assert!(store.take_totp_step("alice", 8).await.unwrap());
        assert!(!store.take_totp_step("alice", 7).await.unwrap());
        assert!(store.take_recovery_code("alice", [2; 32]).await.unwrap());
        assert!(!store.take_recovery_code("alice", [2; 32]).await.unwrap());
        assert_eq!(
            store.get_account("alice").unwrap().unwrap().recovery_codes,
            1
        );
        assert!(store.clear_totp("alice").await.unwrap());
        let row = store.get_account("alice").unwrap().unwrap();
        assert_eq!((row.totp, row.recovery_codes), (None, 0));
    }
}

#[tokio::test]
async fn another_address_ends_the_links_that_the_old_one_got() {
    for home in Home::both() {
        let store = home.open();
        store.put_account(draft("alice", None)).await.unwrap();
        let taken = draft("bob", Some("bob@example.com"));
        store.put_account(taken).await.unwrap();
        store.put_link(link(1, Some("alice"))).await.unwrap();
        let set = |email| store.set_account_email("alice", Some(email));
        assert!(!set("bob@example.com").await.unwrap());
        assert!(store.get_link([1; 32], at(2)).unwrap().is_some());
        assert!(set("alice@example.com").await.unwrap());
        assert_eq!(store.get_link([1; 32], at(2)).unwrap(), None);
    }
}

#[tokio::test]
async fn an_account_takes_all_that_hangs_on_it_along() {
    for home in Home::both() {
        let store = home.open();
        store.put_account(draft("alice", None)).await.unwrap();
        store.put_link(link(1, Some("alice"))).await.unwrap();
        let row = session("s", "alice", 1);
        store.put_browser_session(row, 5, at(0)).await.unwrap();
        assert!(store.delete_account("ALICE").await.unwrap());
        assert!(!store.delete_account("alice").await.unwrap());
        assert!(store.list_browser_sessions().unwrap().is_empty());
        assert_eq!(store.get_link([1; 32], at(2)).unwrap(), None);
        let orphan = session("t", "alice", 1);
        assert!(store.put_browser_session(orphan, 5, at(0)).await.is_err());
    }
}

#[tokio::test]
async fn a_principal_keeps_its_newest_sessions() {
    for home in Home::both() {
        let store = home.open();
        for nth in 1..=5 {
            let row = session(&format!("s{nth}"), "corp/alice", nth);
            store.put_browser_session(row, 3, at(0)).await.unwrap();
        }
        let other = session("o", "corp/bob", 1);
        store.put_browser_session(other, 3, at(0)).await.unwrap();
        let ids = |store: &Store| {
            let rows = store.list_browser_sessions().unwrap();
            rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&store), ["s5", "s4", "s3", "o"]);
        // What nobody used goes when the next one comes, and so does what is over.
        store.touch_browser_session("s5", at(60)).await.unwrap();
        let late = session("late", "corp/carol", 100);
        store.put_browser_session(late, 3, at(50)).await.unwrap();
        assert_eq!(ids(&store), ["late", "s5"]);
        assert_eq!(
            store.delete_browser_session("s5").await.unwrap(),
            Some(at(1005))
        );
        assert_eq!(store.delete_browser_session("s5").await.unwrap(), None);
    }
}
