//! The journal, from its file to the log.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;
use crate::audit::tests::{COUNT, row};
use crate::{AuditFilter, AuditRow, Outcome, Store};

const WAIT: Duration = Duration::from_secs(10);

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("gate.db")
}

/// A store with a journal, as a gate has one.
fn gate(folder: &TempDir) -> Store {
    let store = Store::open(&database(folder)).unwrap();
    store.keep_journal().unwrap();
    store
}

async fn commit(store: &Store, row: AuditRow) {
    let slot = store.reserve_audit(WAIT).await.unwrap();
    slot.commit(&row, WAIT).await.unwrap();
}

fn calls(store: &Store) -> Vec<(String, Outcome)> {
    let begun = AuditFilter {
        begun: true,
        ..AuditFilter::default()
    };
    let all = store.audit_tail(u32::MAX, Some(0), &begun).unwrap();
    all.into_iter()
        .map(|one| (one.row.call_id, one.row.outcome))
        .collect()
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let is_journal = |path: &PathBuf| path.to_string_lossy().contains(".journal-");
    files.filter(is_journal).collect()
}

/// What a crash of the machine would leave of a folder right now.
fn as_it_is(folder: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    copy
}

/// Keeps everybody from writing to the database.
fn locked(folder: &TempDir) -> rusqlite::Connection {
    let other = rusqlite::Connection::open(database(folder)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    other
}

/// How many warnings there were.
#[derive(Clone, Default)]
struct Warned(Arc<AtomicUsize>);

impl Warned {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Warned {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, _event: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[tokio::test]
async fn what_was_told_is_written_though_the_database_is_not() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    let begun = |call: &str| AuditRow {
        outcome: Outcome::Pending,
        ..row(call)
    };
    commit(&store, row("before")).await;
    store.flush().await.unwrap();
    let lock = locked(&folder);
    commit(&store, begun("answered")).await;
    commit(&store, row("answered")).await;
    commit(&store, begun("left")).await;
    let crashed = as_it_is(&folder);
    drop(lock);

    // Who opens it next has all of it, once.
    let told = [
        ("before", Outcome::Ok),
        ("answered", Outcome::Pending),
        ("answered", Outcome::Ok),
        ("left", Outcome::Pending),
    ];
    let told = told.map(|(call, outcome)| (call.to_owned(), outcome));
    for _ in 0..2 {
        let next = Store::open(&database(&crashed)).unwrap();
        assert_eq!(calls(&next), told);
        assert_eq!(journals(crashed.path()), <[PathBuf; 0]>::default());
    }
    let next = Store::open(&database(&crashed)).unwrap();
    assert_eq!(next.settle_begun(5).await.unwrap(), 1);
    let last = calls(&next).pop();
    assert_eq!(last, Some(("left".to_owned(), Outcome::Unknown)));

    // And so has the gate itself.
    store.flush().await.unwrap();
    assert_eq!(calls(&store), told);
}

#[tokio::test]
async fn what_is_in_the_log_is_not_put_there_again() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    for call in ["one", "two"] {
        commit(&store, row(call)).await;
    }
    store.flush().await.unwrap();
    let crashed = as_it_is(&folder);
    assert_eq!(journals(crashed.path()).len(), 1);
    let next = Store::open(&database(&crashed)).unwrap();
    assert_eq!(calls(&next).len(), 2);
}

#[tokio::test]
async fn a_gate_that_looks_after_what_others_leave_takes_their_journals_over() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    commit(&store, row("before")).await;
    store.flush().await.unwrap();
    let lock = locked(&folder);
    commit(&store, row("in the journal alone")).await;
    let crashed = as_it_is(&folder);
    drop(lock);
    let [journal] = <[PathBuf; 1]>::try_from(journals(crashed.path())).unwrap();
    let aside = crashed.path().join("aside");
    fs::rename(&journal, &aside).unwrap();
    let lives = Store::open(&database(&crashed)).unwrap();
    fs::rename(&aside, &journal).unwrap();
    assert_eq!(lives.settle_begun(5).await.unwrap(), 0);
    assert_eq!(calls(&lives).len(), 2);
    assert_eq!(journals(crashed.path()).len(), 0);
}

#[tokio::test]
async fn whoever_opens_the_database_sees_what_a_gate_has_told() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    for nth in 0..100_usize {
        commit(&store, row(&nth.to_string())).await;
        let other = Store::open(&database(&folder)).unwrap();
        assert_eq!(calls(&other).len(), nth + 1);
    }
}

