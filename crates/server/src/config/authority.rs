//! `[auth.server]`: the embedded authorization server, from what people write to [`auth::authority::Settings`].
//!
//! What a client may register by itself is judged by `auth`; clients that stand here are held against the same rules.

use std::collections::BTreeMap;
use std::time::Duration;

use auth::authority::{
    ClientSecret, ConfiguredClient, Settings, TOKEN_LIFETIME_MAX, is_redirect_uri,
};
use auth::tokens::{Algorithm, KeyError, VerifyingKey};
use policy::config::Complaints;
use policy::{PrincipalId, RoleName, Scope, Scopes};
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{Checker, all, wait};
use super::raw::{Raw, Secret, Span};
use super::shape::nearest;

/// The longest that a refresh token may lie, or a grant last, or a client be remembered.
const LONG_MAX: Duration = Duration::from_hours(24 * 366);
/// The shortest secret: it may be guessed at by anybody who reaches the gate.
const SECRET_CHARS_MIN: usize = 24;
/// The longest id of a client.
const ID_CHARS_MAX: usize = 128;
/// What ids of clients that register themselves begin with.
const REGISTERED: &str = "dyn_";

/// The authorization server in the gate.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    /// Whether there is one; `true` unless `auth.issuers` names another.
    pub enabled: Option<bool>,
    /// How long an access token is good; `10m` unless said, at most `1h`.
    pub token_lifetime: Option<Span>,
    /// How long a refresh token may lie unused; `14d` unless said.
    pub refresh_idle: Option<Span>,
    /// How long a client may go on without asking its user again; `90d` unless said.
    pub refresh_lifetime: Option<Span>,
    /// Whether clients may register themselves (RFC 7591), as most MCP clients do; `true` unless said. What they may do
    /// is for each user to say, when asked.
    pub registration: Option<bool>,
    /// Clients that registered are forgotten when nobody used them for so long; `90d` unless said.
    pub registration_unused: Option<Span>,
    /// Schemes of apps that clients may be sent back to, besides those in reverse-domain form such as
    /// `com.example.app`; `["cursor"]` unless said.
    pub redirect_schemes: Option<Vec<String>>,
    /// Whether metadata documents of clients (a `client_id` that is a URL) are fetched from this machine and private
    /// networks, too: then users of the gate can have it look there.
    #[serde(default)]
    pub danger_private_client_documents: bool,
    /// Clients that need not register, by `client_id`.
    #[serde(default)]
    pub clients: BTreeMap<String, RawClient>,
}

/// A client of the authorization server in the gate.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawClient {
    /// What users are shown; its id unless said.
    pub name: Option<String>,
    /// What it authenticates with. A client without one, and without keys, is public.
    pub secret: Option<Secret>,
    /// The public keys that it authenticates with in place of a secret (`private_key_jwt`), each in PEM form
    /// (`BEGIN PUBLIC KEY`) or as a JWK: `[{ file = "robot.pem" }]`.
    #[serde(default)]
    pub keys: Vec<Secret>,
    /// Where users are sent back to, character by character; on the loopback address with any port.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// The scopes that it can have; all but `mcp:admin` unless said.
    pub scopes: Option<Vec<String>>,
    /// Whom it stands for when it acts by itself (`client_credentials`). Without one it cannot; with one it needs a secret
    /// or keys.
    pub principal: Option<String>,
    /// Roles that it has when it acts by itself, besides those whose `members` name the principal.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether its tokens are bound to the TLS certificate that it comes with (RFC 8705).
    #[serde(default)]
    pub certificate_bound: bool,
}

