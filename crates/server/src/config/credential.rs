//! `credential` of an upstream: what the gate shows it, in place of whatever a client presented to the gate.

use std::collections::BTreeMap;
use std::time::Duration;

use auth::outbound::{ClientSettings, Exchange, Grant, Proof, Settings, SigningKey};
use http::{HeaderName, HeaderValue, header};
use policy::UpstreamId;
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use upstream::Credential;
use url::Url;
use zeroize::Zeroizing;

use super::check::{Checker, wait};
use super::raw::{RawSharing, RawUpstream, Secret, Span};

/// How long an exchanged token may be good, unless said.
const EXCHANGED_LIFETIME: Duration = Duration::from_hours(1);
/// The longest that can be said.
const EXCHANGED_LIFETIME_MAX: Duration = Duration::from_hours(24);

/// What an upstream is shown: a bearer token that stands here, or one that is obtained by OAuth.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCredential {
    /// A bearer token.
    pub bearer: Option<Secret>,
    /// How a token is obtained. `client-credentials`: the gate has access of its own. `per-user`: each principal
    /// connects the upstream once, in a browser; its tools are listed as the first who does sees them.
    /// `token-exchange` (RFC 8693): for each principal that calls, the gate signs who it is, and the authorization server
    /// gives a token for that. It has to trust what the gate signs: the gate's issuer is its public URL, with keys at
    /// `/oauth/jwks`, so this needs `auth.server.enabled`. The tools are listed with access of the gate's own, as with
    /// `client-credentials`, which that server has to grant the same client. What a client presented to the gate goes
    /// nowhere.
    pub oauth: Option<RawGrant>,
    /// The gate's id as a client of the authorization server; without one the gate introduces itself.
    pub client_id: Option<String>,
    /// The secret that belongs to it; goes with `issuer`, the only server that gets to see it.
    pub client_secret: Option<Secret>,
    /// Or the private key, as PEM, with which the gate signs who it is (RFC 7523).
    pub client_key: Option<Secret>,
    /// What to ask for; unless said, what the upstream asks for.
    pub scopes: Option<Vec<String>>,
    /// The authorization server; unless said, the first that the upstream names. `token-exchange` needs it.
    pub issuer: Option<String>,
    /// What the authorization server calls the upstream, besides its URL; for `token-exchange`.
    pub audience: Option<String>,
    /// Tokens that are good for longer are refused; `1h` unless said, at most `24h`; for `token-exchange`.
    pub lifetime_max: Option<Span>,
}

/// How a token is obtained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RawGrant {
    ClientCredentials,
    PerUser,
    TokenExchange,
}

impl RawGrant {
    fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client-credentials",
            Self::PerUser => "per-user",
            Self::TokenExchange => "token-exchange",
        }
    }
}

/// What a credential comes to in the spec of an upstream.
pub(super) struct Shown {
    pub(super) credential: Credential,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
}

