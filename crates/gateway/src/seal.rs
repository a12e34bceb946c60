//! What clients carry for us and must neither read nor change: sealed, so that nobody else can have made it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of a key.
pub(crate) const KEY_LEN: usize = 32;

/// AES-256-GCM with a key of our own; the purpose is authenticated beside the content, so that a cursor is no state.
#[derive(Debug)]
pub(crate) struct Seal {
    key: RandomizedNonceKey,
}

impl Seal {
    /// A seal that only this process can open.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub(crate) fn ephemeral() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; KEY_LEN];
        SystemRandom::new().fill(&mut key)?;
        Self::new(&key)
    }

    /// A seal with a given key.
    pub(crate) fn new(key: &[u8; KEY_LEN]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, key)?,
        })
    }

    /// The content as text that says nothing; `None` if it cannot be sealed.
    pub(crate) fn close(&self, purpose: &'static str, content: &[u8]) -> Option<String> {
        let mut bytes = content.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(purpose), &mut bytes)
            .ok()?;
        let mut out = nonce.as_ref().to_vec();
        out.append(&mut bytes);
        Some(URL_SAFE_NO_PAD.encode(out))
    }

    /// The content again; `None` if the text was not sealed here for that purpose, byte for byte.
    pub(crate) fn open(&self, purpose: &'static str, text: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.key
            .open_in_place(nonce, Aad::from(purpose), sealed)
            .ok()
            .map(|content| content.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_or_meant_for_something_else_does_not_open() {
        let seal = Seal::ephemeral().expect("random bytes");
        let text = seal.close("state", b"who and until when").expect("sealed");
        assert_eq!(
            seal.open("state", &text).as_deref(),
            Some(&b"who and until when"[..])
        );
        assert_eq!(seal.open("cursor", &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(seal.open("state", &changed), None, "{at}");
        }
        assert_eq!(
            Seal::ephemeral()
                .expect("random bytes")
                .open("state", &text),
            None
        );
        assert_eq!(seal.open("state", ""), None);
    }

    #[test]
    fn the_same_content_never_looks_the_same() {
        let seal = Seal::ephemeral().expect("random bytes");
        assert_ne!(seal.close("state", b"x"), seal.close("state", b"x"));
    }
}
