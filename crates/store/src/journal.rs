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

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use crate::Error;
use crate::audit::Packed;
use crate::db::Role;
use crate::queue::Queue;
use crate::store::Place;
use crate::threads::{self, Turn};
use crate::writer::{Job, Shared};

pub(crate) use recover::{Foreign, catch_up, forget, note, recover};
pub(crate) use ring::{Identity, path_of};

use ring::Ring;

/// From how many in a write on there is a crowd, which shares one the better the longer that has to wait for its turn; and
/// after how many writes of one record each there is none any more: who is alone has nobody to wait for.
const CROWD: usize = 4;
const ALONE: u32 = 16;
/// Most records in one write, and about how many bytes.
const BATCH_MAX: usize = 256;
const BATCH_LEN: usize = 128 * 1024;
/// How long what is in the log already may stand in the journal too, since it can be erased from the log: while nothing
/// comes, and while much does.
const WIPE_IDLE: Duration = Duration::from_secs(1);
const WIPE_BUSY: Duration = Duration::from_secs(60);
/// How long a disk that refused is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

/// What is on its way to the writer, and has its place in the queue there. All of it goes by the journal's thread, so that
/// it stays in its order.
pub(crate) struct Entry {
    pub(crate) job: Job,
    /// It is not written here, whoever waits for it.
    pub(crate) is_passed_on: bool,
}

impl Entry {
    /// What is to be written here.
    fn row(&self) -> Option<&Packed> {
        match &self.job {
            Job::Audit(record)
                if record.waiting.is_some()
                    && !self.is_passed_on
                    && !record.row.ends_what_was_left() =>
            {
                Some(&record.row)
            }
            Job::Audit(_) | Job::Change(_) | Job::Look => None,
        }
    }

    fn length(&self) -> usize {
        self.row().map_or(0, Packed::length)
    }
}

/// What became of those of a batch that are for the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// On the disk.
    Kept,
    /// Not for certain; they may be found there after a crash.
    Doubtful,
    /// Not written.
    PassedOn,
}

/// The thread that writes it.
#[derive(Debug)]
pub(crate) struct Journal {
    /// `None`: nothing comes any more.
    entries: Sender<Option<Entry>>,
    /// `None` once it was waited for.
    thread: Mutex<Option<JoinHandle<Option<Left>>>>,
}

