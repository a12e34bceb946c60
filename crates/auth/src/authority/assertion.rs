//! A client that authenticates with a signature in place of a secret (`private_key_jwt`): RFC 7523 sections 2.2 and 3.
//!
//! An assertion counts once, for a few minutes, and here alone. Whose keys a client has is the config's to say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy::Clock;
use serde_json::Value;
use store::Store;

use super::OAuthError;
use super::client::Client;
use crate::Vault;
use crate::tokens::compact::{Compact, date};

/// `client_assertion_type`.
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// How far a client's clock may be from ours.
const SKEW: Duration = Duration::from_secs(30);
/// How long an assertion may be good for.
const LIFETIME_MAX: Duration = Duration::from_mins(10);
/// Longest `jti`, in bytes.
const ID_BYTES_MAX: usize = 256;
/// What its header may call it: other signed objects of the same client must not count as one.
const TYPES: [&str; 2] = ["JWT", "client-authentication+jwt"];

/// What a client says of itself, not proved yet.
#[derive(Debug)]
pub(super) struct Assertion<'a>(Compact<'a>);

impl<'a> Assertion<'a> {
    pub(super) fn read(text: &'a str) -> Result<Self, OAuthError> {
        let read = Compact::read(text).map_err(|_why| OAuthError::Client)?;
        let kind = read.header_text("typ").map_err(|_why| OAuthError::Client)?;
        let is_one = |kind: &str| TYPES.iter().any(|own| own.eq_ignore_ascii_case(kind));
        if kind.is_some_and(|kind| !is_one(kind)) {
            return Err(OAuthError::Client);
        }
        Ok(Self(read))
    }

    /// Which client it claims to come from.
    pub(super) fn client_id(&self) -> Option<&str> {
        let id = self.text("iss")?;
        (self.text("sub") == Some(id)).then_some(id)
    }

    /// Whether it is the client's, for one of `audiences` (our issuer, or the URL that was asked), and in its time.
    pub(super) fn is_of(&self, client: &Client, audiences: [&str; 2], now: SystemTime) -> bool {
        let is_signed = client.keys.iter().any(|key| self.0.is_signed_by(key));
        // RFC 7523 bis: one audience, so that nobody else can present it here.
        let audience = match self.0.claims.get("aud") {
            Some(Value::String(one)) => Some(one.as_str()),
            Some(Value::Array(list)) => match list.as_slice() {
                [one] => one.as_str(),
                _ => None,
            },
            _ => None,
        };
        let is_for_us = audience.is_some_and(|audience| audiences.contains(&audience));
        let has_begun = ["nbf", "iat"].iter().all(|name| {
            let since = self.0.claims.get(*name).map(date);
            since.is_none_or(|since| since.is_some_and(|since| since <= now + SKEW))
        });
        let holds = self
            .until()
            .is_some_and(|until| now < until + SKEW && until <= now + LIFETIME_MAX + SKEW);
        is_signed && is_for_us && has_begun && holds
    }

    /// Whether it is presented for the first time; it is used up by that.
    pub(super) async fn is_first(
        &self,
        store: &Store,
        vault: &Arc<Vault>,
        clock: &Arc<dyn Clock>,
    ) -> Result<bool, OAuthError> {
        let (Some(client), Some(id), Some(until)) =
            (self.client_id(), self.text("jti"), self.until())
        else {
            return Ok(false);
        };
        if id.len() > ID_BYTES_MAX {
            return Ok(false);
        }
        let hash = vault.hash("authority/assertion", format!("{client}\0{id}").as_bytes());
        let until = until + SKEW * 2;
        Ok(store.put_replay(hash, until, clock.wall()).await?)
    }

    fn until(&self) -> Option<SystemTime> {
        date(self.0.claims.get("exp")?)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.claims.get(name)?.as_str()
    }
}
