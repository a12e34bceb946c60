//! Taking records off the log's front, once their time has come.
//!
//! The log goes on as if they were there: places and numbers stay, the tree's roots over them are kept, and so is the
//! chain's value after the last of them. That is why only whole blocks go: of a block's 256 rows the one root is kept that
//! every proof for what is left needs.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use tracing::warn;

use super::merkle::Hash;
use super::search::{self, Range};
use super::segment::{BLOCK, Records, forget_name};
use super::{holds, number};
use crate::db::{self, Connection, Failure, values};
use crate::{Error, Store};

/// Blocks that go in one transaction, which others wait for.
const BLOCKS_MAX: i64 = 8;
/// Segments that are read at once.
const TOGETHER: usize = 16;

/// The records that were taken off: their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pruned {
    /// Of the first.
    pub from: u64,
    /// After the last.
    pub to: u64,
}

/// What came of taking records off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pruning {
    /// Those that went; `None`: none could.
    pub taken: Option<Pruned>,
    /// The sink whose receiver does not have the next ones yet: without it they would go, too.
    pub waits_for: Option<String>,
}

/// Where the log begins.
pub(super) struct Front {
    /// The row in front of the chain's first.
    pub(super) base: i64,
    /// The place of the first row that is there.
    pub(super) place: i64,
    /// The chain's value in front of it.
    pub(super) chain: Hash,
}

impl Front {
    pub(super) fn read(connection: &Connection) -> db::Result<Self> {
        let sql = "SELECT base, pruned, pruned_chain FROM audit_head";
        connection.only(sql, &[], |row| {
            Ok(Self {
                base: row.get(0)?,
                place: row.get(1)?,
                chain: row.get(2)?,
            })
        })
    }
}

impl Store {
    /// The place of the first record that is there.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_first(&self) -> Result<u64, Error> {
        let front = self.read(Front::read)?;
        Ok(u64::try_from(front.place).unwrap_or_default())
    }

    /// What can be taken off the log's front of the records from before `before_us`, some thousand at a time. One that may
    /// not go keeps all behind it, and what one of these `sinks` has not sent may not go.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn prunable_audit(&self, before_us: i64, sinks: &[String]) -> Result<Pruning, Error> {
        self.read(|connection| {
            let front = Front::read(connection)?;
            reach(connection, &front, before_us, sinks)
        })
    }

    /// Takes that off, or as much of it as still can be: nothing behind `to`, whatever could go by now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_audit(
        &self,
        before_us: i64,
        sinks: Vec<String>,
        to: u64,
    ) -> Result<Pruning, Error> {
        self.change(move |connection| prune(connection, before_us, &sinks, to))
            .await
    }
}

fn prune(
    connection: &Connection,
    before_us: i64,
    sinks: &[String],
    to: u64,
) -> db::Result<Pruning> {
    let front = Front::read(connection)?;
    let mut pruning = reach(connection, &front, before_us, sinks)?;
    if let Some(taken) = &mut pruning.taken {
        taken.to = taken.to.min(to);
    }
    pruning.taken = pruning.taken.filter(|taken| taken.to > taken.from);
    if let Some(taken) = pruning.taken {
        take_off(connection, &front, number(taken.to))?;
    }
    Ok(pruning)
}

/// Takes all in front of the place off; a block ends there.
fn take_off(connection: &Connection, front: &Front, place: i64) -> db::Result<()> {
    let last = front.base + place;
    let chain = chain_after(connection, last)?.ok_or(Failure::Missing)?;
    // Those from before the chain are older than all in it. No segment goes beyond a block.
    let mut range = Range {
        to: last,
        ..Range::ALL
    };
    loop {
        let segments = search::segments(connection, range, TOGETHER)?;
        let Some((_, end, _)) = segments.last() else {
            break;
        };
        range.from = end.saturating_add(1);
        for (first, last, records) in &segments {
            forget_names(connection, (*first, *last), records)?;
        }
    }
    connection.execute(
        "DELETE FROM audit_segments WHERE first_seq <= ?1",
        values![last],
    )?;
    // One over less than what is left is over nothing that is there.
    let sql = "DELETE FROM audit_checkpoints WHERE size < ?1";
    connection.execute(sql, values![place])?;
    connection
        .execute(
            "UPDATE audit_head SET pruned = ?1, pruned_chain = ?2",
            values![place, chain],
        )
        .map(drop)
}

