//! What keeps the audit log honest while the gate runs: calls that another gate left behind are ended, and checkpoints
//! over the log are signed. What a checkpoint is, is `observe`'s.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::Vault;
use auth::vault::{VaultError, audit_key_purpose};
use aws_lc_rs::rand;
use observe::{Checkpoint, CheckpointKey};
use policy::Clock;
use store::Store;
use store::audit::AuditKeyRow;
use store::audit::text::hex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// A checkpoint is made after so long, if there is anything new,
const EVERY: Duration = Duration::from_secs(60);
/// and after so many records.
const RECORDS: u64 = 1000;
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(5);
/// What logs are called, in front of random digits.
const NAME: &str = "portcullis/";
/// Random bytes in a log's name.
const ID_LEN: usize = 8;
/// Of an Ed25519 seed (RFC 8032).
const SEED_LEN: usize = 32;

/// Why the key cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The database.
    #[error("the key of the audit log cannot be read")]
    Store(#[from] store::Error),
    /// The vault.
    #[error("the key of the audit log cannot be opened")]
    Vault(#[from] VaultError),
    /// It is no key.
    #[error("the key of the audit log is damaged")]
    Damaged,
}

/// The task that looks after the log.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Keeper {
    /// Begins. Needs a runtime.
    pub(crate) fn start(store: Store, vault: Arc<Vault>, clock: Arc<dyn Clock>) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let tracker = tokio_util::task::TaskTracker::new();
        let task = tracker.spawn(async move { keep(&store, &vault, &*clock, &stopped).await });
        Self { stop, task }
    }

    /// Signs for the end of the log, and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the task that signs the audit log ended in a panic");
        }
    }
}

/// The log's key; the first time, a new one.
pub(crate) async fn key(
    store: &Store,
    vault: &Vault,
    now: SystemTime,
) -> Result<CheckpointKey, KeyError> {
    let row = match store.audit_key()? {
        Some(row) => row,
        None => {
            let (mut id, mut seed) = ([0; ID_LEN], Zeroizing::new([0; SEED_LEN]));
            let fill = |bytes: &mut [u8]| {
                let filled = rand::fill(bytes);
                filled.map_err(|_unspecified| VaultError::NoRandomness)
            };
            fill(&mut id)?;
            fill(&mut *seed)?;
            let name = format!("{NAME}{}", hex(&id));
            let row = AuditKeyRow {
                sealed: vault.seal(&audit_key_purpose(&name), &*seed)?,
                name,
                created_at: now,
            };
            store.found_audit_key(row).await?
        }
    };
    let seed = vault.open(&audit_key_purpose(&row.name), &row.sealed)?;
    let seed: Option<Zeroizing<[u8; SEED_LEN]>> =
        seed.as_slice().try_into().ok().map(Zeroizing::new);
    seed.and_then(|seed| CheckpointKey::from_seed(&row.name, &seed))
        .ok_or(KeyError::Damaged)
}

/// Signs for the log as it is; how many records it has.
pub(crate) async fn sign(
    store: &Store,
    key: &CheckpointKey,
    now: SystemTime,
) -> Result<u64, store::Error> {
    let state = store.audit_log()?;
    let checkpoint = Checkpoint {
        origin: key.verifier().name().to_owned(),
        size: state.tree.size(),
        root: state.tree.root(),
        chain: state.chain,
        at: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
    };
    if checkpoint.size > 0 {
        let note = checkpoint.sign(key);
        store.put_audit_checkpoint(checkpoint.size, note).await?;
    }
    Ok(checkpoint.size)
}

async fn keep(store: &Store, vault: &Vault, clock: &dyn Clock, stop: &CancellationToken) {
    let micros = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    };
    match store.settle_begun(micros(clock.wall())).await {
        Ok(0) => {}
        Ok(calls) => tracing::warn!(
            calls,
            "calls of a gate that is gone are recorded as unknown"
        ),
        Err(error) => tracing::error!(%error, "calls of a gate that is gone cannot be recorded"),
    }
    let (mut signed, mut signed_at) = (0, clock.now());
    while !stop.is_cancelled() {
        let _stopped = tokio::time::timeout(LOOK, stop.cancelled()).await;
        let size = store.audit_log().map_or(signed, |state| state.tree.size());
        let is_due = size > signed
            && (stop.is_cancelled()
                || size - signed >= RECORDS
                || clock.now().since(signed_at) >= EVERY);
        if !is_due {
            continue;
        }
        let now = clock.wall();
        let done = match key(store, vault, now).await {
            Ok(key) => sign(store, &key, now).await.map_err(KeyError::Store),
            Err(error) => Err(error),
        };
        match done {
            Ok(size) => (signed, signed_at) = (size, clock.now()),
            Err(error) => tracing::error!(%error, "the audit log is not signed"),
        }
    }
}
