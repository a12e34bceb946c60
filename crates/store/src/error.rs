//! Why the store did not do what it was asked. For the operator; what a client hears is the gateway's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "reads `store::Error` wherever it is met"
)]
pub enum Error {
    /// The file or its folder cannot be made.
    #[error("cannot create `{}`", path.display())]
    Create {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// What a gate has left cannot be put into the log.
    #[error("cannot read `{}`, which a gate has left beside the database", path.display())]
    Journal {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A thread that writes cannot be started.
    #[error("cannot start a thread that writes")]
    Thread(#[source] io::Error),
    /// A later version of this program wrote the database.
    #[error(
        "the database has schema {found}, and this version knows {known}; use the newer version, or another database"
    )]
    Newer {
        /// What the file has.
        found: u32,
        /// The last one known here.
        known: u32,
    },
    /// The schema was not made by the migrations in this program.
    #[error("migration {version} of the database is not the one that this version knows")]
    Altered {
        /// Which migration.
        version: u32,
    },
    /// Somebody has the database open who could not go on with what has to be done to it.
    #[error(
        "a gate or a command of an earlier version has the database open, and could not go on with what this version makes of it; end that first"
    )]
    Shared,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// No place in the writer's queue in time: the disk is slow, full or locked.
    #[error("no place to write within {0:?}")]
    Full(Duration),
    /// Others have waited until they gave up, and nothing was written since.
    #[error("nothing was written since others waited for it in vain")]
    Stuck,
    /// Queued, but not confirmed in time. It may still be written later.
    #[error("not confirmed as written within {0:?}")]
    Unconfirmed(Duration),
    /// Another gate has told of records that are not in the log.
    #[error("the gate {0} does not write what it has in its journal; try again, or end it")]
    Behind(String),
    /// [`Store::close`](crate::Store::close) was called.
    #[error("the store is closed")]
    Closed,
    /// The database keeps texts in an encoding that has no place for some.
    #[error("the database's encoding is {0}; make it anew with the encoding UTF8")]
    Encoding(String),
    /// What the database said, or what became of it.
    #[error("the database refused")]
    Database(#[from] crate::db::Failure),
}
