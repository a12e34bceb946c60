//! How records stood before schema 18, each in a row of its own: moved into segments.

use tracing::info;

use super::segment::{BLOCK, Seal, Segment};
use super::{AuditRow, Outcome};
use crate::db::{self, Connection, Failure, Row, values};

/// Rows that are read at once.
const TOGETHER: u32 = 256;
/// After how many it is told how far it is.
const TOLD_EACH: u64 = 1_000_000;

const SELECT: &str = "SELECT at_us, call_id, principal, credential, client, transport, revision, method, upstream, entry,
        arguments_digest, decision, rule, outcome, code, reason, duration_us, bytes_in, bytes_out, seq,
        server, definition, consent, screened, trace_id, arguments,
        salt, commitment, chain, address, actor, subject
    FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";

/// Moves all records into segments, and takes away the table that they were in.
pub(crate) fn into_segments(connection: &Connection) -> db::Result<()> {
    let base: i64 = connection.only("SELECT base FROM audit_head", &[], |row| row.get(0))?;
    let (mut last, mut moved, mut told) = (i64::MIN, 0_u64, TOLD_EACH);
    loop {
        let rows = connection.all(SELECT, values![last, TOGETHER], |row| {
            let (seq, written) = recorded(row)?;
            Ok((seq, seal(row)?, written))
        })?;
        let Some((end, ..)) = rows.last() else { break };
        last = *end;
        let mut segment: Option<(i64, Segment<'_>)> = None;
        for (seq, seal, row) in &rows {
            // A place in the tree; those from before it have one below its first.
            let begins = (seq - base - 1).rem_euclid(BLOCK) == 0;
            let is_whole =
                |(next, open): &mut (i64, Segment<'_>)| begins || next != seq || open.is_full();
            if let Some((_, mut whole)) = segment.take_if(is_whole) {
                whole.keep(connection)?;
            }
            let (next, open) = segment.get_or_insert_with(|| (*seq, Segment::begin(*seq)));
            open.push(seal, &row.fields());
            *next += 1;
        }
        if let Some((_, mut whole)) = segment {
            whole.keep(connection)?;
        }
        connection.settle()?;
        moved += rows.len() as u64;
        if moved >= told {
            info!(moved, "moving the audit log into segments");
            told += TOLD_EACH;
        }
    }
    connection.batch("DROP TABLE audit")
}

fn seal(row: &Row<'_>) -> db::Result<Seal> {
    let chain = row.get::<Option<_>>(28)?;
    Ok(match (row.get(26)?, row.get(27)?, chain) {
        (Some(salt), _, Some(chain)) => Seal::Salted { salt, chain },
        (None, Some(commitment), Some(chain)) => Seal::Erased { commitment, chain },
        _ => Seal::Unchained,
    })
}

fn recorded(row: &Row<'_>) -> db::Result<(i64, AuditRow)> {
    let outcome: String = row.get(13)?;
    let outcome = Outcome::from_word(&outcome)
        .ok_or_else(|| Failure::column(13, format_args!("`{outcome}` is no outcome")))?;
    let count = |column| {
        row.get::<i64>(column)
            .map(|number| u64::try_from(number).unwrap_or_default())
    };
    Ok((
        row.get(19)?,
        AuditRow {
            at_us: row.get(0)?,
            call_id: row.get(1)?,
            principal: row.get(2)?,
            credential: row.get(3)?,
            client: row.get(4)?,
            transport: row.get::<String>(5)?.into(),
            revision: row.get::<String>(6)?.into(),
            method: row.get::<String>(7)?.into(),
            upstream: row.get(8)?,
            entry: row.get(9)?,
            arguments_digest: row.get(10)?,
            decision: row.get::<String>(11)?.into(),
            rule: row.get(12)?,
            server: row.get(20)?,
            definition: row.get(21)?,
            consent: row.get(22)?,
            screened: row.get(23)?,
            trace_id: row.get(24)?,
            arguments: row.get(25)?,
            address: row.get(29)?,
            actor: row.get(30)?,
            subject: row.get(31)?,
            outcome,
            code: row.get(14)?,
            reason: row.get(15)?,
            duration_us: count(16)?,
            bytes_in: count(17)?,
            bytes_out: count(18)?,
        },
    ))
}

#[cfg(test)]
mod tests;
