//! Notices what another connection or process committed, at the cost of one look at shared memory.
//!
//! Nearly every commit is an audit record. So a commit is only the occasion to look at a few counters, which triggers
//! keep; only when one of them moved is there anything to read.

use rusqlite::Connection;

use crate::store::connect;
use crate::{Error, Store};

/// How often the tables that are kept in memory changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// `keys`, but for when they were last used.
    pub keys: i64,
    /// `revocations`.
    pub revocations: i64,
    /// `pins`.
    pub pins: i64,
}

/// Looks for changes, on a connection of its own: SQLite tells each connection of the others' commits.
#[derive(Debug)]
pub struct Changes {
    connection: Connection,
    /// What SQLite said last, and what the counters were then.
    last: Option<(i64, Counts)>,
}

impl Store {
    /// A look-out for what is changed by anybody, this process included.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn changes(&self) -> Result<Changes, Error> {
        let connection = connect(self.path())?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(Changes {
            connection,
            last: None,
        })
    }
}

impl Changes {
    /// The counters of this moment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        // Asked first: a commit between the two questions is then seen again next time.
        let version = self
            .connection
            .prepare_cached("PRAGMA data_version")?
            .query_row([], |row| row.get(0))?;
        if let Some((seen, counts)) = self.last
            && seen == version
        {
            return Ok(counts);
        }
        let counts = self
            .connection
            .prepare_cached("SELECT keys, revocations, pins FROM changes")?
            .query_row([], |row| {
                Ok(Counts {
                    keys: row.get(0)?,
                    revocations: row.get(1)?,
                    pins: row.get(2)?,
                })
            })?;
        self.last = Some((version, counts));
        Ok(counts)
    }
}

#[cfg(test)]
mod tests;
