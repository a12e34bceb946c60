//! The database: opened once, written by one thread, read by a few connections.
//!
//! How writing goes is `writer`, and how either database is spoken to is `db`; the tables are in `audit`, `keys` and
//! `notes`, and the installation's own key in `node`.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::Error;
use crate::audit::Instance;
use crate::db::{self, Access, Connection, Durability, PostgresSettings, Role, Server};
use crate::journal::{self, Entry, Foreign, Identity, Journal};
use crate::migrate::bring_up;
use crate::node;
use crate::queue::Queue;
use crate::readers::Readers;
use crate::writer::{self, Awaited, Job, NOBODY, Shared, Watch};

/// How often it is found out whether a server can be written to, when there is nothing to write.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a change waits for its place, and then for its commit.
const CHANGE_WAIT: Duration = Duration::from_secs(10);
/// How long closing waits for the last records.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// Where what is durable is kept.
#[derive(Debug, Clone)]
pub enum Location {
    /// In an SQLite file, made if there is none.
    File(PathBuf),
    /// In a PostgreSQL, 12 or later, in a database that is there.
    Postgres(PostgresSettings),
}

impl Location {
    /// Whether there is anything yet. Where nobody knows without asking, as of a server or in a folder that is closed to us,
    /// there is: opening it says what is wrong.
    #[must_use]
    pub fn exists(&self) -> bool {
        match self {
            Self::File(path) => path.try_exists().unwrap_or(true),
            Self::Postgres(_) => true,
        }
    }
}

/// The path, or host and database.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(settings) => f.write_str(&settings.place),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

/// Where connections are opened to.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A file.
    File(PathBuf),
    /// A server.
    Server(Arc<Server>),
}

impl Place {
    /// Where this location is.
    pub(crate) fn of(location: &Location) -> Result<Self, Error> {
        Ok(match location {
            Location::File(path) => Self::File(path.clone()),
            Location::Postgres(settings) => Self::Server(Server::new(settings.clone())?),
        })
    }

    pub(crate) fn open(&self, role: Role) -> db::Result<Connection> {
        match self {
            Self::File(path) => db::open_file(
                path,
                match role {
                    Role::Reader => Access::Read,
                    Role::Writer(_) | Role::Errand => Access::Write,
                },
            ),
            Self::Server(server) => server.connect_for(role),
        }
    }

    /// A connection while nobody else has one, or none that writes for a gate; `None` while somebody does.
    pub(crate) fn open_alone(&self) -> db::Result<Option<Connection>> {
        match self {
            Self::File(path) => db::open_file_alone(path),
            Self::Server(server) => server.connect_alone(),
        }
    }
}

/// How much waits to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Places in the queue that are taken or kept for somebody.
    pub taken: usize,
    /// How long the oldest record waits that is not on the disk.
    pub oldest: Option<Duration>,
}

/// The open database. Cloning is cheap; it is closed, and the writer joined, when the last one goes.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    place: Place,
    queue: Arc<Queue>,
    /// `None` once closed.
    writer: Mutex<Option<JoinHandle<()>>>,
    /// There is one if it is kept.
    journal: OnceLock<Journal>,
    /// Held while a thread is started or ended: of two that end them at once, neither would have both to wait for.
    ending: Mutex<()>,
    /// Which journals of other databases were told of.
    foreign: Foreign,
    /// What this one is called among those that write to the database.
    gate: String,
    readers: Readers,
    shared: Arc<Shared>,
    node_key: node::NodeKey,
}

impl Store {
    /// Opens a database and brings it up to date. A file is created (with its folder) for this user alone; a server is
    /// waited for, some seconds if it is away.
    ///
    /// # Errors
    /// If it cannot be made, reached or read, or was written by a newer version.
    pub fn open(location: impl Into<Location>) -> Result<Self, Error> {
        let mut location = location.into();
        if let Location::File(path) = &mut location {
            create(path)?;
            // What stands beside it is found by its name, however it is called.
            *path = path.canonicalize().map_err(|cause| Error::Create {
                path: path.clone(),
                cause,
            })?;
        }
        Self::start(Place::of(&location)?)
    }

