//! Pinned definitions: what of an upstream's entries was approved, and what waits for somebody to look at it.
//!
//! What a definition is, and what a waiting one means for calls, is the gateway's business. Here one statement decides
//! what is first, so that of two processes that see an entry for the first time only one has its definition approved.

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// Most rows of one upstream: entries come and go, and what they were is not forgotten. An entry beyond stays unknown.
pub const PINS_PER_UPSTREAM_MAX: usize = 50_000;
/// The longest text that is kept of one definition, in bytes; of a longer one only the digest is.
pub const DEFINITION_BYTES_MAX: usize = 64 * 1024;
/// Texts of all definitions of one upstream, in bytes.
const TEXTS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Definitions of one entry that were approved once and are no more.
const SUPERSEDED_MAX: u32 = 8;

/// What is thought of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinState {
    /// It is the one that may be served.
    Approved,
    /// It was approved until another was.
    Superseded,
    /// It is, or was last, offered, and nobody approved it.
    Waiting,
}

impl PinState {
    /// As the table has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Superseded => "superseded",
            Self::Waiting => "waiting",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "approved" => Self::Approved,
            "superseded" => Self::Superseded,
            // The table takes no other.
            _ => Self::Waiting,
        }
    }
}

/// Which entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PinName {
    /// The upstream's alias.
    pub upstream: String,
    /// Of what kind: a word of the gateway's.
    pub kind: String,
    /// What the upstream calls it; empty where there is one of a kind.
    pub name: String,
}

/// One definition of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinRow {
    /// Of which entry.
    pub of: PinName,
    /// SHA-256 over its canonical form, in hex.
    pub digest: String,
    /// Its canonical form; `None` if that was too much to keep, or was not asked for.
    pub definition: Option<String>,
    /// How long the canonical form is.
    pub bytes: u64,
    /// What is thought of it.
    pub state: PinState,
    /// When it was last found to be offered anew.
    pub seen_at: SystemTime,
    /// When it was last approved; `None` if it never was.
    pub decided_at: Option<SystemTime>,
    /// Who approved it.
    pub by: Option<String>,
}

/// A definition that an upstream offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinDraft {
    /// A word of the gateway's.
    pub kind: &'static str,
    /// What the upstream calls it.
    pub name: String,
    /// SHA-256 over its canonical form, in hex.
    pub digest: String,
    /// Its canonical form.
    pub definition: String,
    /// Who approves it if its entry was never seen; `None`: it waits.
    pub new_by: Option<&'static str>,
}

/// What an upstream offers that is not approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinOffer {
    /// The upstream's alias.
    pub upstream: String,
    /// The definitions.
    pub drafts: Vec<PinDraft>,
    /// Entries whose waiting definition is offered no longer: kind and name.
    pub gone: Vec<(&'static str, String)>,
    /// Who approves another definition of an entry that has an approved one, or had; `None`: it waits.
    pub changed_by: Option<&'static str>,
    /// When.
    pub at: SystemTime,
}

/// What became of a draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// It is approved, as the first definition of its entry.
    First,
    /// It is approved in the place of another.
    Accepted,
    /// It waits: its entry is new, or waits since it was.
    WaitsAsNew,
    /// It waits: another definition is, or was, approved.
    WaitsAsChanged,
    /// Nothing changed: it was there like this.
    Known,
    /// There are too many of this upstream.
    Full,
}

/// What an owner says yes to: exactly this definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinApproval {
    /// Of which entry.
    pub of: PinName,
    /// The digest of what was looked at.
    pub digest: String,
}

