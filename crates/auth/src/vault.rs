//! Seals what must not be read from the database file: secrets, signing keys, tokens of upstreams.
//!
//! AES-256-GCM (NIST SP 800-38D); what a sealed text is for is authenticated beside it, so that none can be moved to
//! another row.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bytes of a master key.
pub const MASTER_KEY_LEN: usize = 32;
const VERSION: u8 = 1;

/// The key that everything else is sealed under. Cannot be printed.
pub struct MasterKey(Zeroizing<[u8; MASTER_KEY_LEN]>);

/// Why something could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// It was sealed under another key or for another purpose, or was altered.
    #[error("it cannot be opened with this master key")]
    Foreign,
    /// The system gives no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// Seals and opens.
pub struct Vault {
    sealing: RandomizedNonceKey,
    hashing: hmac::Key,
}

impl MasterKey {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; MASTER_KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(…)")
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Vault {
    /// # Errors
    /// If the key cannot be used.
    pub fn new(master: &MasterKey) -> Result<Arc<Self>, VaultError> {
        let derive = |purpose: &'static [u8]| {
            let mut key = Zeroizing::new([0_u8; 32]);
            Salt::new(HKDF_SHA256, b"portcullis")
                .extract(&*master.0)
                .expand(&[purpose], Length(32))
                .and_then(|okm| okm.fill(&mut *key))
                .map_err(|_unspecified| VaultError::NoRandomness)?;
            Ok::<_, VaultError>(key)
        };
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, &*derive(b"seal")?)
            .map_err(|_unspecified| VaultError::NoRandomness)?;
        let hashing = hmac::Key::new(hmac::HMAC_SHA256, &*derive(b"hash")?);
        Ok(Arc::new(Self { sealing, hashing }))
    }

    /// Seals `plain` for `purpose`, which names table, row and column: `secrets/github/value`.
    ///
    /// # Errors
    /// If there is no randomness to be had.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut text = plain.to_vec();
        let nonce = self
            .sealing
            .seal_in_place_append_tag(Aad::from(purpose.as_bytes()), &mut text)
            .map_err(|_unspecified| VaultError::NoRandomness)?;
        let mut sealed = vec![VERSION];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// If it was not, or not here.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (nonce, text) = sealed
            .strip_prefix(&[VERSION])
            .and_then(|rest| rest.split_at_checked(NONCE_LEN))
            .ok_or(VaultError::Foreign)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| VaultError::Foreign)?;
        let mut text = Zeroizing::new(text.to_vec());
        let length = self
            .sealing
            .open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut text)
            .map_err(|_unspecified| VaultError::Foreign)?
            .len();
        text.truncate(length);
        Ok(text)
    }

    /// A keyed hash of `data` (HMAC-SHA-256): what is kept of keys and one-time codes, useless without the master key.
    #[must_use]
    pub fn hash(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.hashing);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(data);
        let tag = context.sign();
        tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_for_its_purpose_and_key_alone() {
        let vault = Vault::new(&MasterKey::new([7; 32])).unwrap();
        let sealed = vault.seal("secrets/a/value", b"hunter2").unwrap();
        assert_eq!(
            &**vault.open("secrets/a/value", &sealed).unwrap(),
            b"hunter2"
        );
        assert!(vault.open("secrets/b/value", &sealed).is_err());
        let other = Vault::new(&MasterKey::new([8; 32])).unwrap();
        assert!(other.open("secrets/a/value", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(vault.open("secrets/a/value", &altered).is_err(), "{at}");
        }
    }
}
