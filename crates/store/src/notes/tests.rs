//! Notes are their principal's alone, and found whatever one types.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn draft(title: &str, text: &str) -> NoteDraft {
    NoteDraft {
        title: title.to_owned(),
        text: text.to_owned(),
        tags: vec!["work".to_owned()],
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn titles(notes: &[Note]) -> Vec<&str> {
    notes.iter().map(|note| &*note.title).collect()
}

#[tokio::test]
async fn a_note_of_the_same_title_replaces_the_old_one() {
    for home in Home::both() {
        let store = home.open();
        let first = store
            .put_note("alice", draft("plan", "buy apples"), at(1))
            .await
            .unwrap();
        let second = store
            .put_note("alice", draft("plan", "buy pears"), at(2))
            .await
            .unwrap();
        assert_eq!(
            (second.id, second.created_at, second.updated_at),
            (first.id, at(1), at(2))
        );
        assert_eq!(store.get_note("alice", "plan").unwrap(), Some(second));
        assert!(store.search_notes("alice", "apples", 9).unwrap().is_empty());
        assert_eq!(store.search_notes("alice", "pears", 9).unwrap().len(), 1);
        assert!(store.delete_note("alice", "plan").await.unwrap());
        assert!(!store.delete_note("alice", "plan").await.unwrap());
        assert!(store.search_notes("alice", "pears", 9).unwrap().is_empty());
    }
}

#[tokio::test]
async fn nobody_sees_or_deletes_anothers_notes() {
    for home in Home::both() {
        let store = home.open();
        store
            .put_note("alice", draft("plan", "secret apples"), at(1))
            .await
            .unwrap();
        store
            .put_note("bob", draft("plan", "pears"), at(2))
            .await
            .unwrap();
        assert_eq!(
            store.get_note("bob", "plan").unwrap().unwrap().text,
            "pears"
        );
        assert!(store.search_notes("bob", "apples", 9).unwrap().is_empty());
        assert_eq!(titles(&store.list_notes("bob", 9).unwrap()), ["plan"]);
        assert!(store.delete_note("bob", "plan").await.unwrap());
        assert_eq!(
            store.get_note("alice", "plan").unwrap().unwrap().text,
            "secret apples"
        );
    }
}

#[tokio::test]
async fn lists_are_newest_first_and_bounded() {
    for home in Home::both() {
        let store = home.open();
        for (seconds, title) in [(1, "a"), (3, "b"), (2, "c")] {
            store
                .put_note("alice", draft(title, "x"), at(seconds))
                .await
                .unwrap();
        }
        assert_eq!(titles(&store.list_notes("alice", 2).unwrap()), ["b", "c"]);
        assert_eq!(store.search_notes("alice", "work", 2).unwrap().len(), 2);
    }
}

#[tokio::test]
async fn no_search_text_is_a_syntax_error() {
    for home in Home::both() {
        let store = home.open();
        store
            .put_note(
                "alice",
                draft("C++ and \"quotes\"", "crème brûlée AND NOT near"),
                at(1),
            )
            .await
            .unwrap();
        for text in [
            "\"", "'", "AND", "NOT OR", "a NEAR(b", "title:x", "c++", "*", "^", "(", "-", "\0",
            "a\0b", "{x}", "☃", "\"\"\"", "?*\"",
        ] {
            let found = store.search_notes("alice", text, 9);
            assert!(found.is_ok(), "{text:?}: {found:?}");
        }
        for text in ["creme", "BRÛL", "quotes", "c++ & quotes", "not and"] {
            assert_eq!(
                store.search_notes("alice", text, 9).unwrap().len(),
                1,
                "{text:?}"
            );
        }
        for text in ["", " ", "banana", "title:quotes"] {
            assert!(
                store.search_notes("alice", text, 9).unwrap().is_empty(),
                "{text:?}"
            );
        }
    }
}
