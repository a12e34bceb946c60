//! Group commit.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::audit::tests::{COUNT, row};
use crate::migrate::migrate;
use crate::store::Place;
use crate::trial::Home;

/// How often the file was written: SQLite counts it in the header, outside WAL mode.
fn transactions(path: &Path) -> u32 {
    let file = std::fs::read(path).unwrap();
    u32::from_be_bytes(file[24..28].try_into().unwrap())
}

fn unawaited(row: &crate::AuditRow) -> Job {
    Job::Audit(Record {
        row: Packed::new(&row.fields()),
        waiting: None,
        number: None,
        since: Instant::now(),
    })
}

#[test]
fn what_waits_together_is_one_transaction() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let connection =
        Connection::Sqlite(db::File::new(rusqlite::Connection::open(&path).unwrap()).unwrap());
    migrate(&connection).unwrap();
    let before = transactions(&path);

    let (queue, jobs) = Queue::new();
    for nth in 0..=BATCH_MAX {
        queue.put(unawaited(&row(&nth.to_string())));
    }
    queue.close();
    let instance = Instance::new(&Place::File(path.clone())).unwrap();
    run(connection, &queue, &jobs, &Shared::default(), instance);

    let rows: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row(COUNT, [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows as usize, BATCH_MAX + 1);
    assert_eq!(transactions(&path) - before, 2);
}

#[test]
fn once_the_disk_failed_nothing_is_committed_before_all_is_out_of_the_wal() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let mut connection = db::open_file(&path, db::Access::Write).unwrap();
    migrate(&connection).unwrap();
    let mut instance = Instance::new(&Place::File(path.clone())).unwrap();
    let attempt = Try {
        number: 1,
        is_again: false,
    };
    let mut soon = [unawaited(&row("not synced"))];
    commit(&mut connection, &mut soon, attempt, &mut instance).unwrap();
    let wal = || {
        let wal = std::fs::metadata(folder.path().join("gate.db-wal"));
        wal.unwrap().len()
    };
    assert!(wal() > 0);

    // Whoever reads keeps the WAL: then nothing may be committed, and it is tried again.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader
        .execute_batch("BEGIN; SELECT 1 FROM audit_head")
        .unwrap();
    let mut is_torn = true;
    assert!(mended(&connection, &mut is_torn).is_err() && is_torn);
    reader.execute_batch("COMMIT").unwrap();
    mended(&connection, &mut is_torn).unwrap();
    assert!(!is_torn && wal() == 0);

    let failed = |code| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        db::Failure::from(error).is_of_disk()
    };
    assert!(failed(rusqlite::ffi::SQLITE_IOERR_FSYNC));
    assert!(!failed(rusqlite::ffi::SQLITE_BUSY) && !failed(rusqlite::ffi::SQLITE_FULL));
}

#[test]
fn a_call_whose_end_was_tried_twice_is_not_begun_any_more() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let mut connection = db::open_file(&path, db::Access::Write).unwrap();
    migrate(&connection).unwrap();
    let mut instance = Instance::new(&Place::File(path.clone())).unwrap();
    let mut put = |connection: &mut Connection, number, is_again, outcome| {
        let row = crate::AuditRow {
            outcome,
            ..row("called")
        };
        let mut batch = [unawaited(&row)];
        let attempt = Try { number, is_again };
        commit(connection, &mut batch, attempt, &mut instance)
    };
    let begun = |connection: &Connection| {
        let sql = "SELECT count(*) FROM audit_open";
        connection.only(sql, &[], |row| row.get::<i64>(0)).unwrap()
    };
    put(&mut connection, 1, false, crate::Outcome::Pending).unwrap();
    assert_eq!(begun(&connection), 1);

    // The last statement of the batch fails, after all that the writer remembers of it.
    let fails =
        "CREATE TRIGGER fails BEFORE UPDATE ON audit_head BEGIN SELECT RAISE(FAIL, 'no'); END";
    connection.batch(fails).unwrap();
    put(&mut connection, 2, false, crate::Outcome::Ok).unwrap_err();
    assert_eq!(begun(&connection), 1);
    connection.batch("DROP TRIGGER fails").unwrap();
    put(&mut connection, 2, true, crate::Outcome::Ok).unwrap();
    assert_eq!(begun(&connection), 0);
}

#[tokio::test]
async fn a_change_finds_the_records_that_came_before_it_in_its_batch() {
    for home in Home::both() {
        let store = home.open();
        let count = |connection: &Connection| connection.only(COUNT, &[], |row| row.get::<i64>(0));
        // One by one; then many at once.
        for nth in 1..=11_i64 {
            let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
            slot.write(&row(&nth.to_string()));
            assert_eq!(store.change(count).await.unwrap(), nth);
        }
        for nth in 12..=22_i64 {
            let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
            slot.write(&row(&nth.to_string()));
        }
        assert_eq!(store.change(count).await.unwrap(), 22);
        assert_eq!(audit::tests::check(&store).0, 22);
    }
}
