//! Public keys that verify signatures, each for one algorithm alone, and sets of them.
//!
//! A key is read once, from a JWK (RFC 7517) or a PEM text, and held against the curve and length that its algorithm
//! asks for. What was signed is `compact`'s; where sets of other issuers come from, `jwks`'s.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// Most keys of one set. A set of more is no set of one issuer's signing keys.
pub const KEYS_MAX: usize = 64;
/// Longest `kid`, in bytes.
const KID_BYTES_MAX: usize = 256;
/// Shortest and longest RSA modulus, in bytes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// How a token may be signed (RFC 7518 section 3.1, RFC 8037). All are asymmetric: with a shared secret, whoever can
/// check a token can also make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA PKCS #1 v1.5 with SHA-256.
    Rs256,
    /// RSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Rs256,
        Self::Ps256,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// As it stands in a header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name. `Ed25519` is the newer name of `EdDSA` with this curve (RFC 9864).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "Ed25519" {
            return Some(Self::EdDsa);
        }
        Self::ALL.into_iter().find(|own| own.as_str() == text)
    }

    fn of_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

/// SHA-256 of a public key in its one canonical form (RFC 7638): what a DPoP-bound token names as `cnf.jkt`.
#[derive(Clone, Copy, Eq)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Reads base64url; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(canonical: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }
}

impl PartialEq for Thumbprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// In base64url, as `cnf.jkt` has it.
impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why something is no key that we verify with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not what a JWK or PEM text looks like.
    #[error("it is not a public key in PEM (`BEGIN PUBLIC KEY`) or JWK form")]
    Malformed,
    /// A member is missing, of another length, or not in base64url.
    #[error("`{0}` of the key is missing or malformed")]
    Member(&'static str),
    /// A key type, curve or algorithm outside [`Algorithm`].
    #[error("only RSA, P-256, P-384 and Ed25519 keys verify tokens")]
    Kind,
    /// Made for something else: `use`, `key_ops`, or an `alg` that is not for this kind of key.
    #[error("it is not a key for verifying signatures")]
    Purpose,
    /// RSA below 2048 or above 8192 bits.
    #[error("an RSA key needs 2048 to 8192 bits")]
    Length,
    /// Not a point of its curve, or not a key at all.
    #[error("no such key exists")]
    Invalid,
    /// The private half stands there, too.
    #[error("it is a private key; only its public half belongs here")]
    Private,
}

/// A public key for one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    id: Option<Arc<str>>,
    algorithm: Algorithm,
    key: DecodingKey,
    thumbprint: Thumbprint,
}

/// The parts of a public key.
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256 { x: Vec<u8>, y: Vec<u8> },
    P384 { x: Vec<u8>, y: Vec<u8> },
    Ed25519 { x: Vec<u8> },
}

impl VerifyingKey {
    /// Reads a JWK that may be published: one with its private half is refused, wherever it comes from.
    ///
    /// A key that names no `alg` is for the only one that its type has; for RSA that is `rsa`.
    ///
    /// # Errors
    /// Why it verifies nothing.
    pub fn from_jwk(jwk: &Map<String, Value>, rsa: Algorithm) -> Result<Self, KeyError> {
        if PRIVATE.iter().any(|name| jwk.contains_key(*name)) {
            return Err(KeyError::Private);
        }
        let text = |name: &'static str| match jwk.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(KeyError::Member(name)),
        };
        let verifies = match jwk.get("key_ops") {
            None => true,
            Some(Value::Array(ops)) => ops.iter().any(|op| op == "verify"),
            Some(_) => false,
        };
        if !verifies || text("use")?.is_some_and(|word| word != "sig") {
            return Err(KeyError::Purpose);
        }
        let id = match text("kid")? {
            Some(id) if id.len() > KID_BYTES_MAX => return Err(KeyError::Member("kid")),
            id => id.map(Arc::from),
        };
        let material = Material::from_jwk(jwk)?;
        let algorithm = match text("alg")? {
            Some(name) => Algorithm::parse(name).ok_or(KeyError::Purpose)?,
            None => material.algorithm(rsa),
        };
        Self::new(id, algorithm, &material)
    }

    /// Reads a `PUBLIC KEY` in PEM form (RFC 7468 section 13). `rsa`: what an RSA key is for.
    ///
    /// # Errors
    /// Why it verifies nothing.
    pub fn from_pem(pem: &str, id: Option<&str>, rsa: Algorithm) -> Result<Self, KeyError> {
        if pem.contains("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
            .map_err(|_not_pem| KeyError::Malformed)?;
        let material = Material::from_spki(&der)?;
        Self::new(id.map(Arc::from), material.algorithm(rsa), &material)
    }

    fn new(
        id: Option<Arc<str>>,
        algorithm: Algorithm,
        material: &Material,
    ) -> Result<Self, KeyError> {
        if !material.is_for(algorithm) {
            return Err(KeyError::Purpose);
        }
        Ok(Self {
            id,
            algorithm,
            key: material.checked()?,
            thumbprint: material.thumbprint(),
        })
    }

    /// `kid`.
    #[must_use]
    pub fn id(&self) -> Option<&Arc<str>> {
        self.id.as_ref()
    }

    /// The only algorithm it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Names it by what it is.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether `signature` (base64url) over `message` was made with its private half.
    pub(crate) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, self.algorithm.of_library())
            .unwrap_or(false)
    }

    /// Whether a token that names this `kid` and algorithm may be signed by it.
    fn fits(&self, id: Option<&str>, algorithm: Algorithm) -> bool {
        let is_named = match (&self.id, id) {
            (Some(own), Some(id)) => **own == *id,
            (None, _) | (_, None) => true,
        };
        is_named && self.algorithm == algorithm
    }
}

