//! From what people wrote to what the stages rely on: the meaning of each value, beyond its type.
//!
//! Pure but for the environment it was given, and for secrets and folders that the config points at.
//! Upstreams have their own file, [`super::upstreams`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use observe::logs::{BadFilter, Filter, LEVELS};
use policy::RoleName;
use policy::config::{Complaints, duration, size};
use policy::screen::{Screen, Settings as Screening};
use toml::Table;
use url::Url;

use super::layers::Origins;
use super::limits::limits;
use super::proxies::proxies;
use super::raw::{
    Listen, Raw, RawFamily, RawHttp, RawLog, RawLogFormat, RawNames, RawPrefix, RawSeparator, Size,
    SizeOrOff, Span, SpanOrOff,
};
use super::secrets::Lookup;
use super::servers::{Whole, servers};
use super::shape::nearest;
use super::tls::RawTls;
use super::{Environment, Http, Loaded, Log, LogFormat, Trouble};
use crate::tls::Spoken;
use crate::vault;

/// Largest request body that may be configured.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// Smallest result that may be replaced by a link to it.
const RESULT_BYTES_MIN: u64 = 4 * 1024;
/// What is written where something can be switched off.
pub(super) const OFF: &str = "off";

/// What a check may look at besides the value.
pub(super) struct Checker<'a> {
    pub(super) environment: &'a Environment,
    pub(super) origins: &'a Origins,
    pub(super) secrets: Lookup<'a>,
}

