//! The key that the log's checkpoints are signed with, sealed by whoever made it.

use std::time::SystemTime;

use crate::db::{self, Connection, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// The key of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditKeyRow {
    /// The log's name.
    pub name: String,
    /// The sealed seed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: SystemTime,
}

impl Store {
    /// The log's key, if there is one yet.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_key(&self) -> Result<Option<AuditKeyRow>, Error> {
        self.read(read)
    }

    /// Keeps this key unless there is one already; the one that there is then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn found_audit_key(&self, row: AuditKeyRow) -> Result<AuditKeyRow, Error> {
        self.change(move |connection| {
            if let Some(found) = read(connection)? {
                return Ok(found);
            }
            connection.execute(
                "INSERT INTO audit_keys (name, sealed, created_at) VALUES (?1, ?2, ?3)",
                values![row.name, row.sealed, to_micros(row.created_at)],
            )?;
            Ok(row.clone())
        })
        .await
    }
}

fn read(connection: &Connection) -> db::Result<Option<AuditKeyRow>> {
    connection.one(
        "SELECT name, sealed, created_at FROM audit_keys ORDER BY created_at LIMIT 1",
        &[],
        |row| {
            Ok(AuditKeyRow {
                name: row.get(0)?,
                sealed: row.get(1)?,
                created_at: from_micros(row.get(2)?),
            })
        },
    )
}
