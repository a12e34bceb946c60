//! The token endpoint: what is asked of it, and what is taken of its answer.
//!
//! Sources: RFC 6749 sections 4.1.3, 4.4, 5 and 6, RFC 7636, RFC 8707. What RFC 8693 adds is `exchange`'s.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::Fetch;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::challenge::scopes;
use super::client::{Client, seconds};
use super::discovery::{Scout, Server};
use super::error::OutboundError;

/// The largest answer taken, in bytes.
const ANSWER_MAX: usize = 128 * 1024;
/// How long it may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Characters of an error code that are told on.
const CODE_MAX: usize = 64;
/// Bytes of an access token: what fits a header everywhere.
const TOKEN_MAX: usize = 16 * 1024;
/// The longest lifetime that is believed.
const LIFETIME_MAX: u64 = 366 * 24 * 60 * 60;

/// What a token endpoint gave. Kept sealed, never printed.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) access: Zeroizing<String>,
    pub(super) refresh: Option<Zeroizing<String>>,
    /// In seconds since 1970.
    pub(super) obtained_at: u64,
    pub(super) expires_at: Option<u64>,
    /// What was asked for.
    pub(super) asked: Vec<String>,
    /// What was granted.
    pub(super) granted: Vec<String>,
}

/// A request to a token endpoint.
pub(super) struct Request<'a> {
    pub(super) scout: Scout<'a>,
    pub(super) server: &'a Server,
    pub(super) client: &'a Client,
    /// The resource that the token is for.
    pub(super) resource: &'a str,
    pub(super) now: SystemTime,
}

impl Request<'_> {
    /// Redeems a code.
    pub(super) async fn redeem(
        &self,
        code: &str,
        verifier: &str,
        redirect_uri: &str,
        asked: &[String],
    ) -> Result<Tokens, OutboundError> {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        self.ask(&parameters, asked).await
    }

    /// Gets fresh tokens for old ones. A server that does not rotate keeps its refresh token.
    pub(super) async fn refresh(&self, old: &Tokens) -> Result<Tokens, OutboundError> {
        let none = || OutboundError::Refused("there is no refresh token".to_owned());
        let refresh = old.refresh.as_ref().ok_or_else(none)?;
        let parameters = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh.as_str()),
        ];
        let mut fresh = self.ask(&parameters, &old.asked).await?;
        fresh.refresh.get_or_insert_with(|| refresh.clone());
        if fresh.granted == fresh.asked {
            // RFC 6749 section 5.1: left out, it is what it was.
            fresh.granted.clone_from(&old.granted);
        }
        Ok(fresh)
    }

    /// Gets a token for ourselves.
    pub(super) async fn own(&self, asked: &[String]) -> Result<Tokens, OutboundError> {
        let scope = asked.join(" ");
        let mut parameters = vec![("grant_type", "client_credentials")];
        if !scope.is_empty() {
            parameters.push(("scope", &scope));
        }
        let mut tokens = self.ask(&parameters, asked).await?;
        // RFC 6749 section 4.4.3: our own secret does for the next one.
        tokens.refresh = None;
        Ok(tokens)
    }

    async fn ask(
        &self,
        parameters: &[(&str, &str)],
        asked: &[String],
    ) -> Result<Tokens, OutboundError> {
        read(&self.send(parameters).await?, asked, self.now)
    }

    /// Asks; gives back the answer, if it is no refusal.
    pub(super) async fn send(&self, parameters: &[(&str, &str)]) -> Result<Value, OutboundError> {
        let (headers, body) = self.write(parameters)?;
        let url = self.server.token_endpoint.clone();
        let answer = self
            .scout
            .client
            .fetch(Fetch {
                method: Method::POST,
                reach: self.scout.reach(&url),
                url,
                headers,
                body,
                redirects_max: 0,
                body_max: ANSWER_MAX,
                timeout: TOKEN_TIMEOUT,
            })
            .await
            .map_err(|error| OutboundError::unavailable("a token", error))?;
        let status = answer.status.as_u16();
        let said = wire::json::strict_value(&answer.body).unwrap_or_default();
        if answer.status.is_server_error() || status == 429 {
            return Err(OutboundError::unavailable(
                "a token",
                format!("HTTP {status}"),
            ));
        }
        if let Some(code) = error_code(&said) {
            return Err(OutboundError::Refused(code));
        }
        if !answer.status.is_success() {
            return Err(OutboundError::Refused(format!("HTTP {status}")));
        }
        Ok(said)
    }

    fn write(&self, parameters: &[(&str, &str)]) -> Result<(HeaderMap, Bytes), OutboundError> {
        let mut headers = HeaderMap::new();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters)
            .append_pair("resource", self.resource);
        self.client
            .prove(self.server, self.now, &mut form, &mut headers)?;
        Ok((headers, Bytes::from(form.finish())))
    }
}

/// An answer's tokens (RFC 6749 section 5.1).
pub(super) fn read(
    said: &Value,
    asked: &[String],
    now: SystemTime,
) -> Result<Tokens, OutboundError> {
    let wrong = |why: &str| OutboundError::untrusted("a token", why);
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let kind = text("token_type").ok_or_else(|| wrong("it has no type"))?;
    if !kind.eq_ignore_ascii_case("bearer") {
        return Err(wrong("it is no bearer token"));
    }
    let access = text("access_token").ok_or_else(|| wrong("there is none"))?;
    let fits = !access.is_empty()
        && access.len() <= TOKEN_MAX
        && access.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(wrong("it fits no header"));
    }
    let now = seconds(now);
    // Some servers write the number as a text.
    let lifetime = said
        .get("expires_in")
        .and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    Ok(Tokens {
        access: Zeroizing::new(access.to_owned()),
        refresh: text("refresh_token").map(|token| Zeroizing::new(token.to_owned())),
        obtained_at: now,
        expires_at: lifetime.map(|seconds| now + seconds.min(LIFETIME_MAX)),
        asked: asked.to_vec(),
        granted: text("scope").map_or_else(|| asked.to_vec(), scopes),
    })
}

/// The error code in an answer, as far as it can be one (RFC 6749 section 5.2). Its description is the server's own
/// words and not told on.
pub(super) fn error_code(said: &Value) -> Option<String> {
    let code = said.get("error")?.as_str()?;
    let is_code = code
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte));
    Some(if is_code && code.len() <= CODE_MAX {
        code.to_owned()
    } else {
        "an error without a name".to_owned()
    })
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("expires_at", &self.expires_at)
            .field("granted", &self.granted)
            .finish_non_exhaustive()
    }
}