    fn start(place: Place) -> Result<Self, Error> {
        bring_up(&place)?;
        let instance = Instance::new(&place)?;
        let gate = instance.id().to_owned();
        let connection = place.open(Role::Writer(instance.key()))?;
        let node_key = node::key(&connection)?;
        let foreign = Foreign::default();
        let open = journal::recover(&place, &Identity::of(&node_key), &gate, &foreign)?;
        if let Some(gate) = journal::catch_up(&place, &connection, &open)? {
            warn!(
                gate,
                "a gate does not write what it has in its journal; its last records are not in the log yet"
            );
        }

        let shared = Arc::new(Shared::default());
        let (queue, jobs) = Queue::new();
        let queue = Arc::new(queue);
        let other_end = (Arc::clone(&queue), jobs);
        let writer = writer::start(connection, other_end, Arc::clone(&shared), instance)?;
        if let Place::Server(server) = &place {
            let queue = Arc::clone(&queue);
            server.every(LOOK_EVERY, move || queue.look());
        }
        Ok(Self {
            inner: Arc::new(Inner {
                readers: match &place {
                    Place::File(_) => Readers::of_file(),
                    Place::Server(_) => Readers::of_server(),
                },
                place,
                queue,
                writer: Mutex::new(Some(writer)),
                journal: OnceLock::new(),
                ending: Mutex::new(()),
                foreign,
                gate,
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
        self.inner.queue.has_room() && !self.is_failing()
    }

    /// Whether the last commit failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.inner.shared.failing.load(Ordering::Relaxed)
    }

    /// Has `watch` told of each commit. The first one is; of others nothing comes.
    pub fn watch(&self, watch: Arc<dyn Watch>) {
        drop(self.inner.shared.watch.set(watch));
    }

    /// How much waits to be written.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        let shared = &self.inner.shared;
        let (writing, journaling) = (*shared.oldest.lock(), *shared.journaling.lock());
        Backlog {
            taken: self.inner.queue.taken(),
            oldest: [writing, journaling]
                .into_iter()
                .flatten()
                .min()
                .map(|since| since.elapsed()),
        }
    }

    /// Waits until everything that was queued before is committed.
    ///
    /// # Errors
    /// If that does not happen in time.
    pub async fn flush(&self) -> Result<(), Error> {
        self.change(|_| Ok(())).await
    }

    /// Takes nothing new, waits for the records that are still open, and ends the writer. Whoever closes it meanwhile waits
    /// for the same.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.inner);
        let ended = tokio::task::spawn_blocking(move || inner.end());
        if timeout(CLOSE_WAIT, ended).await.is_err() {
            error!("closed with audit records still open");
        }
        self.inner.readers.clear();
    }

    /// Has what somebody waits for written into a journal beside the database from now on, and into the log from there: for a
    /// gate, which has many who wait at once. Nothing changes where the database is a server.
    ///
    /// # Errors
    /// If its thread cannot be started.
    pub fn keep_journal(&self) -> Result<(), Error> {
        let Place::File(database) = self.place() else {
            return Ok(());
        };
        let _alone = self.inner.ending.lock();
        if self.inner.journal.get().is_none() && self.inner.writer.lock().is_some() {
            let path = journal::path_of(database, &self.inner.gate);
            let shared = Arc::clone(&self.inner.shared);
            let queue = Arc::clone(&self.inner.queue);
            let journal = Journal::start(path, self.identity(), shared, queue)?;
            drop(self.inner.journal.set(journal));
        }
        Ok(())
    }

    /// Has something written that has its place, by way of the journal if there is one. While the database refuses, whoever
    /// waits is to hear of that.
    pub(crate) fn put(&self, job: Job) {
        let entry = Entry {
            job,
            is_passed_on: self.is_failing(),
        };
        let unsent = match self.inner.journal.get() {
            Some(journal) => journal.send(entry),
            None => Some(entry),
        };
        let Some(Entry { job, .. }) = unsent else {
            return;
        };
        let is_awaited = job.is_awaited();
        self.inner.queue.send(job);
        if is_awaited {
            self.inner.shared.rouse();
        }
    }

    /// What grows while others' records get to the disk: what the database does is no help to who waits for the journal.
    pub(crate) fn progress(&self) -> u64 {
        let shared = &self.inner.shared;
        if shared.journaling.lock().is_some() {
            return shared.writes.load(Ordering::Relaxed);
        }
        self.written()
    }

    /// Nothing was written since somebody waited in vain for it: whoever comes now would wait in vain, too. What they waited
    /// for is still tried.
    #[must_use]
    pub fn is_in_vain(&self) -> bool {
        let in_vain = &self.inner.shared.in_vain;
        let then = in_vain.load(Ordering::Relaxed);
        if then == NOBODY {
            return false;
        }
        let is_so = self.written() == then;
        if !is_so {
            let (now, ordering) = (NOBODY, Ordering::Relaxed);
            // It fails if somebody has given up since.
            let _newer = in_vain.compare_exchange(then, now, ordering, ordering);
        }
        is_so
    }

    /// Somebody waited in vain while nothing more than that was [written](Self::written).
    pub(crate) fn give_up(&self, written: u64) {
        self.inner.shared.in_vain.store(written, Ordering::Relaxed);
    }

    /// What grows with whatever gets to the disk.
    pub(crate) fn written(&self) -> u64 {
        let shared = &self.inner.shared;
        shared.writes.load(Ordering::Acquire) + shared.commits.load(Ordering::Acquire)
    }

    /// What tells this database from others.
    pub(crate) fn identity(&self) -> Identity {
        Identity::of(&self.inner.node_key)
    }

    /// Puts into the log what gates that are gone have left in their journals; those whose it did not.
    pub(crate) fn recover_journals(&self) -> Result<BTreeSet<String>, Error> {
        let inner = &self.inner;
        journal::recover(&inner.place, &self.identity(), &inner.gate, &inner.foreign)
    }

    /// What this one is called among those that write to the database.
    #[cfg(test)]
    pub(crate) fn gate(&self) -> &str {
        &self.inner.gate
    }

    /// Where connections are opened to.
    pub(crate) fn place(&self) -> &Place {
        &self.inner.place
    }

    /// What waits for the writer.
    pub(crate) fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    /// Has the writer make a change, and waits until it is committed.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        run: impl Fn(&Connection) -> db::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, confirmed) = oneshot::channel();
        let job = Job::Change(Box::new(Awaited {
            run,
            reply,
            yielded: None,
        }));
        drop(self.permit(CHANGE_WAIT).await?.send(job));
        let unconfirmed = |_elapsed| Error::Unconfirmed(CHANGE_WAIT);
        timeout(CHANGE_WAIT, confirmed)
            .await
            .map_err(unconfirmed)?
            .map_err(|_gone| Error::Closed)?
    }

