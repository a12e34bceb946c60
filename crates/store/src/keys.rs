//! API keys: what is kept of them, which is never the key itself.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row};

use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Its public part.
    pub id: String,
    /// For whom it speaks.
    pub principal: String,
    /// The roles it brings.
    pub roles: Vec<String>,
    /// SHA-256 of its whole text.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: SystemTime,
    /// From when on it is not accepted.
    pub expires_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
    /// What its maker wrote down about it.
    pub note: String,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, principal, roles, hash, created_at, expires_at, revoked_at, note FROM keys ",
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
        self.read(|connection| {
            connection
                .prepare_cached(sql)?
                .query_row([id], key)
                .optional()
        })
    }

    /// All keys, oldest first, revoked ones too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_keys(&self) -> Result<Vec<KeyRow>, Error> {
        let sql = select!("ORDER BY created_at, id");
        self.read(|connection| {
            connection
                .prepare_cached(sql)?
                .query_map([], key)?
                .collect()
        })
    }

    /// Whether any key was ever made; revoked ones count.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn has_keys(&self) -> Result<bool, Error> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM keys LIMIT 1")?
                .exists([])
        })
    }

    /// Revokes a key, from `at` on; one that is revoked already keeps its time. `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn revoke_key(&self, id: &str, at: SystemTime) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let sql = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
            Ok(connection
                .prepare_cached(sql)?
                .execute((&id, to_micros(at)))?
                > 0)
        })
        .await
    }
}

fn insert(connection: &Connection, key: &KeyRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO keys (id, principal, roles, hash, created_at, expires_at, revoked_at, note)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    statement.execute(rusqlite::params![
        key.id,
        key.principal,
        list::to_text(&key.roles),
        key.hash,
        to_micros(key.created_at),
        key.expires_at.map(to_micros),
        key.revoked_at.map(to_micros),
        key.note,
    ])?;
    Ok(())
}

fn key(row: &Row<'_>) -> rusqlite::Result<KeyRow> {
    let time = |column| {
        row.get::<_, Option<i64>>(column)
            .map(|micros| micros.map(from_micros))
    };
    Ok(KeyRow {
        id: row.get(0)?,
        principal: row.get(1)?,
        roles: list::from_text(row, 2)?,
        hash: row.get(3)?,
        created_at: from_micros(row.get(4)?),
        expires_at: time(5)?,
        revoked_at: time(6)?,
        note: row.get(7)?,
    })
}

#[cfg(test)]
mod tests;
