//! Arguments that only an auditor reads: sealed to a public key whose other half no gate has.
//!
//! HPKE in base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, as rustls has it over
//! aws-lc-rs: a standard form that other tools open, and no second crypto library. `info` is [`INFO`], the additional
//! data is the call's id: what is sealed for one call opens as no other's. Keys are raw, as RFC 7748 has them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

/// What is sealed, and in which form.
const INFO: &[u8] = b"portcullis audit arguments v1";
/// What a public key begins with, as text.
const PUBLIC: &str = "auditor";
/// What a private key begins with.
const PRIVATE: &str = "auditor-private";
/// Bytes of either.
const KEY_LEN: usize = 32;
/// Bytes of a key's id.
const ID_LEN: usize = 4;

/// For whom arguments are sealed. As text `auditor+01234567+BASE64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auditor {
    public: [u8; KEY_LEN],
}

/// What opens them. As text `auditor-private+01234567+BASE64`, where the digits are those of the public key.
pub struct AuditorKey {
    auditor: Auditor,
    private: Zeroizing<[u8; KEY_LEN]>,
}

/// The text is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAuditor {
    /// No public key.
    #[error(
        "an auditor's key looks like `auditor+01234567+BASE64`, as `portcullis audit keygen` writes it"
    )]
    Public,
    /// No private key.
    #[error(
        "an auditor's private key looks like `auditor-private+01234567+BASE64`, as `portcullis audit keygen` writes it"
    )]
    Private,
    /// None can be made.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Why sealed arguments do not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unopened {
    /// They are not sealed.
    #[error("these arguments are not sealed")]
    NotSealed,
    /// For somebody else.
    #[error("they are sealed for the auditor with the key {0}")]
    Other(String),
    /// Changed, or of another call.
    #[error("the seal does not hold: they were changed, or are another call's")]
    Broken,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    enc: String,
    sealed: String,
    sealed_to: String,
}

impl Auditor {
    /// Seals a call's arguments; `None` where that cannot be, and then nothing is kept.
    pub(super) fn seal(&self, call_id: &str, arguments: &[u8]) -> Option<String> {
        let key = HpkePublicKey(self.public.to_vec());
        let (secret, sealed) = SUITE.seal(INFO, call_id.as_bytes(), arguments, &key).ok()?;
        Some(
            json!({
                "enc": BASE64.encode(secret.0),
                "sealed": BASE64.encode(sealed),
                "sealed_to": self.id(),
            })
            .to_string(),
        )
    }

    /// By which what is sealed says whose it is: eight hex digits.
    #[must_use]
    pub fn id(&self) -> String {
        let hash = digest(&SHA256, &self.public);
        let start = hash.as_ref().get(..ID_LEN).unwrap_or_default();
        store::audit::text::hex(start)
    }
}

impl AuditorKey {
    /// A new one.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn generate() -> Result<Self, BadAuditor> {
        let pair = SUITE.generate_key_pair();
        let (_, private) = pair.map_err(|_none| BadAuditor::NoRandomness)?;
        let private = Zeroizing::new(private.secret_bytes().to_vec());
        Self::of(&private).ok_or(BadAuditor::NoRandomness)
    }

    /// What seals for it.
    #[must_use]
    pub fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    /// It as text, for its holder's file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let key = Zeroizing::new(BASE64.encode(*self.private));
        Zeroizing::new([PRIVATE, "+", &self.auditor.id(), "+", &key].concat())
    }

    /// Opens a record's `arguments`.
    ///
    /// # Errors
    /// Why they do not open.
    pub fn open(&self, call_id: &str, arguments: &str) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let read: Sealed = serde_json::from_str(arguments).map_err(|_other| Unopened::NotSealed)?;
        if read.sealed_to != self.auditor.id() {
            return Err(Unopened::Other(read.sealed_to));
        }
        let bytes = |text: &str| BASE64.decode(text).map_err(|_bad| Unopened::Broken);
        let secret = EncapsulatedSecret(bytes(&read.enc)?);
        let key = HpkePrivateKey::from(self.private.to_vec());
        SUITE
            .open(
                &secret,
                INFO,
                call_id.as_bytes(),
                &bytes(&read.sealed)?,
                &key,
            )
            .map(Zeroizing::new)
            .map_err(|_refused| Unopened::Broken)
    }

    fn of(private: &[u8]) -> Option<Self> {
        let private: Zeroizing<[u8; KEY_LEN]> = Zeroizing::new(private.try_into().ok()?);
        let pair = PrivateKey::from_private_key(&X25519, &*private).ok()?;
        let public = pair.compute_public_key().ok()?.as_ref().try_into().ok()?;
        Some(Self {
            auditor: Auditor { public },
            private,
        })
    }
}

impl fmt::Debug for AuditorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditorKey")
            .field("auditor", &self.auditor)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}+{}+{}", self.id(), BASE64.encode(self.public))
    }
}

impl FromStr for Auditor {
    type Err = BadAuditor;

    fn from_str(text: &str) -> Result<Self, BadAuditor> {
        let read = || {
            let (id, key) = text
                .trim()
                .strip_prefix(PUBLIC)?
                .strip_prefix('+')?
                .split_once('+')?;
            let public = BASE64.decode(key).ok()?.try_into().ok()?;
            let auditor = Self { public };
            // A point that yields no secret is no key, whatever its id says.
            (auditor.id() == id && auditor.seal("", b"").is_some()).then_some(auditor)
        };
        read().ok_or(BadAuditor::Public)
    }
}

impl FromStr for AuditorKey {
    type Err = BadAuditor;

    fn from_str(text: &str) -> Result<Self, BadAuditor> {
        let read = || {
            let (id, key) = text
                .trim()
                .strip_prefix(PRIVATE)?
                .strip_prefix('+')?
                .split_once('+')?;
            let private = Zeroizing::new(BASE64.decode(key).ok()?);
            Self::of(&private).filter(|read| read.auditor.id() == id)
        };
        read().ok_or(BadAuditor::Private)
    }
}

#[cfg(test)]
mod tests;
