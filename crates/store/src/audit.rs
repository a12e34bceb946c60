//! The audit log: rows that are added and never changed, in a chain and a tree that show it when one was.
//!
//! A call that can have an effect has two: one before its upstream sees it, which is `pending`, and one before its
//! answer. All else has one. `fields` is how they get to the thread that writes, `append` adds them, `segment` is how they
//! stand in the database and `search` how they are found there, `prune` takes them off the log's front, `erase` takes out of
//! them what is somebody's, unless `holds` keeps it; `text` says which bytes are hashed, `merkle` is the tree; what of a log
//! holds when it is checked elsewhere is `observe`'s business. `rows` is how they stood in older databases.

mod append;
mod erase;
mod fields;
mod holds;
mod key;
pub mod merkle;
mod open;
mod prune;
mod rows;
mod search;
mod segment;
pub mod text;

use std::borrow::Cow;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::db::{self, Connection, Failure, values};
use crate::queue::{Permit, Used};
use crate::writer::{Job, Record};
use crate::{Error, Store};

use search::Range;
use segment::{Found, Seal};

/// Bytes of a hash.
pub(crate) const HASH_LEN: usize = 32;
/// How long what a gate left behind waits for its place in the log, and for the disk.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// How often in a row nothing may have been written while a row waits.
const STALLS_MAX: u32 = 5;

/// What happened to one call. Words from closed sets are borrowed, so a row costs few allocations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// When it was answered: wall clock, microseconds since 1970.
    pub at_us: i64,
    /// The id that the client was told, a UUID.
    pub call_id: String,
    /// Who asked.
    pub principal: String,
    /// How that was proved, and by which key.
    pub credential: String,
    /// Name and version of the client, as it says; cut at 120 characters.
    pub client: String,
    /// How it came in.
    pub transport: Cow<'static, str>,
    /// Of the protocol.
    pub revision: Cow<'static, str>,
    /// Of the request.
    pub method: Cow<'static, str>,
    /// Whose entry was asked for, if one was found.
    pub upstream: Option<String>,
    /// Which entry was asked for; cut at 1000 characters.
    pub entry: Option<String>,
    /// SHA-256 of the arguments, hex.
    pub arguments_digest: Option<String>,
    /// What the rules said.
    pub decision: Cow<'static, str>,
    /// Which rule said it.
    pub rule: Option<String>,
    /// The virtual server that was asked; `None`: the whole catalog.
    pub server: Option<String>,
    /// SHA-256 over the canonical form of the entry's definition, hex.
    pub definition: Option<String>,
    /// The consent that let the call through, or the request for one that it made.
    pub consent: Option<String>,
    /// What screening found and did: kinds and counts, `bidi:2,aws_key:1`.
    pub screened: Option<String>,
    /// Of the W3C trace context that the call belongs to, 32 hex digits.
    pub trace_id: Option<String>,
    /// The arguments, as much of them as the config keeps; JSON.
    pub arguments: Option<String>,
    /// The address that the request came from; of what came over no network, `None`.
    pub address: Option<String>,
    /// The OAuth client that acted for the principal.
    pub actor: Option<String>,
    /// The person that an act is about.
    pub subject: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Of the JSON-RPC error, if it was one.
    pub code: Option<i64>,
    /// Why, in the operator's words; cut at 1000 characters.
    pub reason: Option<String>,
    /// From the first byte in to the last byte out.
    pub duration_us: u64,
    /// Size of the request.
    pub bytes_in: u64,
    /// Size of the answer.
    pub bytes_out: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Answered by the tool with its own failure.
    ToolError,
    /// Refused by us: not allowed, too often, wrong arguments.
    Refused,
    /// Not answered: the upstream's doing or ours.
    Failed,
    /// Given up by the client.
    Cancelled,
    /// Not over: the upstream is about to see it.
    Pending,
    /// Begun by a gate that ended before the call did: nobody can say.
    Unknown,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::ToolError,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
        Self::Pending,
        Self::Unknown,
    ];

    /// The word in the database, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Pending => "pending",
            Self::Unknown => "unknown",
        }
    }

    /// What it means, for the reference page.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "answered, done",
            Self::ToolError => "answered by the tool with its own failure",
            Self::Refused => "refused: not allowed, too often, wrong arguments, not known",
            Self::Failed => "not answered or not done: the upstream's doing, or the gate's",
            Self::Cancelled => "given up by the client",
            Self::Pending => "not over: the upstream is about to see it",
            Self::Unknown => "begun by a gate that ended before the call did: nobody can say",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// Its place among [`ALL`](Self::ALL), as it stands in the database and in a journal.
    fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|one| *one == self);
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(u8::MAX)
    }

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// A row and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Grows with every row, and is never given twice.
    pub seq: i64,
    /// What was recorded.
    pub row: AuditRow,
}

