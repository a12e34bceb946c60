//! A provider as it is met on the network: what it says of itself, its keys, and its token endpoint.
//!
//! Sources: OpenID Connect Discovery 1.0 sections 3 and 4, RFC 6749 sections 2.3.1 and 4.1.3, RFC 7517.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use net::{Fetch, Fetched, Reach};
use parking_lot::Mutex;
use policy::Instant;
use serde_json::Value;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::id_token::{Claims, Expected, check};
use super::{Provider, ProviderError};
use crate::Parts;
use crate::tokens::ClaimPath;
use crate::tokens::compact::{COMPACT_BYTES_MAX, Compact};
use crate::tokens::keys::{Algorithm, VerifyingKey, from_jwks};

/// How long what a provider says of itself is believed.
const METADATA_AGE: Duration = Duration::from_hours(1);
/// How often it is asked for at most, whoever wants to sign in.
const METADATA_EVERY: Duration = Duration::from_secs(1);
/// How often keys are fetched at most, whatever tokens name.
const KEYS_EVERY: Duration = Duration::from_secs(30);
/// How long one exchange with a provider may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest document of a provider.
const DOCUMENT_MAX: usize = 512 * 1024;

/// A provider and what is known of it.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) provider: Provider,
    known: Mutex<Option<(Arc<Metadata>, Instant)>>,
    tried_at: Mutex<Option<Instant>>,
    keys: Mutex<Option<(Arc<[VerifyingKey]>, Instant)>>,
}

/// What a provider says of itself.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    /// Whether its answers name it (RFC 9207 section 3).
    pub(super) names_itself: bool,
    /// Where it tells more of somebody than an ID token holds.
    userinfo_endpoint: Option<Url>,
    /// Whether it takes the client's secret in the `Authorization` header.
    takes_basic: bool,
}

/// What a code is good for.
pub(super) struct Exchanged {
    pub(super) id_token: Zeroizing<String>,
    /// Opens the provider's `UserInfo` endpoint, and goes nowhere else.
    access_token: Option<Zeroizing<String>>,
}

impl Remote {
    pub(super) fn new(provider: Provider) -> Self {
        Self {
            provider,
            known: Mutex::default(),
            tried_at: Mutex::default(),
            keys: Mutex::default(),
        }
    }

    /// What it says of itself, asked for once an hour.
    pub(super) async fn metadata(&self, parts: &Parts) -> Result<Arc<Metadata>, ProviderError> {
        let now = parts.clock.now();
        if let Some((metadata, asked_at)) = &*self.known.lock()
            && now.since(*asked_at) < METADATA_AGE
        {
            return Ok(Arc::clone(metadata));
        }
        let tried_at = self.tried_at.lock().replace(now);
        if tried_at.is_some_and(|at| now.since(at) < METADATA_EVERY) {
            return Err(ProviderError::unavailable("metadata", "it was just asked"));
        }
        let base = self.provider.issuer.trim_end_matches('/');
        let url = url(&format!("{base}/.well-known/openid-configuration"))?;
        let fetched = get(parts, url, None, "metadata").await?;
        let metadata = Arc::new(Metadata::read(&fetched.body, &self.provider.issuer)?);
        *self.known.lock() = Some((Arc::clone(&metadata), now));
        Ok(metadata)
    }

    /// Trades a code for an ID token.
    pub(super) async fn exchange(
        &self,
        parts: &Parts,
        metadata: &Metadata,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
    ) -> Result<Exchanged, ProviderError> {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        let id = self.provider.client_id.as_str();
        match &self.provider.client_secret {
            Some(secret) if metadata.takes_basic => {
                headers.insert(header::AUTHORIZATION, basic(id, secret)?);
            }
            Some(secret) => fields.extend([("client_id", id), ("client_secret", secret.as_str())]),
            None => fields.push(("client_id", id)),
        }
        let fetch = Fetch {
            method: Method::POST,
            url: metadata.token_endpoint.clone(),
            headers,
            body: Bytes::from(body(&fields)),
            reach: Reach::Operator,
            redirects_max: 0,
            body_max: DOCUMENT_MAX,
            timeout: TIMEOUT,
        };
        let fetched = parts.client.fetch(fetch).await;
        let fetched = fetched.map_err(|error| ProviderError::unavailable("ID token", error))?;
        let answer = object(&fetched.body);
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        if fetched.status != StatusCode::OK {
            let code = text("error").map(super::error_code);
            return Err(ProviderError::Denied(
                code.unwrap_or_else(|| fetched.status.as_u16().to_string()),
            ));
        }
        match text("id_token") {
            Some(token) if token.len() <= COMPACT_BYTES_MAX => Ok(Exchanged {
                id_token: Zeroizing::new(token.to_owned()),
                access_token: text("access_token").map(|token| Zeroizing::new(token.to_owned())),
            }),
            _ => Err(ProviderError::Untrusted("it sent no ID token")),
        }
    }

