//! Seals what must not be read from the database file: secrets, signing keys, tokens of upstreams.
//!
//! An envelope: values are sealed with data keys, and these are wrapped under the master key and kept beside them
//! ([`store::DataKeyRow`]). So the master key can change without touching a value, and the data key without anybody
//! noticing. Where the master key comes from is `server::vault`; how the keys change is `rotation`; the secrets that
//! have names are [`secrets`].
//!
//! AES-256-GCM with random nonces (NIST SP 800-38D). What a sealed text is for is authenticated beside it, so that
//! none can be moved to another row:
//!
//! ```text
//! version (1) · data key id (8) · nonce (12) · ciphertext and tag (n + 16)
//! ```

mod rotation;
pub mod secrets;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use store::{DATA_KEY_ID_LEN, DataKeyKind, DataKeyRow, Store};
use zeroize::Zeroizing;

pub use rotation::{Resealed, RotationError, SEALED, audit_key_purpose};

/// Bytes of a master key.
pub const MASTER_KEY_LEN: usize = 32;
/// Bytes of a data key.
const DATA_KEY_LEN: usize = 32;
const VERSION: u8 = 1;
/// Bytes before the nonce.
const HEAD_LEN: usize = 1 + DATA_KEY_ID_LEN;

/// Names a data key, in what was sealed with it.
type KeyId = [u8; DATA_KEY_ID_LEN];

/// The key that data keys are wrapped under. Cannot be printed.
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
    /// Its data key is not known here, and the store cannot be asked.
    #[error("the data keys cannot be read")]
    Unavailable,
}

