//! Secrets and the keys they are sealed with: bytes that only `auth::Vault` can make sense of.
//!
//! The master key, under which the data keys are wrapped, never comes here.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior};

use crate::store::connect;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// Bytes of a data key's id.
pub const DATA_KEY_ID_LEN: usize = 8;

/// What a data key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataKeyKind {
    /// Values are sealed with it; the newest seals, all open.
    Seal,
    /// Values are hashed with it. There is one, for good.
    Hash,
}

/// What is kept of a data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRow {
    /// Random; stands in what was sealed with it.
    pub id: [u8; DATA_KEY_ID_LEN],
    /// What it is for.
    pub kind: DataKeyKind,
    /// The key, wrapped under the master key.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: SystemTime,
}

/// A data key that is wrapped anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrapped {
    /// Which.
    pub id: [u8; DATA_KEY_ID_LEN],
    /// As it was.
    pub from: Vec<u8>,
    /// As it is to be.
    pub to: Vec<u8>,
}

/// What is kept of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// Its name.
    pub name: String,
    /// Its value, sealed.
    pub value: Vec<u8>,
    /// When it was first kept.
    pub created_at: SystemTime,
    /// When its value was last set.
    pub updated_at: SystemTime,
}

/// A column whose values are sealed. All its texts are ours: none comes from outside.
#[derive(Debug, Clone, Copy)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column; it may be null.
    pub column: &'static str,
    /// The columns that make up the row's key.
    pub key: &'static [&'static str],
    /// What a value is sealed for, from the texts of its row's key.
    pub purpose: fn(&[String]) -> String,
}

/// A value in a [`SealedColumn`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The texts of its row's key.
    pub key: Vec<String>,
    /// The sealed bytes.
    pub value: Vec<u8>,
}