/// Public, but of no use in a log.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.algorithm == other.algorithm
            && self.thumbprint == other.thumbprint
    }
}

/// Members that only a private or a symmetric key has (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl Material {
    fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, KeyError> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &'static str| {
            text(name)
                .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
                .filter(|bytes| !bytes.is_empty())
                .ok_or(KeyError::Member(name))
        };
        let fixed = |name: &'static str, len: usize| {
            bytes(name).and_then(|found| {
                Some(found)
                    .filter(|found| found.len() == len)
                    .ok_or(KeyError::Member(name))
            })
        };
        match (text("kty"), text("crv")) {
            // Leading zeros would make one key look like two.
            (Some("RSA"), _) => Ok(Self::Rsa {
                n: Some(bytes("n")?)
                    .filter(|n| n[0] != 0)
                    .ok_or(KeyError::Member("n"))?,
                e: Some(bytes("e")?)
                    .filter(|e| e[0] != 0)
                    .ok_or(KeyError::Member("e"))?,
            }),
            (Some("EC"), Some("P-256")) => Ok(Self::P256 {
                x: fixed("x", 32)?,
                y: fixed("y", 32)?,
            }),
            (Some("EC"), Some("P-384")) => Ok(Self::P384 {
                x: fixed("x", 48)?,
                y: fixed("y", 48)?,
            }),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519 { x: fixed("x", 32)? }),
            (Some(_), _) => Err(KeyError::Kind),
            (None, _) => Err(KeyError::Member("kty")),
        }
    }

    fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let spki =
            SubjectPublicKeyInfoRef::from_der(der).map_err(|_not_der| KeyError::Malformed)?;
        let curve = spki
            .algorithm
            .parameters
            .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok());
        let key = spki
            .subject_public_key
            .as_bytes()
            .ok_or(KeyError::Malformed)?;
        // An uncompressed point (SEC 1 section 2.3.3).
        let point = |len: usize| match key.split_first() {
            Some((4, xy)) if xy.len() == 2 * len => {
                let (x, y) = xy.split_at(len);
                Ok((x.to_vec(), y.to_vec()))
            }
            _ => Err(KeyError::Invalid),
        };
        match (spki.algorithm.oid, curve) {
            (RSA, _) => {
                let public = aws_lc_rs::rsa::PublicKey::from_der(key)
                    .map_err(|_rejected| KeyError::Length)?;
                let RsaPublicKeyComponents { n, e } =
                    RsaPublicKeyComponents::<Vec<u8>>::from(&public);
                Ok(Self::Rsa { n, e })
            }
            (EC, Some(P256)) => point(32).map(|(x, y)| Self::P256 { x, y }),
            (EC, Some(P384)) => point(48).map(|(x, y)| Self::P384 { x, y }),
            (ED25519_OID, None) if key.len() == 32 => Ok(Self::Ed25519 { x: key.to_vec() }),
            _ => Err(KeyError::Kind),
        }
    }

    /// The algorithm for it unless something else is said.
    fn algorithm(&self, rsa: Algorithm) -> Algorithm {
        match self {
            Self::Rsa { .. } => rsa,
            Self::P256 { .. } => Algorithm::Es256,
            Self::P384 { .. } => Algorithm::Es384,
            Self::Ed25519 { .. } => Algorithm::EdDsa,
        }
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Self::P256 { .. } => algorithm == Algorithm::Es256,
            Self::P384 { .. } => algorithm == Algorithm::Es384,
            Self::Ed25519 { .. } => algorithm == Algorithm::EdDsa,
        }
    }

    /// As the library wants it, after the library below has seen that there is such a key.
    fn checked(&self) -> Result<DecodingKey, KeyError> {
        let parses = |algorithm: &'static dyn VerificationAlgorithm, bytes: &[u8]| {
            ParsedPublicKey::new(algorithm, bytes)
                .map(|_key| ())
                .map_err(|_rejected| KeyError::Invalid)
        };
        let point = |x: &[u8], y: &[u8]| [&[4], x, y].concat();
        match self {
            Self::Rsa { n, e } => {
                if !MODULUS_BYTES.contains(&n.len()) {
                    return Err(KeyError::Length);
                }
                RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                    .map_err(|_rejected| KeyError::Invalid)?;
                Ok(DecodingKey::from_rsa_raw_components(n, e))
            }
            Self::P256 { x, y } => {
                parses(&ECDSA_P256_SHA256_FIXED, &point(x, y))?;
                Ok(DecodingKey::from_ec_der(&point(x, y)))
            }
            Self::P384 { x, y } => {
                parses(&ECDSA_P384_SHA384_FIXED, &point(x, y))?;
                Ok(DecodingKey::from_ec_der(&point(x, y)))
            }
            Self::Ed25519 { x } => {
                parses(&ED25519, x)?;
                Ok(DecodingKey::from_ed_der(x))
            }
        }
    }

    /// RFC 7638 section 3.2: the required members alone, in the order of their names, without white space.
    fn thumbprint(&self) -> Thumbprint {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        Thumbprint::of(&match self {
            Self::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n))
            }
            Self::P256 { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                text(x),
                text(y)
            ),
            Self::P384 { x, y } => format!(
                r#"{{"crv":"P-384","kty":"EC","x":"{}","y":"{}"}}"#,
                text(x),
                text(y)
            ),
            Self::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, text(x))
            }
        })
    }
}

