//! Metrics as OTLP has them: one protobuf message for all numbers of a moment (OTLP 1.x; its data model for metrics).
//!
//! The names are those of the page for Prometheus, without the `_total` of counters, which a sum that only grows says by
//! itself, so that a collector which writes them for Prometheus arrives at the same series; OpenTelemetry's own durations
//! and attributes have the names of its conventions. The unit stays in a name: `portcullis_results_kept` counts results,
//! and `portcullis_results_kept_bytes` is their size. All sums are since the beginning ([`History`]).

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Gauge, Histogram, HistogramDataPoint, Metric as Sent,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use prost::Message as _;

use super::cell::number;
use super::sample::{Group, Sample, Value};
use super::table::{Kind, Metric, Row};
use crate::otlp;

/// Since when each series counts.
///
/// One that was not there at the last look counts since then: it is new, or it was taken away with its upstream and came
/// back. So does one that has fallen, because what it counts began anew.
#[derive(Debug)]
pub(super) struct History {
    /// When somebody looked last, in nanoseconds since 1970; before that, the beginning.
    looked: u64,
    series: BTreeMap<(Metric, Vec<String>), Series>,
}

/// What was seen of one series.
#[derive(Debug)]
struct Series {
    since: u64,
    count: f64,
}

/// What was seen of all of them at one moment.
#[derive(Debug)]
pub(super) struct Looked<'a> {
    now: u64,
    groups: &'a [Group],
    /// One for each sample of each group, in their order.
    since: Vec<u64>,
}

impl History {
    pub(super) fn new(began: u64) -> Self {
        Self {
            looked: began,
            series: BTreeMap::new(),
        }
    }

    /// Takes note of what there is at `now`.
    pub(super) fn look<'a>(&mut self, groups: &'a [Group], now: u64) -> Looked<'a> {
        // A clock that was put back: nothing has counted since a time that is still to come.
        self.looked = self.looked.min(now);
        let mut series = BTreeMap::new();
        let mut since = Vec::new();
        for group in groups {
            for sample in &group.samples {
                let key = (group.metric, sample.labels.clone());
                let count = match &sample.value {
                    Value::Number(number) => *number,
                    Value::Distribution(seen) => number(seen.count()),
                };
                let before = self.series.get(&key).filter(|one| one.count <= count);
                let began = before.map_or(self.looked, |one| one.since.min(now));
                since.push(began);
                series.insert(
                    key,
                    Series {
                        since: began,
                        count,
                    },
                );
            }
        }
        self.series = series;
        self.looked = now;
        Looked { now, groups, since }
    }
}

/// Whether the gate goes on after a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoesOn,
    /// What it was is over, and not down: gauges have no value any more. Prometheus would notice that by itself, when there
    /// is nothing left to scrape; here it has to be said, or alerts go by the last value until it is old.
    Ends,
}

/// The body of a request to the collector.
pub(super) fn request(
    looked: &Looked<'_>,
    then: Then,
    resource: &[(String, String)],
    version: &str,
) -> Vec<u8> {
    let mut since = looked.since.iter().copied();
    let all = looked.groups.iter().map(|group| {
        let samples = group.samples.iter().zip(since.by_ref());
        metric(group.metric, &samples.collect::<Vec<_>>(), looked.now, then)
    });
    // One that has not occurred yet is not sent: it would be a name without a number.
    let metrics = all.flatten().collect();
    let message = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(otlp::resource(resource, version)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(otlp::scope(version)),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    message.encode_to_vec()
}

/// How many numbers the collector did not take, and why.
pub(super) fn read(answer: &[u8]) -> Result<otlp::Said, prost::DecodeError> {
    let answer = ExportMetricsServiceResponse::decode(answer)?;
    let said = answer.partial_success.map(|partial| otlp::Said {
        rejected: partial.rejected_data_points,
        message: partial.error_message,
    });
    Ok(said.unwrap_or_default())
}

fn metric(metric: Metric, samples: &[(&Sample, u64)], now: u64, then: Then) -> Option<Sent> {
    if samples.is_empty() {
        return None;
    }
    let row = metric.row();
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = |is_sum: bool| {
        let all = samples.iter().filter_map(|(sample, since)| {
            let since = if is_sum { *since } else { 0 };
            number_point(row, sample, since, now)
        });
        all.collect()
    };
    let sum = |is_monotonic| {
        Data::Sum(Sum {
            data_points: numbers(true),
            aggregation_temporality: cumulative,
            is_monotonic,
        })
    };
    let data = match row.kind {
        Kind::Counter => sum(true),
        // A one for each, which is counted when labels are left out.
        Kind::Info => sum(false),
        Kind::Gauge => {
            let points: Vec<_> = numbers(false);
            let points = points.into_iter().map(|point| match then {
                Then::GoesOn => point,
                Then::Ends => without_value(point),
            });
            Data::Gauge(Gauge {
                data_points: points.collect(),
            })
        }
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: samples
                .iter()
                .filter_map(|(sample, since)| histogram_point(row, sample, *since, now))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Some(Sent {
        name: metric.instrument().to_owned(),
        description: row.help.to_owned(),
        unit: unit(metric).to_owned(),
        data: Some(data),
        ..Sent::default()
    })
}

fn number_point(row: &Row, sample: &Sample, since: u64, now: u64) -> Option<NumberDataPoint> {
    let Value::Number(value) = sample.value else {
        return None;
    };
    Some(NumberDataPoint {
        attributes: attributes(row, sample),
        start_time_unix_nano: since,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

/// Its series ends here.
fn without_value(point: NumberDataPoint) -> NumberDataPoint {
    NumberDataPoint {
        value: None,
        flags: DataPointFlags::NoRecordedValueMask as u32,
        ..point
    }
}

/// Buckets are counted each alone, and their ends belong to them: as in OTLP, so in ours.
fn histogram_point(row: &Row, sample: &Sample, since: u64, now: u64) -> Option<HistogramDataPoint> {
    let Value::Distribution(seen) = &sample.value else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(row, sample),
        start_time_unix_nano: since,
        time_unix_nano: now,
        count: seen.count(),
        sum: Some(seen.sum),
        bucket_counts: seen.counts.clone(),
        explicit_bounds: seen.bounds.clone(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(row: &Row, sample: &Sample) -> Vec<KeyValue> {
    let pairs = row.labels.iter().zip(&sample.labels);
    pairs
        .filter(|(_, value)| !value.is_empty())
        .map(|(label, value)| otlp::text(label.attribute.unwrap_or(label.name), value))
        .collect()
}

/// As UCUM writes it.
fn unit(metric: Metric) -> &'static str {
    match metric.unit() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some(_) | None => "",
    }
}

#[cfg(test)]
mod tests;
