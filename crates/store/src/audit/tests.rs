//! What is recorded is read back, in order, and filtered.

use tempfile::TempDir;

use super::*;

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
        outcome: Outcome::Ok,
        code: None,
        reason: None,
        duration_us: 1_234,
        bytes_in: 100,
        bytes_out: u64::from(u32::MAX) + 1,
    }
}

async fn write(store: &Store, row: AuditRow) {
    store
        .reserve_audit(Duration::from_secs(1))
        .await
        .unwrap()
        .write(row);
}

#[tokio::test]
async fn a_row_comes_back_as_it_was_written() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
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

#[tokio::test]
async fn a_tail_is_the_last_rows_or_the_next_ones() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
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

#[tokio::test]
async fn what_a_client_made_long_is_cut() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
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
