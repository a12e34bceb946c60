//! What one person's records say of it: all of it for the person, or for ever gone.
//!
//! Erasing takes the salt and all that it was over, and leaves the hash in the record: the chain and the tree hold as
//! before, and nobody can tell any more whose record it was. What was exported, sent to a sink or backed up before is
//! elsewhere.

use super::text::{self, SALT_LEN};
use super::{AuditHold, Recorded, SELECT, holds, recorded};
use crate::db::{self, Connection, values};
use crate::{Error, Store};

/// What stands in the place of a name that was erased.
pub const ERASED: &str = "(erased)";
/// Rows that are erased in one transaction, which others wait for.
const BATCH: u32 = 500;

/// What became of a wish to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// So many records have no personal part any more.
    Done(u64),
    /// Some of them are under holds.
    Held {
        /// The ids of these.
        holds: Vec<String>,
        /// So many were erased before the first of these was put on: mostly none.
        erased: u64,
    },
}

/// What came of one transaction.
enum Step {
    Erased { count: u64, is_last: bool },
    Held(Vec<String>),
}

impl Store {
    /// Erases the personal part of the records of one principal, and of those about it, from before `until_us`, up to the
    /// record with the number `last`: who has none erased is told of holds alone.
    ///
    /// # Errors
    /// If it cannot be written. Then some may be erased: asked again, it goes on.
    pub async fn erase_audit(
        &self,
        principal: &str,
        until_us: i64,
        last: i64,
    ) -> Result<Erasure, Error> {
        self.others_caught_up().await?;
        let mut erased = 0;
        if principal == ERASED {
            return Ok(Erasure::Done(0));
        }
        loop {
            let principal = principal.to_owned();
            let step = self.change(move |connection| erase(connection, &principal, until_us, last));
            match step.await? {
                Step::Held(holds) => return Ok(Erasure::Held { holds, erased }),
                Step::Erased { count, is_last } => {
                    erased += count;
                    if is_last {
                        return Ok(Erasure::Done(erased));
                    }
                }
            }
        }
    }

    /// Records of one principal, and about it, oldest first: at most `limit` after `after_seq`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_of(
        &self,
        principal: &str,
        after_seq: i64,
        limit: u32,
    ) -> Result<Vec<Recorded>, Error> {
        // Each half has its index, which knows the number too: only what is shown is read.
        let half = |whose: &str| {
            format!(
                "SELECT seq FROM (SELECT seq FROM audit WHERE {whose} = ?2 AND seq > ?1 ORDER BY seq LIMIT ?3) AS {whose}s"
            )
        };
        let sql = format!(
            "{SELECT} seq IN ({} UNION {}) ORDER BY seq LIMIT ?3",
            half("principal"),
            half("subject")
        );
        self.read(|connection| connection.all(&sql, values![after_seq, principal, limit], recorded))
    }
}

fn erase(connection: &Connection, principal: &str, until_us: i64, last: i64) -> db::Result<Step> {
    // In the same transaction: a hold that is put on meanwhile counts.
    let mut held = Vec::new();
    for hold in holds::holding(connection)? {
        if holds_any(connection, &hold, principal, until_us)? {
            held.push(hold.id);
        }
    }
    if !held.is_empty() {
        return Ok(Step::Held(held));
    }
    // What is deleted is overwritten as well.
    connection.batch(connection.either("PRAGMA secure_delete = ON", "SELECT 1"))?;
    // One index after the other, in its own order: others wait for this. What is erased is in neither any more.
    let mut rows = Vec::new();
    for whose in ["principal", "subject"] {
        let sql = format!("{SELECT} {whose} = ?1 AND at_us < ?2 AND seq <= ?4 LIMIT ?3");
        let left = BATCH - u32::try_from(rows.len()).unwrap_or(BATCH);
        rows.extend(
            connection.all(&sql, values![principal, until_us, left, last], |row| {
                let salt: Option<Vec<u8>> = row.get(26)?;
                Ok((recorded(row)?, salt))
            })?,
        );
    }
    // One that is about whom it is of is in both.
    rows.sort_unstable_by_key(|(found, _)| found.seq);
    rows.dedup_by_key(|(found, _)| found.seq);
    for (Recorded { seq, row }, salt) in &rows {
        // Rows from before the chain have no salt, and nothing to hold to.
        let salt = salt.as_deref().filter(|salt| salt.len() == SALT_LEN);
        let commitment = salt.map(|salt| text::commitment(salt, &text::personal(&row.fields())));
        connection.send(
            "UPDATE audit SET salt = NULL, commitment = ?2, principal = ?3, credential = ?3, client = '',
                arguments = NULL, arguments_digest = NULL, reason = NULL, address = NULL, actor = NULL, subject = NULL
            WHERE seq = ?1",
            values![seq, commitment, ERASED],
        )?;
    }
    let count = rows.len() as u64;
    Ok(Step::Erased {
        count,
        is_last: count == 0,
    })
}

/// Whether a hold is on one of the records that are to be erased: also one about somebody else than whom it is of.
fn holds_any(
    connection: &Connection,
    hold: &AuditHold,
    principal: &str,
    until_us: i64,
) -> db::Result<bool> {
    let since = hold.since_us.unwrap_or(i64::MIN);
    let until = hold.until_us.unwrap_or(i64::MAX).min(until_us);
    let time = "at_us >= ?2 AND at_us < ?3";
    match hold
        .principal
        .as_deref()
        .filter(|whose| *whose != principal)
    {
        None => {
            for whose in ["principal", "subject"] {
                let sql = format!("SELECT 1 FROM audit WHERE {whose} = ?1 AND {time} LIMIT 1");
                if connection.exists(&sql, values![principal, since, until])? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        // Found by the subject: few records have one. With something added, no index on the principal is taken.
        Some(other) => {
            let sql = format!(
                "SELECT 1 FROM audit WHERE subject = ?1 AND principal || '' = ?4 AND {time} LIMIT 1"
            );
            Ok(
                connection.exists(&sql, values![principal, since, until, other])?
                    || connection.exists(&sql, values![other, since, until, principal])?,
            )
        }
    }
}

#[cfg(test)]
mod tests;
