//! Adding to the log: a row in its segment, its link in the chain, its leaf in the tree, in the transaction of the batch.
//!
//! The head is read and written once per batch. Whoever appends holds its row's lock, so several processes, and several
//! gates before one database, append to one log.

use super::merkle::{Frontier, Hash};
use super::open::Instance;
use super::segment::{BLOCK, Seal, Segment};
use super::text::{self, Hasher};
use super::{Fields, HASH_LEN, LogState, number};
use crate::db::{self, Connection, Failure, values};

/// Levels of the tree of which roots are kept: every eighth.
pub(super) const LEVELS_KEPT: u32 = 8;

/// The end of the log, while a transaction appends to it.
pub(crate) struct Head<'a> {
    /// The row in front of the chain's first.
    base: i64,
    chain: Hash,
    tree: Frontier,
    hasher: Hasher,
    /// The segment that rows are added to; `None` before the first.
    segment: Option<Segment<'a>>,
    /// The database was asked for the one to go on with.
    is_begun: bool,
}

impl<'a> Head<'a> {
    /// As the database has it.
    pub(crate) fn read(connection: &Connection) -> db::Result<Self> {
        let sql = "SELECT base, size, chain, roots FROM audit_head";
        connection.only(sql, &[], |row| {
            let size = u64::try_from(row.get::<i64>(1)?).unwrap_or_default();
            let roots: Vec<u8> = row.get(3)?;
            let (roots, rest) = roots.as_chunks::<HASH_LEN>();
            let tree = Frontier::restore(size, roots.to_vec()).filter(|_| rest.is_empty());
            Ok(Self {
                base: row.get(0)?,
                chain: row.get(2)?,
                tree: tree.ok_or(Failure::column(3, "it does not go with the size"))?,
                hasher: Hasher::new(),
                segment: None,
                is_begun: false,
            })
        })
    }

    /// How long the log is, and what stands in it.
    pub(crate) fn state(self) -> LogState {
        LogState {
            tree: self.tree,
            chain: self.chain,
        }
    }

    /// Adds a row; it is in the database by the next [`settle`](Self::settle) or [`write`](Self::write).
    ///
    /// Must not fail for the sake of what is in the row: it would be tried again for ever. `is_again`: it was tried before.
    pub(crate) fn append(
        &mut self,
        connection: &Connection,
        row: &Fields<'a>,
        instance: &mut Instance,
        is_again: bool,
    ) -> db::Result<()> {
        let place = number(self.tree.size());
        let seq = self.base + 1 + place;
        let salt = instance.salt()?;
        let commitment = self.hasher.commitment(&salt, row);
        let leaf = self.hasher.leaf(seq, row, &commitment);
        self.chain = text::link(&self.chain, &leaf);
        let seal = Seal::Salted {
            salt,
            chain: self.chain,
        };
        self.segment(connection, place, seq)?.push(&seal, row);
        instance.note(connection, row, seq, is_again)?;
        let mut kept = Ok(());
        self.tree.push(leaf, |filled| {
            if filled.level.is_multiple_of(LEVELS_KEPT) && kept.is_ok() {
                kept = connection.send(
                    "INSERT INTO audit_nodes (level, place, hash) VALUES (?1, ?2, ?3)",
                    values![filled.level, number(filled.index), filled.hash],
                );
            }
        });
        kept
    }

    /// The segment that the row with this place and number goes into.
    fn segment(
        &mut self,
        connection: &Connection,
        place: i64,
        seq: i64,
    ) -> db::Result<&mut Segment<'a>> {
        let begins = place % BLOCK == 0;
        if !self.is_begun {
            self.is_begun = true;
            if !begins {
                self.segment = Segment::go_on(connection, seq)?;
            }
        } else if begins || self.segment.as_ref().is_some_and(Segment::is_full) {
            self.settle(connection)?;
            self.segment = None;
        }
        Ok(self.segment.get_or_insert_with(|| Segment::begin(seq)))
    }

    /// Has the database know all rows that were added.
    pub(crate) fn settle(&mut self, connection: &Connection) -> db::Result<()> {
        if let Some(segment) = &mut self.segment {
            segment.keep(connection)?;
        }
        self.segment = self.segment.take().filter(|segment| !segment.is_settled());
        Ok(())
    }

    /// The same before somebody else may change what is there.
    pub(crate) fn leave(&mut self, connection: &Connection) -> db::Result<()> {
        self.settle(connection)?;
        (self.segment, self.is_begun) = (None, false);
        Ok(())
    }

    /// Hands the end on to whoever appends next.
    pub(crate) fn write(&mut self, connection: &Connection) -> db::Result<()> {
        self.settle(connection)?;
        let roots = self.tree.roots().concat();
        connection.send(
            "UPDATE audit_head SET size = ?1, chain = ?2, roots = ?3",
            values![number(self.tree.size()), self.chain, roots],
        )
    }
}
