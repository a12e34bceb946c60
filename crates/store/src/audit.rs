//! The audit log: one row per call, in the order in which they were answered.

use std::borrow::Cow;
use std::time::Duration;

use rusqlite::{Connection, Row};
use tokio::sync::mpsc::OwnedPermit;
use tokio::time::timeout;

use crate::writer::Job;
use crate::{Error, Store};

/// Most characters of a client's name and version that are kept.
const CLIENT_CHARS_MAX: usize = 120;
/// Most characters that are kept of a text with words of a client or an upstream in it.
const TEXT_CHARS_MAX: usize = 1_000;

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
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Ok,
        Self::ToolError,
        Self::Refused,
        Self::Failed,
        Self::Cancelled,
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
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
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
}

/// A place in the writer's queue, held for one row.
#[derive(Debug)]
pub struct AuditSlot {
    place: OwnedPermit<Job>,
    /// Keeps the writer alive until the row is in its queue.
    store: Store,
}

impl AuditSlot {
    /// Hands the row to the writer. The place is there already, so this cannot fail.
    pub fn write(self, mut row: AuditRow) {
        // Before it waits in the queue: thousands of rows may wait, and a name can be as long as a body.
        cut(&mut row.client, CLIENT_CHARS_MAX);
        for text in [&mut row.entry, &mut row.reason].into_iter().flatten() {
            cut(text, TEXT_CHARS_MAX);
        }
        self.place.send(Job::Audit(Box::new(row)));
        drop(self.store);
    }
}

impl Store {
    /// Takes a place in the writer's queue before anything is spent on the call.
    ///
    /// # Errors
    /// If there is none within `wait`: then the call must be refused.
    pub async fn reserve_audit(&self, wait: Duration) -> Result<AuditSlot, Error> {
        // The usual case takes neither a timer nor a turn of the scheduler.
        let place = match self.queue()?.try_reserve_owned() {
            Ok(place) => place,
            Err(_full_or_closed) => Box::pin(timeout(wait, self.queue()?.reserve_owned()))
                .await
                .map_err(|_elapsed| Error::Full(wait))?
                .map_err(|_closed| Error::Closed)?,
        };
        Ok(AuditSlot {
            place,
            store: self.clone(),
        })
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
        let parameters = (
            &filter.principal,
            &filter.entry,
            &filter.outcome,
            after_seq.unwrap_or(0),
            limit,
        );
        let sql = if after_seq.is_some() {
            SELECT_NEXT
        } else {
            SELECT_LAST
        };
        let mut rows: Vec<Recorded> = self.read(|connection| {
            connection
                .prepare_cached(sql)?
                .query_map(parameters, recorded)?
                .collect()
        })?;
        if after_seq.is_none() {
            rows.reverse();
        }
        Ok(rows)
    }
}

const INSERT: &str = "INSERT INTO audit (
    at_us, call_id, principal, credential, client, transport, revision, method, upstream, entry,
    arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out,
    server, definition, consent, screened
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
    ?20, ?21, ?22, ?23)";

macro_rules! select {
    ($order:literal) => {
        concat!(
            "SELECT at_us, call_id, principal, credential, client, transport, revision, method, upstream, entry,
                arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out, seq,
                server, definition, consent, screened
            FROM audit
            WHERE (?1 IS NULL OR principal = ?1) AND (?2 IS NULL OR entry = ?2)
                AND (?3 IS NULL OR outcome = ?3) AND seq > ?4
            ORDER BY seq ",
            $order,
            " LIMIT ?5"
        )
    };
}
const SELECT_NEXT: &str = select!("ASC");
const SELECT_LAST: &str = select!("DESC");

/// Must not fail for the sake of what is in the row: it would be tried again for ever.
pub(crate) fn insert(connection: &Connection, row: &AuditRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(INSERT)?;
    statement.execute(rusqlite::params![
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
    ])?;
    Ok(())
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let outcome: String = row.get(13)?;
    let outcome = Outcome::from_word(&outcome).ok_or_else(|| {
        let reason = format!("`{outcome}` is no outcome");
        rusqlite::Error::FromSqlConversionFailure(13, rusqlite::types::Type::Text, reason.into())
    })?;
    let count = |column| {
        row.get::<_, i64>(column)
            .map(|number| u64::try_from(number).unwrap_or_default())
    };
    Ok(Recorded {
        seq: row.get(19)?,
        row: AuditRow {
            at_us: row.get(0)?,
            call_id: row.get(1)?,
            principal: row.get(2)?,
            credential: row.get(3)?,
            client: row.get(4)?,
            transport: row.get::<_, String>(5)?.into(),
            revision: row.get::<_, String>(6)?.into(),
            method: row.get::<_, String>(7)?.into(),
            upstream: row.get(8)?,
            entry: row.get(9)?,
            arguments_digest: row.get(10)?,
            decision: row.get::<_, String>(11)?.into(),
            rule: row.get(12)?,
            server: row.get(20)?,
            definition: row.get(21)?,
            consent: row.get(22)?,
            screened: row.get(23)?,
            outcome,
            code: row.get(14)?,
            reason: row.get(15)?,
            duration_us: count(16)?,
            bytes_in: count(17)?,
            bytes_out: count(18)?,
        },
    })
}

fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        text.truncate(end);
        text.shrink_to_fit();
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
