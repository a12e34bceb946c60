//! Connections at rest, kept for the next request to the same origin.
//!
//! Bounded three ways: per origin, in total, and by age. No task watches them: one that its peer closed is
//! found out when it is taken, one that is too old when any connection is put back. A connection stays with the
//! thread that opened it: that thread's reactor is the one that hears of its bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connect::Origin;
use crate::link::Link;

/// How many connections rest in all, whatever their origins.
const IDLE_MAX: usize = 512;

pub(crate) struct Pool {
    idle_per_origin_max: usize,
    idle_age_max: Duration,
    idle: Mutex<Idle>,
    opened: AtomicU64,
}

/// How many connections there are to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// At rest, kept for the next request.
    pub idle: usize,
    /// That were ever opened.
    pub opened: u64,
}

#[derive(Default)]
struct Idle {
    /// Newest last, so that the warmest is taken and the rest grow old. No queue is empty.
    origins: HashMap<(ThreadId, Origin), VecDeque<(Instant, Link)>>,
    count: usize,
    swept: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(idle_per_origin_max: usize, idle_age_max: Duration) -> Self {
        Self {
            idle_per_origin_max,
            idle_age_max,
            idle: Mutex::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// Another connection was opened.
    pub(crate) fn note_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections {
            idle: self.idle.lock().count,
            opened: self.opened.load(Ordering::Relaxed),
        }
    }

    /// A connection to `origin` that is still open, as far as one can tell without writing to it.
    pub(crate) fn take(&self, origin: &Origin) -> Option<Link> {
        let place = (thread::current().id(), origin.clone());
        loop {
            let (since, mut link) = self.pop(&place)?;
            if since.elapsed() < self.idle_age_max && link.is_idle() {
                return Some(link);
            }
        }
    }

    fn pop(&self, place: &(ThreadId, Origin)) -> Option<(Instant, Link)> {
        let mut idle = self.idle.lock();
        let queue = idle.origins.get_mut(place)?;
        let newest = queue.pop_back();
        if queue.is_empty() {
            idle.origins.remove(place);
        }
        idle.count -= usize::from(newest.is_some());
        newest
    }

    /// Keeps a connection whose exchange is over, if it can be used again and there is room.
    pub(crate) fn put(&self, origin: Origin, mut link: Link) {
        if !link.is_idle() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock();
        let stale = idle.sweep(now, self.idle_age_max);
        if idle.count < IDLE_MAX {
            let queue = idle.origins.entry((link.home(), origin)).or_default();
            if queue.len() < self.idle_per_origin_max {
                queue.push_back((now, link));
                idle.count += 1;
            }
        }
        // Closing sockets takes a while; nobody should wait for it at the lock.
        drop(idle);
        drop(stale);
    }
}

impl Idle {
    /// Takes out what is too old, at most twice per age.
    fn sweep(&mut self, now: Instant, age_max: Duration) -> Vec<Link> {
        let mut stale = Vec::new();
        if self
            .swept
            .is_some_and(|last| now.duration_since(last) < age_max / 2)
        {
            return stale;
        }
        self.swept = Some(now);
        self.origins.retain(|_, queue| {
            while queue
                .front()
                .is_some_and(|(since, _)| now.duration_since(*since) >= age_max)
            {
                stale.extend(queue.pop_front().map(|(_, link)| link));
            }
            !queue.is_empty()
        });
        self.count -= stale.len();
        stale
    }
}
