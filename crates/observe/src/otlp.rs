//! The way to a collector of OpenTelemetry's, over HTTP and in protobuf, and what all that goes there has in common: who
//! it comes from, and what an answer means.
//!
//! What is sent, and when it is tried again, is [`trace`](crate::trace)'s and [`metrics`](crate::metrics)'. The audit log
//! goes its own way, as one of its sinks: there an answer counts for each record.
//!
//! Sources: OTLP 1.x, "OTLP/HTTP".

use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use url::Url;

/// What this gate is called by.
const SCOPE: &str = "portcullis";
/// How long the collector may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;
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

impl Endpoint {
    /// Posts one request. `rejected` reads how much the collector did not take of it, and why, from the answer.
    pub(crate) async fn post(
        &self,
        client: &net::Client,
        body: Vec<u8>,
        rejected: fn(&[u8]) -> Option<(u64, String)>,
    ) -> Tried {
        let request = net::Request {
            method: Method::POST,
            url: self.url.clone(),
            headers: self.headers(),
            body: body.into(),
            reach: net::Reach::Operator,
            timeout: ANSWER_TIMEOUT,
        };
        let mut response = match client.send(request).await {
            Ok(response) => response,
            Err(error) => return Tried::Later(error.to_string(), None),
        };
        let status = response.status;
        let answer = response.body.read_to_end(ANSWER_MAX, ANSWER_TIMEOUT).await;
        if status.is_success() {
            let said = answer.ok().and_then(|answer| rejected(&answer));
            return said.map_or(Tried::Taken, |(lost, why)| Tried::Partly(lost, why));
        }
        let why = format!("it answers with status {}", status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Tried::Later(why, retry_after(&response.headers)),
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

/// `Retry-After` in seconds; a date is taken for "some time".
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds = seconds.trim().parse().ok().map(Duration::from_secs);
    seconds.map(|wait| wait.min(RETRY_AFTER_MAX))
}
