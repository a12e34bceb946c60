//! What a record looks like elsewhere: a pure function from a row to JSON for each form.
//!
//! What a row does not have is left out, not `null`, but in our own form, whose members are always the same.

mod ecs;
mod ocsf;
#[cfg(test)]
pub(super) mod tests;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use store::{AuditRow, Outcome, Recorded};

pub(super) use ecs::ecs;
pub(super) use ocsf::ocsf;

/// Why `write!` to a String is not looked at.
pub(super) const IN_STRING: &str = "writing to a String cannot fail";

/// The form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As `portcullis audit search --json` prints it.
    Native,
    /// Elastic Common Schema.
    Ecs,
    /// Open Cybersecurity Schema Framework, API Activity.
    Ocsf,
}

/// Where records come from: the same for all of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The audit log's name, as checkpoints have it: with a record's number it names the record anywhere.
    pub log: String,
    /// Of this program.
    pub version: &'static str,
    /// The machine's name; `None` if it has none.
    pub host: Option<String>,
}

impl Format {
    /// The record in this form.
    #[must_use]
    pub fn value(self, record: &Recorded, source: &Source) -> Value {
        match self {
            Self::Native => native(record),
            Self::Ecs => ecs(record, source),
            Self::Ocsf => ocsf(record, source),
        }
    }
}

impl Source {
    /// What names a record among those of all logs. A log that was restored from a backup gives numbers a second time,
    /// and the call that was under way then ends a second time: so its id and how it ended are part of it.
    pub(super) fn id(&self, Recorded { seq, row }: &Recorded) -> String {
        let outcome = row.outcome.as_str();
        format!("{}/{seq}/{}/{outcome}", self.log, row.call_id)
    }
}

/// A record in our own form: every column under its name, the moment as RFC 3339 in UTC.
#[must_use]
pub fn native(Recorded { seq, row }: &Recorded) -> Value {
    json!({
        "seq": seq,
        "at": timestamp(row.at_us).to_string(),
        "call_id": row.call_id,
        "principal": row.principal,
        "credential": row.credential,
        "client": row.client,
        "transport": row.transport,
        "revision": row.revision,
        "method": row.method,
        "upstream": row.upstream,
        "entry": row.entry,
        "arguments_digest": row.arguments_digest,
        "decision": row.decision,
        "rule": row.rule,
        "server": row.server,
        "definition": row.definition,
        "consent": row.consent,
        "screened": row.screened,
        "trace_id": row.trace_id,
        "arguments": row.arguments,
        "address": row.address,
        "actor": row.actor,
        "subject": row.subject,
        "outcome": row.outcome.as_str(),
        "code": row.code,
        "reason": row.reason,
        "duration_us": row.duration_us,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
    })
}

/// A sentence for people: who asked for what, and how it ended. Control characters are replaced.
pub(super) fn summary(row: &AuditRow) -> String {
    let mut text = format!("{} {}", row.principal, row.method);
    if let Some(entry) = &row.entry {
        write!(text, " {entry}").expect(IN_STRING);
    }
    write!(text, ": {}", row.outcome.as_str()).expect(IN_STRING);
    if let Some(reason) = &row.reason {
        write!(text, " ({reason})").expect(IN_STRING);
    }
    text.replace(char::is_control, " ")
}

/// When a call came in.
pub(super) fn timestamp(at_us: i64) -> Timestamp {
    Timestamp::from_microsecond(at_us).unwrap_or_default()
}

/// When it was over; of a call that is not, when it was written down.
pub(super) fn end(row: &AuditRow) -> Timestamp {
    let took = i64::try_from(row.duration_us).unwrap_or(i64::MAX);
    timestamp(row.at_us.saturating_add(took))
}

pub(super) fn duration(row: &AuditRow) -> Duration {
    Duration::from_micros(row.duration_us)
}

/// Whether it went well, if that can be said.
pub(super) fn success(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Ok => Some(true),
        Outcome::ToolError | Outcome::Refused | Outcome::Failed | Outcome::Cancelled => Some(false),
        Outcome::Pending | Outcome::Unknown => None,
    }
}

/// What of a row no form has a place for, under the names that it has here.
pub(super) fn rest(row: &AuditRow) -> Value {
    json!({
        "actor": row.actor,
        "arguments": row.arguments,
        "arguments_digest": row.arguments_digest,
        "bytes_in": row.bytes_in,
        "bytes_out": row.bytes_out,
        "consent": row.consent,
        "credential": row.credential,
        "decision": row.decision,
        "definition": row.definition,
        "entry": row.entry,
        "outcome": row.outcome.as_str(),
        "revision": row.revision,
        "screened": row.screened,
        "server": row.server,
        "subject": row.subject,
        "transport": row.transport,
        "upstream": row.upstream,
    })
}

/// Where the call came from, if that is an address as such fields take it.
pub(super) fn ip(row: &AuditRow) -> Option<String> {
    let address = row.address.as_deref()?;
    Some(address.parse::<IpAddr>().ok()?.to_string())
}

/// Without members that say nothing.
pub(super) fn compact(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let members = members.into_iter().filter_map(|(name, value)| {
        let value = compact(value);
        let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        (!is_empty).then_some((name, value))
    });
    Value::Object(members.collect())
}
