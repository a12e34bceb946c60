//! Quotas hold to the last unit, give back what was not used, begin anew at midnight and outlive the gate.

use std::time::UNIX_EPOCH;

use policy::{
    CountedEntry, Credential, Every, LimitName, Pattern, Per, Principal, PrincipalId, RoleName,
    Scopes, Selector, UpstreamId,
};
use tempfile::TempDir;

use super::*;
use crate::limits::tests::limits;

const DAY: Duration = Duration::from_secs(86_400);

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db")).unwrap();
    (folder, store)
}

fn quota(
    name: &str,
    per: Per,
    calls: Option<u64>,
    bytes: Option<u64>,
    cost: Option<u64>,
) -> QuotaRule {
    QuotaRule {
        name: LimitName::new(name).unwrap(),
        selector: Selector {
            per,
            ..Selector::per_principal()
        },
        calls,
        bytes,
        cost,
        every: Every::Day,
    }
}

fn with(quotas: Vec<QuotaRule>) -> Limits {
    Limits {
        quotas,
        costs: vec![Cost {
            of: Pattern::parse("llm.*").unwrap(),
            units: 20,
        }],
        ..limits()
    }
}

/// Noon of a day.
fn noon(day: u32) -> SystemTime {
    UNIX_EPOCH + DAY * day + DAY / 2
}

fn charge(
    ledger: &Arc<Ledger>,
    limits: &Limits,
    who: &str,
    upstream: &str,
    now: SystemTime,
) -> Result<Charge, (String, Duration)> {
    let principal = Principal {
        id: PrincipalId::new(who).unwrap(),
        roles: [RoleName::new("agent").unwrap()].into(),
        credential: Credential::Local,
        client: None,
        scopes: Scopes::CALLS,
        expires_at: None,
        claims: Arc::default(),
    };
    let upstream = UpstreamId::parse(upstream).unwrap();
    let counted = Counted {
        principal: &principal,
        entry: Some(CountedEntry {
            upstream: &upstream,
            key: "ask",
            names: &["ask"],
        }),
        server: None,
    };
    ledger
        .charge(limits, &counted, 100, now)
        .map_err(|rejection| match rejection {
            Rejection::TooMany {
                limit, retry_after, ..
            } => (limit.to_string(), retry_after),
            other => panic!("{other}"),
        })
}

fn made(charge: Result<Charge, (String, Duration)>) {
    charge.unwrap().keep();
}

#[test]
fn the_last_call_is_let_through_and_the_next_is_told_when_to_come_back() {
    let (_folder, store) = store();
    let ledger = Ledger::new(store);
    let limits = with(vec![quota("daily", Per::Principal, Some(2), None, None)]);
    made(charge(&ledger, &limits, "alice", "u", noon(1)));
    made(charge(&ledger, &limits, "alice", "u", noon(1)));
    let refused = charge(&ledger, &limits, "alice", "u", noon(1)).unwrap_err();
    assert_eq!(refused, ("daily".to_owned(), DAY / 2));
    made(charge(&ledger, &limits, "bob", "u", noon(1)));
    made(charge(&ledger, &limits, "alice", "u", noon(2)));
}

#[test]
fn a_call_that_is_not_made_uses_up_nothing() {
    let (_folder, store) = store();
    let ledger = Ledger::new(store);
    let limits = with(vec![
        quota("wide", Per::Global, Some(1), None, None),
        quota("narrow", Per::Principal, Some(0), None, None),
    ]);
    for _ in 0..3 {
        // Refused by one, so counted in none.
        let (named, _) = charge(&ledger, &limits, "alice", "u", noon(1)).unwrap_err();
        assert_eq!(named, "narrow");
    }
    let limits = with(vec![quota("wide", Per::Global, Some(1), None, None)]);
    drop(charge(&ledger, &limits, "alice", "u", noon(1)).unwrap());
    made(charge(&ledger, &limits, "alice", "u", noon(1)));
    assert!(charge(&ledger, &limits, "alice", "u", noon(1)).is_err());
}

