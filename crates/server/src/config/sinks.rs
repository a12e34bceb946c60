//! `[audit.sinks]`: where the audit log is sent on to, from what people write to [`SinkSettings`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use net::{Reach, Service};
use observe::sinks::{
    FileSettings, Format, HttpProtocol, HttpSettings, SinkKind, SinkSettings, SyslogSettings,
};
use policy::config::{Complaints, duration, size};
use schemars::JsonSchema;
use serde::Deserialize;
use store::SinkStart;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::check::{Checker, OFF};
use super::raw::{Secret, Size, SpanOrOff};
use super::service::service;

/// Longest name of a sink, in bytes.
const NAME_MAX: usize = 64;
/// How many records are sent at once, unless said.
const BATCH: u32 = 500;
/// The smallest size at which a file may be put aside.
const SIZE_MIN: u64 = 64 << 10;
/// When a file is put aside, and how many of those are kept, unless said.
const SIZE: u64 = 100 << 20;
const AGE: Duration = Duration::from_hours(24);
const KEEP: u32 = 10;
/// How long a connection to a receiver of syslog may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where documents go in Elasticsearch, unless said: a data stream that its built-in template for logs fits.
const INDEX: &str = "logs-portcullis.audit-default";
/// What is read of the answer to a bulk request: what went wrong.
const BULK_ANSWER: &str = "filter_path=errors,items.*.status,items.*.error.type";

/// One receiver of the audit log.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSink {
    /// What it is: `file`, a file of JSON lines; `syslog`, RFC 5424 over TLS or TCP; `splunk_hec`, Splunk's HTTP Event Collector; `elastic`, the bulk API of Elasticsearch or what is compatible; `http`, any server that takes JSON lines in a POST; `otlp`, OpenTelemetry's logs as protobuf over HTTP.
    pub kind: RawSinkKind,
    /// With `file`: where. Made with access for its owner alone.
    pub path: Option<String>,
    /// With all others: where. `tls://siem.example.com:6514` or `tcp://127.0.0.1:601` with `syslog`, else `https://…`. Where it has no path, `splunk_hec` and `otlp` take the usual one. In the clear on this machine only, unless `danger_plaintext`.
    pub url: Option<String>,
    /// The form of a record: `native`, as `portcullis audit search --json` prints it; `ecs`, Elastic Common Schema; `ocsf`, Open Cybersecurity Schema Framework; with `syslog` also `structured`, which it is unless said. `ecs` with `elastic` and else `native` unless said; `otlp` has its own.
    pub format: Option<RawFormat>,
    /// With `splunk_hec`, the collector's token; with `elastic`, the API key as it is encoded; with `http` and `otlp`, a bearer token.
    pub token: Option<Secret>,
    /// With HTTP: headers sent with every batch.
    pub headers: Option<BTreeMap<String, Secret>>,
    /// With `elastic`: the index or data stream; `logs-portcullis.audit-default` unless said. With `splunk_hec`: the index, if not the token's own.
    pub index: Option<String>,
    /// With `tls` or `https`: a PEM file with the authorities that may have signed the receiver's certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// Sends records to another machine in the clear, names and all. With a `tcp` or `http` `url`.
    #[serde(default)]
    pub danger_plaintext: bool,
    /// Most records that are sent at once; 500 unless said.
    #[schemars(range(min = 1, max = 5000))]
    pub batch: Option<u32>,
    /// Where a sink begins that is new: `now`, with what is recorded from then on; `start`, with the log's first record. `now` unless said.
    #[serde(default)]
    pub from: RawFrom,
    /// Whether what is written of calls before they have an effect is sent, too, besides what came of them.
    #[serde(default)]
    pub begun: bool,
    /// With `file`: it is put aside before it gets larger; `100MiB` unless said.
    pub rotate_size: Option<Size>,
    /// With `file`: it is put aside once it is so old, or `off`; `1d` unless said.
    pub rotate_every: Option<SpanOrOff>,
    /// With `file`: how many of those that were put aside are kept; 10 unless said.
    #[schemars(range(min = 0, max = 10_000))]
    pub keep: Option<u32>,
}

/// What a receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawSinkKind {
    File,
    Syslog,
    SplunkHec,
    Elastic,
    Http,
    Otlp,
}

/// The form of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFormat {
    Structured,
    Native,
    Ecs,
    Ocsf,
}

/// Where a new sink begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFrom {
    #[default]
    Now,
    Start,
}

impl RawSinkKind {
    fn is_http(self) -> bool {
        match self {
            Self::SplunkHec | Self::Elastic | Self::Http | Self::Otlp => true,
            Self::File | Self::Syslog => false,
        }
    }
}

