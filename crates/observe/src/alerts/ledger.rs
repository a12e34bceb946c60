//! What one receiver was told: from that and what is so now follows what it is to be told next.
//!
//! There is no queue of messages. A receiver that is away for long is told once, when it is back, of what fires then and
//! of what was over meanwhile; what it took is not said again before it is due.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use policy::Instant;

use super::book::{Alert, Labels};

/// Alerts in one message; others wait for the next.
const MESSAGE_MAX: usize = 100;
/// Alerts that were over before their receiver could be told; older ones are forgotten.
const OVER_MAX: usize = 1000;
/// The pause after the first failure; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What one receiver was told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    told: BTreeMap<Labels, Told>,
    /// Is over, and the receiver has not heard so.
    over: VecDeque<Alert>,
    /// Why it failed, the last time.
    failed: Option<Failed>,
    /// How many messages it took.
    messages: u64,
}

#[derive(Debug)]
struct Told {
    starts_at: SystemTime,
    at: Instant,
}

#[derive(Debug)]
struct Failed {
    pause: Duration,
    again_at: Instant,
    why: String,
}

impl Ledger {
    /// It is over: to be told.
    pub(super) fn over(&mut self, alert: &Alert) {
        self.told.remove(&alert.labels);
        self.over.push_back(alert.clone());
        if self.over.len() > OVER_MAX {
            self.over.pop_front();
        }
    }

    /// What is to be said now; empty: nothing. What is over comes first, as it may fire again.
    pub(super) fn due<'a>(
        &self,
        firing: impl Iterator<Item = &'a Alert>,
        repeat: Duration,
        now: Instant,
    ) -> Vec<Alert> {
        if let Some(failed) = &self.failed
            && now < failed.again_at
        {
            return Vec::new();
        }
        let is_due = |alert: &&Alert| match self.told.get(&alert.labels) {
            Some(told) => told.starts_at != alert.starts_at || now.since(told.at) >= repeat,
            None => true,
        };
        let mut all: Vec<Alert> = self.over.iter().take(MESSAGE_MAX).cloned().collect();
        let room = MESSAGE_MAX - all.len();
        all.extend(firing.filter(is_due).take(room).cloned());
        all
    }

    /// It took this.
    pub(super) fn taken(&mut self, alerts: &[Alert], now: Instant) {
        self.failed = None;
        self.messages += 1;
        for alert in alerts {
            if alert.ends_at.is_some() {
                self.over.retain(|one| one != alert);
            } else if !self.is_over(alert) {
                let (starts_at, at) = (alert.starts_at, now);
                self.told
                    .insert(alert.labels.clone(), Told { starts_at, at });
            }
        }
    }

    /// Whether it ended while its message was on its way.
    fn is_over(&self, alert: &Alert) -> bool {
        let mut over = self.over.iter();
        over.any(|one| one.labels == alert.labels && one.starts_at == alert.starts_at)
    }

    /// It did not take it.
    pub(super) fn failed(&mut self, why: String, now: Instant) {
        let pause = match &self.failed {
            Some(before) => (before.pause * 2).min(PAUSE_MAX),
            None => PAUSE_MIN,
        };
        let again_at = now + pause;
        self.failed = Some(Failed {
            pause,
            again_at,
            why,
        });
    }

    /// Why it failed, the last time, unless it has worked since.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.failed.as_ref().map(|failed| failed.why.as_str())
    }

    /// The number of its next message: the same as long as that is tried.
    pub(super) fn next(&self) -> u64 {
        self.messages + 1
    }
}
