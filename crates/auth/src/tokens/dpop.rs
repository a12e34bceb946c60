//! Proofs of possession (DPoP, RFC 9449): the sender of this very request holds the key that a token is bound to.
//!
//! A proof counts once. That it was seen is remembered in memory, to refuse a replay for nothing, and in the store,
//! which has the last word: a restart, or another process on the same database, takes no proof again. Which tokens
//! are bound to which key is for `tokens`; the token endpoint asks [`Proofs::check`] by itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use policy::Clock;
use serde_json::Value;
use store::Store;
use subtle::ConstantTimeEq as _;
use url::Url;

use super::compact::{self, Compact};
use super::keys::{Algorithm, Thumbprint, VerifyingKey};
use crate::{AuthError, Parts, Vault};

/// Longest proof, in bytes: an RSA key of 8192 bits, its signature, and room.
const PROOF_BYTES_MAX: usize = 8 * 1024;
/// Longest `jti`, in bytes.
const ID_BYTES_MAX: usize = 256;
/// How far from now a proof may have been made, to either side.
pub const WINDOW: Duration = Duration::from_mins(1);
/// How long a nonce is given out; it is taken for as long again.
const NONCE_AGE: Duration = Duration::from_mins(5);
/// Most proofs remembered in memory, all of one window. Beyond, proofs are refused rather than forgotten.
pub const PROOFS_MAX: usize = 200_000;
/// How often those past their window are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// What a proof must be about.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The HTTP method of the request.
    pub method: &'a str,
    /// Its URL, without query and fragment.
    pub url: &'a str,
    /// The access token beside it; `None` at the token endpoint, where there is none yet.
    pub token: Option<&'a str>,
    /// The key that must have made it; `None` if any may.
    pub key: Option<Thumbprint>,
    /// Whether it must carry a nonce of ours that is fresh.
    pub nonce: bool,
}

/// Judges proofs.
pub struct Proofs {
    store: Store,
    clock: Arc<dyn Clock>,
    vault: Arc<Vault>,
    seen: Mutex<Seen>,
}

/// Proofs taken, by their keyed hash, and when each may be forgotten.
#[derive(Default)]
struct Seen {
    until: HashMap<[u8; 32], SystemTime>,
    swept_at: Option<SystemTime>,
}

impl Proofs {
    /// Knows what the store knows.
    #[must_use]
    pub fn new(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            clock: Arc::clone(&parts.clock),
            vault: Arc::clone(&parts.vault),
            seen: Mutex::default(),
        }
    }

    /// Whose key made the proof (the `DPoP` header). It is used up by that.
    ///
    /// # Errors
    /// [`AuthError::Proof`], [`AuthError::Nonce`] with the nonce to use, or [`AuthError::Unavailable`].
    pub async fn check(
        &self,
        proof: &str,
        expected: &Expected<'_>,
    ) -> Result<Thumbprint, AuthError> {
        let now = self.clock.wall();
        let judged = judge(proof, expected, now).map_err(AuthError::Proof)?;
        if expected.nonce {
            self.check_nonce(judged.nonce.as_deref(), now)?;
        }
        // The window is over for good at its end, and a clock that is set back a little must not open it again.
        let until = judged.made_at + WINDOW * 2;
        let id = [judged.key.as_bytes(), judged.id.as_bytes()].concat();
        self.use_up(self.vault.hash("dpop/proof", &id), until, now)
            .await?;
        Ok(judged.key)
    }

    /// A nonce that is good now: the time, in steps, under a keyed hash. Nothing is kept of it.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.nonce_of(step(self.clock.wall()))
    }

    fn nonce_of(&self, step: u64) -> String {
        let hash = self.vault.hash("dpop/nonce", &step.to_be_bytes());
        let (short, _) = hash.split_at(16);
        BASE64_URL_SAFE_NO_PAD.encode(short)
    }

    fn check_nonce(&self, nonce: Option<&str>, now: SystemTime) -> Result<(), AuthError> {
        let step = step(now);
        let good = [self.nonce_of(step), self.nonce_of(step.saturating_sub(1))];
        let is_good = |nonce: &str| {
            good.iter()
                .any(|good| good.as_bytes().ct_eq(nonce.as_bytes()).into())
        };
        if nonce.is_some_and(is_good) {
            return Ok(());
        }
        let [fresh, _] = good;
        Err(AuthError::Nonce(fresh))
    }

    async fn use_up(
        &self,
        hash: [u8; 32],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<(), AuthError> {
        const REPLAYED: AuthError = AuthError::Proof("it was used before");
        if !self.seen.lock().note(hash, until, now)? {
            return Err(REPLAYED);
        }
        let is_first = self
            .store
            .put_replay(hash, until, now)
            .await
            .map_err(AuthError::unavailable)?;
        if is_first { Ok(()) } else { Err(REPLAYED) }
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs")
            .field("seen", &self.seen.lock().until.len())
            .finish_non_exhaustive()
    }
}

