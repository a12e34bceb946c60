//! The journal in front of an SQLite file: what somebody waits for is on the disk with one write, and in the log a moment
//! later.
//!
//! A commit of SQLite's costs ten times what a record does, so records are cheap in hundreds; whoever waits cannot wait for
//! hundreds. The journal is a ring of blocks in a file beside the database, one per gate. Its thread writes what waits, past
//! the system's cache, hands it to the [`writer`](crate::writer), and then says that it is written. The writer notes with
//! each of its commits how far it has got; what lies behind that is free again. A gate that ends before its writer leaves
//! the file: whoever opens the database next, or looks after what gates leave behind, puts the rest into the log
//! (`recover`).
//!
//! Nothing relies on it: what it has no room for, or what its disk refuses, goes to the writer with who waits for it.

mod recover;
mod ring;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::OwnedPermit;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::warn;

use crate::Error;
use crate::audit::Packed;
use crate::db::Role;
use crate::store::Place;
use crate::writer::{Job, Record, Shared};

pub(crate) use recover::{catch_up, forget, note, recover};
pub(crate) use ring::path_of;

use ring::Ring;

/// Most records in one write, and about how many bytes.
const BATCH_MAX: usize = 256;
const BATCH_LEN: usize = 128 * 1024;
/// How long what is in the log already may stand in the journal too, since it can be erased from the log: while nothing
/// comes, and while much does.
const WIPE_IDLE: Duration = Duration::from_secs(1);
const WIPE_BUSY: Duration = Duration::from_secs(60);
/// How long a disk that refused is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// A record that somebody waits for, with its place in the writer's queue.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) place: OwnedPermit<Job>,
    pub(crate) row: Packed,
    pub(crate) waiting: oneshot::Sender<()>,
    pub(crate) since: Instant,
}

/// The thread that writes it.
#[derive(Debug)]
pub(crate) struct Journal {
    queue: Sender<Entry>,
    thread: thread::JoinHandle<Option<Left>>,
}

impl Journal {
    /// Starts it, in a file at `path`.
    pub(crate) fn start(path: PathBuf, shared: Arc<Shared>) -> Result<Self, Error> {
        let (queue, entries) = channel();
        let thread = thread::Builder::new()
            .name("store-journal".to_owned())
            .spawn(move || Keeper::new(path, shared).run(&entries))
            .map_err(Error::Thread)?;
        Ok(Self { queue, thread })
    }

    /// Has it written; gives it back if the thread is gone.
    pub(crate) fn send(&self, entry: Entry) -> Result<(), Entry> {
        self.queue.send(entry).map_err(|unsent| unsent.0)
    }

    /// Takes nothing new, and waits until all is handed on. What remains is to be removed once the writer has it all.
    pub(crate) fn end(self) -> thread::Result<Option<Left>> {
        drop(self.queue);
        self.thread.join()
    }
}

/// The file that a gate leaves at its end.
#[derive(Debug)]
pub(crate) struct Left {
    ring: Ring,
    /// Of the last record that may be in it.
    number: u64,
}

impl Left {
    /// Removes it, if all that is in it is in the log.
    pub(crate) fn remove(self, folded: u64, place: &Place, gate: &str) -> Result<(), Error> {
        if folded >= self.number {
            let path = self.ring.path().to_owned();
            self.ring
                .remove()
                .map_err(|cause| Error::Journal { path, cause })?;
            forget(&place.open(Role::Errand)?, gate)?;
        }
        Ok(())
    }
}

/// What the thread has.
struct Keeper {
    path: PathBuf,
    shared: Arc<Shared>,
    /// `None` if there is no file.
    ring: Option<Ring>,
    /// The disk refuses: nothing is written until then. What is in the file may still be needed.
    again_at: Option<Instant>,
    /// Of the last record: each has its own, and the next is greater by one.
    number: u64,
    /// What the last batch had no room for.
    next: Option<Entry>,
    wiped_at: Instant,
}

