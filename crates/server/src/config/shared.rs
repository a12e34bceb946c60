//! `[shared]`: what several gates have in common, from what people write to [`crate::shared::Settings`].

use std::time::Duration;

use net::{Reach, Service};
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use store::shared::{Fail, Login, RedisSettings};

use super::check::{Checker, wait};
use super::raw::{Secret, Span};
use super::service::service;
use crate::shared::Settings;

const EXAMPLE: &str = "write for example \"rediss://gate@redis.example.com:6380/0\"";
/// Longest that a call may be made to wait for Redis.
const TIMEOUT_MAX: Duration = Duration::from_millis(250);
/// How long opening a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What several gates have in common.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShared {
    /// A Redis 5 or later, or Valkey, where rate limits are counted, so that gates which share it share their limits. Without it each gate counts in its memory. Quotas and calls at once are each gate's own. Another Redis holds from the next start on.
    pub redis: Option<RawRedis>,
}

/// Where a Redis is, and what happens without it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRedis {
    /// Where, as `rediss://user@host:6380/0` (TLS) or `redis://user@host:6379/0` (in the clear: on this machine only, unless `danger_plaintext`). User and number of the database may be left out.
    pub url: String,
    /// The user's password, or that of the whole Redis.
    pub password: Option<Secret>,
    /// A PEM file with the authorities that may have signed Redis's certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// What its keys begin with; `portcullis:` unless said.
    pub prefix: Option<String>,
    /// What happens while Redis cannot be reached: `local`, each gate counts by itself with the same numbers; `closed`, nothing that a limit speaks of gets through. `local` unless said.
    #[serde(default)]
    pub fail: RawFail,
    /// How long a call waits for Redis at most before it goes on without, at most `250ms`; `200ms` unless said.
    pub timeout: Option<Span>,
    /// Speaks to a Redis on another machine in the clear, password included. With a `redis` `url`.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// What happens without Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFail {
    #[default]
    Local,
    Closed,
}

impl Checker<'_> {
    /// What `[shared]` says; `Some(None)`: nothing is shared.
    pub(super) fn shared(
        &self,
        raw: &RawShared,
        complaints: &mut Complaints,
    ) -> Option<Option<Settings>> {
        let Some(redis) = &raw.redis else {
            return Some(None);
        };
        complaints.at("shared", |complaints| {
            complaints.at("redis", |complaints| {
                self.redis(redis, complaints).map(Some)
            })
        })
    }

    fn redis(&self, raw: &RawRedis, complaints: &mut Complaints) -> Option<Settings> {
        let place = complaints.at("url", |complaints| place(raw, complaints));
        let password = self.password(raw.password.as_ref(), "shared.redis.password", complaints);
        let tls = match &raw.ca {
            Some(path) => complaints.at("ca", |complaints| {
                let authorities = self.file(path, "shared.redis.ca", complaints)?;
                let settings = net::TlsSettings {
                    authorities: Some(&authorities),
                    ..net::TlsSettings::default()
                };
                let made = net::Tls::new(&settings);
                complaints.keep(made, "").map(Some)
            }),
            None => Some(None),
        };
        let timeout = match &raw.timeout {
            Some(span) => wait(span, "timeout", complaints).filter(|timeout| {
                let fits = *timeout <= TIMEOUT_MAX;
                if !fits {
                    complaints.at("timeout", |complaints| {
                        complaints.add("a call would wait too long", "write at most \"250ms\"");
                    });
                }
                fits
            }),
            None => Some(Duration::from_millis(200)),
        };
        let (service, user, database) = place?;
        Some(Settings {
            service,
            tls: tls?,
            redis: RedisSettings {
                login: Login {
                    user,
                    password: password?,
                    database,
                },
                prefix: raw.prefix.clone().unwrap_or("portcullis:".to_owned()),
                fail: match raw.fail {
                    RawFail::Local => Fail::Local,
                    RawFail::Closed => Fail::Closed,
                },
                timeout: timeout?,
            },
        })
    }
}

fn place(raw: &RawRedis, complaints: &mut Complaints) -> Option<(Service, Option<String>, i64)> {
    let (url, host) = service(&raw.url, "Redis", EXAMPLE, complaints)?;
    let (encrypted, usual) = match url.scheme() {
        "rediss" if raw.danger_plaintext => {
            complaints.add(
                "is `rediss`, which goes ill with `danger_plaintext`",
                "leave one of them out",
            );
            return None;
        }
        "rediss" => (true, 6380),
        "redis" if net::is_here(&host) || raw.danger_plaintext => (false, 6379),
        "redis" => {
            complaints.add(
                "would speak to another machine in the clear",
                "write \"rediss://…\", or set danger_plaintext = true",
            );
            return None;
        }
        _ => {
            complaints.add("is neither `rediss` nor `redis`", EXAMPLE);
            return None;
        }
    };
    let database = match url.path().trim_start_matches('/') {
        "" => Some(0),
        number => number
            .parse()
            .ok()
            .filter(|number| (0..=1_000_000).contains(number)),
    };
    let (Some(database), None, None) = (database, url.query(), url.fragment()) else {
        complaints.add("has more than user, host, port and database", EXAMPLE);
        return None;
    };
    let service = Service {
        host,
        port: url.port().unwrap_or(usual),
        encrypted,
        reach: Reach::Operator,
        timeout: CONNECT_TIMEOUT,
    };
    let user = Some(url.username().to_owned()).filter(|user| !user.is_empty());
    Some((service, user, database))
}
