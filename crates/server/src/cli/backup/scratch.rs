//! A folder in which a backup is tried: for this user alone, and gone with the command, also if that is interrupted. What
//! is in it is the whole database, opened.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What ends a command, and the status that shells give for it: 128 and the signal's number.
const SIGNALS: [(SignalKind, i32); 3] = [
    (SignalKind::hangup(), 129),
    (SignalKind::interrupt(), 130),
    (SignalKind::terminate(), 143),
];
/// How often it is tried to remove the folder while the command still writes there,
const REMOVALS_MAX: u32 = 100;
/// and how long it is waited between.
const REMOVE_EVERY: Duration = Duration::from_millis(10);

/// Such a folder.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
}

impl Scratch {
    /// Makes one, and from here on answers the signals that would leave it behind: the process ends by them, as before.
    pub(super) fn new() -> anyhow::Result<Self> {
        let runtime = super::runtime()?;
        let guard = runtime.enter();
        // Listened to before there is anything to remove.
        let signals: Result<Vec<_>, _> = SIGNALS
            .iter()
            .map(|(kind, status)| Ok::<_, std::io::Error>((signal(*kind)?, *status)))
            .collect();
        let signals = signals.context("signals cannot be listened to")?;
        drop(guard);
        let made = tempfile::Builder::new()
            .prefix("portcullis-backup-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir();
        let folder = made.context("no folder to try it in")?;
        let path = folder.path().to_owned();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || watch(&runtime, signals, &path))
            .context("signals cannot be listened to")?;
        Ok(Self { folder })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[expect(
    clippy::exit,
    reason = "the command is at work in another thread and may be so for minutes: nothing else ends it"
)]
fn watch(runtime: &Runtime, signals: Vec<(Signal, i32)>, folder: &Path) {
    let status = runtime.block_on(first(signals));
    for _ in 0..REMOVALS_MAX {
        // Until there is none: the command may have made one more file meanwhile.
        if fs::remove_dir_all(folder).is_ok() || !folder.exists() {
            break;
        }
        thread::sleep(REMOVE_EVERY);
    }
    process::exit(status);
}

/// Waits for the first of them.
async fn first(signals: Vec<(Signal, i32)>) -> i32 {
    let mut all: tokio::task::JoinSet<i32> = tokio::task::JoinSet::new();
    for (mut one, status) in signals {
        all.spawn(async move {
            one.recv().await;
            status
        });
    }
    match all.join_next().await {
        Some(Ok(status)) => status,
        Some(Err(_)) | None => 1,
    }
}
