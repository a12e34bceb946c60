//! The Elastic Common Schema, version 8.17: <https://www.elastic.co/docs/reference/ecs>.
//!
//! | field | from |
//! |---|---|
//! | `@timestamp`, `event.start` | `at` |
//! | `event.end` | `at` and `duration_us` |
//! | `event.duration` | `duration_us`, in nanoseconds |
//! | `event.kind` | always `event` |
//! | `event.category` | always `api` |
//! | `event.type` | `access`; `start` of what is pending, `end` of all else; `allowed` or `denied` from `decision` and `outcome`; `admin` of what administers |
//! | `event.outcome` | `outcome`: `success`, `failure`, or `unknown` |
//! | `event.action` | `method` |
//! | `event.id` | the log's name, `seq`, `call_id` and `outcome`: the same each time that a record is sent |
//! | `event.sequence` | `seq` |
//! | `event.code` | `code` |
//! | `event.reason` | `reason` |
//! | `event.module`, `event.provider`, `event.dataset` | always `portcullis`, `portcullis`, `portcullis.audit` |
//! | `user.name` | `principal` |
//! | `user.target.name` | `subject` |
//! | `source.address`, `source.ip` | `address` |
//! | `user_agent.original` | `client` |
//! | `rule.name` | `rule` |
//! | `trace.id` | `trace_id` |
//! | `transaction.id` | `call_id`, which a call's two records have in common |
//! | `service.*`, `host.name` | the gate |
//! | `message` | a sentence |
//! | `portcullis.*` | all else, under its own name |

use serde_json::{Value, json};
use store::{AuditRow, Outcome, Recorded};

use super::{Source, compact, duration, end, ip, rest, success, summary, timestamp};

const VERSION: &str = "8.17.0";

/// A record as an ECS event.
pub(in crate::sinks) fn ecs(record: &Recorded, source: &Source) -> Value {
    let Recorded { seq, row } = record;
    let outcome = match success(row.outcome) {
        Some(true) => "success",
        Some(false) => "failure",
        None => "unknown",
    };
    let took = u64::try_from(duration(row).as_nanos()).unwrap_or(u64::MAX);
    compact(json!({
        "@timestamp": timestamp(row.at_us).to_string(),
        "ecs": { "version": VERSION },
        "message": summary(row),
        "event": {
            "kind": "event",
            "category": ["api"],
            "type": types(row),
            "outcome": outcome,
            "action": row.method,
            "id": source.id(record),
            "sequence": seq,
            "code": row.code.map(|code| code.to_string()),
            "reason": row.reason,
            "start": timestamp(row.at_us).to_string(),
            "end": end(row).to_string(),
            "duration": took,
            "module": "portcullis",
            "provider": "portcullis",
            "dataset": "portcullis.audit",
        },
        "user": { "name": row.principal, "target": { "name": row.subject } },
        "source": { "address": row.address, "ip": ip(row) },
        "user_agent": { "original": some(&row.client) },
        "rule": { "name": row.rule },
        "trace": { "id": row.trace_id },
        "transaction": { "id": row.call_id },
        "service": {
            "name": "portcullis",
            "type": "portcullis",
            "version": source.version,
        },
        "host": { "name": source.host },
        "portcullis": rest(row),
    }))
}

/// Of those that the category `api` may have.
fn types(row: &AuditRow) -> Vec<&'static str> {
    let mut types = vec!["access"];
    if is_admin(&row.method) {
        types.push("admin");
    }
    types.push(match row.outcome {
        Outcome::Pending => "start",
        Outcome::Ok
        | Outcome::ToolError
        | Outcome::Refused
        | Outcome::Failed
        | Outcome::Cancelled
        | Outcome::Unknown => "end",
    });
    if row.outcome == Outcome::Refused {
        types.push("denied");
    } else if row.decision == "allow" {
        types.push("allowed");
    }
    types
}

/// Whether it changes or shows the gate itself, rather than using it.
fn is_admin(method: &str) -> bool {
    const AREAS: [&str; 4] = ["admin/", "config/", "gate/", "audit/"];
    AREAS.iter().any(|area| method.starts_with(area))
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
