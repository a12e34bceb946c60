//! What a person's records say of it goes for good, and what they prove stays.

use std::fs;
use std::time::{Duration, SystemTime};

use super::super::merkle;
use super::super::tests::{hold, row};
use super::super::{AuditFilter, AuditRow};
use super::*;
use crate::trial::Home;

const NAME: &str = "carol-whom-nobody-else-is-called";

async fn log(home: &Home) -> Store {
    let store = home.open();
    for (at_us, principal, subject) in [
        (1, NAME, None),
        (2, "alice", None),
        (3, "alice", Some(NAME)),
        (4, NAME, None),
    ] {
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        let row = AuditRow {
            at_us,
            principal: principal.to_owned(),
            subject: subject.map(str::to_owned),
            credential: format!("api_key:of-{principal}"),
            address: Some("192.0.2.7".to_owned()),
            actor: Some("https://app.example".to_owned()),
            arguments: Some(format!("{{\"of\":\"{principal}\"}}")),
            reason: Some(format!("because of {principal}")),
            ..row(&at_us.to_string())
        };
        slot.commit(&row, Duration::from_secs(5)).await.unwrap();
    }
    store
}

/// The chain, worked out from the records; how many have no personal part.
fn check(store: &Store) -> usize {
    let entries = store.audit_entries(0, 100).unwrap();
    let (mut chain, mut tree) = (merkle::Hash::default(), merkle::Frontier::default());
    for entry in &entries {
        chain = text::link(&chain, &merkle::leaf(entry.record.as_bytes()));
        assert_eq!(entry.chain, chain);
        tree.push(merkle::leaf(entry.record.as_bytes()), |_| {});
    }
    assert_eq!(store.audit_log().unwrap().tree, tree);
    entries
        .iter()
        .filter(|entry| entry.personal.is_none())
        .count()
}

#[tokio::test]
async fn all_records_of_a_person_and_about_it_are_erased_and_the_log_holds() {
    for home in Home::both() {
        let store = log(&home).await;
        let before = store.audit_log().unwrap();
        assert_eq!(check(&store), 0);
        assert_eq!(
            store.audit_of(NAME, 0, i64::MAX, 9).unwrap().records.len(),
            3
        );
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            Erasure::Done(3)
        );
        assert_eq!(store.audit_log().unwrap(), before);
        assert_eq!(check(&store), 3);
        assert!(
            store
                .audit_of(NAME, 0, i64::MAX, 9)
                .unwrap()
                .records
                .is_empty()
        );
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            Erasure::Done(0)
        );
        assert_eq!(
            store.erase_audit(ERASED, i64::MAX, i64::MAX).await.unwrap(),
            Erasure::Done(0)
        );
        let rows = store.audit_tail(9, None, &AuditFilter::default()).unwrap();
        let whose: Vec<&str> = rows.iter().map(|one| &*one.row.principal).collect();
        assert_eq!(whose, [ERASED, "alice", ERASED, ERASED]);
        let first = &rows[0].row;
        let own = [
            &first.arguments,
            &first.reason,
            &first.address,
            &first.actor,
        ];
        assert!(own.iter().all(|value| value.is_none()));
        assert_eq!(first.arguments_digest, None);
        // And nothing of it is left in the file.
        store.close().await;
        // A server keeps what was erased until it vacuums.
        let Home::File(folder) = &home else { continue };
        let file = fs::read(folder.path().join("gate.db")).unwrap();
        let has = |text: &str| file.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(has("alice") && !has(NAME));
    }
}

#[tokio::test]
async fn what_came_after_the_moment_is_not_erased() {
    for home in Home::both() {
        let store = log(&home).await;
        assert_eq!(
            store.erase_audit(NAME, 4, i64::MAX).await.unwrap(),
            Erasure::Done(2)
        );
        let left = store.audit_of(NAME, 0, i64::MAX, 9).unwrap().records;
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].row.at_us, 4);
        assert_eq!(check(&store), 2);
    }
}

#[tokio::test]
async fn a_hold_keeps_all_of_it() {
    for home in Home::both() {
        let store = log(&home).await;
        for (id, principal, since, until) in [
            ("of-another", Some("bob"), None, None),
            ("of-her", Some(NAME), None, None),
            ("of-a-day", None, Some(3), Some(4)),
            ("of-another-day", None, Some(5), None),
        ] {
            let hold = hold(id, principal, (since, until));
            store.add_audit_hold(hold).await.unwrap();
        }
        let held = |ids: [&str; 1]| Erasure::Held {
            holds: ids.map(str::to_owned).to_vec(),
            erased: 0,
        };
        let both = Erasure::Held {
            holds: vec!["of-a-day".to_owned(), "of-her".to_owned()],
            erased: 0,
        };
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            both
        );
        assert_eq!(check(&store), 0);
        let now = SystemTime::UNIX_EPOCH;
        store.release_audit_hold("of-her", now).await.unwrap();
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            held(["of-a-day"])
        );
        // Of what is asked for, nothing is held.
        assert_eq!(
            store.erase_audit(NAME, 3, i64::MAX).await.unwrap(),
            Erasure::Done(1)
        );
    }
}

