//! What was used of quotas: a row for each counter and window, added to, never set.
//!
//! Several processes may count in one file: each adds what it saw, and learns the sum.

use std::time::SystemTime;

use crate::db::{self, Connection, values};
use crate::time::to_micros;
use crate::{Error, Store};

/// A counter in one window.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    /// The counter's name: the quota's, and whose it is.
    pub counter: String,
    /// When its window began.
    pub starts_at: SystemTime,
}

/// What was used, or what is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QuotaUsed {
    /// Calls.
    pub calls: i64,
    /// Bytes.
    pub bytes: i64,
    /// Cost units.
    pub cost: i64,
}

impl Store {
    /// Adds to what was used, all or nothing; what was used of each then, in the same order.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn add_quota_used(
        &self,
        rows: Vec<(QuotaKey, QuotaUsed)>,
    ) -> Result<Vec<QuotaUsed>, Error> {
        self.change(move |connection| {
            rows.iter()
                .map(|(key, more)| add(connection, key, *more))
                .collect()
        })
        .await
    }

    /// What was used of a counter in a window; `None` if nothing was.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_quota_used(&self, key: &QuotaKey) -> Result<Option<QuotaUsed>, Error> {
        self.read(|connection| {
            let sql = "SELECT calls, bytes, cost FROM quotas WHERE counter = ?1 AND starts_at = ?2";
            connection.one(sql, values![key.counter, to_micros(key.starts_at)], used)
        })
    }

    /// Forgets windows that began before then; how many rows they had.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_quotas(&self, before: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM quotas WHERE starts_at < ?1",
                values![to_micros(before)],
            )
        })
        .await
    }
}

fn add(connection: &Connection, key: &QuotaKey, more: QuotaUsed) -> db::Result<QuotaUsed> {
    connection.only(
        "INSERT INTO quotas (counter, starts_at, calls, bytes, cost) VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT (counter, starts_at) DO UPDATE SET
                calls = quotas.calls + excluded.calls,
                bytes = quotas.bytes + excluded.bytes,
                cost = quotas.cost + excluded.cost
            RETURNING calls, bytes, cost",
        values![
            key.counter,
            to_micros(key.starts_at),
            more.calls,
            more.bytes,
            more.cost
        ],
        used,
    )
}

fn used(row: &db::Row<'_>) -> db::Result<QuotaUsed> {
    Ok(QuotaUsed {
        calls: row.get(0)?,
        bytes: row.get(1)?,
        cost: row.get(2)?,
    })
}

#[cfg(test)]
mod tests;
