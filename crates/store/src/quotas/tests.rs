//! What two processes add to one counter is its sum, and survives.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn key(counter: &str, day: u64) -> QuotaKey {
    QuotaKey {
        counter: counter.to_owned(),
        starts_at: UNIX_EPOCH + Duration::from_secs(day * 86_400),
    }
}

fn used(calls: i64, bytes: i64, cost: i64) -> QuotaUsed {
    QuotaUsed { calls, bytes, cost }
}

#[tokio::test]
async fn two_processes_add_to_one_sum_that_outlives_them() {
    for home in Home::both() {
        let (one, other) = (home.open(), home.open());
        let alice = key("daily alice", 1);
        let add = |store: Store, more| {
            let alice = alice.clone();
            async move { store.add_quota_used(vec![(alice, more)]).await.unwrap() }
        };
        assert_eq!(add(one.clone(), used(2, 10, 2)).await, [used(2, 10, 2)]);
        assert_eq!(add(other.clone(), used(1, 5, 7)).await, [used(3, 15, 9)]);
        // Given back.
        assert_eq!(add(one.clone(), used(-1, 0, -7)).await, [used(2, 15, 2)]);
        one.close().await;
        other.close().await;
        drop((one, other));
        let again = home.open();
        assert_eq!(again.get_quota_used(&alice).unwrap(), Some(used(2, 15, 2)));
        assert_eq!(again.get_quota_used(&key("daily alice", 2)).unwrap(), None);
    }
}

#[tokio::test]
async fn old_windows_are_forgotten() {
    for home in Home::both() {
        let store = home.open();
        let rows = (1..=3).map(|day| (key("daily", day), used(1, 1, 1)));
        store.add_quota_used(rows.collect()).await.unwrap();
        let before = key("daily", 3).starts_at;
        assert_eq!(store.prune_quotas(before).await.unwrap(), 2);
        assert!(store.get_quota_used(&key("daily", 3)).unwrap().is_some());
    }
}
