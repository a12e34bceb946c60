//! Calls that were begun and not answered: whose they are, and what becomes of those whose gate is gone.
//!
//! A gate holds a lock on a file of its own beside the database for as long as it lives. The system lets go of it
//! whatever ended the gate, so who holds none is gone.

use std::fs::{File, OpenOptions, TryLockError, remove_file};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use rusqlite::{Connection, params};

use super::text::hex;
use super::{AuditRow, Outcome, SELECT_ONE, recorded};
use crate::{Error, Store};

/// Random bytes in a gate's name.
const ID_LEN: usize = 8;
/// Why a call that its gate left behind is `unknown`.
const LEFT: &str = "the gate ended before the call did";

/// This gate among those that write to the database.
#[derive(Debug)]
pub(crate) struct Instance {
    database: PathBuf,
    id: String,
    /// Locked once there is a call that could be left behind.
    held: Option<File>,
}

impl Instance {
    pub(crate) fn new(database: &Path) -> Result<Self, Error> {
        let mut id = [0; ID_LEN];
        rand::fill(&mut id).map_err(|_none| Error::NoRandomness)?;
        Ok(Self {
            database: database.to_owned(),
            id: hex(&id),
            held: None,
        })
    }

    /// Keeps account of calls that were begun and are not over.
    pub(crate) fn note(
        &mut self,
        connection: &Connection,
        row: &AuditRow,
        seq: i64,
    ) -> rusqlite::Result<()> {
        if row.outcome == Outcome::Pending {
            self.hold()
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO audit_open (call_id, seq, gate) VALUES (?1, ?2, ?3)",
                )?
                .execute(params![row.call_id, seq, self.id])?;
        } else {
            connection
                .prepare_cached("DELETE FROM audit_open WHERE call_id = ?1")?
                .execute([&row.call_id])?;
        }
        Ok(())
    }

    /// Shows that it lives, from now on.
    fn hold(&mut self) -> std::io::Result<()> {
        if self.held.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(lock_of(&self.database, &self.id))?;
            file.lock()?;
            self.held = Some(file);
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // One that stays is no harm: nobody holds its lock.
        if self.held.is_some() {
            drop(remove_file(lock_of(&self.database, &self.id)));
        }
    }
}

impl Store {
    /// Ends the calls that a gate which is gone had begun: nobody can say what became of them. `at_us` is now, in
    /// microseconds since 1970. How many there were.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub async fn settle_begun(&self, at_us: i64) -> Result<usize, Error> {
        let begun: Vec<(String, i64)> = self.read(|connection| {
            connection
                .prepare("SELECT gate, seq FROM audit_open ORDER BY seq")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        let mut gates: Vec<&str> = begun.iter().map(|(gate, _)| gate.as_str()).collect();
        gates.sort_unstable();
        gates.dedup();
        let mut settled = 0;
        for gate in gates {
            // Kept until the last of its calls is settled: two gates that start at once do not settle them twice.
            let Some(_lock) = left_behind(&lock_of(self.path(), gate)) else {
                continue;
            };
            for (_, seq) in begun.iter().filter(|(whose, _)| whose == gate) {
                let found =
                    self.read(|connection| connection.query_row(SELECT_ONE, [seq], recorded))?;
                let row = AuditRow {
                    at_us,
                    outcome: Outcome::Unknown,
                    reason: Some(LEFT.to_owned()),
                    ..found.row
                };
                let slot = self.reserve_audit(super::SETTLE_WAIT).await?;
                slot.commit(row, super::SETTLE_WAIT).await?;
                settled += 1;
            }
            drop(remove_file(lock_of(self.path(), gate)));
        }
        Ok(settled)
    }
}

/// The lock of a gate that is gone; `None` if it lives.
fn left_behind(path: &Path) -> Option<Option<File>> {
    match OpenOptions::new().write(true).open(path) {
        Ok(file) => match file.try_lock() {
            Ok(()) => Some(Some(file)),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Some(None),
        Err(_) => None,
    }
}

/// The file that a gate holds locked.
fn lock_of(database: &Path, gate: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".gate-{gate}"));
    PathBuf::from(name)
}
