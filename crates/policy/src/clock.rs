//! The one way to ask for the time.
//!
//! Only the trait lives here; the real clock is built by `server`, the adjustable one by `testkit`.

use std::time::{Duration, SystemTime};

/// A point on the monotonic clock: time since an arbitrary start of this process.
///
/// Limits, timeouts and back-off use it, so that a jump of the wall clock moves none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(pub Duration);

impl Instant {
    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

/// Tells the time. Shared by everything that needs it, injected once.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The monotonic time: never goes back.
    fn now(&self) -> Instant;
    /// The wall-clock time: for records and expiry dates that people wrote.
    fn wall(&self) -> SystemTime;
}
