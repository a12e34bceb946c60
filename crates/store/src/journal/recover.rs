//! What a gate that is gone has left in its journal.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError, read_dir, remove_file};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::ring::{self, BLOCK, Identity};
use crate::Error;
use crate::audit::{Head, Instance, Packed};
use crate::db::{self, Access, Connection, Durability, Role, values};
use crate::store::Place;

/// How long whoever opens the database waits for what a gate that lives has in its journal alone, and how often it looks.
const CATCH_UP: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);

/// Notes that all is in the log up to that record of the gate's journal.
pub(crate) fn note(connection: &Connection, gate: &str, number: u64) -> db::Result<()> {
    connection.send(
        "INSERT INTO audit_journals (gate, folded) VALUES (?1, ?2)
        ON CONFLICT (gate) DO UPDATE SET folded = excluded.folded",
        values![gate, i64::try_from(number).unwrap_or(i64::MAX)],
    )
}

/// Forgets about a journal that is not there any more.
pub(crate) fn forget(connection: &Connection, gate: &str) -> db::Result<()> {
    let sql = "DELETE FROM audit_journals WHERE gate = ?1";
    connection.execute(sql, values![gate]).map(drop)
}

fn noted(connection: &Connection, gate: &str) -> db::Result<u64> {
    let sql = "SELECT folded FROM audit_journals WHERE gate = ?1";
    let noted: Option<i64> = connection.one(sql, values![gate], |row| row.get(0))?;
    Ok(noted.map_or(0, |number| u64::try_from(number).unwrap_or_default()))
}

/// Journals of other databases that lie beside this one. They stay there, are looked at again and again, and told of once.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<BTreeSet<PathBuf>>);

impl Foreign {
    /// Takes note of one; whether it was not known yet.
    fn note(&self, path: &Path) -> bool {
        self.0.lock().insert(path.to_owned())
    }

    /// Those that are gone may come again, and are then told of again.
    fn forget_gone(&self) {
        self.0.lock().retain(|path| path.exists());
    }
}

/// Puts into the log what gates that are gone have in their journals beside this database, and removes these. Whose it did
/// not: gates that live, and those whose journal cannot be read, or not be put into the log; that is tried again, and keeps
/// nobody from opening the database, and making room on a disk that is full. `own`: this gate.
///
/// # Errors
/// If nobody can tell which there are.
pub(crate) fn recover(
    place: &Place,
    of: &Identity,
    own: &str,
    foreign: &Foreign,
) -> Result<BTreeSet<String>, Error> {
    let mut open = BTreeSet::new();
    let Place::File(database) = place else {
        return Ok(open);
    };
    let gates = gates(database).map_err(unreadable(database))?;
    foreign.forget_gone();
    for gate in gates.into_iter().filter(|gate| gate != own) {
        let path = ring::path_of(database, &gate);
        match look_after(place, (of, foreign), &gate, &path) {
            Ok(true) => {}
            Ok(false) => drop(open.insert(gate)),
            Err(error) => {
                warn!(
                    gate,
                    error = &error as &dyn std::error::Error,
                    "what a gate had left in its journal is not in the audit log yet"
                );
                open.insert(gate);
            }
        }
    }
    Ok(open)
}

/// Whether nothing is left of that journal but what is in the log.
fn look_after(
    place: &Place,
    of: (&Identity, &Foreign),
    gate: &str,
    path: &Path,
) -> Result<bool, Error> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        // Another looked after it.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened.map_err(unreadable(path))?,
    };
    match file.try_lock() {
        Ok(()) => take_over(place, of, gate, path, &file).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(unreadable(path)(error)),
    }
}

/// Waits until all is in the log that these gates have told anybody is written; the first that does not write it in time.
pub(crate) fn catch_up(
    place: &Place,
    connection: &Connection,
    gates: &BTreeSet<String>,
) -> Result<Option<String>, Error> {
    let Place::File(database) = place else {
        return Ok(None);
    };
    let end = Instant::now() + CATCH_UP;
    for gate in gates {
        let path = ring::path_of(database, gate);
        let file = match std::fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            // Why not was said when it was looked after.
            Err(_) => return Ok(Some(gate.clone())),
        };
        let last = ring::records(&file).last().map_or(0, |(number, _)| *number);
        while noted(connection, gate)? < last && path.exists() {
            if Instant::now() >= end {
                return Ok(Some(gate.clone()));
            }
            sleep(LOOK);
        }
    }
    Ok(None)
}

fn unreadable(path: &Path) -> impl FnOnce(IoError) -> Error {
    let path = path.to_owned();
    move |cause| Error::Journal { path, cause }
}

/// Those that have a journal beside this database.
fn gates(database: &Path) -> std::io::Result<Vec<String>> {
    let folder = database
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut gates = Vec::new();
    for file in read_dir(folder.unwrap_or(Path::new(".")))? {
        gates.extend(ring::gate_of(database, &file?.file_name()));
    }
    gates.sort();
    Ok(gates)
}

fn take_over(
    place: &Place,
    (of, foreign): (&Identity, &Foreign),
    gate: &str,
    path: &Path,
    file: &File,
) -> Result<(), Error> {
    // Somebody else may have been here first, and its gate may have made another.
    if !ring::is_at(file, path).map_err(unreadable(path))? {
        return Ok(());
    }
    let bytes = std::fs::read(path).map_err(unreadable(path))?;
    if ring::is_of_another(&bytes, of) {
        if foreign.note(path) {
            warn!(path = %path.display(), "a journal of another database: put that back beside it, or remove it");
        }
        return Ok(());
    }
    let records = ring::records(&bytes);
    let connection = place.open(Role::Errand)?;
    let mut instance = Instance::gone(gate);
    let taken = connection.transaction(Access::Write, Durability::Now, |connection| {
        fold(connection, gate, &records, &mut instance)
    })?;
    if taken > 0 {
        info!(
            gate,
            records = taken,
            "put into the audit log what a gate had left in its journal"
        );
    }
    // Unreadable before it is forgotten what of it is in the log, and gone last: its name may come back after a crash.
    file.write_all_at(&[0; BLOCK], 0)
        .and_then(|()| file.sync_data())
        .map_err(unreadable(path))?;
    forget(&connection, gate)?;
    remove(path).map_err(unreadable(path))
}

/// It may be gone already.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// How many were not in the log.
fn fold(
    connection: &Connection,
    gate: &str,
    records: &[(u64, Packed)],
    instance: &mut Instance,
) -> db::Result<usize> {
    let folded = noted(connection, gate)?;
    let missing = records.partition_point(|(number, _)| *number <= folded);
    let missing = records.get(missing..).unwrap_or_default();
    let Some((last, _)) = missing.last() else {
        return Ok(0);
    };
    let mut head = Head::read(connection)?;
    for (_, row) in missing {
        head.append(connection, &row.fields(), instance, true)?;
    }
    instance.settle(connection)?;
    head.write(connection)?;
    note(connection, gate, *last)?;
    Ok(missing.len())
}
