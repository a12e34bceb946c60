//! What one person's records say of it: all of it for the person, or for ever gone.
//!
//! Erasing takes the salt and all that it was over, and leaves the hash in the record: the chain and the tree hold as
//! before, and nobody can tell any more whose record it was. What was exported, sent to a sink or backed up before is
//! elsewhere.

use std::collections::BTreeSet;

use super::search::{self, Range};
use super::segment::{self, Found, Records, Seal};
use super::{AuditHold, AuditRow, Fields, Recorded, holds, text};
use crate::db::{self, Connection, Failure, values};
use crate::{Error, Store};

/// What stands in the place of a name that was erased.
pub const ERASED: &str = "(erased)";
/// Segments that are changed in one transaction, which others wait for.
const BATCH: usize = 4;

/// What became of a wish to erase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Erasure {
    /// So many records have no personal part any more.
    Done(u64),
    /// The same, but a part of the log cannot be read: what it says is still there.
    Partly {
        /// So many records have none.
        erased: u64,
        /// The number of the first record there.
        damaged: i64,
    },
    /// Some of them are under holds.
    Held {
        /// The ids of these.
        holds: Vec<String>,
        /// So many were erased before the first of these was put on: mostly none.
        erased: u64,
    },
}

/// Records, as far as they can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    /// These.
    pub records: Vec<Recorded>,
    /// The number of the first record of each part of the log that was to be looked through and cannot be read.
    pub damaged: Vec<i64>,
}

/// What is to be erased.
#[derive(Clone)]
struct Wish {
    principal: String,
    until_us: i64,
    /// The number of the last record that may be.
    last: i64,
    /// From which number on there may be any left.
    from: i64,
    /// The ids of holds that are on none of them.
    cleared: BTreeSet<String>,
}

/// What came of one transaction.
enum Step {
    Erased {
        count: u64,
        /// From which number on there may be more.
        next: Option<i64>,
        /// Where a segment that cannot be read begins: nobody knows what of it is to be erased.
        damaged: Option<i64>,
    },
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
        let (mut erased, mut damaged) = (0, None);
        if principal == ERASED {
            return Ok(Erasure::Done(0));
        }
        let mut wish = Wish {
            principal: principal.to_owned(),
            until_us,
            // What comes meanwhile is not looked for among holds again.
            last: last.min(self.audit_end()?),
            from: i64::MIN,
            cleared: BTreeSet::new(),
        };
        // Of who is long gone the times say where the last is.
        let range = self.read(|connection| wish.range().narrowed(connection))?;
        wish.last = range.map_or(i64::MIN, |range| range.to);
        loop {
            // Here nobody waits for it. A hold is never changed, and what it would have to be on is there already.
            let (held, cleared) = self.read(|connection| held(connection, &wish))?;
            if !held.is_empty() {
                return Ok(Erasure::Held {
                    holds: held,
                    erased,
                });
            }
            wish.cleared.extend(cleared);
            let asked = wish.clone();
            let step = self.change(move |connection| erase(connection, &asked));
            match step.await? {
                Step::Held(holds) => return Ok(Erasure::Held { holds, erased }),
                Step::Erased {
                    count,
                    next,
                    damaged: found,
                } => {
                    erased += count;
                    damaged = damaged.or(found);
                    match (next, damaged) {
                        (Some(next), _) => wish.from = next,
                        (None, None) => return Ok(Erasure::Done(erased)),
                        (None, Some(damaged)) => return Ok(Erasure::Partly { erased, damaged }),
                    }
                }
            }
        }
    }

    /// Records of one principal, and about it, from before `until_us`, oldest first: at most `limit` after `after_seq`. What
    /// stands in a part of the log that cannot be read is not among them.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_of(
        &self,
        principal: &str,
        after_seq: i64,
        until_us: i64,
        limit: u32,
    ) -> Result<Readable, Error> {
        let range = Range {
            from: after_seq.saturating_add(1),
            until_us,
            name: Some(principal),
            ..Range::ALL
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_about = |row: &Fields<'_>| row.is_about(principal);
        let read =
            |connection: &Connection| search::first_readable(connection, range, limit, is_about);
        let (records, damaged) = self.read(read)?;
        Ok(Readable { records, damaged })
    }
}

impl Wish {
    fn range(&self) -> Range<'_> {
        Range {
            from: self.from,
            to: self.last,
            name: Some(&self.principal),
            until_us: self.until_us,
            ..Range::ALL
        }
    }

    fn is_for(&self, found: &Found<'_>) -> bool {
        found.seq <= self.last
            && found.row.at_us < self.until_us
            && found.row.is_about(&self.principal)
    }
}

