//! What a token's claims come to, whoever vouches for them: a signature, or the issuer itself when it was asked.
//!
//! Pure: claims, an issuer and the time go in, a principal or a reason comes out. Start at [`Reader::read`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy::{Credential, Principal, PrincipalId, RoleName, Scope, Scopes, Token};
use serde_json::{Map, Value};

use super::compact::date;
use super::issuer::{EMBEDDED, Issuer, Roles};
use super::keys::Thumbprint;
use crate::auth::principal;
use crate::{AuthError, Place, Site};

/// Claims that only ID tokens have (OpenID Connect Core sections 2 and 3.3.2.11).
const OF_ID_TOKENS: &[&str] = &["nonce", "at_hash", "c_hash"];
/// What some issuers write into a claim `typ` of tokens that are for themselves or the client.
const NOT_ACCESS: &[&str] = &["ID", "Refresh", "Offline", "Logout"];
/// Longest name of a client, token or grant, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// It is good somewhere, but not where it was presented.
pub(crate) const OTHER_AUDIENCE: Refusal = Refusal::Invalid("it is for another audience");

/// Why a token does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Invalid(&'static str),
    Expired,
}

impl From<Refusal> for AuthError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(reason) => Self::Invalid(reason),
            Refusal::Expired => Self::Expired,
        }
    }
}

/// What the sender must prove besides having the token (RFC 7800).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Binding {
    /// That it holds this key (RFC 9449 section 6.1).
    pub(crate) key: Option<Thumbprint>,
    /// That it holds the certificate with this SHA-256 (RFC 8705 section 3.1).
    pub(crate) certificate: Option<[u8; 32]>,
}

/// Whom a token stands for.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) principal: Arc<Principal>,
    pub(crate) binding: Binding,
    pub(crate) audience: Audience,
    pub(crate) expires_at: SystemTime,
}

/// Where a token is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everywhere.
    Whole,
    /// At these virtual servers.
    Servers(BTreeSet<String>),
}

impl Audience {
    /// Whether a token is good at a virtual server, or, without a name, at what belongs to none.
    pub(crate) fn covers(&self, server: Option<&str>) -> bool {
        match self {
            Self::Whole => true,
            Self::Servers(servers) => server.is_some_and(|server| servers.contains(server)),
        }
    }
}

/// What claims are read against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) site: &'a Site,
    pub(crate) members: &'a BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    pub(crate) now: SystemTime,
}

type Claims = Map<String, Value>;