impl Checker<'_> {
    /// What `[audit.sinks]` says, in order of name.
    pub(super) fn sinks(
        &self,
        raw: &BTreeMap<String, RawSink>,
        complaints: &mut Complaints,
    ) -> Option<Vec<SinkSettings>> {
        complaints.at("audit", |complaints| {
            complaints.at("sinks", |complaints| {
                let sinks: Vec<Option<SinkSettings>> = raw
                    .iter()
                    .map(|(name, raw)| {
                        complaints.at(name, |complaints| self.sink(name, raw, complaints))
                    })
                    .collect();
                let sinks: Vec<SinkSettings> = sinks.into_iter().collect::<Option<_>>()?;
                no_file_twice(&sinks, complaints).then_some(sinks)
            })
        })
    }

    fn sink(&self, name: &str, raw: &RawSink, complaints: &mut Complaints) -> Option<SinkSettings> {
        let is_of_name = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_of_name) {
            complaints.add(
                "is no name of a sink",
                "use up to 64 of a-z, A-Z, 0-9, `-` and `_`",
            );
            return None;
        }
        foreign_keys(raw, complaints);
        let key = format!("audit.sinks.{name}");
        let kind = match raw.kind {
            RawSinkKind::File => self.to_file(raw, &key, complaints).map(SinkKind::File),
            RawSinkKind::Syslog => self.to_syslog(raw, &key, complaints).map(SinkKind::Syslog),
            RawSinkKind::SplunkHec
            | RawSinkKind::Elastic
            | RawSinkKind::Http
            | RawSinkKind::Otlp => self.to_http(raw, &key, complaints).map(SinkKind::Http),
        };
        Some(SinkSettings {
            name: name.to_owned(),
            kind: kind?,
            batch: raw.batch.unwrap_or(BATCH),
            start: match raw.from {
                RawFrom::Now => SinkStart::Now,
                RawFrom::Start => SinkStart::Beginning,
            },
            begun: raw.begun,
        })
    }

    fn to_file(
        &self,
        raw: &RawSink,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<FileSettings> {
        let format = format(raw, Format::Native, complaints);
        let Some(path) = &raw.path else {
            complaints.add(
                "has no `path`",
                "write for example path = \"audit/audit.jsonl\"",
            );
            return None;
        };
        let size_max = match &raw.rotate_size {
            None => Some(SIZE),
            Some(raw) => complaints.at("rotate_size", |complaints| {
                let bytes = complaints.keep(size(&raw.0), "")?;
                if bytes < SIZE_MIN {
                    complaints.add("is less than a few records", "write at least \"64KiB\"");
                    return None;
                }
                Some(bytes)
            }),
        };
        let age_max = match &raw.rotate_every {
            None => Some(Some(AGE)),
            Some(raw) if raw.0.trim() == OFF => Some(None),
            Some(raw) => complaints.at("rotate_every", |complaints| {
                let long = complaints.keep(duration(&raw.0), "or write \"off\"")?;
                if long.is_zero() {
                    complaints.add("is no time at all", "write \"off\" for never");
                    return None;
                }
                Some(Some(long))
            }),
        };
        Some(FileSettings {
            path: self.path(path, &format!("{key}.path")),
            format: format?,
            size_max: size_max?,
            age_max: age_max?,
            keep: raw.keep.unwrap_or(KEEP),
        })
    }

    fn to_syslog(
        &self,
        raw: &RawSink,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<SyslogSettings> {
        let format = match raw.format {
            None | Some(RawFormat::Structured) => Some(None),
            Some(_) => format(raw, Format::Native, complaints).map(Some),
        };
        let tls = self.authorities(raw, key, complaints);
        let service = complaints.at("url", |complaints| receiver(raw, complaints));
        let service = service?;
        if raw.ca.is_some() && !service.encrypted {
            complaints.at("ca", |complaints| {
                complaints.add("goes only with a `tls` `url`", "leave it out");
            });
            return None;
        }
        Some(SyslogSettings {
            service,
            tls: tls?,
            format: format?,
        })
    }

    fn to_http(
        &self,
        raw: &RawSink,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<HttpSettings> {
        let usual = match raw.kind {
            RawSinkKind::Elastic => Format::Ecs,
            RawSinkKind::File
            | RawSinkKind::Syslog
            | RawSinkKind::SplunkHec
            | RawSinkKind::Http
            | RawSinkKind::Otlp => Format::Native,
        };
        let format = format(raw, usual, complaints);
        let index = complaints.at("index", |complaints| index(raw, complaints));
        let url = complaints.at("url", |complaints| endpoint(raw, complaints));
        let tls = self.authorities(raw, key, complaints);
        let headers = self.sink_headers(raw, key, complaints);
        let (url, index, format) = (url?, index?, format?);
        if raw.ca.is_some() && url.scheme() != "https" {
            complaints.at("ca", |complaints| {
                complaints.add("goes only with an `https` `url`", "leave it out");
            });
            return None;
        }
        let (protocol, url) = match raw.kind {
            RawSinkKind::SplunkHec => (
                HttpProtocol::SplunkHec { format, index },
                usual_path(url, "/services/collector/event"),
            ),
            RawSinkKind::Elastic => {
                let index = index.unwrap_or_else(|| INDEX.to_owned());
                (HttpProtocol::ElasticBulk { format }, bulk(url, &index))
            }
            RawSinkKind::Otlp => (HttpProtocol::OtlpLogs, usual_path(url, "/v1/logs")),
            RawSinkKind::File | RawSinkKind::Syslog | RawSinkKind::Http => {
                (HttpProtocol::Lines { format }, url)
            }
        };
        Some(HttpSettings {
            protocol,
            url,
            headers: headers?,
            tls: tls?,
        })
    }

    /// `Some(None)`: whomever the operating system trusts.
    fn authorities(
        &self,
        raw: &RawSink,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Option<net::Tls>> {
        let Some(path) = &raw.ca else {
            return Some(None);
        };
        complaints.at("ca", |complaints| {
            let authorities = self.file(path, &format!("{key}.ca"), complaints)?;
            let settings = net::TlsSettings {
                authorities: Some(&authorities),
                ..net::TlsSettings::default()
            };
            complaints.keep(net::Tls::new(&settings), "").map(Some)
        })
    }

    fn sink_headers(
        &self,
        raw: &RawSink,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut is_whole = true;
        for (name, secret) in raw.headers.iter().flatten() {
            let header = complaints.at("headers", |complaints| {
                complaints.at(name, |complaints| {
                    let header = complaints.keep(HeaderName::try_from(name.as_str()), "")?;
                    if [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::HOST]
                        .contains(&header)
                    {
                        complaints.add("is set by the gate itself", "leave it out");
                        return None;
                    }
                    let key = format!("{key}.headers.{name}");
                    let value = Zeroizing::new(self.secret(name, secret, &key, complaints)?);
                    Some((header, sensitive(&value, complaints)?))
                })
            });
            is_whole &= header.is_some();
            headers.extend(header);
        }
        if let Some(token) = &raw.token {
            let value = complaints.at("token", |complaints| {
                if headers.contains_key(header::AUTHORIZATION) {
                    complaints.add("and `headers.Authorization` exclude each other", "keep one");
                    return None;
                }
                let key = format!("{key}.token");
                let token = Zeroizing::new(self.secret("token", token, &key, complaints)?);
                let scheme = match raw.kind {
                    RawSinkKind::SplunkHec => "Splunk",
                    RawSinkKind::Elastic => "ApiKey",
                    RawSinkKind::File
                    | RawSinkKind::Syslog
                    | RawSinkKind::Http
                    | RawSinkKind::Otlp => "Bearer",
                };
                let text = Zeroizing::new(format!("{scheme} {}", *token));
                sensitive(&text, complaints)
            });
            is_whole &= value.is_some();
            headers.extend(value.map(|value| (header::AUTHORIZATION, value)));
        }
        is_whole.then_some(headers)
    }
}

/// A value that is not printed.
fn sensitive(text: &str, complaints: &mut Complaints) -> Option<HeaderValue> {
    // The error would be fine; the value must not be.
    let Ok(mut value) = HeaderValue::try_from(text) else {
        complaints.add("holds a character that no header can carry", "");
        return None;
    };
    value.set_sensitive(true);
    Some(value)
}

fn format(raw: &RawSink, usual: Format, complaints: &mut Complaints) -> Option<Format> {
    match raw.format {
        None => Some(usual),
        Some(RawFormat::Native) => Some(Format::Native),
        Some(RawFormat::Ecs) => Some(Format::Ecs),
        Some(RawFormat::Ocsf) => Some(Format::Ocsf),
        Some(RawFormat::Structured) => {
            complaints.at("format", |complaints| {
                complaints.add(
                    "`structured` is a form of syslog's",
                    "write \"native\", \"ecs\" or \"ocsf\"",
                );
            });
            None
        }
    }
}

/// Where a receiver of syslog is.
fn receiver(raw: &RawSink, complaints: &mut Complaints) -> Option<Service> {
    const EXAMPLE: &str = "write for example \"tls://siem.example.com:6514\"";
    let Some(url) = &raw.url else {
        complaints.add("is missing", EXAMPLE);
        return None;
    };
    let (url, host) = service(url, "receiver of syslog", EXAMPLE, complaints)?;
    let (encrypted, usual) = match url.scheme() {
        "tls" => (true, 6514),
        "tcp" => (false, 601),
        _ => {
            complaints.add("is neither `tls` nor `tcp`", EXAMPLE);
            return None;
        }
    };
    if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
        complaints.add("says more than host and port", EXAMPLE);
        return None;
    }
    is_shielded(raw, encrypted, &host, complaints).then_some(())?;
    Some(Service {
        host,
        port: url.port().unwrap_or(usual),
        encrypted,
        reach: Reach::Operator,
        timeout: CONNECT_TIMEOUT,
    })
}

/// Where batches are posted to, as it is written.
fn endpoint(raw: &RawSink, complaints: &mut Complaints) -> Option<Url> {
    const EXAMPLE: &str = "write for example \"https://siem.example.com:8088\"";
    let Some(url) = &raw.url else {
        complaints.add("is missing", EXAMPLE);
        return None;
    };
    let Some((url, host)) = Url::parse(url)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http"))
        .and_then(|url| Some((url.clone(), url.host()?.to_owned())))
    else {
        complaints.add("is no http address", EXAMPLE);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        complaints.add(
            "has a user or password in it",
            "write token = { env = \"…\" } or headers.Authorization = { env = \"…\" } beside it",
        );
        return None;
    }
    is_shielded(raw, url.scheme() == "https", &host, complaints).then_some(url)
}

/// Whether nobody between reads what is sent, or may.
fn is_shielded(raw: &RawSink, encrypted: bool, host: &Host, complaints: &mut Complaints) -> bool {
    if encrypted && raw.danger_plaintext {
        complaints.add(
            "is encrypted, which goes ill with `danger_plaintext`",
            "leave one of them out",
        );
        return false;
    }
    if !encrypted && !net::is_here(host) && !raw.danger_plaintext {
        complaints.add(
            "would send records to another machine in the clear",
            "use `tls` or `https`, or write danger_plaintext = true beside it",
        );
        return false;
    }
    true
}

fn index(raw: &RawSink, complaints: &mut Complaints) -> Option<Option<String>> {
    let Some(index) = &raw.index else {
        return Some(None);
    };
    // Both allow lower-case names alone; what they have to say of the rest they say themselves.
    let is_of_name =
        |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-_.".contains(char);
    if index.is_empty() || index.starts_with(['-', '_']) || !index.chars().all(is_of_name) {
        complaints.add(
            format!("`{index}` is no name of an index"),
            "use a-z, 0-9, `-`, `_` and `.`",
        );
        return None;
    }
    Some(Some(index.clone()))
}

fn usual_path(mut url: Url, path: &str) -> Url {
    if matches!(url.path(), "" | "/") {
        url.set_path(path);
    }
    url
}

fn bulk(mut url: Url, index: &str) -> Url {
    let path = format!("{}/{index}/_bulk", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(Some(BULK_ANSWER));
    url
}

/// Two sinks would tear each other's lines, and put each other's files aside.
fn no_file_twice(sinks: &[SinkSettings], complaints: &mut Complaints) -> bool {
    let mut seen: BTreeMap<&PathBuf, &str> = BTreeMap::new();
    let mut is_fine = true;
    for sink in sinks {
        let SinkKind::File(file) = &sink.kind else {
            continue;
        };
        if let Some(other) = seen.insert(&file.path, &sink.name) {
            complaints.at(format!("{}.path", sink.name), |complaints| {
                complaints.add(
                    format!("is `{other}`'s, too"),
                    "give each sink a file of its own",
                );
            });
            is_fine = false;
        }
    }
    is_fine
}

fn foreign_keys(raw: &RawSink, complaints: &mut Complaints) {
    let is_file = raw.kind == RawSinkKind::File;
    let is_http = raw.kind.is_http();
    let is_otlp = raw.kind == RawSinkKind::Otlp;
    let has_index = matches!(raw.kind, RawSinkKind::Elastic | RawSinkKind::SplunkHec);
    let keys = [
        ("path", raw.path.is_some(), is_file, "`file`"),
        ("rotate_size", raw.rotate_size.is_some(), is_file, "`file`"),
        (
            "rotate_every",
            raw.rotate_every.is_some(),
            is_file,
            "`file`",
        ),
        ("keep", raw.keep.is_some(), is_file, "`file`"),
        ("url", raw.url.is_some(), !is_file, "what is no `file`"),
        ("ca", raw.ca.is_some(), !is_file, "what is no `file`"),
        (
            "danger_plaintext",
            raw.danger_plaintext,
            !is_file,
            "what is no `file`",
        ),
        ("token", raw.token.is_some(), is_http, "what speaks HTTP"),
        (
            "headers",
            raw.headers.is_some(),
            is_http,
            "what speaks HTTP",
        ),
        (
            "index",
            raw.index.is_some(),
            has_index,
            "`elastic` and `splunk_hec`",
        ),
        (
            "format",
            raw.format.is_some(),
            !is_otlp,
            "what is no `otlp`, which has its own",
        ),
    ];
    for (key, said, fits, with) in keys {
        if said && !fits {
            complaints.at(key, |complaints| {
                complaints.add(format!("goes only with {with}"), "leave it out");
            });
        }
    }
}
