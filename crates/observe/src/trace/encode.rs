//! Spans as OTLP has them: one protobuf message for a batch (OTLP 1.x, "OTLP/HTTP", binary encoding).

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as Sent, Status, status,
};
use prost::Message as _;
use wire::trace::Parent;

use super::span::{Attribute, Span, Value};
use crate::otlp;

/// OTLP, `SpanFlags`: bits of the W3C flags, and whether the span above is in another process.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The body of a request to the collector.
pub(super) fn request(spans: &[Span], resource: &[(String, String)], version: &str) -> Vec<u8> {
    let message = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(otlp::resource(resource, version)),
            scope_spans: vec![ScopeSpans {
                scope: Some(otlp::scope(version)),
                spans: spans.iter().map(sent).collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    message.encode_to_vec()
}

/// How many spans the collector did not take, and why.
pub(super) fn read(answer: &[u8]) -> Result<otlp::Said, prost::DecodeError> {
    let answer = ExportTraceServiceResponse::decode(answer)?;
    let said = answer.partial_success.map(|partial| otlp::Said {
        rejected: partial.rejected_spans,
        message: partial.error_message,
    });
    Ok(said.unwrap_or_default())
}

fn sent(span: &Span) -> Sent {
    let code = if span.is_error {
        status::StatusCode::Error
    } else {
        status::StatusCode::Unset
    };
    let remote = if span.above.is_some() { IS_REMOTE } else { 0 };
    Sent {
        trace_id: span.here.trace.bytes().to_vec(),
        span_id: span.here.span.bytes().to_vec(),
        trace_state: span.state.clone().unwrap_or_default(),
        parent_span_id: span
            .above
            .map_or_else(Vec::new, |above| above.bytes().to_vec()),
        flags: flags(span.here) | HAS_IS_REMOTE | remote,
        name: span.name.clone(),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: span.began_ns,
        end_time_unix_nano: span.ended_ns,
        attributes: span.attributes.iter().map(said).collect(),
        events: span
            .stages
            .iter()
            .map(|(stage, at_ns, spent_us)| Event {
                time_unix_nano: *at_ns,
                name: stage.as_str().to_owned(),
                attributes: vec![said(&(Attribute::StageDuration, Value::Count(*spent_us)))],
                dropped_attributes_count: 0,
            })
            .collect(),
        links: span
            .link
            .iter()
            .map(|link| Link {
                trace_id: link.trace.bytes().to_vec(),
                span_id: link.span.bytes().to_vec(),
                flags: flags(*link) | HAS_IS_REMOTE | IS_REMOTE,
                ..Link::default()
            })
            .collect(),
        status: Some(Status {
            message: String::new(),
            code: code.into(),
        }),
        ..Sent::default()
    }
}

fn flags(parent: Parent) -> u32 {
    u32::from(parent.is_sampled) | u32::from(parent.is_random) << 1
}

fn said((attribute, value): &(Attribute, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.clone()),
        Value::Count(count) => {
            any_value::Value::IntValue(i64::try_from(*count).unwrap_or(i64::MAX))
        }
    };
    otlp::pair(attribute.about().name, value)
}
