//! Ids of traces and spans: random to whoever sees them, and cheap. They are names, not secrets.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use wire::trace::{SpanId, TraceId};

/// The golden ratio, in 64 bits: its multiples are spread evenly (Steele, Lea, Flood 2014, "Fast splittable
/// pseudorandom number generators").
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// So many numbers a thread takes at a time.
const TAKEN: u64 = 1 << 20;

/// A number that no other id of this process is made from. A thread has its own for a while: nobody waits for another's
/// count.
fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static OWN: Cell<u64> = const { Cell::new(0) };
    }
    OWN.with(|own| {
        let number = match own.get() {
            used if used.is_multiple_of(TAKEN) => NEXT.fetch_add(TAKEN, Ordering::Relaxed),
            next => next,
        };
        own.set(number + 1);
        number
    })
}

/// Counts up from where the system's randomness put it.
#[derive(Debug)]
pub(super) struct Ids {
    seeds: [u64; 3],
}

impl Ids {
    pub(super) fn new() -> Self {
        // Keyed by the system's randomness, anew for each.
        let seed = |n: u64| RandomState::new().hash_one(n);
        Self {
            seeds: [seed(0), seed(1), seed(2)],
        }
    }

    /// Of a trace and of the first span in it.
    pub(super) fn trace(&self) -> (TraceId, SpanId) {
        loop {
            let [high, low, span] = self.next();
            let id = u128::from(high) << 64 | u128::from(low);
            let (trace, span) = (
                TraceId::new(id.to_be_bytes()),
                SpanId::new(span.to_be_bytes()),
            );
            if let Some(ids) = trace.zip(span) {
                return ids;
            }
        }
    }

    pub(super) fn span(&self) -> SpanId {
        loop {
            let [.., id] = self.next();
            if let Some(id) = SpanId::new(id.to_be_bytes()) {
                return id;
            }
        }
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&self, bound: u64) -> u64 {
        let [number, ..] = self.next();
        number % bound
    }

    fn next(&self) -> [u64; 3] {
        let at = number().wrapping_mul(STEP);
        self.seeds.map(|seed| mix(seed.wrapping_add(at)))
    }
}

/// One number to one other, without a pattern (the same; its variant of 64 bits).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
