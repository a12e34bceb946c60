//! Durable state, in SQLite or PostgreSQL: one writer with group commit.
//!
//! The audit log, API keys and notes, in one database. What the words in a row mean is for those who write
//! them; this room only keeps them. Start at [`Store`].

mod accounts;
pub mod audit;
mod authority;
mod browser_sessions;
mod changes;
mod consents;
mod db;
mod dump;
mod error;
mod journal;
mod keys;
mod list;
mod migrate;
mod node;
mod notes;
mod pins;
mod queue;
mod quotas;
mod readers;
mod replays;
mod revocations;
mod secrets;
pub mod shared;
mod sinks;
mod store;
mod threads;
mod time;
#[cfg(test)]
mod trial;
mod upstream_tokens;
mod writer;

pub use accounts::{AccountDraft, AccountRow, LinkRow};
pub use audit::{AuditFilter, AuditRow, AuditSlot, Outcome, Recorded};
pub use authority::{
    ClientRow, CodeRow, GrantRow, Redemption, RefreshRow, Rotation, SigningKeyRow,
};
pub use browser_sessions::BrowserSessionRow;
pub use changes::{Changes, Counts};
pub use consents::{
    ConsentRequestRow, ConsentRow, ConsentSubject, Longest, RequestBounds, RequestState, Requested,
};
pub use db::{Failure, PostgresLogin, PostgresSettings};
pub use dump::{Contents, DumpError, inspect};
pub use error::Error;
pub use keys::{KeyHashKind, KeyRotation, KeyRow};
pub use notes::{Note, NoteDraft};
pub use pins::{
    DEFINITION_BYTES_MAX, PINS_PER_UPSTREAM_MAX, PinApproval, PinDraft, PinName, PinOffer, PinRow,
    PinState, Placed,
};
pub use quotas::{QuotaKey, QuotaUsed};
pub use revocations::RevocationRow;
pub use secrets::{
    DATA_KEY_ID_LEN, DataKeyKind, DataKeyRow, Rewrapped, SealedColumn, SealedValue, SecretRow,
};
pub use sinks::{SinkHold, SinkRow, SinkStart};
pub use store::{Backlog, Location, Store};
pub use upstream_tokens::UpstreamTokenRow;
pub use writer::Watch;