impl Keeper {
    fn new(path: PathBuf, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            path,
            shared,
            ring: None,
            again_at: Some(now),
            number: 0,
            next: None,
            wiped_at: now,
        }
    }

    fn run(mut self, entries: &Receiver<Entry>) -> Option<Left> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.prepare();
        loop {
            let first = match self.next(entries) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.wipe();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let number = self.number;
                    return self.ring.map(|ring| Left { ring, number });
                }
            };
            *self.shared.journaling.lock() = Some(first.since);
            let mut length = first.row.length();
            batch.push(first);
            while batch.len() < BATCH_MAX
                && let Ok(entry) = entries.try_recv()
            {
                length += entry.row.length();
                if length > BATCH_LEN {
                    self.next = Some(entry);
                    break;
                }
                batch.push(entry);
            }
            self.prepare();
            let is_kept = self.write(&batch);
            *self.shared.journaling.lock() = None;
            self.hand_on(&mut batch, is_kept);
            if self.wiped_at.elapsed() >= WIPE_BUSY {
                self.wipe();
            }
        }
    }

    /// Waits for the next; not for ever while there is something to wipe.
    fn next(&mut self, entries: &Receiver<Entry>) -> Result<Entry, RecvTimeoutError> {
        if let Some(next) = self.next.take() {
            Ok(next)
        } else if self.ring.as_ref().is_some_and(Ring::is_stained) {
            entries.recv_timeout(WIPE_IDLE)
        } else {
            entries
                .recv()
                .map_err(|_closed| RecvTimeoutError::Disconnected)
        }
    }

    /// Makes the file, if there is none and it may be tried. One that its disk refused is not needed any more once the
    /// writer has all that is in it.
    fn prepare(&mut self) {
        let is_due = self.again_at.is_some_and(|at| at <= Instant::now());
        if !is_due || self.folded() < self.number {
            return;
        }
        match Ring::create(&self.path) {
            Ok(ring) => (self.ring, self.again_at) = (Some(ring), None),
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &std::io::Error) {
        warn!(%error, path = %self.path.display(), "no journal for now; each record waits for the database");
        self.again_at = Some(Instant::now() + AGAIN_AFTER);
        if let Some(watch) = self.shared.watch.get() {
            watch.journal_failed();
        }
    }

    /// Whether all of them are on the disk now.
    fn write(&mut self, batch: &[Entry]) -> bool {
        let folded = self.folded();
        let Some(ring) = self.ring.as_mut().filter(|_| self.again_at.is_none()) else {
            return false;
        };
        ring.free(folded);
        let began = Instant::now();
        match ring.write(self.number + 1, batch.iter().map(|entry| &entry.row)) {
            Ok(is_kept) => {
                if let Some(watch) = self.shared.watch.get().filter(|_| is_kept) {
                    watch.journaled(began.elapsed());
                }
                is_kept
            }
            Err(error) => {
                self.give_up(&error);
                false
            }
        }
    }

    /// To the writer first: whoever asks it for something after having heard that its record is written finds it there.
    fn hand_on(&mut self, batch: &mut Vec<Entry>, is_kept: bool) {
        let mut waiting = Vec::with_capacity(batch.len());
        for entry in batch.drain(..) {
            // Also if it was not written for certain: it is not to be put into the log twice.
            let number = self.ring.is_some().then(|| {
                self.number += 1;
                self.number
            });
            let record = |waiting| Record {
                row: entry.row,
                waiting,
                number,
                since: entry.since,
            };
            let record = if is_kept {
                waiting.push(entry.waiting);
                record(None)
            } else {
                record(Some(entry.waiting))
            };
            entry.place.send(Job::Audit(record));
        }
        if is_kept {
            self.shared.writes.fetch_add(1, Ordering::Relaxed);
        } else {
            self.shared.rouse();
        }
        for waiting in waiting {
            // Whoever gave up waiting was told so.
            let _gone = waiting.send(());
        }
    }

    fn wipe(&mut self) {
        let folded = self.folded();
        self.wiped_at = Instant::now();
        if let Some(ring) = self.ring.as_mut().filter(|_| self.again_at.is_none()) {
            ring.free(folded);
            if let Err(error) = ring.wipe() {
                self.give_up(&error);
            }
        }
    }

    /// The number of the last record that the writer has committed.
    fn folded(&self) -> u64 {
        self.shared.folded.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
