//! Who looks at something finds the one that is meant, and says yes to nothing else.

use std::time::UNIX_EPOCH;

use serde_json::json;
use store::{PinDraft, PinOffer};
use tempfile::TempDir;

use super::*;

fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    (folder, store)
}

async fn offer(store: &Store, kind: PinKind, name: &str, definition: &Value) -> String {
    let digest = policy::canonical::digest(definition);
    let offer = PinOffer {
        upstream: "files".to_owned(),
        drafts: vec![PinDraft {
            kind: kind.as_str(),
            name: name.to_owned(),
            digest: digest.clone(),
            definition: definition.to_string(),
            new_by: Some("first use"),
        }],
        gone: Vec::new(),
        changed_by: None,
        at: UNIX_EPOCH,
    };
    store.offer_pins(offer).await.unwrap();
    digest
}

fn start(digest: &str, digits: usize) -> String {
    digest.chars().take(digits).collect()
}

#[tokio::test]
async fn one_name_of_several_kinds_wants_its_kind() {
    let (_folder, store) = store();
    offer(&store, PinKind::Tool, "read", &json!({ "name": "read" })).await;
    offer(&store, PinKind::Prompt, "read", &json!({ "name": "read" })).await;
    offer(&store, PinKind::Server, "", &json!({ "name": "files" })).await;
    let found = find(&store, "files.read", Some(PinKind::Prompt)).unwrap();
    assert_eq!(found.kind, "prompt");
    let several = find(&store, "files.read", None).unwrap_err().to_string();
    assert!(several.contains("(prompt, tool)"), "{several}");
    assert_eq!(find(&store, "files", None).unwrap().kind, "server");
    for none in ["files.write", "read", "other.read"] {
        let error = find(&store, none, None).unwrap_err();
        assert!(matches!(error, ReviewError::Unknown(_)), "{error}");
    }
}

#[tokio::test]
async fn the_beginning_of_a_digest_is_enough_if_it_is_long_enough() {
    let (_folder, store) = store();
    let first = offer(&store, PinKind::Tool, "read", &json!({ "name": "read" })).await;
    let of = find(&store, "files.read", None).unwrap();
    let approve = |digest: String| {
        let (store, of) = (store.clone(), of.clone());
        async move { approve(&store, &of, &digest, UNIX_EPOCH, "ann").await }
    };
    let nothing = approve(first.clone()).await.unwrap_err();
    assert!(matches!(nothing, ReviewError::NothingWaits(_)), "{nothing}");
    let next = json!({ "name": "read", "title": "Read" });
    let next = offer(&store, PinKind::Tool, "read", &next).await;
    for wrong in [first, start(&next, DIGEST_DIGITS_MIN - 1), String::new()] {
        let error = approve(wrong).await.unwrap_err();
        assert!(matches!(error, ReviewError::Changed(_)), "{error}");
    }
    approve(start(&next, DIGEST_DIGITS_MIN)).await.unwrap();
    let [entry] = <[PinnedEntry; 1]>::try_from(list(&store).unwrap()).unwrap();
    assert_eq!(entry.approved.unwrap().digest, next);
    assert_eq!(entry.waiting, None);
}

#[tokio::test]
async fn what_was_too_long_to_keep_cannot_be_compared_and_says_so() {
    let (_folder, store) = store();
    offer(&store, PinKind::Tool, "read", &json!({ "name": "read" })).await;
    let of = find(&store, "files.read", None).unwrap();
    assert_eq!(
        compare_waiting(&store, &of).unwrap().changes,
        Some(Vec::new())
    );
    let long = json!({ "name": "read", "title": "x".repeat(store::DEFINITION_BYTES_MAX) });
    offer(&store, PinKind::Tool, "read", &long).await;
    let compared = compare_waiting(&store, &of).unwrap();
    assert!(compared.changes.is_none() && compared.entry.is_withheld());
}

#[tokio::test]
async fn of_many_those_that_changed_since_are_not_approved() {
    let (_folder, store) = store();
    for name in ["read", "write"] {
        offer(&store, PinKind::Tool, name, &json!({ "name": name })).await;
        offer(
            &store,
            PinKind::Tool,
            name,
            &json!({ "name": name, "title": "B" }),
        )
        .await;
    }
    let looked_at = list(&store).unwrap();
    offer(
        &store,
        PinKind::Tool,
        "read",
        &json!({ "name": "read", "title": "C" }),
    )
    .await;
    let changed = approve_all(&store, &looked_at, UNIX_EPOCH, "ann")
        .await
        .unwrap();
    assert_eq!(changed, ["files.read"]);
    let waiting: Vec<String> = list(&store)
        .unwrap()
        .iter()
        .filter(|entry| entry.is_withheld())
        .map(PinnedEntry::title)
        .collect();
    assert_eq!(waiting, ["files.read"]);
}
