//! The authenticated user, service or agent on whose behalf a call is made.

use std::collections::BTreeSet;

use crate::{PrincipalId, RoleName};

/// How a principal proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Same machine, loopback address or stdio: the person at the keyboard.
    Local,
    /// An API key; the text is the key's public id, never the key.
    ApiKey(String),
}

impl Credential {
    /// A word from a closed set, for records and metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::ApiKey(_) => "api_key",
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
}
