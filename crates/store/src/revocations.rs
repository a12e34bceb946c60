//! What was revoked: by kind and id, until nothing it could match is valid any more.

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
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
            Ok(connection.execute(sql, values![kind, issuer, id])? > 0)
        })
        .await
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_revocations(&self) -> Result<Vec<RevocationRow>, Error> {
        self.read(|connection| {
            connection.all(
                "SELECT kind, issuer, id, revoked_at, until, by, reason FROM revocations
                    ORDER BY revoked_at DESC, kind, issuer, id",
                &[],
                revocation,
            )
        })
    }

    /// Forgets those whose end has come; how many there were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_revocations(&self, now: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM revocations WHERE until <= ?1",
                values![to_micros(now)],
            )
        })
        .await
    }
}

fn put(connection: &Connection, row: &RevocationRow) -> db::Result<()> {
    connection.execute(
        "INSERT INTO revocations (kind, issuer, id, revoked_at, until, by, reason)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
        ON CONFLICT (kind, issuer, id) DO UPDATE SET
            revoked_at = CASE WHEN revocations.revoked_at > excluded.revoked_at THEN revocations.revoked_at
                ELSE excluded.revoked_at END,
            until = CASE WHEN revocations.until IS NULL OR excluded.until IS NULL THEN NULL
                WHEN revocations.until > excluded.until THEN revocations.until ELSE excluded.until END,
            by = excluded.by,
            reason = excluded.reason",
        values![
        row.kind,
        row.issuer,
        row.id,
        to_micros(row.revoked_at),
        row.until.map(to_micros),
        row.by,
        row.reason,
    ],
    )?;
    Ok(())
}

fn revocation(row: &Row<'_>) -> db::Result<RevocationRow> {
    Ok(RevocationRow {
        kind: row.get(0)?,
        issuer: row.get(1)?,
        id: row.get(2)?,
        revoked_at: from_micros(row.get(3)?),
        until: row.get::<Option<i64>>(4)?.map(from_micros),
        by: row.get(5)?,
        reason: row.get(6)?,
    })
}

#[cfg(test)]
mod tests;
