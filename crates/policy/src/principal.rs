//! The authenticated user, service or agent on whose behalf a call is made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::{PrincipalId, RoleName, Rules, Scopes};

/// How a principal proved who it is. Public parts only: ids and fingerprints, never what was presented.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Same machine, loopback address or stdio: the person at the keyboard.
    Local,
    /// An API key; the text is the key's public id.
    ApiKey(String),
    /// An access token.
    Token(Token),
    /// A client certificate; the text is the SHA-256 of its DER form, in hex.
    Certificate(String),
    /// A browser that signed in; the text is the session's public id.
    Session(String),
}

/// What is known of an access token besides whom it stands for: all by which it can be revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The config's name for its issuer; `portcullis` is the embedded authorization server.
    pub issuer: Arc<str>,
    /// `jti`.
    pub id: Option<Arc<str>>,
    /// The id of the key that signed it.
    pub key: Option<Arc<str>>,
    /// What the embedded server gave it out under; it ends with that.
    pub grant: Option<Arc<str>>,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
}

impl Credential {
    /// A word from a closed set, for records and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::ApiKey(_) => "api_key",
            Self::Token(_) => "token",
            Self::Certificate(_) => "certificate",
            Self::Session(_) => "session",
        }
    }
}

/// Somebody known. There is no empty principal: without proof there is no value of this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub id: PrincipalId,
    /// The roles it holds. Ordered, so that decisions and records do not depend on chance.
    pub roles: BTreeSet<RoleName>,
    /// How it proved itself.
    pub credential: Credential,
    /// The OAuth client that acts for it, if that is known.
    pub client: Option<Arc<str>>,
    /// What the credential may be used for at most.
    pub scopes: Scopes,
    /// When the proof ends.
    pub expires_at: Option<SystemTime>,
    /// What its token says of it besides, of that what the config keeps (`auth.issuers.X.claims`).
    pub claims: Arc<Map<String, Value>>,
}

impl Principal {
    /// Whether it may administer the gate.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        self.roles.iter().any(|role| role.as_str() == Rules::OWNER)
    }

    /// Whether what one of them began, the other may go on with: the same principal through the same client with the
    /// same kind of credential. A token may be a fresh one.
    #[must_use]
    pub fn continues(&self, other: &Self) -> bool {
        let issuer = |credential: &Credential| match credential {
            Credential::Token(token) => Some(Arc::clone(&token.issuer)),
            Credential::Local
            | Credential::ApiKey(_)
            | Credential::Certificate(_)
            | Credential::Session(_) => None,
        };
        self.id == other.id
            && self.client == other.client
            && self.credential.kind() == other.credential.kind()
            && issuer(&self.credential) == issuer(&other.credential)
    }
}
