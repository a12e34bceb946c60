//! Token exchange (RFC 8693): the gate vouches for a principal, and the authorization server gives a token for it.
//!
//! What is shown there is an assertion that the gate signs for this one exchange, never what a client presented. What
//! comes back is held against whose it has to be before it is used: one principal, one upstream, a short life, at most
//! one actor. Whether the token is genuine is the upstream's to verify. What we ask for ourselves, such as the lists of
//! such an upstream, is asked for as the client that we are (client credentials), with nobody's name.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use url::Url;

use super::client::seconds;
use super::config::Exchange;
use super::discovery::canonical;
use super::error::OutboundError;
use super::token::{Request, Tokens, read};
use crate::Site;

/// RFC 8693 section 2.1.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 section 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
/// How far another server's clock may be ahead.
const SKEW: Duration = Duration::from_secs(60);
/// The longest name of a principal that is taken from a token, in bytes.
const SUBJECT_MAX: usize = 1024;

/// What an exchange came to.
pub(super) struct Exchanged {
    pub(super) tokens: Tokens,
    /// What the server calls the principal, if the token says it.
    pub(super) subject: Option<String>,
}

impl Request<'_> {
    /// Gets a token for the principal that `assertion` names.
    pub(super) async fn exchange(
        &self,
        assertion: &str,
        exchange: &Exchange,
        asked: &[String],
        site: &Site,
    ) -> Result<Exchanged, OutboundError> {
        let scope = asked.join(" ");
        let mut parameters = vec![
            ("grant_type", GRANT),
            ("subject_token", assertion),
            ("subject_token_type", JWT),
            ("requested_token_type", ACCESS_TOKEN),
        ];
        if let Some(audience) = &exchange.audience {
            parameters.push(("audience", audience));
        }
        if !scope.is_empty() {
            parameters.push(("scope", &scope));
        }
        let said = self.send(&parameters).await?;
        let mut tokens = read(&said, asked, self.now)?;
        // Another assertion does for the next one, and says that the principal is still one.
        tokens.refresh = None;
        let upstream = canonical(self.scout.upstream);
        let wanted = Wanted {
            issuer: &self.server.issuer,
            audiences: [
                Some(self.resource),
                Some(&upstream),
                exchange.audience.as_deref(),
            ],
            site,
            now: seconds(self.now),
            lifetime_max: exchange.lifetime_max.as_secs(),
        };
        let subject = wanted.check(&said, &mut tokens)?;
        Ok(Exchanged { tokens, subject })
    }
}

/// What a token has to be.
struct Wanted<'a> {
    issuer: &'a str,
    /// What it may be for.
    audiences: [Option<&'a str>; 3],
    site: &'a Site,
    /// In seconds since 1970.
    now: u64,
    /// In seconds.
    lifetime_max: u64,
}

impl Wanted<'_> {
    /// Holds an answer against it, and ends the token when it has to. Gives back whom the token names.
    fn check(&self, said: &Value, tokens: &mut Tokens) -> Result<Option<String>, OutboundError> {
        let kind = said.get("issued_token_type").and_then(Value::as_str);
        if !matches!(kind, Some(ACCESS_TOKEN | JWT)) {
            return Err(wrong("it is no access token"));
        }
        let claims = claims(&tokens.access)?;
        if claims.is_none() && kind == Some(JWT) {
            return Err(wrong("it is no JWT, as was said"));
        }
        if tokens
            .expires_at
            .is_some_and(|end| end > self.now + self.lifetime_max)
        {
            return Err(wrong("it is good for too long"));
        }
        let mut end = tokens.expires_at.unwrap_or(self.now + self.lifetime_max);
        let mut subject = None;
        if let Some(claims) = claims {
            end = end.min(self.end(&claims)?.unwrap_or(end));
            self.check_audience(&claims)?;
            subject = self.subject(&claims)?;
        }
        tokens.expires_at = Some(end);
        Ok(subject)
    }

    /// When it ends by its own word.
    fn end(&self, claims: &Map<String, Value>) -> Result<Option<u64>, OutboundError> {
        let Some(end) = claims.get("exp") else {
            return Ok(None);
        };
        // A number with or without a fraction (RFC 7519 section 2).
        let end = end
            .as_u64()
            .or_else(|| {
                Duration::try_from_secs_f64(end.as_f64()?)
                    .ok()
                    .map(|end| end.as_secs())
            })
            .ok_or_else(|| wrong("its end is no time"))?;
        if end <= self.now {
            return Err(wrong("it has ended"));
        }
        if end > self.now + self.lifetime_max + SKEW.as_secs() {
            return Err(wrong("it is good for too long"));
        }
        Ok(Some(end.min(self.now + self.lifetime_max)))
    }

    /// It is for the upstream, and for nobody with whom the upstream could use it at this gate.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), OutboundError> {
        let named: Vec<&str> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        let plain = |text: &str| text.strip_suffix('/').unwrap_or(text).to_owned();
        let is_wanted = |audience: &&str| {
            let mut wanted = self.audiences.iter().flatten();
            wanted.any(|wanted| plain(wanted) == plain(audience))
        };
        if !named.iter().any(is_wanted) {
            return Err(wrong("it is for another audience"));
        }
        if named.iter().any(|audience| self.site.is_resource(audience)) {
            return Err(wrong("it is for this gate, too"));
        }
        Ok(())
    }

    /// Whom it names, with at most one who acts for it (RFC 8693 section 4.1).
    fn subject(&self, claims: &Map<String, Value>) -> Result<Option<String>, OutboundError> {
        if claims.get("iss").is_some_and(|iss| *iss != self.issuer) {
            return Err(wrong("it is another issuer's"));
        }
        if let Some(actor) = claims.get("act")
            && actor
                .as_object()
                .is_none_or(|actor| actor.contains_key("act"))
        {
            return Err(wrong("more than one acts for its subject"));
        }
        match claims.get("sub") {
            None => Ok(None),
            Some(Value::String(name)) if !name.is_empty() && name.len() <= SUBJECT_MAX => {
                Ok(Some(name.clone()))
            }
            Some(_) => Err(wrong("its subject is no name")),
        }
    }
}

/// What a token says of itself, unverified; `None` for one that is no signed JWT.
fn claims(token: &str) -> Result<Option<Map<String, Value>>, OutboundError> {
    let object = |part: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        match wire::json::strict_value(&bytes) {
            Ok(Value::Object(members)) => Some(members),
            Ok(_) | Err(_) => None,
        }
    };
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _signature] = parts.as_slice() else {
        return Ok(None);
    };
    if object(header).is_none_or(|header| !header.contains_key("alg")) {
        return Ok(None);
    }
    let claims = object(claims).ok_or_else(|| wrong("it is a JWT without claims"))?;
    Ok(Some(claims))
}

/// Whether an authorization server is this gate's own: it would take the assertion as coming from itself.
pub(super) fn is_own(issuer: &str, site: &Site) -> bool {
    site.is_resource(issuer)
        || Url::parse(issuer).is_ok_and(|issuer| {
            Url::parse(site.base()).is_ok_and(|base| base.origin() == issuer.origin())
        })
}

fn wrong(why: &str) -> OutboundError {
    OutboundError::untrusted("an exchanged token", why)
}
