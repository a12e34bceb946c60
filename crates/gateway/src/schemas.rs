//! Compiled schemas, by the hash of their text: a thousand tools with the same schema compile it once.
//!
//! A schema is compiled when it is first needed, on a thread where nobody waits, and few at a time: it may be an upstream's
//! attempt to keep the gate busy. What it costs at most is [`policy::schema`]'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::Mutex;
use policy::Schema;
use policy::schema::SCHEMA_BYTES_MAX;
use tokio::sync::{OnceCell, Semaphore};

/// Most bytes of text of all schemas that are kept compiled. Compiled, a schema takes some ten times its text.
const SCHEMAS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most schemas that are kept compiled.
const SCHEMAS_MAX: usize = 4096;
/// Schemas that are compiled at the same time.
const COMPILING_MAX: usize = 2;
/// How long a call waits until a schema is compiled.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(10);

/// The hash of a schema's text.
pub(crate) type SchemaHash = [u8; 32];

/// Which schema of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SchemaOf {
    Arguments,
    Results,
}

/// Hashes a schema's text.
pub(crate) fn hash(text: &str) -> SchemaHash {
    let mut hash = SchemaHash::default();
    hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    hash
}

/// A compiled schema, or why it cannot be used.
type Compiled = Result<Arc<Schema>, Arc<str>>;

/// Compiled schemas.
#[derive(Debug)]
pub(crate) struct Schemas {
    kept: Mutex<Kept>,
    compiling: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Kept {
    by_hash: HashMap<SchemaHash, Slot>,
    bytes: usize,
    /// Counts uses, so that the one that nobody used for longest is known.
    uses: u64,
    /// Uses that found what they wanted, and those that did not.
    hits: u64,
    misses: u64,
}

/// How the cache is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheStatus {
    pub(crate) entries: usize,
    /// Of the schemas as text.
    pub(crate) bytes: usize,
    /// Uses that found what they wanted, and those that did not.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

#[derive(Debug)]
struct Slot {
    compiled: Arc<OnceCell<Compiled>>,
    bytes: usize,
    used: u64,
}

impl Schemas {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            compiling: Arc::new(Semaphore::new(COMPILING_MAX)),
        }
    }

    /// For metrics.
    pub(crate) fn status(&self) -> CacheStatus {
        let kept = self.kept.lock();
        CacheStatus {
            entries: kept.by_hash.len(),
            bytes: kept.bytes,
            hits: kept.hits,
            misses: kept.misses,
        }
    }

    /// The compiled schema with that hash; `text` is asked if it is not there.
    ///
    /// # Errors
    /// Why the schema cannot be used, for the operator.
    pub(crate) async fn get(&self, hash: SchemaHash, text: impl FnOnce() -> String) -> Compiled {
        let found = self.kept.lock().find(&hash);
        let (cell, text) = match found {
            Some(cell) => match cell.get() {
                Some(compiled) => return compiled.clone(),
                None => (cell, text()),
            },
            None => {
                let text = text();
                (
                    self.kept.lock().add(hash, text.len().min(SCHEMA_BYTES_MAX)),
                    text,
                )
            }
        };
        let compiled = cell.get_or_init(|| self.compile(text));
        match tokio::time::timeout(COMPILE_TIMEOUT, compiled).await {
            Ok(compiled) => compiled.clone(),
            Err(_elapsed) => Err("it was not compiled in time".into()),
        }
    }

    async fn compile(&self, text: String) -> Compiled {
        // Never closed. The permit goes along: the thread works on when nobody waits for it any more.
        let one_of_few = Arc::clone(&self.compiling).acquire_owned().await;
        let compiled = tokio::task::spawn_blocking(move || {
            let _one_of_few = one_of_few;
            Schema::compile(&text)
        })
        .await;
        match compiled {
            Ok(Ok(schema)) => {
                for pattern in schema.skipped() {
                    tracing::warn!(
                        pattern,
                        "a pattern that cannot be checked in linear time is not checked"
                    );
                }
                Ok(Arc::new(schema))
            }
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(_panicked) => Err("it cannot be compiled".into()),
        }
    }
}

impl Kept {
    fn find(&mut self, hash: &SchemaHash) -> Option<Arc<OnceCell<Compiled>>> {
        self.uses += 1;
        let Some(slot) = self.by_hash.get_mut(hash) else {
            self.misses += 1;
            return None;
        };
        self.hits += 1;
        slot.used = self.uses;
        Some(Arc::clone(&slot.compiled))
    }

    /// A place for a schema; those that nobody used for longest go until there is room.
    fn add(&mut self, hash: SchemaHash, bytes: usize) -> Arc<OnceCell<Compiled>> {
        // Somebody may have been faster.
        if let Some(there) = self.by_hash.get(&hash) {
            return Arc::clone(&there.compiled);
        }
        while self.bytes + bytes > SCHEMAS_BYTES_MAX || self.by_hash.len() >= SCHEMAS_MAX {
            let oldest = self.by_hash.iter().min_by_key(|(_, slot)| slot.used);
            let Some(oldest) = oldest.map(|(hash, _)| *hash) else {
                break;
            };
            self.bytes -= self.by_hash.remove(&oldest).map_or(0, |slot| slot.bytes);
        }
        self.bytes += bytes;
        let compiled = Arc::default();
        let slot = Slot {
            compiled: Arc::clone(&compiled),
            bytes,
            used: self.uses,
        };
        self.by_hash.insert(hash, slot);
        compiled
    }
}

#[cfg(test)]
mod tests;