#[tokio::test]
async fn a_hold_on_one_keeps_what_another_has_in_common_with_it() {
    for home in Home::both() {
        let store = log(&home).await;
        let hold = hold("of-alice", Some("alice"), (Some(3), None));
        store.add_audit_hold(hold).await.unwrap();
        let held = Erasure::Held {
            holds: vec!["of-alice".to_owned()],
            erased: 0,
        };
        // The third is alice's, about her: it is held whoever of the two wants it gone.
        for (whose, until, came) in [
            (NAME, i64::MAX, held.clone()),
            ("alice", i64::MAX, held),
            (NAME, 3, Erasure::Done(1)),
            ("alice", 3, Erasure::Done(1)),
        ] {
            assert_eq!(
                store.erase_audit(whose, until, i64::MAX).await.unwrap(),
                came
            );
        }
        // Nor is it when she is whose it is, and alice whom it is about.
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        let row = AuditRow {
            at_us: 5,
            principal: "bob".to_owned(),
            subject: Some("alice".to_owned()),
            ..row("5")
        };
        slot.commit(&row, Duration::from_secs(5)).await.unwrap();
        let held = Erasure::Held {
            holds: vec!["of-alice".to_owned()],
            erased: 0,
        };
        assert_eq!(
            store.erase_audit("bob", i64::MAX, i64::MAX).await.unwrap(),
            held
        );
    }
}

#[tokio::test]
async fn more_than_one_transaction_takes_is_erased_and_read_in_order() {
    const COUNT: usize = 1_203;
    for home in Home::both() {
        let store = home.open();
        for number in 0..COUNT {
            let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
            // Some are only about it, some are about themselves.
            let (principal, subject) = match number % 3 {
                0 => (NAME, None),
                1 => ("alice", Some(NAME)),
                _ => (NAME, Some(NAME)),
            };
            slot.write(&AuditRow {
                principal: principal.to_owned(),
                subject: subject.map(str::to_owned),
                ..row(&number.to_string())
            });
        }
        store.flush().await.unwrap();
        let (mut read, mut after) = (Vec::new(), 0);
        loop {
            let page = store.audit_of(NAME, after, i64::MAX, 500).unwrap().records;
            let Some(last) = page.last() else { break };
            after = last.seq;
            read.extend(page.iter().map(|one| one.row.call_id.clone()));
        }
        let all: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
        assert_eq!(read, all);
        let done = Erasure::Done(COUNT as u64);
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            done
        );
        assert!(
            store
                .audit_of(NAME, 0, i64::MAX, 9)
                .unwrap()
                .records
                .is_empty()
        );
    }
}

#[tokio::test]
async fn nothing_is_left_of_what_was_written_again_as_its_segment_grew() {
    let home = Home::both().next().unwrap();
    let store = home.open();
    for nth in 0..120 {
        let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
        let row = AuditRow {
            principal: NAME.to_owned(),
            reason: Some(format!("{nth} because of {NAME}")),
            ..row(&nth.to_string())
        };
        slot.commit(&row, Duration::from_secs(5)).await.unwrap();
    }
    let done = store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap();
    assert_eq!(done, Erasure::Done(120));
    store.close().await;
    let Home::File(folder) = &home else {
        unreachable!("the first is a file")
    };
    let file = fs::read(folder.path().join("gate.db")).unwrap();
    let name = NAME.as_bytes();
    assert!(!file.windows(name.len()).any(|part| part == name));
}

#[tokio::test]
async fn what_can_be_read_is_erased_beside_what_is_damaged() {
    for home in Home::both() {
        let store = home.open();
        for number in 0..2_000_i64 {
            let slot = store.reserve_audit(Duration::from_secs(5)).await.unwrap();
            slot.write(&AuditRow {
                at_us: number,
                principal: NAME.to_owned(),
                ..row(&number.to_string())
            });
        }
        store.flush().await.unwrap();
        home.sql("UPDATE audit_segments SET records = substr(records, 1, 50) WHERE first_seq <= 700 AND last_seq >= 700");
        let damaged = store.audit_of(NAME, 0, i64::MAX, u32::MAX).unwrap().damaged;
        let [first] = damaged[..] else {
            panic!("{damaged:?}")
        };
        assert!((445..=700).contains(&first), "{first}");
        let readable = store
            .audit_of(NAME, 0, i64::MAX, u32::MAX)
            .unwrap()
            .records
            .len();
        assert!((1744..2000).contains(&readable), "{readable}");
        let before = store.audit_of(NAME, 0, 400, u32::MAX).unwrap();
        assert!(before.damaged.is_empty() && before.records.len() == 400);
        // A hold that may be on what cannot be read keeps nothing else: that is not erased either.
        let hold = hold("early", Some(NAME), (Some(first + 2), Some(first + 3)));
        store.add_audit_hold(hold).await.unwrap();
        let partly = Erasure::Partly {
            erased: readable as u64,
            damaged: first,
        };
        assert_eq!(
            store.erase_audit(NAME, i64::MAX, i64::MAX).await.unwrap(),
            partly
        );
        let left = store.audit_of(NAME, 0, i64::MAX, 9).unwrap();
        assert!(left.records.is_empty() && left.damaged == [first]);
    }
}
