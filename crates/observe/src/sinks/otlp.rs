//! OpenTelemetry's logs as protobuf: <https://opentelemetry.io/docs/specs/otlp/> and its data model for logs.
//!
//! The messages are made here rather than by OpenTelemetry's SDK: the SDK drops what it cannot send, and does not say what
//! became of a batch.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use store::{Outcome, Recorded};

use super::SinkError;
use super::format::{Source, end, summary};
use super::http::Taken;

/// What each of these records is.
const EVENT: &str = "portcullis.audit";
/// Bytes of a trace's id.
const TRACE_ID_LEN: usize = 16;

/// The request for a batch.
pub(super) fn request(records: &[Recorded], source: &Source) -> Bytes {
    let mut resource = vec![
        text("service.name", "portcullis"),
        text("service.version", source.version),
        text("portcullis.log", &source.log),
    ];
    resource.extend(source.host.as_deref().map(|host| text("host.name", host)));
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource {
                attributes: resource,
                ..Resource::default()
            }),
            scope_logs: vec![ScopeLogs {
                scope: Some(InstrumentationScope {
                    name: EVENT.to_owned(),
                    version: source.version.to_owned(),
                    ..InstrumentationScope::default()
                }),
                log_records: records.iter().map(|one| record(one, source)).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec().into()
}

/// What the receiver says of a batch that it answered with success. What it refused must not be sent again.
pub(super) fn answer(sent: usize, bytes: &[u8]) -> Result<Taken, SinkError> {
    let answer = ExportLogsServiceResponse::decode(bytes).map_err(|_other| SinkError::Answer)?;
    let refused = answer
        .partial_success
        .map_or(0, |partly| partly.rejected_log_records.max(0));
    let refused = usize::try_from(refused).unwrap_or(usize::MAX).min(sent);
    // If it takes none at all, that is more likely to lie in how it is set up than in each record.
    if refused > 0 && refused == sent {
        return Err(SinkError::Refused {
            records: sent,
            why: None,
        });
    }
    Ok(Taken {
        refused,
        ..Taken::default()
    })
}

fn record(record: &Recorded, source: &Source) -> LogRecord {
    let row = &record.row;
    let (severity, severity_text) = severity(row.outcome);
    let trace_id = row.trace_id.as_deref().and_then(bytes_of);
    LogRecord {
        time_unix_nano: nanos(row.at_us),
        observed_time_unix_nano: nanos(end(row).as_microsecond()),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(summary(row))),
        }),
        attributes: attributes(record, source),
        trace_id: trace_id.unwrap_or_default(),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}

/// What the semantic conventions have a name for has that, all else stands under ours.
fn attributes(record: &Recorded, source: &Source) -> Vec<KeyValue> {
    let Recorded { seq, row } = record;
    let numbers = [
        ("portcullis.seq", Some(*seq)),
        ("rpc.jsonrpc.error_code", row.code),
        (
            "portcullis.duration_us",
            i64::try_from(row.duration_us).ok(),
        ),
        ("portcullis.bytes_in", i64::try_from(row.bytes_in).ok()),
        ("portcullis.bytes_out", i64::try_from(row.bytes_out).ok()),
    ];
    let id = source.id(record);
    let texts = [
        ("log.record.uid", Some(id.as_str())),
        ("mcp.method.name", Some(&*row.method)),
        ("mcp.protocol.version", Some(&*row.revision)),
        ("user.name", Some(&row.principal)),
        ("user_agent.original", Some(&row.client)),
        ("portcullis.call_id", Some(&row.call_id)),
        ("portcullis.credential", Some(&row.credential)),
        ("portcullis.transport", Some(&*row.transport)),
        ("portcullis.upstream", row.upstream.as_deref()),
        ("portcullis.entry", row.entry.as_deref()),
        ("portcullis.arguments", row.arguments.as_deref()),
        (
            "portcullis.arguments_digest",
            row.arguments_digest.as_deref(),
        ),
        ("portcullis.decision", Some(&*row.decision)),
        ("portcullis.rule", row.rule.as_deref()),
        ("portcullis.server", row.server.as_deref()),
        ("portcullis.definition", row.definition.as_deref()),
        ("portcullis.consent", row.consent.as_deref()),
        ("portcullis.screened", row.screened.as_deref()),
        ("client.address", row.address.as_deref()),
        ("portcullis.actor", row.actor.as_deref()),
        ("portcullis.subject", row.subject.as_deref()),
        ("portcullis.outcome", Some(row.outcome.as_str())),
        ("portcullis.reason", row.reason.as_deref()),
    ];
    let numbers = numbers
        .into_iter()
        .filter_map(|(name, value)| Some(attribute(name, Value::IntValue(value?))));
    let texts = texts
        .into_iter()
        .filter_map(|(name, value)| Some(text(name, value.filter(|text| !text.is_empty())?)));
    texts.chain(numbers).collect()
}

fn severity(outcome: Outcome) -> (SeverityNumber, &'static str) {
    match outcome {
        Outcome::Ok | Outcome::Pending => (SeverityNumber::Info, "INFO"),
        Outcome::ToolError | Outcome::Refused | Outcome::Cancelled => {
            (SeverityNumber::Warn, "WARN")
        }
        Outcome::Failed | Outcome::Unknown => (SeverityNumber::Error, "ERROR"),
    }
}

fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Value::StringValue(value.to_owned()))
}

fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros)
        .unwrap_or_default()
        .saturating_mul(1000)
}

/// A trace's id, of its hexadecimal digits.
fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits?
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect::<Option<Vec<u8>>>()?;
    (bytes.len() == TRACE_ID_LEN).then_some(bytes)
}

#[cfg(test)]
mod tests;
