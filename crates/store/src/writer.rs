//! The one thread that writes: everything that waits goes into one transaction.
//!
//! A commit that fails (disk full, file locked) is tried again until it succeeds. Meanwhile the queue fills
//! up and its senders are refused: nothing that was accepted is lost.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::Error;
use crate::audit::{self, Instance, Packed};
use crate::db::{self, Connection, Durability, Mark};
use crate::journal;
use crate::queue::{Closing, Jobs, Queue};
use crate::threads::{self, Turn};

/// Most jobs in one transaction.
const BATCH_MAX: usize = 1024;
/// How long the first record of a batch waits for others: nobody waits for it, and a commit costs the same for one
/// record and for a hundred.
const GATHER: Duration = Duration::from_millis(50);
/// First and longest pause between two tries of the same transaction.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long the pauses may sum up to once somebody wants to close.
const PAUSES_CLOSING_MAX: Duration = Duration::from_secs(3);

/// Something to write.
pub(crate) enum Job {
    /// A record, which must not get lost.
    Audit(Record),
    /// A change that somebody waits for.
    Change(Box<dyn Change>),
    /// Nothing; but whether something could be written is known then.
    Look,
}

impl Job {
    /// Somebody waits until it is committed.
    pub(crate) fn is_awaited(&self) -> bool {
        match self {
            Self::Audit(record) => record.waiting.is_some(),
            Self::Change(_) => true,
            Self::Look => false,
        }
    }

    fn is_journaled(&self) -> bool {
        matches!(self, Self::Audit(record) if record.number.is_some())
    }
}

/// A record on its way into the log.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) row: Packed,
    /// Who waits until it is on the disk, if anybody does and it is not.
    pub(crate) waiting: Option<oneshot::Sender<()>>,
    /// Its number in this gate's journal, if it went by that.
    pub(crate) number: Option<u64>,
    /// When it came.
    pub(crate) since: Instant,
}

/// A change that somebody waits for.
pub(crate) trait Change: Send {
    /// Makes the change; `false` if it failed and is to be undone. Called again if the commit failed.
    fn apply(&mut self, connection: &Connection) -> bool;
    /// Tells whoever waits. Called once, after the commit.
    fn done(self: Box<Self>);
}

/// Nobody waited in vain.
pub(crate) const NOBODY: u64 = u64::MAX;

/// What the thread and its owner both see.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The last commit failed.
    pub(crate) failing: AtomicBool,
    /// How many commits worked.
    pub(crate) commits: AtomicU64,
    /// How many writes to the journal did.
    pub(crate) writes: AtomicU64,
    /// Somebody wants to close: no patience any more.
    pub(crate) closing: AtomicBool,
    /// Since when the oldest record waits that is being written.
    pub(crate) oldest: Mutex<Option<Instant>>,
    /// The same of the journal.
    pub(crate) journaling: Mutex<Option<Instant>>,
    /// The number of the last record of the journal's that is in the log.
    pub(crate) folded: AtomicU64,
    /// Records that stand in the journal were given up: they are for whoever opens the database next, and so are all behind
    /// them.
    pub(crate) gave_up: AtomicBool,
    /// The thread that writes.
    pub(crate) thread: OnceLock<Thread>,
    /// It is not to wait for more.
    pub(crate) roused: AtomicBool,
    /// How much was written when somebody gave up waiting for more; [`NOBODY`] once it is.
    pub(crate) in_vain: AtomicU64,
    /// Who wants to know how it goes.
    pub(crate) watch: OnceLock<Arc<dyn Watch>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            failing: AtomicBool::default(),
            commits: AtomicU64::default(),
            writes: AtomicU64::default(),
            closing: AtomicBool::default(),
            oldest: Mutex::default(),
            journaling: Mutex::default(),
            folded: AtomicU64::default(),
            gave_up: AtomicBool::default(),
            thread: OnceLock::default(),
            roused: AtomicBool::default(),
            in_vain: AtomicU64::new(NOBODY),
            watch: OnceLock::default(),
        }
    }
}

