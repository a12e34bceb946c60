//! What counts: counters, gauges, histograms and families of them, each a few atomics.
//!
//! Our own and not a library's for three reasons. Two things are made of the same numbers, a page for Prometheus and a
//! push over OTLP, so they must be readable; a call touches a dozen of them, so none may lock or hash; and what is listed
//! in the reference must be the whole of what is exported. Names and labels are `table`'s, the text is `text`'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

/// The upper ends of a histogram's buckets, and what they are counted in.
#[derive(Debug)]
pub(crate) struct Scale {
    /// In whole units, ascending.
    bounds: &'static [u64],
    /// How many units make one of what is exported.
    units: f64,
}

/// Durations, counted in nanoseconds and exported in seconds.
///
/// From 50 µs, which no call of ours is under, to the minute that an upstream may take by default. At most 2.5 times from
/// one end to the next, so that a p99.9 that Prometheus guesses within a bucket is off by less than that, wherever it
/// lies; and 19 of them, since each is a series per set of labels.
pub(crate) static SECONDS: Scale = Scale {
    bounds: &[
        50_000,
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
        10_000_000_000,
        30_000_000_000,
        60_000_000_000,
    ],
    units: 1e9,
};

/// Sessions and connections, which last longer than what is done in them: from a second to a day.
pub(crate) static LIVES: Scale = Scale {
    bounds: &[
        1_000_000_000,
        10_000_000_000,
        60_000_000_000,
        300_000_000_000,
        1_800_000_000_000,
        3_600_000_000_000,
        14_400_000_000_000,
        86_400_000_000_000,
    ],
    units: 1e9,
};

/// Things that are done together: powers of two, up to the largest batch of the store.
pub(crate) static COUNTS: Scale = Scale {
    bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
    units: 1.0,
};

/// Only grows. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Goes up and down. Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

impl Gauge {
    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often what was seen lay within which bounds.
#[derive(Debug)]
pub(crate) struct Histogram {
    scale: &'static Scale,
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// The upper ends of all buckets but the last, ascending.
    pub bounds: Vec<f64>,
    /// How much lay in each bucket alone: one more than there are bounds.
    pub counts: Vec<u64>,
    /// All that was seen, added up.
    pub sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new(&SECONDS)
    }
}

impl Histogram {
    pub(crate) fn new(scale: &'static Scale) -> Self {
        let counts = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0));
        Self {
            scale,
            counts: counts.collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Something took so long. Not for histograms of counts.
    pub(crate) fn took(&self, time: Duration) {
        self.saw(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// So many units.
    pub(crate) fn saw(&self, units: u64) {
        let bucket = self.scale.bounds.partition_point(|bound| *bound < units);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// What it is now. Whoever counts meanwhile is in it or is not: count and buckets agree in any case.
    pub(crate) fn get(&self) -> Distribution {
        let counts = self.counts.iter();
        let scale = self.scale;
        Distribution {
            bounds: scale
                .bounds
                .iter()
                .map(|bound| number(*bound) / scale.units)
                .collect(),
            counts: counts.map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: number(self.sum.load(Ordering::Relaxed)) / scale.units,
        }
    }
}

impl Distribution {
    /// How much was seen in all.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// One for each set of labels. `K` is ordered, so that the page is the same each time.
#[derive(Debug)]
pub(crate) struct Family<K, M>(RwLock<BTreeMap<K, M>>);

impl<K, M> Default for Family<K, M> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Ord + Clone, M> Family<K, M> {
    /// Has the one of these labels count; makes it, if it is the first time.
    pub(crate) fn at(&self, key: &K, new: impl FnOnce() -> M, count: impl FnOnce(&M)) {
        if let Some(found) = self.0.read().get(key) {
            return count(found);
        }
        count(self.0.write().entry(key.clone()).or_insert_with(new));
    }

    /// Forgets those whose labels are gone.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        self.0.write().retain(|key, _| keep(key));
    }

    /// Looks at each.
    pub(crate) fn each(&self, mut look: impl FnMut(&K, &M)) {
        for (key, one) in &*self.0.read() {
            look(key, one);
        }
    }
}

/// A count as it is exported: exact up to 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is exported is a double, and nothing here comes near 2^53"
)]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}
