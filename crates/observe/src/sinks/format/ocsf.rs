//! The Open Cybersecurity Schema Framework, version 1.5.0, class API Activity (6003):
//! <https://schema.ocsf.io/1.5.0/classes/api_activity>.
//!
//! | attribute | from |
//! |---|---|
//! | `class_uid`, `category_uid` | always 6003 and 6 (Application Activity) |
//! | `activity_id`, `activity_name`, `type_uid` | `method`: 2 (Read) of what reads, 99 (Other) with the method's name of all else |
//! | `severity_id` | `outcome`: 1 (Informational) of what went well, 2 (Low) of a tool's failure and what the client gave up, 3 (Medium) of all else |
//! | `time`, `start_time` | `at`, in milliseconds |
//! | `end_time`, `duration` | `at` and `duration_us`, in milliseconds |
//! | `status_id`, `status` | `outcome`: 1 (Success), 2 (Failure), 0 (Unknown) |
//! | `status_code` | `code` |
//! | `status_detail` | `reason` |
//! | `message` | a sentence |
//! | `metadata.uid` | the log's name, `seq`, `call_id` and `outcome`: the same each time that a record is sent |
//! | `metadata.sequence` | `seq` |
//! | `metadata.correlation_uid` | `trace_id`, else `call_id` |
//! | `metadata.log_name`, `metadata.product` | the log's name; this program |
//! | `actor.user.name`, `actor.user.credential_uid` | `principal`, `credential` |
//! | `actor.app_name`, `actor.app_uid` | `client`, `actor` |
//! | `src_endpoint.ip` | `address` |
//! | `src_endpoint.svc_name` | `client`, else `transport`: the class wants to know where from |
//! | `api.operation`, `api.request.uid` | `method`, `call_id` |
//! | `api.service.name` | `upstream`, else `portcullis` |
//! | `api.version` | `revision` |
//! | `api.response.code`, `api.response.error_message` | `code`, `reason`; of what has a `code` |
//! | `resources` | `entry`, with `method` as its type |
//! | `unmapped` | all else, under its own name, and `rule` |

use serde_json::{Value, json};
use store::{Outcome, Recorded};

use super::{Source, compact, end, ip, rest, success, summary, timestamp};

const VERSION: &str = "1.5.0";
/// Application Activity.
const CATEGORY: u32 = 6;
/// API Activity.
const CLASS: u32 = 6003;

/// A record as an API Activity.
pub(in crate::sinks) fn ocsf(record: &Recorded, source: &Source) -> Value {
    let Recorded { seq, row } = record;
    let (activity, activity_name) = activity(&row.method);
    let (status, status_name) = match success(row.outcome) {
        Some(true) => (1, "Success"),
        Some(false) => (2, "Failure"),
        None => (0, "Unknown"),
    };
    let client = Some(row.client.as_str()).filter(|client| !client.is_empty());
    let response = row.code.map(|code| {
        json!({
            "code": code,
            "error_message": row.reason,
        })
    });
    let resources = row
        .entry
        .as_ref()
        .map(|entry| json!([{ "name": entry, "type": row.method }]));
    let mut unmapped = rest(row);
    unmapped["rule"] = row.rule.as_deref().into();
    unmapped["call_id"] = row.call_id.as_str().into();
    compact(json!({
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": CLASS * 100 + activity,
        "severity_id": severity(row.outcome),
        "time": timestamp(row.at_us).as_millisecond(),
        "start_time": timestamp(row.at_us).as_millisecond(),
        "end_time": end(row).as_millisecond(),
        "duration": row.duration_us / 1000,
        "status_id": status,
        "status": status_name,
        "status_code": row.code.map(|code| code.to_string()),
        "status_detail": row.reason,
        "message": summary(row),
        "metadata": {
            "version": VERSION,
            "uid": source.id(record),
            "sequence": seq,
            "correlation_uid": row.trace_id.as_ref().unwrap_or(&row.call_id),
            "log_name": source.log,
            "log_provider": source.host,
            "product": {
                "name": "Portcullis",
                "vendor_name": "Portcullis",
                "version": source.version,
            },
        },
        "actor": {
            "user": { "name": row.principal, "credential_uid": row.credential },
            "app_name": client,
            "app_uid": row.actor,
        },
        "src_endpoint": { "ip": ip(row), "svc_name": client.unwrap_or(&row.transport) },
        "api": {
            "operation": row.method,
            "version": row.revision,
            "service": { "name": row.upstream.as_deref().unwrap_or("portcullis") },
            "request": { "uid": row.call_id },
            "response": response,
        },
        "resources": resources,
        "unmapped": unmapped,
    }))
}

/// What was done, in the words of the class.
fn activity(method: &str) -> (u32, &str) {
    const READS: [&str; 4] = ["/list", "/read", "/get", ".list"];
    if READS.iter().any(|read| method.ends_with(read)) {
        (2, "Read")
    } else {
        (99, method)
    }
}

fn severity(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Ok | Outcome::Pending => 1,
        Outcome::ToolError | Outcome::Cancelled => 2,
        Outcome::Refused | Outcome::Failed | Outcome::Unknown => 3,
    }
}