impl Shared {
    /// Somebody waits: more is not to be waited for.
    pub(crate) fn rouse(&self) {
        self.roused.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Lets others come, for a moment, unless somebody waits.
    fn gather(&self) {
        let until = Instant::now() + GATHER;
        // Whoever sent something may have woken the thread late.
        while !self.roused.swap(false, Ordering::Acquire) && !self.closing.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

/// Who wants to know how writing goes. Called by the thread that writes: it counts, and waits for nothing.
pub trait Watch: Send + Sync + Debug {
    /// So many changes were committed together, so many of them records of the audit log.
    fn committed(&self, changes: usize, records: usize, took: Duration);
    /// A commit failed, and is tried again.
    fn failed(&self);
    /// Records were written to the journal together.
    fn journaled(&self, took: Duration);
    /// The journal could not be written, and is left alone for a while.
    fn journal_failed(&self);
}

/// Writes until there is nothing more to come.
pub(crate) fn run(
    mut connection: Connection,
    queue: &Queue,
    jobs: &Jobs,
    shared: &Shared,
    mut instance: Instance,
) {
    drop(shared.thread.set(thread::current()));
    threads::run_at(Turn::Own);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let (mut number, mut is_torn) = (0, false);
    while !queue.is_over() {
        let Ok(first) = jobs.recv() else { return };
        batch.extend(first);
        take(jobs, &mut batch);
        if batch.is_empty() {
            continue;
        }
        if batch.len() < BATCH_MAX && !batch.iter().any(Job::is_awaited) {
            shared.gather();
            take(jobs, &mut batch);
        }
        queue.give_back(batch.len());
        if shared.gave_up.load(Ordering::Relaxed) {
            // What comes after them must not be in the log before them.
            let lost = batch.iter().filter(|job| matches!(job, Job::Audit(_)));
            error!(lost = lost.count(), "closing without having written");
            batch.clear();
            continue;
        }
        number += 1;
        *shared.oldest.lock() = batch.iter().find_map(|job| match job {
            Job::Audit(record) => Some(record.since),
            Job::Change(_) | Job::Look => None,
        });
        commit_at_last(
            &mut connection,
            &mut batch,
            number,
            shared,
            &mut instance,
            &mut is_torn,
        );
        *shared.oldest.lock() = None;
        for job in batch.drain(..) {
            match job {
                Job::Change(change) => change.done(),
                // Whoever gave up waiting was told so.
                Job::Audit(record) => drop(record.waiting.map(|waiting| waiting.send(()))),
                Job::Look => {}
            }
        }
    }
}

/// Adds what there is.
fn take(jobs: &Jobs, batch: &mut Vec<Job>) {
    while batch.len() < BATCH_MAX
        && let Ok(job) = jobs.try_recv()
    {
        batch.extend(job);
    }
}

/// Tries until it succeeds, or until somebody wants to close and it still does not. `is_torn`: the disk failed, and what
/// was committed before may not be there.
fn commit_at_last(
    connection: &mut Connection,
    batch: &mut Vec<Job>,
    number: i64,
    shared: &Shared,
    instance: &mut Instance,
    is_torn: &mut bool,
) {
    let (mut pause, mut paused_closing) = (PAUSE_MIN, Duration::ZERO);
    let (mut is_again, mut began) = (false, Instant::now());
    while let Err(error) = mended(connection, is_torn)
        .and_then(|()| commit(connection, batch, Try { number, is_again }, instance))
    {
        is_again = true;
        *is_torn |= error.is_of_disk();
        if let Some(watch) = shared.watch.get() {
            watch.failed();
        }
        if !shared.failing.swap(true, Ordering::Relaxed) {
            let error = chain(&error);
            warn!(%error, jobs = batch.len(), "cannot write; trying again");
        }
        if shared.closing.load(Ordering::Relaxed) {
            if paused_closing >= PAUSES_CLOSING_MAX {
                let lost = batch
                    .iter()
                    .filter(|job| matches!(job, Job::Audit(..)))
                    .count();
                let error = chain(&error);
                error!(%error, lost, "closing without having written");
                // Whoever waits for a change sees that nobody will confirm it.
                if batch.iter().any(Job::is_journaled) {
                    shared.gave_up.store(true, Ordering::Relaxed);
                }
                batch.clear();
                return;
            }
            paused_closing += pause;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        began = Instant::now();
    }
    let numbers = batch.iter().filter_map(|job| match job {
        Job::Audit(record) => record.number,
        Job::Change(_) | Job::Look => None,
    });
    if let Some(folded) = numbers.max() {
        shared.folded.store(folded, Ordering::Release);
    }
    if shared.failing.swap(false, Ordering::Relaxed) {
        info!("can write again");
    }
    if !batch.iter().all(|job| matches!(job, Job::Look)) {
        // In this order: whoever sees that more is written does not take it for failing.
        shared.commits.fetch_add(1, Ordering::Release);
        if let Some(watch) = shared.watch.get() {
            let records = batch.iter().filter(|job| matches!(job, Job::Audit(..)));
            watch.committed(batch.len(), records.count(), began.elapsed());
        }
    }
}

fn mended(connection: &Connection, is_torn: &mut bool) -> db::Result<()> {
    if *is_torn {
        connection.mend()?;
        *is_torn = false;
    }
    Ok(())
}

/// Which batch, and whether an earlier try may have got there unheard.
#[derive(Clone, Copy)]
struct Try {
    number: i64,
    is_again: bool,
}

fn commit(
    connection: &mut Connection,
    batch: &mut [Job],
    attempt: Try,
    instance: &mut Instance,
) -> db::Result<()> {
    connection.renew()?;
    if batch.iter().all(|job| matches!(job, Job::Look)) {
        return connection.exists("SELECT 1", &[]).map(drop);
    }
    // Whoever waits may rely on it, whatever becomes of the machine, and the journal forgets what is committed; what nobody
    // waits for is written when it suits.
    let is_needed = |job: &Job| job.is_awaited() || job.is_journaled();
    let durability = if batch.iter().any(is_needed) {
        Durability::Now
    } else {
        Durability::Soon
    };
    let id = instance.id().to_owned();
    let mark = Mark {
        writer: &id,
        number: attempt.number,
        is_again: attempt.is_again,
    };
    connection.transaction_once(&mark, durability, |connection| {
        write(connection, batch, instance, attempt.is_again)
    })
}

fn write(
    connection: &Connection,
    batch: &mut [Job],
    instance: &mut Instance,
    is_again: bool,
) -> db::Result<()> {
    instance.begin();
    let (mut head, mut folded) = (None, None);
    for job in batch {
        match job {
            Job::Audit(record) => {
                let head = match &mut head {
                    Some(head) => head,
                    empty => empty.insert(audit::Head::read(connection)?),
                };
                head.append(connection, &record.row.fields(), instance, is_again)?;
                folded = record.number.or(folded);
            }
            Job::Change(change) => {
                // It finds every record that came before it.
                if let Some(head) = &mut head {
                    head.leave(connection)?;
                }
                instance.settle(connection)?;
                // In its own savepoint: a change that fails takes nobody else's with it.
                connection.savepoint(|connection| change.apply(connection))?;
            }
            Job::Look => {}
        }
    }
    instance.settle(connection)?;
    if let Some(number) = folded {
        journal::note(connection, instance.id(), number)?;
    }
    match head {
        Some(mut head) => head.write(connection),
        None => Ok(()),
    }
}

/// An error with what is behind it: which database it was, and why.
fn chain(error: &db::Failure) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(behind) = cause {
        text.push_str(": ");
        text.push_str(&behind.to_string());
        cause = behind.source();
    }
    text
}

/// A change that yields a `T`.
pub(crate) struct Awaited<F, T> {
    pub(crate) run: F,
    pub(crate) reply: oneshot::Sender<Result<T, Error>>,
    pub(crate) yielded: Option<Result<T, Error>>,
}

impl<F, T> Change for Awaited<F, T>
where
    F: Fn(&Connection) -> db::Result<T> + Send,
    T: Send,
{
    fn apply(&mut self, connection: &Connection) -> bool {
        // Whoever gave up waiting does not want it any more.
        if self.reply.is_closed() {
            return false;
        }
        let yielded = (self.run)(connection).and_then(|yielded| {
            connection.settle()?;
            Ok(yielded)
        });
        let ok = yielded.is_ok();
        self.yielded = Some(yielded.map_err(Error::from));
        ok
    }

    fn done(self: Box<Self>) {
        if let Some(yielded) = self.yielded
            && self.reply.send(yielded).is_err()
        {
            warn!("a change was made after its caller had stopped waiting");
        }
    }
}

/// Starts the thread.
pub(crate) fn start(
    connection: Connection,
    (queue, jobs): (Arc<Queue>, Jobs),
    shared: Arc<Shared>,
    instance: Instance,
) -> Result<thread::JoinHandle<()>, Error> {
    threads::start("store-writer", move || {
        let _closing = Closing(&queue);
        run(connection, &queue, &jobs, &shared, instance);
    })
}

#[cfg(test)]
mod tests;
