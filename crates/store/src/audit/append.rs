//! Adding to the log: a row, its link in the chain, its leaf in the tree, in the transaction of the batch.
//!
//! The head is read and written once per batch. Whoever appends holds its row's lock, so several processes, and several
//! gates before one database, append to one log.

use super::merkle::{Frontier, Hash};
use super::open::Instance;
use super::text::{self, Hasher, SALT_LEN};
use super::{Fields, HASH_LEN, LogState, number};
use crate::db::{self, Connection, Failure, values};

/// Levels of the tree of which roots are kept: every eighth.
pub(super) const LEVELS_KEPT: u32 = 8;

const INSERT: &str = "INSERT INTO audit (
    at_us, call_id, principal, credential, client, transport, revision, method, upstream, entry,
    arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out,
    server, definition, consent, screened, trace_id, arguments, seq, salt, chain,
    address, actor, subject
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)";

/// The end of the log, while a transaction appends to it.
pub(crate) struct Head {
    /// The row in front of the chain's first.
    base: i64,
    chain: Hash,
    tree: Frontier,
    hasher: Hasher,
}

impl Head {
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

    /// Adds a row.
    ///
    /// Must not fail for the sake of what is in the row: it would be tried again for ever. `is_again`: it was tried before.
    pub(crate) fn append(
        &mut self,
        connection: &Connection,
        row: &Fields<'_>,
        instance: &mut Instance,
        is_again: bool,
    ) -> db::Result<()> {
        let place = number(self.tree.size());
        let seq = self.base + 1 + place;
        let salt = instance.salt()?;
        let commitment = self.hasher.commitment(&salt, row);
        let leaf = self.hasher.leaf(seq, row, &commitment);
        self.chain = text::link(&self.chain, &leaf);
        insert(connection, row, seq, &salt, &self.chain)?;
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

    /// Hands the end on to whoever appends next.
    pub(crate) fn write(&self, connection: &Connection) -> db::Result<()> {
        let roots = self.tree.roots().concat();
        connection.send(
            "UPDATE audit_head SET size = ?1, chain = ?2, roots = ?3",
            values![number(self.tree.size()), self.chain, roots],
        )
    }
}

fn insert(
    connection: &Connection,
    row: &Fields<'_>,
    seq: i64,
    salt: &[u8; SALT_LEN],
    chain: &Hash,
) -> db::Result<()> {
    connection.send(
        INSERT,
        values![
            row.at_us,
            row.call_id,
            row.principal,
            row.credential,
            row.client,
            row.transport,
            row.revision,
            row.method,
            row.upstream,
            row.entry,
            row.arguments_digest,
            row.decision,
            row.rule,
            row.outcome.as_str(),
            row.code,
            row.reason,
            number(row.duration_us),
            number(row.bytes_in),
            number(row.bytes_out),
            row.server,
            row.definition,
            row.consent,
            row.screened,
            row.trace_id,
            row.arguments,
            seq,
            salt,
            chain,
            row.address,
            row.actor,
            row.subject,
        ],
    )
}