/// Which rows to read; an empty one reads all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only this principal's.
    pub principal: Option<String>,
    /// Only calls of this entry.
    pub entry: Option<String>,
    /// Only those that ended so.
    pub outcome: Option<String>,
    /// Only those of this method.
    pub method: Option<String>,
    /// Only those of this upstream.
    pub upstream: Option<String>,
    /// Only this call's.
    pub call_id: Option<String>,
    /// Also what was written of calls before they had an effect, besides what came of them.
    pub begun: bool,
    /// Only those from this moment on: microseconds since 1970.
    pub since_us: Option<i64>,
    /// Only those before this moment.
    pub until_us: Option<i64>,
}

/// A place in the writer's queue, held for one row.
#[derive(Debug)]
pub struct AuditSlot {
    place: Permit,
}

impl AuditSlot {
    /// Hands the row to the writer. The place is there already, so this cannot fail.
    pub fn write(self, row: &AuditRow) {
        drop(self.send(&row.fields(), None));
    }

    /// Hands the row to the writer, at once; and, where that is awaited, waits until it is on the disk: for as long as that
    /// takes if others get there meanwhile, as they do when thousands wait.
    ///
    /// # Errors
    /// If it is not after `wait` and the disk refuses, or after five times that in which nobody's was written: a disk that
    /// is slow is not one that is gone. It may be written later: it keeps its place.
    pub fn commit(
        self,
        row: &AuditRow,
        wait: Duration,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        self.commit_fields(&row.fields(), wait)
    }

    /// The same for values that others own.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit).
    pub fn commit_fields(
        self,
        row: &Fields<'_>,
        wait: Duration,
    ) -> impl Future<Output = Result<(), Error>> + use<> {
        let (done, committed) = oneshot::channel();
        let sent = self.send(row, Some(done));
        Self::committed(sent, committed, wait)
    }

    async fn committed(
        sent: Used,
        mut committed: oneshot::Receiver<()>,
        wait: Duration,
    ) -> Result<(), Error> {
        let store = sent.store();
        let (mut before, mut stalled) = (store.progress(), 0);
        loop {
            if let Ok(committed) = timeout(wait, &mut committed).await {
                return committed.map_err(|_gone| Error::Closed);
            }
            // In this order: what is written behind it shows that nobody needs to give up any more.
            let (written, now) = (store.written(), store.progress());
            stalled = if now == before { stalled + 1 } else { 0 };
            if store.is_failing() || stalled == STALLS_MAX {
                store.give_up(written);
                return Err(Error::Unconfirmed(wait));
            }
            before = now;
        }
    }

    fn send(self, row: &Fields<'_>, waiting: Option<oneshot::Sender<()>>) -> Used {
        self.place.send(Job::Audit(Record {
            row: Packed::new(row),
            waiting,
            number: None,
            since: Instant::now(),
        }))
    }
}

/// A row as it stands in the log: what is hashed, and what stands behind the commitment in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the tree, from 0.
    pub place: u64,
    /// What cannot be erased: canonical JSON, the leaf of the tree.
    pub record: String,
    /// The salt and what can be erased, canonical JSON; `None` once it is.
    pub personal: Option<(Vec<u8>, String)>,
    /// The chain's value after it.
    pub chain: merkle::Hash,
}

