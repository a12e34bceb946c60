//! Access tokens of issuers that the config trusts, and of the embedded authorization server.

mod compact;
pub mod dpop;
pub mod keys;

use std::sync::Arc;

use policy::Principal;

use crate::{AuthError, Parts, Presented};

pub use keys::{Algorithm, KeySet, Thumbprint, VerifyingKey};

/// An issuer whose tokens are taken.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The config's name for it.
    pub name: Arc<str>,
}

/// Judges access tokens.
#[derive(Debug)]
pub(crate) struct Tokens {}

impl Tokens {
    pub(crate) fn new(_issuers: Vec<Issuer>, _parts: &Parts) -> Self {
        Self {}
    }

    /// Whom `token` stands for. `is_dpop`: it came under the scheme `DPoP`.
    pub(crate) async fn verify(
        &self,
        _token: &str,
        _is_dpop: bool,
        _presented: &Presented<'_>,
    ) -> Result<Arc<Principal>, AuthError> {
        Err(AuthError::Unknown)
    }
}