impl Checker<'_> {
    /// What `[auth.server]` says. `known`: the roles that there are.
    pub(super) fn authority(
        &self,
        raw: &Raw,
        known: &[&str],
        complaints: &mut Complaints,
    ) -> Option<Settings> {
        let usual = Settings::default();
        let has_others = !raw.auth.issuers.is_empty();
        let raw = &raw.auth.server;
        let mut long = |raw: &Option<Span>, key, usual, max| match raw {
            None => Some(usual),
            Some(raw) => within(raw, key, max, complaints),
        };
        let token_lifetime = long(
            &raw.token_lifetime,
            "token_lifetime",
            usual.token_lifetime,
            TOKEN_LIFETIME_MAX,
        );
        let refresh_idle = long(
            &raw.refresh_idle,
            "refresh_idle",
            usual.refresh_idle,
            LONG_MAX,
        );
        let refresh_lifetime = long(
            &raw.refresh_lifetime,
            "refresh_lifetime",
            usual.refresh_lifetime,
            LONG_MAX,
        );
        let registration_unused = long(
            &raw.registration_unused,
            "registration_unused",
            usual.registration_unused,
            LONG_MAX,
        );
        let redirect_schemes = match &raw.redirect_schemes {
            None => Some(usual.redirect_schemes),
            Some(schemes) => complaints.at("redirect_schemes", |complaints| {
                all(schemes, complaints, scheme)
            }),
        };
        let schemes = redirect_schemes.clone().unwrap_or_default();
        let clients: Vec<Option<ConfiguredClient>> = complaints.at("clients", |complaints| {
            let one = |(id, raw): (&String, &RawClient)| {
                complaints.at(id, |complaints| {
                    self.client(id, raw, known, &schemes, complaints)
                })
            };
            raw.clients.iter().map(one).collect()
        });
        Some(Settings {
            enabled: raw.enabled.unwrap_or(!has_others),
            token_lifetime: token_lifetime?,
            refresh_idle: refresh_idle?,
            refresh_lifetime: refresh_lifetime?,
            registration: raw.registration.unwrap_or(usual.registration),
            registration_unused: registration_unused?,
            redirect_schemes: redirect_schemes?,
            danger_private_client_documents: raw.danger_private_client_documents,
            clients: clients.into_iter().collect::<Option<_>>()?,
        })
    }

    fn client(
        &self,
        id: &str,
        raw: &RawClient,
        known: &[&str],
        schemes: &[String],
        complaints: &mut Complaints,
    ) -> Option<ConfiguredClient> {
        let named = check_id(id, complaints);
        let secret = match &raw.secret {
            None => Some(None),
            Some(secret) => complaints.at("secret", |complaints| {
                let key = format!("auth.server.clients.{id}.secret");
                let text = self.secret("secret", secret, &key, complaints)?;
                if text.chars().count() < SECRET_CHARS_MIN {
                    complaints.add(
                        "has less than 24 characters",
                        "`openssl rand -base64 32` makes a good one",
                    );
                    return None;
                }
                Some(Some(ClientSecret::new(text)))
            }),
        };
        let keys: Vec<Option<VerifyingKey>> = complaints.at("keys", |complaints| {
            let one = |(index, text): (usize, &Secret)| {
                complaints.at(index.to_string(), |complaints| {
                    let key = format!("auth.server.clients.{id}.keys.{index}");
                    let text = self.secret("keys", text, &key, complaints)?;
                    complaints.keep(public_key(&text), "")
                })
            };
            raw.keys.iter().enumerate().map(one).collect()
        });
        let redirect_uris = complaints.at("redirect_uris", |complaints| {
            all(&raw.redirect_uris, complaints, |uri, complaints| {
                let checked = complaints.keep(is_redirect_uri(uri, schemes), "");
                checked.map(|()| uri.clone())
            })
        });
        let scopes = match &raw.scopes {
            None => Some(Scopes::CALLS),
            Some(scopes) => complaints
                .at("scopes", |complaints| all(scopes, complaints, scope))
                .map(|scopes| scopes.into_iter().collect()),
        };
        let roles = complaints.at("roles", |complaints| {
            all(&raw.roles, complaints, |text, complaints| {
                role(text, known, complaints)
            })
        });
        let principal = match &raw.principal {
            None => Some(None),
            Some(text) => complaints
                .at("principal", |complaints| {
                    complaints.keep(PrincipalId::new(text), "")
                })
                .map(Some),
        };
        let fits = can_act(raw, complaints);
        let machine = principal?.map(|principal| {
            let roles = roles.clone().unwrap_or_default();
            (principal, roles.into_iter().collect())
        });
        roles?;
        (named && fits).then_some(ConfiguredClient {
            id: id.to_owned(),
            name: raw.name.clone().unwrap_or_else(|| id.to_owned()),
            secret: secret?,
            keys: keys.into_iter().collect::<Option<_>>()?,
            redirect_uris: redirect_uris?,
            scopes: scopes?,
            machine,
            certificate_bound: raw.certificate_bound,
        })
    }
}

