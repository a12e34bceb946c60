//! Counting calls: rate limits per principal, and how many may be in flight at once.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Instant, Limit, PrincipalId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::method::LimitKey;

use crate::Rejection;

const SHARDS: usize = 16;
/// Principals counted in one shard; over it, those who used nothing lately are forgotten.
const SHARD_MAX: usize = 4_096;

/// Counters that outlive a reload: a new config does not hand out a fresh allowance.
#[derive(Debug)]
pub(crate) struct Counters {
    hasher: RandomState,
    shards: [Mutex<HashMap<(PrincipalId, LimitKey), Instant>>; SHARDS],
    in_flight: Arc<Semaphore>,
    in_flight_max: Mutex<usize>,
}

/// A place among the calls in flight; handed back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Counters {
    pub(crate) fn new(in_flight_max: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            in_flight: Arc::new(Semaphore::new(in_flight_max)),
            in_flight_max: Mutex::new(in_flight_max),
        }
    }

    /// Takes over a new bound on calls in flight.
    pub(crate) fn resize(&self, in_flight_max: usize) {
        let mut current = self.in_flight_max.lock();
        if in_flight_max > *current {
            self.in_flight.add_permits(in_flight_max - *current);
        } else {
            // Places that are taken now shrink the next time the bound is set.
            let gone = self.in_flight.forget_permits(*current - in_flight_max);
            *current -= gone;
            return;
        }
        *current = in_flight_max;
    }

    /// A place for one more call.
    pub(crate) fn enter(&self) -> Result<Permit, Rejection> {
        let place = Arc::clone(&self.in_flight)
            .try_acquire_owned()
            .map_err(|_full| Rejection::Busy)?;
        Ok(Permit { _place: place })
    }

    /// Counts one call against a limit.
    pub(crate) fn take(
        &self,
        principal: &PrincipalId,
        key: LimitKey,
        limit: &Limit,
        now: Instant,
    ) -> Result<(), Rejection> {
        let shard = usize::try_from(self.hasher.hash_one(principal) % SHARDS as u64).ok();
        let Some(shard) = shard.and_then(|at| self.shards.get(at)) else {
            return Err(Rejection::Busy);
        };
        let mut counters = shard.lock();
        if counters.len() >= SHARD_MAX {
            // An arrival time in the past is the same as none.
            counters.retain(|_, arrival| *arrival > now);
            if counters.len() >= SHARD_MAX {
                return Err(Rejection::TooMany {
                    limit: key,
                    retry_after: Duration::from_secs(1),
                });
            }
        }
        let slot = (principal.clone(), key);
        match limit.take(counters.get(&slot).copied(), now, NonZeroU32::MIN) {
            Ok(arrival) => {
                counters.insert(slot, arrival);
                Ok(())
            }
            Err(retry_after) => Err(Rejection::TooMany {
                limit: key,
                retry_after,
            }),
        }
    }
}
