//! A log whose front was taken off proves what is left, and nothing goes that is young, held or not over.

use std::time::{Duration, SystemTime};

use super::super::merkle::{self, Frontier};
use super::super::tests::{hold, row};
use super::super::{AuditRow, Outcome};
use super::*;
use crate::trial::Home;
use crate::{SinkHold, SinkStart};

const BLOCK: u64 = super::BLOCK.unsigned_abs();

/// A log of so many rows, of which the n-th is from moment n.
async fn log(home: &Home, rows: u64) -> Store {
    let store = home.open();
    for n in 0..rows {
        add(&store, n).await;
    }
    store.flush().await.unwrap();
    store
}

async fn add(store: &Store, n: u64) {
    let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
    slot.write(&AuditRow {
        at_us: number(n),
        principal: format!("p{}", n % 7),
        ..row(&n.to_string())
    });
}

/// With no sink in the way.
async fn prune_all(store: &Store, before_us: i64) -> Option<Pruned> {
    let can = store.prunable_audit(before_us, &[]).unwrap();
    // Not behind what was said before.
    let short = store.prune_audit(before_us, Vec::new(), 0).await.unwrap();
    assert_eq!(short.taken, None);
    let to = can.taken.map_or(0, |can| can.to);
    let pruning = store.prune_audit(before_us, Vec::new(), to).await.unwrap();
    assert_eq!(pruning, can);
    assert_eq!(pruning.waits_for, None);
    pruning.taken
}

#[tokio::test]
async fn what_is_left_is_proved_as_before_and_the_log_goes_on() {
    for home in Home::both() {
        let store = log(&home, 3 * BLOCK + 20).await;
        let whole = store.audit_log().unwrap();
        let at = store.audit_log_at(2 * BLOCK + 5).unwrap();
        let path = store.audit_path(2 * BLOCK + 7, 3 * BLOCK + 20).unwrap();
        let kept = store.audit_entries(2 * BLOCK, 1000).unwrap();

        let pruned = prune_all(&store, number(2 * BLOCK + 100)).await;
        assert_eq!(
            pruned,
            Some(Pruned {
                from: 0,
                to: 2 * BLOCK
            })
        );
        assert_eq!(prune_all(&store, number(2 * BLOCK + 100)).await, None);
        assert_eq!(store.audit_first().unwrap(), 2 * BLOCK);
        assert_eq!(store.audit_log().unwrap(), whole);
        assert_eq!(store.audit_log_at(2 * BLOCK + 5).unwrap(), at);
        assert_eq!(
            store.audit_path(2 * BLOCK + 7, 3 * BLOCK + 20).unwrap(),
            path
        );
        assert_eq!(store.audit_entries(2 * BLOCK, 1000).unwrap(), kept);
        assert_eq!(store.audit_log_at(2 * BLOCK - 1).unwrap(), None);

        // From what is kept of the front, all that follows can be worked out.
        let front = store.audit_log_at(2 * BLOCK).unwrap().unwrap();
        let (mut tree, mut chain) = (front.tree, front.chain);
        for entry in &kept {
            tree.push(merkle::leaf(entry.record.as_bytes()), |_| {});
            chain = super::super::text::link(&chain, &merkle::leaf(entry.record.as_bytes()));
            assert_eq!(entry.chain, chain);
        }
        assert_eq!(tree.root(), whole.tree.root());

        for n in 0..BLOCK {
            add(&store, 10_000 + n).await;
        }
        store.flush().await.unwrap();
        let entries = store.audit_entries(2 * BLOCK, 10_000).unwrap();
        let mut tree: Frontier = store.audit_log_at(2 * BLOCK).unwrap().unwrap().tree;
        for entry in &entries {
            tree.push(merkle::leaf(entry.record.as_bytes()), |_| {});
        }
        assert_eq!(tree, store.audit_log().unwrap().tree);
    }
}

#[tokio::test]
async fn only_whole_blocks_of_old_rows_go() {
    for home in Home::both() {
        let store = log(&home, 2 * BLOCK).await;
        // One row of the block is too young by a moment.
        assert_eq!(prune_all(&store, number(BLOCK - 1)).await, None);
        let pruned = prune_all(&store, number(BLOCK)).await.unwrap();
        assert_eq!(pruned.to, BLOCK);
        assert_eq!(store.audit_entries(0, 1).unwrap()[0].place, BLOCK);
    }
}

#[tokio::test]
async fn a_row_under_a_hold_stays_and_all_behind_it() {
    for home in Home::both() {
        let store = log(&home, 3 * BLOCK).await;
        let of_one = hold(
            "h",
            Some("p3"),
            (Some(number(BLOCK)), Some(number(BLOCK + 7))),
        );
        store.add_audit_hold(of_one).await.unwrap();
        let all = number(u64::MAX);
        assert_eq!(prune_all(&store, all).await.unwrap().to, BLOCK);
        assert_eq!(prune_all(&store, all).await, None);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert!(store.release_audit_hold("h", now).await.unwrap());
        assert!(!store.release_audit_hold("h", now).await.unwrap());
        assert_eq!(store.list_audit_holds().unwrap()[0].released_at, Some(now));
        assert_eq!(prune_all(&store, all).await.unwrap().to, 3 * BLOCK);
    }
}

