//! How often strangers may try: registrations and failed authentications, counted in windows, for a bounded number.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use policy::Instant;

/// Most who are counted one by one. When there are more, those who come new share a count.
const COUNTED_MAX: usize = 4096;

/// Counts per key and window.
#[derive(Debug)]
pub(super) struct Limiter {
    max: u32,
    window: Duration,
    counts: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Limiter {
    pub(super) fn new(max: u32, window: Duration) -> Self {
        Self {
            max,
            window,
            counts: Mutex::default(),
        }
    }

    /// How long `key` has to wait, if it used up what it has.
    pub(super) fn wait(&self, key: &str, now: Instant) -> Option<Duration> {
        let counts = self.counts.lock();
        let (count, since) = counts.get(key)?;
        let passed = now.since(*since);
        (*count >= self.max && passed < self.window).then(|| self.window - passed)
    }

    /// Counts one.
    pub(super) fn count(&self, key: &str, now: Instant) {
        let mut counts = self.counts.lock();
        let key = if counts.len() >= COUNTED_MAX && !counts.contains_key(key) {
            counts.retain(|_, (_, since)| now.since(*since) < self.window);
            if counts.len() >= COUNTED_MAX { "" } else { key }
        } else {
            key
        };
        let (count, since) = counts.entry(key.to_owned()).or_insert((0, now));
        if now.since(*since) >= self.window {
            (*count, *since) = (0, now);
        }
        *count = count.saturating_add(1);
    }

    /// Counts one, unless `key` has to wait.
    pub(super) fn take(&self, key: &str, now: Instant) -> Result<(), Duration> {
        let is_crowd = {
            let counts = self.counts.lock();
            counts.len() >= COUNTED_MAX && !counts.contains_key(key)
        };
        let wait = self
            .wait(key, now)
            .or_else(|| self.wait("", now).filter(|_| is_crowd));
        match wait {
            Some(wait) => Err(wait),
            None => {
                self.count(key, now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_used_up_his_share_waits_and_nobody_else_does() {
        let limiter = Limiter::new(2, Duration::from_secs(60));
        let at = |seconds| Instant(Duration::from_secs(seconds));
        assert!(limiter.take("a", at(0)).is_ok() && limiter.take("a", at(1)).is_ok());
        assert_eq!(limiter.take("a", at(2)), Err(Duration::from_secs(58)));
        assert!(limiter.take("b", at(2)).is_ok());
        assert!(limiter.take("a", at(60)).is_ok());
    }

    #[test]
    fn a_crowd_fills_no_memory_and_shares_what_is_left() {
        let limiter = Limiter::new(2, Duration::from_secs(60));
        let now = Instant::default();
        for number in 0..COUNTED_MAX + 2 {
            assert!(limiter.take(&number.to_string(), now).is_ok());
        }
        assert!(limiter.take("one more", now).is_err());
        assert!(limiter.counts.lock().len() <= COUNTED_MAX + 1);
    }
}
