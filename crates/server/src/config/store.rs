//! `[store]`: where what is durable is kept, from what people write to [`crate::database::Settings`].

use std::path::Path;

use net::{Reach, Service};
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use store::PostgresLogin;
use url::{Host, Url};

use super::check::Checker;
use super::raw::Secret;
use crate::database::{CONNECT_TIMEOUT, Door, Settings};

const EXAMPLE: &str = "write for example \"postgres://gate@db.example.com/portcullis\"";
const PORT: u16 = 5432;

/// Where what is durable is kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    /// A PostgreSQL 12 or later in the place of the file in `data_dir`, so that several gates share what is durable and write one audit log: `postgres://user@host:5432/database` (TLS; in the clear on this machine), or `postgres://user@%2Frun%2Fpostgresql/database` for a socket in that folder. The database is there already, with the encoding UTF8, and the user may make tables in it. Connections stay as they are given: behind a pooler it has to be one that pools sessions. Another database holds from the next start on.
    pub postgres: Option<String>,
    /// The user's password: `{ env = "NAME" }` or `{ file = "PATH" }`.
    pub password: Option<Secret>,
    /// A PEM file with the authorities that may have signed the PostgreSQL's certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// Speaks to a PostgreSQL on another machine in the clear.
    #[serde(default)]
    pub danger_plaintext: bool,
}

impl Checker<'_> {
    /// What `[store]` says; `Some(None)`: a file.
    pub(super) fn store(
        &self,
        raw: &RawStore,
        complaints: &mut Complaints,
    ) -> Option<Option<Settings>> {
        complaints.at("store", |complaints| {
            let Some(text) = &raw.postgres else {
                let others = [
                    ("password", raw.password.is_some()),
                    ("ca", raw.ca.is_some()),
                    ("danger_plaintext", raw.danger_plaintext),
                ];
                for (key, _) in others.into_iter().filter(|(_, is_said)| *is_said) {
                    complaints.at(key, |complaints| {
                        complaints.add("goes with `postgres` alone", EXAMPLE);
                    });
                }
                return others.iter().all(|(_, is_said)| !is_said).then_some(None);
            };
            self.postgres(text, raw, complaints).map(Some)
        })
    }

    fn postgres(
        &self,
        text: &str,
        raw: &RawStore,
        complaints: &mut Complaints,
    ) -> Option<Settings> {
        let place = complaints.at("postgres", |complaints| place(text, raw, complaints));
        let password = match &raw.password {
            None => Some(None),
            Some(secret) => complaints.at("password", |complaints| {
                self.own_secret(secret, "store.password", complaints)
                    .map(Some)
            }),
        };
        let tls = match &raw.ca {
            None => Some(None),
            Some(path) => complaints.at("ca", |complaints| {
                let authorities = self.file(path, "store.ca", complaints)?;
                let settings = net::TlsSettings {
                    authorities: Some(&authorities),
                    ..net::TlsSettings::default()
                };
                complaints.keep(net::Tls::new(&settings), "").map(Some)
            }),
        };
        let Place {
            door,
            user,
            database,
            name,
        } = place?;
        Some(Settings {
            door,
            tls: tls?,
            login: PostgresLogin {
                user,
                password: password?,
                database,
            },
            place: name,
        })
    }
}

struct Place {
    door: Door,
    user: String,
    database: String,
    /// For messages.
    name: String,
}

/// The URL is not repeated in complaints: somebody may have put a password in it.
fn place(text: &str, raw: &RawStore, complaints: &mut Complaints) -> Option<Place> {
    let mut no = |reason: &str, hint: &str| {
        complaints.add(reason, hint);
        None
    };
    let Some(url) = Url::parse(text).ok().filter(Url::has_host) else {
        return no("is not the URL of a PostgreSQL", EXAMPLE);
    };
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return no("is neither `postgres` nor `postgresql`", EXAMPLE);
    }
    if url.password().is_some() {
        return no(
            "has a password in it",
            "take it out, and write password = { env = \"…\" } beside it",
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return no("has more than user, host, port and database", EXAMPLE);
    }
    let (Some(host), Some(user), Some(database)) = (
        url.host_str().and_then(decoded),
        decoded(url.username()),
        decoded(url.path().trim_start_matches('/')),
    ) else {
        return no("has no user, no host or no database", EXAMPLE);
    };
    let port = url.port().unwrap_or(PORT);
    let name = format!("postgres://{host}:{port}/{database}");
    let door = if host.starts_with('/') {
        Door::Socket(Path::new(&host).join(format!(".s.PGSQL.{port}")))
    } else {
        let Ok(host) = Host::parse(&host) else {
            return no("has a host that is none", EXAMPLE);
        };
        let encrypted = !raw.danger_plaintext && (!net::is_here(&host) || raw.ca.is_some());
        Door::Port(Service {
            host,
            port,
            encrypted,
            reach: Reach::Operator,
            timeout: CONNECT_TIMEOUT,
        })
    };
    if raw.danger_plaintext && raw.ca.is_some() {
        return no(
            "goes ill with both `ca` and `danger_plaintext`",
            "leave one of them out",
        );
    }
    Some(Place {
        door,
        user,
        database,
        name,
    })
}

/// A part of a URL as it is meant; `None` if there is none.
fn decoded(part: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(part)
        .decode_utf8()
        .ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}
