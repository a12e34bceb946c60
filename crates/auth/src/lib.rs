//! Identity, inbound and outbound: credentials of callers, the embedded authorization server, credentials for upstreams.
//!
//! What a principal may do is `policy`; what a client hears of an error is `gateway`; sockets and pages are `server`.
//! Start at [`Auth::authenticate`].

pub mod accounts;
mod auth;
pub mod authority;
mod cache;
pub mod certificate;
mod error;
pub mod key;
pub mod keyring;
mod keys;
pub mod outbound;
mod presented;
mod revocation;
pub mod sealed_file;
pub mod sessions;
pub mod sign_in;
mod site;
pub mod tokens;
pub mod vault;

pub use accounts::Accounts;
pub use auth::{Auth, Loopback, Parts, Settings};
pub use authority::Authority;
pub use certificate::ClientCertificate;
pub use error::AuthError;
pub use key::KeyHash;
pub use keyring::{KeyDraft, Keyring, KeyringError, NewKey};
pub use keys::ConfiguredKey;
pub use outbound::{Connection, Outbound, OutboundError};
pub use presented::{Peer, Presented};
pub use revocation::{Revocations, Revoked};
pub use sign_in::SignIn;
pub use site::{Place, Site};
pub use vault::{MASTER_KEY_LEN, MasterKey, Vault, VaultError};
