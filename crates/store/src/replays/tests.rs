//! What was used once is used up, also after a restart, until it may be forgotten.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test]
async fn what_was_used_stays_used_after_reopening_until_its_end() {
    for home in Home::both() {
        let store = home.open();
        assert!(store.put_replay([1; 32], at(60), at(0)).await.unwrap());
        assert!(!store.put_replay([1; 32], at(60), at(1)).await.unwrap());
        store.close().await;
        drop(store);

        let store = home.open();
        assert!(!store.put_replay([1; 32], at(90), at(59)).await.unwrap());
        assert!(store.put_replay([2; 32], at(90), at(59)).await.unwrap());
        assert!(store.put_replay([1; 32], at(120), at(60)).await.unwrap());
        assert!(!store.put_replay([1; 32], at(120), at(61)).await.unwrap());
    }
}

#[tokio::test]
async fn what_is_past_its_end_is_removed() {
    for home in Home::both() {
        let store = home.open();
        for byte in 0..200_u8 {
            let now = at(u64::from(byte));
            let until = now + Duration::from_secs(10);
            assert!(store.put_replay([byte; 32], until, now).await.unwrap());
        }
        let rows: u32 = store
            .read(|connection| {
                connection.only("SELECT count(*) FROM replays", &[], |row| row.get(0))
            })
            .unwrap();
        assert_eq!(rows, 10);
    }
}
