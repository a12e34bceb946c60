//! What was revoked: by kind and id, until nothing it could match is valid any more.

use std::time::SystemTime;

use rusqlite::{Connection, Row};

use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// Something that no longer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationRow {
    /// Of what kind: a word of `auth`'s.
    pub kind: String,
    /// Whose token or signing key it is; empty for other kinds.
    pub issuer: String,
    /// Which one.
    pub id: String,
    /// From when on.
    pub revoked_at: SystemTime,
    /// When nothing that it could match holds any longer; `None` for never.
    pub until: Option<SystemTime>,
    /// Who revoked it.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Store {
    /// Revokes. Of what is revoked already the time moves on and the end moves out, never back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_revocation(&self, row: RevocationRow) -> Result<(), Error> {
        self.change(move |connection| put(connection, &row)).await
    }

    /// Takes a revocation back; `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_revocation(
        &self,
        kind: &str,
        issuer: &str,
        id: &str,
    ) -> Result<bool, Error> {
        let named = [kind, issuer, id].map(str::to_owned);
        self.change(move |connection| {
            let sql = "DELETE FROM revocations WHERE kind = ?1 AND issuer = ?2 AND id = ?3";
            let [kind, issuer, id] = &named;
            Ok(connection
                .prepare_cached(sql)?
                .execute([kind, issuer, id])?
                > 0)
        })
        .await
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_revocations(&self) -> Result<Vec<RevocationRow>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT kind, issuer, id, revoked_at, until, by, reason FROM revocations
                    ORDER BY revoked_at DESC, kind, issuer, id",
                )?
                .query_map([], revocation)?
                .collect()
        })
    }

    /// Forgets those whose end has come; how many there were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_revocations(&self, now: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            connection
                .prepare_cached("DELETE FROM revocations WHERE until <= ?1")?
                .execute([to_micros(now)])
        })
        .await
    }
}

fn put(connection: &Connection, row: &RevocationRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO revocations (kind, issuer, id, revoked_at, until, by, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (kind, issuer, id) DO UPDATE SET
            revoked_at = max(revoked_at, excluded.revoked_at),
            until = CASE WHEN until IS NULL OR excluded.until IS NULL THEN NULL ELSE max(until, excluded.until) END,
            by = excluded.by,
            reason = excluded.reason",
    )?;
    statement.execute(rusqlite::params![
        row.kind,
        row.issuer,
        row.id,
        to_micros(row.revoked_at),
        row.until.map(to_micros),
        row.by,
        row.reason,
    ])?;
    Ok(())
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<RevocationRow> {
    Ok(RevocationRow {
        kind: row.get(0)?,
        issuer: row.get(1)?,
        id: row.get(2)?,
        revoked_at: from_micros(row.get(3)?),
        until: row.get::<_, Option<i64>>(4)?.map(from_micros),
        by: row.get(5)?,
        reason: row.get(6)?,
    })
}

#[cfg(test)]
mod tests;
