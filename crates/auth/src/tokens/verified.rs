//! Tokens that were verified a moment ago, so that the next request with one costs a hash and no signature.
//!
//! Only good tokens are kept: a stranger who makes up tokens fills nothing. Proofs of possession are never kept, and
//! revocations are asked for every time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use parking_lot::RwLock;
use policy::Instant;

use super::claims::Known;

/// Most tokens that are remembered.
pub(crate) const TOKENS_MAX: usize = 10_000;
/// How long one is remembered at most.
pub(crate) const REMEMBERED_MAX: Duration = Duration::from_mins(5);

/// SHA-256 of a token: 256 random bits of a signature are in it, so it tells nothing.
pub(crate) type TokenHash = [u8; 32];

pub(crate) fn hash(token: &str) -> TokenHash {
    let hash = digest::digest(&digest::SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// A token that held, and what it rested on.
#[derive(Debug, Clone)]
pub(crate) struct Verified {
    pub(crate) known: Arc<Known>,
    /// Which of the issuers.
    pub(crate) issuer: usize,
    /// The generation of its issuer's keys: with other keys it might not hold.
    pub(crate) generation: u64,
    /// Until when it need not be verified again.
    pub(crate) until: Instant,
}

/// The verified tokens, by hash.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    tokens: RwLock<HashMap<TokenHash, Verified>>,
}

impl Cache {
    pub(crate) fn get(&self, hash: &TokenHash, now: Instant, wall: SystemTime) -> Option<Verified> {
        self.tokens
            .read()
            .get(hash)
            .filter(|token| now < token.until && wall < token.known.expires_at)
            .cloned()
    }

    pub(crate) fn keep(&self, hash: TokenHash, verified: Verified, now: Instant) {
        let mut tokens = self.tokens.write();
        if tokens.len() >= TOKENS_MAX && !tokens.contains_key(&hash) {
            tokens.retain(|_, token| now < token.until);
            if tokens.len() >= TOKENS_MAX {
                // More tokens in five minutes than fit: verifying all of them again is fair and simple.
                tokens.clear();
            }
        }
        tokens.insert(hash, verified);
    }
}

#[cfg(test)]
mod tests;
