//! A closed record is in the log; without a place there is none.

use store::{AuditFilter, Outcome};
use tempfile::TempDir;

use super::*;

pub(super) fn row() -> AuditRow {
    AuditRow {
        at_us: 1,
        call_id: "one".to_owned(),
        principal: "alice".to_owned(),
        credential: "local".to_owned(),
        client: "tests 1.0".to_owned(),
        transport: "stdio".into(),
        revision: "2026-07-28".into(),
        method: "tools/list".into(),
        upstream: None,
        entry: None,
        arguments_digest: None,
        decision: "allow".into(),
        rule: None,
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
        duration_us: 1,
        bytes_in: 1,
        bytes_out: 1,
    }
}

#[tokio::test]
async fn a_closed_record_is_in_the_log_and_an_abandoned_one_is_not() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let log = AuditLog::new(store.clone(), AuditMode::Durable);
    let (kept, abandoned) = (log.open().await.unwrap(), log.open().await.unwrap());
    drop(abandoned);
    kept.close(&row()).await.unwrap();
    let found = store.audit_tail(9, None, &AuditFilter::default()).unwrap();
    assert_eq!(
        found
            .into_iter()
            .map(|recorded| recorded.row)
            .collect::<Vec<_>>(),
        [row()]
    );
}

#[tokio::test]
async fn a_closed_store_has_no_place() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let log = AuditLog::new(store.clone(), AuditMode::Durable);
    store.close().await;
    let error = log.open().await.unwrap_err();
    assert!(matches!(error, Unavailable(store::Error::Closed)));
}
