//! What each principal has seen lately: private data, and what strangers have written.
//!
//! Who has seen both may be led by the one to give away the other, so what can send it away is asked about first
//! (`call::flow`). The taint is the principal's, over all its sessions, and fades with time. It is kept in memory, by
//! each gate for itself. Which entries yield what is `settings::screening`.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Instant, PrincipalId};

/// Principals that are remembered.
const PRINCIPALS_MAX: usize = 64 * 1024;

/// What all principals have seen.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    seen: Mutex<HashMap<PrincipalId, Sights>>,
}

/// Until when what was seen counts.
#[derive(Debug, Clone, Copy, Default)]
struct Sights {
    private: Option<Instant>,
    untrusted: Option<Instant>,
}

/// What one principal has seen that still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taint {
    pub(crate) private: bool,
    pub(crate) untrusted: bool,
}

impl Taint {
    /// Whether it can be led to give something away.
    pub(crate) fn is_toxic(self) -> bool {
        self.private && self.untrusted
    }

    /// Words for the record, from a closed set.
    pub(crate) fn words(self) -> impl Iterator<Item = &'static str> {
        let private = self.private.then_some("saw_private:1");
        let untrusted = self.untrusted.then_some("saw_untrusted:1");
        private.into_iter().chain(untrusted)
    }
}

impl Flows {
    /// What a principal has seen.
    pub(crate) fn taint(&self, principal: &PrincipalId, now: Instant) -> Taint {
        let seen = self.seen.lock();
        let counts = |until: Option<Instant>| until.is_some_and(|until| now < until);
        match seen.get(principal) {
            Some(sights) => Taint {
                private: counts(sights.private),
                untrusted: counts(sights.untrusted),
            },
            // With no place left to remember it, it may have seen anything.
            None if seen.len() >= PRINCIPALS_MAX => Taint {
                private: true,
                untrusted: true,
            },
            None => Taint::default(),
        }
    }

    /// A principal is about to see this.
    pub(crate) fn note(
        &self,
        principal: &PrincipalId,
        sees: Taint,
        now: Instant,
        window: Duration,
    ) {
        if sees == Taint::default() {
            return;
        }
        let mut seen = self.seen.lock();
        if seen.len() >= PRINCIPALS_MAX && !seen.contains_key(principal) {
            return;
        }
        let sights = seen.entry(principal.clone()).or_default();
        let until = Some(now + window);
        if sees.private {
            sights.private = sights.private.max(until);
        }
        if sees.untrusted {
            sights.untrusted = sights.untrusted.max(until);
        }
    }

    /// Forgets what no longer counts.
    pub(crate) fn sweep(&self, now: Instant) {
        let is_over = |until: Option<Instant>| until.is_none_or(|until| until <= now);
        self.seen
            .lock()
            .retain(|_, sights| !(is_over(sights.private) && is_over(sights.untrusted)));
    }
}

#[cfg(test)]
mod tests;