impl Checker<'_> {
    pub(super) fn loaded(
        &self,
        table: Table,
        files: Vec<PathBuf>,
        complaints: &mut Complaints,
    ) -> Option<Loaded> {
        let raw: Raw = match serde_path_to_error::deserialize(toml::Value::Table(table)) {
            Ok(raw) => raw,
            Err(error) => {
                let key = error.path().to_string();
                complaints.at(key, |complaints| {
                    complaints.add(error.inner().message(), "");
                });
                return None;
            }
        };
        let data_dir = complaints.at("data_dir", |complaints| match &raw.data_dir {
            Some(text) => Some(self.path(text, "data_dir")),
            None => {
                complaints.add(
                    "there is no home folder to put it in",
                    "write data_dir = \"/some/folder\"",
                );
                None
            }
        });
        let own = data_dir.clone().unwrap_or_default().join(vault::FILE);
        let master_key = self.master_key(&raw.secrets, own, complaints);
        let postgres = self.store(&raw.store, complaints);
        // Everything below may follow a reference into the database.
        if let (Some(data_dir), Some(postgres), Some(master_key)) =
            (&data_dir, &postgres, &master_key)
        {
            let database = super::database(data_dir, postgres.as_ref());
            self.secrets.settle(database, master_key.clone());
        }
        let log = complaints.at("log", |complaints| log(&raw.log, complaints));
        let http = complaints.at("http", |complaints| http(&raw.http, complaints));
        let drain = complaints.at("drain", |complaints| {
            span(&raw.drain.timeout, "timeout", complaints)
        });
        let rules = complaints.at("roles", |complaints| {
            let servers = raw.virtual_servers.keys().cloned().collect();
            super::roles::rules(&raw.roles, &servers, complaints)
        });
        let auth = self.auth(&raw, complaints);
        let tls = self.tls(raw.tls.as_ref(), complaints);
        let exposure = Exposure {
            is_encrypted: raw.tls.is_some() || raw.http.danger_exposed_plaintext,
            tells_callers_apart: auth.as_ref().is_none_or(tells_callers_apart),
        };
        let listen = complaints.at("listen", |complaints| {
            listen(&raw.listen, exposure, complaints)
        });
        let (upstreams, prefix_of) = self.upstreams(&raw.upstreams, &raw.builtins, complaints);
        let limits = complaints.at("limits", |complaints| limits(&raw, complaints));
        let shared = self.shared(&raw.shared, complaints);
        let telemetry = self.telemetry(&raw.telemetry, complaints);
        let mailer = auth.as_ref().and_then(|auth| auth.accounts.mailer.as_ref());
        let alerts = self.alerts(&raw, mailer, complaints);
        let keeping = super::audit::keeping(&raw.audit, complaints);
        let upkeep = self.upkeep(&raw.audit, complaints);
        let sinks = self.sinks(&raw.audit.sinks, complaints);
        let list_deadline = complaints.at("catalog", |complaints| {
            span(&raw.catalog.list_deadline, "list_deadline", complaints)
        });
        let screening = complaints.at("screening", |complaints| {
            raw.screening.settings(&Screening::default(), complaints)
        });
        let flows = complaints.at("flows", |complaints| raw.flows.settings(complaints));
        let catalog = list_deadline.zip(screening);
        let catalog = catalog.map(|(list_deadline, screening)| gateway::CatalogSettings {
            prefix: prefix(raw.catalog.prefix),
            prefix_of,
            separator: separator(raw.catalog.separator),
            page_size: count(raw.catalog.page_size),
            list_deadline,
            dialect: gateway::Dialect {
                schemas: family(raw.catalog.schemas),
                names: names(raw.catalog.names),
            },
            screen: Arc::new(Screen::new(screening)),
        });
        let idle = complaints.at("sessions", |complaints| {
            wait(&raw.sessions.idle, "idle", complaints)
        });
        let consent = complaints.at("consent", |complaints| {
            self.consent(&raw.consent, complaints)
        });
        let calls = complaints.at("calls", |complaints| {
            let heartbeat = heartbeat(&raw.calls.heartbeat, complaints);
            let result_max = result_max(&raw.calls.result_max, complaints);
            let deadlines: Option<_> = complaints.at("deadlines", |complaints| {
                let deadlines = raw.calls.deadlines.iter();
                deadlines
                    .map(|(client, long)| Some((client.clone(), wait(long, client, complaints)?)))
                    .collect()
            });
            Some(gateway::CallSettings {
                heartbeat: heartbeat?,
                result_max: result_max?,
                deadlines: deadlines?,
            })
        });
        let validation = raw.validation.settings(&raw.upstreams);
        let unsaid = gateway::FlowSettings::default();
        // What is wrong elsewhere is complained of already; servers are looked at all the same.
        let whole = catalog.as_ref().map(|catalog| Whole {
            catalog,
            validation: &validation,
            flows: flows.as_ref().unwrap_or(&unsaid),
            result_max: calls.as_ref().and_then(|calls| calls.result_max),
        });
        let servers = servers(&raw, whole, complaints);

        let servers = servers?;
        let telemetry = telemetry?;
        let doubts = super::doubts::doubts(&raw, &servers);
        Some(Loaded {
            listen: listen?,
            data_dir: data_dir?,
            postgres: postgres?,
            master_key: master_key?,
            log: log?,
            http: http?,
            tls: tls?,
            tls_spoken: raw.tls.as_ref().map_or(Spoken::Nowhere, RawTls::spoken),
            drain: drain?,
            auth: auth?,
            roles: raw
                .roles
                .keys()
                .filter_map(|name| RoleName::new(name).ok())
                .collect(),
            audit: raw.audit.mode(),
            upkeep: upkeep?,
            sinks: sinks?,
            digest: String::new(),
            shared: shared?,
            tracing: telemetry.tracing,
            pushing: telemetry.pushing,
            alerts: alerts?,
            gateway: gateway::Settings {
                rules: rules?,
                limits: limits?,
                catalog: catalog?,
                flows: flows?,
                consent: consent?,
                servers,
                search: raw.tool_search.settings(),
                pins: raw.pins.settings(&raw.upstreams),
                validation,
                sessions: gateway::SessionSettings {
                    max: count(raw.sessions.max),
                    per_principal: count(raw.sessions.per_principal),
                    idle: idle?,
                },
                calls: calls?,
                keeping: Arc::new(keeping?),
            },
            upstreams: upstreams?,
            files,
            watched: self.watched(&raw),
            doubts: doubts
                .into_iter()
                .map(|complaint| Trouble {
                    origin: self.origins.of(&complaint.key).cloned(),
                    complaint,
                })
                .collect(),
            origins: self.origins.clone(),
            is_whole: self.secrets.is_whole(),
        })
    }

    /// A path as written under `key`: `~/` is the home, relative ones start at the config file.
    pub(super) fn path(&self, text: &str, key: &str) -> PathBuf {
        self.environment.path(text, &self.origins.base(key))
    }
}

/// More than zero.
pub(super) fn wait(raw: &Span, key: &str, complaints: &mut Complaints) -> Option<Duration> {
    let long = span(raw, key, complaints)?;
    if long.is_zero() {
        complaints.at(key, |complaints| {
            complaints.add("nothing is done in no time", "write for example \"30s\"");
        });
        return None;
    }
    Some(long)
}

pub(super) fn span(raw: &Span, key: &str, complaints: &mut Complaints) -> Option<Duration> {
    complaints.at(key, |complaints| complaints.keep(duration(&raw.0), ""))
}

