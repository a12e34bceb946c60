//! A log that has grown for years: adding to it, opening it and finding something in it cost what they did at first.
//!
//! In each run of the tests the log is small, and what is looked at is that the right rows are found; in
//! `cargo xtask soak` it has ten million records, and what it costs is measured, told and held against its bounds.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use store::{AuditFilter, AuditRow, Outcome, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;

const RECORDS: u64 = 20_000;
const RECORDS_LONG: u64 = 10_000_000;
/// Set where there is time.
const LONG: &str = "TESTKIT_LONG";
const PRINCIPALS: u64 = 1_000;
const WRITERS: u64 = 4;
/// Between two records, microseconds: ten million are four months.
const APART_US: i64 = 1_000_000;
const BEGAN_US: i64 = 1_750_000_000_000_000;
/// What a search may take.
const SEARCH_MAX: Duration = Duration::from_millis(200);
/// Pages, of which people look at one at a time.
const PAGE: u32 = 100;

fn row(nth: u64) -> AuditRow {
    AuditRow {
        at_us: BEGAN_US + i64::try_from(nth).unwrap_or(0) * APART_US,
        call_id: format!("019b7ca9-8c88-772e-a954-{nth:012}"),
        principal: format!("principal-{}", nth % PRINCIPALS),
        credential: "api_key:abcdef".to_owned(),
        client: "tests 1.0".to_owned(),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/call".into(),
        upstream: Some("files".to_owned()),
        entry: Some("read".to_owned()),
        arguments_digest: Some("0".repeat(64)),
        decision: "allow".into(),
        rule: Some("role reader: allow files.*".to_owned()),
        server: None,
        definition: Some("1".repeat(64)),
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
        bytes_out: 2_000,
    }
}

/// Adds the records from `from` up to `to`; how long it took until the last was written.
async fn append(store: &Store, from: u64, to: u64) -> Result<Duration> {
    let began = now();
    let mut writers = JoinSet::new();
    for whose in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for nth in (from..to).filter(|nth| nth % WRITERS == whose) {
                let place = store.reserve_audit(Duration::from_secs(60)).await?;
                place.write(&row(nth));
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    store.flush().await?;
    Ok(now() - began)
}

/// Opens it as a gate does when it starts; how long that took.
async fn open(path: &Path) -> Result<Duration> {
    let began = now();
    let store = Store::open(path)?;
    store.settle_begun(BEGAN_US).await?;
    let taken = now() - began;
    store.close().await;
    Ok(taken)
}

#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
fn now() -> Instant {
    Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_added_to_opened_and_searched_like_a_short_one() -> Result<()> {
    let is_long = std::env::var_os(LONG).is_some();
    let records = if is_long { RECORDS_LONG } else { RECORDS };
    let folder = TempDir::with_prefix("portcullis-growth-")?;
    let path = folder.path().join("portcullis.db");
    let tenth = records / 10;

    let store = Store::open(&path)?;
    let first = append(&store, 0, tenth).await?;
    store.close().await;
    let opened_short = open(&path).await?;
    let store = Store::open(&path)?;
    append(&store, tenth, 9 * tenth).await?;
    let last = append(&store, 9 * tenth, records).await?;
    store.close().await;
    let opened_long = open(&path).await?;

    let store = Store::open(&path)?;
    let at = |nth: u64| BEGAN_US + i64::try_from(nth).unwrap_or(0) * APART_US;
    let of = |since: u64, until: u64| AuditFilter {
        principal: Some("principal-7".to_owned()),
        since_us: Some(at(since)),
        until_us: Some(at(until)),
        ..AuditFilter::default()
    };
    let mut longest = Duration::ZERO;
    let (middle, span) = (records / 2, records / 20);
    for (since, until) in [(middle, middle + span), (0, span), (0, records)] {
        let began = now();
        let found = store.audit_tail(PAGE, None, &of(since, until))?;
        longest = longest.max(now() - began);
        let wanted: Vec<i64> = (since..until)
            .rev()
            .filter(|nth| nth % PRINCIPALS == 7)
            .take(PAGE as usize)
            .map(at)
            .collect();
        let found: Vec<i64> = found.iter().rev().map(|one| one.row.at_us).collect();
        assert_eq!(found, wanted, "{since} to {until}");
    }
    ensure!(
        store.audit_log()?.tree.size() >= records,
        "rows are missing"
    );
    store.close().await;
    if is_long {
        eprintln!(
            "{records} records: the first tenth in {first:?}, the last in {last:?}; opened with a tenth in \
             {opened_short:?}, with all in {opened_long:?}; the longest search {longest:?}"
        );
        // Twice as long is noise of the machine; growth with the log would be ten times.
        ensure!(last < first * 3, "adding got slower");
        let slack = Duration::from_millis(200);
        ensure!(opened_long < opened_short * 3 + slack, "opening got slower");
        ensure!(longest < SEARCH_MAX, "the longest search took {longest:?}");
    }
    Ok(())
}
