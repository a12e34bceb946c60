//! `[auth.issuers.NAME]`: whose access tokens are taken, from what people write to [`auth::tokens::Issuer`].
//!
//! What cannot work, or would take tokens that were meant for somebody else, is complained about here; how a token is
//! held against an issuer is `auth`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use auth::tokens::{
    ACCESS_TOKEN, Algorithm, ClaimPath, Claims, ClientSecret, Dpop, EMBEDDED, Freshness,
    Introspection, Issuer, KeyError, KeySource, Place, Roles, SKEW_MAX, VerifyingKey, jwks, rsa_of,
};
use policy::config::Complaints;
use policy::{PrincipalId, RoleName, Rules, Scope, Scopes};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::check::{Checker, all, wait};
use super::is_placeholder;
use super::raw::{Raw, Secret, Span};
use super::shape::nearest;

const SKEW: Duration = Duration::from_secs(30);
const LIFETIME: Duration = Duration::from_hours(24);
/// The longest that a token may be good for.
const LIFETIME_MAX: Duration = Duration::from_hours(24 * 31);
const REFRESH: Duration = Duration::from_mins(5);
const STALE: Duration = Duration::from_hours(1);
/// The longest that keys are used without hearing from their issuer.
const STALE_MAX: Duration = Duration::from_hours(24 * 7);

/// An issuer whose access tokens are taken.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    /// The issuer's identifier: what its tokens say as `iss`, byte for byte. Its metadata are looked up below it, unless
    /// `jwks`, `keys` or `introspection` says where else to turn.
    pub url: String,
    /// The URL of its JWK Set, if that is not to be looked up.
    pub jwks: Option<String>,
    /// Its public keys themselves, each in PEM form (`BEGIN PUBLIC KEY`) or as a JWK: `[{ file = "corp.pem" }]`.
    pub keys: Option<Vec<Secret>>,
    /// Whether its keys are looked up in its metadata (RFC 8414, OpenID Connect Discovery); `true` unless `jwks`, `keys`
    /// or `introspection` is there.
    pub discovery: Option<bool>,
    /// From this age on, fetched keys are fetched again; `5m` unless said.
    pub refresh: Option<Span>,
    /// How long fetched keys are used while the issuer cannot be reached; `1h` unless said, at most `7d`. After that its
    /// tokens cannot be checked and get a 503.
    pub stale_max: Option<Span>,
    /// Audiences that are taken besides the gate's own URLs, byte for byte.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// How its tokens may be signed: `RS256`, `ES256` and `EdDSA` unless said; `PS256` and `ES384` are possible, too.
    pub algorithms: Option<Vec<String>>,
    /// Types (`typ`) of its access tokens; `["at+jwt"]` unless said. Many issuers write `JWT`, which ID tokens say, too;
    /// `""` stands for tokens that say none.
    pub types: Option<Vec<String>>,
    /// How far its clock may be from the gate's; `30s` unless said, at most `60s`.
    pub skew: Option<Span>,
    /// How long a token may be good for from its issue; `24h` unless said, at most `31d`. Longer ones are refused.
    pub lifetime_max: Option<Span>,
    /// The claim that names the principal; `sub` unless said. With `email`, `email_verified` must be true.
    pub principal_claim: Option<String>,
    /// What stands before that in the principal's id; the issuer's name and a slash unless said. Two issuers without
    /// prefixes can speak for the same principal.
    pub principal_prefix: Option<String>,
    /// The claim that holds role words: `roles`, or a path such as `realm_access.roles`. Goes with `roles`.
    pub roles_claim: Option<String>,
    /// The issuer's role words, and the gate's roles that each stands for: `{ gate-admins = ["owner"] }`. Words without
    /// an entry stand for nothing.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// A claim with further words for scopes, besides `scope` and `scp`.
    pub permissions_claim: Option<String>,
    /// The issuer's scope words, and the gate's scopes that each stands for: `{ "tools.use" = ["mcp:tools"] }`. The gate's
    /// own names need no entry.
    #[serde(default)]
    pub scopes: BTreeMap<String, Vec<String>>,
    /// Whether scopes narrow what a token may be used for; `true` unless said. With `false` roles alone decide, and only
    /// `mcp:admin` must still be granted.
    pub check_scopes: Option<bool>,
    /// Claims that conditions of rules may look at, as `principal.claims.department`: `["department"]`.
    #[serde(default)]
    pub claims: Vec<String>,
    /// Where the issuer answers what a token is (RFC 7662), for tokens that say nothing themselves.
    pub introspection: Option<RawIntrospection>,
    /// `required`: tokens that are bound to no key are refused (RFC 9449). `optional` unless said; a token that is bound
    /// is never taken without its proof.
    pub dpop: Option<RawDpop>,
    /// Whether proofs must carry a nonce that the gate gave out; `false` unless said.
    pub dpop_nonce: Option<bool>,
}

