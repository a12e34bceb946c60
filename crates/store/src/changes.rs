//! Notices what another connection or process committed, at the cost of one look at shared memory, or one small question
//! to the server.
//!
//! Nearly every commit is an audit record. So a commit is only the occasion to look at a few counters, which triggers
//! keep; only when one of them moved is there anything to read.

use crate::db::{self, Connection};
use crate::store::Place;
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

/// Looks for changes.
#[derive(Debug)]
pub struct Changes(Look);

#[derive(Debug)]
enum Look {
    /// On a connection of its own: SQLite tells each connection of the others' commits.
    File {
        connection: Connection,
        /// What SQLite said last, and what the counters were then.
        last: Option<(i64, Counts)>,
    },
    /// On any connection.
    Server(Store),
}

impl Store {
    /// A look-out for what is changed by anybody, this process included.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub fn changes(&self) -> Result<Changes, Error> {
        Ok(Changes(match self.place() {
            Place::File(path) => Look::File {
                connection: db::open_file(path, db::Access::Read)?,
                last: None,
            },
            Place::Server(_) => Look::Server(self.clone()),
        }))
    }
}

impl Changes {
    /// The counters of this moment.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        let (connection, last) = match &mut self.0 {
            Look::File { connection, last } => (&*connection, last),
            Look::Server(store) => return store.read(counts),
        };
        // Asked first: a commit between the two questions is then seen again next time.
        let version = connection.only("PRAGMA data_version", &[], |row| row.get(0))?;
        if let Some((seen, counts)) = *last
            && seen == version
        {
            return Ok(counts);
        }
        let counts = counts(connection)?;
        *last = Some((version, counts));
        Ok(counts)
    }
}

fn counts(connection: &Connection) -> db::Result<Counts> {
    let sql = "SELECT keys, revocations, pins FROM changes";
    connection.only(sql, &[], |row| {
        Ok(Counts {
            keys: row.get(0)?,
            revocations: row.get(1)?,
            pins: row.get(2)?,
        })
    })
}

#[cfg(test)]
mod tests;