    /// Runs a query on a connection that cannot write.
    pub(crate) fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> db::Result<T>,
    ) -> Result<T, Error> {
        let open = || self.inner.place.open(Role::Reader);
        let connection = self.inner.readers.take(open)?;
        Ok(query(&connection)?)
    }

    /// Makes a change on a connection of its own, without waiting for the writer's queue.
    pub(crate) fn at_once<T>(
        &self,
        run: impl FnOnce(&Connection) -> db::Result<T>,
    ) -> Result<T, Error> {
        let connection = self.inner.place.open(Role::Errand)?;
        Ok(connection.transaction(Access::Write, Durability::Now, run)?)
    }
}

impl Inner {
    /// Takes nothing new, and waits for what is open: the journal hands that to the writer, and the writer writes it.
    fn end(&self) {
        let _alone = self.ending.lock();
        self.shared.closing.store(true, Ordering::Relaxed);
        self.queue.close();
        self.shared.rouse();
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        // The writer ends once nobody has a place: then nothing more goes to the journal either.
        let written = writer.join();
        let left = self.journal.get().map(Journal::end).transpose();
        let (Ok(()), Ok(left)) = (written, left) else {
            error!("a thread that writes ended in a panic");
            return;
        };
        let all = self.shared.folded.load(Ordering::Acquire);
        if let Some(left) = left.flatten()
            && let Err(error) = left.remove(all, &self.place, &self.gate)
        {
            warn!(%error, "the journal stays beside the database: whoever opens that next looks after it");
        }
    }
}

/// Makes the file and its folder, unless they are there.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
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
        Ok(_created) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(path)(error)),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests;
