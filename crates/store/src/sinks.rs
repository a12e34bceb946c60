//! How far the receivers of the audit log are: for each sink the last row that its receiver has, and which gate sends.
//!
//! One gate sends to a sink at a time: it holds the sink for a while, and again before that is over. What a sink is, and
//! sending, is `observe`'s.

use std::time::SystemTime;

use crate::db::{self, Connection, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

const SELECT: &str =
    "SELECT name, position, holder, held_until, error, failing_since FROM audit_sinks";
/// The number of the log's last row.
const END: &str = "SELECT base + size FROM audit_head";

/// A sink, as every gate sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRow {
    /// Its name in the config.
    pub name: String,
    /// The number of the last row that its receiver has.
    pub position: i64,
    /// The gate that sends, and until when nobody else may.
    pub holder: Option<(String, SystemTime)>,
    /// Why nothing gets there, and since when; `None` while it does.
    pub error: Option<(String, SystemTime)>,
}

/// Which gate sends to which sink, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkHold {
    /// The sink's name in the config.
    pub name: String,
    /// The gate's, which no other has.
    pub holder: String,
    /// Now.
    pub now: SystemTime,
    /// After that another gate may send.
    pub until: SystemTime,
}

/// Where a sink begins that was not there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SinkStart {
    /// With what is recorded from now on.
    #[default]
    Now,
    /// With the log's first row.
    Beginning,
}

impl Store {
    /// The sinks that were ever sent to, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_sinks(&self) -> Result<Vec<SinkRow>, Error> {
        self.read(|connection| {
            connection.all(&format!("{SELECT} ORDER BY name"), &[], |row| {
                let holder: Option<String> = row.get(2)?;
                let until = from_micros(row.get(3)?);
                let error: Option<String> = row.get(4)?;
                let since: Option<i64> = row.get(5)?;
                Ok(SinkRow {
                    name: row.get(0)?,
                    position: row.get(1)?,
                    holder: holder.map(|holder| (holder, until)),
                    error: error.zip(since.map(from_micros)),
                })
            })
        })
    }

    /// The number of the log's last row; 0 if there is none.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_end(&self) -> Result<i64, Error> {
        self.read(|connection| connection.only(END, &[], |row| row.get(0)))
    }

    /// Takes the sink for a gate, or keeps it, and where it is; a new one begins at `start`. `None` if another gate has
    /// it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn hold_audit_sink(
        &self,
        hold: SinkHold,
        start: SinkStart,
    ) -> Result<Option<i64>, Error> {
        self.change(move |connection| {
            let begin = match start {
                SinkStart::Beginning => 0,
                SinkStart::Now => connection.only(END, &[], |row| row.get(0))?,
            };
            take(connection, &hold, begin)
        })
        .await
    }

    /// Says that the receiver has everything up to `position`, and keeps the sink. `false` if another gate has it by now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn move_audit_sink(&self, hold: SinkHold, position: i64) -> Result<bool, Error> {
        self.change(move |connection| {
            let moved = connection.execute(
                "UPDATE audit_sinks SET position = ?1, held_until = ?2, error = NULL, failing_since = NULL \
                     WHERE name = ?3 AND holder = ?4 AND position <= ?1",
                values![
                    position,
                    to_micros(hold.until),
                    hold.name,
                    hold.holder
                ],
            )?;
            Ok(moved > 0)
        })
        .await
    }

    /// Says why nothing gets to the receiver, and since when.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn fail_audit_sink(
        &self,
        hold: SinkHold,
        error: String,
        since: SystemTime,
    ) -> Result<(), Error> {
        self.change(move |connection| {
            connection.execute(
                "UPDATE audit_sinks SET error = ?1, failing_since = ?2 WHERE name = ?3 AND holder = ?4",
                values![error, to_micros(since), hold.name, hold.holder],
            )
                .map(drop)
        })
        .await
    }

    /// Leaves the sink to other gates.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn release_audit_sink(&self, name: String, holder: String) -> Result<(), Error> {
        self.change(move |connection| {
            connection.execute(
                "UPDATE audit_sinks SET holder = NULL, held_until = 0 WHERE name = ?1 AND holder = ?2",
                values![name, holder],
            )
                .map(drop)
        })
        .await
    }
}

fn take(connection: &Connection, hold: &SinkHold, begin: i64) -> db::Result<Option<i64>> {
    connection.one(
        "INSERT INTO audit_sinks (name, position, holder, held_until) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (name) DO UPDATE SET holder = ?3, held_until = ?4 \
             WHERE audit_sinks.holder IS NULL OR audit_sinks.holder = ?3 OR audit_sinks.held_until < ?5 \
             RETURNING position",
        values![
                hold.name,
                begin,
                hold.holder,
                to_micros(hold.until),
                to_micros(hold.now)
            ],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests;