// `Some(None)`: off, and nothing wrong with it.
fn heartbeat(raw: &SpanOrOff, complaints: &mut Complaints) -> Option<Option<Duration>> {
    if raw.0.trim() == OFF {
        return Some(None);
    }
    complaints.at("heartbeat", |complaints| {
        let long = complaints.keep(duration(&raw.0), "or write \"off\"")?;
        Some(Some(long).filter(|long| !long.is_zero()))
    })
}

pub(super) fn result_max(raw: &SizeOrOff, complaints: &mut Complaints) -> Option<Option<usize>> {
    if raw.0.trim() == OFF {
        return Some(None);
    }
    complaints.at("result_max", |complaints| {
        let bytes = complaints.keep(size(&raw.0), "or write \"off\"")?;
        if bytes < RESULT_BYTES_MIN {
            complaints.add(
                format!("`{}` is less than what a link comes with", raw.0),
                "write at least \"4KiB\"",
            );
            return None;
        }
        Some(usize::try_from(bytes).ok())
    })
}

pub(super) fn prefix(raw: RawPrefix) -> gateway::Prefix {
    match raw {
        RawPrefix::Always => gateway::Prefix::Always,
        RawPrefix::OnCollision => gateway::Prefix::OnCollision,
        RawPrefix::Never => gateway::Prefix::Never,
    }
}

pub(super) fn separator(raw: RawSeparator) -> &'static str {
    match raw {
        RawSeparator::Dot => ".",
        RawSeparator::Underscores => "__",
    }
}

pub(super) fn family(raw: RawFamily) -> gateway::Family {
    match raw {
        RawFamily::Faithful => gateway::Family::Faithful,
        RawFamily::OpenAi => gateway::Family::OpenAi,
        RawFamily::Gemini => gateway::Family::Gemini,
        RawFamily::Plain => gateway::Family::Plain,
    }
}

pub(super) fn names(raw: RawNames) -> gateway::Names {
    match raw {
        RawNames::Full => gateway::Names::Full,
        RawNames::Short => gateway::Names::Short,
    }
}

// The schema bounds these numbers far below what any machine's usize holds.
pub(super) fn count(raw: u32) -> usize {
    usize::try_from(raw).unwrap_or(usize::MAX)
}

/// What stands between the gate and other machines.
#[derive(Debug, Clone, Copy)]
struct Exposure {
    /// Or somebody takes it upon himself.
    is_encrypted: bool,
    tells_callers_apart: bool,
}

/// Whether anybody on another machine could prove who he is.
fn tells_callers_apart(auth: &auth::Settings) -> bool {
    !auth.keys.is_empty()
        || !auth.issuers.is_empty()
        || !auth.certificates.mappings.is_empty()
        || auth.authority.enabled
}

fn listen(
    raw: &Listen,
    exposure: Exposure,
    complaints: &mut Complaints,
) -> Option<Vec<SocketAddr>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    let mut whole = true;
    for text in &raw.0 {
        let Some(address) = address(text, complaints) else {
            whole = false;
            continue;
        };
        if address.port() != 0 && addresses.contains(&address) {
            complaints.add(format!("`{text}` is there twice"), "leave one out");
            whole = false;
        }
        if !address.ip().is_loopback() {
            if !exposure.tells_callers_apart {
                complaints.add(
                    format!("other machines could reach `{text}`, and there is nothing to tell callers apart by"),
                    "listen on 127.0.0.1, or add a [keys.NAME] with the hash that `portcullis key create` prints, an issuer, or client certificates",
                );
                whole = false;
            }
            if !exposure.is_encrypted {
                complaints.add(
                    format!("other machines could reach `{text}`, and there is no TLS"),
                    "add a [tls] with certificate and key, listen on 127.0.0.1 behind a proxy that does TLS, or set http.danger_exposed_plaintext = true",
                );
                whole = false;
            }
        }
        addresses.push(address);
    }
    whole.then_some(addresses)
}

fn address(text: &str, complaints: &mut Complaints) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if let Some(Ok(port)) = text.strip_prefix("localhost:").map(str::parse) {
        return Some(local(port));
    }
    let hint = if let Ok(ip) = text.parse::<IpAddr>() {
        format!(
            "a port is missing; write \"{}\"",
            SocketAddr::from((ip, 8080))
        )
    } else if let Ok(port) = text.trim_start_matches(':').parse::<u16>() {
        format!("write \"{}\"", local(port))
    } else if text == "localhost" {
        "a port is missing; write \"localhost:8080\"".to_owned()
    } else {
        "write for example \"127.0.0.1:8080\" or \"[::1]:8080\"; names other than localhost are not looked up".to_owned()
    };
    complaints.add(format!("`{text}` is not an address with a port"), hint);
    None
}

