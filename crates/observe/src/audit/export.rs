//! The log as a file that proves itself: one JSON object per line, each exactly as this writes it.
//!
//! ```text
//! {"chain":"…","from":0,"log":"gate.example/audit","roots":[],"to":2,"version":1}
//! {"chain":"…","personal":{…},"record":{…},"salt":"…","signed":false}
//! {"chain":"…","personal":null,"record":{…},"salt":null,"signed":true}
//! {"checkpoint":"gate.example/audit\n2\n…"}
//! ```
//!
//! The first line says where the file begins and ends: the chain's value and the tree's perfect subtrees in front of its
//! first record. `record` is the leaf of the tree. `personal` was erased where it is `null`; `record` holds a salted hash
//! over it. Where `signed`, a checkpoint over all up to this record is the next line.

use std::io::{self, Write};

use policy::canonical::canonical;
use serde_json::{Value, json};
use store::Store;
use store::audit::merkle::Hash;
use store::audit::text::hex;
use store::audit::{Entry, LogState};

/// Of this form.
pub(super) const VERSION: u64 = 1;
/// Records read at once.
const BATCH: u32 = 1000;

/// Why there is no export, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error("cannot read the audit log")]
    Store(#[from] store::Error),
    /// What was written cannot be.
    #[error("cannot write the export")]
    Io(#[from] io::Error),
    /// It is not there any more, or not yet.
    #[error("the audit log has the records {first} to {last}, not those from {from} to {to}")]
    NoSuch {
        /// The first that was asked for.
        from: u64,
        /// The one after the last that was asked for.
        to: u64,
        /// The first that is there.
        first: u64,
        /// The one after the last that is there.
        last: u64,
    },
}

/// Writes the records from place `from` up to `to`, with the checkpoints over them, and how many there were. `to` is cut
/// off at the log's end.
///
/// # Errors
/// If it cannot be read or written, or begins behind the log's end.
pub fn export(
    store: &Store,
    log: &str,
    from: u64,
    to: u64,
    out: &mut impl Write,
) -> Result<u64, ExportError> {
    let size = store.audit_log()?.tree.size();
    let to = to.min(size);
    let no_such = |from| -> Result<ExportError, store::Error> {
        Ok(ExportError::NoSuch {
            from,
            to,
            first: store.audit_first()?,
            last: size,
        })
    };
    let Some(before) = store.audit_log_at(from)?.filter(|_| from <= to) else {
        return Err(no_such(from)?);
    };
    writeln!(out, "{}", head(log, &before, to))?;
    let mut checkpoints = store.audit_checkpoints(from, to)?.into_iter().peekable();
    let mut next = from;
    while next < to {
        let entries = store.audit_entries(next, BATCH)?;
        // The front may be taken off meanwhile: then the next one there is another.
        let is_next = entries.first().is_some_and(|first| first.place == next);
        let wanted = entries
            .iter()
            .take_while(|entry| is_next && entry.place < to);
        let mut count = 0;
        for entry in wanted {
            let checkpoint = checkpoints.next_if(|(size, _)| *size == entry.place + 1);
            writeln!(out, "{}", line(entry, checkpoint.is_some()))?;
            count += 1;
            if let Some((_, note)) = checkpoint {
                writeln!(out, "{}", noted(&note))?;
            }
        }
        if count == 0 {
            return Err(no_such(next)?);
        }
        next += count;
    }
    Ok(to - from)
}

pub(super) fn head(log: &str, before: &LogState, to: u64) -> String {
    let roots: Vec<String> = before.tree.roots().iter().map(|root| hex(root)).collect();
    canonical(&json!({
        "chain": hex(&before.chain),
        "from": before.tree.size(),
        "log": log,
        "roots": roots,
        "to": to,
        "version": VERSION,
    }))
}

fn line(entry: &Entry, is_signed: bool) -> String {
    let (salt, personal) = match &entry.personal {
        Some((salt, personal)) => (format!("\"{}\"", hex(salt)), personal.as_str()),
        None => ("null".to_owned(), "null"),
    };
    record_line(&entry.chain, personal, &entry.record, &salt, is_signed)
}

/// A record's line, of JSON texts.
pub(super) fn record_line(
    chain: &Hash,
    personal: &str,
    record: &str,
    salt: &str,
    is_signed: bool,
) -> String {
    format!(
        "{{\"chain\":\"{}\",\"personal\":{personal},\"record\":{record},\"salt\":{salt},\"signed\":{is_signed}}}",
        hex(chain)
    )
}

pub(super) fn noted(note: &str) -> String {
    canonical(&Value::from_iter([("checkpoint", note)]))
}
