//! What is compiled once, kept, and let go.

use super::*;

fn text(nth: usize, filler: usize) -> String {
    format!(
        "{{\"type\":\"object\",\"description\":\"{}\",\"minProperties\":{nth}}}",
        "x".repeat(filler)
    )
}

async fn get(schemas: &Schemas, text: &str) -> Compiled {
    schemas.get(hash(text), || text.to_owned()).await
}

#[tokio::test]
async fn the_same_text_is_compiled_once() {
    let schemas = Schemas::new();
    let text = text(1, 0);
    let first = get(&schemas, &text).await.unwrap();
    for _ in 0..2_000 {
        let again = schemas.get(hash(&text), || unreachable!("it is there"));
        assert!(Arc::ptr_eq(&first, &again.await.unwrap()));
    }
}

#[tokio::test]
async fn those_who_ask_at_once_wait_for_the_same() {
    let schemas = Schemas::new();
    let text = text(1, 0);
    let all = futures_util::future::join_all((0..100).map(|_| get(&schemas, &text))).await;
    let first = all[0].as_ref().unwrap();
    assert!(
        all.iter()
            .all(|one| Arc::ptr_eq(first, one.as_ref().unwrap()))
    );
}

#[tokio::test]
async fn what_is_kept_has_a_bound_and_what_was_used_last_stays() {
    let schemas = Schemas::new();
    let used = text(0, 200_000);
    let first = get(&schemas, &used).await.unwrap();
    for nth in 1..100 {
        get(&schemas, &text(nth, 200_000)).await.unwrap();
        assert!(Arc::ptr_eq(&first, &get(&schemas, &used).await.unwrap()));
        let kept = schemas.kept.lock();
        assert!(kept.bytes <= SCHEMAS_BYTES_MAX);
        assert_eq!(
            kept.bytes,
            kept.by_hash.values().map(|slot| slot.bytes).sum::<usize>()
        );
    }
    assert!(
        !schemas
            .kept
            .lock()
            .by_hash
            .contains_key(&hash(&text(1, 200_000)))
    );
    let many = Schemas::new();
    for nth in 0..=SCHEMAS_MAX {
        many.kept.lock().add(hash(&nth.to_string()), 1);
    }
    assert_eq!(many.kept.lock().by_hash.len(), SCHEMAS_MAX);
}

#[tokio::test]
async fn what_cannot_be_used_says_why_and_is_not_tried_again() {
    let schemas = Schemas::new();
    let bad = "{\"type\":7}";
    let why = get(&schemas, bad).await.unwrap_err();
    assert!(why.contains("cannot be used"), "{why}");
    let again = schemas.get(hash(bad), || unreachable!("it is known"));
    assert_eq!(again.await.unwrap_err(), why);
}