/// Why there is no vault for a store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its data keys are wrapped under another master key.
    #[error("this database was sealed under another master key")]
    OtherMaster,
    /// It has no data keys.
    #[error("nothing was ever sealed in this database")]
    Empty,
    /// The store did not do what it was asked.
    #[error("the data keys cannot be kept")]
    Store(#[from] store::Error),
    /// A key cannot be made.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Seals and opens.
pub struct Vault {
    ring: ArcSwap<Ring>,
    hashing: hmac::Key,
    /// Where further data keys are found; nothing for a vault in memory.
    kept: Option<Kept>,
}

/// The data keys that seal, by their ids.
#[derive(Clone)]
struct Ring {
    newest: KeyId,
    keys: BTreeMap<KeyId, Arc<RandomizedNonceKey>>,
}

struct Kept {
    store: Store,
    /// Made from the master key; wraps data keys and nothing else.
    wrapping: ArcSwap<RandomizedNonceKey>,
}

impl MasterKey {
    /// From its bytes.
    #[must_use]
    pub fn new(bytes: [u8; MASTER_KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A key made of this one for one use alone (HKDF, RFC 5869).
    fn derive(&self, label: &[u8]) -> Result<Zeroizing<[u8; DATA_KEY_LEN]>, VaultError> {
        let mut key = Zeroizing::new([0_u8; DATA_KEY_LEN]);
        Salt::new(HKDF_SHA256, b"portcullis")
            .extract(&*self.0)
            .expand(&[label], Length(DATA_KEY_LEN))
            .and_then(|okm| okm.fill(&mut *key))
            .map_err(|_unspecified| VaultError::NoRandomness)?;
        Ok(key)
    }

    fn wrapping(&self) -> Result<RandomizedNonceKey, VaultError> {
        aead(&*self.derive(b"wrap")?)
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
    /// A vault in memory, for tools and tests without a store: its keys follow from the master key alone, and what
    /// it rotates to is gone with it.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn new(master: &MasterKey) -> Result<Arc<Self>, VaultError> {
        let newest = KeyId::default();
        let sealing = aead(&*master.derive(b"seal")?)?;
        Ok(Arc::new(Self {
            ring: ArcSwap::from_pointee(Ring {
                newest,
                keys: BTreeMap::from([(newest, Arc::new(sealing))]),
            }),
            hashing: hmac::Key::new(hmac::HMAC_SHA256, &*master.derive(b"hash")?),
            kept: None,
        }))
    }

    /// The vault of a store; the first time, with new data keys, made `now`.
    ///
    /// # Errors
    /// If the store was sealed under another master key, or the keys cannot be kept.
    pub fn found(
        store: &Store,
        master: &MasterKey,
        now: SystemTime,
    ) -> Result<Arc<Self>, OpenError> {
        let rows = store.list_data_keys()?;
        if !rows.is_empty() {
            return Self::of_rows(store, master, &rows);
        }
        let wrapping = master.wrapping()?;
        let seal = fresh(&wrapping, DataKeyKind::Seal, now)?;
        let hash = fresh(&wrapping, DataKeyKind::Hash, now)?;
        let rows = store.found_data_keys(&seal, &hash)?;
        Self::of_rows(store, master, &rows)
    }

    /// The vault of a store in which something was sealed.
    ///
    /// # Errors
    /// If nothing was, or it was under another master key.
    pub fn of_store(store: &Store, master: &MasterKey) -> Result<Arc<Self>, OpenError> {
        Self::of_rows(store, master, &store.list_data_keys()?)
    }

    fn of_rows(
        store: &Store,
        master: &MasterKey,
        rows: &[DataKeyRow],
    ) -> Result<Arc<Self>, OpenError> {
        let wrapping = master.wrapping()?;
        // That they can be unwrapped is the proof that this is the master key: nothing else has to be tried.
        let mut ring = None;
        let mut hashing = None;
        for row in rows {
            let key = unwrap(&wrapping, row).map_err(|_foreign| OpenError::OtherMaster)?;
            match row.kind {
                DataKeyKind::Seal => add(&mut ring, row.id, aead(&key)?),
                DataKeyKind::Hash => hashing = Some(hmac::Key::new(hmac::HMAC_SHA256, &key)),
            }
        }
        let (Some(ring), Some(hashing)) = (ring, hashing) else {
            return Err(OpenError::Empty);
        };
        Ok(Arc::new(Self {
            ring: ArcSwap::from_pointee(ring),
            hashing,
            kept: Some(Kept {
                store: store.clone(),
                wrapping: ArcSwap::from_pointee(wrapping),
            }),
        }))
    }

    /// Seals `plain` for `purpose`, which names table, row and column: `secrets/github/value`.
    ///
    /// # Errors
    /// If there is no randomness to be had.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        let ring = self.ring.load();
        let key = ring.keys.get(&ring.newest).ok_or(VaultError::Foreign)?;
        let mut sealed = head(ring.newest).to_vec();
        sealed.extend_from_slice(&encrypt(key, purpose.as_bytes(), plain)?);
        Ok(sealed)
    }

    /// Opens what was sealed for `purpose`.
    ///
    /// # Errors
    /// If it was not, or not here.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let (id, text) = sealed
            .strip_prefix(&[VERSION])
            .and_then(<[u8]>::split_first_chunk)
            .ok_or(VaultError::Foreign)?;
        decrypt(&*self.key(id)?, purpose.as_bytes(), text)
    }

    /// A keyed hash of `data` (HMAC-SHA-256): what is kept of keys and one-time codes, useless without the master key.
    /// The same for good, whatever is rotated.
    #[must_use]
    pub fn hash(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.hashing);
        context.update(purpose.as_bytes());
        context.update(&[0]);
        context.update(data);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    /// The id of the data key that seals now, in hex.
    #[must_use]
    pub fn newest_data_key(&self) -> String {
        in_hex(&self.ring.load().newest)
    }

    /// Looks for data keys that another process has made since, so that what is sealed from now on is sealed with the
    /// newest.
    ///
    /// # Errors
    /// If they cannot be read, or are wrapped under another master key by now.
    pub fn refresh(&self) -> Result<(), OpenError> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let wrapping = kept.wrapping.load();
        let mut ring = Ring::clone(&self.ring.load());
        for row in kept.store.list_data_keys()? {
            match row.kind {
                DataKeyKind::Seal if ring.keys.contains_key(&row.id) => ring.newest = row.id,
                DataKeyKind::Seal => {
                    let key = unwrap(&wrapping, &row).map_err(|_foreign| OpenError::OtherMaster)?;
                    ring = ring.with(row.id, aead(&key)?);
                }
                DataKeyKind::Hash => {}
            }
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    /// The data key of this id: known, or made by another process a moment ago.
    fn key(&self, id: &KeyId) -> Result<Arc<RandomizedNonceKey>, VaultError> {
        let known = || self.ring.load().keys.get(id).cloned();
        if let Some(key) = known() {
            return Ok(key);
        }
        self.refresh().map_err(|error| match error {
            OpenError::OtherMaster | OpenError::Empty => VaultError::Foreign,
            OpenError::Store(_) => VaultError::Unavailable,
            OpenError::Vault(error) => error,
        })?;
        known().ok_or(VaultError::Foreign)
    }
}

impl Ring {
    fn with(mut self, id: KeyId, key: RandomizedNonceKey) -> Self {
        self.keys.insert(id, Arc::new(key));
        self.newest = id;
        self
    }
}

/// The id of the data key that this was sealed with, in hex; `None` if it was not sealed.
#[must_use]
pub fn data_key_of(sealed: &[u8]) -> Option<String> {
    let id: &KeyId = sealed.strip_prefix(&[VERSION])?.first_chunk()?;
    Some(in_hex(id))
}

fn in_hex(id: &KeyId) -> String {
    format!("{:016x}", u64::from_be_bytes(*id))
}

fn add(ring: &mut Option<Ring>, id: KeyId, key: RandomizedNonceKey) {
    let so_far = ring.take().unwrap_or_else(|| Ring {
        newest: id,
        keys: BTreeMap::new(),
    });
    *ring = Some(so_far.with(id, key));
}

/// What stands before the nonce in all that is sealed with this data key.
fn head(id: KeyId) -> [u8; HEAD_LEN] {
    let mut head = [VERSION; HEAD_LEN];
    head[1..].copy_from_slice(&id);
    head
}

/// A new data key, as it is kept.
fn fresh(
    wrapping: &RandomizedNonceKey,
    kind: DataKeyKind,
    now: SystemTime,
) -> Result<DataKeyRow, VaultError> {
    let random = SystemRandom::new();
    let (mut id, mut key) = (KeyId::default(), Zeroizing::new([0_u8; DATA_KEY_LEN]));
    random
        .fill(&mut id)
        .and_then(|()| random.fill(&mut *key))
        .map_err(|_unspecified| VaultError::NoRandomness)?;
    Ok(DataKeyRow {
        id,
        kind,
        wrapped: wrap(wrapping, id, kind, &*key)?,
        created_at: now,
    })
}

fn wrap(
    wrapping: &RandomizedNonceKey,
    id: KeyId,
    kind: DataKeyKind,
    key: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let mut wrapped = vec![VERSION];
    wrapped.extend_from_slice(&encrypt(wrapping, &wrap_context(id, kind), key)?);
    Ok(wrapped)
}

fn unwrap(
    wrapping: &RandomizedNonceKey,
    row: &DataKeyRow,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let text = row
        .wrapped
        .strip_prefix(&[VERSION])
        .ok_or(VaultError::Foreign)?;
    decrypt(wrapping, &wrap_context(row.id, row.kind), text)
}

/// What a wrapped key is authenticated with, so that none passes for another or for one of the other kind.
fn wrap_context(id: KeyId, kind: DataKeyKind) -> Vec<u8> {
    let kind: &[u8] = match kind {
        DataKeyKind::Seal => b"data_keys/seal/",
        DataKeyKind::Hash => b"data_keys/hash/",
    };
    [kind, &id].concat()
}

fn aead(key: &[u8]) -> Result<RandomizedNonceKey, VaultError> {
    RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_unspecified| VaultError::NoRandomness)
}

/// Nonce, ciphertext and tag.
fn encrypt(key: &RandomizedNonceKey, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut text = Zeroizing::new(plain.to_vec());
    let nonce = key
        .seal_in_place_append_tag(Aad::from(context), &mut *text)
        .map_err(|_unspecified| VaultError::NoRandomness)?;
    Ok([nonce.as_ref(), text.as_slice()].concat())
}

fn decrypt(
    key: &RandomizedNonceKey,
    context: &[u8],
    text: &[u8],
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let (nonce, text) = text
        .split_at_checked(NONCE_LEN)
        .ok_or(VaultError::Foreign)?;
    let nonce =
        Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| VaultError::Foreign)?;
    let mut text = Zeroizing::new(text.to_vec());
    let length = key
        .open_in_place(nonce, Aad::from(context), &mut text)
        .map_err(|_unspecified| VaultError::Foreign)?
        .len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests;
