//! Buckets in this process's memory.
//!
//! A bucket is one number: the time at which it will be empty again (in GCRA's words the theoretical arrival time).
//! One that is in the past is the same as none, so that buckets nobody uses cost nothing for long.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::{Later, Shared, Status, Take, TakeError, Taking};

const SHARDS: usize = 16;
/// Most buckets in one shard that are not empty; what is over it is refused.
const SHARD_MAX: usize = 4_096;
/// When a shard with no room for another bucket says to come back; empty ones are not looked for more often.
const CROWDED_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Shard {
    /// When a bucket is empty, by its name. All times are nanoseconds of the caller's clock.
    buckets: HashMap<Box<str>, u64>,
    /// When empty ones were last looked for.
    swept_at: Option<u64>,
}

/// Buckets in memory.
#[derive(Debug, Default)]
pub struct Memory {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

impl Memory {
    /// All buckets empty.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes from all of these buckets, or from none; see [`Shared::take`].
    ///
    /// # Errors
    /// [`TakeError::Full`].
    pub fn take_now(&self, takes: &[Take<'_>], now: Duration) -> Result<(), TakeError> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        match takes {
            [] => Ok(()),
            [take] => {
                let shard = &mut *self.shard(take.key).lock();
                let empty_at = fill(shard, take, now).map_err(|wait| full(0, wait))?;
                shard.set(take.key, empty_at);
                Ok(())
            }
            takes => self.take_all(takes, now),
        }
    }

    fn take_all(&self, takes: &[Take<'_>], now: u64) -> Result<(), TakeError> {
        let at: Vec<usize> = takes.iter().map(|take| self.index(take.key)).collect();
        // Always in the order of the shards, so that two calls never wait for each other.
        let mut locked: [Option<MutexGuard<'_, Shard>>; SHARDS] = std::array::from_fn(|shard| {
            at.contains(&shard)
                .then(|| self.shards.get(shard).map(Mutex::lock))
                .flatten()
        });
        let mut worst: Option<TakeError> = None;
        let mut filled = Vec::with_capacity(takes.len());
        for (index, (take, at)) in takes.iter().zip(&at).enumerate() {
            let Some(Some(shard)) = locked.get_mut(*at) else {
                continue;
            };
            match fill(shard, take, now) {
                Ok(empty_at) => filled.push(empty_at),
                Err(wait) => {
                    let told = full(index, wait);
                    worst = Some(match worst {
                        Some(worst) if wait_of(&worst) >= wait => worst,
                        _ => told,
                    });
                }
            }
        }
        if let Some(worst) = worst {
            return Err(worst);
        }
        for ((take, at), empty_at) in takes.iter().zip(&at).zip(filled) {
            if let Some(Some(shard)) = locked.get_mut(*at) {
                shard.set(take.key, empty_at);
            }
        }
        Ok(())
    }

    /// How many buckets it keeps, empty ones that were not looked for yet among them.
    pub(super) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().buckets.len())
            .sum()
    }

    fn index(&self, key: &str) -> usize {
        usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()
    }

    fn shard(&self, key: &str) -> &Mutex<Shard> {
        // The index is below their number.
        self.shards.get(self.index(key)).unwrap_or(&self.shards[0])
    }
}

/// When a bucket would be empty after this take, or how long the take has to wait.
fn fill(shard: &mut Shard, take: &Take<'_>, now: u64) -> Result<u64, Duration> {
    let empty_at = match shard.buckets.get(take.key) {
        Some(empty_at) => *empty_at,
        None => {
            shard.make_room(now)?;
            now
        }
    };
    sum(empty_at, take, now)
}

/// The sums, to the nanosecond those of `take.lua`. They saturate after some 584 years.
fn sum(empty_at: u64, take: &Take<'_>, now: u64) -> Result<u64, Duration> {
    if take.cost > take.max {
        return Err(Duration::MAX);
    }
    let units = |units: u32| take.interval.get().saturating_mul(u64::from(units));
    let next = empty_at.max(now).saturating_add(units(take.cost.get()));
    let latest = now.saturating_add(units(take.max.get()));
    if next <= latest {
        Ok(next)
    } else {
        Err(Duration::from_nanos(next - latest))
    }
}

impl Shard {
    /// Forgets empty buckets if there is no room for another.
    fn make_room(&mut self, now: u64) -> Result<(), Duration> {
        if self.buckets.len() < SHARD_MAX {
            return Ok(());
        }
        let wait = self.swept_at.map_or(Duration::ZERO, |swept_at| {
            CROWDED_WAIT.saturating_sub(Duration::from_nanos(now.saturating_sub(swept_at)))
        });
        if !wait.is_zero() {
            return Err(wait);
        }
        self.swept_at = Some(now);
        self.buckets.retain(|_, empty_at| *empty_at > now);
        if self.buckets.len() < SHARD_MAX {
            Ok(())
        } else {
            Err(CROWDED_WAIT)
        }
    }

    fn set(&mut self, key: &str, empty_at: u64) {
        match self.buckets.get_mut(key) {
            Some(old) => *old = empty_at,
            None => {
                self.buckets.insert(key.into(), empty_at);
            }
        }
    }
}

fn full(at: usize, wait: Duration) -> TakeError {
    TakeError::Full { at, wait }
}

fn wait_of(error: &TakeError) -> Duration {
    match error {
        TakeError::Full { wait, .. } => *wait,
        TakeError::Unavailable => Duration::ZERO,
    }
}

impl Shared for Memory {
    fn take<'a>(&'a self, takes: &'a [Take<'a>], now: Duration) -> Taking<'a> {
        Taking::Done(self.take_now(takes, now))
    }

    fn keep<'a>(&'a self, stop: &'a CancellationToken) -> Later<'a, ()> {
        Box::pin(stop.cancelled())
    }

    fn status(&self) -> Status {
        Status {
            kind: "memory",
            is_up: true,
            without: 0,
            keys: self.len(),
            last_error: None,
        }
    }
}

#[cfg(test)]
mod tests;