fn erase(connection: &Connection, wish: &Wish) -> db::Result<Step> {
    // In the same transaction: a hold that is put on meanwhile counts.
    let (held, _cleared) = held(connection, wish)?;
    if !held.is_empty() {
        return Ok(Step::Held(held));
    }
    let segments = search::segments(connection, wish.range(), BATCH)?;
    let (mut count, mut next, mut damaged) = (0, None, None);
    for (first, last, records) in &segments {
        next = Some(last.saturating_add(1));
        match rewrite(connection, wish, (*first, *last), records) {
            Ok(erased) => count += erased,
            Err(Failure::Segment(first)) => damaged = damaged.or(Some(first)),
            Err(error) => return Err(error),
        }
    }
    Ok(Step::Erased {
        count,
        next,
        damaged,
    })
}

/// Erases what is to be in one segment; how many records.
fn rewrite(
    connection: &Connection,
    wish: &Wish,
    (first, last): (i64, i64),
    records: &[u8],
) -> db::Result<u64> {
    let mut records = Records::of(first, last, records)?;
    let mut all = Vec::new();
    let mut erased = 0;
    let mut gone = BTreeSet::new();
    while let Some(found) = records.next()? {
        if !wish.is_for(&found) {
            all.push((found.seal, found.row.to_row()));
            continue;
        }
        erased += 1;
        let names = [Some(found.row.principal), found.row.subject];
        gone.extend(names.into_iter().flatten().map(str::to_owned));
        let seal = match found.seal {
            Seal::Salted { salt, chain } => Seal::Erased {
                commitment: text::commitment(&salt, &text::personal(&found.row)),
                chain,
            },
            // Those from before the chain have no salt, and nothing to hold to.
            kept @ (Seal::Erased { .. } | Seal::Unchained) => kept,
        };
        let row = AuditRow {
            principal: ERASED.to_owned(),
            credential: ERASED.to_owned(),
            client: String::new(),
            arguments: None,
            arguments_digest: None,
            reason: None,
            address: None,
            actor: None,
            subject: None,
            ..found.row.to_row()
        };
        all.push((seal, row));
    }
    if erased == 0 {
        return Ok(0);
    }
    connection.send(
        "UPDATE audit_segments SET records = ?2 WHERE first_seq = ?1",
        values![first, segment::encode_all(&all)],
    )?;
    // Only those may lead to it that are still in it.
    for (_, row) in &all {
        gone.remove(&row.principal);
        row.subject.as_ref().map(|subject| gone.remove(subject));
    }
    for name in &gone {
        segment::forget_name(connection, name, first)?;
    }
    segment::note_name(connection, ERASED, first)?;
    Ok(erased)
}

/// The ids of the holds that are on one of the records, and of those that are on none.
fn held(connection: &Connection, wish: &Wish) -> db::Result<(Vec<String>, Vec<String>)> {
    let (mut held, mut cleared) = (Vec::new(), Vec::new());
    for hold in holds::holding(connection)? {
        if wish.cleared.contains(&hold.id) {
            continue;
        }
        match holds_any(connection, &hold, wish)? {
            Some(true) => held.push(hold.id),
            Some(false) => cleared.push(hold.id),
            // What cannot be read is not erased either.
            None => {}
        }
    }
    Ok((held, cleared))
}

/// Whether a hold is on one of the records that are to be erased: also one about somebody else than whom it is of. `None`
/// if it is on none of those that can be read, and there are others.
fn holds_any(connection: &Connection, hold: &AuditHold, wish: &Wish) -> db::Result<Option<bool>> {
    let principal = &*wish.principal;
    let other = hold
        .principal
        .as_deref()
        .filter(|whose| *whose != principal);
    let range = Range {
        // Who has none erased is told of them, too.
        to: i64::MAX,
        other,
        since_us: hold.since_us.unwrap_or(i64::MIN),
        until_us: hold.until_us.unwrap_or(i64::MAX).min(wish.until_us),
        ..wish.range()
    };
    let (found, damaged) = search::first_readable(connection, range, 1, |row| {
        row.is_about(principal) && other.is_none_or(|other| row.is_about(other))
    })?;
    Ok(match (found.is_empty(), damaged.is_empty()) {
        (false, _) => Some(true),
        (true, true) => Some(false),
        (true, false) => None,
    })
}

#[cfg(test)]
mod tests;
