//! Identity, inbound and outbound: credentials of callers, the embedded authorization server, credentials for upstreams.
//!
//! What a principal may do is `policy`; what a client hears of an error is `gateway`; sockets and pages are `server`.
//! Start at [`Auth::authenticate`].

mod auth;
mod cache;
pub mod certificate;
mod error;
pub mod key;
mod keys;
mod presented;
mod revocation;
mod site;
pub mod tokens;

pub use auth::{Auth, Loopback, Parts, Settings};
pub use certificate::ClientCertificate;
pub use error::AuthError;
pub use key::KeyHash;
pub use keys::ConfiguredKey;
pub use presented::{Peer, Presented};
pub use revocation::Revocations;
pub use site::{RESOURCES, Site};
