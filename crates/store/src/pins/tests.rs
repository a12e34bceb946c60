//! What is first is approved once; what comes after it waits; a yes is to one definition.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

const AT: SystemTime = UNIX_EPOCH;

fn draft(name: &str, digest: &str) -> PinDraft {
    PinDraft {
        kind: "tool",
        name: name.to_owned(),
        digest: digest.to_owned(),
        definition: ["definition ", digest].concat(),
        new_by: Some("first use"),
    }
}

fn offer(drafts: Vec<PinDraft>) -> PinOffer {
    PinOffer {
        upstream: "files".to_owned(),
        drafts,
        gone: Vec::new(),
        changed_by: None,
        at: AT,
    }
}

fn read() -> PinName {
    PinName {
        upstream: "files".to_owned(),
        kind: "tool".to_owned(),
        name: "read".to_owned(),
    }
}

fn yes(digest: &str) -> Vec<PinApproval> {
    vec![PinApproval {
        of: read(),
        digest: digest.to_owned(),
    }]
}

/// Digests and states of the entry, oldest first.
fn states(store: &Store) -> Vec<(String, PinState)> {
    let rows = store.list_pins_of(&read()).unwrap();
    rows.into_iter()
        .map(|row| (row.digest, row.state))
        .collect()
}

#[tokio::test]
async fn the_first_definition_is_approved_and_the_next_waits() {
    for home in Home::both() {
        let store = home.open();
        let first = store.offer_pins(offer(vec![draft("read", "a")])).await;
        assert_eq!(first.unwrap(), [Placed::First]);
        let again = store.offer_pins(offer(vec![draft("read", "a")])).await;
        assert_eq!(again.unwrap(), [Placed::Known]);
        let next = store.offer_pins(offer(vec![draft("read", "b")])).await;
        assert_eq!(next.unwrap(), [Placed::WaitsAsChanged]);
        let rows = store.list_pins_of(&read()).unwrap();
        assert_eq!(rows[0].by.as_deref(), Some("first use"));
        assert_eq!(rows[1].definition.as_deref(), Some("definition b"));
        assert_eq!(rows[1].state, PinState::Waiting);
        // Of what waits there is one: the last that was offered.
        store
            .offer_pins(offer(vec![draft("read", "c")]))
            .await
            .unwrap();
        let expected = [("a", PinState::Approved), ("c", PinState::Waiting)];
        assert_eq!(states(&store), expected.map(|(d, s)| (d.to_owned(), s)));
    }
}

#[tokio::test]
async fn a_yes_is_to_what_waits_and_to_nothing_else() {
    for home in Home::both() {
        let store = home.open();
        for digest in ["a", "b", "c"] {
            store
                .offer_pins(offer(vec![draft("read", digest)]))
                .await
                .unwrap();
        }
        // `b` was looked at, and `c` has come since.
        assert_eq!(
            store.approve_pins(yes("b"), AT, "ann").await.unwrap(),
            [false]
        );
        assert_eq!(
            store.approve_pins(yes("a"), AT, "ann").await.unwrap(),
            [false]
        );
        assert_eq!(
            store.approve_pins(yes("c"), AT, "ann").await.unwrap(),
            [true]
        );
        let expected = [("a", PinState::Superseded), ("c", PinState::Approved)];
        assert_eq!(states(&store), expected.map(|(d, s)| (d.to_owned(), s)));
        assert_eq!(
            store.list_pins().unwrap().pop().unwrap().by.as_deref(),
            Some("ann")
        );
    }
}

#[tokio::test]
async fn what_was_approved_once_does_not_come_back_by_itself() {
    for home in Home::both() {
        let store = home.open();
        for digest in ["a", "b"] {
            store
                .offer_pins(offer(vec![draft("read", digest)]))
                .await
                .unwrap();
        }
        store.approve_pins(yes("b"), AT, "ann").await.unwrap();
        let back = store.offer_pins(offer(vec![draft("read", "a")])).await;
        assert_eq!(back.unwrap(), [Placed::WaitsAsChanged]);
        // Withdrawn, it is what it was: known, and not approved.
        let mut none = offer(Vec::new());
        none.gone.push(("tool", "read".to_owned()));
        store.offer_pins(none).await.unwrap();
        let expected = [("a", PinState::Superseded), ("b", PinState::Approved)];
        assert_eq!(states(&store), expected.map(|(d, s)| (d.to_owned(), s)));
    }
}

#[tokio::test]
async fn what_is_in_quarantine_waits_whatever_the_config_says_later() {
    for home in Home::both() {
        let store = home.open();
        let mut quarantine = offer(vec![draft("read", "a")]);
        quarantine.drafts[0].new_by = None;
        assert_eq!(
            store.offer_pins(quarantine).await.unwrap(),
            [Placed::WaitsAsNew]
        );
        let lenient = || PinOffer {
            changed_by: Some("config"),
            ..offer(vec![draft("read", "a"), draft("read", "b")])
        };
        assert_eq!(
            store.offer_pins(lenient()).await.unwrap(),
            [Placed::Known, Placed::WaitsAsNew]
        );
        store.approve_pins(yes("b"), AT, "ann").await.unwrap();
        // Once there is an approved one, another is a change, and changes are accepted here.
        assert_eq!(
            store.offer_pins(lenient()).await.unwrap(),
            [Placed::Accepted, Placed::Accepted]
        );
    }
}

#[tokio::test]
async fn what_is_forgotten_is_new() {
    for home in Home::both() {
        let store = home.open();
        let drafts = vec![draft("read", "a"), draft("write", "w")];
        store.offer_pins(offer(drafts)).await.unwrap();
        assert_eq!(store.forget_pins("other").await.unwrap(), 0);
        assert_eq!(store.forget_pins("files").await.unwrap(), 2);
        let first = store.offer_pins(offer(vec![draft("read", "b")])).await;
        assert_eq!(first.unwrap(), [Placed::First]);
    }
}

#[tokio::test]
async fn a_text_beyond_the_bound_is_not_kept_and_its_digest_is() {
    for home in Home::both() {
        let store = home.open();
        let mut long = draft("read", "a");
        long.definition = "x".repeat(DEFINITION_BYTES_MAX + 1);
        store.offer_pins(offer(vec![long])).await.unwrap();
        let row = store.list_pins_of(&read()).unwrap().remove(0);
        assert_eq!((row.definition, row.state), (None, PinState::Approved));
        assert_eq!(row.bytes, DEFINITION_BYTES_MAX as u64 + 1);
    }
}

#[tokio::test]
async fn of_one_entry_so_many_old_definitions_are_remembered_and_no_more() {
    for home in Home::both() {
        let store = home.open();
        for at in 0..20_u64 {
            let mut next = offer(vec![draft("read", &at.to_string())]);
            next.changed_by = Some("config");
            next.at = AT + Duration::from_secs(at);
            store.offer_pins(next).await.unwrap();
        }
        let states = states(&store);
        assert_eq!(states.len(), SUPERSEDED_MAX as usize + 1);
        assert_eq!(
            states.last().unwrap(),
            &("19".to_owned(), PinState::Approved)
        );
    }
}

#[tokio::test]
async fn a_change_is_counted_for_those_who_keep_pins_in_memory() {
    for home in Home::both() {
        let store = home.open();
        let mut changes = store.changes().unwrap();
        let before = changes.counts().unwrap();
        store
            .offer_pins(offer(vec![draft("read", "a")]))
            .await
            .unwrap();
        let after = changes.counts().unwrap();
        assert_ne!(after.pins, before.pins);
        assert_eq!(
            (after.keys, after.revocations),
            (before.keys, before.revocations)
        );
    }
}
