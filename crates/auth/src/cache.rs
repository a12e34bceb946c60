//! What the store said of a key, for at most a second, so that a call costs no query and a revocation bites.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use policy::{Instant, Principal};

use crate::KeyHash;

/// How old an answer of the store may be.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Most keys that are remembered.
const KEYS_MAX: usize = 1024;

/// A key that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) hash: KeyHash,
    pub(crate) principal: Arc<Principal>,
    pub(crate) expires_at: Option<SystemTime>,
    /// When the store was asked.
    pub(crate) asked_at: Instant,
}

/// Accepted keys by id. Only those: a stranger who makes up keys fills nothing.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    keys: RwLock<HashMap<String, Accepted>>,
}

impl Cache {
    pub(crate) fn get(&self, id: &str, now: Instant) -> Option<Accepted> {
        self.keys
            .read()
            .get(id)
            .filter(|key| now.since(key.asked_at) < FRESH)
            .cloned()
    }

    pub(crate) fn keep(&self, id: &str, accepted: Accepted) {
        let now = accepted.asked_at;
        let mut keys = self.keys.write();
        if keys.len() >= KEYS_MAX && !keys.contains_key(id) {
            keys.retain(|_, key| now.since(key.asked_at) < FRESH);
            if keys.len() >= KEYS_MAX {
                // More keys in one second than fit: asking all of them again is fair and simple.
                keys.clear();
            }
        }
        keys.insert(id.to_owned(), accepted);
    }
}
