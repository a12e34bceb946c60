//! Whoever goes through the log while it grows misses nothing, and finds what it looks for in whatever segment.

use super::super::AuditRow;
use super::super::tests::{commit, row};
use super::*;
use crate::trial::Home;

#[tokio::test]
async fn what_a_segment_gets_while_others_are_read_is_not_passed_over() {
    for home in Home::both() {
        let (store, reader) = (home.open(), home.open());
        for nth in 1..=3 {
            commit(&store, row(&nth.to_string())).await;
        }
        let add = |count: i64| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.enable_all().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..count {
                        commit(&store, row("later")).await;
                    }
                });
            })
            .join()
            .unwrap();
        };
        let mut seen = Vec::new();
        reader
            .read(|connection| {
                each(connection, Range::ALL, |found| {
                    // The segment that is being read gets more, and others come behind it.
                    if found.seq == 1 {
                        add(302);
                    }
                    seen.push(found.seq);
                    Ok(on_while(true))
                })
            })
            .unwrap();
        let all: Vec<i64> = (1..=305).collect();
        assert_eq!(seen, all);
    }
}

#[tokio::test]
async fn records_are_found_by_whose_they_are_and_when() {
    const COUNT: i64 = 40 * BLOCK;
    for home in Home::both() {
        let store = home.open();
        for nth in 1..=COUNT {
            let slot = store.reserve_audit(std::time::Duration::from_secs(5));
            let often = format!("p{}", nth % 3);
            slot.await.unwrap().write(&AuditRow {
                at_us: 10 * nth,
                principal: if nth % 1000 == 0 {
                    "seldom".to_owned()
                } else {
                    often
                },
                subject: (nth % 1500 == 0).then(|| "about".to_owned()),
                ..row(&nth.to_string())
            });
        }
        store.flush().await.unwrap();
        let found = |limit, after, filter: &AuditFilter| -> Vec<i64> {
            let found = store.audit_tail(limit, after, filter).unwrap();
            found.iter().map(|one| one.seq).collect()
        };
        let of = |name: &str| AuditFilter {
            principal: Some(name.to_owned()),
            ..AuditFilter::default()
        };
        let seldom: Vec<i64> = (1..=COUNT / 1000).map(|nth| 1000 * nth).collect();
        assert_eq!(found(50, None, &of("seldom")), seldom);
        assert_eq!(found(50, Some(0), &of("seldom")), seldom);
        assert_eq!(found(2, None, &of("seldom")), seldom[seldom.len() - 2..]);
        assert_eq!(found(2, Some(1000), &of("seldom")), [2000, 3000]);
        assert!(found(9, None, &of("about")).is_empty());
        let about = store.audit_of("about", 1500, i64::MAX, 2).unwrap().records;
        assert_eq!(
            about.iter().map(|one| one.seq).collect::<Vec<_>>(),
            [3000, 4500]
        );

        // The first moment counts, and the last does not.
        let between = |name: Option<&str>, since, until| AuditFilter {
            principal: name.map(str::to_owned),
            since_us: Some(since),
            until_us: Some(until),
            ..AuditFilter::default()
        };
        assert_eq!(
            found(9, None, &between(None, 20_000, 20_030)),
            [2000, 2001, 2002]
        );
        assert_eq!(
            found(9, Some(2000), &between(None, 20_000, 20_030)),
            [2001, 2002]
        );
        let named = between(Some("seldom"), 20_000, 40_000);
        assert_eq!(found(9, None, &named), [2000, 3000]);
        assert_eq!(found(9, Some(0), &named), [2000, 3000]);
        assert!(found(9, None, &between(None, 10 * COUNT + 1, i64::MAX)).is_empty());
        let call = AuditFilter {
            call_id: Some("777".to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(found(9, None, &call), [777]);
        assert_eq!(found(0, None, &of("p1")), Vec::<i64>::new());
        assert_eq!(found(0, Some(0), &of("p1")), Vec::<i64>::new());
    }
}
