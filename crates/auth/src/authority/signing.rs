//! The keys that sign access tokens: made when first needed, sealed in the store, replaced one at a time.
//!
//! ES256 (RFC 7518 section 3.4). A key that was replaced still verifies what it signed, until the longest of its tokens
//! has ended. What is published goes to whoever asks for `/oauth/jwks`, and into the set by which this gate verifies.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use policy::{Clock, Instant};
use serde_json::{Map, Value, json};
use store::{SigningKeyRow, Store};
use tracing::{error, info};

use super::{OAuthError, TOKEN_LIFETIME_MAX};
use crate::tokens::{Algorithm, KeySet, VerifyingKey};
use crate::{Parts, Vault, VaultError};

/// How often it is looked whether another process replaced the key.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a replaced key is good beyond its last token: for processes that have not looked yet, and clocks.
const SLACK: Duration = Duration::from_mins(5);

/// See the module.
#[derive(Debug)]
pub(super) struct SigningKeys {
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    set: Arc<KeySet>,
    current: RwLock<Option<Arc<Current>>>,
}

/// The keys of the moment.
#[derive(Debug)]
pub(super) struct Current {
    kid: String,
    pair: EcdsaKeyPair,
    /// The public keys, the one that signs first.
    jwks: Vec<Value>,
    read_at: Instant,
}

impl SigningKeys {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            vault: Arc::clone(&parts.vault),
            clock: Arc::clone(&parts.clock),
            set: KeySet::new(),
            current: RwLock::default(),
        }
    }

    /// Publishes what the store has, so that tokens from before a start are good; or nothing: then no token is.
    pub(super) fn publish_if(&self, enabled: bool) {
        if !enabled {
            self.set.publish(Vec::new());
            return;
        }
        match self.store.list_signing_keys(self.clock.wall()) {
            Ok(rows) => self.publish(&rows),
            Err(error) => error!(%error, "the signing keys cannot be read"),
        }
    }

    pub(super) fn set(&self) -> &Arc<KeySet> {
        &self.set
    }

    /// The keys of the moment, made if there are none.
    pub(super) async fn current(&self) -> Result<Arc<Current>, OAuthError> {
        let now = self.clock.now();
        if let Some(current) = &*self.current.read()
            && now.since(current.read_at) < LOOK_EVERY
        {
            return Ok(Arc::clone(current));
        }
        if self.signing()?.is_none() {
            let made = self.make()?;
            // Another process may have been first: then its key is the one.
            let kept = self.store.put_first_signing_key(made).await?;
            info!(kid = kept.kid, "the key that signs access tokens is there");
        }
        self.read()
    }

    /// Replaces the key that signs; the old one retires when its tokens have ended.
    pub(super) async fn rotate(&self) -> Result<String, OAuthError> {
        let made = self.make()?;
        let now = self.clock.wall();
        let kid = made.kid.clone();
        let retires_at = now + TOKEN_LIFETIME_MAX + SLACK;
        self.store.rotate_signing_key(made, retires_at).await?;
        self.store.prune_signing_keys(now).await?;
        self.read()?;
        info!(kid, "access tokens are signed with another key");
        Ok(kid)
    }

    fn signing(&self) -> Result<Option<SigningKeyRow>, OAuthError> {
        let rows = self.store.list_signing_keys(self.clock.wall())?;
        Ok(rows.into_iter().find(|row| row.retires_at.is_none()))
    }

    /// Takes over what the store has.
    fn read(&self) -> Result<Arc<Current>, OAuthError> {
        let read_at = self.clock.now();
        let rows = self.store.list_signing_keys(self.clock.wall())?;
        let row = rows
            .iter()
            .find(|row| row.retires_at.is_none())
            .ok_or_else(|| OAuthError::unavailable(VaultError::Foreign))?;
        let pkcs8 = self
            .vault
            .open(&purpose(&row.kid), &row.sealed)
            .map_err(OAuthError::unavailable)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_rejected| OAuthError::unavailable(VaultError::Foreign))?;
        let current = Arc::new(Current {
            kid: row.kid.clone(),
            pair,
            jwks: rows.iter().filter_map(jwk).collect(),
            read_at,
        });
        self.publish(&rows);
        *self.current.write() = Some(Arc::clone(&current));
        Ok(current)
    }

    fn publish(&self, rows: &[SigningKeyRow]) {
        let verifying = |row: &SigningKeyRow| {
            let jwk = jwk(row)?;
            let key = VerifyingKey::from_jwk(jwk.as_object()?, Algorithm::Rs256);
            key.inspect_err(|error| error!(%error, kid = row.kid, "a signing key is damaged"))
                .ok()
        };
        self.set
            .publish(rows.iter().filter_map(verifying).collect());
    }

    fn make(&self) -> Result<SigningKeyRow, OAuthError> {
        let no_randomness = |_unspecified| OAuthError::unavailable(VaultError::NoRandomness);
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(no_randomness)?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref())
            .map_err(|_rejected| OAuthError::unavailable(VaultError::NoRandomness))?;
        // The uncompressed point: 4, x, y.
        let (x, y) = pair
            .public_key()
            .as_ref()
            .split_at_checked(33)
            .and_then(|(head, y)| Some((head.strip_prefix(&[4])?, y)))
            .ok_or_else(|| OAuthError::unavailable(VaultError::NoRandomness))?;
        let (x, y) = (
            BASE64_URL_SAFE_NO_PAD.encode(x),
            BASE64_URL_SAFE_NO_PAD.encode(y),
        );
        // RFC 7638 section 3: these members, in this order.
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
        let kid = BASE64_URL_SAFE_NO_PAD.encode(hash);
        let sealed = self
            .vault
            .seal(&purpose(&kid), pkcs8.as_ref())
            .map_err(OAuthError::unavailable)?;
        Ok(SigningKeyRow {
            public: json!({
                "kty": "EC", "crv": "P-256", "x": x, "y": y,
                "kid": kid, "use": "sig", "alg": "ES256",
            })
            .to_string(),
            kid,
            sealed,
            created_at: self.clock.wall(),
            retires_at: None,
        })
    }
}

impl Current {
    /// The public keys (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": self.jwks })
    }

    /// A signed token (RFC 7515 section 3.1) of type `at+jwt` (RFC 9068 section 2.1).
    pub(super) fn sign(&self, claims: &Map<String, Value>) -> Result<String, OAuthError> {
        self.sign_as("at+jwt", claims)
    }

    /// A signed JWT of type `kind`.
    pub(super) fn sign_as(
        &self,
        kind: &str,
        claims: &Map<String, Value>,
    ) -> Result<String, OAuthError> {
        let header = json!({ "typ": kind, "alg": "ES256", "kid": self.kid }).to_string();
        let claims = Value::Object(claims.clone()).to_string();
        let mut token = format!(
            "{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(header),
            BASE64_URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_unspecified| OAuthError::unavailable(VaultError::NoRandomness))?;
        token.push('.');
        token.push_str(&BASE64_URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }
}

fn jwk(row: &SigningKeyRow) -> Option<Value> {
    serde_json::from_str(&row.public).ok()
}

pub(crate) fn purpose(kid: &str) -> String {
    format!("signing_keys/{kid}")
}
