//! What the config says about the credentials that are obtained for upstreams.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::UpstreamId;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;
use zeroize::Zeroizing;

/// All upstreams whose credentials are obtained.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Each once.
    pub upstreams: Vec<Upstream>,
}

/// One upstream whose credential is obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its alias.
    pub id: UpstreamId,
    /// Its endpoint: what tokens are for.
    pub url: Url,
    /// Whose access it is.
    pub grant: Grant,
    /// Who we are to its authorization server; `None` where we register ourselves.
    pub client: Option<Client>,
    /// What to ask for; `None` for what the upstream wants.
    pub scopes: Option<Vec<String>>,
    /// Its authorization server; `None` for the one that the upstream names.
    pub issuer: Option<String>,
}

/// Whose access it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The gate's own (RFC 6749 section 4.4).
    ClientCredentials,
    /// Each principal's, who grants it in a browser (RFC 6749 section 4.1).
    PerUser,
    /// Each principal's, for whom the gate vouches (RFC 8693); for the gate's own requests as `ClientCredentials`. The
    /// upstream's `client` and `issuer` are given.
    TokenExchange(Exchange),
}

/// How tokens are exchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What the authorization server calls the upstream, where that is not its URL.
    pub audience: Option<String>,
    /// The longest that a token may be good.
    pub lifetime_max: Duration,
}

/// Who we are to an authorization server where an operator registered us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Our id there.
    pub id: String,
    /// How we prove it.
    pub proof: Proof,
}

/// How a client proves itself at the token endpoint. Cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Proof {
    /// Not at all: PKCE alone.
    None,
    /// By a secret.
    Secret(Zeroizing<String>),
    /// By assertions that it signs (RFC 7523 section 2.2).
    Key(SigningKey),
}

/// A private key that signs assertions. Cannot be printed.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Pair>,
    /// What tells it from others.
    public: Box<[u8]>,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl SigningKey {
    /// From a PEM text (PKCS #8): P-256, P-384, Ed25519 or RSA. `None` if it is none of these.
    #[must_use]
    pub fn from_pem(pem: &str) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
        let der = der.secret_pkcs8_der();
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok();
        let pair = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map(Pair::P256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Pair::P384))
            .or_else(|| Ed25519KeyPair::from_pkcs8(der).ok().map(Pair::Ed25519))
            .or_else(|| RsaKeyPair::from_pkcs8(der).ok().map(Pair::Rsa))?;
        let public: &[u8] = match &pair {
            Pair::P256(key) | Pair::P384(key) => key.public_key().as_ref(),
            Pair::Ed25519(key) => key.public_key().as_ref(),
            Pair::Rsa(key) => key.public_key().as_ref(),
        };
        Some(Self {
            public: public.into(),
            pair: Arc::new(pair),
        })
    }

    /// A JWT (RFC 7515 section 3.1) with these claims. `None` if the key does not sign.
    pub(super) fn sign(&self, claims: &serde_json::Value) -> Option<Zeroizing<String>> {
        let algorithm = match &*self.pair {
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Ed25519(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        };
        let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{algorithm}\",\"typ\":\"JWT\"}}"));
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let mut jwt = Zeroizing::new(format!("{header}.{claims}"));
        let dice = SystemRandom::new();
        let signature = match &*self.pair {
            Pair::P256(key) | Pair::P384(key) => {
                key.sign(&dice, jwt.as_bytes()).ok()?.as_ref().to_vec()
            }
            Pair::Ed25519(key) => key.sign(jwt.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &dice, jwt.as_bytes(), &mut signature)
                    .ok()?;
                signature
            }
        };
        jwt.push('.');
        jwt.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Some(jwt)
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Secret(_) => "Secret(…)",
            Self::Key(_) => "Key(…)",
        })
    }
}