impl Store {
    /// All definitions without their texts, by upstream, kind and name.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_pins(&self) -> Result<Vec<PinRow>, Error> {
        self.read(|connection| {
            connection.all(
                "SELECT upstream, kind, name, digest, NULL, bytes, state, seen_at, decided_at, by FROM pins
                    ORDER BY upstream, kind, name, seen_at, digest",
                &[],
                pin,
            )
        })
    }

    /// All definitions of one entry, with their texts, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_pins_of(&self, of: &PinName) -> Result<Vec<PinRow>, Error> {
        self.read(|connection| {
            connection.all(
                "SELECT upstream, kind, name, digest, definition, bytes, state, seen_at, decided_at, by FROM pins
                    WHERE upstream = ?1 AND kind = ?2 AND name = ?3 ORDER BY seen_at, digest",
                values![of.upstream, of.kind, of.name],
                pin,
            )
        })
    }

    /// Takes in what an upstream offers; what became of each draft, in their order.
    ///
    /// # Errors
    /// If it cannot be written; then nothing changed.
    pub async fn offer_pins(&self, offer: PinOffer) -> Result<Vec<Placed>, Error> {
        self.change(move |connection| {
            for (kind, name) in &offer.gone {
                withdraw(connection, &offer.upstream, kind, name)?;
            }
            let mut room = Room::of(connection, &offer.upstream)?;
            let drafts = offer.drafts.iter();
            drafts
                .map(|draft| place(connection, &offer, draft, &mut room))
                .collect()
        })
        .await
    }

    /// Approves what waits, each exactly as it was looked at; for each whether it still waited.
    ///
    /// # Errors
    /// If it cannot be written; then nothing is approved.
    pub async fn approve_pins(
        &self,
        approvals: Vec<PinApproval>,
        at: SystemTime,
        by: &str,
    ) -> Result<Vec<bool>, Error> {
        let by = by.to_owned();
        self.change(move |connection| {
            let each = approvals.iter();
            each.map(|one| {
                let key = Key::of(&one.of);
                let does_wait = key.state(connection, &one.digest)? == Some(PinState::Waiting);
                if does_wait {
                    key.approve(connection, &one.digest, at, &by)?;
                }
                Ok(does_wait)
            })
            .collect()
        })
        .await
    }

    /// Forgets all of an upstream: what it offers is new then. How many definitions there were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn forget_pins(&self, upstream: &str) -> Result<usize, Error> {
        let upstream = upstream.to_owned();
        self.change(move |connection| {
            connection.execute("DELETE FROM pins WHERE upstream = ?1", values![upstream])
        })
        .await
    }
}

/// What may still be kept of an upstream.
struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    fn of(connection: &Connection, upstream: &str) -> db::Result<Self> {
        let (rows, bytes): (i64, i64) = connection.only(
            "SELECT count(*), CAST(coalesce(sum(bytes) FILTER (WHERE definition IS NOT NULL), 0) AS BIGINT) FROM pins
                WHERE upstream = ?1",
            values![upstream],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(Self {
            rows: PINS_PER_UPSTREAM_MAX.saturating_sub(count(rows)),
            bytes: TEXTS_BYTES_MAX.saturating_sub(count(bytes)),
        })
    }

    /// Takes a row's place, and says whether its text may be kept; `None` if there is no place.
    fn take(&mut self, text: &str) -> Option<bool> {
        self.rows = self.rows.checked_sub(1)?;
        let keeps = text.len() <= DEFINITION_BYTES_MAX && text.len() <= self.bytes;
        if keeps {
            self.bytes -= text.len();
        }
        Some(keeps)
    }
}

fn place(
    connection: &Connection,
    offer: &PinOffer,
    draft: &PinDraft,
    room: &mut Room,
) -> db::Result<Placed> {
    let key = Key {
        upstream: &offer.upstream,
        kind: draft.kind,
        name: &draft.name,
    };
    let there = key.state(connection, &draft.digest)?;
    if there == Some(PinState::Approved) {
        return Ok(Placed::Known);
    }
    let was_decided = key.was_decided(connection)?;
    let by = if was_decided {
        offer.changed_by
    } else if key.is_there(connection)? {
        // It waits for somebody to look, and still does.
        None
    } else {
        draft.new_by
    };
    if there == Some(PinState::Waiting) && by.is_none() {
        return Ok(Placed::Known);
    }
    if there.is_none() {
        let Some(keeps) = room.take(&draft.definition) else {
            return Ok(Placed::Full);
        };
        key.put(connection, draft, keeps, offer.at)?;
    }
    match by {
        Some(by) => {
            key.approve(connection, &draft.digest, offer.at, by)?;
            Ok(if was_decided {
                Placed::Accepted
            } else {
                Placed::First
            })
        }
        None => {
            key.wait(connection, &draft.digest, offer.at)?;
            Ok(if was_decided {
                Placed::WaitsAsChanged
            } else {
                Placed::WaitsAsNew
            })
        }
    }
}

/// One entry.
struct Key<'a> {
    upstream: &'a str,
    kind: &'a str,
    name: &'a str,
}

impl<'a> Key<'a> {
    fn of(name: &'a PinName) -> Self {
        Self {
            upstream: &name.upstream,
            kind: &name.kind,
            name: &name.name,
        }
    }

    fn state(&self, connection: &Connection, digest: &str) -> db::Result<Option<PinState>> {
        connection.one(
            "SELECT state FROM pins WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest = ?4",
            values![self.upstream, self.kind, self.name, digest],
            |row| {
                Ok(PinState::parse(&row.get::<String>(0)?))
            },
        )
    }

