//! The database file: opened once, written by one thread, read by a few connections.
//!
//! How writing goes is `writer`; the tables are in `audit`, `keys` and `notes`, and the installation's own key in `node`.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::error;

use crate::Error;
use crate::audit::Instance;
use crate::migrate::migrate;
use crate::node;
use crate::writer::{self, Awaited, Job, Shared};

/// Most jobs that wait for the writer, reserved places included.
pub(crate) const QUEUE_MAX: usize = 16_384;
/// Most read connections kept open.
const READERS_MAX: usize = 4;
/// How long one connection waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a change waits for its place, and then for its commit.
const CHANGE_WAIT: Duration = Duration::from_secs(10);
/// How long closing waits for the last records.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// The open database. Cloning is cheap; the file is closed, and the writer joined, when the last one goes.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None` once closed.
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    shared: Arc<Shared>,
    node_key: node::NodeKey,
}

impl Store {
    /// Opens the file, or creates it (and its folder) for this user alone, and brings it up to date.
    ///
    /// # Errors
    /// If it cannot be made or read, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |cause| Error::Create { path, cause }
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed(folder))?;
        }
        // Created here, with its mode from the start; SQLite gives its side files the same mode. One that is there is
        // not even opened: closing it again would drop the locks that this process's other connections hold on it.
        let mut options = OpenOptions::new();
        match options.create_new(true).write(true).mode(0o600).open(path) {
            Ok(_created) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(path)(error)),
        }

        let mut connection = connect(path)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        migrate(&mut connection)?;
        let node_key = node::key(&connection)?;

        let shared = Arc::new(Shared::default());
        let (queue, jobs) = mpsc::channel(QUEUE_MAX);
        let instance = Instance::new(path)?;
        let writer = writer::start(connection, jobs, Arc::clone(&shared), instance)?;
        Ok(Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                queue: Mutex::new(Some(queue)),
                writer: Mutex::new(Some(writer)),
                readers: Mutex::new(Vec::new()),
                shared,
                node_key,
            }),
        })
    }

    /// Random bytes that are this installation's own, the same after every start: what is sealed with them can be
    /// opened again here and nowhere else.
    #[must_use]
    pub fn node_key(&self) -> &[u8; node::KEY_LEN] {
        &self.inner.node_key.0
    }

    /// Whether a record written now would be kept: open, the last commit worked, and there is room.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let room = self
            .inner
            .queue
            .lock()
            .as_ref()
            .is_some_and(|queue| queue.capacity() > 0);
        room && !self.is_failing()
    }

    /// Whether the last commit failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.inner.shared.failing.load(Ordering::Relaxed)
    }

    /// Waits until everything that was queued before is committed.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn flush(&self) -> Result<(), Error> {
        self.change(|_| Ok(())).await
    }

    /// Takes nothing new, waits for the records that are still open, and ends the writer.
    pub async fn close(&self) {
        self.inner.shared.closing.store(true, Ordering::Relaxed);
        drop(self.inner.queue.lock().take());
        let Some(writer) = self.inner.writer.lock().take() else {
            return;
        };
        let joined = tokio::task::spawn_blocking(|| writer.join());
        match timeout(CLOSE_WAIT, joined).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => error!("the thread that writes ended in a panic"),
            Err(_) => error!("closed with audit records still open"),
        }
        self.inner.readers.lock().clear();
    }

    /// How many transactions were committed so far.
    pub(crate) fn commits(&self) -> u64 {
        self.inner.shared.commits.load(Ordering::Relaxed)
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.inner.path
    }

    /// A sender to the writer's queue.
    pub(crate) fn queue(&self) -> Result<mpsc::Sender<Job>, Error> {
        self.inner.queue.lock().clone().ok_or(Error::Closed)
    }

    /// Has the writer make a change, and waits until it is committed.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, confirmed) = oneshot::channel();
        let job = Job::Change(Box::new(Awaited {
            run,
            reply,
            yielded: None,
        }));
        let full = |_elapsed| Error::Full(CHANGE_WAIT);
        let closed = |_closed| Error::Closed;
        timeout(CHANGE_WAIT, self.queue()?.reserve_owned())
            .await
            .map_err(full)?
            .map_err(closed)?
            .send(job);
        let unconfirmed = |_elapsed| Error::Unconfirmed(CHANGE_WAIT);
        timeout(CHANGE_WAIT, confirmed)
            .await
            .map_err(unconfirmed)?
            .map_err(|_gone| Error::Closed)?
    }

    /// Runs a query on a connection that cannot write.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let idle = self.inner.readers.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connection = connect(&self.inner.path)?;
                connection.pragma_update(None, "query_only", true)?;
                connection
            }
        };
        let found = query(&connection)?;
        let mut readers = self.inner.readers.lock();
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        Ok(found)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        drop(self.queue.get_mut().take());
        if let Some(writer) = self.writer.get_mut().take()
            && writer.join().is_err()
        {
            error!("the thread that writes ended in a panic");
        }
    }
}

pub(crate) fn connect(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests;