/// Where an issuer answers what a token is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIntrospection {
    /// The endpoint.
    pub url: String,
    /// The gate's client id there.
    pub client_id: String,
    /// The gate's client secret there.
    pub client_secret: Secret,
}

/// What is asked of the binding of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawDpop {
    Optional,
    Required,
}

impl Checker<'_> {
    /// What `[auth.issuers]` says.
    pub(super) fn issuers(&self, raw: &Raw, complaints: &mut Complaints) -> Option<Vec<Issuer>> {
        let mut known: Vec<&str> = raw.roles.keys().map(String::as_str).collect();
        known.push(Rules::OWNER);
        let mut whole = true;
        let mut issuers: Vec<Issuer> = Vec::new();
        for (name, raw) in &raw.auth.issuers {
            complaints.at(name, |complaints| {
                let Some(issuer) = self.issuer(name, raw, &known, complaints) else {
                    whole = false;
                    return;
                };
                whole &= fits_beside(&issuers, &issuer, complaints);
                issuers.push(issuer);
            });
        }
        whole.then_some(issuers)
    }

    fn issuer(
        &self,
        name: &str,
        raw: &RawIssuer,
        known: &[&str],
        complaints: &mut Complaints,
    ) -> Option<Issuer> {
        let named = check_name(name, complaints);
        let identifier = complaints.at("url", |complaints| identifier(&raw.url, complaints));
        let algorithms = algorithms(raw.algorithms.as_deref(), complaints);
        let rsa = rsa_of(algorithms.as_ref().unwrap_or(&BTreeSet::new()));
        let keys = self.key_source(name, raw, rsa, complaints);
        let types = types(raw.types.as_deref(), complaints);
        let audiences = complaints.at("audiences", |complaints| {
            all(&raw.audiences, complaints, |text, complaints| {
                named_value(text, complaints)
            })
        });
        let skew = span("skew", raw.skew.as_ref(), SKEW, SKEW_MAX, complaints);
        let lifetime_max = span(
            "lifetime_max",
            raw.lifetime_max.as_ref(),
            LIFETIME,
            LIFETIME_MAX,
            complaints,
        );
        let claims = claims(name, raw, known, complaints);
        let introspection = match &raw.introspection {
            None => Some(None),
            Some(raw) => complaints
                .at("introspection", |complaints| {
                    self.introspection(name, raw, complaints)
                })
                .map(Some),
        };
        named.then_some(())?;
        Some(Issuer {
            name: Arc::from(name),
            issuer: identifier?,
            keys: keys?,
            algorithms: algorithms?,
            types: types?,
            audiences: audiences?.into_iter().collect(),
            skew: skew?,
            lifetime_max: lifetime_max?,
            claims: claims?,
            dpop: Dpop {
                required: raw.dpop == Some(RawDpop::Required),
                nonce: raw.dpop_nonce == Some(true),
            },
            introspection: introspection?,
        })
    }

    fn key_source(
        &self,
        name: &str,
        raw: &RawIssuer,
        rsa: Algorithm,
        complaints: &mut Complaints,
    ) -> Option<KeySource> {
        let said: Vec<&str> = [
            ("jwks", raw.jwks.is_some()),
            ("keys", raw.keys.is_some()),
            ("discovery", raw.discovery == Some(true)),
        ]
        .into_iter()
        .filter_map(|(key, said)| said.then_some(key))
        .collect();
        if let [first, second, ..] = said.as_slice() {
            complaints.add(
                format!("`{first}` and `{second}` exclude each other"),
                "keep one",
            );
            return None;
        }
        let nowhere =
            said.is_empty() && (raw.introspection.is_some() || raw.discovery == Some(false));
        if nowhere || raw.keys.is_some() {
            for (key, said) in [("refresh", &raw.refresh), ("stale_max", &raw.stale_max)] {
                if said.is_some() {
                    complaints.at(key, |complaints| {
                        complaints.add("goes only with keys that are fetched", "leave it out");
                    });
                    return None;
                }
            }
        }
        if nowhere {
            if raw.introspection.is_none() {
                complaints.add(
                    "says nowhere how its tokens are checked",
                    "give it jwks = \"https://…\", keys = [{ file = \"…\" }] or introspection, or leave out discovery = false",
                );
                return None;
            }
            return Some(KeySource::Nowhere);
        }
        if let Some(keys) = &raw.keys {
            return self.fixed_keys(name, keys, rsa, complaints);
        }
        let freshness = freshness(raw, complaints);
        let place = match &raw.jwks {
            Some(text) => {
                Place::Jwks(complaints.at("jwks", |complaints| fetched_from(text, complaints))?)
            }
            None => Place::Discovery {
                url: complaints.at("url", |complaints| fetched_from(&raw.url, complaints))?,
                issuer: Arc::from(raw.url.as_str()),
            },
        };
        Some(KeySource::Remote {
            place,
            freshness: freshness?,
        })
    }

    fn fixed_keys(
        &self,
        name: &str,
        keys: &[Secret],
        rsa: Algorithm,
        complaints: &mut Complaints,
    ) -> Option<KeySource> {
        complaints.at("keys", |complaints| {
            if keys.is_empty() {
                complaints.add(
                    "names no key",
                    "write for example keys = [{ file = \"corp.pem\" }]",
                );
            }
            let path = format!("auth.issuers.{name}.keys");
            let keys: Vec<Option<VerifyingKey>> = keys
                .iter()
                .enumerate()
                .map(|(index, text)| {
                    complaints.at(index.to_string(), |complaints| {
                        let text = self.secret("keys", text, &path, complaints)?;
                        complaints.keep(public_key(text.trim(), rsa), "")
                    })
                })
                .collect();
            let keys: Vec<VerifyingKey> = keys.into_iter().collect::<Option<_>>()?;
            (!keys.is_empty()).then_some(KeySource::Fixed(keys))
        })
    }

    fn introspection(
        &self,
        name: &str,
        raw: &RawIntrospection,
        complaints: &mut Complaints,
    ) -> Option<Introspection> {
        let url = complaints.at("url", |complaints| fetched_from(&raw.url, complaints));
        let client = complaints.at("client_id", |complaints| {
            named_value(&raw.client_id, complaints)
        });
        let secret = complaints.at("client_secret", |complaints| {
            let path = format!("auth.issuers.{name}.introspection.client_secret");
            self.secret("client_secret", &raw.client_secret, &path, complaints)
        });
        Some(Introspection {
            url: url?,
            client: client?,
            secret: ClientSecret::new(secret?),
        })
    }
}