impl Checker<'_> {
    /// What an upstream is shown.
    pub(super) fn credential(
        &self,
        raw: &RawUpstream,
        url: &Url,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Shown> {
        let nothing = Shown {
            credential: Credential::Written,
            header: None,
        };
        let Some(credential) = &raw.credential else {
            return Some(nothing);
        };
        let says_itself = raw.headers.iter().flatten();
        let says_itself = says_itself
            .map(|(name, _)| name)
            .any(|name| name.eq_ignore_ascii_case("authorization"));
        complaints.at("credential", |complaints| {
            if says_itself {
                complaints.add("and `headers.Authorization` exclude each other", "keep one");
                return None;
            }
            let grant = match (&credential.bearer, credential.oauth) {
                (Some(bearer), None) => {
                    if !raw.enabled {
                        return Some(nothing);
                    }
                    let header = self.bearer(bearer, key, complaints)?;
                    return Some(Shown {
                        credential: Credential::Written,
                        header: Some((header::AUTHORIZATION, header)),
                    });
                }
                (None, Some(grant)) => grant,
                (None, None) | (Some(_), Some(_)) => {
                    complaints.add(
                        "needs one of `bearer` and `oauth`",
                        "write for example { oauth = \"per-user\" }",
                    );
                    return None;
                }
            };
            if !is_private(url) {
                complaints.add(
                    "would cross the network in the clear",
                    "give the upstream an https `url`",
                );
                return None;
            }
            if grant != RawGrant::ClientCredentials {
                if url.scheme().starts_with("ws") {
                    complaints.add(
                        format!(
                            "cannot be `{}` on a WebSocket, which carries everybody's calls",
                            grant.as_str()
                        ),
                        "use the server's http endpoint",
                    );
                    return None;
                }
                if matches!(raw.sessions, Some(RawSharing::Shared)) {
                    complaints.add(
                        format!(
                            "cannot be `{}` with `sessions = \"shared\"`",
                            grant.as_str()
                        ),
                        "leave out `sessions`",
                    );
                    return None;
                }
            }
            Some(Shown {
                credential: match grant {
                    RawGrant::ClientCredentials => Credential::Own,
                    RawGrant::PerUser | RawGrant::TokenExchange => Credential::Personal,
                },
                header: None,
            })
        })
    }

    fn bearer(
        &self,
        bearer: &Secret,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<HeaderValue> {
        complaints.at("bearer", |complaints| {
            let key = format!("{key}.credential.bearer");
            let token = Zeroizing::new(self.secret("token", bearer, &key, complaints)?);
            let text = Zeroizing::new(format!("Bearer {}", *token));
            let Ok(mut value) = HeaderValue::try_from(text.as_str()) else {
                complaints.add("holds a character that no header can carry", "");
                return None;
            };
            value.set_sensitive(true);
            Some(value)
        })
    }

    /// What the credentials that are obtained need. `can_vouch`: whether the gate signs who principals are.
    pub(super) fn outbound(
        &self,
        raw: &BTreeMap<String, RawUpstream>,
        can_vouch: bool,
        complaints: &mut Complaints,
    ) -> Option<Settings> {
        let mut upstreams = Vec::new();
        let mut whole = true;
        for (alias, raw) in raw.iter().filter(|(_, raw)| raw.enabled) {
            let Some(credential) = &raw.credential else {
                continue;
            };
            // What is wrong with these is complained about where the upstream is read.
            let (Some(grant), Ok(id)) = (credential.oauth, UpstreamId::parse(alias)) else {
                continue;
            };
            let Some(Ok(url)) = raw.url.as_deref().map(Url::parse) else {
                continue;
            };
            let checked = complaints.at(alias, |complaints| {
                complaints.at("credential", |complaints| {
                    let key = format!("upstreams.{alias}.credential");
                    let client = self.client_at(credential, grant, &key, complaints);
                    let scopes = scopes(credential, complaints);
                    let issuer = issuer(credential, complaints);
                    let grant = granted(credential, grant, can_vouch, complaints);
                    Some(auth::outbound::Upstream {
                        id,
                        url,
                        grant: grant?,
                        client: client?,
                        scopes: scopes?,
                        issuer: issuer?,
                    })
                })
            });
            whole &= checked.is_some();
            upstreams.extend(checked);
        }
        whole.then_some(Settings { upstreams })
    }

    fn client_at(
        &self,
        raw: &RawCredential,
        grant: RawGrant,
        key: &str,
        complaints: &mut Complaints,
    ) -> Option<Option<ClientSettings>> {
        let mut secret = |name: &str, secret: &Secret| {
            complaints.at(name, |complaints| {
                let key = format!("{key}.{name}");
                let text = self.secret(name, secret, &key, complaints)?;
                Some(Zeroizing::new(text))
            })
        };
        let proof = match (&raw.client_secret, &raw.client_key) {
            (None, None) => Proof::None,
            (Some(text), None) => Proof::Secret(secret("client_secret", text)?),
            (None, Some(text)) => {
                let pem = secret("client_key", text)?;
                let Some(signing) = SigningKey::from_pem(&pem) else {
                    complaints.at("client_key", |complaints| {
                        complaints.add(
                            "is no private key in PEM (PKCS #8) for P-256, P-384, Ed25519 or RSA",
                            "make one with `openssl genpkey`",
                        );
                    });
                    return None;
                };
                Proof::Key(signing)
            }
            (Some(_), Some(_)) => {
                complaints.add("has both `client_secret` and `client_key`", "keep one");
                return None;
            }
        };
        // The upstream names the server otherwise, and would be shown the secret by naming its own.
        if raw.client_secret.is_some() && raw.issuer.is_none() {
            complaints.at("client_secret", |complaints| {
                complaints.add(
                    "goes to whatever server the upstream names",
                    "add issuer = \"https://…\", the one that the secret is for",
                );
            });
            return None;
        }
        match &raw.client_id {
            Some(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
                if proof == Proof::None && grant != RawGrant::PerUser {
                    complaints.add(
                        "proves nothing",
                        "add `client_secret = { env = \"…\" }` or `client_key`",
                    );
                    return None;
                }
                let id = id.clone();
                Some(Some(ClientSettings { id, proof }))
            }
            Some(_) => {
                complaints.at("client_id", |complaints| {
                    complaints.add("is not an id of a client", "");
                });
                None
            }
            None if proof != Proof::None || grant != RawGrant::PerUser => {
                complaints.add("lacks `client_id`", "register the gate there and add it");
                None
            }
            None => Some(None),
        }
    }
}

/// How the token is obtained, with what only an exchange has.
fn granted(
    raw: &RawCredential,
    grant: RawGrant,
    can_vouch: bool,
    complaints: &mut Complaints,
) -> Option<Grant> {
    let plain = match grant {
        RawGrant::ClientCredentials => Some(Grant::ClientCredentials),
        RawGrant::PerUser => Some(Grant::PerUser),
        RawGrant::TokenExchange => None,
    };
    if let Some(plain) = plain {
        let only = [
            ("audience", raw.audience.is_some()),
            ("lifetime_max", raw.lifetime_max.is_some()),
        ];
        let stray = only.into_iter().find(|(_, is_there)| *is_there);
        let Some((name, _)) = stray else {
            return Some(plain);
        };
        complaints.at(name, |complaints| {
            complaints.add("goes only with `oauth = \"token-exchange\"`", "remove it");
        });
        return None;
    }
    if !can_vouch {
        complaints.add(
            "needs the key of the embedded authorization server, which is off: with it the gate signs who calls",
            "set `auth.server.enabled = true`",
        );
    }
    // Who principals are is told to nobody whom only the upstream names.
    if raw.issuer.is_none() {
        complaints.add(
            "lacks `issuer`",
            "name the authorization server that exchanges the token",
        );
    }
    let audience = match &raw.audience {
        Some(text) if text.is_empty() || text.chars().any(char::is_control) => {
            complaints.at("audience", |complaints| {
                complaints.add(
                    "is no audience",
                    "write it as the authorization server does",
                );
            });
            None
        }
        audience => Some(audience.clone()),
    };
    let lifetime_max = match &raw.lifetime_max {
        None => Some(EXCHANGED_LIFETIME),
        Some(raw) => wait(raw, "lifetime_max", complaints),
    };
    let is_long = lifetime_max.is_some_and(|long| long > EXCHANGED_LIFETIME_MAX);
    if is_long {
        complaints.at("lifetime_max", |complaints| {
            complaints.add("is too long", "at most \"24h\"");
        });
    }
    let exchange = Exchange {
        audience: audience?,
        lifetime_max: lifetime_max?,
    };
    (can_vouch && raw.issuer.is_some() && !is_long).then_some(Grant::TokenExchange(exchange))
}

fn scopes(raw: &RawCredential, complaints: &mut Complaints) -> Option<Option<Vec<String>>> {
    let is_scope = |scope: &String| {
        let is_char = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        !scope.is_empty() && scope.bytes().all(is_char)
    };
    match &raw.scopes {
        Some(scopes) if !scopes.iter().all(is_scope) => {
            complaints.at("scopes", |complaints| {
                complaints.add(
                    "holds what is no scope",
                    "write for example [\"repo\", \"user\"]",
                );
            });
            None
        }
        scopes => Some(scopes.clone()),
    }
}

fn issuer(raw: &RawCredential, complaints: &mut Complaints) -> Option<Option<String>> {
    let Some(text) = &raw.issuer else {
        return Some(None);
    };
    complaints.at("issuer", |complaints| {
        let hint =
            "write it as the authorization server does, for example \"https://login.example.com\"";
        let url = complaints.keep(Url::parse(text), hint)?;
        if !is_private(&url) || url.query().is_some() || url.fragment().is_some() {
            complaints.add("is no issuer: it has to be an https URL", hint);
            return None;
        }
        Some(Some(text.clone()))
    })
}

/// Whether nobody between reads what is sent there.
fn is_private(url: &Url) -> bool {
    let is_here = url.host().is_some_and(|host| net::is_here(&host));
    is_here || matches!(url.scheme(), "https" | "wss")
}
