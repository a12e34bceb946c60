//! Secrets and the keys they are sealed with: bytes that only `auth::Vault` can make sense of.
//!
//! The master key, under which the data keys are wrapped, never comes here.

use std::time::SystemTime;

use crate::db::{self, Connection, Failure, Row, ToValue, values};
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
        self.at_once(|connection| {
            if list_data_keys(connection)?.is_empty() {
                insert_data_key(connection, seal)?;
                insert_data_key(connection, hash)?;
            }
            list_data_keys(connection)
        })
    }

    /// Keeps a further data key; `false` if the newest that there is is not wrapped as `seen`: another was made in
    /// between, or another master key has come.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_data_key(&self, key: DataKeyRow, seen: Vec<u8>) -> Result<bool, Error> {
        self.change(move |connection| {
            let newest: Option<Vec<u8>> = connection.one(
                "SELECT wrapped FROM data_keys ORDER BY seq DESC LIMIT 1",
                &[],
                |row| row.get(0),
            )?;
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
            let sql = "UPDATE data_keys SET wrapped = ?2 WHERE id = ?1";
            for key in &keys {
                connection.send(sql, values![key.id, key.to])?;
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
            let is_new =
                !connection.exists("SELECT 1 FROM secrets WHERE name = ?1", values![name])?;
            connection.execute(
                "INSERT INTO secrets (name, value, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)
                    ON CONFLICT (name) DO UPDATE
                    SET value = excluded.value, updated_at = excluded.updated_at",
                values![name, value, to_micros(now)],
            )?;
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
            connection.one(
                "SELECT name, value, created_at, updated_at FROM secrets WHERE name = ?1",
                values![name],
                secret,
            )
        })
    }

    /// All secrets, by name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_secrets(&self) -> Result<Vec<SecretRow>, Error> {
        self.read(|connection| {
            connection.all(
                "SELECT name, value, created_at, updated_at FROM secrets ORDER BY name",
                &[],
                secret,
            )
        })
    }

    /// Removes a secret; `false` if there is none of this name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn remove_secret(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.change(move |connection| {
            Ok(connection.execute("DELETE FROM secrets WHERE name = ?1", values![name])? > 0)
        })
        .await
    }

    /// Another number whenever a secret or a data key was added, changed or removed, by whomever.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn secrets_version(&self) -> Result<i64, Error> {
        self.read(|connection| {
            connection.only("SELECT version FROM secrets_version", &[], |row| row.get(0))
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
            connection.all(&sql, values![head, in_sql(limit), in_sql(skip)], |row| {
                Ok(SealedValue {
                    value: row.get(0)?,
                    key: (1..=key.len())
                        .map(|nth| row.get(nth))
                        .collect::<Result<_, _>>()?,
                })
            })
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
        let is_row: String = (3..)
            .zip(*key)
            .map(|(number, name)| format!(" AND {name} = ?{number}"))
            .collect();
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2{is_row}");
        self.change(move |connection| {
            let mut replaced = 0;
            for (old, new) in &values {
                let mut values = values![new, old.value].to_vec();
                values.extend(old.key.iter().map(ToValue::to_value));
                replaced += connection.execute(&sql, &values)?;
            }
            Ok(replaced)
        })
        .await
    }
}

fn list_data_keys(connection: &Connection) -> db::Result<Vec<DataKeyRow>> {
    connection.all(
        "SELECT id, kind, wrapped, created_at FROM data_keys ORDER BY seq",
        &[],
        |row| {
            Ok(DataKeyRow {
                id: row.get(0)?,
                kind: kind(row)?,
                wrapped: row.get(2)?,
                created_at: from_micros(row.get(3)?),
            })
        },
    )
}

fn kind(row: &Row<'_>) -> db::Result<DataKeyKind> {
    match row.get(1)? {
        0_i64 => Ok(DataKeyKind::Seal),
        1 => Ok(DataKeyKind::Hash),
        other => Err(Failure::column(
            1,
            format_args!("{other} is no kind of key"),
        )),
    }
}

fn insert_data_key(connection: &Connection, key: &DataKeyRow) -> db::Result<()> {
    let kind = match key.kind {
        DataKeyKind::Seal => 0_u32,
        DataKeyKind::Hash => 1,
    };
    connection.execute(
        "INSERT INTO data_keys (id, kind, wrapped, created_at) VALUES (?1, ?2, ?3, ?4)",
        values![key.id, kind, key.wrapped, to_micros(key.created_at)],
    )?;
    Ok(())
}

fn secret(row: &Row<'_>) -> db::Result<SecretRow> {
    Ok(SecretRow {
        name: row.get(0)?,
        value: row.get(1)?,
        created_at: from_micros(row.get(2)?),
        updated_at: from_micros(row.get(3)?),
    })
}

#[cfg(test)]
mod tests;
