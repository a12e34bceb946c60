//! A clock that stands still until a test moves it.

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use policy::{Clock, Instant};

/// When every test begins: 2026-01-02T03:04:05Z, in seconds since 1970.
pub const START: u64 = 1_767_323_045;

/// Time that passes only by [`ManualClock::advance`].
#[derive(Debug, Default)]
pub struct ManualClock {
    passed: Mutex<Duration>,
}

impl ManualClock {
    /// Lets time pass, on both clocks alike.
    pub fn advance(&self, by: Duration) {
        *self.passed.lock() += by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        // Not zero at the start: what compares with "never" must not find "now" there.
        Instant(Duration::from_secs(1000) + *self.passed.lock())
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(START) + *self.passed.lock()
    }
}
