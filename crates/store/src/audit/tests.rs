//! What is recorded is read back, in order, and filtered.

use std::time::SystemTime;

use super::*;
use crate::trial::Home;

pub(crate) fn row(call_id: &str) -> AuditRow {
    AuditRow {
        at_us: 1_700_000_000_000_000,
        call_id: call_id.to_owned(),
        principal: "alice".to_owned(),
        credential: "api_key:abc".to_owned(),
        client: "tests 1.0".to_owned(),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/call".into(),
        upstream: Some("files".to_owned()),
        entry: Some("read".to_owned()),
        arguments_digest: Some("00ff".to_owned()),
        decision: "allow".into(),
        rule: Some("role reader: allow files.*".to_owned()),
        server: None,
        definition: None,
        consent: None,
        screened: None,
        trace_id: None,
        arguments: None,
        address: None,
        actor: None,
        subject: None,
        outcome: Outcome::Ok,
        code: None,
        reason: None,
        duration_us: 1_234,
        bytes_in: 100,
        bytes_out: u64::from(u32::MAX) + 1,
    }
}

/// A legal hold; `None` of all, and without an end.
pub(crate) fn hold(
    id: &str,
    principal: Option<&str>,
    (since_us, until_us): (Option<i64>, Option<i64>),
) -> AuditHold {
    AuditHold {
        id: id.to_owned(),
        principal: principal.map(str::to_owned),
        since_us,
        until_us,
        reason: "a case".to_owned(),
        by: "tests".to_owned(),
        created_at: SystemTime::UNIX_EPOCH,
        released_at: None,
    }
}

/// How many records the log has.
pub(crate) const COUNT: &str =
    "SELECT CAST(coalesce(sum(last_seq - first_seq + 1), 0) AS BIGINT) FROM audit_segments";

