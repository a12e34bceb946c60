//! API keys: `pck_<id, 12>_<secret, 43><checksum, 6>`.
//!
//! The id is public and names the key in lists and records. The checksum lets a typing error, or a scanner
//! for leaked secrets, be decided without a lookup. Only the hash of the whole text is ever kept.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;

const PREFIX: &str = "pck_";
const ID_CHARS: usize = 12;
/// 32 random bytes in base64url.
const SECRET_CHARS: usize = 43;
const CHECKSUM_CHARS: usize = 6;
const SEPARATOR_AT: usize = PREFIX.len() + ID_CHARS;
const CHECKSUM_AT: usize = SEPARATOR_AT + 1 + SECRET_CHARS;
const KEY_CHARS: usize = CHECKSUM_AT + CHECKSUM_CHARS;

/// 32 characters, so that five random bits pick one fairly; none that a shell or an eye trips over.
const ID_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A new key. The text is shown once and kept nowhere.
#[derive(Debug)]
pub struct Minted {
    /// Its public part.
    pub id: String,
    /// The key itself.
    pub text: KeyText,
    /// What is kept of it.
    pub hash: KeyHash,
}

/// The text of a key. Cannot be printed by accident.
pub struct KeyText(String);

impl KeyText {
    /// The key itself, for the one time when its owner sees it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(…)")
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Makes a new key.
///
/// # Errors
/// If there is no randomness to be had.
pub fn mint() -> Result<Minted, NoRandomness> {
    let mut id = [0_u8; ID_CHARS];
    fill(&mut id)?;
    minted(
        id.iter()
            .map(|byte| char::from(ID_ALPHABET[usize::from(byte % 32)]))
            .collect(),
    )
}

fn minted(id: String) -> Result<Minted, NoRandomness> {
    let mut secret = [0_u8; 32];
    fill(&mut secret)?;
    let body = format!("{PREFIX}{id}_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let text = format!("{body}{}", checksum(&body));
    Ok(Minted {
        id,
        hash: KeyHash::of(&text),
        text: KeyText(text),
    })
}

fn fill(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_unspecified| NoRandomness)
}

/// Another key of that id.
#[cfg(test)]
pub(crate) fn with_id(id: &str) -> Minted {
    minted(id.to_owned()).unwrap()
}

/// What a presented text says, if it is a key at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Its public part.
    pub id: &'a str,
    /// To compare with what is kept.
    pub hash: KeyHash,
}

/// Whether a text claims to be a key of ours: then it is judged as one and as nothing else.
pub(crate) fn is_key_like(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Reads a key; `None` if the text has not the shape of one, or the checksum is wrong.
#[must_use]
pub fn parse(text: &str) -> Option<Parsed<'_>> {
    if text.len() != KEY_CHARS || !text.is_ascii() {
        return None;
    }
    let id = text.get(PREFIX.len()..SEPARATOR_AT)?;
    let (body, found) = text.split_at(CHECKSUM_AT);
    let shaped = text.starts_with(PREFIX)
        && id.bytes().all(|byte| ID_ALPHABET.contains(&byte))
        && text.as_bytes()[SEPARATOR_AT] == b'_';
    (shaped && found == checksum(body)).then(|| Parsed {
        id,
        hash: KeyHash::of(text),
    })
}

fn checksum(body: &str) -> String {
    let hash = digest::digest(&digest::SHA256, body.as_bytes());
    let mut text = BASE64_URL_SAFE_NO_PAD.encode(hash);
    text.truncate(CHECKSUM_CHARS);
    text
}

/// SHA-256 of a key's whole text: what is kept, in config and database. Reads and prints `sha256:<hex>`.
///
/// A plain hash is enough: the key holds 256 random bits, so there is nothing to guess.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// Why a text is no hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's hash is `sha256:` and 64 hex digits, as `portcullis key create` prints it")]
pub struct HashError;

impl KeyHash {
    fn of(text: &str) -> Self {
        let hash = digest::digest(&digest::SHA256, text.as_bytes());
        Self(hash.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// Reads `sha256:<hex>`.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        let hex = text
            .strip_prefix("sha256:")
            .filter(|hex| hex.len() == 64)
            .ok_or(HashError)?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| {
                char::from(digit)
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            };
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err(HashError);
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }

    /// The bytes, as the database keeps them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// In constant time: how long it takes says nothing about where two hashes differ.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
