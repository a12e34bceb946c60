//! Whether the arguments are what the entry takes; the last place where they may change.

use aws_lc_rs::digest::{SHA256, digest};
use policy::Schema;
use serde_json::Value;
use wire::json;
use wire::method::Subject;

use super::{Call, Yield, hex};
use crate::record::CallRecord;
use crate::{Rejection, translate};

/// Holds the arguments against the tool's schema. From 2025-11-25 on what does not fit is told as the tool's own
/// failure, so that the model reads it and repairs the call.
pub(super) fn validate(
    call: &mut Call<'_>,
    record: &mut CallRecord,
) -> Result<Option<Yield>, Rejection> {
    let arguments = call.params.arguments();
    if let Some(arguments) = &arguments {
        let digest = hex(digest(&SHA256, arguments).as_ref());
        record.note(|row| row.arguments_digest = Some(digest));
    }
    // Read strictly even without a schema: what two readers could understand differently is not passed on.
    call.arguments = json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
        .map_err(|error| Rejection::BadParams(format!("`arguments`: {error}")))?;
    let value = &call.arguments;
    if call.method.subject != Subject::Tool {
        return Ok(None);
    }
    if let Some(said) = &call.asked.mirrored
        && call.entry.is_faithful()
    {
        let look_up = |name: &str| {
            let mut found = said
                .iter()
                .filter(|(said, _)| said.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some((_, value)), None) => value.clone().map(Some),
                (Some(_), Some(_)) => Err(()),
            }
        };
        let disagrees = |name: &str| Rejection::HeaderMismatch(format!("Mcp-Param-{name}").into());
        call.entry
            .mirrored()
            .check(value, look_up)
            .map_err(disagrees)?;
    }
    let schema = call
        .entry
        .input_schema()
        .map_err(|reason| Rejection::BadSchema {
            tool: call.entry.key.clone(),
            reason,
        })?;
    let faults = schema.map(|schema| schema.check(value)).unwrap_or_default();
    if faults.is_empty() || schema.is_some_and(|schema| fits_without_nulls(schema, value.clone())) {
        return Ok(None);
    }
    let why = policy::schema::explain(&faults);
    if !call.asked.revision.tells_bad_arguments_to_the_model() {
        return Err(Rejection::BadArguments(why));
    }
    // What is wrong is for the model; the words of the client are not for the record.
    record.note(|row| row.reason = Some("arguments do not fit the schema".to_owned()));
    let text = json::string(&format!(
        "Invalid arguments for `{}`: {why}",
        call.entry.key
    ));
    let text = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
    let text = translate::result(call.asked.revision.era(), call.method, text.into());
    Ok(Some(Yield::Result {
        text,
        is_tool_error: true,
    }))
}

/// Whether arguments fit once `null` counts as "left out", as many clients write it. Sent on is what was written: what
/// the tool makes of it is its own affair.
fn fits_without_nulls(schema: &Schema, mut arguments: Value) -> bool {
    drop_nulls(&mut arguments) && schema.check(&arguments).is_empty()
}

/// Takes out members that are `null`; whether there was one.
fn drop_nulls(value: &mut Value) -> bool {
    let mut dropped = false;
    match value {
        Value::Object(members) => {
            let before = members.len();
            members.retain(|_, value| !value.is_null());
            dropped = members.len() < before;
            for value in members.values_mut() {
                dropped |= drop_nulls(value);
            }
        }
        Value::Array(items) => {
            for item in items {
                dropped |= drop_nulls(item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    dropped
}
