//! The secrets that people keep by name, to refer to them as `{ secret = "NAME" }`.

use std::fmt;
use std::time::SystemTime;

use store::Store;
use zeroize::Zeroizing;

use super::{Vault, VaultError};

/// Longest name, in characters.
const NAME_MAX: usize = 128;
/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// The name of a secret: letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

/// Why a secret was not kept, or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Not a name.
    #[error(
        "that is not a name of a secret; use up to {NAME_MAX} letters, digits, `-`, `_` and `.`"
    )]
    Name,
    /// Nothing there.
    #[error("the value is empty")]
    Empty,
    /// More than [`VALUE_BYTES_MAX`].
    #[error("the value is longer than 64 KiB")]
    Long,
    /// Not text.
    #[error("the value is not UTF-8 text; keep bytes in base64")]
    NotText,
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The store did not do what it was asked.
    #[error("the secret cannot be kept")]
    Store(#[from] store::Error),
}

impl SecretName {
    /// Checks a name.
    ///
    /// # Errors
    /// If it is none; the text is not repeated, since it may be the value by mistake.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if text.is_empty() || text.len() > NAME_MAX || !text.chars().all(fits) {
            return Err(SecretError::Name);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the value of this secret is sealed for.
pub(super) fn purpose(name: &str) -> String {
    format!("secrets/{name}/value")
}

/// Keeps a secret: a new one, or over the one of the same name. `true` if it is new.
///
/// # Errors
/// If the value is none, or cannot be sealed or written.
pub async fn put(
    store: &Store,
    vault: &Vault,
    name: &SecretName,
    value: &[u8],
    now: SystemTime,
) -> Result<bool, SecretError> {
    if value.is_empty() {
        return Err(SecretError::Empty);
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(SecretError::Long);
    }
    if std::str::from_utf8(value).is_err() {
        return Err(SecretError::NotText);
    }
    let sealed = vault.seal(&purpose(name.as_str()), value)?;
    Ok(store.put_secret(name.as_str(), sealed, now).await?)
}

/// Opens the sealed value of a secret.
///
/// # Errors
/// If it cannot be opened, or is not text.
pub fn open(
    vault: &Vault,
    name: &SecretName,
    sealed: &[u8],
) -> Result<Zeroizing<String>, SecretError> {
    let mut plain = vault.open(&purpose(name.as_str()), sealed)?;
    match String::from_utf8(std::mem::take(&mut *plain)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(SecretError::NotText)
        }
    }
}