async fn write(store: &Store, row: AuditRow) {
    store
        .reserve_audit(Duration::from_secs(1))
        .await
        .unwrap()
        .write(&row);
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written() {
    for home in Home::both() {
        let store = home.open();
        let refused = AuditRow {
            upstream: None,
            entry: None,
            arguments_digest: None,
            rule: None,
            server: None,
            definition: None,
            consent: None,
            screened: None,
            outcome: Outcome::Refused,
            code: Some(-32602),
            reason: Some("no tool `x`".to_owned()),
            ..row("two")
        };
        write(&store, row("one")).await;
        write(&store, refused.clone()).await;
        store.flush().await.unwrap();

        let found = store.audit_tail(10, None, &AuditFilter::default()).unwrap();
        assert_eq!(
            found,
            [
                Recorded {
                    seq: 1,
                    row: row("one")
                },
                Recorded {
                    seq: 2,
                    row: refused
                }
            ]
        );
    }
}

#[tokio::test]
async fn a_tail_is_the_last_rows_or_the_next_ones() {
    for home in Home::both() {
        let store = home.open();
        for nth in 1..=5 {
            write(&store, row(&nth.to_string())).await;
        }
        write(
            &store,
            AuditRow {
                principal: "bob".to_owned(),
                outcome: Outcome::Failed,
                ..row("6")
            },
        )
        .await;
        store.flush().await.unwrap();

        let ids = |limit, after, filter: AuditFilter| -> Vec<String> {
            let found = store.audit_tail(limit, after, &filter).unwrap();
            found
                .into_iter()
                .map(|recorded| recorded.row.call_id)
                .collect()
        };
        assert_eq!(ids(2, None, AuditFilter::default()), ["5", "6"]);
        assert_eq!(ids(2, Some(1), AuditFilter::default()), ["2", "3"]);
        let alice = AuditFilter {
            principal: Some("alice".to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(ids(1, None, alice), ["5"]);
        let failed = AuditFilter {
            outcome: Some("failed".to_owned()),
            ..AuditFilter::default()
        };
        assert_eq!(ids(9, None, failed), ["6"]);
        let other = AuditFilter {
            entry: Some("write".to_owned()),
            ..AuditFilter::default()
        };
        assert!(ids(9, None, other).is_empty());
    }
}

#[tokio::test]
async fn what_a_client_made_long_is_cut() {
    for home in Home::both() {
        let store = home.open();
        write(
            &store,
            AuditRow {
                client: "ü".repeat(500),
                entry: Some("ü".repeat(5_000_000)),
                reason: Some("ü".repeat(1_001)),
                ..row("one")
            },
        )
        .await;
        store.flush().await.unwrap();
        let found = store.audit_tail(1, None, &AuditFilter::default()).unwrap();
        let row = &found[0].row;
        assert_eq!(row.client, "ü".repeat(120));
        assert_eq!(row.entry.as_deref(), Some(&*"ü".repeat(1_000)));
        assert_eq!(row.reason.as_deref(), Some(&*"ü".repeat(1_000)));
    }
}

pub(crate) async fn commit(store: &Store, row: AuditRow) {
    let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
    slot.commit(&row, Duration::from_secs(5)).await.unwrap();
}

/// All that a log says of itself, worked out again from its rows.
pub(crate) fn check(store: &Store) -> (u64, merkle::Hash) {
    let entries = store.audit_entries(0, u32::MAX).unwrap();
    let (mut chain, mut tree) = (merkle::Hash::default(), merkle::Frontier::default());
    for (place, entry) in (0..).zip(&entries) {
        assert_eq!(entry.place, place);
        chain = text::link(&chain, &merkle::leaf(entry.record.as_bytes()));
        assert_eq!(entry.chain, chain);
        let (salt, personal) = entry.personal.as_ref().unwrap();
        let commitment = text::hex(&text::commitment(salt, personal));
        assert!(entry.record.contains(&commitment));
        tree.push(merkle::leaf(entry.record.as_bytes()), |_filled| {});
    }
    let found = (tree.size(), tree.root());
    assert_eq!(store.audit_log().unwrap(), LogState { tree, chain });
    found
}

#[tokio::test]
async fn a_log_holds_together_over_restarts_and_between_two_that_write() {
    for home in Home::both() {
        let store = home.open();
        for n in 0..7 {
            commit(&store, row(&format!("first {n}"))).await;
        }
        assert_eq!(check(&store).0, 7);
        let other = home.open();
        for n in 0..300 {
            write(&store, row(&format!("one {n}"))).await;
            write(&other, row(&format!("other {n}"))).await;
        }
        store.flush().await.unwrap();
        other.flush().await.unwrap();
        drop((store, other));
        let store = home.open();
        let (size, root) = check(&store);
        assert_eq!(size, 607);
        for earlier in [0, 1, 256, 300, 607] {
            let then = store.audit_log_at(earlier).unwrap().unwrap();
            let mut tree = merkle::Frontier::default();
            for entry in store
                .audit_entries(0, u32::try_from(earlier).unwrap())
                .unwrap()
            {
                tree.push(merkle::leaf(entry.record.as_bytes()), |_filled| {});
            }
            assert_eq!(then.tree, tree);
        }
        assert_eq!(store.audit_log_at(608).unwrap(), None);
        for place in [0, 1, 255, 256, 300, 511, 512, 600, 606] {
            let entry = store.audit_entries(place, 1).unwrap().remove(0);
            let path = store.audit_path(place, size).unwrap();
            let leaf = merkle::leaf(entry.record.as_bytes());
            assert_eq!(merkle::root_by(leaf, place, size, &path), Some(root));
        }
    }
}

#[tokio::test]
async fn a_changed_row_no_longer_fits_its_chain() {
    for home in Home::both() {
        let store = home.open();
        for n in 0..3 {
            commit(&store, row(&format!("{n}"))).await;
        }
        store
            .change(|connection| {
                let sql = "SELECT records FROM audit_segments";
                let records: Vec<u8> = connection.only(sql, &[], |row| row.get(0))?;
                // Written one by one, each has its own.
                let places = records.windows(5).enumerate();
                let mut places =
                    places.filter_map(|(at, part)| (part == b"\x04read").then_some(at));
                let (first, other) = records.split_at(places.nth(1).unwrap());
                let changed = [first, b"\x04rood", &other[5..]].concat();
                connection.execute("UPDATE audit_segments SET records = ?1", values![changed])
            })
            .await
            .unwrap();
        let entries = store.audit_entries(0, 9).unwrap();
        let fits = |before: merkle::Hash, entry: &Entry| {
            text::link(&before, &merkle::leaf(entry.record.as_bytes())) == entry.chain
        };
        assert!(fits(merkle::Hash::default(), &entries[0]));
        assert!(!fits(entries[0].chain, &entries[1]));
        assert!(fits(entries[1].chain, &entries[2]));
    }
}

#[tokio::test]
async fn what_a_gate_left_behind_is_unknown_and_what_lives_is_left_alone() {
    for home in Home::both() {
        let begun = |call: &str| AuditRow {
            outcome: Outcome::Pending,
            ..row(call)
        };
        let (gone, lives) = (home.open(), home.open());
        commit(&gone, begun("answered")).await;
        commit(&gone, row("answered")).await;
        commit(&gone, begun("left")).await;
        commit(&lives, begun("under way")).await;
        drop(gone);
        let next = home.open();
        assert_eq!(next.settle_begun(5).await.unwrap(), 1);
        assert_eq!(next.settle_begun(6).await.unwrap(), 0);
        let all = next
            .audit_tail(9, Some(4), &AuditFilter::default())
            .unwrap();
        let told: Vec<_> = all
            .iter()
            .map(|one| (one.row.call_id.as_str(), one.row.outcome, one.row.at_us))
            .collect();
        assert_eq!(told, [("left", Outcome::Unknown, 5)]);
        check(&next);
        drop(lives);
        assert_eq!(next.settle_begun(7).await.unwrap(), 1);
    }
}
