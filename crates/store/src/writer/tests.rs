//! Group commit.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::audit::tests::row;
use crate::migrate::migrate;
use crate::store::Place;

/// How often the file was written: SQLite counts it in the header, outside WAL mode.
fn transactions(path: &Path) -> u32 {
    let file = std::fs::read(path).unwrap();
    u32::from_be_bytes(file[24..28].try_into().unwrap())
}

#[test]
fn what_waits_together_is_one_transaction() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("gate.db");
    let connection = Connection::Sqlite(rusqlite::Connection::open(&path).unwrap());
    migrate(&connection).unwrap();
    let before = transactions(&path);

    let (sender, queue) = mpsc::channel(513);
    for nth in 0..513 {
        assert!(
            sender
                .try_send(Job::Audit(
                    Box::new(row(&nth.to_string())),
                    None,
                    Instant::now()
                ))
                .is_ok()
        );
    }
    drop(sender);
    let instance = Instance::new(&Place::File(path.clone())).unwrap();
    run(connection, queue, &Shared::default(), instance);

    let rows: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM audit", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 513);
    assert_eq!(transactions(&path) - before, 2);
}
