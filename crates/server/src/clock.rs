//! The real clock: the only place that asks the operating system what time it is.

use std::time::{Instant as StdInstant, SystemTime};

use policy::{Clock, Instant};

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    started: StdInstant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else asks"
    )]
    pub fn start() -> Self {
        Self {
            started: StdInstant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant(self.started.elapsed())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the clock that everybody else asks"
    )]
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