    /// The claims of an ID token that holds.
    pub(super) async fn verify(
        &self,
        parts: &Parts,
        metadata: &Metadata,
        token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, ProviderError> {
        let token = Compact::read(token).map_err(ProviderError::Untrusted)?;
        let id = token.header_text("kid").map_err(ProviderError::Untrusted)?;
        let is_signed = |keys: &[VerifyingKey]| {
            keys.iter()
                .filter(|key| id.is_none() || key.id().is_none_or(|own| Some(&**own) == id))
                .any(|key| token.is_signed_by(key))
        };
        // A key that is not known yet may be a new one.
        let holds = is_signed(&self.keys(parts, metadata, METADATA_AGE).await?)
            || is_signed(&self.keys(parts, metadata, KEYS_EVERY).await?);
        if !holds {
            return Err(ProviderError::Untrusted(
                "the ID token's signature does not hold",
            ));
        }
        check(&token, expected)?;
        Ok(token.claims)
    }

    /// `claims`, and what the provider tells beside the ID token if that lacks what we look for (OpenID Connect Core 1.0
    /// section 5.3). What the token says itself stands.
    pub(super) async fn complete(
        &self,
        parts: &Parts,
        metadata: &Metadata,
        mut claims: Claims,
        exchanged: &Exchanged,
    ) -> Result<Claims, ProviderError> {
        let path = &self.provider.principal;
        let proof = (path.as_str() == "email").then(|| ClaimPath::new("email_verified"));
        let roles = self.provider.roles.as_ref().map(|(path, _)| path);
        let is_whole = [Some(path), proof.as_ref(), roles]
            .into_iter()
            .flatten()
            .all(|path| path.find(&claims).is_some());
        let (Some(url), Some(token), false) = (
            &metadata.userinfo_endpoint,
            &exchanged.access_token,
            is_whole,
        ) else {
            return Ok(claims);
        };
        let bearer = Zeroizing::new(["Bearer ", token.as_str()].concat());
        let mut bearer = HeaderValue::try_from(bearer.as_str())
            .map_err(|_not_text| ProviderError::Untrusted("its access token cannot be sent"))?;
        bearer.set_sensitive(true);
        let fetched = get(parts, url.clone(), Some(bearer), "further claims").await?;
        let told = object(&fetched.body);
        let is_same =
            told.get("sub").is_some_and(Value::is_string) && told.get("sub") == claims.get("sub");
        if !is_same {
            return Err(ProviderError::Untrusted("it told of somebody else"));
        }
        for (name, value) in told {
            claims.entry(name).or_insert(value);
        }
        Ok(claims)
    }

    /// Its keys, at most so old.
    async fn keys(
        &self,
        parts: &Parts,
        metadata: &Metadata,
        age_max: Duration,
    ) -> Result<Arc<[VerifyingKey]>, ProviderError> {
        let now = parts.clock.now();
        if let Some((keys, asked_at)) = &*self.keys.lock()
            && now.since(*asked_at) < age_max
        {
            return Ok(Arc::clone(keys));
        }
        let fetched = get(parts, metadata.jwks_uri.clone(), None, "keys").await?;
        let keys: Arc<[VerifyingKey]> = from_jwks(&fetched.body, Algorithm::Rs256)
            .map_err(|error| ProviderError::unavailable("keys", error))?
            .into();
        *self.keys.lock() = Some((Arc::clone(&keys), now));
        Ok(keys)
    }
}

impl Metadata {
    fn read(text: &[u8], issuer: &str) -> Result<Self, ProviderError> {
        let document = object(text);
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(ProviderError::Untrusted(
                "its metadata is of another issuer",
            ));
        }
        let endpoint = |name: &str| {
            let text = text(name).ok_or(ProviderError::Untrusted("its metadata lacks an endpoint"));
            url(text?)
        };
        let has = |name: &str, word: &str, default: bool| match document.get(name) {
            Some(Value::Array(list)) => list.iter().any(|item| item.as_str() == Some(word)),
            _ => default,
        };
        if !has("code_challenge_methods_supported", "S256", true) {
            return Err(ProviderError::Untrusted("it knows no PKCE with S256"));
        }
        Ok(Self {
            issuer: issuer.to_owned(),
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            userinfo_endpoint: match document.get("userinfo_endpoint") {
                None => None,
                Some(_) => Some(endpoint("userinfo_endpoint")?),
            },
            names_itself: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            takes_basic: has(
                "token_endpoint_auth_methods_supported",
                "client_secret_basic",
                true,
            ),
        })
    }
}

/// A URL of a provider: https, or http on this machine.
fn url(text: &str) -> Result<Url, ProviderError> {
    let bad = ProviderError::Untrusted("its metadata holds a URL that cannot be used");
    let Ok(url) = Url::parse(text) else {
        return Err(bad);
    };
    let is_here = url.host().is_some_and(|host| net::is_here(&host));
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if is_safe && is_plain {
        Ok(url)
    } else {
        Err(bad)
    }
}

async fn get(
    parts: &Parts,
    url: Url,
    bearer: Option<HeaderValue>,
    what: &'static str,
) -> Result<Fetched, ProviderError> {
    let mut headers = HeaderMap::new();
    if let Some(bearer) = bearer {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let fetch = Fetch {
        method: Method::GET,
        url,
        headers,
        body: Bytes::new(),
        reach: Reach::Operator,
        redirects_max: 0,
        body_max: DOCUMENT_MAX,
        timeout: TIMEOUT,
    };
    let fetched = parts.client.fetch(fetch).await;
    let fetched = fetched.map_err(|error| ProviderError::unavailable(what, error))?;
    if fetched.status == StatusCode::OK {
        Ok(fetched)
    } else {
        let status = format!("status {}", fetched.status.as_u16());
        Err(ProviderError::unavailable(what, status))
    }
}

fn body(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// RFC 6749 section 2.3.1: each part is written as in a form first.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, ProviderError> {
    let encode = |text: &str| -> Zeroizing<String> {
        Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect())
    };
    let pair = Zeroizing::new(format!("{}:{}", *encode(id), *encode(secret)));
    let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::try_from(text.as_str())
        .map_err(|error| ProviderError::unavailable("client secret", error))?;
    value.set_sensitive(true);
    Ok(value)
}

fn object(text: &[u8]) -> Claims {
    match wire::json::strict_value(text) {
        Ok(Value::Object(members)) => members,
        _ => Claims::new(),
    }
}