fn log(raw: &RawLog, complaints: &mut Complaints) -> Option<Log> {
    let filter = complaints.at("level", |complaints| match Filter::parse(&raw.level) {
        Ok(filter) => Some(filter),
        Err(bad) => {
            let hint = match &bad {
                BadFilter::Level(word) => match nearest(word, &LEVELS) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => "use error, warn, info, debug or trace; or a filter such as \"info,upstream=debug\"".to_owned(),
                },
                BadFilter::Form(_) | BadFilter::Long => {
                    "write for example \"info,upstream=debug\"".to_owned()
                }
            };
            complaints.add(bad.to_string(), hint);
            None
        }
    });
    let format = match raw.format {
        RawLogFormat::Auto => LogFormat::Auto,
        RawLogFormat::Text => LogFormat::Text,
        RawLogFormat::Json => LogFormat::Json,
    };
    Some(Log {
        filter: filter?,
        format,
    })
}

fn http(raw: &RawHttp, complaints: &mut Complaints) -> Option<Http> {
    let allowed_hosts = complaints.at("allowed_hosts", |complaints| {
        all(&raw.allowed_hosts, complaints, |text, complaints| {
            let bare = !text.is_empty()
                && !text.contains(['/', '*', '@', '?', '#'])
                && !text.contains(char::is_whitespace);
            if !bare {
                complaints.add(
                    format!("`{text}` is not a host name"),
                    "write for example \"gate.example.com\"; patterns are not possible",
                );
            }
            bare.then(|| text.to_lowercase())
        })
    });
    let allowed_origins = complaints.at("allowed_origins", |complaints| {
        all(&raw.allowed_origins, complaints, |text, complaints| {
            origin(text, complaints)
        })
    });
    let proxies = proxies(raw, complaints);
    let public_url = complaints.at("public_url", |complaints| match &raw.public_url {
        Some(text) => origin(text, complaints).map(Some),
        None => Some(None),
    });
    let body_max = complaints.at("body_max", |complaints| body(&raw.body_max, complaints));
    let header_timeout = wait(&raw.header_timeout, "header_timeout", complaints);
    let body_timeout = wait(&raw.body_timeout, "body_timeout", complaints);
    let (public_url, mut allowed_hosts) = (public_url?, allowed_hosts?);
    let host = public_url
        .as_deref()
        .and_then(|url| Some(Url::parse(url).ok()?.host_str()?.to_owned()));
    allowed_hosts.extend(host);
    Some(Http {
        public_url,
        allowed_hosts,
        allowed_origins: allowed_origins?,
        proxies: proxies?,
        body_max: body_max?,
        header_timeout: header_timeout?,
        body_timeout: body_timeout?,
        connections_max: count(raw.connections_max),
    })
}

/// Scheme, host and port, without a slash at the end.
fn origin(text: &str, complaints: &mut Complaints) -> Option<String> {
    let origin = Url::parse(text)
        .ok()
        .map(|url| url.origin())
        .filter(url::Origin::is_tuple);
    match origin.map(|origin| origin.ascii_serialization()) {
        Some(origin) if origin == text.trim_end_matches('/').to_lowercase() => Some(origin),
        Some(origin) => {
            complaints.add(
                format!("`{text}` is more than an origin"),
                format!("write \"{origin}\""),
            );
            None
        }
        None => {
            complaints.add(
                format!("`{text}` is not an origin"),
                "write for example \"https://app.example.com\"; patterns are not possible",
            );
            None
        }
    }
}

fn body(raw: &Size, complaints: &mut Complaints) -> Option<usize> {
    let bytes = complaints.keep(size(&raw.0), "")?;
    if !(1024..=BODY_BYTES_MAX).contains(&bytes) {
        complaints.add(
            format!("`{}` is out of range", raw.0),
            "write a size from \"1KiB\" to \"1GiB\"",
        );
        return None;
    }
    usize::try_from(bytes).ok()
}

// Checks each element under its index, so that all bad ones are told.
pub(super) fn all<T>(
    texts: &[String],
    complaints: &mut Complaints,
    mut check: impl FnMut(&String, &mut Complaints) -> Option<T>,
) -> Option<Vec<T>> {
    let checked: Vec<Option<T>> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| complaints.at(index.to_string(), |complaints| check(text, complaints)))
        .collect();
    checked.into_iter().collect()
}
