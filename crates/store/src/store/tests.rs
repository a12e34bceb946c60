//! The file survives, the writer groups, and a full queue refuses.

use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::AuditFilter;
use crate::audit::tests::row;
use crate::queue::QUEUE_MAX;
use crate::trial::Home;

fn count(store: &Store) -> usize {
    store
        .audit_tail(u32::MAX, None, &AuditFilter::default())
        .unwrap()
        .len()
}

async fn write(store: &Store, call_id: &str) {
    store
        .reserve_audit(Duration::from_secs(5))
        .await
        .unwrap()
        .write(&row(call_id));
}

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("made/for/us/gate.db");
    let store = Store::open(&path).unwrap();
    for nth in 0..100 {
        write(&store, &nth.to_string()).await;
    }
    // No flush: dropping the last handle writes what is queued and joins the writer.
    drop(store);
    assert_eq!(count(&Store::open(&path).unwrap()), 100);
}

#[tokio::test]
async fn an_installation_keeps_its_own_key() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let key = *Store::open(&path).unwrap().node_key();
    assert_eq!(*Store::open(&path).unwrap().node_key(), key);
    let other = Store::open(&folder.path().join("other.db")).unwrap();
    assert_ne!(*other.node_key(), key);
    assert!(!format!("{other:?}").contains(&format!("{:?}", other.node_key())));
}

#[tokio::test]
async fn nobody_else_may_read_the_files() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/gate.db");
    let store = Store::open(&path).unwrap();
    write(&store, "one").await;
    store.flush().await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let file = file.unwrap().path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn two_processes_share_one_database() {
    for home in Home::both() {
        let (gate, cli) = (home.open(), home.open());
        for nth in 0..50 {
            write(&gate, &nth.to_string()).await;
            write(&cli, &nth.to_string()).await;
        }
        gate.flush().await.unwrap();
        cli.flush().await.unwrap();
        assert_eq!((count(&gate), count(&cli)), (100, 100));
    }
}

#[tokio::test]
async fn a_newer_or_altered_database_is_refused() {
    for home in Home::both() {
        drop(home.open());
        home.sql("INSERT INTO migrations VALUES (99, '')");
        let error = Store::open(home.location()).unwrap_err();
        assert!(
            matches!(error, Error::Newer { found: 99, known } if known < 99),
            "{error}"
        );
        assert!(error.to_string().contains("newer version"));

        home.sql("DELETE FROM migrations WHERE version = 99; UPDATE migrations SET checksum = 'x'");
        let first = match home {
            Home::File(_) => 1,
            Home::Server(_) => 15,
        };
        let error = Store::open(home.location()).unwrap_err();
        assert!(
            matches!(error, Error::Altered { version } if version == first),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    std::fs::write(&path, "garbage ".repeat(1_000)).unwrap();
    assert!(matches!(
        Store::open(&path).unwrap_err(),
        Error::Database(_)
    ));
    assert!(matches!(
        Store::open(Path::new("/proc/nowhere/gate.db")).unwrap_err(),
        Error::Create { .. }
    ));
}

#[tokio::test]
async fn a_full_queue_refuses_within_the_wait_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let store = Store::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let wait = Duration::from_millis(20);
    let mut accepted = 0;
    let refusal = loop {
        match store.reserve_audit(wait).await {
            Ok(slot) => slot.write(&row(&accepted.to_string())),
            Err(refusal) => break refusal,
        }
        accepted += 1;
    };
    assert!(
        matches!(refusal, Error::Full(within) if within == wait),
        "{refusal}"
    );
    assert!(accepted >= QUEUE_MAX);
    assert!(!store.is_writable());

    other.execute_batch("ROLLBACK").unwrap();
    store.flush().await.unwrap();
    assert_eq!(count(&store), accepted);
    assert!(store.is_writable());
}

#[tokio::test]
async fn a_commit_that_fails_is_tried_again() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let store = Store::open(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("ALTER TABLE audit_segments RENAME TO gone")
        .unwrap();
    write(&store, "one").await;
    while store.is_writable() {
        tokio::task::yield_now().await;
    }
    other
        .execute_batch("ALTER TABLE gone RENAME TO audit_segments")
        .unwrap();
    store.flush().await.unwrap();
    assert_eq!(count(&store), 1);
    assert!(store.is_writable());
}

#[tokio::test]
async fn a_place_that_is_not_used_is_free_again_and_keeps_nobody_from_closing() {
    for is_gate in [false, true] {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("gate.db")).unwrap();
        if is_gate {
            store.keep_journal().unwrap();
        }
        let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
        assert_eq!(store.backlog().taken, 1);
        drop(slot);
        assert_eq!(store.backlog().taken, 0);

        let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
        let closing = store.close();
        tokio::pin!(closing);
        assert!(
            timeout(Duration::from_millis(20), &mut closing)
                .await
                .is_err()
        );
        drop(slot);
        closing.await;
        assert!(store.inner.writer.lock().is_none() && store.inner.ending.try_lock().is_some());
    }
}

