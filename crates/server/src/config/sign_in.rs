//! `[auth.sign_in.NAME]`: OpenID Connect providers that people may sign in with, from what is written to
//! [`auth::sign_in::Provider`].
//!
//! These are for people with a browser. Whose access tokens the gate takes is `auth.issuers`; a provider can be both.

use std::collections::{BTreeMap, BTreeSet};

use auth::sign_in::Provider;
use auth::tokens::ClaimPath;
use policy::config::Complaints;
use policy::{RoleName, Rules};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::check::{Checker, all};
use super::is_placeholder;
use super::raw::{Raw, Secret};
use super::shape::nearest;

/// Asked for unless something else is said.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];
/// The claim that names somebody, unless something else is said.
const SUBJECT: &str = "sub";
const NAME_MAX: usize = 48;
const TITLE_MAX: usize = 64;

/// An OpenID Connect provider that people may sign in with. At the provider, register the redirect URI
/// `<public_url>/console/sign-in/<name>/callback`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSignIn {
    /// The provider's issuer identifier, byte for byte; its metadata are looked up below it.
    pub issuer: String,
    /// The gate's client id there.
    pub client_id: String,
    /// The gate's client secret there; without it the gate is a public client, which PKCE alone protects.
    pub client_secret: Option<Secret>,
    /// What the button says after "Sign in with"; the name unless said.
    pub title: Option<String>,
    /// Scopes to ask for; `["openid", "profile", "email"]` unless said. `openid` must be among them.
    pub scopes: Option<Vec<String>>,
    /// The claim that names the principal, whose id is the provider's name, a slash, and that; `sub` unless said. With
    /// `email`, `email_verified` must be true.
    pub principal_claim: Option<String>,
    /// The claim that holds role words: `groups`, or a path such as `realm_access.roles`. Goes with `roles`.
    pub roles_claim: Option<String>,
    /// The provider's role words, and the gate's roles that each stands for: `{ gate-admins = ["owner"] }`. Words without
    /// an entry stand for nothing. Who has no role in the end cannot sign in.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Roles of everybody who signs in there. Only for providers where not just anybody can get an account.
    #[serde(default)]
    pub roles_of_everybody: Vec<String>,
}

impl Checker<'_> {
    /// What `[auth.sign_in]` says.
    pub(super) fn sign_in(&self, raw: &Raw, complaints: &mut Complaints) -> Option<Vec<Provider>> {
        let mut known: Vec<&str> = raw.roles.keys().map(String::as_str).collect();
        known.push(Rules::OWNER);
        let one = |(name, raw): (&String, &RawSignIn)| {
            complaints.at(name, |complaints| {
                self.provider(name, raw, &known, complaints)
            })
        };
        let providers: Vec<Option<Provider>> = raw.auth.sign_in.iter().map(one).collect();
        providers.into_iter().collect()
    }

    fn provider(
        &self,
        name: &str,
        raw: &RawSignIn,
        known: &[&str],
        complaints: &mut Complaints,
    ) -> Option<Provider> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_named = !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(is_plain);
        if !is_named {
            complaints.add(
                "is no name for a provider",
                format!("use up to {NAME_MAX} of a-z, A-Z, 0-9, `-` and `_`"),
            );
        }
        let issuer = complaints.at("issuer", |complaints| issuer(&raw.issuer, complaints));
        let client_id = complaints.at("client_id", |complaints| {
            let is_real = !raw.client_id.trim().is_empty() && !is_placeholder(&raw.client_id);
            if !is_real {
                complaints.add("is no client id", "the provider says which is the gate's");
            }
            is_real.then(|| raw.client_id.clone())
        });
        let client_secret = match &raw.client_secret {
            None => Some(None),
            Some(secret) => complaints
                .at("client_secret", |complaints| {
                    let path = format!("auth.sign_in.{name}.client_secret");
                    self.secret("client_secret", secret, &path, complaints)
                })
                .map(|secret| Some(Zeroizing::new(secret))),
        };
        let title = raw.title.clone().unwrap_or_else(|| name.to_owned());
        if title.chars().count() > TITLE_MAX || title.chars().any(char::is_control) {
            complaints.at("title", |complaints| {
                complaints.add("is no title", "use a few words");
            });
            return None;
        }
        let scopes = complaints.at("scopes", |complaints| {
            scopes(raw.scopes.as_deref(), complaints)
        });
        let roles = mapping(raw, known, complaints);
        let everybody = complaints.at("roles_of_everybody", |complaints| {
            all(&raw.roles_of_everybody, complaints, |text, complaints| {
                role(text, known, complaints)
            })
        });
        let claim = raw.principal_claim.as_deref().unwrap_or(SUBJECT);
        is_named.then_some(())?;
        Some(Provider {
            name: name.to_owned(),
            title,
            issuer: issuer?,
            client_id: client_id?,
            client_secret: client_secret?,
            scopes: scopes?,
            principal: ClaimPath::new(claim),
            roles: roles?,
            everybody: everybody?.into_iter().collect(),
        })
    }
}

fn issuer(text: &str, complaints: &mut Complaints) -> Option<String> {
    let url = Url::parse(text).ok();
    let is_here = |url: &Url| url.host().is_some_and(|host| net::is_here(&host));
    let fits = url.is_some_and(|url| {
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here(&url));
        is_safe && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
    });
    if !fits {
        complaints.add(
            format!("`{text}` is no issuer's identifier"),
            "write for example \"https://accounts.example.com\"; http is possible on this machine alone",
        );
    }
    fits.then(|| text.to_owned())
}

fn scopes(raw: Option<&[String]>, complaints: &mut Complaints) -> Option<Vec<String>> {
    let Some(raw) = raw else {
        return Some(SCOPES.map(str::to_owned).to_vec());
    };
    // RFC 6749 section 3.3.
    let is_scope = |text: &String| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
    };
    if let Some(bad) = raw.iter().find(|text| !is_scope(text)) {
        complaints.add(format!("`{bad}` is no scope"), "write each one by itself");
        return None;
    }
    if !raw.iter().any(|scope| scope == "openid") {
        complaints.add("`openid` is missing", "without it nobody is named");
        return None;
    }
    Some(raw.to_vec())
}

type Mapping = (ClaimPath, BTreeMap<String, BTreeSet<RoleName>>);

// `Some(None)`: none, and nothing wrong with it.
fn mapping(
    raw: &RawSignIn,
    known: &[&str],
    complaints: &mut Complaints,
) -> Option<Option<Mapping>> {
    let Some(claim) = &raw.roles_claim else {
        if raw.roles.is_empty() {
            return Some(None);
        }
        complaints.at("roles", |complaints| {
            complaints.add("goes with `roles_claim`", "write roles_claim = \"groups\"");
        });
        return None;
    };
    if raw.roles.is_empty() {
        complaints.at("roles_claim", |complaints| {
            complaints.add(
                "goes with `roles`",
                "write roles = { admins = [\"owner\"] }",
            );
        });
        return None;
    }
    let map: Option<BTreeMap<String, BTreeSet<RoleName>>> = complaints.at("roles", |complaints| {
        let words: Vec<Option<_>> = raw
            .roles
            .iter()
            .map(|(word, names)| {
                let roles = complaints.at(word, |complaints| {
                    all(names, complaints, |text, complaints| {
                        role(text, known, complaints)
                    })
                })?;
                Some((word.clone(), roles.into_iter().collect()))
            })
            .collect();
        words.into_iter().collect()
    });
    Some(Some((ClaimPath::new(claim), map?)))
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
