//! The way to a collector of OpenTelemetry's, over HTTP and in protobuf, and what all that goes there has in common: who
//! it comes from, and what an answer means.
//!
//! What is sent, and when it is tried again, is [`trace`](crate::trace)'s and [`metrics`](crate::metrics)'. The audit log
//! goes its own way, as one of its sinks: there an answer counts for each record.
//!
//! Sources: OTLP 1.x, "OTLP/HTTP" and "Failures".

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use policy::screen::shows_as_itself;
use prost::Message as _;
use url::Url;

/// What this gate is called by.
const SCOPE: &str = "portcullis";
/// How long the collector may take to answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The part of that time which is kept for what follows the head: one that stalls there has said the most by then.
const REST_PART: u32 = 4;
/// The longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;
/// Of an answer with success that OTLP has none like.
const FOREIGN: &str = "its answer is not a collector's: something else may be there";
/// The longest text of a collector's that is told on.
const WHY_CHARS_MAX: usize = 200;
/// No collector has itself left alone for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Tells gates of the same name apart; another one after each start.
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    // Keyed by the system's randomness.
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(0), random.hash_one(1))
});

/// Where a collector takes one kind of signal.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is posted, the path included.
    pub url: Url,
    /// What goes with it: credentials, mostly.
    pub headers: HeaderMap,
    /// What is said of this gate, besides its name and version.
    pub resource: Vec<(String, String)>,
}

// Headers hold credentials.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

/// What became of one try.
#[derive(Debug)]
pub(crate) enum Tried {
    Taken,
    /// So much of it is lost.
    Partly(u64, String),
    /// It may be taken later, and not before so long.
    Later(String, Option<Duration>),
    Never(String),
}

/// What the answer to a request says that went well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// How much it did not take.
    pub(crate) rejected: i64,
    /// Why; or, when nothing was rejected, what it would have us know.
    pub(crate) message: String,
}

/// What the answer to one that did not go well says: `google.rpc.Status`, as far as it is read.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
}

impl Endpoint {
    /// Whether the same collector is asked, as the same client.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.url == other.url && self.headers == other.headers
    }

    /// Posts one request, which is over within that time. `read` understands the answer to one that went well.
    pub(crate) async fn post(
        &self,
        client: &net::Client,
        body: Vec<u8>,
        within: Duration,
        read: fn(&[u8]) -> Result<Said, prost::DecodeError>,
    ) -> Tried {
        let for_rest = within / REST_PART;
        let request = net::Request {
            method: Method::POST,
            url: self.url.clone(),
            headers: self.headers(),
            body: body.into(),
            reach: net::Reach::Operator,
            timeout: within.saturating_sub(for_rest),
        };
        let mut response = match client.send(request).await {
            Ok(response) => response,
            Err(error) => return Tried::Later(error.to_string(), None),
        };
        let status = response.status;
        let answer = response.body.read_to_end(ANSWER_MAX, for_rest).await;
        if status.is_success() {
            return match answer {
                Ok(answer) => taken(read(&answer)),
                Err(net::Error::TooLarge { .. }) => Tried::Never(FOREIGN.to_owned()),
                Err(error) => Tried::Later(error.to_string(), None),
            };
        }
        // The head says enough; that the rest is missing or cut costs the reason alone.
        let status_said = answer.ok().and_then(|body| Status::decode(body).ok());
        let message = status_said.unwrap_or_default().message;
        let why = because(
            format!("it answers with status {}", status.as_u16()),
            &message,
        );
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => {
                Tried::Later(why, retry_after(&response.headers, RETRY_AFTER_MAX))
            }
            _ => Tried::Never(why),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-protobuf"),
        );
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("portcullis/", env!("CARGO_PKG_VERSION"))),
        );
        headers
    }
}

impl Tried {
    /// Of a try with nothing in it: why the collector takes none.
    pub(crate) fn probed(self) -> Result<(), String> {
        match self {
            Self::Taken | Self::Partly(..) => Ok(()),
            Self::Later(why, _) | Self::Never(why) => Err(why),
        }
    }
}

/// What became of a request that was answered with success. A login page is no success, whatever its status.
fn taken(said: Result<Said, prost::DecodeError>) -> Tried {
    let Ok(said) = said else {
        return Tried::Never(FOREIGN.to_owned());
    };
    match u64::try_from(said.rejected) {
        Ok(lost @ 1..) => Tried::Partly(lost, said.message),
        Ok(0) | Err(_) => {
            if !said.message.is_empty() {
                let warning = shown(&said.message);
                tracing::debug!(warning, "a collector took all of it, with a warning");
            }
            Tried::Taken
        }
    }
}

/// What went wrong, and what the collector says of it, if it does.
pub(crate) fn because(what: String, said: &str) -> String {
    let said = shown(said);
    if said.is_empty() {
        what
    } else {
        format!("{what}: {said}")
    }
}

/// A collector's text, as it can be told on: not long, and with nothing in it that ends its line, turns it around or hides.
fn shown(text: &str) -> String {
    let mut chars = text.trim().chars();
    let plain = chars.by_ref().take(WHY_CHARS_MAX);
    let mut out: String = plain
        .map(|c| if shows_as_itself(c) { c } else { ' ' })
        .collect();
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

/// Who it comes from: what the gate says of itself, unless `said` has it otherwise.
pub(crate) fn resource(said: &[(String, String)], version: &str) -> Resource {
    let own = [
        ("service.name", SCOPE),
        ("service.version", version),
        ("service.instance.id", INSTANCE.as_str()),
    ];
    let is_said = |name: &str| said.iter().any(|(said, _)| said == name);
    let own = own.into_iter().filter(|(name, _)| !is_said(name));
    let said = said.iter().map(|(name, value)| (&**name, &**value));
    Resource {
        attributes: own
            .chain(said)
            .map(|(name, value)| text(name, value))
            .collect(),
        ..Resource::default()
    }
}

/// What made it.
pub(crate) fn scope(version: &str) -> InstrumentationScope {
    InstrumentationScope {
        name: SCOPE.to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute that is a text.
pub(crate) fn text(name: &str, value: &str) -> KeyValue {
    pair(name, any_value::Value::StringValue(value.to_owned()))
}

/// An attribute.
pub(crate) fn pair(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3), and `max` if that is shorter; its other form, a date, is left to
/// our own patience.
pub(crate) fn retry_after(headers: &HeaderMap, max: Duration) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(max))
}

#[cfg(test)]
pub(crate) mod tests;