impl Reader<'_> {
    /// Whom these claims stand for. `key`: the id of the key that signed them.
    pub(crate) fn read(&self, claims: &Claims, key: Option<&str>) -> Result<Known, Refusal> {
        self.check_kind(claims)?;
        let audience = self.audience(claims)?;
        let (issued_at, expires_at) = self.times(claims)?;
        let binding = binding(claims)?;
        let id = self.principal_id(claims)?;
        let embedded = *self.issuer.name == *EMBEDDED;
        let token = Token {
            issuer: Arc::clone(&self.issuer.name),
            id: name(claims, "jti")?,
            key: key.map(Arc::from),
            grant: if embedded { name(claims, "sid")? } else { None },
            issued_at,
        };
        let client = match name(claims, "client_id")? {
            None => name(claims, "azp")?,
            client => client,
        };
        let kept = &self.issuer.claims.kept;
        let kept = claims.iter().filter(|(name, _)| kept.contains(*name));
        let known = Principal {
            client,
            scopes: self.scopes(claims)?,
            expires_at: Some(expires_at),
            claims: Arc::new(
                kept.map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            ),
            ..principal(
                id,
                self.roles(claims),
                self.members,
                Credential::Token(token),
            )
        };
        Ok(Known {
            principal: Arc::new(known),
            binding,
            audience,
            expires_at,
        })
    }

    fn check_kind(&self, claims: &Claims) -> Result<(), Refusal> {
        const OTHER: Refusal = Refusal::Invalid("it is not an access token");
        let kind = claims.get("typ").and_then(Value::as_str);
        if OF_ID_TOKENS.iter().any(|name| claims.contains_key(*name))
            || kind.is_some_and(|kind| NOT_ACCESS.contains(&kind))
        {
            return Err(OTHER);
        }
        Ok(())
    }

    fn audience(&self, claims: &Claims) -> Result<Audience, Refusal> {
        const MALFORMED: Refusal = Refusal::Invalid("its audience is malformed");
        let texts: Vec<&str> = match claims.get("aud") {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => {
                let texts: Option<_> = list.iter().map(Value::as_str).collect();
                texts.ok_or(MALFORMED)?
            }
            Some(_) => return Err(MALFORMED),
            None => Vec::new(),
        };
        let mut servers = BTreeSet::new();
        for text in texts {
            match self.site.place(text) {
                Some(Place::Whole) => return Ok(Audience::Whole),
                None if self.issuer.audiences.contains(text) => return Ok(Audience::Whole),
                Some(Place::Server(name)) => {
                    servers.insert(name.to_owned());
                }
                None => {}
            }
        }
        if servers.is_empty() {
            return Err(OTHER_AUDIENCE);
        }
        Ok(Audience::Servers(servers))
    }

    /// When it was issued, if it says so, and when it ends.
    fn times(&self, claims: &Claims) -> Result<(Option<SystemTime>, SystemTime), Refusal> {
        let at = |name: &str| {
            claims
                .get(name)
                .map(|value| date(value).ok_or(Refusal::Invalid("a time in it is malformed")))
                .transpose()
        };
        let latest = self.now + self.issuer.skew;
        let expires_at = at("exp")?.ok_or(Refusal::Invalid("it never expires"))?;
        // Without skew: open streams end at this very moment, too.
        if expires_at <= self.now {
            return Err(Refusal::Expired);
        }
        if at("nbf")?.is_some_and(|from| from > latest) {
            return Err(Refusal::Invalid("it is not valid yet"));
        }
        let issued_at = at("iat")?;
        if issued_at.is_some_and(|at| at > latest) {
            return Err(Refusal::Invalid("it was issued in the future"));
        }
        let lifetime = expires_at.duration_since(issued_at.unwrap_or(self.now));
        if !lifetime.is_ok_and(|lifetime| lifetime <= self.issuer.lifetime_max) {
            return Err(Refusal::Invalid("it is good for too long"));
        }
        Ok((issued_at, expires_at))
    }

    fn principal_id(&self, claims: &Claims) -> Result<PrincipalId, Refusal> {
        let path = &self.issuer.claims.principal;
        let Some(Value::String(subject)) = path.find(claims) else {
            return Err(Refusal::Invalid("it names no principal"));
        };
        // An address that nobody has proved to have is anybody's.
        if path.as_str() == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
            return Err(Refusal::Invalid("its e-mail address is not verified"));
        }
        if subject.is_empty() {
            return Err(Refusal::Invalid("it names no principal"));
        }
        PrincipalId::new(&format!("{}{subject}", self.issuer.claims.prefix))
            .map_err(|_error| Refusal::Invalid("its principal is no name that we can use"))
    }

    fn roles(&self, claims: &Claims) -> BTreeSet<RoleName> {
        match &self.issuer.claims.roles {
            Roles::Ignored => BTreeSet::new(),
            Roles::Mapped(path, map) => words(path.find(claims))
                .iter()
                .filter_map(|word| map.get(&**word))
                .flatten()
                .cloned()
                .collect(),
            Roles::Ours(path) => words(path.find(claims))
                .iter()
                .filter_map(|word| RoleName::new(word).ok())
                .collect(),
        }
    }

    fn scopes(&self, claims: &Claims) -> Result<Scopes, Refusal> {
        let reading = &self.issuer.claims;
        let permissions = reading.permissions.as_ref();
        let values = [
            claims.get("scope"),
            claims.get("scp"),
            permissions.and_then(|path| path.find(claims)),
        ];
        let mut said = Scopes::NONE;
        for value in values {
            for word in &words(value) {
                let meant = match reading.scopes.get(&**word) {
                    Some(scopes) => *scopes,
                    None => Scope::parse(word).map(Scopes::from).unwrap_or_default(),
                };
                said = said.union(meant);
            }
        }
        // A scope claim of another shape means something that we do not understand.
        if claims.get("scope").is_some_and(|scope| !scope.is_string()) {
            return Err(Refusal::Invalid("its scope is malformed"));
        }
        Ok(if reading.check_scopes {
            said
        } else {
            said.union(Scopes::CALLS)
        })
    }
}

/// A list of words: an array of strings, or one string with spaces between.
fn words(value: Option<&Value>) -> Vec<Cow<'_, str>> {
    match value {
        Some(Value::String(text)) => text.split_ascii_whitespace().map(Cow::from).collect(),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(Cow::from)
            .collect(),
        _ => Vec::new(),
    }
}

fn name(claims: &Claims, name: &str) -> Result<Option<Arc<str>>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= NAME_BYTES_MAX => Ok(Some(Arc::from(&**text))),
        Some(_) => Err(Refusal::Invalid("a name in it is malformed")),
    }
}

/// `cnf`. A kind of confirmation that we cannot check is one that we cannot pass over.
fn binding(claims: &Claims) -> Result<Binding, Refusal> {
    const UNKNOWN: Refusal = Refusal::Invalid("it is bound in a way that cannot be checked");
    let members = match claims.get("cnf") {
        None => return Ok(Binding::default()),
        Some(Value::Object(members)) if !members.is_empty() => members,
        Some(_) => return Err(UNKNOWN),
    };
    let mut binding = Binding::default();
    for (kind, value) in members {
        let text = value.as_str().ok_or(UNKNOWN)?;
        match kind.as_str() {
            "jkt" => binding.key = Some(Thumbprint::parse(text).ok_or(UNKNOWN)?),
            "x5t#S256" => {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
                let hash = bytes.and_then(|bytes| bytes.try_into().ok());
                binding.certificate = Some(hash.ok_or(UNKNOWN)?);
            }
            _ => return Err(UNKNOWN),
        }
    }
    Ok(binding)
}
