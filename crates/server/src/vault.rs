//! The vault of a data folder: the master key from where the config says it is, and the database that it opens.
//!
//! What a vault does is `auth::Vault`'s; where master keys come from is [`Source`]'s.

mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use auth::Vault;
use auth::vault::OpenError;
use store::Store;

use source::of_file;
pub use source::{FILE, Source, SourceError};
pub(crate) use source::{make, put};

/// Why there is no vault.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
pub enum Error {
    /// The master key cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It is gone, and what was sealed with it is not.
    #[error(
        "the master key `{}` is gone, and this database was sealed under it; put it back, or say in secrets.master_key where it is",
        path.display()
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// It does not open this database.
    #[error("{key} cannot be used")]
    Foreign {
        /// Where it came from.
        key: String,
        /// Why not.
        #[source]
        cause: OpenError,
    },
}

/// The vault of this store; the first time, with new keys: also a master key, if the config does not name one.
///
/// # Errors
/// If the master key cannot be had, or is another than the one that this store was sealed under.
pub fn open(store: &Store, source: &Source, now: SystemTime) -> Result<Arc<Vault>, Error> {
    if let Source::Own(path) = source
        && !path.exists()
    {
        let is_sealed = !store
            .list_data_keys()
            .map_err(|error| foreign(source, error.into()))?
            .is_empty();
        if is_sealed {
            return Err(Error::Gone { path: path.clone() });
        }
        make(path)?;
    }
    Vault::found(store, &source.key()?, now).map_err(|error| foreign(source, error))
}

/// The vault of a store in which something was sealed.
///
/// # Errors
/// As [`open`], and if nothing was.
pub(crate) fn open_sealed(store: &Store, source: &Source) -> Result<Arc<Vault>, Error> {
    Vault::of_store(store, &source.key()?).map_err(|error| foreign(source, error))
}

/// Whether the key that such a file held opens what is sealed in a store.
///
/// # Errors
/// If it is no key, or does not.
pub(crate) fn try_key(store: &Store, bytes: &[u8]) -> Result<(), Error> {
    let what = "the master key in the backup";
    let opened = Vault::of_store(store, &of_file(bytes, what)?);
    opened.map(drop).map_err(|cause| Error::Foreign {
        key: what.to_owned(),
        cause,
    })
}

fn foreign(source: &Source, cause: OpenError) -> Error {
    Error::Foreign {
        key: source.to_string(),
        cause,
    }
}

#[cfg(test)]
mod tests;
