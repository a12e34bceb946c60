//! Makes, rotates and revokes API keys. Whom a key stands for is `keys`; what one looks like, `key`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy::{Clock, PrincipalId, RoleName, Scopes};
use store::{KeyHashKind, KeyRotation, KeyRow, Store};

use crate::key::{self, KeyText, NoRandomness};
use crate::keys::keyed;
use crate::{Revocations, Vault};

/// How long a key is good after it was replaced, unless somebody says otherwise.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// Most characters of a note.
pub const NOTE_CHARS_MAX: usize = 200;

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct KeyDraft {
    /// For whom it speaks.
    pub principal: PrincipalId,
    /// The roles it brings, besides those that the config gives the principal.
    pub roles: Vec<RoleName>,
    /// What it may be used for at most; `None` if that is not narrowed.
    pub scopes: Option<Scopes>,
    /// How long it is good; `None` until it is revoked.
    pub good_for: Option<Duration>,
    /// What its maker wants to remember of it.
    pub note: String,
}

/// A new key: the one time that its text is there.
#[derive(Debug)]
pub struct NewKey {
    /// What is kept of it.
    pub row: KeyRow,
    /// The key itself.
    pub text: KeyText,
    /// What a config file can keep of it.
    pub hash: crate::KeyHash,
}

/// Why a key was not made, rotated or revoked.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is none of that id.
    #[error("there is no key `{0}`")]
    Unknown(String),
    /// What is revoked or expired is not made good again by rotating it.
    #[error("the key `{0}` is revoked or has expired")]
    Over(String),
    /// A second heir would be good only for as long as the overlap that the first one left.
    #[error("the key `{id}` was replaced by `{heir}` already; rotate that one")]
    Replaced {
        /// The key that was to be rotated.
        id: String,
        /// The one in its place.
        heir: String,
    },
    /// It would be over as it is made.
    #[error(
        "a key has to be good for some time; leave the expiry out for one that is good until it is revoked"
    )]
    NoTime,
    /// Later than time goes.
    #[error("the expiry is too far away")]
    TooLong,
    /// The note.
    #[error("the note is longer than {NOTE_CHARS_MAX} characters")]
    NoteTooLong,
    /// No key without chance.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// It could not be kept.
    #[error("the keys cannot be read or written")]
    Store(#[from] store::Error),
}

/// What has become of a key: `good`, `expired` or `revoked`.
#[must_use]
pub fn state(row: &KeyRow, now: SystemTime) -> &'static str {
    if row.revoked_at.is_some() {
        "revoked"
    } else if row.expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "good"
    }
}

/// The keys in the store, for those who may change them.
#[derive(Debug, Clone)]
pub struct Keyring {
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    revocations: Arc<Revocations>,
}

impl Keyring {
    /// The keys in this store.
    #[must_use]
    pub fn new(
        store: Store,
        vault: Arc<Vault>,
        clock: Arc<dyn Clock>,
        revocations: Arc<Revocations>,
    ) -> Self {
        Self {
            store,
            vault,
            clock,
            revocations,
        }
    }

    /// All keys, oldest first, revoked ones too.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn list(&self) -> Result<Vec<KeyRow>, KeyringError> {
        Ok(self.store.list_keys()?)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// If it cannot be what the draft says, or cannot be kept.
    pub async fn create(&self, draft: KeyDraft) -> Result<NewKey, KeyringError> {
        if draft.note.chars().count() > NOTE_CHARS_MAX {
            return Err(KeyringError::NoteTooLong);
        }
        if draft.good_for.is_some_and(|long| long.is_zero()) {
            return Err(KeyringError::NoTime);
        }
        let created_at = self.clock.wall();
        let expires_at = match draft.good_for {
            Some(long) => Some(after(created_at, long)?),
            None => None,
        };
        let new = self.minted(KeyRow {
            id: String::new(),
            principal: draft.principal.to_string(),
            roles: draft.roles.iter().map(ToString::to_string).collect(),
            scopes: draft.scopes.map(|scopes| scopes.to_string()),
            hash: [0; 32],
            hash_kind: KeyHashKind::Keyed,
            created_at,
            expires_at,
            revoked_at: None,
            last_used_at: None,
            rotated_from: None,
            note: draft.note,
        })?;
        self.store.put_key(new.row.clone()).await?;
        self.revocations.refresh()?;
        Ok(new)
    }

    /// Makes a key that may do what another may, which is good for `overlap` more and no longer. If the old one was
    /// made for a time, so is the new one.
    ///
    /// # Errors
    /// If there is no such key, it is over or was replaced before, or the new one cannot be kept.
    pub async fn rotate(&self, id: &str, overlap: Duration) -> Result<NewKey, KeyringError> {
        let now = self.clock.wall();
        let unknown = || KeyringError::Unknown(id.to_owned());
        let old = self.store.get_key(id)?.ok_or_else(unknown)?;
        if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
            return Err(KeyringError::Over(id.to_owned()));
        }
        let good_for = old
            .expires_at
            .and_then(|at| at.duration_since(old.created_at).ok());
        let expires_at = match good_for {
            Some(long) => Some(after(now, long)?),
            None => None,
        };
        let new = self.minted(KeyRow {
            created_at: now,
            expires_at,
            last_used_at: None,
            rotated_from: Some(id.to_owned()),
            hash_kind: KeyHashKind::Keyed,
            ..old
        })?;
        let until = after(now, overlap)?;
        let id = id.to_owned();
        match self.store.rotate_key(&id, new.row.clone(), until).await? {
            KeyRotation::Rotated => {}
            KeyRotation::Over => return Err(KeyringError::Over(id)),
            KeyRotation::Replaced(heir) => return Err(KeyringError::Replaced { id, heir }),
        }
        self.revocations.refresh()?;
        Ok(new)
    }

    /// Revokes a key, at once and for good.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub async fn revoke(&self, id: &str) -> Result<(), KeyringError> {
        if !self.store.revoke_key(id, self.clock.wall()).await? {
            return Err(KeyringError::Unknown(id.to_owned()));
        }
        Ok(self.revocations.refresh()?)
    }

    /// Gives hashes of the first versions the form in which they are kept now; how many there were.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(crate) async fn upgrade(&self) -> Result<usize, KeyringError> {
        let vault = Arc::clone(&self.vault);
        let keyed = move |hash: &[u8; 32]| *keyed(&vault, &(*hash).into()).as_bytes();
        Ok(self.store.key_plain_hashes(keyed).await?)
    }

    /// A key of its own for what `row` says.
    fn minted(&self, row: KeyRow) -> Result<NewKey, NoRandomness> {
        let minted = key::mint()?;
        Ok(NewKey {
            row: KeyRow {
                id: minted.id,
                hash: *keyed(&self.vault, &minted.hash).as_bytes(),
                ..row
            },
            text: minted.text,
            hash: minted.hash,
        })
    }
}

fn after(time: SystemTime, long: Duration) -> Result<SystemTime, KeyringError> {
    time.checked_add(long).ok_or(KeyringError::TooLong)
}