impl Journal {
    /// Starts it, in a file at `path`, of the database `of`; what it has goes on to `writer`.
    pub(crate) fn start(
        path: PathBuf,
        of: Identity,
        shared: Arc<Shared>,
        writer: Arc<Queue>,
    ) -> Result<Self, Error> {
        let (entries, taken) = channel();
        let keep = move || {
            let came = Came {
                entries: taken,
                held: Cell::new(0),
                writer,
            };
            Keeper::new(path, of, shared).run(&came)
        };
        let thread = threads::start("store-journal", keep)?;
        Ok(Self {
            entries,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Has it written; gives it back if the thread is gone.
    pub(crate) fn send(&self, entry: Entry) -> Option<Entry> {
        self.entries.send(Some(entry)).err()?.0
    }

    /// Waits until all is handed on, once nothing comes any more; what remains is to be removed when the writer has it all.
    pub(crate) fn end(&self) -> thread::Result<Option<Left>> {
        drop(self.entries.send(None));
        match self.thread.lock().take() {
            Some(thread) => thread.join(),
            None => Ok(None),
        }
    }
}

/// What comes to the thread, and how much of it the thread has.
struct Came {
    entries: Receiver<Option<Entry>>,
    held: Cell<usize>,
    writer: Arc<Queue>,
}

impl Came {
    fn hold(&self, entry: Option<Entry>) -> Option<Entry> {
        self.held
            .set(self.held.get() + usize::from(entry.is_some()));
        entry
    }

    /// Has the writer take it.
    fn hand_on(&self, job: Job) {
        self.held.set(self.held.get().saturating_sub(1));
        self.writer.send(job);
    }
}

/// A thread that ends in a panic keeps neither places nor what it has not begun.
impl Drop for Came {
    fn drop(&mut self) {
        while let Ok(Some(entry)) = self.entries.try_recv() {
            self.writer.send(entry.job);
        }
        self.writer.give_back_unused(self.held.get());
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
    pub(crate) fn remove(mut self, folded: u64, place: &Place, gate: &str) -> Result<(), Error> {
        if folded < self.number {
            return Ok(());
        }
        let path = self.ring.path().to_owned();
        let failed = |cause| Error::Journal {
            path: path.clone(),
            cause,
        };
        self.ring.blank().map_err(failed)?;
        forget(&place.open(Role::Errand)?, gate)?;
        recover::remove(&path).map_err(failed)
    }
}

/// What the thread has.
struct Keeper {
    path: PathBuf,
    of: Identity,
    shared: Arc<Shared>,
    /// `None` if there is no file.
    ring: Option<Ring>,
    /// The disk refuses: nothing is written until then. What is in the file may still be needed.
    again_at: Option<Instant>,
    /// Of the last record that may be in the file: each has its own, and the next is greater by one.
    number: u64,
    /// What the last batch had no room for.
    next: Option<Entry>,
    /// Nothing comes any more.
    is_over: bool,
    wiped_at: Instant,
    /// There is something to wipe, and nothing came in the meantime, or too much for too long.
    is_wiping: bool,
    /// When the thread is run.
    turn: Turn,
    /// So many writes in a row were of one record.
    alone: u32,
}

impl Keeper {
    fn new(path: PathBuf, of: Identity, shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        Self {
            path,
            of,
            shared,
            ring: None,
            again_at: Some(now),
            number: 0,
            next: None,
            is_over: false,
            wiped_at: now,
            is_wiping: false,
            turn: Turn::Any,
            alone: 0,
        }
    }

    fn run(mut self, came: &Came) -> Option<Left> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        self.prepare();
        loop {
            let first = match self.next(came) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.prepare();
                    self.wipe();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let number = self.number;
                    return self.ring.map(|ring| Left { ring, number });
                }
            };
            *self.shared.journaling.lock() = Some(Instant::now());
            let mut length = first.length();
            batch.push(first);
            while batch.len() < BATCH_MAX
                && let Ok(next) = came.entries.try_recv()
            {
                let Some(entry) = came.hold(next) else {
                    self.is_over = true;
                    break;
                };
                length += entry.length();
                if length > BATCH_LEN {
                    self.next = Some(entry);
                    break;
                }
                batch.push(entry);
            }
            self.take_turn(batch.len());
            self.prepare();
            let fate = self.write(&batch);
            *self.shared.journaling.lock() = None;
            self.hand_on(&mut batch, fate, came);
            if self.is_wiping || self.wiped_at.elapsed() >= WIPE_BUSY {
                self.wipe();
            }
        }
    }

    /// Waits for its turn from now on, or does not, by how many are written together.
    fn take_turn(&mut self, together: usize) {
        self.alone = if together == 1 {
            self.alone.saturating_add(1)
        } else {
            0
        };
        let turn = match together {
            CROWD.. => Turn::Own,
            _ if self.alone >= ALONE => Turn::Any,
            _ => self.turn,
        };
        if turn != self.turn {
            threads::run_at(turn);
            self.turn = turn;
        }
    }

    /// Waits for the next; not for ever while there is something to wipe, or the disk to be tried again.
    fn next(&mut self, came: &Came) -> Result<Entry, RecvTimeoutError> {
        if let Some(next) = self.next.take() {
            return Ok(next);
        }
        if self.is_over {
            return Err(RecvTimeoutError::Disconnected);
        }
        let entries = &came.entries;
        let next = if self.ring.is_some() && self.again_at.is_some() {
            entries.recv_timeout(AGAIN_AFTER)
        } else if self.is_wiping {
            entries.recv_timeout(Duration::ZERO)
        } else if self.ring.as_ref().is_some_and(Ring::is_stained) {
            entries.recv_timeout(WIPE_IDLE)
        } else {
            entries
                .recv()
                .map_err(|_closed| RecvTimeoutError::Disconnected)
        };
        came.hold(next?).ok_or(RecvTimeoutError::Disconnected)
    }

    /// Makes the file, if there is none and it may be tried. One that its disk refused is not needed any more once the
    /// writer has all that is in it.
    fn prepare(&mut self) {
        let is_due = self.again_at.is_some_and(|at| at <= Instant::now());
        if !is_due || self.folded() < self.number {
            return;
        }
        // What it held is in the log.
        self.ring = None;
        match Ring::create(&self.path, &self.of) {
            Ok(ring) => (self.ring, self.again_at) = (Some(ring), None),
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &std::io::Error) {
        warn!(%error, path = %self.path.display(), "no journal for now; each record waits for the database");
        self.again_at = Some(Instant::now() + AGAIN_AFTER);
        self.is_wiping = false;
        if let Some(watch) = self.shared.watch.get() {
            watch.journal_failed();
        }
    }

    /// Writes those that are for the journal.
    fn write(&mut self, batch: &[Entry]) -> Fate {
        let folded = self.folded();
        let Some(ring) = self.ring.as_mut().filter(|_| self.again_at.is_none()) else {
            return Fate::PassedOn;
        };
        ring.free(folded);
        let mut rows = batch.iter().filter_map(Entry::row).peekable();
        if rows.peek().is_none() {
            return Fate::PassedOn;
        }
        let began = Instant::now();
        match ring.write(self.number + 1, rows) {
            Ok(true) => {
                if let Some(watch) = self.shared.watch.get() {
                    watch.journaled(began.elapsed());
                }
                Fate::Kept
            }
            Ok(false) => Fate::PassedOn,
            Err(error) => {
                self.give_up(&error);
                Fate::Doubtful
            }
        }
    }

    /// To the writer first: whoever asks it for something after having heard that its record is written finds it there.
    fn hand_on(&mut self, batch: &mut Vec<Entry>, fate: Fate, came: &Came) {
        let mut told = Vec::with_capacity(batch.len());
        let mut is_awaited = false;
        for mut entry in batch.drain(..) {
            let is_for_here = entry.row().is_some();
            if let Job::Audit(record) = &mut entry.job {
                // Also if it was not written for certain: it is not to be put into the log twice.
                if is_for_here && fate != Fate::PassedOn {
                    self.number += 1;
                    record.number = Some(self.number);
                }
                if is_for_here && fate == Fate::Kept {
                    told.extend(record.waiting.take());
                }
            }
            is_awaited |= entry.job.is_awaited();
            came.hand_on(entry.job);
        }
        if fate == Fate::Kept {
            self.shared.writes.fetch_add(1, Ordering::Release);
        }
        if is_awaited {
            self.shared.rouse();
        }
        for waiting in told {
            // Whoever gave up waiting was told so.
            let _gone = waiting.send(());
        }
    }

    /// Wipes a part of what is to be wiped: who waits does not wait for all of it.
    fn wipe(&mut self) {
        let folded = self.folded();
        if let Some(ring) = self.ring.as_mut().filter(|_| self.again_at.is_none()) {
            ring.free(folded);
            match ring.wipe_some() {
                Ok(is_more) => self.is_wiping = is_more,
                Err(error) => self.give_up(&error),
            }
        }
        if !self.is_wiping {
            self.wiped_at = Instant::now();
        }
    }

    /// The number of the last record that the writer has committed.
    fn folded(&self) -> u64 {
        self.shared.folded.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests;