/// A key as a JWK or in PEM form.
fn public_key(text: &str, rsa: Algorithm) -> Result<VerifyingKey, KeyError> {
    if !text.starts_with('{') {
        return VerifyingKey::from_pem(text, None, rsa);
    }
    match wire::json::strict_value(text.as_bytes()) {
        Ok(Value::Object(jwk)) => VerifyingKey::from_jwk(&jwk, rsa),
        Ok(_) | Err(_) => Err(KeyError::Malformed),
    }
}

/// Whether two issuers can be told apart.
fn fits_beside(others: &[Issuer], issuer: &Issuer, complaints: &mut Complaints) -> bool {
    let mut fits = true;
    if let Some(other) = others.iter().find(|other| other.issuer == issuer.issuer) {
        complaints.at("url", |complaints| {
            complaints.add(
                format!("is that of `{}`, too", other.name),
                "keep one of them",
            );
        });
        fits = false;
    }
    let asks = |issuer: &&Issuer| issuer.introspection.is_some();
    if let Some(other) = others.iter().find(asks).filter(|_| asks(&issuer)) {
        complaints.at("introspection", |complaints| {
            complaints.add(
                format!(
                    "a token that says nothing would have to be shown to `{}`, too",
                    other.name
                ),
                "let one issuer alone have introspection",
            );
        });
        fits = false;
    }
    fits
}

fn check_name(name: &str, complaints: &mut Complaints) -> bool {
    if name == EMBEDDED {
        complaints.add(
            "is the name of the gate's own authorization server",
            "rename it",
        );
        return false;
    }
    // A slash would let one issuer's principals look like another's.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = !name.is_empty() && name.len() <= 48 && name.chars().all(is_plain);
    if !fits {
        complaints.add(
            "is no name for an issuer",
            "use up to 48 of a-z, A-Z, 0-9, `-` and `_`",
        );
    }
    fits
}

