//! What the store said of a key, for as long as no key changed; and when keys were used.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock};
use policy::Principal;

use crate::KeyHash;

/// How old an answer of the store may be that nothing tells a change of.
pub(crate) const FRESH: Duration = Duration::from_secs(1);
/// Most keys that are remembered.
const KEYS_MAX: usize = 1024;

/// A key that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) hash: KeyHash,
    pub(crate) principal: Arc<Principal>,
    pub(crate) used: Arc<Use>,
    /// Which state of the store's keys this is from.
    pub(crate) version: i64,
}

/// Accepted keys by id. Only those: a stranger who makes up keys fills nothing.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    keys: RwLock<HashMap<String, Accepted>>,
}

impl Cache {
    /// The key of that id, if the store's keys are still as they were.
    pub(crate) fn get(&self, id: &str, version: i64) -> Option<Accepted> {
        self.keys
            .read()
            .get(id)
            .filter(|key| key.version == version)
            .cloned()
    }

    pub(crate) fn keep(&self, id: &str, accepted: Accepted) {
        let mut keys = self.keys.write();
        if keys.len() >= KEYS_MAX && !keys.contains_key(id) {
            keys.retain(|_, key| key.version == accepted.version);
            if keys.len() >= KEYS_MAX {
                // More keys in use than fit: asking for all of them again is fair and simple.
                keys.clear();
            }
        }
        keys.insert(id.to_owned(), accepted);
    }
}

/// When a key was last used, if that is not noted yet: microseconds since 1970, or 0.
#[derive(Debug, Default)]
pub(crate) struct Use(AtomicU64);

impl Use {
    pub(crate) fn now(&self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(since.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }
}

/// Uses of keys that wait to be noted. No more keys than are remembered, and a minute's more.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<String, Arc<Use>>>);

impl Uses {
    /// Where a key's use is told.
    pub(crate) fn of(&self, id: &str) -> Arc<Use> {
        Arc::clone(self.0.lock().entry(id.to_owned()).or_default())
    }

    /// What was told since the last time.
    pub(crate) fn take(&self) -> Vec<(String, SystemTime)> {
        let mut told = Vec::new();
        self.0.lock().retain(|id, used| {
            let micros = used.0.swap(0, Ordering::Relaxed);
            if micros > 0 {
                told.push((id.clone(), UNIX_EPOCH + Duration::from_micros(micros)));
            }
            // Whoever remembers the key goes on telling here.
            Arc::strong_count(used) > 1
        });
        told
    }
}
