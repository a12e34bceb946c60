//! What waits for the writer, and how much of it there may be.
//!
//! A place is taken before anything is spent on what is to be written: whoever has one is not refused any more. Every call
//! takes one, on every thread, so that is one number; and what the writer takes together, it gives back together.

use std::sync::atomic::{Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::writer::Job;
use crate::{Error, Store};

/// Most jobs that wait for the writer, those included for which a place is kept.
pub(crate) const QUEUE_MAX: usize = 16_384;

/// The queue, for those who have something to write.
#[derive(Debug)]
pub(crate) struct Queue {
    places: Semaphore,
    jobs: Sender<Option<Job>>,
}

/// The other end: each of its jobs has a place, which is to be given back. `None`: a place may have come back without one.
pub(crate) type Jobs = Receiver<Option<Job>>;

impl Queue {
    /// One with all its places.
    pub(crate) fn new() -> (Self, Jobs) {
        let (jobs, other_end) = channel();
        let places = Semaphore::new(QUEUE_MAX);
        (Self { places, jobs }, other_end)
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        QUEUE_MAX.saturating_sub(self.places.available_permits())
    }

    /// Whoever wants a place gets one.
    pub(crate) fn has_room(&self) -> bool {
        !self.places.is_closed() && self.places.available_permits() > 0
    }

    /// Hands it to the writer. It has its place.
    pub(crate) fn send(&self, job: Job) {
        // A writer that is gone ended in a panic, and who waits hears of it as the job goes.
        drop(self.jobs.send(Some(job)));
    }

    /// The same of what has none yet, if there is one.
    pub(crate) fn put(&self, job: Job) {
        if let Ok(place) = self.places.try_acquire() {
            place.forget();
            self.send(job);
        }
    }

    /// So many places are free again.
    pub(crate) fn give_back(&self, places: usize) {
        self.places.add_permits(places);
    }

    /// The same of places whose jobs the writer never sees.
    pub(crate) fn give_back_unused(&self, places: usize) {
        self.give_back(places);
        self.wake_at_end();
    }

    /// A place may have come back: the writer may wait for it.
    fn wake_at_end(&self) {
        // Either this sees that it was closed, or the writer, which was told of that, sees the place.
        fence(Ordering::SeqCst);
        if self.places.is_closed() {
            drop(self.jobs.send(None));
        }
    }

    /// Has the writer find out whether it could write, if it has nothing to write; `false` once nothing more is taken.
    pub(crate) fn look(&self) -> bool {
        // One that finds no place has others in front of it, which tell as much.
        if self.taken() == 0 {
            self.put(Job::Look);
        }
        !self.places.is_closed()
    }

    /// Gives nobody a place any more. Those that are taken come back.
    pub(crate) fn close(&self) {
        self.places.close();
        drop(self.jobs.send(None));
    }

    /// Nobody has a place, and nobody gets one: there is nothing more to come.
    pub(crate) fn is_over(&self) -> bool {
        let is_closed = self.places.is_closed();
        fence(Ordering::SeqCst);
        is_closed && self.taken() == 0
    }
}

/// A place in the queue, for one job. Dropped unused, it is free again.
#[derive(Debug)]
pub(crate) struct Permit {
    /// It keeps the writer.
    store: Store,
    is_used: bool,
}

impl Permit {
    /// Has the job written, by way of the journal if there is one.
    pub(crate) fn send(mut self, job: Job) -> Used {
        self.is_used = true;
        self.store.put(job);
        Used(self)
    }
}

/// A place whose job was sent: the writer gives it back.
#[derive(Debug)]
pub(crate) struct Used(Permit);

impl Used {
    /// Where to.
    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        self.store.queue().give_back_unused(1);
    }
}

/// Who waits for a place. It may have been given one, and be gone, or find the queue closed, before it takes it: then the
/// place comes back without a word.
struct Waiting<'a>(&'a Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wake_at_end();
    }
}

/// Whose thread takes what waits. Once that is gone, in a panic too, nobody gets a place any more.
#[derive(Debug)]
pub(crate) struct Closing<'a>(pub(crate) &'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Store {
    /// Takes a place, within `wait`.
    pub(crate) async fn permit(&self, wait: Duration) -> Result<Permit, Error> {
        let queue = self.queue();
        let places = &queue.places;
        // The usual case takes neither a timer nor a turn of the scheduler.
        let place = match places.try_acquire() {
            Ok(place) => place,
            Err(_full_or_closed) => {
                let _waiting = Waiting(queue);
                Box::pin(timeout(wait, places.acquire()))
                    .await
                    .map_err(|_elapsed| Error::Full(wait))?
                    .map_err(|_closed| Error::Closed)?
            }
        };
        place.forget();
        Ok(Permit {
            store: self.clone(),
            is_used: false,
        })
    }
}