/// How long the log is, and what stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogState {
    /// The tree over its rows.
    pub tree: merkle::Frontier,
    /// The chain's value after the last of them.
    pub chain: merkle::Hash,
}

impl Store {
    /// Rows of the log as they are hashed, from the `from`-th on, at most `limit`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Error> {
        self.read(|connection| {
            let base = base(connection)?;
            entries(connection, base, from, limit)
        })
    }

    /// How long the log is, and what stands in it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_log(&self) -> Result<LogState, Error> {
        self.read(|connection| Ok(Head::read(connection)?.state()))
    }

    /// The same as it was when the log had `size` rows; `None` if it has fewer.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_log_at(&self, size: u64) -> Result<Option<LogState>, Error> {
        let now = self.audit_log()?;
        if size > now.tree.size() || size < self.audit_first()? {
            return Ok(None);
        }
        let roots: Result<Vec<_>, _> = self.read(|connection| {
            let base = base(connection)?;
            Ok(merkle::perfect(size)
                .map(|(level, index)| subtree(connection, base, level, index))
                .collect())
        })?;
        let chain = match self.read(|connection| prune::chain_at_front(connection, size))? {
            Some(chain) => Some(chain),
            None => self.entry_at(size - 1)?.map(|last| last.chain),
        };
        let tree = merkle::Frontier::restore(size, roots?);
        Ok(tree
            .zip(chain)
            .map(|(tree, chain)| LogState { tree, chain }))
    }

    /// The place in the tree of the row with that number; `None` for one from before the tree.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_place(&self, seq: i64) -> Result<Option<u64>, Error> {
        let base = self.read(base)?;
        Ok(u64::try_from(seq - base - 1).ok())
    }

    /// The hashes that prove the `place`-th row to be in the tree of the first `size` rows.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_path(&self, place: u64, size: u64) -> Result<Vec<merkle::Hash>, Error> {
        self.read(|connection| {
            let base = base(connection)?;
            merkle::path(place, size, &mut |level, index| {
                subtree(connection, base, level, index)
            })
        })
    }

    fn entry_at(&self, place: u64) -> Result<Option<Entry>, Error> {
        let first = self.audit_entries(place, 1)?.into_iter().next();
        Ok(first.filter(|entry| entry.place == place))
    }

    /// The last signed checkpoint: how many rows it is over, and the note.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn last_audit_checkpoint(&self) -> Result<Option<(u64, String)>, Error> {
        self.read(|connection| {
            let sql = "SELECT size, note FROM audit_checkpoints ORDER BY size DESC LIMIT 1";
            connection.one(sql, &[], |row| {
                let size: i64 = row.get(0)?;
                Ok((u64::try_from(size).unwrap_or_default(), row.get(1)?))
            })
        })
    }

    /// Keeps a signed checkpoint over the first `size` rows; the first one of a size stays.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_audit_checkpoint(&self, size: u64, note: String) -> Result<(), Error> {
        self.change(move |connection| {
            let sql =
                "INSERT INTO audit_checkpoints (size, note) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            connection
                .execute(sql, values![number(size), note])
                .map(drop)
        })
        .await
    }

    /// Signed checkpoints over more than `from` rows and at most `to`, the smallest first: how many rows, and the note.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_checkpoints(&self, from: u64, to: u64) -> Result<Vec<(u64, String)>, Error> {
        self.read(|connection| {
            let sql = "SELECT size, note FROM audit_checkpoints WHERE size > ?1 AND size <= ?2 ORDER BY size";
            connection.all(sql, values![number(from), number(to)], |row| {
                let size: i64 = row.get(0)?;
                Ok((u64::try_from(size).unwrap_or_default(), row.get(1)?))
            })
        })
    }

    /// Takes a place in the writer's queue before anything is spent on the call.
    ///
    /// # Errors
    /// If there is none within `wait`: then the call must be refused.
    pub async fn reserve_audit(&self, wait: Duration) -> Result<AuditSlot, Error> {
        let place = self.permit(wait).await?;
        Ok(AuditSlot { place })
    }

    /// The same for a row that will be waited for: at once, if somebody has just waited in vain.
    ///
    /// # Errors
    /// Those of [`reserve_audit`](Self::reserve_audit), and if nothing was written since somebody gave up.
    pub async fn reserve_awaited(&self, wait: Duration) -> Result<AuditSlot, Error> {
        if self.is_in_vain() {
            return Err(Error::Stuck);
        }
        self.reserve_audit(wait).await
    }

    /// Rows of the log, oldest first: the first `limit` after `after_seq`, or the last `limit` of all.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn audit_tail(
        &self,
        limit: u32,
        after_seq: Option<i64>,
        filter: &AuditFilter,
    ) -> Result<Vec<Recorded>, Error> {
        let range = filter.range(after_seq.unwrap_or(0));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let wants = |row: &Fields<'_>| filter.wants(row);
        self.read(|connection| match after_seq {
            Some(_) => search::first(connection, range, limit, wants),
            None => search::last(connection, range, limit, wants),
        })
    }
}

