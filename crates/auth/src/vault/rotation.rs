//! Other keys for what is sealed: a new data key with every value sealed anew, or a new master key around the old
//! data keys.
//!
//! Both go on while a gate reads and writes: a value is replaced only if it is still what was read, and old data keys
//! stay, so that what is missed still opens.

use std::sync::Arc;
use std::time::SystemTime;

use store::{DataKeyKind, Rewrapped, SealedColumn};

use crate::accounts::totp_purpose;
use crate::authority::signing_key_purpose;
use crate::outbound::{client_purpose, token_purpose};

use super::secrets;
use super::{MasterKey, OpenError, Vault, VaultError, fresh, head, unwrap, wrap};

/// Values that are read, sealed anew and written at once.
const BATCH_MAX: usize = 256;
/// How often a re-wrap is begun again because somebody made a data key in between.
const TRIES_MAX: usize = 5;

/// Every column with sealed values, and what each is sealed for. Whoever adds a column adds it here.
pub const SEALED: &[SealedColumn] = &[
    SealedColumn {
        table: "secrets",
        column: "value",
        key: &["name"],
        purpose: |key| secrets::purpose(part(key, 0)),
    },
    SealedColumn {
        table: "signing_keys",
        column: "sealed",
        key: &["kid"],
        purpose: |key| signing_key_purpose(part(key, 0)),
    },
    SealedColumn {
        table: "accounts",
        column: "totp",
        key: &["name"],
        purpose: |key| totp_purpose(part(key, 0)),
    },
    SealedColumn {
        table: "accounts",
        column: "totp_draft",
        key: &["name"],
        purpose: |key| totp_purpose(part(key, 0)),
    },
    SealedColumn {
        table: "upstream_tokens",
        column: "sealed",
        key: &["issuer", "upstream", "principal"],
        purpose: |key| token_purpose(part(key, 0), part(key, 1), part(key, 2)),
    },
    SealedColumn {
        table: "upstream_clients",
        column: "sealed",
        key: &["issuer", "upstream"],
        purpose: |key| client_purpose(part(key, 0), part(key, 1)),
    },
    SealedColumn {
        table: "audit_keys",
        column: "sealed",
        key: &["name"],
        purpose: |key| audit_key_purpose(part(key, 0)),
    },
];

/// What the key that signs the audit log is sealed for.
#[must_use]
pub fn audit_key_purpose(log: &str) -> String {
    format!("audit key {log}")
}

fn part(key: &[String], nth: usize) -> &str {
    key.get(nth).map(String::as_str).unwrap_or_default()
}

/// Why keys stayed as they are.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The vault is one in memory.
    #[error("this vault has no database")]
    InMemory,
    /// The data keys are wrapped under a master key that another process brought.
    #[error("the database was sealed under another master key in the meantime")]
    OtherMaster,
    /// Somebody makes data keys faster than they can be wrapped.
    #[error("the data keys kept changing")]
    Busy,
    /// The store did not do what it was asked.
    #[error("the keys cannot be kept")]
    Store(#[from] store::Error),
    /// Something could not be sealed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl From<OpenError> for RotationError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::OtherMaster | OpenError::Empty => Self::OtherMaster,
            OpenError::Store(error) => Self::Store(error),
            OpenError::Vault(error) => Self::Vault(error),
        }
    }
}

/// What became of the values in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Sealed with the newest data key now, and not before.
    pub done: usize,
    /// Could not be opened, and stay as they are.
    pub unreadable: usize,
}

impl Vault {
    /// Makes a data key with which everything is sealed from now on. What was sealed before still opens; hashes stay
    /// what they are.
    ///
    /// # Errors
    /// If it cannot be made or kept.
    pub async fn rotate_data_key(&self, now: SystemTime) -> Result<(), RotationError> {
        let kept = self.kept.as_ref().ok_or(RotationError::InMemory)?;
        let wrapping = kept.wrapping.load_full();
        for _try in 0..TRIES_MAX {
            let rows = kept.store.list_data_keys()?;
            let newest = rows.last().ok_or(RotationError::OtherMaster)?;
            // One that is wrapped under the old master key, beside others under the new, would lock everybody out.
            unwrap(&wrapping, newest).map_err(|_foreign| RotationError::OtherMaster)?;
            let row = fresh(&wrapping, DataKeyKind::Seal, now)?;
            if kept.store.put_data_key(row, newest.wrapped.clone()).await? {
                self.refresh()?;
                return Ok(());
            }
        }
        Err(RotationError::Busy)
    }

    /// Seals everything in these columns anew that is not sealed with the newest data key.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub async fn reseal(&self, columns: &[SealedColumn]) -> Result<Resealed, RotationError> {
        let kept = self.kept.as_ref().ok_or(RotationError::InMemory)?;
        let head = head(self.ring.load().newest);
        let mut all = Resealed::default();
        for column in columns {
            let mut unreadable = 0;
            loop {
                let old = kept
                    .store
                    .sealed_otherwise(column, &head, unreadable, BATCH_MAX)?;
                if old.is_empty() {
                    break;
                }
                let mut anew = Vec::with_capacity(old.len());
                for value in old {
                    let purpose = (column.purpose)(&value.key);
                    match self.open(&purpose, &value.value) {
                        Ok(plain) => anew.push((value, self.seal(&purpose, &plain)?)),
                        Err(VaultError::Foreign) => unreadable += 1,
                        Err(error) => return Err(error.into()),
                    }
                }
                all.done += kept.store.replace_sealed(column, anew).await?;
            }
            all.unreadable += unreadable;
        }
        Ok(all)
    }

    /// Wraps the data keys under another master key: all of them, or none.
    ///
    /// # Errors
    /// If they cannot be read or kept.
    pub async fn rewrap(&self, master: &MasterKey) -> Result<(), RotationError> {
        let kept = self.kept.as_ref().ok_or(RotationError::InMemory)?;
        let (old, new) = (kept.wrapping.load_full(), master.wrapping()?);
        for _try in 0..TRIES_MAX {
            let mut keys = Vec::new();
            for row in kept.store.list_data_keys()? {
                let key = unwrap(&old, &row).map_err(|_foreign| RotationError::OtherMaster)?;
                keys.push(Rewrapped {
                    id: row.id,
                    to: wrap(&new, row.id, row.kind, &key)?,
                    from: row.wrapped,
                });
            }
            if kept.store.rewrap_data_keys(keys).await? {
                kept.wrapping.store(Arc::new(new));
                return Ok(());
            }
        }
        Err(RotationError::Busy)
    }
}