fn identifier(text: &str, complaints: &mut Complaints) -> Option<Arc<str>> {
    named_value(text, complaints).map(|text| Arc::from(text.as_str()))
}

/// A text that stands for something, and is no leftover of an example.
fn named_value(text: &str, complaints: &mut Complaints) -> Option<String> {
    if text.trim().is_empty() {
        complaints.add("is empty", "");
        return None;
    }
    if is_placeholder(text) {
        complaints.add("holds a placeholder", "put the real value there");
        return None;
    }
    Some(text.to_owned())
}

/// A URL that what is fetched from can be believed.
fn fetched_from(text: &str, complaints: &mut Complaints) -> Option<Url> {
    let hint = "write for example \"https://login.example.com\"";
    let url = complaints.keep(Url::parse(text), hint)?;
    if !url.username().is_empty() || url.password().is_some() {
        complaints.add("carries a password", "leave it out");
        return None;
    }
    if !jwks::is_safe(&url) {
        complaints.add(
            format!("`{text}` could be answered by anybody on the way"),
            "use https; http is possible on this machine's own address only",
        );
        return None;
    }
    Some(url)
}

fn algorithms(raw: Option<&[String]>, complaints: &mut Complaints) -> Option<BTreeSet<Algorithm>> {
    let Some(raw) = raw else {
        return Some(BTreeSet::from([
            Algorithm::Rs256,
            Algorithm::Es256,
            Algorithm::EdDsa,
        ]));
    };
    complaints.at("algorithms", |complaints| {
        if raw.is_empty() {
            complaints.add("names none, so no token could be taken", "leave it out");
            return None;
        }
        let all = all(raw, complaints, |text, complaints| {
            let found = Algorithm::parse(text);
            if found.is_none() {
                let hint = if text.starts_with("HS") {
                    "whoever can check such a token can also make one; use RS256, PS256, ES256, ES384 or EdDSA"
                } else {
                    "use RS256, PS256, ES256, ES384 or EdDSA"
                };
                complaints.add(format!("`{text}` is not taken"), hint);
            }
            found
        });
        Some(all?.into_iter().collect())
    })
}

fn types(raw: Option<&[String]>, complaints: &mut Complaints) -> Option<BTreeSet<String>> {
    const OTHERS: [&str; 4] = ["dpop+jwt", "logout+jwt", "oauth-authz-req+jwt", "id+jwt"];
    let Some(raw) = raw else {
        return Some(BTreeSet::from([ACCESS_TOKEN.to_owned()]));
    };
    complaints.at("types", |complaints| {
        if raw.is_empty() {
            complaints.add("names none, so no token could be taken", "leave it out");
            return None;
        }
        let all = all(raw, complaints, |text, complaints| {
            let text = text.to_lowercase();
            let short = text
                .strip_prefix("application/")
                .unwrap_or(&text)
                .to_owned();
            if OTHERS.contains(&short.as_str()) {
                complaints.add(
                    format!("`{text}` is not the type of an access token"),
                    "use \"at+jwt\", or \"JWT\" if the issuer writes no better",
                );
                return None;
            }
            Some(short)
        });
        Some(all?.into_iter().collect())
    })
}

fn span(
    key: &str,
    raw: Option<&Span>,
    default: Duration,
    max: Duration,
    complaints: &mut Complaints,
) -> Option<Duration> {
    let Some(raw) = raw else {
        return Some(default);
    };
    let long = wait(raw, key, complaints)?;
    if long > max {
        complaints.at(key, |complaints| {
            let max = match max.as_secs() {
                seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
                seconds => format!("{seconds}s"),
            };
            complaints.add(
                format!("`{}` is too long", raw.0),
                format!("write at most \"{max}\""),
            );
        });
        return None;
    }
    Some(long)
}

fn freshness(raw: &RawIssuer, complaints: &mut Complaints) -> Option<Freshness> {
    let refresh = span(
        "refresh",
        raw.refresh.as_ref(),
        REFRESH,
        STALE_MAX,
        complaints,
    );
    let stale_max = span(
        "stale_max",
        raw.stale_max.as_ref(),
        STALE,
        STALE_MAX,
        complaints,
    );
    let (refresh, stale_max) = (refresh?, stale_max?);
    if refresh < jwks::INTERVAL {
        complaints.at("refresh", |complaints| {
            complaints.add("is too short", "write at least \"30s\"");
        });
        return None;
    }
    if stale_max < refresh {
        complaints.at("stale_max", |complaints| {
            complaints.add(
                "is shorter than `refresh`",
                "keys must last until they are fetched again",
            );
        });
        return None;
    }
    Some(Freshness { refresh, stale_max })
}

