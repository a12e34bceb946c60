//! One gate sends at a time, and where it was is known to the next.

use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::trial::Home;

fn hold(holder: &str, now: u64) -> SinkHold {
    SinkHold {
        name: "siem".to_owned(),
        holder: holder.to_owned(),
        now: UNIX_EPOCH + Duration::from_secs(now),
        until: UNIX_EPOCH + Duration::from_secs(now + 60),
    }
}

#[tokio::test]
async fn one_gate_holds_a_sink_until_it_lets_go_or_is_silent() {
    for home in Home::both() {
        let store = home.open();
        let take = async |gate: &str, now| {
            let held = store.hold_audit_sink(hold(gate, now), SinkStart::Beginning);
            held.await.unwrap()
        };
        assert_eq!(take("one", 100).await, Some(0));
        assert_eq!(take("other", 120).await, None, "held");
        assert!(store.move_audit_sink(hold("one", 120), 7).await.unwrap());
        assert!(!store.move_audit_sink(hold("other", 120), 9).await.unwrap());
        assert_eq!(take("other", 170).await, None, "moving keeps it");
        assert_eq!(take("other", 181).await, Some(7), "silent for too long");
        assert!(
            !store.move_audit_sink(hold("one", 181), 8).await.unwrap(),
            "another gate's by now"
        );
        let release = store.release_audit_sink("siem".to_owned(), "other".to_owned());
        release.await.unwrap();
        assert_eq!(take("one", 182).await, Some(7));
    }
}

#[tokio::test]
async fn a_position_never_goes_back_and_a_success_ends_the_failure() {
    for home in Home::both() {
        let store = home.open();
        let held = store.hold_audit_sink(hold("one", 1), SinkStart::Now).await;
        assert_eq!(held.unwrap(), Some(store.audit_end().unwrap()));
        let since = UNIX_EPOCH + Duration::from_secs(5);
        let fail = store.fail_audit_sink(hold("one", 5), "no connection".to_owned(), since);
        fail.await.unwrap();
        let failing = store.audit_sinks().unwrap().remove(0);
        assert_eq!(failing.error, Some(("no connection".to_owned(), since)));
        assert!(store.move_audit_sink(hold("one", 6), 12).await.unwrap());
        assert!(!store.move_audit_sink(hold("one", 7), 11).await.unwrap());
        let row = store.audit_sinks().unwrap().remove(0);
        assert_eq!((row.position, row.error), (12, None));
    }
}
