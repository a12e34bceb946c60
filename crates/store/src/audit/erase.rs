//! What one person's records say of it: all of it for the person, or for ever gone.
//!
//! Erasing takes the salt and all that it was over, and leaves the hash in the record: the chain and the tree hold as
//! before, and nobody can tell any more whose record it was. What was exported, sent to a sink or backed up before is
//! elsewhere.

use super::text::{self, SALT_LEN};
use super::{Recorded, SELECT, holds, recorded};
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
    /// Some of them are under these holds, by their ids: nothing was erased.
    Held(Vec<String>),
}

/// What came of one transaction.
enum Step {
    Erased { count: u64, is_last: bool },
    Held(Vec<String>),
}

impl Store {
    /// Erases the personal part of the records of one principal, and of those about it, from before `until_us`.
    ///
    /// # Errors
    /// If it cannot be written. Then some may be erased: asked again, it goes on.
    pub async fn erase_audit(&self, principal: &str, until_us: i64) -> Result<Erasure, Error> {
        let mut erased = 0;
        if principal == ERASED {
            return Ok(Erasure::Done(0));
        }
        loop {
            let principal = principal.to_owned();
            let step = self.change(move |connection| erase(connection, &principal, until_us));
            match step.await? {
                Step::Held(ids) => return Ok(Erasure::Held(ids)),
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
        let sql =
            format!("{SELECT} seq > ?1 AND (principal = ?2 OR subject = ?2) ORDER BY seq LIMIT ?3");
        self.read(|connection| connection.all(&sql, values![after_seq, principal, limit], recorded))
    }
}

fn erase(connection: &Connection, principal: &str, until_us: i64) -> db::Result<Step> {
    // In the same transaction: a hold that is put on meanwhile counts.
    let mut held = Vec::new();
    for hold in holds::holding(connection)? {
        if hold
            .principal
            .as_deref()
            .is_some_and(|whose| whose != principal)
        {
            continue;
        }
        let until = hold.until_us.unwrap_or(i64::MAX).min(until_us);
        let sql = "SELECT 1 FROM audit WHERE (principal = ?1 OR subject = ?1) AND at_us >= ?2 AND at_us < ?3 LIMIT 1";
        let since = hold.since_us.unwrap_or(i64::MIN);
        if connection.exists(sql, values![principal, since, until])? {
            held.push(hold.id);
        }
    }
    if !held.is_empty() {
        return Ok(Step::Held(held));
    }
    // What is deleted is overwritten as well.
    connection.batch(connection.either("PRAGMA secure_delete = ON", "SELECT 1"))?;
    let sql =
        format!("{SELECT} (principal = ?1 OR subject = ?1) AND at_us < ?2 ORDER BY seq LIMIT ?3");
    let rows = connection.all(&sql, values![principal, until_us, BATCH], |row| {
        let salt: Option<Vec<u8>> = row.get(26)?;
        Ok((recorded(row)?, salt))
    })?;
    for (Recorded { seq, row }, salt) in &rows {
        // Rows from before the chain have no salt, and nothing to hold to.
        let salt = salt.as_deref().filter(|salt| salt.len() == SALT_LEN);
        let commitment = salt.map(|salt| text::commitment(salt, &text::personal(row)));
        connection.execute(
            "UPDATE audit SET salt = NULL, commitment = ?2, principal = ?3, credential = ?3, client = '',
                arguments = NULL, arguments_digest = NULL, reason = NULL, address = NULL, actor = NULL, subject = NULL
            WHERE seq = ?1",
            values![seq, commitment, ERASED],
        )?;
    }
    let count = rows.len() as u64;
    Ok(Step::Erased {
        count,
        is_last: count < u64::from(BATCH),
    })
}

#[cfg(test)]
mod tests;
