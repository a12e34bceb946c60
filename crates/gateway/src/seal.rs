//! What clients carry for us and must neither read nor change: sealed, so that nobody else can have made it.

use aws_lc_rs::aead::{
    AES_256_GCM, AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, RandomizedNonceKey,
    UnboundKey,
};
use aws_lc_rs::hmac;
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

/// As [`Seal`], but the same content always looks the same, as an id must; and with a key that outlives the process.
///
/// AES-256-GCM-SIV, which is made for a nonce that repeats: all that shows is that two texts are equal.
#[derive(Debug)]
pub(crate) struct Stamp {
    key: LessSafeKey,
}

impl Stamp {
    /// A stamp for one purpose, its key derived from that of the installation.
    ///
    /// # Errors
    /// If no key can be made of it.
    pub(crate) fn new(
        node_key: &[u8; KEY_LEN],
        purpose: &'static str,
    ) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let derived = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, node_key),
            purpose.as_bytes(),
        );
        let key = UnboundKey::new(&AES_256_GCM_SIV, derived.as_ref())?;
        Ok(Self {
            key: LessSafeKey::new(key),
        })
    }

    /// The content as text that says nothing; `None` if it cannot be sealed.
    pub(crate) fn close(&self, content: &[u8]) -> Option<String> {
        let mut bytes = content.to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes)
            .ok()?;
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The content again; `None` if the text was not sealed with this key, byte for byte.
    pub(crate) fn open(&self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        self.key
            .open_in_place(nonce, Aad::empty(), &mut bytes)
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
    fn an_id_looks_the_same_after_a_restart_and_opens_nowhere_else() {
        let stamp = |key: u8, purpose| Stamp::new(&[key; KEY_LEN], purpose).expect("a key");
        let id = stamp(1, "tasks").close(b"whose").expect("sealed");
        assert_eq!(
            stamp(1, "tasks").close(b"whose").as_deref(),
            Some(id.as_str())
        );
        assert_eq!(stamp(1, "tasks").open(&id).as_deref(), Some(&b"whose"[..]));
        assert_eq!(stamp(1, "other").open(&id), None);
        assert_eq!(stamp(2, "tasks").open(&id), None);
        assert_eq!(stamp(1, "tasks").open(""), None);
        for at in 0..id.len() {
            let mut changed = id.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(stamp(1, "tasks").open(&changed), None, "{at}");
        }
    }

    #[test]
    fn the_same_content_never_looks_the_same() {
        let seal = Seal::ephemeral().expect("random bytes");
        assert_ne!(seal.close("state", b"x"), seal.close("state", b"x"));
    }
}
