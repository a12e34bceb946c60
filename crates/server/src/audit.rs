//! What keeps the audit log honest while the gate runs: calls that another gate left behind are ended, checkpoints over
//! the log are signed and written `elsewhere`, records past their time are taken off. What a checkpoint is, is `observe`'s.

mod elsewhere;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use auth::Vault;
use auth::vault::{VaultError, audit_key_purpose};
use aws_lc_rs::rand;
use gateway::Gate;
use observe::health::{Dependency, Task, Tasks};
use observe::{Checkpoint, CheckpointKey};
use store::Store;
use store::audit::text::hex;
use store::audit::{AuditKeyRow, Pruned, Pruning};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use elsewhere::Elsewhere;

/// A checkpoint is made after so long, if there is anything new,
const EVERY: Duration = Duration::from_secs(60);
/// and after so many records.
const RECORDS: u64 = 1000;
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whether a gate is gone that had begun something.
const SETTLE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked whether records are past their time.
const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
/// Most times in a row that records are taken off before anything else is done: some thousand each time.
const PRUNES_MAX: u32 = 200;
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

/// What the config says of how the log is looked after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Where checkpoints are written besides the database.
    pub checkpoints_to: Option<PathBuf>,
    /// How long records are kept; `None`: for ever.
    pub kept_for: Option<Duration>,
    /// The sinks that they are kept for after that, until they are sent.
    pub sinks: Vec<String>,
}

/// Begins to look after the log, until records are no longer kept. Needs a runtime.
pub(crate) fn start(
    tasks: &Tasks,
    gate: &Arc<Gate>,
    vault: &Arc<Vault>,
    upkeep: &Arc<ArcSwap<Upkeep>>,
) {
    let (gate, vault, upkeep) = (Arc::downgrade(gate), Arc::clone(vault), Arc::clone(upkeep));
    tasks.supervise(Task::Checkpoints, move |stop| {
        let (gate, vault, upkeep) = (gate.clone(), Arc::clone(&vault), Arc::clone(&upkeep));
        async move {
            // Gone: then nothing more is recorded.
            if let Some(gate) = gate.upgrade() {
                keep(&gate, &vault, &upkeep, &stop).await;
            }
        }
    });
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
    store.flush().await?;
    // Before the end is: a front that is taken off meanwhile is still in it.
    let begin = store.audit_first()?;
    let state = store.audit_log()?;
    let checkpoint = Checkpoint {
        origin: key.verifier().name().to_owned(),
        size: state.tree.size(),
        root: state.tree.root(),
        chain: state.chain,
        at: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        begin,
    };
    if checkpoint.size > 0 {
        let note = checkpoint.sign(key);
        store.put_audit_checkpoint(checkpoint.size, note).await?;
    }
    Ok(checkpoint.size)
}

/// The newest checkpoint, whoever signed it.
async fn last_signed(
    store: &Store,
    vault: &Vault,
    now: SystemTime,
) -> Result<Option<Checkpoint>, KeyError> {
    let Some((_size, note)) = store.last_audit_checkpoint()? else {
        return Ok(None);
    };
    let key = key(store, vault, now).await?;
    Ok(Checkpoint::open(&note, key.verifier()).ok())
}