/// Has no name lead to that segment any more.
fn forget_names(
    connection: &Connection,
    (first, last): (i64, i64),
    records: &[u8],
) -> db::Result<()> {
    match names(first, last, records) {
        Ok(names) => names
            .iter()
            .try_for_each(|name| forget_name(connection, name, first)),
        Err(Failure::Segment(_)) => {
            warn!(
                first,
                last, "a damaged part of the audit log has had its time and goes"
            );
            let sql = "DELETE FROM audit_names WHERE segment = ?1";
            connection.execute(sql, values![first]).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// Whose records are in a segment, and whom about.
fn names(first: i64, last: i64, records: &[u8]) -> db::Result<BTreeSet<String>> {
    let mut records = Records::of(first, last, records)?;
    let mut names = BTreeSet::new();
    while let Some(found) = records.next()? {
        let its = [Some(found.row.principal), found.row.subject];
        names.extend(its.into_iter().flatten().map(str::to_owned));
    }
    Ok(names)
}

/// The chain's value after the row with that number; `None` if it cannot be read.
fn chain_after(connection: &Connection, seq: i64) -> db::Result<Option<Hash>> {
    let mut chain = None;
    let read = search::each(connection, Range::one(seq), |found| {
        chain = found.seal.chain();
        Ok(ControlFlow::Break(()))
    });
    match read {
        Err(Failure::Segment(_)) => Ok(None),
        read => read.map(|()| chain),
    }
}

/// How far all may go.
fn reach(
    connection: &Connection,
    front: &Front,
    before_us: i64,
    sinks: &[String],
) -> db::Result<Pruning> {
    let size: i64 = connection.only("SELECT size FROM audit_head", &[], |row| row.get(0))?;
    // What a gate has begun is still to be ended.
    let begun = connection.only("SELECT min(seq) FROM audit_open", &[], |row| {
        row.get::<Option<i64>>(0)
    })?;
    let slowest = slowest(connection, sinks)?;
    let mut waits_for = None;
    let mut place = front.place;
    while place + BLOCK <= size && place < front.place + BLOCKS_MAX * BLOCK {
        let last = front.base + place + BLOCK;
        // With the first go those from before the chain.
        let first = if place == 0 {
            i64::MIN
        } else {
            last - BLOCK + 1
        };
        if begun.is_some_and(|begun| begun <= last) || is_kept(connection, first, last, before_us)?
        {
            break;
        }
        if let Some((sink, _)) = slowest.as_ref().filter(|(_, position)| *position < last) {
            waits_for = Some(sink.clone());
            break;
        }
        place += BLOCK;
    }
    // What is left goes on from the value after the last that goes: where that is lost, more go or less.
    while place > front.place && chain_after(connection, front.base + place)?.is_none() {
        place -= BLOCK;
    }
    let count = |place: i64| u64::try_from(place).unwrap_or_default();
    Ok(Pruning {
        taken: (place > front.place).then(|| Pruned {
            from: count(front.place),
            to: count(place),
        }),
        waits_for,
    })
}

/// The one of these sinks whose receiver has the least, and what that is. One that was never sent to begins with what
/// there is.
fn slowest(connection: &Connection, sinks: &[String]) -> db::Result<Option<(String, i64)>> {
    let sql = "SELECT name, position FROM audit_sinks";
    let all: Vec<(String, i64)> = connection.all(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let ours = all.into_iter().filter(|(name, _)| sinks.contains(name));
    Ok(ours.min_by_key(|(_, position)| *position))
}

/// Whether one of these rows is too young, or under a hold.
fn is_kept(connection: &Connection, first: i64, last: i64, before_us: i64) -> db::Result<bool> {
    let sql = "SELECT 1 FROM audit_segments WHERE first_seq BETWEEN ?1 AND ?2 AND latest_us >= ?3 LIMIT 1";
    if connection.exists(sql, values![first, last, before_us])? {
        return Ok(true);
    }
    for hold in holds::holding(connection)? {
        let whose = hold.principal.as_deref();
        let range = Range {
            name: whose,
            from: first,
            to: last,
            since_us: hold.since_us.unwrap_or(i64::MIN),
            until_us: hold.until_us.unwrap_or(i64::MAX),
            ..Range::ALL
        };
        if search::any(connection, range, |row| {
            whose.is_none_or(|whose| row.is_about(whose))
        })? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The chain's value in front of the first row that is there, if `size` rows are in front of it.
pub(super) fn chain_at_front(connection: &Connection, size: u64) -> db::Result<Option<Hash>> {
    let front = Front::read(connection)?;
    Ok((front.place == number(size)).then_some(front.chain))
}

#[cfg(test)]
mod tests;
