//! What was counted over the last so many minutes, out of counts that only grow.

use std::collections::VecDeque;
use std::time::Duration;

use policy::Instant;

/// Into so many steps a window is cut: how much longer it may be than it says.
const STEPS: u32 = 30;

/// Counts at earlier moments, a bounded number of them.
#[derive(Debug)]
pub(super) struct Window<T> {
    kept: VecDeque<(Instant, T)>,
}

impl<T: Clone + Default> Window<T> {
    /// Nothing was counted before `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            kept: VecDeque::from([(now, T::default())]),
        }
    }

    /// Takes note of the counts of now, and gives those from which on the window counts.
    pub(super) fn base(&mut self, span: Duration, now: Instant, counts: &T) -> T {
        let (step, age) = (span / STEPS, |at: &Instant| now.since(*at));
        // The newest of those that are too old is where it begins.
        while self.kept.get(1).is_some_and(|(at, _)| age(at) >= span) {
            self.kept.pop_front();
        }
        let base = self.kept.front().map(|(_, base)| base.clone());
        if self.kept.back().is_none_or(|(at, _)| age(at) >= step) {
            self.kept.push_back((now, counts.clone()));
        }
        base.unwrap_or_default()
    }
}