#[tokio::test]
async fn what_a_gate_has_begun_stays_until_it_is_over() {
    for home in Home::both() {
        let store = log(&home, BLOCK - 1).await;
        let pending = AuditRow {
            at_us: 0,
            outcome: Outcome::Pending,
            ..row("begun")
        };
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        slot.commit(&pending, Duration::from_secs(5)).await.unwrap();
        assert_eq!(prune_all(&store, i64::MAX).await, None);
        let over = AuditRow {
            outcome: Outcome::Ok,
            ..pending
        };
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        slot.commit(&over, Duration::from_secs(5)).await.unwrap();
        assert_eq!(prune_all(&store, i64::MAX).await.unwrap().to, BLOCK);
    }
}

#[tokio::test]
async fn checkpoints_over_what_is_gone_go_too() {
    for home in Home::both() {
        let store = log(&home, BLOCK + 5).await;
        for size in [BLOCK - 1, BLOCK, BLOCK + 5] {
            store
                .put_audit_checkpoint(size, size.to_string())
                .await
                .unwrap();
        }
        prune_all(&store, number(BLOCK)).await.unwrap();
        let left = store.audit_checkpoints(0, u64::MAX).unwrap();
        let sizes: Vec<u64> = left.iter().map(|(size, _)| *size).collect();
        assert_eq!(sizes, [BLOCK, BLOCK + 5]);
        assert_eq!(store.last_audit_checkpoint().unwrap().unwrap().0, BLOCK + 5);
    }
}

#[tokio::test]
async fn what_a_sink_has_not_sent_stays_and_all_behind_it() {
    for home in Home::both() {
        let store = log(&home, 3 * BLOCK).await;
        let hold = SinkHold {
            name: "siem".to_owned(),
            holder: "gate".to_owned(),
            now: SystemTime::UNIX_EPOCH,
            until: SystemTime::UNIX_EPOCH + Duration::from_secs(60),
        };
        let held = store.hold_audit_sink(hold.clone(), SinkStart::Beginning);
        let begin = held.await.unwrap().unwrap();
        let prune = async |sinks: &[&str]| {
            let sinks = sinks.iter().map(|&name| name.to_owned()).collect();
            let pruning = store.prune_audit(i64::MAX, sinks, u64::MAX).await.unwrap();
            (pruning.taken.map(|taken| taken.to), pruning.waits_for)
        };
        let waits = Some("siem".to_owned());
        assert_eq!(prune(&["new", "siem"]).await, (None, waits.clone()));
        // One more than a block: the second block is not there as a whole.
        let sent = begin + number(BLOCK) + 1;
        assert!(store.move_audit_sink(hold, sent).await.unwrap());
        assert_eq!(prune(&["siem"]).await, (Some(BLOCK), waits));
        // Nobody has it in the config any more.
        assert_eq!(prune(&["new"]).await, (Some(3 * BLOCK), None));
    }
}

/// Makes the segment in which that row stands unreadable.
fn damage(home: &Home, seq: u64) {
    home.sql(&format!(
        "UPDATE audit_segments SET records = substr(records, 1, 50) WHERE first_seq <= {seq} AND last_seq >= {seq}"
    ));
}

#[tokio::test]
async fn what_is_damaged_goes_in_its_time() {
    for home in Home::both() {
        let store = log(&home, 4 * BLOCK).await;
        // The chain goes on from a block's last row: the second block cannot be the last that goes.
        damage(&home, 2 * BLOCK);
        let names = "SELECT 1 FROM audit_names WHERE segment <= 512";
        let has_names = || {
            store
                .read(|connection| connection.exists(names, &[]))
                .unwrap()
        };
        assert!(has_names());
        assert_eq!(
            prune_all(&store, number(2 * BLOCK)).await.unwrap().to,
            BLOCK
        );
        assert_eq!(prune_all(&store, number(2 * BLOCK)).await, None);
        assert_eq!(
            prune_all(&store, number(3 * BLOCK)).await.unwrap().to,
            3 * BLOCK
        );
        assert!(!has_names());
        let front = store.audit_log_at(3 * BLOCK).unwrap().unwrap();
        let (mut chain, entries) = (front.chain, store.audit_entries(0, 9_999).unwrap());
        assert_eq!(entries.len() as u64, BLOCK);
        for entry in &entries {
            chain = super::super::text::link(&chain, &merkle::leaf(entry.record.as_bytes()));
            assert_eq!(entry.chain, chain);
        }
    }
}
