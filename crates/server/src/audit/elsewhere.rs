//! Checkpoints are written to a folder besides the database: one that somebody else keeps, so that whoever can change the
//! log here cannot take that back.
//!
//! Files are put in the place of none, whole or not at all, and never changed. A folder that hangs holds up nothing but
//! this.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use observe::health::Component;
use store::Store;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the folder may take. After that it is said to be down, and waited for all the same.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Checkpoints that are written in one go; what is left comes next.
const BATCH_MAX: usize = 1000;

/// What was written there so far.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// The last, by how many records it is over; `None`: not known yet, which is what the newest one tells.
    written: Option<u64>,
    folder: Option<PathBuf>,
    /// What is still being written: the folder may hang.
    running: Option<JoinHandle<io::Result<u64>>>,
}

impl Elsewhere {
    pub(super) fn new() -> Self {
        Self {
            written: None,
            folder: None,
            running: None,
        }
    }

    /// Writes what is new there. `component` says how it went.
    pub(super) async fn write(
        &mut self,
        store: &Store,
        log: &str,
        folder: &Path,
        component: &Component,
    ) {
        if self.folder.as_deref() != Some(folder) {
            (self.folder, self.written) = (Some(folder.to_owned()), None);
        }
        let running = match self.running.take() {
            Some(running) => running,
            None => match self.due(store) {
                Ok(due) if due.is_empty() => return,
                Ok(due) => begin(folder, log, due),
                Err(error) => {
                    component.down(&error);
                    return;
                }
            },
        };
        let running = self.running.insert(running);
        match timeout(WRITE_TIMEOUT, &mut *running).await {
            Err(_elapsed) => component.down(&"the folder does not answer"),
            Ok(done) => {
                self.running = None;
                match done {
                    Ok(Ok(written)) => {
                        self.written = Some(written);
                        component.ok(None);
                    }
                    Ok(Err(error)) => component.down(&error),
                    Err(ended) => component.down(&ended),
                }
            }
        }
    }

    /// The checkpoints that are not there yet. Of those from before this gate only the newest: it stands for all of them.
    fn due(&self, store: &Store) -> Result<Vec<(u64, String)>, store::Error> {
        let size = store.audit_log()?.tree.size();
        match self.written {
            Some(written) => {
                let mut due = store.audit_checkpoints(written, size)?;
                due.truncate(BATCH_MAX);
                Ok(due)
            }
            None => Ok(store.last_audit_checkpoint()?.into_iter().collect()),
        }
    }
}

fn begin(folder: &Path, log: &str, due: Vec<(u64, String)>) -> JoinHandle<io::Result<u64>> {
    let (folder, log) = (folder.to_owned(), log.replace('/', "-"));
    tokio::task::spawn_blocking(move || {
        let mut last = 0;
        for (size, note) in due {
            put(&folder, &format!("{log}-{size:012}.txt"), note.as_bytes())?;
            last = size;
        }
        Ok(last)
    })
}

/// Puts a file there, for everybody to read, once it is whole. One that is there already stays.
fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, part) = (folder.join(name), folder.join(format!(".{name}.part")));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o644)
        .open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A link, not a rename: nothing is put in the place of what is there.
    let put = match fs::hard_link(&part, &path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // Not every folder of another machine has links.
        Err(_) if !path.exists() => return fs::rename(&part, &path),
        put => put,
    };
    fs::remove_file(&part)?;
    put
}
