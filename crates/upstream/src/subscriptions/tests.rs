//! Many watchers of a resource, one subscription of the upstream.

use super::*;

fn table() -> Arc<Table> {
    Arc::new(Table::new(UpstreamId::new("s").expect("a name")))
}

fn watch(table: &Arc<Table>, uri: &str, updates: &Updates) -> Subscription {
    table.enter(uri, updates).expect("room")
}

fn all(updates: &Updates) -> Vec<String> {
    std::iter::from_fn(|| updates.take())
        .map(|update| update.uri)
        .collect()
}

fn told(uri: &str) -> Bytes {
    bare(uri)
}

#[test]
fn an_update_reaches_exactly_those_who_watch_the_resource_or_what_it_is_a_part_of() {
    let table = table();
    let names = [
        "x://a",
        "x://a/",
        "x://a/b",
        "x://ab",
        "x://a/b/c",
        "x://other",
    ];
    let watchers: Vec<(Updates, Subscription)> = names
        .iter()
        .map(|uri| {
            let updates = Updates::default();
            let subscription = watch(&table, uri, &updates);
            (updates, subscription)
        })
        .collect();
    table.tell(&told("x://a/b"));
    let heard: Vec<usize> = watchers.iter().map(|(own, _)| all(own).len()).collect();
    assert_eq!(heard, [1, 1, 1, 0, 0, 0]);
    table.tell(&told("x://ab#part"));
    let heard: Vec<usize> = watchers.iter().map(|(own, _)| all(own).len()).collect();
    assert_eq!(heard, [0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_storm_of_updates_is_one_with_the_last_words() {
    let table = table();
    let updates = Updates::default();
    let _watching = watch(&table, "x://a", &updates);
    for count in 0..500 {
        table.tell(&format!("{{\"uri\":\"x://a\",\"count\":{count}}}").into());
    }
    let last = updates.take().expect("one");
    assert_eq!(last.params, "{\"uri\":\"x://a\",\"count\":499}");
    assert_eq!(updates.take(), None);
}

#[test]
fn a_client_that_does_not_read_costs_a_bounded_queue() {
    let table = table();
    let updates = Updates::default();
    let _watching = watch(&table, "x://a", &updates);
    for part in 0..3 * WAITING_MAX {
        table.tell(&told(&format!("x://a/{part}")));
    }
    let heard = all(&updates);
    assert_eq!(heard.len(), WAITING_MAX + 1);
    assert_eq!(heard.last().map(String::as_str), Some("x://a"));
}

#[test]
fn a_resource_stays_wanted_for_a_moment_after_the_last_has_gone() {
    let table = table();
    let updates = Updates::default();
    let first = watch(&table, "x://a", &updates);
    let second = watch(&table, "x://a", &updates);
    drop(first);
    let now = Instant::now();
    assert_eq!(table.wanted(now).1, None);
    drop(second);
    let (wanted, next) = table.wanted(now);
    assert!(wanted.contains("x://a"));
    let next = next.expect("an end");
    assert_eq!(table.wanted(next), (BTreeSet::new(), None));
}

#[tokio::test]
async fn what_was_refused_is_asked_for_anew_by_the_next_who_wants_it() {
    let table = table();
    let updates = Updates::default();
    let first = watch(&table, "x://a", &updates);
    table.settle("x://a", Standing::Refused("no".to_owned()));
    assert_eq!(first.settled().await, Standing::Refused("no".to_owned()));
    assert!(table.wanted(Instant::now()).0.is_empty());
    let second = watch(&table, "x://a", &updates);
    assert!(table.wanted(Instant::now()).0.contains("x://a"));
    table.settle("x://a", Standing::Honoured);
    assert_eq!(second.settled().await, Standing::Honoured);
}

#[test]
fn after_a_gap_the_watchers_are_told_once_the_upstream_listens_again() {
    let table = table();
    let updates = Updates::default();
    let _watching = watch(&table, "x://a", &updates);
    table.settle("x://a", Standing::Honoured);
    assert!(all(&updates).is_empty());
    table.begin_again();
    table.settle("x://a", Standing::Honoured);
    assert_eq!(all(&updates), ["x://a"]);
    table.settle("x://a", Standing::Honoured);
    assert!(all(&updates).is_empty());
}