    /// Whether any definition of it was ever approved.
    fn was_decided(&self, connection: &Connection) -> db::Result<bool> {
        connection.exists(
            "SELECT 1 FROM pins WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND decided_at IS NOT NULL",
            values![self.upstream, self.kind, self.name],
        )
    }

    /// Whether anything is known of it.
    fn is_there(&self, connection: &Connection) -> db::Result<bool> {
        connection.exists(
            "SELECT 1 FROM pins WHERE upstream = ?1 AND kind = ?2 AND name = ?3",
            values![self.upstream, self.kind, self.name],
        )
    }

    /// A row of no consequence yet: what becomes of it is said next, in the same transaction.
    fn put(
        &self,
        connection: &Connection,
        draft: &PinDraft,
        keeps: bool,
        at: SystemTime,
    ) -> db::Result<()> {
        connection.execute(
            "INSERT INTO pins (upstream, kind, name, digest, definition, bytes, state, seen_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'superseded', ?7)",
            values![
                self.upstream,
                self.kind,
                self.name,
                draft.digest,
                keeps.then_some(&draft.definition),
                i64::try_from(draft.definition.len()).unwrap_or(i64::MAX),
                to_micros(at),
            ],
        )?;
        Ok(())
    }

    /// Makes a definition the good one; of others none waits any more, and the oldest are forgotten.
    fn approve(
        &self,
        connection: &Connection,
        digest: &str,
        at: SystemTime,
        by: &str,
    ) -> db::Result<()> {
        connection.execute(
            "UPDATE pins SET state = 'superseded'
                WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND state = 'approved'",
            values![self.upstream, self.kind, self.name],
        )?;
        withdraw_others(connection, self, digest)?;
        connection.execute(
            "UPDATE pins SET state = 'approved', decided_at = ?5, by = ?6
                WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest = ?4",
            values![
                self.upstream,
                self.kind,
                self.name,
                digest,
                to_micros(at),
                by
            ],
        )?;
        connection.execute(
            "DELETE FROM pins WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest IN (
                    SELECT digest FROM pins
                    WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND state = 'superseded'
                    ORDER BY decided_at DESC NULLS LAST LIMIT 1000000 OFFSET ?4)",
            values![self.upstream, self.kind, self.name, SUPERSEDED_MAX],
        )?;
        Ok(())
    }

    /// Has a definition wait, in the place of any other.
    fn wait(&self, connection: &Connection, digest: &str, at: SystemTime) -> db::Result<()> {
        withdraw_others(connection, self, digest)?;
        connection.execute(
            "UPDATE pins SET state = 'waiting', seen_at = ?5
                WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest = ?4",
            values![self.upstream, self.kind, self.name, digest, to_micros(at)],
        )?;
        Ok(())
    }
}

/// What waits of an entry is offered no longer: what was never approved is forgotten.
fn withdraw(connection: &Connection, upstream: &str, kind: &str, name: &str) -> db::Result<()> {
    let key = Key {
        upstream,
        kind,
        name,
    };
    withdraw_others(connection, &key, "")
}

/// The same, but for one definition. No digest is empty.
fn withdraw_others(connection: &Connection, key: &Key<'_>, but: &str) -> db::Result<()> {
    let those = values![key.upstream, key.kind, key.name, but];
    connection.execute(
        "DELETE FROM pins WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest <> ?4
            AND state = 'waiting' AND decided_at IS NULL",
        those,
    )?;
    connection.execute(
        "UPDATE pins SET state = 'superseded' WHERE upstream = ?1 AND kind = ?2 AND name = ?3 AND digest <> ?4
            AND state = 'waiting'",
        those,
    )?;
    Ok(())
}

/// A count of the database's, which is never negative.
fn count(rows: i64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}

fn pin(row: &Row<'_>) -> db::Result<PinRow> {
    Ok(PinRow {
        of: PinName {
            upstream: row.get(0)?,
            kind: row.get(1)?,
            name: row.get(2)?,
        },
        digest: row.get(3)?,
        definition: row.get(4)?,
        bytes: row.get::<i64>(5)?.unsigned_abs(),
        state: PinState::parse(&row.get::<String>(6)?),
        seen_at: from_micros(row.get(7)?),
        decided_at: row.get::<Option<i64>>(8)?.map(from_micros),
        by: row.get(9)?,
    })
}

#[cfg(test)]
mod tests;
