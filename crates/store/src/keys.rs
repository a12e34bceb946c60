//! API keys: what is kept of them, which is never the key itself.

use std::time::SystemTime;

use crate::db::{self, Connection, Failure, Row, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// Which hash of a key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyHashKind {
    /// SHA-256: those of the first versions.
    Plain,
    /// Under the installation's master key, over the SHA-256.
    Keyed,
}

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its public part.
    pub id: String,
    /// For whom it speaks.
    pub principal: String,
    /// The roles it brings.
    pub roles: Vec<String>,
    /// What it may be used for at most, space-separated; `None` if it is not narrowed.
    pub scopes: Option<String>,
    /// A hash of its whole text.
    pub hash: [u8; 32],
    /// Which hash.
    pub hash_kind: KeyHashKind,
    /// When it was made.
    pub created_at: SystemTime,
    /// From when on it is not accepted.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<SystemTime>,
    /// The key that it replaces.
    pub rotated_from: Option<String>,
    /// What its maker wrote down about it.
    pub note: String,
}

/// What became of a key's replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRotation {
    /// The new one is kept.
    Rotated,
    /// There is no such key, or it is revoked.
    Over,
    /// The key of this id came in its place before.
    Replaced(String),
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, principal, roles, scopes, hash, hash_kind, created_at, expires_at, revoked_at, last_used_at, ",
            "rotated_from, note FROM keys ",
            $rest
        )
    };
}

impl Store {
    /// Keeps a new key.
    ///
    /// # Errors
    /// If one with this id exists, or it cannot be written.
    pub async fn put_key(&self, key: KeyRow) -> Result<(), Error> {
        self.change(move |connection| insert(connection, &key))
            .await
    }

    /// The key with this public id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_key(&self, id: &str) -> Result<Option<KeyRow>, Error> {
        let sql = select!("WHERE id = ?1");
        self.read(|connection| connection.one(sql, values![id], key))
    }

    /// All keys, oldest first, revoked ones too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_keys(&self) -> Result<Vec<KeyRow>, Error> {
        let sql = select!("ORDER BY created_at, id");
        self.read(|connection| connection.all(sql, &[], key))
    }

    /// Whether any key was ever made; revoked ones count.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn has_keys(&self) -> Result<bool, Error> {
        self.read(|connection| connection.exists("SELECT 1 FROM keys LIMIT 1", &[]))
    }

    /// Revokes a key, from `at` on; one that is revoked already keeps its time. `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn revoke_key(&self, id: &str, at: SystemTime) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let sql = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
            Ok(connection.execute(sql, values![id, to_micros(at)])? > 0)
        })
        .await
    }

    /// Keeps a new key in place of an older one, which is good until `until` and no longer. A key is replaced once.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn rotate_key(
        &self,
        old: &str,
        new: KeyRow,
        until: SystemTime,
    ) -> Result<KeyRotation, Error> {
        let old = old.to_owned();
        self.change(move |connection| {
            let heir = connection.one(
                "SELECT id FROM keys WHERE rotated_from = ?1",
                values![old],
                |row| row.get(0),
            )?;
            if let Some(heir) = heir {
                return Ok(KeyRotation::Replaced(heir));
            }
            let sql =
                "UPDATE keys SET expires_at = CASE WHEN expires_at < ?2 THEN expires_at ELSE ?2 END
                WHERE id = ?1 AND revoked_at IS NULL";
            let found = connection.execute(sql, values![old, to_micros(until)])? > 0;
            if !found {
                return Ok(KeyRotation::Over);
            }
            insert(connection, &new)?;
            Ok(KeyRotation::Rotated)
        })
        .await
    }

    /// Notes when keys were last used. What is noted already only moves on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn note_key_uses(&self, uses: Vec<(String, SystemTime)>) -> Result<(), Error> {
        self.change(move |connection| {
            let sql =
                "UPDATE keys SET last_used_at = CASE WHEN last_used_at > ?2 THEN last_used_at ELSE ?2 END WHERE id = ?1";
            for (id, at) in &uses {
                connection.send(sql, values![id, to_micros(*at)])?;
            }
            Ok(())
        })
        .await
    }

    /// Puts keyed hashes in the place of plain ones; how many.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn key_plain_hashes(
        &self,
        keyed: impl Fn(&[u8; 32]) -> [u8; 32] + Send + 'static,
    ) -> Result<usize, Error> {
        self.change(move |connection| {
            let plain: Vec<(String, [u8; 32])> = connection.all(
                "SELECT id, hash FROM keys WHERE hash_kind = 0",
                &[],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let sql = "UPDATE keys SET hash = ?2, hash_kind = 1 WHERE id = ?1";
            for (id, hash) in &plain {
                connection.execute(sql, values![id, keyed(hash)])?;
            }
            Ok(plain.len())
        })
        .await
    }
}

fn insert(connection: &Connection, key: &KeyRow) -> db::Result<()> {
    connection.execute(
        "INSERT INTO keys (id, principal, roles, scopes, hash, hash_kind, created_at, expires_at, revoked_at,
            last_used_at, rotated_from, note)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        values![
        key.id,
        key.principal,
        list::to_text(&key.roles),
        key.scopes,
        key.hash,
        kind_to_number(key.hash_kind),
        to_micros(key.created_at),
        key.expires_at.map(to_micros),
        key.revoked_at.map(to_micros),
        key.last_used_at.map(to_micros),
        key.rotated_from,
        key.note,
    ],
    )?;
    Ok(())
}

fn kind_to_number(kind: KeyHashKind) -> i64 {
    match kind {
        KeyHashKind::Plain => 0,
        KeyHashKind::Keyed => 1,
    }
}

fn kind(row: &Row<'_>, column: usize) -> db::Result<KeyHashKind> {
    match row.get(column)? {
        0_i64 => Ok(KeyHashKind::Plain),
        1 => Ok(KeyHashKind::Keyed),
        other => Err(Failure::column(
            column,
            format_args!("{other} is no kind of hash"),
        )),
    }
}

fn key(row: &Row<'_>) -> db::Result<KeyRow> {
    let time = |column| {
        row.get::<Option<i64>>(column)
            .map(|micros| micros.map(from_micros))
    };
    Ok(KeyRow {
        id: row.get(0)?,
        principal: row.get(1)?,
        roles: list::from_text(row, 2)?,
        scopes: row.get(3)?,
        hash: row.get(4)?,
        hash_kind: kind(row, 5)?,
        created_at: from_micros(row.get(6)?),
        expires_at: time(7)?,
        revoked_at: time(8)?,
        last_used_at: time(9)?,
        rotated_from: row.get(10)?,
        note: row.get(11)?,
    })
}

#[cfg(test)]
mod tests;