#[test]
fn bytes_count_both_ways_and_cost_is_the_entrys() {
    let (_folder, store) = store();
    let ledger = Ledger::new(store);
    let limits = with(vec![quota("bytes", Per::Principal, None, Some(500), None)]);
    let mut one = charge(&ledger, &limits, "alice", "u", noon(1)).unwrap();
    one.keep();
    one.add_bytes(301);
    drop(one);
    assert!(charge(&ledger, &limits, "alice", "u", noon(1)).is_err());
    let limits = with(vec![quota("units", Per::Principal, None, None, Some(25))]);
    made(charge(&ledger, &limits, "alice", "llm", noon(1)));
    assert!(charge(&ledger, &limits, "alice", "llm", noon(1)).is_err());
    for _ in 0..5 {
        made(charge(&ledger, &limits, "alice", "u", noon(1)));
    }
    assert!(charge(&ledger, &limits, "alice", "u", noon(1)).is_err());
}

#[tokio::test]
async fn what_was_used_outlives_the_gate_and_is_shared_by_processes() {
    let (folder, store) = store();
    let limits = with(vec![quota("daily", Per::Principal, Some(5), None, None)]);
    let (one, other) = (Ledger::new(store.clone()), {
        let store = Store::open(&folder.path().join("db")).unwrap();
        Ledger::new(store)
    });
    for _ in 0..2 {
        made(charge(&one, &limits, "alice", "u", noon(1)));
        made(charge(&other, &limits, "alice", "u", noon(1)));
    }
    one.flush(noon(1)).await;
    other.flush(noon(1)).await;
    // The first has not heard of the second's yet; it does as it writes.
    made(charge(&one, &limits, "alice", "u", noon(1)));
    one.flush(noon(1)).await;
    assert!(charge(&one, &limits, "alice", "u", noon(1)).is_err());
    drop((one, other));
    let again = Ledger::new(store);
    assert!(charge(&again, &limits, "alice", "u", noon(1)).is_err());
    made(charge(&again, &limits, "alice", "u", noon(2)));
}

#[tokio::test]
async fn what_cannot_be_written_is_written_later() {
    let (folder, store) = store();
    let limits = with(vec![quota("daily", Per::Principal, Some(5), None, None)]);
    let ledger = Ledger::new(store.clone());
    made(charge(&ledger, &limits, "alice", "u", noon(1)));
    store.close().await;
    ledger.flush(noon(1)).await;
    let line = ledger.state.lock().lines.values().next().copied().unwrap();
    assert_eq!((line.used.calls, line.unwritten.calls), (1, 1));
    drop(folder);
}

#[tokio::test]
async fn past_windows_leave_memory_once_they_are_written() {
    let (_folder, store) = store();
    let limits = with(vec![quota("daily", Per::Principal, Some(5), None, None)]);
    let ledger = Ledger::new(store);
    made(charge(&ledger, &limits, "alice", "u", noon(1)));
    ledger.flush(noon(1)).await;
    assert_eq!(ledger.state.lock().lines.len(), 1);
    ledger.flush(noon(2)).await;
    assert!(ledger.state.lock().lines.is_empty());
}

#[tokio::test]
async fn a_counter_that_a_call_or_a_writing_will_come_back_to_is_not_let_go() {
    let (_folder, store) = store();
    let limits = with(vec![quota(
        "bytes",
        Per::Principal,
        None,
        Some(1_000),
        None,
    )]);
    let ledger = Ledger::new(store);
    let mut charge = charge(&ledger, &limits, "alice", "u", noon(1)).unwrap();
    charge.keep();
    let is_settled = || {
        let state = ledger.state.lock();
        state.lines.values().all(Line::is_settled)
    };
    let mut flush = std::pin::pin!(ledger.flush(noon(1)));
    // Handed to the database, which as a rule has not answered yet.
    if futures_util::poll!(&mut flush).is_pending() {
        assert!(!is_settled());
        flush.await;
    }
    assert!(!is_settled(), "the answer's bytes are still to come");
    charge.add_bytes(100);
    drop(charge);
    assert!(!is_settled(), "they are not written");
    ledger.flush(noon(1)).await;
    assert!(is_settled());
}
