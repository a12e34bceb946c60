//! What becomes of more requests than may wait to be written.

use tokio::task::JoinSet;

use super::*;

type Asking = JoinSet<Result<Outcome<Bytes>, Error>>;

/// Asks so many questions at once.
fn ask(connection: Connection, count: usize) -> Asking {
    let connection = Arc::new(connection);
    let mut asking = JoinSet::new();
    for id in (1_u64..).take(count) {
        let connection = Arc::clone(&connection);
        asking.spawn(async move {
            let params = Bytes::from_static(b"{}");
            connection.exchange(Outgoing::own(id, "m", params)).await
        });
    }
    asking
}

#[tokio::test]
async fn a_crowd_larger_than_the_queue_gets_through() {
    let (connection, mut ends) = open(&UpstreamId::new("up").unwrap());
    let asking = ask(connection, 3 * QUEUE_MAX);
    for _ in 0..3 * QUEUE_MAX {
        assert!(ends.queue.recv().await.is_some());
    }
    ends.inbox.close();
    for ended in asking.join_all().await {
        assert!(matches!(ended, Err(Error::Gone)), "{ended:?}");
    }
}

#[tokio::test]
async fn who_takes_nothing_is_overloaded() {
    let (connection, ends) = open(&UpstreamId::new("up").unwrap());
    let mut asking = ask(connection, QUEUE_MAX + 10);
    for _ in 0..10 {
        let ended = asking.join_next().await.unwrap().unwrap();
        assert!(matches!(ended, Err(Error::Full)), "{ended:?}");
    }
    drop(ends.queue);
    ends.inbox.close();
    for ended in asking.join_all().await {
        assert!(matches!(ended, Err(Error::Gone)), "{ended:?}");
    }
}

#[tokio::test]
async fn who_waits_for_a_place_hears_that_the_connection_is_gone() {
    let (connection, ends) = open(&UpstreamId::new("up").unwrap());
    let mut asking = ask(connection, QUEUE_MAX + 1);
    // All have been asked, as far as they could be.
    tokio::task::yield_now().await;
    drop(ends.queue);
    let ended = asking.join_next().await.unwrap().unwrap();
    assert!(matches!(ended, Err(Error::Down { .. })), "{ended:?}");
}