/// The keys that an issuer signs with at the moment. Whoever holds the set sees what was published last.
#[derive(Debug, Default)]
pub struct KeySet {
    published: ArcSwap<Published>,
}

/// The keys of one moment.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Grows with every change: what was verified with an older set is verified anew.
    pub(crate) generation: u64,
    keys: Vec<VerifyingKey>,
}

impl KeySet {
    /// No keys yet.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Replaces the keys. A key that is left out verifies nothing from now on.
    pub fn publish(&self, mut keys: Vec<VerifyingKey>) {
        keys.truncate(KEYS_MAX);
        self.published.rcu(|before| {
            if before.keys == keys {
                return Arc::clone(before);
            }
            Arc::new(Published {
                generation: before.generation + 1,
                keys: keys.clone(),
            })
        });
    }

    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<Published>> {
        self.published.load()
    }
}

impl Published {
    /// The keys that may have signed a token which names this `kid` and algorithm.
    pub(crate) fn fitting<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a VerifyingKey> {
        self.keys.iter().filter(move |key| key.fits(id, algorithm))
    }

    /// Whether a key of this `kid` is among them.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

/// Reads a JWK Set (RFC 7517 section 5). Keys that we cannot use are passed over: sets hold keys for other purposes.
///
/// # Errors
/// If it is no set, or none of its keys is of use.
pub fn from_jwks(text: &[u8], rsa: Algorithm) -> Result<Vec<VerifyingKey>, KeyError> {
    let set = wire::json::strict_value(text).map_err(|_not_json| KeyError::Malformed)?;
    let keys = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(KeyError::Malformed)?;
    let mut usable: Vec<VerifyingKey> = Vec::new();
    let mut last = KeyError::Malformed;
    for jwk in keys.iter().filter_map(Value::as_object) {
        match VerifyingKey::from_jwk(jwk, rsa) {
            Ok(key) if usable.len() < KEYS_MAX => usable.push(key),
            Ok(_) => break,
            Err(error) => last = error,
        }
    }
    if usable.is_empty() {
        return Err(last);
    }
    Ok(usable)
}

#[cfg(test)]
mod tests;
