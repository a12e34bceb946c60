//! Passwords: which are good enough, and what is kept of them.
//!
//! Argon2id (RFC 9106) with a pepper from the vault, so that the database file alone is no use for guessing. Hashing
//! is slow and large on purpose; only so many are under way at once, off the threads that serve. A password that
//! nobody has is checked like one that somebody has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use zeroize::Zeroizing;
use zxcvbn::{Score, zxcvbn};

use super::random;
use crate::Vault;

/// Fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 12;
/// Most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// How much of a password its strength is estimated by: the estimate costs more than linear time.
const ESTIMATED_CHARS_MAX: usize = 100;

/// What a hash costs: above the least that OWASP names (19 MiB, 2 passes).
const MEMORY_KIB: u32 = 32 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 1;
const SALT_LEN: usize = 16;
const HASH_LEN: usize = 32;
/// Most hashes under way at once.
const HASHES_MAX: usize = 4;
/// How long a password waits for its turn.
pub(super) const TURN_WAIT: Duration = Duration::from_secs(5);

/// What stands in examples where a password belongs.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "changeit",
    "replaceme",
    "placeholder",
    "yourpassword",
    "mypassword",
    "example",
    "password",
    "passw0rd",
    "default",
];

/// Why a password could not be hashed or checked.
#[derive(Debug)]
pub(super) enum Undone {
    /// Too many at once.
    Busy,
    /// Something that should not happen.
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    /// It is the password.
    pub(super) matches: bool,
    /// The hash was made in a way that is not today's.
    pub(super) is_outdated: bool,
}

/// Hashes passwords.
#[derive(Clone)]
pub(super) struct Passwords {
    pepper: Arc<Zeroizing<[u8; 32]>>,
    turns: Arc<Semaphore>,
    turn_wait: Duration,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords(…)")
    }
}

impl Passwords {
    pub(super) fn new(vault: &Vault) -> Self {
        let pepper = Zeroizing::new(vault.hash("accounts/pepper", b""));
        Self {
            pepper: Arc::new(pepper),
            turns: Arc::new(Semaphore::new(HASHES_MAX)),
            turn_wait: TURN_WAIT,
        }
    }

    /// What is kept of a password.
    pub(super) async fn hash(&self, password: &str) -> Result<String, Undone> {
        let salt: Zeroizing<[u8; SALT_LEN]> =
            random().map_err(|error| Undone::Broken(Box::new(error)))?;
        let hash = Hash {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: salt.to_vec(),
            hash: [0; HASH_LEN],
        };
        let made = self.derive(password, &hash).await?;
        Ok(Hash {
            hash: *made,
            ..hash
        }
        .to_string())
    }

    /// Whether it is the password that `kept` was made of. Takes its time if there is none too.
    pub(super) async fn check(
        &self,
        password: &str,
        kept: Option<&str>,
    ) -> Result<Checked, Undone> {
        let parsed = kept.and_then(Hash::parse);
        let is_known = parsed.is_some() && password.len() <= PASSWORD_BYTES_MAX;
        let hash = parsed.unwrap_or_else(Hash::nobodys);
        // What is longer than any password is not worth reading to its end.
        let read = if is_known { password } else { "" };
        let made = self.derive(read, &hash).await?;
        let same: bool = made.ct_eq(&hash.hash).into();
        Ok(Checked {
            matches: same && is_known,
            is_outdated: !hash.is_todays(),
        })
    }

    async fn derive(
        &self,
        password: &str,
        hash: &Hash,
    ) -> Result<Zeroizing<[u8; HASH_LEN]>, Undone> {
        let broken = |error: Box<dyn std::error::Error + Send + Sync>| Undone::Broken(error);
        let turn = self.turn().await?;
        let params = Params::new(hash.memory_kib, hash.passes, hash.lanes, Some(HASH_LEN))
            .map_err(|error| broken(error.to_string().into()))?;
        let (password, salt) = (Zeroizing::new(password.to_owned()), hash.salt.clone());
        let pepper = Arc::clone(&self.pepper);
        let derived = tokio::task::spawn_blocking(move || {
            // Until it is done: whoever asked may be gone by then, and the memory is still in use.
            let _turn = turn;
            let mut out = Zeroizing::new([0; HASH_LEN]);
            Argon2::new_with_secret(&pepper[..], Algorithm::Argon2id, Version::V0x13, params)
                .and_then(|argon| {
                    argon.hash_password_into(password.as_bytes(), &salt, &mut out[..])
                })
                .map(|()| out)
                .map_err(|error| error.to_string())
        });
        derived
            .await
            .map_err(|error| broken(error.into()))?
            .map_err(|error| broken(error.into()))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Undone> {
        match timeout(self.turn_wait, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(closed)) => Err(Undone::Broken(closed.into())),
            Err(_late) => Err(Undone::Busy),
        }
    }
}

/// Whether a password may be set; `own` are words that whoever knows the account would try first.
///
/// # Errors
/// What is wrong with it, in words for the person who chose it.
pub(super) fn ensure_strong(password: &str, own: &[&str]) -> Result<(), String> {
    let chars = password.chars().count();
    if chars < PASSWORD_CHARS_MIN {
        return Err(format!(
            "the password has {chars} characters; take at least {PASSWORD_CHARS_MIN}, three or four words that do not belong together will do"
        ));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!(
            "the password is too long; {PASSWORD_BYTES_MAX} bytes are the most"
        ));
    }
    let plain: String = password
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let rest = PLACEHOLDERS
        .iter()
        .fold(plain.clone(), |rest, word| rest.replace(word, ""));
    let is_digits = rest.chars().all(|c| c.is_ascii_digit());
    if plain != rest && is_digits || password.starts_with('<') && password.ends_with('>') {
        return Err("this is what stands in examples, not a password".to_owned());
    }
    let estimated: String = password.chars().take(ESTIMATED_CHARS_MAX).collect();
    let entropy = zxcvbn(&estimated, own);
    if entropy.score() >= Score::Three {
        return Ok(());
    }
    let mut why = "the password is too easy to guess".to_owned();
    if let Some(feedback) = entropy.feedback() {
        if let Some(warning) = feedback.warning() {
            why = format!("{why}. {warning}");
        }
        for suggestion in feedback.suggestions().iter().take(2) {
            why = format!(
                "{} {suggestion}",
                why.trim_end_matches('.').to_owned() + "."
            );
        }
    }
    Err(why)
}

/// A hash with all that it takes to make it again; as text, a PHC string.
struct Hash {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Vec<u8>,
    hash: [u8; HASH_LEN],
}

impl Hash {
    /// Nobody's: no password is known to make it.
    fn nobodys() -> Self {
        Self {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: vec![0; SALT_LEN],
            hash: [0; HASH_LEN],
        }
    }

    fn is_todays(&self) -> bool {
        (self.memory_kib, self.passes, self.lanes) == (MEMORY_KIB, PASSES, LANES)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs = costs.split(',');
        let mut cost = |name| costs.next()?.strip_prefix(name)?.parse().ok();
        let (memory_kib, passes, lanes) = (cost("m=")?, cost("t=")?, cost("p=")?);
        let decode = |text| BASE64_STANDARD_NO_PAD.decode(text).ok();
        Some(Self {
            memory_kib,
            passes,
            lanes,
            salt: decode(salt)?,
            hash: decode(hash)?.try_into().ok()?,
        })
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
        write!(
            f,
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.memory_kib,
            self.passes,
            self.lanes,
            encode(&self.salt),
            encode(&self.hash)
        )
    }
}

#[cfg(test)]
mod tests;
