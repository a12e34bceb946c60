//! How many calls an upstream bears at once, found out by trying.
//!
//! Additive increase, multiplicative decrease, as TCP does it: one call more for each round in which all places were
//! used and all went well, a third less when the upstream says or shows that it is overloaded. Not by latency: one
//! upstream's tools take a millisecond or a minute, so that a change of what is asked for would look like load.

use std::num::NonZeroU32;

use crate::Instant;

/// A place is counted in thousandths, so that a round's increase can be shared out over its calls.
const WHOLE: u64 = 1_000;

/// Between what the number of places moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Never fewer.
    pub min: NonZeroU32,
    /// Never more; where it begins.
    pub max: NonZeroU32,
}

/// The places of one upstream.
#[derive(Debug, Clone)]
pub struct Adaptive {
    bounds: Bounds,
    /// In thousandths.
    places: u64,
    cut_at: Option<Instant>,
}

impl Adaptive {
    /// As many places as there may be.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            places: whole(bounds.max),
            cut_at: None,
        }
    }

    /// Takes over other bounds; what was found out holds, as far as they let it.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        if self.bounds != bounds {
            self.bounds = bounds;
            self.clamp();
        }
    }

    /// How many calls at once, now.
    #[must_use]
    pub fn places(&self) -> u32 {
        u32::try_from(self.places / WHOLE).unwrap_or(u32::MAX)
    }

    /// A call came back well; `in_flight` counts it. Idle places prove nothing.
    pub fn went_well(&mut self, in_flight: u32) {
        if in_flight >= self.places() {
            self.places += WHOLE * WHOLE / self.places.max(1);
            self.clamp();
        }
    }

    /// A call that began at `began` met an overloaded upstream. Calls that were on their way when the number was cut
    /// say nothing new: many failures at once are one sign.
    pub fn was_overloaded(&mut self, began: Instant, now: Instant) {
        if self.cut_at.is_none_or(|cut_at| began > cut_at) {
            self.cut_at = Some(now);
            self.places = self.places * 2 / 3;
            self.clamp();
        }
    }

    fn clamp(&mut self) {
        let max = whole(self.bounds.max);
        self.places = self.places.clamp(whole(self.bounds.min).min(max), max);
    }
}

fn whole(places: NonZeroU32) -> u64 {
    u64::from(places.get()) * WHOLE
}

#[cfg(test)]
mod tests;
