//! Inbound identity: API keys and the local principal.
//!
//! What a principal may do is `policy`; what a client hears of an error is `gateway`. Start at
//! [`Authenticator::authenticate`].

mod authenticator;
mod cache;
pub mod key;

pub use authenticator::{
    AuthError, Authenticator, ConfiguredKey, Loopback, Peer, Presented, Settings,
};
pub use key::KeyHash;
