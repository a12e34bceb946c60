//! What of an upstream's ups and downs is recorded: each change, but of one that flaps only some, and how many others
//! there were.
//!
//! Pure: snapshots and the time go in, records come out.

use std::time::Duration;

use policy::{Instant, UpstreamId};
use store::Outcome;
use upstream::{Snapshot, State};

use crate::happened::Happened;

/// So much is recorded of one upstream in one [`WINDOW`]; of what else happens in it, the last when it is over.
const RECORDS_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// What was recorded of one upstream so far.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    upstream: UpstreamId,
    last: (State, u32, Option<String>),
    /// When the window began, and how much was recorded in it.
    since: Instant,
    told: u32,
    /// The last that was not, and how many there were.
    held: Option<(Happened, u32)>,
}

impl Lifecycle {
    /// Nothing is known of it yet.
    pub(crate) fn new(upstream: UpstreamId, now: Instant) -> Self {
        Self {
            upstream,
            last: (State::Starting, 0, None),
            since: now,
            told: 0,
            held: None,
        }
    }

    /// Takes in what is known now; what is to be recorded of it.
    pub(crate) fn see(&mut self, snapshot: &Snapshot, now: Instant) -> Option<Happened> {
        let happened = self.change(snapshot)?;
        if now.since(self.since) >= WINDOW {
            (self.since, self.told) = (now, 0);
        }
        if self.told >= RECORDS_MAX {
            let before = self.held.take().map_or(0, |(_, count)| count);
            self.held = Some((happened, before + 1));
            return None;
        }
        self.told += 1;
        let before = self.held.take().map_or(0, |(_, count)| count);
        Some(after(happened, before))
    }

    /// How long until what is held back is due; `None`: nothing is.
    pub(crate) fn due(&self, now: Instant) -> Option<Duration> {
        let left = || WINDOW.saturating_sub(now.since(self.since));
        // At least a moment: clocks of different kinds measure it.
        self.held
            .as_ref()
            .map(|_| left().max(Duration::from_millis(10)))
    }

    /// What was held back, once its time has come.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Happened> {
        if now.since(self.since) < WINDOW {
            return None;
        }
        let (happened, count) = self.held.take()?;
        (self.since, self.told) = (now, 1);
        Some(after(happened, count - 1))
    }

    fn change(&mut self, snapshot: &Snapshot) -> Option<Happened> {
        let now = (
            snapshot.state,
            snapshot.restarts,
            snapshot.last_error.clone(),
        );
        let before = std::mem::replace(&mut self.last, now);
        let what = match (before.0, snapshot.state) {
            // It may have been away for less time than it takes to look.
            (State::Ready, State::Ready) if before.1 == snapshot.restarts => return None,
            (_, State::Ready) => "upstream/connected",
            (State::Ready, State::Down) => "upstream/lost",
            (State::Down, State::Down) if before.2 == snapshot.last_error => return None,
            (_, State::Down) => "upstream/failed",
            (State::Waiting, State::Waiting) => return None,
            (_, State::Waiting) => "upstream/waiting",
            // Whoever ended it says so.
            (_, State::Starting | State::Stopped) => return None,
        };
        let mut happened = Happened {
            upstream: Some(self.upstream.clone()),
            ..Happened::new(what)
        };
        match snapshot.state {
            State::Ready => {
                let revision = snapshot.revision.map(wire::Revision::as_str);
                happened.about = revision.map(str::to_owned);
                let restarts = snapshot.restarts;
                happened.reason = (restarts > 0).then(|| format!("restarts so far: {restarts}"));
            }
            State::Down | State::Waiting | State::Starting | State::Stopped => {
                happened.outcome = Outcome::Failed;
                happened.reason.clone_from(&snapshot.last_error);
            }
        }
        Some(happened)
    }
}

/// The same, with what was not recorded before it.
fn after(mut happened: Happened, count: u32) -> Happened {
    if count > 0 {
        let told = format!("{count} changes before this are not recorded one by one");
        happened.reason = Some(match happened.reason {
            Some(reason) => format!("{reason}; {told}"),
            None => told,
        });
    }
    happened
}

#[cfg(test)]
mod tests;