impl Store {
    /// All data keys, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_data_keys(&self) -> Result<Vec<DataKeyRow>, Error> {
        self.read(list_data_keys)
    }

    /// Keeps these two unless there are some already; all that there are then. Of two processes that start at once,
    /// both get those of the one that was first.
    ///
    /// On a connection of its own and without waiting for the writer: nothing can be done before it is done.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn found_data_keys(
        &self,
        seal: &DataKeyRow,
        hash: &DataKeyRow,
    ) -> Result<Vec<DataKeyRow>, Error> {
        let mut connection = connect(self.path())?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if list_data_keys(&transaction)?.is_empty() {
            insert_data_key(&transaction, seal)?;
            insert_data_key(&transaction, hash)?;
        }
        let kept = list_data_keys(&transaction)?;
        transaction.commit()?;
        Ok(kept)
    }

    /// Keeps a further data key; `false` if the newest that there is is not wrapped as `seen`: another was made in
    /// between, or another master key has come.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_data_key(&self, key: DataKeyRow, seen: Vec<u8>) -> Result<bool, Error> {
        self.change(move |connection| {
            let newest: Option<Vec<u8>> = connection
                .prepare_cached("SELECT wrapped FROM data_keys ORDER BY seq DESC LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?;
            if newest.as_ref() != Some(&seen) {
                return Ok(false);
            }
            insert_data_key(connection, &key)?;
            Ok(true)
        })
        .await
    }

    /// Wraps all data keys anew, or none: `false` if these are not all there are, or not as they are.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn rewrap_data_keys(&self, keys: Vec<Rewrapped>) -> Result<bool, Error> {
        self.change(move |connection| {
            let kept = list_data_keys(connection)?;
            let is_of =
                |kept: &DataKeyRow, key: &Rewrapped| kept.id == key.id && kept.wrapped == key.from;
            if kept.len() != keys.len()
                || !kept
                    .iter()
                    .all(|kept| keys.iter().any(|key| is_of(kept, key)))
            {
                return Ok(false);
            }
            let mut statement =
                connection.prepare_cached("UPDATE data_keys SET wrapped = ?2 WHERE id = ?1")?;
            for key in &keys {
                statement.execute((key.id, &key.to))?;
            }
            Ok(true)
        })
        .await
    }

    /// Keeps a secret: a new one, or over the one of the same name. `true` if it is new.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_secret(
        &self,
        name: &str,
        value: Vec<u8>,
        now: SystemTime,
    ) -> Result<bool, Error> {
        let name = name.to_owned();
        self.change(move |connection| {
            let is_new = !connection
                .prepare_cached("SELECT 1 FROM secrets WHERE name = ?1")?
                .exists([&name])?;
            connection
                .prepare_cached(
                    "INSERT INTO secrets (name, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
                    ON CONFLICT (name) DO UPDATE
                    SET value = excluded.value, updated_at = excluded.updated_at",
                )?
                .execute((&name, &value, to_micros(now)))?;
            Ok(is_new)
        })
        .await
    }

    /// The secret of this name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_secret(&self, name: &str) -> Result<Option<SecretRow>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT name, value, created_at, updated_at FROM secrets WHERE name = ?1",
                )?
                .query_row([name], secret)
                .optional()
        })
    }

    /// All secrets, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_secrets(&self) -> Result<Vec<SecretRow>, Error> {
        self.read(|connection| {
            connection
                .prepare_cached(
                    "SELECT name, value, created_at, updated_at FROM secrets ORDER BY name",
                )?
                .query_map([], secret)?
                .collect()
        })
    }

    /// Removes a secret; `false` if there is none of this name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn remove_secret(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.change(move |connection| {
            Ok(connection
                .prepare_cached("DELETE FROM secrets WHERE name = ?1")?
                .execute([&name])?
                > 0)
        })
        .await
    }

    /// Another number whenever a secret or a data key was added, changed or removed, by whomever.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn secrets_version(&self) -> Result<i64, Error> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT version FROM secrets_version")?
                .query_row([], |row| row.get(0))
        })
    }

    /// Values of this column that do not begin with `head`, from the `skip`th on, at most `limit`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn sealed_otherwise(
        &self,
        of: &SealedColumn,
        head: &[u8],
        skip: usize,
        limit: usize,
    ) -> Result<Vec<SealedValue>, Error> {
        let SealedColumn {
            table, column, key, ..
        } = of;
        let texts: String = key
            .iter()
            .map(|name| format!(", CAST({name} AS TEXT)"))
            .collect();
        let sql = format!(
            "SELECT {column}{texts} FROM {table}
            WHERE {column} IS NOT NULL AND substr({column}, 1, {}) <> ?1
            ORDER BY {} LIMIT ?2 OFFSET ?3",
            head.len(),
            key.join(", "),
        );
        let in_sql = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.read(|connection| {
            connection
                .prepare_cached(&sql)?
                .query_map((head, in_sql(limit), in_sql(skip)), |row| {
                    Ok(SealedValue {
                        value: row.get(0)?,
                        key: (1..=key.len())
                            .map(|nth| row.get(nth))
                            .collect::<Result<_, _>>()?,
                    })
                })?
                .collect()
        })
    }

    /// Puts `new` in the place of each value that is still as it was; how many were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn replace_sealed(
        &self,
        of: &SealedColumn,
        values: Vec<(SealedValue, Vec<u8>)>,
    ) -> Result<usize, Error> {
        let SealedColumn {
            table, column, key, ..
        } = of;
        let is_row: String = key.iter().map(|name| format!(" AND {name} = ?")).collect();
        let sql = format!("UPDATE {table} SET {column} = ? WHERE {column} = ?{is_row}");
        self.change(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut replaced = 0;
            for (old, new) in &values {
                let mut parameters: Vec<&dyn rusqlite::ToSql> = vec![new, &old.value];
                parameters.extend(old.key.iter().map(|text| text as &dyn rusqlite::ToSql));
                replaced += statement.execute(parameters.as_slice())?;
            }
            Ok(replaced)
        })
        .await
    }
}

fn list_data_keys(connection: &Connection) -> rusqlite::Result<Vec<DataKeyRow>> {
    connection
        .prepare_cached("SELECT id, kind, wrapped, created_at FROM data_keys ORDER BY seq")?
        .query_map([], |row| {
            Ok(DataKeyRow {
                id: row.get(0)?,
                kind: kind(row)?,
                wrapped: row.get(2)?,
                created_at: from_micros(row.get(3)?),
            })
        })?
        .collect()
}

fn kind(row: &Row<'_>) -> rusqlite::Result<DataKeyKind> {
    match row.get(1)? {
        0 => Ok(DataKeyKind::Seal),
        1 => Ok(DataKeyKind::Hash),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(1, other)),
    }
}

fn insert_data_key(connection: &Connection, key: &DataKeyRow) -> rusqlite::Result<()> {
    let kind = match key.kind {
        DataKeyKind::Seal => 0,
        DataKeyKind::Hash => 1,
    };
    connection
        .prepare_cached(
            "INSERT INTO data_keys (id, kind, wrapped, created_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute((key.id, kind, &key.wrapped, to_micros(key.created_at)))?;
    Ok(())
}

fn secret(row: &Row<'_>) -> rusqlite::Result<SecretRow> {
    Ok(SecretRow {
        name: row.get(0)?,
        value: row.get(1)?,
        created_at: from_micros(row.get(2)?),
        updated_at: from_micros(row.get(3)?),
    })
}

#[cfg(test)]
mod tests;