impl Seen {
    /// Whether it is the first of its kind.
    fn note(
        &mut self,
        hash: [u8; 32],
        until: SystemTime,
        now: SystemTime,
    ) -> Result<bool, AuthError> {
        let is_due = self.swept_at.is_none_or(|at| {
            now.duration_since(at)
                .is_ok_and(|since| since >= SWEEP_EVERY)
        });
        if is_due || self.until.len() >= PROOFS_MAX {
            self.until.retain(|_, until| *until > now);
            self.swept_at = Some(now);
        }
        if self.until.contains_key(&hash) {
            return Ok(false);
        }
        if self.until.len() >= PROOFS_MAX {
            return Err(AuthError::unavailable(Full));
        }
        self.until.insert(hash, until);
        Ok(true)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{PROOFS_MAX} proofs of possession are remembered, and none may be forgotten yet")]
struct Full;

/// What a good proof says.
struct Judged {
    key: Thumbprint,
    id: String,
    made_at: SystemTime,
    nonce: Option<String>,
}

/// RFC 9449 section 4.3, but for what needs a memory.
fn judge(proof: &str, expected: &Expected<'_>, now: SystemTime) -> Result<Judged, &'static str> {
    if proof.len() > PROOF_BYTES_MAX {
        return Err("it is too long");
    }
    let proof = Compact::read(proof)?;
    if proof.header_text("typ")? != Some("dpop+jwt") {
        return Err("it is of another type");
    }
    let Some(Value::Object(jwk)) = proof.header.get("jwk") else {
        return Err("it brings no key");
    };
    let rsa = match proof.algorithm {
        Algorithm::Ps256 => Algorithm::Ps256,
        Algorithm::Rs256 | Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => {
            Algorithm::Rs256
        }
    };
    let key = VerifyingKey::from_jwk(jwk, rsa).map_err(|_error| "its key is not one we take")?;
    if !proof.is_signed_by(&key) {
        return Err("its signature does not hold");
    }
    if expected.key.is_some_and(|own| own != key.thumbprint()) {
        return Err("it was made with another key");
    }
    let text = |name: &str| proof.claims.get(name).and_then(Value::as_str);
    if text("htm") != Some(expected.method) {
        return Err("it is for another method");
    }
    if !text("htu").is_some_and(|url| is_same_place(url, expected.url)) {
        return Err("it is for another URL");
    }
    let made_at = proof
        .claims
        .get("iat")
        .and_then(compact::date)
        .ok_or("it says not when it was made")?;
    if made_at + WINDOW < now || made_at > now + WINDOW {
        return Err("it was not made just now");
    }
    let id = text("jti")
        .filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)
        .ok_or("it has no proper id")?;
    if let Some(token) = expected.token {
        let hash = digest::digest(&digest::SHA256, token.as_bytes());
        let hash = BASE64_URL_SAFE_NO_PAD.encode(hash);
        let is_same = |ath: &str| bool::from(ath.as_bytes().ct_eq(hash.as_bytes()));
        if !text("ath").is_some_and(is_same) {
            return Err("it is for another token");
        }
    }
    Ok(Judged {
        key: key.thumbprint(),
        id: id.to_owned(),
        made_at,
        nonce: text("nonce").map(str::to_owned),
    })
}

/// Whether both name the same place once written the one normal way (RFC 3986 sections 6.2.2 and 6.2.3), query and
/// fragment aside.
fn is_same_place(one: &str, other: &str) -> bool {
    let normal = |text: &str| {
        let mut url = Url::parse(text).ok().filter(Url::has_host)?;
        url.set_query(None);
        url.set_fragment(None);
        Some(url)
    };
    match (normal(one), normal(other)) {
        (Some(one), Some(other)) => one == other,
        (None, _) | (_, None) => false,
    }
}

/// Which step of [`NONCE_AGE`] it is since 1970.
fn step(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / NONCE_AGE.as_secs()
}

#[cfg(test)]
mod tests;