fn claims(
    name: &str,
    raw: &RawIssuer,
    known: &[&str],
    complaints: &mut Complaints,
) -> Option<Claims> {
    let principal = claim(
        "principal_claim",
        raw.principal_claim.as_deref(),
        complaints,
    );
    let prefix = match &raw.principal_prefix {
        None => Some(format!("{name}/")),
        Some(prefix) if prefix.is_empty() => Some(String::new()),
        Some(prefix) => complaints.at("principal_prefix", |complaints| {
            complaints.keep(PrincipalId::new(prefix), "")?;
            Some(prefix.clone())
        }),
    };
    let roles_claim = claim("roles_claim", raw.roles_claim.as_deref(), complaints);
    let map = role_map(&raw.roles, known, complaints);
    let permissions = claim(
        "permissions_claim",
        raw.permissions_claim.as_deref(),
        complaints,
    );
    let scopes = scope_map(&raw.scopes, complaints);
    let roles = match (roles_claim?, map?) {
        (None, map) if map.is_empty() => Roles::Ignored,
        (Some(path), map) if !map.is_empty() => Roles::Mapped(path, map),
        (Some(_), _) => {
            complaints.at("roles_claim", |complaints| {
                complaints.add(
                    "gives no roles: no word of it is mapped",
                    "add roles = { their-word = [\"our-role\"] }, or leave it out",
                );
            });
            return None;
        }
        (None, _) => {
            complaints.at("roles", |complaints| {
                complaints.add(
                    "maps words that are read nowhere",
                    "add roles_claim = \"…\", or leave it out",
                );
            });
            return None;
        }
    };
    Some(Claims {
        principal: principal?.unwrap_or_else(|| ClaimPath::new("sub")),
        prefix: prefix?,
        roles,
        permissions: permissions?,
        scopes: scopes?,
        check_scopes: raw.check_scopes != Some(false),
        kept: raw.claims.iter().cloned().collect(),
    })
}

// `Some(None)`: not said, and nothing wrong with it.
fn claim(key: &str, raw: Option<&str>, complaints: &mut Complaints) -> Option<Option<ClaimPath>> {
    let Some(text) = raw else {
        return Some(None);
    };
    complaints.at(key, |complaints| {
        if text.is_empty() || text.split('.').any(str::is_empty) && !text.contains("://") {
            complaints.add(
                format!("`{text}` names no claim"),
                "write for example \"roles\" or \"realm_access.roles\"",
            );
            return None;
        }
        Some(Some(ClaimPath::new(text)))
    })
}

fn role_map(
    raw: &BTreeMap<String, Vec<String>>,
    known: &[&str],
    complaints: &mut Complaints,
) -> Option<BTreeMap<String, BTreeSet<RoleName>>> {
    let role = |text: &String, complaints: &mut Complaints| {
        if !known.contains(&text.as_str()) {
            let hint = match nearest(text, known) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("add a [roles.{text}]"),
            };
            complaints.add(format!("there is no role `{text}`"), hint);
            return None;
        }
        complaints.keep(RoleName::new(text), "")
    };
    complaints.at("roles", |complaints| {
        let entries: Vec<Option<_>> = raw
            .iter()
            .map(|(word, roles)| {
                let roles = complaints.at(word, |complaints| all(roles, complaints, role));
                Some((word.clone(), roles?.into_iter().collect()))
            })
            .collect();
        entries.into_iter().collect()
    })
}

fn scope_map(
    raw: &BTreeMap<String, Vec<String>>,
    complaints: &mut Complaints,
) -> Option<BTreeMap<String, Scopes>> {
    let names: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
    let scope = |text: &String, complaints: &mut Complaints| {
        let found = Scope::parse(text);
        if found.is_none() {
            let hint = match nearest(text, &names) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("use {}", names.join(", ")),
            };
            complaints.add(format!("there is no scope `{text}`"), hint);
        }
        found
    };
    complaints.at("scopes", |complaints| {
        let entries: Vec<Option<_>> = raw
            .iter()
            .map(|(word, scopes)| {
                let scopes = complaints.at(word, |complaints| all(scopes, complaints, scope));
                Some((word.clone(), scopes?.into_iter().collect()))
            })
            .collect();
        entries.into_iter().collect()
    })
}