async fn keep(gate: &Gate, vault: &Vault, upkeep: &ArcSwap<Upkeep>, stop: &CancellationToken) {
    let parts = gate.auth().parts();
    let (store, clock) = (&parts.store, &parts.clock);
    let micros = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    };
    let mut settled_at = None;
    let mut signed_at = clock.now();
    let mut signed = match last_signed(store, vault, clock.wall()).await {
        Ok(Some(last)) => {
            let at = UNIX_EPOCH.checked_add(Duration::from_secs(last.at));
            gate.metrics().audit_signed(at.unwrap_or(UNIX_EPOCH));
            last.size
        }
        Ok(None) => 0,
        Err(error) => {
            tracing::error!(%error, "the audit log's last checkpoint is not known");
            0
        }
    };
    let mut elsewhere = Elsewhere::new();
    let mut pruned_at = None;
    while !stop.is_cancelled() {
        // Another gate before the same database may end at any time.
        if settled_at.is_none_or(|at| clock.now().since(at) >= SETTLE_EVERY)
            && settle(store, micros(clock.wall())).await
        {
            settled_at = Some(clock.now());
        }
        let _stopped = tokio::time::timeout(LOOK, stop.cancelled()).await;
        let size = store.audit_log().map_or(signed, |state| state.tree.size());
        let is_due = size > signed
            && (stop.is_cancelled()
                || size - signed >= RECORDS
                || clock.now().since(signed_at) >= EVERY);
        let now = clock.wall();
        if is_due {
            let done = match key(store, vault, now).await {
                Ok(key) => sign(store, &key, now).await.map_err(KeyError::Store),
                Err(error) => Err(error),
            };
            match done {
                Ok(size) => {
                    (signed, signed_at) = (size, clock.now());
                    gate.metrics().audit_signed(now);
                }
                Err(error) => tracing::error!(%error, "the audit log is not signed"),
            }
        }
        gate.metrics().audit_log(size.max(signed), signed);
        let upkeep = upkeep.load_full();
        // At the end nobody would record it.
        let is_time =
            !stop.is_cancelled() && pruned_at.is_none_or(|at| clock.now().since(at) >= PRUNE_EVERY);
        if let Some(kept_for) = upkeep.kept_for.filter(|_| is_time) {
            pruned_at = Some(clock.now());
            let before = now.checked_sub(kept_for).unwrap_or(UNIX_EPOCH);
            prune(gate, store, micros(before), &upkeep.sinks, stop).await;
        }
        let component = || gate.components().dependency(Dependency::Checkpoints);
        match (&upkeep.checkpoints_to, store.audit_key()) {
            (Some(folder), Ok(Some(key))) => {
                elsewhere
                    .write(store, &key.name, folder, &component())
                    .await;
            }
            (Some(_), Ok(None)) => {}
            (Some(_), Err(error)) => component().down(&error),
            (None, _) => component().forget(),
        }
    }
}

/// Ends what a gate had begun that is gone; `false`: it could not be done, and is to be tried again soon. What is not over
/// is not taken off the log, nor anything behind it.
async fn settle(store: &Store, at_us: i64) -> bool {
    match store.settle_begun(at_us).await {
        Ok(0) => true,
        Ok(calls) => {
            tracing::warn!(
                calls,
                "calls of a gate that is gone are recorded as unknown"
            );
            true
        }
        Err(error) => {
            tracing::error!(%error, "calls of a gate that is gone cannot be recorded");
            false
        }
    }
}

/// Takes records from before `before_us` off the log that all `sinks` have sent. That it does is recorded before.
async fn prune(
    gate: &Gate,
    store: &Store,
    before_us: i64,
    sinks: &[String],
    stop: &CancellationToken,
) {
    for _ in 0..PRUNES_MAX {
        match prune_some(gate, store, before_us, sinks).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "records past their time cannot be taken off the audit log"
                );
                break;
            }
        }
        if stop.is_cancelled() {
            break;
        }
    }
}

/// The next of them; `false`: those were the last that may go.
async fn prune_some(
    gate: &Gate,
    store: &Store,
    before_us: i64,
    sinks: &[String],
) -> anyhow::Result<bool> {
    let Pruning { taken, waits_for } = store.prunable_audit(before_us, sinks)?;
    if let Some(sink) = &waits_for {
        tracing::warn!(
            sink,
            "records past their time stay in the audit log: the sink has not sent them"
        );
    }
    let Some(Pruned { from, to }) = taken else {
        return Ok(false);
    };
    let about = format!("{from}-{}", to.saturating_sub(1));
    gate.record_upkeep("audit/pruned", about).await?;
    // What was put under a hold since then stays, and the next time it is said anew what goes.
    let done = store.prune_audit(before_us, sinks.to_vec(), to).await?;
    let Some(Pruned { from, to }) = done.taken else {
        return Ok(false);
    };
    tracing::info!(
        from,
        to,
        "records past their time are taken off the audit log"
    );
    Ok(waits_for.is_none())
}
