//! `[auth.accounts]` and `[mail]`: local accounts and the mail that they need, from what people write to
//! [`auth::accounts::Settings`].

use std::sync::Arc;

use auth::accounts;
use net::mail::{self, Mailer, Security};
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};

use super::check::{Checker, wait};
use super::raw::{Raw, Secret, Span};
use super::service::service;

/// Ports of mail submission (RFC 8314 section 7.3, RFC 6409 section 3.1).
const PORT_TLS: u16 = 465;
const PORT_STARTTLS: u16 = 587;
const EXAMPLE: &str = "write for example \"smtps://gate@mail.example.com:465\"";

/// Local accounts.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAccounts {
    /// A browser that nobody used for so long is signed out; `8h` unless said.
    pub session_idle: Option<Span>,
    /// A browser is signed out so long after the sign-in, used or not; `7d` unless said.
    pub session_max: Option<Span>,
}

/// How mail leaves, for people who forgot their password.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMail {
    /// The mail server, as `smtps://user@host:465` (TLS from the start) or `smtp://user@host:587` (STARTTLS, without which nothing is sent; on this machine in the clear).
    pub url: String,
    /// The user's password there.
    pub password: Option<Secret>,
    /// From whom mail is, as `Portcullis <gate@example.com>`.
    pub from: String,
    /// A PEM file with the authorities that may have signed the server's certificate, in place of those of the operating system.
    pub ca: Option<String>,
    /// Sends mail, and the password for the mail server, over the network in the clear. With an `smtp` `url`.
    #[serde(default)]
    pub danger_plaintext: bool,
}

impl Checker<'_> {
    /// What `[auth.accounts]` and `[mail]` say.
    pub(super) fn accounts(
        &self,
        raw: &Raw,
        complaints: &mut Complaints,
    ) -> Option<accounts::Settings> {
        let usual = accounts::Settings::default();
        let (idle, max) = complaints.at("auth", |complaints| {
            complaints.at("accounts", |complaints| {
                let raw = &raw.auth.accounts;
                let mut long = |raw: &Option<Span>, key, usual| match raw {
                    Some(span) => wait(span, key, complaints),
                    None => Some(usual),
                };
                let idle = long(&raw.session_idle, "session_idle", usual.session_idle);
                (
                    idle,
                    long(&raw.session_max, "session_max", usual.session_max),
                )
            })
        });
        let mailer = match &raw.mail {
            Some(mail) => complaints
                .at("mail", |complaints| self.mailer(mail, complaints))
                .map(|mailer| Some(Arc::new(mailer))),
            None => Some(None),
        };
        Some(accounts::Settings {
            session_idle: idle?,
            session_max: max?,
            mailer: mailer?,
        })
    }

    fn mailer(&self, raw: &RawMail, complaints: &mut Complaints) -> Option<Mailer> {
        let server = complaints.at("url", |complaints| server(raw, complaints));
        let password = self.password(raw.password.as_ref(), "mail.password", complaints);
        let authorities = match &raw.ca {
            Some(path) => complaints
                .at("ca", |complaints| self.file(path, "mail.ca", complaints))
                .map(Some),
            None => Some(None),
        };
        let is_mailbox = mail::is_mailbox(&raw.from);
        if !is_mailbox {
            complaints.at("from", |complaints| {
                complaints.add(
                    format!("`{}` is not a mail address", raw.from),
                    "write for example \"Portcullis <gate@example.com>\"",
                );
            });
        }
        let (server, password, authorities) = (server?, password?, authorities?);
        let credentials = match (server.user, password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            (Some(_), None) => {
                complaints.at("password", |complaints| {
                    complaints.add(
                        "is missing: `url` names a user",
                        "write password = { env = \"…\" }, or leave the user out of `url`",
                    );
                });
                return None;
            }
            (None, Some(_)) => {
                complaints.at("url", |complaints| {
                    complaints.add("names no user to go with `password`", EXAMPLE);
                });
                return None;
            }
        };
        if !is_mailbox {
            return None;
        }
        complaints.keep(
            Mailer::new(mail::Settings {
                host: server.host,
                port: server.port,
                security: server.security,
                credentials,
                from: raw.from.clone(),
                authorities,
            }),
            "",
        )
    }
}

struct Server {
    user: Option<String>,
    host: String,
    port: u16,
    security: Security,
}

fn server(raw: &RawMail, complaints: &mut Complaints) -> Option<Server> {
    let (url, host) = service(&raw.url, "mail server", EXAMPLE, complaints)?;
    let is_bare =
        matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !is_bare {
        complaints.add("has more than user, host and port", EXAMPLE);
        return None;
    }
    let (security, usual) = match url.scheme() {
        "smtps" if raw.danger_plaintext => {
            complaints.add(
                "is `smtps`, which goes ill with `danger_plaintext`",
                "leave one of them out",
            );
            return None;
        }
        "smtps" => (Security::Tls, PORT_TLS),
        "smtp" if net::is_here(&host) || raw.danger_plaintext => (Security::Plain, PORT_STARTTLS),
        "smtp" => (Security::StartTls, PORT_STARTTLS),
        _ => {
            complaints.add("is neither `smtps` nor `smtp`", EXAMPLE);
            return None;
        }
    };
    let host = match host {
        Host::Domain(name) => name,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some(Server {
        user: user(&url),
        host,
        port: url.port().unwrap_or(usual),
        security,
    })
}

/// The user, which is often an address and stands in the URL with its `@` encoded.
fn user(url: &Url) -> Option<String> {
    let encoded = format!("u={}", url.username().replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(encoded.as_bytes()).next();
    decoded
        .map(|(_, user)| user.into_owned())
        .filter(|user| !user.is_empty())
}

#[cfg(test)]
mod tests;
