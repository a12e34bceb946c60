//! Durable state: SQLite with one writer and group commit.
//!
//! The audit log, API keys and notes, in one file. What the words in a row mean is for those who write
//! them; this room only keeps them. Start at [`Store`].

mod audit;
mod error;
mod keys;
mod list;
mod migrate;
mod node;
mod notes;
mod store;
mod time;
mod writer;

pub use audit::{AuditFilter, AuditRow, AuditSlot, Outcome, Recorded};
pub use error::Error;
pub use keys::KeyRow;
pub use notes::{Note, NoteDraft};
pub use store::Store;
