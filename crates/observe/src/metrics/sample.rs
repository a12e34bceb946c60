//! All numbers at one moment: what both text formats and an OTLP push are made of.

use std::collections::BTreeMap;

use super::cell::{Distribution, Histogram};
use super::table::Metric;

/// A metric with all its samples of one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Which.
    pub metric: Metric,
    /// One for each set of labels that has occurred.
    pub samples: Vec<Sample>,
}

/// One series at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The values of [`Row::labels`](super::Row::labels), in their order; empty where one says nothing.
    pub labels: Vec<String>,
    /// How much.
    pub value: Value,
}

/// How much.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a counter, a gauge or an info.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

/// Numbers that are being gathered.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<Metric, Vec<Sample>>);

impl Samples {
    /// A number, with the values of its metric's labels in their order. They come from a closed set: see
    /// [`Label::of`](super::Label::of).
    pub fn set(&mut self, metric: Metric, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), metric.row().labels.len(), "{metric:?}");
        self.push(metric, labels, Value::Number(value));
    }

    /// The same of something that is counted.
    pub fn count(&mut self, metric: Metric, labels: &[&str], count: usize) {
        self.set(metric, labels, super::cell::number(count as u64));
    }

    /// The same of something that is or is not.
    pub fn flag(&mut self, metric: Metric, labels: &[&str], is: bool) {
        self.set(metric, labels, if is { 1.0 } else { 0.0 });
    }

    pub(super) fn distribution(&mut self, metric: Metric, labels: &[&str], seen: &Histogram) {
        self.push(metric, labels, Value::Distribution(seen.get()));
    }

    fn push(&mut self, metric: Metric, labels: &[&str], value: Value) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.0
            .entry(metric)
            .or_default()
            .push(Sample { labels, value });
    }

    /// In the order of the table, with those that have no sample.
    pub(super) fn groups(mut self) -> Vec<Group> {
        let all = Metric::ALL.iter().map(|metric| Group {
            metric: *metric,
            samples: self.0.remove(metric).unwrap_or_default(),
        });
        all.collect()
    }
}
