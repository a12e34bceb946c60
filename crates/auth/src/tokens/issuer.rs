//! An issuer, as the config describes it: where its keys are, what its tokens must look like, what its claims mean.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use policy::{RoleName, Scopes};
use serde_json::{Map, Value};
use url::Url;

use super::introspection::Introspection;
use super::keys::{Algorithm, VerifyingKey};

/// What the embedded authorization server is called where issuers have names.
pub const EMBEDDED: &str = "portcullis";
/// The media type of access tokens (RFC 9068 section 2.1), without its `application/`.
pub const ACCESS_TOKEN: &str = "at+jwt";
/// The most that clocks may differ.
pub const SKEW_MAX: Duration = Duration::from_mins(1);
/// How long a token of the embedded server may be good for at most.
const EMBEDDED_LIFETIME_MAX: Duration = Duration::from_hours(24);

/// An issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The config's name for it.
    pub name: Arc<str>,
    /// `iss`, byte for byte.
    pub issuer: Arc<str>,
    /// Where its keys are.
    pub keys: KeySource,
    /// How its tokens may be signed, whatever its keys could do.
    pub algorithms: BTreeSet<Algorithm>,
    /// `typ` of its access tokens in lower case and without `application/`; empty for tokens that say none.
    pub types: BTreeSet<String>,
    /// `aud` besides our own resources, byte for byte.
    pub audiences: BTreeSet<String>,
    /// How far its clock may be from ours; at most [`SKEW_MAX`].
    pub skew: Duration,
    /// How long a token may be good for from when it was issued.
    pub lifetime_max: Duration,
    /// What its claims mean.
    pub claims: Claims,
    /// What is asked of its tokens' bindings.
    pub dpop: Dpop,
    /// Where to ask for tokens that say nothing themselves.
    pub introspection: Option<Introspection>,
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In the config.
    Fixed(Vec<VerifyingKey>),
    /// At a URL.
    Remote {
        /// Which.
        place: Place,
        /// When they are fetched again.
        freshness: Freshness,
    },
    /// Nowhere: every token is introspected.
    Nowhere,
}

/// What leads to a JWK Set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Its own URL.
    Jwks(Url),
    /// The metadata of an issuer (RFC 8414, OpenID Connect Discovery).
    Discovery {
        /// Its identifier, byte for byte: the metadata must say the same.
        issuer: Arc<str>,
        /// The identifier as a URL.
        url: Url,
    },
}

/// How old fetched keys may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// From this age on they are fetched again, while the old ones go on being used.
    pub refresh: Duration,
    /// From this age on they are used no more, and tokens cannot be checked.
    pub stale_max: Duration,
}

/// What is asked of the binding of tokens (RFC 9449).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dpop {
    /// Whether tokens that are bound to no key are refused.
    pub required: bool,
    /// Whether proofs must carry a nonce of ours.
    pub nonce: bool,
}

/// What an issuer's claims mean.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Which claim names the principal.
    pub principal: ClaimPath,
    /// What stands in front of that in the principal's id, so that two issuers never mean the same by accident.
    pub prefix: String,
    /// How roles are read.
    pub roles: Roles,
    /// A claim with further words for scopes, besides `scope` and `scp`.
    pub permissions: Option<ClaimPath>,
    /// Its words for scopes of ours. Our own names need none.
    pub scopes: BTreeMap<String, Scopes>,
    /// Whether scopes narrow what the token may be used for. If not, only `mcp:admin` must still be said.
    pub check_scopes: bool,
    /// Claims that are kept of a token, by name: conditions of rules may look at these and no others.
    pub kept: BTreeSet<String>,
}

/// How roles are read.
#[derive(Debug, Clone)]
pub enum Roles {
    /// Not at all: the config alone gives them.
    Ignored,
    /// Each word of the claim stands for the roles that the map has for it; others for none.
    Mapped(ClaimPath, BTreeMap<String, BTreeSet<RoleName>>),
    /// The claim names our own roles. For the embedded server alone.
    Ours(ClaimPath),
}

/// Names a claim: by its whole name, or else step by step (`realm_access.roles`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(Arc<str>);

impl ClaimPath {
    /// Of this name.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands there.
    pub(crate) fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        if let Some(whole) = claims.get(&*self.0) {
            return Some(whole);
        }
        let mut steps = self.0.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }
}

impl Issuer {
    /// The embedded authorization server, which speaks our words.
    pub(crate) fn embedded(issuer: &str) -> Self {
        Self {
            name: Arc::from(EMBEDDED),
            issuer: Arc::from(issuer),
            keys: KeySource::Nowhere,
            algorithms: BTreeSet::from([Algorithm::Es256]),
            types: BTreeSet::from([ACCESS_TOKEN.to_owned()]),
            audiences: BTreeSet::new(),
            // Another node of ours may have signed it.
            skew: Duration::from_secs(30),
            lifetime_max: EMBEDDED_LIFETIME_MAX,
            claims: Claims {
                principal: ClaimPath::new("sub"),
                prefix: String::new(),
                roles: Roles::Ours(ClaimPath::new("roles")),
                permissions: None,
                scopes: BTreeMap::new(),
                check_scopes: true,
                kept: BTreeSet::new(),
            },
            dpop: Dpop::default(),
            introspection: None,
        }
    }

    /// What its RSA keys are for that do not say so themselves.
    #[must_use]
    pub fn rsa(&self) -> Algorithm {
        rsa_of(&self.algorithms)
    }
}

/// What RSA keys are for that do not say so themselves, among these algorithms.
#[must_use]
pub fn rsa_of(algorithms: &BTreeSet<Algorithm>) -> Algorithm {
    let only_pss =
        algorithms.contains(&Algorithm::Ps256) && !algorithms.contains(&Algorithm::Rs256);
    if only_pss {
        Algorithm::Ps256
    } else {
        Algorithm::Rs256
    }
}
