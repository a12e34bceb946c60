//! What a browser carries while somebody is away at a provider.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::ProviderError;
use crate::Vault;

/// What was begun.
pub(super) struct Ticket {
    pub(super) state: String,
    pub(super) nonce: String,
    /// RFC 7636.
    pub(super) verifier: Zeroizing<String>,
    /// Who is to answer.
    pub(super) issuer: String,
    /// Where to go on to.
    pub(super) next: String,
    pub(super) until: SystemTime,
}

impl Ticket {
    /// As text for a cookie. `purpose` names provider and browser: for no other does it open.
    pub(super) fn seal(
        &self,
        vault: &Vault,
        purpose: &str,
    ) -> Result<Zeroizing<String>, ProviderError> {
        let until = self.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        // None of them has a line break: they are base64url, a URL, and a path that was checked.
        let plain = Zeroizing::new(format!(
            "{}\n{}\n{}\n{}\n{}\n{}",
            until.as_secs(),
            self.state,
            self.nonce,
            *self.verifier,
            self.issuer,
            self.next,
        ));
        let sealed = vault
            .seal(purpose, plain.as_bytes())
            .map_err(|error| ProviderError::unavailable("ticket", error))?;
        Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(sealed)))
    }

    pub(super) fn open(vault: &Vault, purpose: &str, text: &str) -> Option<Self> {
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = vault.open(purpose, &sealed).ok()?;
        let mut lines = std::str::from_utf8(&plain).ok()?.splitn(6, '\n');
        let mut line = || lines.next();
        let until: u64 = line()?.parse().ok()?;
        Some(Self {
            state: line()?.to_owned(),
            nonce: line()?.to_owned(),
            verifier: Zeroizing::new(line()?.to_owned()),
            issuer: line()?.to_owned(),
            next: line()?.to_owned(),
            until: UNIX_EPOCH + Duration::from_secs(until),
        })
    }
}
