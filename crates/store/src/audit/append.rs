//! Adding to the log: a row, its link in the chain, its leaf in the tree, in the transaction of the batch.
//!
//! The head is read and written once per batch. Whoever appends holds its row's lock, so several processes, and several
//! gates before one database, append to one log.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::merkle::{Frontier, Hash};
use super::open::Instance;
use super::text::{self, Hasher, SALT_LEN};
use super::{Fields, HASH_LEN, IN_STRING, LogState, number};
use crate::db::{self, Connection, Failure, ToValue as _, Value, values};

/// Levels of the tree of which roots are kept: every eighth.
pub(super) const LEVELS_KEPT: u32 = 8;

/// Rows that one statement adds, where there are so many: the table and its indices are opened once for all of them.
const TOGETHER: usize = 8;
const COLUMNS: &str =
    "at_us, call_id, principal, credential, client, transport, revision, method, upstream, entry,
    arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out,
    server, definition, consent, screened, trace_id, arguments, seq, salt, chain,
    address, actor, subject";
/// How many those are.
const WIDTH: usize = 31;
static INSERT: LazyLock<String> = LazyLock::new(|| insert(1));
static INSERT_TOGETHER: LazyLock<String> = LazyLock::new(|| insert(TOGETHER));

/// The end of the log, while a transaction appends to it.
pub(crate) struct Head<'a> {
    /// The row in front of the chain's first.
    base: i64,
    chain: Hash,
    tree: Frontier,
    hasher: Hasher,
    /// Rows that have their place, and are not in the table yet.
    waiting: Vec<Placed<'a>>,
}

/// A row in its place.
struct Placed<'a> {
    row: Fields<'a>,
    seq: i64,
    salt: [u8; SALT_LEN],
    chain: Hash,
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
                waiting: Vec::with_capacity(TOGETHER),
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

    /// Adds a row; it is in the table by the next [`settle`](Self::settle) or [`write`](Self::write).
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
        self.waiting.push(Placed {
            row: *row,
            seq,
            salt,
            chain: self.chain,
        });
        if self.waiting.len() == TOGETHER {
            self.settle(connection)?;
        }
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

    /// Has all rows that were added be in the table.
    pub(crate) fn settle(&mut self, connection: &Connection) -> db::Result<()> {
        if self.waiting.len() == TOGETHER {
            let values: Vec<Value<'_>> = self.waiting.iter().flat_map(Placed::values).collect();
            connection.send(&INSERT_TOGETHER, &values)?;
        } else {
            for placed in &self.waiting {
                connection.send(&INSERT, &placed.values())?;
            }
        }
        self.waiting.clear();
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

impl Placed<'_> {
    /// As [`COLUMNS`] has them.
    fn values(&self) -> [Value<'_>; WIDTH] {
        let row = &self.row;
        [
            row.at_us.to_value(),
            row.call_id.to_value(),
            row.principal.to_value(),
            row.credential.to_value(),
            row.client.to_value(),
            row.transport.to_value(),
            row.revision.to_value(),
            row.method.to_value(),
            row.upstream.to_value(),
            row.entry.to_value(),
            row.arguments_digest.to_value(),
            row.decision.to_value(),
            row.rule.to_value(),
            row.outcome.as_str().to_value(),
            row.code.to_value(),
            row.reason.to_value(),
            Value::Number(number(row.duration_us)),
            Value::Number(number(row.bytes_in)),
            Value::Number(number(row.bytes_out)),
            row.server.to_value(),
            row.definition.to_value(),
            row.consent.to_value(),
            row.screened.to_value(),
            row.trace_id.to_value(),
            row.arguments.to_value(),
            self.seq.to_value(),
            self.salt.to_value(),
            self.chain.to_value(),
            row.address.to_value(),
            row.actor.to_value(),
            row.subject.to_value(),
        ]
    }
}

/// The statement that adds so many rows.
fn insert(rows: usize) -> String {
    let mut sql = format!("INSERT INTO audit ({COLUMNS}) VALUES ");
    for place in 1..=rows * WIDTH {
        let (before, after) = match (place % WIDTH, place) {
            (1, 1) => ("(", ""),
            (1, _) => (", (", ""),
            (0, _) => (", ", ")"),
            _ => (", ", ""),
        };
        write!(sql, "{before}?{place}{after}").expect(IN_STRING);
    }
    sql
}
