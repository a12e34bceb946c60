//! Legal holds: records that are neither taken off the log nor erased, whatever the config or a person wants.

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

const SELECT: &str = "SELECT id, principal, since_us, until_us, reason, by, created_at, released_at
    FROM audit_holds";

/// A legal hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHold {
    /// Its id.
    pub id: String,
    /// Only records of this principal, or about it; `None`: of everybody.
    pub principal: Option<String>,
    /// Only records from this moment on: microseconds since 1970.
    pub since_us: Option<i64>,
    /// Only records from before this moment.
    pub until_us: Option<i64>,
    /// Why, in the operator's words.
    pub reason: String,
    /// Who put it there.
    pub by: String,
    /// When.
    pub created_at: SystemTime,
    /// When it was ended; `None`: it holds.
    pub released_at: Option<SystemTime>,
}

impl Store {
    /// Puts records under a hold.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn add_audit_hold(&self, hold: AuditHold) -> Result<(), Error> {
        self.others_caught_up().await?;
        self.change(move |connection| {
            connection
                .execute(
                    "INSERT INTO audit_holds (id, principal, since_us, until_us, reason, by, created_at)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    values![
                        hold.id,
                        hold.principal,
                        hold.since_us,
                        hold.until_us,
                        hold.reason,
                        hold.by,
                        to_micros(hold.created_at),
                    ],
                )
                .map(drop)
        })
        .await
    }

    /// Ends a hold; `false` if there is none of that id that holds.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn release_audit_hold(&self, id: &str, at: SystemTime) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let sql =
                "UPDATE audit_holds SET released_at = ?2 WHERE id = ?1 AND released_at IS NULL";
            let count = connection.execute(sql, values![id, to_micros(at)])?;
            Ok(count > 0)
        })
        .await
    }

    /// All holds there ever were, the oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_audit_holds(&self) -> Result<Vec<AuditHold>, Error> {
        let sql = format!("{SELECT} ORDER BY created_at, id");
        self.read(|connection| connection.all(&sql, &[], hold))
    }
}

/// The holds that hold now.
pub(super) fn holding(connection: &Connection) -> db::Result<Vec<AuditHold>> {
    let sql = format!("{SELECT} WHERE released_at IS NULL ORDER BY created_at, id");
    connection.all(&sql, &[], hold)
}

fn hold(row: &Row<'_>) -> db::Result<AuditHold> {
    Ok(AuditHold {
        id: row.get(0)?,
        principal: row.get(1)?,
        since_us: row.get(2)?,
        until_us: row.get(3)?,
        reason: row.get(4)?,
        by: row.get(5)?,
        created_at: from_micros(row.get(6)?),
        released_at: row.get::<Option<i64>>(7)?.map(from_micros),
    })
}