#[tokio::test]
async fn a_gate_that_ends_leaves_no_journal() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    commit(&store, row("a")).await;
    assert_eq!(journals(folder.path()).len(), 1);
    store.close().await;
    assert_eq!(journals(folder.path()).len(), 0);
    let database = rusqlite::Connection::open(database(&folder)).unwrap();
    let marks = "SELECT count(*) FROM audit_journals";
    let marks: i64 = database.query_row(marks, [], |row| row.get(0)).unwrap();
    assert_eq!(marks, 0);
}

#[tokio::test]
async fn two_that_close_at_once_both_wait_until_all_is_done() {
    for _ in 0..20 {
        let folder = TempDir::new().unwrap();
        let store = gate(&folder);
        commit(&store, row("a")).await;
        let other = store.clone();
        tokio::join!(store.close(), other.close());
        assert_eq!(journals(folder.path()).len(), 0);
        store.close().await;
    }
}

#[tokio::test]
async fn without_a_journal_each_record_waits_for_the_database() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&database(&folder)).unwrap();
    // In its place stands what cannot be removed like a file.
    let path = path_of(&database(&folder), store.gate());
    fs::create_dir(&path).unwrap();
    store.keep_journal().unwrap();
    commit(&store, row("a")).await;
    // Written, where who has not asked the gate can see it.
    let database = rusqlite::Connection::open(database(&folder)).unwrap();
    let rows: i64 = database.query_row(COUNT, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    fs::remove_dir(&path).unwrap();
}

#[tokio::test]
async fn more_than_it_has_room_for_is_kept_too() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    let long = |nth: usize| AuditRow {
        arguments: Some("x".repeat(40_000)),
        ..row(&nth.to_string())
    };
    commit(&store, row("first")).await;
    store.flush().await.unwrap();
    let lock = locked(&folder);
    let mut waiting = JoinSet::new();
    for nth in 0..200 {
        let store = store.clone();
        waiting.spawn(async move { commit(&store, long(nth)).await });
    }
    for _ in 0..50 {
        waiting.join_next().await.unwrap().unwrap();
    }
    // What did not fit waits for the database.
    while waiting.try_join_next().is_some() {}
    assert!(!waiting.is_empty());
    drop(lock);
    waiting.join_all().await;
    store.flush().await.unwrap();
    assert_eq!(calls(&store).len(), 201);
}

#[tokio::test]
async fn a_call_that_is_given_up_ends_after_it_was_begun() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    for nth in 0..50_usize {
        let begun = store.reserve_audit(WAIT).await.unwrap();
        let ended = store.reserve_audit(WAIT).await.unwrap();
        let call = nth.to_string();
        let pending = AuditRow {
            outcome: Outcome::Pending,
            ..row(&call)
        };
        let committed = begun.commit(&pending, WAIT);
        // Nobody waits any more.
        ended.write(&AuditRow {
            outcome: Outcome::Cancelled,
            ..row(&call)
        });
        drop(committed);
        store.flush().await.unwrap();
        let last = calls(&store).split_off(2 * nth);
        let told = [Outcome::Pending, Outcome::Cancelled].map(|outcome| (call.clone(), outcome));
        assert_eq!(last, told);
    }
    assert_eq!(open_calls(&folder), 0);
}

