//! `[telemetry]`: where traces and metrics go, and what of traces is passed on, from what people write to
//! [`observe::trace::Tracing`] and [`observe::metrics::Pushing`].

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use observe::metrics::Pushing;
use observe::otlp::Endpoint;
use observe::trace::{Collector, Ratio, Tracing};
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::check::{Checker, span};
use super::raw::{Secret, Span};
use super::service::service;

const EXAMPLE: &str = "write for example \"http://127.0.0.1:4318\"";
/// How often metrics are pushed: unless said (as OpenTelemetry's SDKs do), at most and at least.
const INTERVAL: Duration = Duration::from_secs(60);
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_hours(1);
/// Attributes of the resource, and the bytes of a name or value.
const RESOURCE_MAX: usize = 64;
const RESOURCE_TEXT_MAX: usize = 256;

/// What is told of calls to those who watch.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    /// What becomes of `baggage` (W3C) that a client sends with a call: `drop`, it ends here; `pass`, the upstream gets it. A client, or whoever is behind it, puts into it what they like, user ids for example, and upstreams may act on it: pass it on only where you know both. `traceparent` and `tracestate` are always passed on.
    #[serde(default)]
    pub baggage: RawBaggage,
    /// Attributes of this gate in all that it sends, as `"deployment.environment.name" = "production"`; they stand beside `service.name`, `service.version` and `service.instance.id`, or in their place.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Where spans go, one for each call. Without it none are made, and a caller's trace is passed on as it came.
    pub traces: Option<RawTraces>,
    /// Where metrics are pushed: all that `/metrics` has. Without it they are there to be scraped alone.
    pub metrics: Option<RawMetrics>,
}

/// What becomes of baggage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawBaggage {
    #[default]
    Drop,
    Pass,
}

/// Where spans go, and which.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTraces {
    /// The base URL of an OTLP/HTTP collector, as `http://127.0.0.1:4318`; spans are posted to `/v1/traces` below it, in protobuf.
    pub endpoint: String,
    /// Headers sent with every batch.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// How many of the traces that begin here are kept, from 0 to 1; 1 unless said. Goes by the trace's id, so that all who keep as many keep the same.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: Option<f64>,
    /// Whether a caller that belongs to a trace decides whether the span of its call is kept, by the flag in `traceparent`; otherwise `ratio` does. True unless said; say false where callers are strangers.
    pub parent: Option<bool>,
    /// Whether the span of a call that fails or is refused is kept in any case. True unless said.
    pub errors: Option<bool>,
    /// Whether spans say whose call it was: `none`, or `id`, which puts principals' ids and addresses where the collector's users can read them.
    #[serde(default)]
    pub principal: RawPrincipal,
    /// Speaks to a collector on another machine in the clear, headers included. With an `http` `endpoint`.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// Where metrics are pushed, and how often.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    /// The base URL of an OTLP/HTTP collector, as `http://127.0.0.1:4318`; metrics are posted to `/v1/metrics` below it, in protobuf.
    pub endpoint: String,
    /// Headers sent with every push.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// From one push to the next, from `1s` to `1h`; `60s` unless said. The last one is sent when the gate stops.
    pub interval: Option<Span>,
    /// Speaks to a collector on another machine in the clear, headers included. With an `http` `endpoint`.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// What both sections say of their collector.
#[derive(Debug, Clone, Copy)]
struct Sending<'a> {
    /// The section, and the end of the path on which OTLP/HTTP takes it.
    signal: &'static str,
    endpoint: &'a str,
    headers: Option<&'a BTreeMap<String, Secret>>,
    danger_plaintext: bool,
}

/// What the gate sends to those who watch.
pub(super) struct Telemetry {
    pub(super) tracing: Tracing,
    /// `None`: metrics are not pushed.
    pub(super) pushing: Option<Pushing>,
}

/// What spans say of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawPrincipal {
    #[default]
    None,
    Id,
}

