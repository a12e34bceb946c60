//! What the audit log costs whoever writes to it: run with `cargo bench -p store --bench audit`; a plain test run only
//! sees that it works.
//!
//! `unawaited` is a thousand records that nobody waits for, `together` a thousand whose writers all wait, `alone` one
//! whose writer waits, and `both` the two of a call that can have an effect: each is two turns of threads and a commit,
//! besides what the disk takes.

use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use store::{AuditRow, Outcome, Store};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer than any disk takes that is worth measuring.
const WAIT: Duration = Duration::from_secs(10);
const MANY: u64 = 1_000;

fn main() {
    divan::main();
}

fn row(nth: u64, outcome: Outcome) -> AuditRow {
    AuditRow {
        at_us: 1_750_000_000_000_000 + i64::try_from(nth).unwrap_or_default(),
        call_id: format!("019b7ca9-8c88-772e-a954-{nth:012}"),
        principal: "somebody@example.com".to_owned(),
        credential: "api_key:abcdef".to_owned(),
        client: "bench/1".to_owned(),
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
        address: Some("127.0.0.1".to_owned()),
        actor: None,
        subject: None,
        outcome,
        code: None,
        reason: None,
        duration_us: 1_234,
        bytes_in: 100,
        bytes_out: 2_000,
    }
}

struct Log {
    runtime: Runtime,
    store: Store,
    next: u64,
    _folder: TempDir,
}

impl Log {
    fn new() -> Self {
        let folder = TempDir::with_prefix("portcullis-bench-").expect("a folder");
        let runtime = Builder::new_current_thread().enable_all().build();
        let store = Store::open(&folder.path().join("portcullis.db")).expect("a store");
        store.keep_journal().expect("a journal");
        Self {
            runtime: runtime.expect("a runtime"),
            store,
            next: 0,
            _folder: folder,
        }
    }

    fn row(&mut self, outcome: Outcome) -> AuditRow {
        self.next += 1;
        row(self.next, outcome)
    }

    fn commit(&self, row: &AuditRow) {
        self.runtime.block_on(async {
            let slot = self.store.reserve_audit(WAIT).await.expect("a place");
            slot.commit(black_box(row), WAIT).await.expect("written");
        });
    }
}

#[divan::bench]
fn unawaited(bencher: Bencher<'_, '_>) {
    let mut log = Log::new();
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        for _ in 0..MANY {
            let row = log.row(Outcome::Ok);
            let slot = log.runtime.block_on(log.store.reserve_audit(WAIT));
            slot.expect("a place").write(black_box(&row));
        }
        log.runtime.block_on(log.store.flush()).expect("written");
    });
}

#[divan::bench]
fn together(bencher: Bencher<'_, '_>) {
    let mut log = Log::new();
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| {
        let rows: Vec<AuditRow> = (0..MANY).map(|_| log.row(Outcome::Ok)).collect();
        log.runtime.block_on(async {
            let mut writers = JoinSet::new();
            for row in rows {
                let slot = log.store.reserve_audit(WAIT).await.expect("a place");
                writers.spawn(async move { slot.commit(&row, WAIT).await.expect("written") });
            }
            writers.join_all().await
        })
    });
}

#[divan::bench]
fn alone(bencher: Bencher<'_, '_>) {
    let mut log = Log::new();
    bencher.bench_local(|| {
        let row = log.row(Outcome::Ok);
        log.commit(&row);
    });
}

#[divan::bench]
fn both(bencher: Bencher<'_, '_>) {
    let mut log = Log::new();
    bencher.bench_local(|| {
        let row = log.row(Outcome::Pending);
        let ended = AuditRow {
            outcome: Outcome::Ok,
            ..row.clone()
        };
        log.commit(&row);
        log.commit(&ended);
    });
}