#[tokio::test]
async fn who_is_given_a_place_and_does_not_take_it_keeps_nobody_from_closing() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    let mut slots = Vec::new();
    for _ in 0..QUEUE_MAX {
        slots.push(store.reserve_audit(Duration::from_secs(1)).await.unwrap());
    }
    let mut waits = Box::pin(store.reserve_audit(Duration::from_secs(60)));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending());
    // It is given this one, and is not told yet.
    drop(slots.pop());
    let closing = store.close();
    tokio::pin!(closing);
    let soon = Duration::from_millis(20);
    assert!(timeout(soon, &mut closing).await.is_err());
    drop(slots);
    assert!(timeout(soon, &mut closing).await.is_err());
    drop(waits);
    closing.await;
    assert!(store.inner.ending.try_lock().is_some());
}

/// A thread that writes ends in a panic: once it has committed, or written to the journal.
#[derive(Debug)]
struct Panics {
    is_of_journal: bool,
}

impl Watch for Panics {
    fn committed(&self, _: usize, _: usize, _: Duration) {
        assert!(self.is_of_journal, "as this test wants it");
    }
    fn failed(&self) {}
    fn journaled(&self, _: Duration) {
        assert!(!self.is_of_journal, "as this test wants it");
    }
    fn journal_failed(&self) {}
}

#[tokio::test]
async fn without_its_writer_a_store_takes_nothing_and_without_its_journal_it_does() {
    let wait = Duration::from_secs(5);
    for is_of_journal in [false, true] {
        let folder = TempDir::new().unwrap();
        let store = Store::open(&folder.path().join("gate.db")).unwrap();
        store.keep_journal().unwrap();
        store.watch(Arc::new(Panics { is_of_journal }));
        let slot = store.reserve_audit(wait).await.unwrap();
        let first = slot.commit(&row("first"), wait).await;
        assert_eq!(first.is_err(), is_of_journal);
        if is_of_journal {
            let slot = store.reserve_audit(wait).await.unwrap();
            slot.commit(&row("second"), wait).await.unwrap();
        } else {
            while store.inner.queue.has_room() {
                tokio::task::yield_now().await;
            }
            let refused = store.reserve_audit(wait).await;
            assert!(matches!(refused, Err(Error::Closed)), "{refused:?}");
            assert!(!store.is_writable());
        }
        store.close().await;
        assert!(store.inner.ending.try_lock().is_some());
    }
}

#[tokio::test]
async fn a_closed_store_takes_nothing_new_and_keeps_what_was_open() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let store = Store::open(&path).unwrap();
    let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
    let closing = store.close();
    tokio::pin!(closing);
    // Waits for the record that is still open.
    assert!(
        timeout(Duration::from_millis(20), &mut closing)
            .await
            .is_err()
    );
    slot.write(&row("last"));
    closing.await;
    assert!(matches!(
        store.reserve_audit(Duration::from_secs(1)).await,
        Err(Error::Closed)
    ));
    assert!(matches!(store.flush().await, Err(Error::Closed)));
    assert!(!store.is_writable());
    assert_eq!(count(&Store::open(&path).unwrap()), 1);
}