impl Checker<'_> {
    /// What `[telemetry]` says.
    pub(super) fn telemetry(
        &self,
        raw: &RawTelemetry,
        complaints: &mut Complaints,
    ) -> Option<Telemetry> {
        complaints.at("telemetry", |complaints| {
            let resource =
                complaints.at("resource", |complaints| resource(&raw.resource, complaints));
            // What is wrong with it is complained of already; the rest is looked at all the same.
            let said = resource.as_deref().unwrap_or_default();
            let collector = raw.traces.as_ref().map(|traces| {
                complaints.at("traces", |complaints| {
                    self.collector(traces, said, complaints)
                })
            });
            let pushing = raw.metrics.as_ref().map(|metrics| {
                complaints.at("metrics", |complaints| {
                    self.pushing(metrics, said, complaints)
                })
            });
            let whole = resource.is_some();
            let collector = collector.map_or(Some(None), |collector| collector.map(Some))?;
            let pushing = pushing.map_or(Some(None), |pushing| pushing.map(Some))?;
            whole.then_some(Telemetry {
                tracing: Tracing {
                    passes_baggage: raw.baggage == RawBaggage::Pass,
                    collector,
                },
                pushing,
            })
        })
    }

    fn collector(
        &self,
        raw: &RawTraces,
        resource: &[(String, String)],
        complaints: &mut Complaints,
    ) -> Option<Collector> {
        let sending = Sending {
            signal: "traces",
            endpoint: &raw.endpoint,
            headers: raw.headers.as_ref(),
            danger_plaintext: raw.danger_plaintext,
        };
        let endpoint = self.endpoint(sending, resource, complaints);
        let ratio = complaints.at("ratio", |complaints| {
            let ratio = Ratio::new(raw.ratio.unwrap_or(1.0));
            if ratio.is_none() {
                complaints.add("is not between 0 and 1", "write for example 0.01");
            }
            ratio
        });
        Some(Collector {
            endpoint: endpoint?,
            ratio: ratio?,
            follows_parent: raw.parent.unwrap_or(true),
            keeps_errors: raw.errors.unwrap_or(true),
            names_principal: raw.principal == RawPrincipal::Id,
        })
    }

    fn pushing(
        &self,
        raw: &RawMetrics,
        resource: &[(String, String)],
        complaints: &mut Complaints,
    ) -> Option<Pushing> {
        let sending = Sending {
            signal: "metrics",
            endpoint: &raw.endpoint,
            headers: raw.headers.as_ref(),
            danger_plaintext: raw.danger_plaintext,
        };
        let endpoint = self.endpoint(sending, resource, complaints);
        let interval = interval(raw.interval.as_ref(), complaints);
        Some(Pushing {
            endpoint: endpoint?,
            interval: interval?,
        })
    }

    fn endpoint(
        &self,
        raw: Sending<'_>,
        resource: &[(String, String)],
        complaints: &mut Complaints,
    ) -> Option<Endpoint> {
        let url = complaints.at("endpoint", |complaints| url(raw, complaints));
        let headers = complaints.at("headers", |complaints| {
            let key = format!("telemetry.{}.headers", raw.signal);
            self.values(raw.headers, true, &key, complaints, header)
        });
        Some(Endpoint {
            url: url?,
            headers: headers?.into_iter().collect::<HeaderMap>(),
            resource: resource.to_vec(),
        })
    }
}

fn interval(raw: Option<&Span>, complaints: &mut Complaints) -> Option<Duration> {
    let Some(raw) = raw else {
        return Some(INTERVAL);
    };
    let interval = span(raw, "interval", complaints)?;
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        complaints.at("interval", |complaints| {
            complaints.add("is not between 1s and 1h", "write for example \"60s\"");
        });
        return None;
    }
    Some(interval)
}

fn url(raw: Sending<'_>, complaints: &mut Complaints) -> Option<Url> {
    let (mut url, host) = service(raw.endpoint, "collector", EXAMPLE, complaints)?;
    match url.scheme() {
        "https" if raw.danger_plaintext => {
            complaints.add(
                "is `https`, which goes ill with `danger_plaintext`",
                "leave one of them out",
            );
            return None;
        }
        "https" => {}
        "http" if net::is_here(&host) || raw.danger_plaintext => {}
        "http" => {
            complaints.add(
                "would speak to another machine in the clear",
                "write \"https://…\", or set danger_plaintext = true",
            );
            return None;
        }
        _ => {
            complaints.add("is neither `https` nor `http`", EXAMPLE);
            return None;
        }
    }
    if !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
        complaints.add("has more than host, port and path", EXAMPLE);
        return None;
    }
    // What people paste from elsewhere may have the path already.
    let end = format!("v1/{}", raw.signal);
    let path = url.path().trim_end_matches('/');
    let base = path.strip_suffix(end.as_str()).unwrap_or(path);
    let path = format!("{}/{end}", base.trim_end_matches('/'));
    url.set_path(&path);
    Some(url)
}

fn header(
    name: &str,
    value: String,
    complaints: &mut Complaints,
) -> Option<(HeaderName, HeaderValue)> {
    let header = complaints.keep(HeaderName::try_from(name), "")?;
    if matches!(
        header.as_str(),
        "host"
            | "content-type"
            | "content-length"
            | "content-encoding"
            | "transfer-encoding"
            | "connection"
    ) {
        complaints.add("is set by the gate itself", "leave it out");
        return None;
    }
    // The error would be fine; the value must not be.
    let Ok(mut value) = HeaderValue::try_from(value) else {
        complaints.add("holds a character that no header can carry", "");
        return None;
    };
    value.set_sensitive(true);
    Some((header, value))
}

fn resource(
    raw: &BTreeMap<String, String>,
    complaints: &mut Complaints,
) -> Option<Vec<(String, String)>> {
    if raw.len() > RESOURCE_MAX {
        complaints.add(format!("has more than {RESOURCE_MAX} attributes"), "");
        return None;
    }
    let is_long = |text: &str| text.is_empty() || text.len() > RESOURCE_TEXT_MAX;
    if let Some((name, _)) = raw
        .iter()
        .find(|(name, value)| is_long(name) || is_long(value))
    {
        complaints.at(name, |complaints| {
            complaints.add(
                format!("must have between 1 and {RESOURCE_TEXT_MAX} bytes, name and value"),
                "",
            );
        });
        return None;
    }
    Some(raw.clone().into_iter().collect())
}
