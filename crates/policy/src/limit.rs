//! How often: the arithmetic of a rate limit.
//!
//! GCRA, the leaky bucket that keeps one number per counter: the theoretical arrival time, at which the
//! bucket would be empty again. Pure integer nanoseconds, so that a script in a shared store can do the
//! same sums. Where the number is kept between calls, and for whom, is the gateway's.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::Instant;

/// At most `max` at once, and from then on one every `per / max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many may come at once.
    pub max: NonZeroU32,
    /// How long an empty bucket takes to be full again.
    pub per: Duration,
}

impl Limit {
    /// Takes `cost` out of the bucket whose arrival time was `arrival` (`None`: untouched so far).
    ///
    /// # Errors
    /// How long until the same call would be allowed, exactly; `Duration::MAX` if it never will be, because
    /// it costs more than the whole bucket. A refusal changes nothing.
    pub fn take(
        &self,
        arrival: Option<Instant>,
        now: Instant,
        cost: NonZeroU32,
    ) -> Result<Instant, Duration> {
        if cost > self.max {
            return Err(Duration::MAX);
        }
        // 128 bits hold the longest `Duration` times the largest `u32`: nothing here can overflow.
        let now = now.0.as_nanos();
        let interval = self.interval();
        let arrival = arrival.map_or(now, |arrival| arrival.0.as_nanos().max(now));
        let next = arrival + interval * u128::from(cost.get());
        let latest = now + interval * u128::from(self.max.get());
        if next <= latest {
            Ok(Instant(duration(next)))
        } else {
            Err(duration(next - latest))
        }
    }

    /// Nanoseconds between two calls in the long run; rounded up, so that rounding never lets one more in.
    fn interval(&self) -> u128 {
        self.per
            .as_nanos()
            .div_ceil(u128::from(self.max.get()))
            .max(1)
    }
}

/// Saturates where a `Duration` ends, in some 500 thousand million years.
fn duration(nanos: u128) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    match (u64::try_from(nanos / SECOND), u32::try_from(nanos % SECOND)) {
        (Ok(seconds), Ok(nanos)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    }
}

#[cfg(test)]
mod tests;
