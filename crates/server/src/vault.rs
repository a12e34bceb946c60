//! Where the master key comes from: a file beside the database, made at the first start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auth::{MASTER_KEY_LEN, MasterKey, Vault, VaultError};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

/// The file in the data folder.
const FILE: &str = "master.key";

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
pub enum Error {
    /// The file cannot be read or made.
    #[error("the master key `{path}` cannot be used")]
    File {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// Others could read it.
    #[error("the master key `{path}` can be read by others; run `chmod 600 {path}`")]
    Open {
        /// Where it is.
        path: PathBuf,
    },
    /// It is none.
    #[error("the master key `{path}` is not {MASTER_KEY_LEN} bytes long")]
    Length {
        /// Where it is.
        path: PathBuf,
    },
    /// The key cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// The vault of this data folder; the first time, with a new master key.
///
/// # Errors
/// If the key cannot be read or made, or others can read it.
pub fn open(data_dir: &Path) -> Result<Arc<Vault>, Error> {
    let path = data_dir.join(FILE);
    let failed = |cause| Error::File {
        path: path.clone(),
        cause,
    };
    make(&path).map_err(failed)?;
    let about = fs::metadata(&path).map_err(failed)?;
    if about.mode() & 0o077 != 0 {
        return Err(Error::Open { path });
    }
    let bytes = fs::read(&path).map_err(failed)?;
    let bytes = bytes
        .try_into()
        .map_err(|_other| Error::Length { path: path.clone() })?;
    Ok(Vault::new(&MasterKey::new(bytes))?)
}

/// Makes the file if there is none. Whole or not at all: it is written beside and linked into place.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let mut key = [0; MASTER_KEY_LEN];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_unspecified| io::Error::other("the operating system gave no random bytes"))?;
    let draft = path.with_extension(format!("key.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let mut file = options
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = match fs::hard_link(&draft, path) {
        // Another process was first: its key is the one.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    fs::remove_file(&draft)?;
    linked
}