/// Whether what stands there comes to a client that can do something, and nothing by mistake.
fn can_act(raw: &RawClient, complaints: &mut Complaints) -> bool {
    let is_public = raw.secret.is_none() && raw.keys.is_empty();
    let (reason, hint) = match (&raw.principal, is_public) {
        _ if raw.secret.is_some() && !raw.keys.is_empty() => (
            "has a secret and keys",
            "keep one: whoever has the other could be it, too",
        ),
        (Some(_), true) => (
            "acts by itself without a secret: anybody could be it",
            "write secret = { env = \"…\" }, or keys = [{ file = \"…\" }]",
        ),
        (None, _) if raw.redirect_uris.is_empty() => (
            "can do nothing",
            "write redirect_uris for users that allow it something, or principal for what it does by itself",
        ),
        (None, _) if !raw.roles.is_empty() => (
            "has roles and no principal",
            "roles are for what it does by itself; users have their own",
        ),
        (None | Some(_), _) => return true,
    };
    complaints.add(reason, hint);
    false
}

fn public_key(text: &str) -> Result<VerifyingKey, KeyError> {
    if !text.trim_start().starts_with('{') {
        return VerifyingKey::from_pem(text, None, Algorithm::Rs256);
    }
    match serde_json::from_str(text) {
        Ok(jwk) => VerifyingKey::from_jwk(&jwk, Algorithm::Rs256),
        Err(_) => Err(KeyError::Malformed),
    }
}

fn check_id(id: &str, complaints: &mut Complaints) -> bool {
    let is_plain = id.len() <= ID_CHARS_MAX && id.bytes().all(|byte| byte.is_ascii_graphic());
    if id.is_empty() || !is_plain || id.starts_with(REGISTERED) || id.contains("://") {
        complaints.add(
            "is no id for a client",
            "use up to 128 letters, digits and signs; neither a URL nor dyn_…",
        );
        return false;
    }
    true
}

fn within(raw: &Span, key: &str, max: Duration, complaints: &mut Complaints) -> Option<Duration> {
    let long = wait(raw, key, complaints)?;
    if long > max {
        complaints.at(key, |complaints| {
            let hours = max.as_secs() / 3600;
            complaints.add("is too long", format!("at most \"{hours}h\""));
        });
        return None;
    }
    Some(long)
}

fn scheme(text: &String, complaints: &mut Complaints) -> Option<String> {
    // What browsers do something of their own with is never an app.
    const TAKEN: [&str; 11] = [
        "http",
        "https",
        "ws",
        "wss",
        "ftp",
        "file",
        "data",
        "blob",
        "about",
        "javascript",
        "vbscript",
    ];
    let is_scheme = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        });
    if !is_scheme || TAKEN.contains(&text.as_str()) {
        complaints.add(
            format!("`{text}` is no scheme of an app"),
            "write it in lower case and without `://`, as \"cursor\"",
        );
        return None;
    }
    Some(text.clone())
}

fn scope(text: &String, complaints: &mut Complaints) -> Option<Scope> {
    let scope = Scope::parse(text);
    if scope.is_none() {
        let words: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
        complaints.add(
            format!("there is no scope `{text}`"),
            format!("use {}", words.join(", ")),
        );
    }
    scope
}

fn role(text: &str, known: &[&str], complaints: &mut Complaints) -> Option<RoleName> {
    if !known.contains(&text) {
        let hint = match nearest(text, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("add a [roles.{text}]"),
        };
        complaints.add(format!("there is no role `{text}`"), hint);
        return None;
    }
    complaints.keep(RoleName::new(text), "")
}
