//! What counts once and was used: kept until it would be refused for its age.

use std::time::SystemTime;

use crate::db::{self, Connection, values};
use crate::time::to_micros;
use crate::{Error, Store};

/// Most rows past their end that one change takes along. More than one each, so that they never pile up.
const SWEEP_ROWS: u32 = 16;

impl Store {
    /// Notes that `hash` was used; `false` if it was before. From `until` on it is forgotten. Returns once it would
    /// survive the end of this process.
    ///
    /// # Errors
    /// If it cannot be written. Then it must not count as unused.
    pub async fn put_replay(
        &self,
        hash: [u8; 32],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<bool, Error> {
        self.change(move |connection| put(connection, hash, to_micros(until), to_micros(now)))
            .await
    }
}

fn put(connection: &Connection, hash: [u8; 32], until: i64, now: i64) -> db::Result<bool> {
    connection.execute(
        "DELETE FROM replays WHERE hash IN
            (SELECT hash FROM replays WHERE expires_at <= ?1 AND hash <> ?2 LIMIT ?3)",
        values![now, hash, SWEEP_ROWS],
    )?;
    let added = connection.execute(
        "INSERT INTO replays (hash, expires_at) VALUES (?1, ?2)
            ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at
            WHERE replays.expires_at <= ?3",
        values![hash, until, now],
    )?;
    Ok(added > 0)
}

#[cfg(test)]
mod tests;