fn open_calls(folder: &TempDir) -> i64 {
    let database = rusqlite::Connection::open(database(folder)).unwrap();
    let open = "SELECT count(*) FROM audit_open";
    database.query_row(open, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn what_a_database_that_fails_did_not_take_before_the_end_is_there_at_the_next_beginning() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    commit(&store, row("before")).await;
    store.flush().await.unwrap();
    let other = rusqlite::Connection::open(database(&folder)).unwrap();
    let fails =
        "CREATE TRIGGER fails BEFORE UPDATE ON audit_head BEGIN SELECT RAISE(FAIL, 'no'); END";
    other.execute_batch(fails).unwrap();
    commit(&store, row("told")).await;
    store.close().await;
    assert_eq!(journals(folder.path()).len(), 1);
    other.execute_batch("DROP TRIGGER fails").unwrap();
    for _ in 0..2 {
        let next = Store::open(&database(&folder)).unwrap();
        let told = ["before", "told"].map(|call| (call.to_owned(), Outcome::Ok));
        assert_eq!(calls(&next), told);
    }
    assert_eq!(journals(folder.path()).len(), 0);
}

#[tokio::test]
async fn a_database_that_is_put_in_place_of_another_gets_nothing_from_its_journal() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    commit(&store, row("before")).await;
    store.flush().await.unwrap();
    let lock = locked(&folder);
    commit(&store, row("told")).await;
    let crashed = as_it_is(&folder);
    drop(lock);
    let aside = TempDir::new().unwrap();
    let path = database(&crashed);
    let files = ["gate.db", "gate.db-wal"];
    for file in files {
        fs::rename(crashed.path().join(file), aside.path().join(file)).unwrap();
    }
    let fresh = Store::open(&path).unwrap();
    assert_eq!(calls(&fresh), []);
    // It was told of at the start, and is not at each look.
    let warned = Warned::default();
    let looks = || {
        for _ in 0..3 {
            fresh.recover_journals().unwrap();
        }
    };
    tracing::subscriber::with_default(warned.clone(), looks);
    assert_eq!(warned.count(), 0);
    let fresh = tracing::subscriber::with_default(warned.clone(), || {
        drop(fresh);
        Store::open(&path).unwrap()
    });
    assert_eq!(warned.count(), 1);
    drop(fresh);
    // Its own finds it.
    for file in files {
        fs::rename(aside.path().join(file), crashed.path().join(file)).unwrap();
    }
    let next = Store::open(&path).unwrap();
    assert!(calls(&next).contains(&("told".to_owned(), Outcome::Ok)));
    assert_eq!(journals(crashed.path()).len(), 0);
}

#[tokio::test]
async fn what_is_in_the_log_does_not_stay_in_the_journal() {
    let folder = TempDir::new().unwrap();
    let store = gate(&folder);
    let somebody = AuditRow {
        principal: "somebody@example.com".to_owned(),
        ..row("a")
    };
    let lock = locked(&folder);
    commit(&store, somebody).await;
    let [journal] = <[PathBuf; 1]>::try_from(journals(folder.path())).unwrap();
    let has_it = || {
        let file = fs::read(&journal).unwrap();
        file.windows(20)
            .any(|bytes| bytes == b"somebody@example.com")
    };
    assert!(has_it());
    drop(lock);
    while has_it() {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls(&store).len(), 1);
}

#[test]
fn who_takes_a_file_for_one_that_a_gate_has_left_looks_whether_it_is_still_there() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("journal");
    let old = fs::File::create(&path).unwrap();
    assert!(ring::is_at(&old, &path).unwrap());
    fs::remove_file(&path).unwrap();
    assert!(!ring::is_at(&old, &path).unwrap());
    drop(fs::File::create(&path).unwrap());
    assert!(!ring::is_at(&old, &path).unwrap());
}

#[tokio::test]
async fn a_call_whose_end_may_stand_in_a_journal_is_not_said_to_be_unknown() {
    let folder = TempDir::new().unwrap();
    let gone = Store::open(&database(&folder)).unwrap();
    let begun = AuditRow {
        outcome: Outcome::Pending,
        ..row("begun")
    };
    commit(&gone, begun).await;
    let journal = path_of(&database(&folder).canonicalize().unwrap(), gone.gate());
    drop(gone);
    // It cannot be read.
    fs::create_dir(&journal).unwrap();
    let next = gate(&folder);
    assert_eq!(next.settle_begun(5).await.unwrap(), 0);
    let erased = next.erase_audit("somebody", 9, i64::MAX).await;
    assert!(matches!(erased, Err(Error::Behind(_))), "{erased:?}");
    fs::remove_dir(&journal).unwrap();
    assert_eq!(next.settle_begun(6).await.unwrap(), 1);
    // On the disk where all gates look, once it is said.
    assert_eq!(open_calls(&folder), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_crowd_waits_for_its_turn_and_who_is_alone_does_not() {
    let folder = TempDir::new().unwrap();
    let of = Identity::of(&crate::node::NodeKey([1; 32]));
    let mut keeper = Keeper::new(folder.path().join("journal"), of, Arc::default());
    let mut after = |writes: &[usize]| {
        for together in writes {
            keeper.take_turn(*together);
        }
        threads::tests::policy()
    };
    assert_eq!(after(&[1, 2, 3]), libc::SCHED_OTHER);
    assert_eq!(after(&[4]), libc::SCHED_BATCH);
    assert_eq!(after(&[1; 15]), libc::SCHED_BATCH);
    // Not in a row.
    assert_eq!(after(&[2, 1]), libc::SCHED_BATCH);
    assert_eq!(after(&[1; 15]), libc::SCHED_OTHER);
    assert_eq!(after(&[30]), libc::SCHED_BATCH);
}