/// Rows of the log as they are hashed, from the `from`-th on, at most `limit`.
fn entries(connection: &Connection, base: i64, from: u64, limit: u32) -> db::Result<Vec<Entry>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    let range = Range {
        from: base.saturating_add(1).saturating_add(number(from)),
        ..Range::ALL
    };
    search::each(connection, range, |found| {
        if entries.len() < limit {
            entries.push(entry(found, base)?);
        }
        Ok(search::on_while(entries.len() < limit))
    })?;
    Ok(entries)
}

fn entry(found: &Found<'_>, base: i64) -> db::Result<Entry> {
    let (commitment, personal, chain) = match found.seal {
        Seal::Salted { salt, chain } => {
            let personal = text::personal(&found.row);
            let commitment = text::commitment(&salt, &personal);
            (commitment, Some((salt.to_vec(), personal)), chain)
        }
        Seal::Erased { commitment, chain } => (commitment, None, chain),
        Seal::Unchained => return Err(Failure::Segment(found.segment)),
    };
    Ok(Entry {
        place: u64::try_from(found.seq - base - 1).unwrap_or_default(),
        record: text::record(found.seq, &found.row, &commitment),
        personal,
        chain,
    })
}

/// The row in front of the chain's first.
fn base(connection: &Connection) -> db::Result<i64> {
    connection.only("SELECT base FROM audit_head", &[], |row| row.get(0))
}

/// The root of the perfect subtree of 2^level rows, the index-th from the left.
fn subtree(connection: &Connection, base: i64, level: u32, index: u64) -> db::Result<merkle::Hash> {
    if level < append::LEVELS_KEPT {
        // All leaves of it are near each other.
        let (first, count) = (index << level, 1_u32 << level);
        let leaves = entries(connection, base, first, count)?;
        let mut tree = merkle::Frontier::default();
        for (_, leaf) in (first..)
            .zip(&leaves)
            .filter(|(place, leaf)| leaf.place == *place)
        {
            tree.push(merkle::leaf(leaf.record.as_bytes()), |_filled| {});
        }
        return if tree.size() == u64::from(count) {
            Ok(tree.root())
        } else {
            Err(Failure::Missing)
        };
    }
    if level.is_multiple_of(append::LEVELS_KEPT) {
        let sql = "SELECT hash FROM audit_nodes WHERE level = ?1 AND place = ?2";
        return connection.only(sql, values![level, number(index)], |row| row.get(0));
    }
    let left = subtree(connection, base, level - 1, 2 * index)?;
    let right = subtree(connection, base, level - 1, 2 * index + 1)?;
    Ok(merkle::node(&left, &right))
}

pub use erase::{ERASED, Erasure, Readable};
pub use fields::Fields;
pub use holds::AuditHold;
pub use key::AuditKeyRow;
pub use prune::{Pruned, Pruning};

pub(crate) use append::Head;
pub(crate) use fields::Packed;
pub(crate) use open::Instance;
pub(crate) use rows::into_segments;

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
