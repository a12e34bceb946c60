//! Batches over HTTP: one request for each, and what its answer says of it.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use store::Recorded;

use super::format::Source;
use super::otlp;
use super::{Format, HttpProtocol, HttpSettings, SinkError};
use crate::otlp::retry_after;

/// How long the head of an answer, and its rest, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer that is read: Elasticsearch says something of each record.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Longest that a receiver can have itself left alone.
const AFTER_MAX: Duration = Duration::from_secs(300);
const LINES: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// Records that a receiver took from among those that it was sent, and those it will never take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Taken {
    /// How many were refused for what is in them.
    pub(super) refused: usize,
    /// The numbers of those, if the receiver said which.
    pub(super) which: Vec<i64>,
    /// The kind of reason for the first, one of the receiver's words.
    pub(super) why: Option<String>,
}

/// A server that takes batches.
pub(super) struct Poster {
    settings: HttpSettings,
    client: net::Client,
}

impl Poster {
    pub(super) fn new(settings: HttpSettings, client: &net::Client) -> Self {
        Self {
            client: match &settings.tls {
                Some(tls) => client.with_tls(tls.clone()),
                None => client.clone(),
            },
            settings,
        }
    }

    /// Posts a batch, and reads what became of it.
    pub(super) async fn post(
        &self,
        records: &[Recorded],
        source: &Source,
    ) -> Result<Taken, SinkError> {
        let (body, content_type) = self.body(records, source);
        let mut headers = self.settings.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        let request = net::Request {
            method: Method::POST,
            url: self.settings.url.clone(),
            headers,
            body,
            reach: net::Reach::Operator,
            timeout: ANSWER_TIMEOUT,
        };
        let mut response = self.client.send(request).await?;
        let answer = response.body.read_to_end(ANSWER_BYTES_MAX, ANSWER_TIMEOUT);
        let answer = answer.await?;
        if !response.status.is_success() {
            return Err(self.refusal(response.status, &response.headers, &answer));
        }
        match &self.settings.protocol {
            HttpProtocol::SplunkHec { .. } => splunk(response.status, &answer),
            HttpProtocol::ElasticBulk { .. } => elastic(records, &answer),
            HttpProtocol::Lines { .. } => Ok(Taken::default()),
            HttpProtocol::OtlpLogs => otlp::answer(records.len(), &answer),
        }
    }

    fn body(&self, records: &[Recorded], source: &Source) -> (Bytes, &'static str) {
        let lines = |line: &dyn Fn(&Recorded) -> String| -> Bytes {
            records.iter().map(line).collect::<String>().into()
        };
        match &self.settings.protocol {
            HttpProtocol::SplunkHec { format, index } => {
                let event = |record: &Recorded| {
                    let event = event(record, source, *format, index.as_deref());
                    format!("{event}\n")
                };
                (lines(&event), JSON)
            }
            HttpProtocol::ElasticBulk { format } => {
                let document = |record: &Recorded| {
                    let act = json!({ "create": { "_id": source.id(record) } });
                    format!("{act}\n{}\n", format.value(record, source))
                };
                (lines(&document), LINES)
            }
            HttpProtocol::Lines { format } => {
                let line = |record: &Recorded| format!("{}\n", format.value(record, source));
                (lines(&line), LINES)
            }
            HttpProtocol::OtlpLogs => (otlp::request(records, source), "application/x-protobuf"),
        }
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, answer: &[u8]) -> SinkError {
        let code = match &self.settings.protocol {
            HttpProtocol::SplunkHec { .. } => serde_json::from_slice::<SplunkAnswer>(answer)
                .ok()
                .map(|answer| answer.code),
            HttpProtocol::ElasticBulk { .. }
            | HttpProtocol::Lines { .. }
            | HttpProtocol::OtlpLogs => None,
        };
        SinkError::Status {
            status: status.as_u16(),
            code,
            after: retry_after(headers, AFTER_MAX),
        }
    }
}

/// An event of Splunk's HTTP Event Collector; `time` in seconds since 1970.
fn event(record: &Recorded, source: &Source, format: Format, index: Option<&str>) -> Value {
    let micros = record.row.at_us;
    // Of a double's 53 bits, these need 51.
    let at = micros as f64 / 1e6;
    let mut event = json!({
        "time": at,
        "source": source.log,
        "sourcetype": "portcullis:audit",
        "event": format.value(record, source),
    });
    if let Some(host) = &source.host {
        event["host"] = host.as_str().into();
    }
    if let Some(index) = index {
        event["index"] = index.into();
    }
    event
}

#[derive(Deserialize)]
struct SplunkAnswer {
    code: i64,
}

fn splunk(status: StatusCode, answer: &[u8]) -> Result<Taken, SinkError> {
    let answer: SplunkAnswer =
        serde_json::from_slice(answer).map_err(|_other| SinkError::Answer)?;
    if answer.code == 0 {
        return Ok(Taken::default());
    }
    Err(SinkError::Status {
        status: status.as_u16(),
        code: Some(answer.code),
        after: None,
    })
}

#[derive(Deserialize)]
struct BulkAnswer {
    errors: bool,
    #[serde(default)]
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
struct BulkItem {
    create: BulkOutcome,
}

#[derive(Deserialize)]
struct BulkOutcome {
    status: u16,
    error: Option<BulkError>,
}

#[derive(Deserialize)]
struct BulkError {
    #[serde(rename = "type")]
    kind: String,
}

/// What the bulk API says of each record, in their order. One that is there already was sent before: all is well.
fn elastic(records: &[Recorded], answer: &[u8]) -> Result<Taken, SinkError> {
    let answer: BulkAnswer = serde_json::from_slice(answer).map_err(|_other| SinkError::Answer)?;
    if !answer.errors {
        return Ok(Taken::default());
    }
    if answer.items.len() != records.len() {
        return Err(SinkError::Answer);
    }
    let mut taken = Taken::default();
    for (record, item) in records.iter().zip(answer.items) {
        let BulkOutcome { status, error } = item.create;
        match status {
            200..=299 | 409 => {}
            // Of the cluster's making: all are sent again, and what it has by now it will know.
            429 | 500.. => {
                return Err(SinkError::Status {
                    status,
                    code: None,
                    after: None,
                });
            }
            _ => {
                taken.refused += 1;
                taken.which.push(record.seq);
                taken.why = taken.why.or_else(|| error.map(|error| word(&error.kind)));
            }
        }
    }
    // If it takes none at all, that is more likely to lie in how it is set up than in each record.
    if taken.refused == records.len() {
        return Err(SinkError::Refused {
            records: taken.refused,
            why: taken.why,
        });
    }
    Ok(taken)
}

/// A word such as `mapper_parsing_exception`, and nothing that could be more than a word.
fn word(kind: &str) -> String {
    let is_of_word = |char: &char| char.is_ascii_alphanumeric() || *char == '_';
    kind.chars().filter(is_of_word).take(64).collect()
}

#[cfg(test)]
mod tests;
