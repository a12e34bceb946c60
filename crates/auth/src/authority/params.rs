//! The parameters of a request: each at most once (RFC 6749 section 3.1), those without a value as if left out.

use std::fmt;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::OAuthError;
use crate::VaultError;

/// Most parameters of a request.
const PARAMS_MAX: usize = 64;
/// Longest value, in bytes: the longest is a signed assertion.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// The one that may stand there more than once (RFC 8707 section 2).
const RESOURCE: &str = "resource";

/// Parameters of a query or a form. Shows no values.
pub(super) struct Params(Vec<(String, Zeroizing<String>)>);

impl Params {
    /// Reads a query or a form.
    pub(super) fn read(text: &[u8]) -> Result<Self, OAuthError> {
        let mut params: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            if value.is_empty() {
                continue;
            }
            if params.len() == PARAMS_MAX || value.len() > VALUE_BYTES_MAX {
                return Err(OAuthError::Request("The request has too many parameters"));
            }
            if name != RESOURCE && params.iter().any(|(found, _)| **found == *name) {
                return Err(OAuthError::Request("A parameter stands twice"));
            }
            params.push((name.into_owned(), Zeroizing::new(value.into_owned())));
        }
        Ok(Self(params))
    }

    /// One of them.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// One that must be there.
    pub(super) fn need(&self, name: &str, without: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or(OAuthError::Request(without))
    }

    /// What the tokens shall be for (RFC 8707): one resource, or none named.
    pub(super) fn resource(&self) -> Result<Option<&str>, OAuthError> {
        let mut named = self.0.iter().filter(|(name, _)| name == RESOURCE);
        match (named.next(), named.next()) {
            (_, Some(_)) => Err(OAuthError::Target("Ask for one resource at a time")),
            (first, None) => Ok(first.map(|(_, value)| value.as_str())),
        }
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// `N` random bytes in base64url.
pub(super) fn random<const N: usize>() -> Result<Zeroizing<String>, OAuthError> {
    let mut bytes = Zeroizing::new([0_u8; N]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_unspecified| OAuthError::unavailable(VaultError::NoRandomness))?;
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_an_empty_one_not_at_all() {
        let params = Params::read(b"a=1&b=&c=x%26y&resource=r").unwrap();
        assert_eq!((params.get("a"), params.get("b")), (Some("1"), None));
        assert_eq!(params.get("c"), Some("x&y"));
        assert_eq!(params.resource().unwrap(), Some("r"));
        assert!(Params::read(b"a=1&a=1").is_err());
        let two = Params::read(b"resource=r&resource=s").unwrap();
        assert_eq!(two.resource().unwrap_err().code(), "invalid_target");
    }
}
