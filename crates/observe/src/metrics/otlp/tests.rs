//! That a push says what the page says, under the names of its own, and since when.

use std::collections::BTreeSet;

use super::*;
use crate::metrics::Distribution;

fn group(metric: Metric, samples: &[(&[&str], f64)]) -> Group {
    let samples = samples.iter().map(|(labels, value)| Sample {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        value: Value::Number(*value),
    });
    Group {
        metric,
        samples: samples.collect(),
    }
}

/// What the collector gets.
fn sent(looked: &Looked<'_>) -> Vec<Sent> {
    sent_and(looked, Then::GoesOn)
}

fn sent_and(looked: &Looked<'_>, then: Then) -> Vec<Sent> {
    let body = request(looked, then, &[], "1.2.3");
    let mut message = ExportMetricsServiceRequest::decode(body.as_slice()).unwrap();
    assert_eq!(message.resource_metrics.len(), 1);
    let mut of = message.resource_metrics.remove(0);
    assert_eq!(of.scope_metrics.len(), 1);
    of.scope_metrics.remove(0).metrics
}

fn one(groups: &[Group]) -> Sent {
    let mut sent = sent(&History::new(5).look(groups, 9));
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0)
}

fn names(attributes: &[KeyValue]) -> Vec<&str> {
    attributes.iter().map(|pair| pair.key.as_str()).collect()
}

#[test]
fn a_counter_is_a_sum_that_only_grows_under_its_name_without_total() {
    let sent = one(&[group(Metric::Decisions, &[(&["allow"], 7.0)])]);
    assert_eq!(sent.name, "portcullis_decisions");
    assert_eq!(sent.unit, "");
    assert_eq!(sent.description, Metric::Decisions.row().help);
    let Some(Data::Sum(sum)) = sent.data else {
        panic!("{sent:?}")
    };
    assert!(sum.is_monotonic);
    assert_eq!(
        sum.aggregation_temporality(),
        AggregationTemporality::Cumulative
    );
    let [point] = sum.data_points.as_slice() else {
        panic!("{sum:?}")
    };
    assert_eq!(point.value, Some(number_data_point::Value::AsDouble(7.0)));
    assert_eq!(point.attributes, [otlp::text("decision", "allow")]);
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
}

#[test]
fn a_gauge_and_an_info_are_what_opentelemetry_makes_of_them() {
    let gauge = one(&[group(Metric::ResultsBytes, &[(&[], 4.0)])]);
    assert_eq!(gauge.name, "portcullis_results_kept_bytes");
    assert_eq!(gauge.unit, "By");
    let Some(Data::Gauge(data)) = gauge.data else {
        panic!("{gauge:?}")
    };
    assert_eq!(data.data_points[0].time_unix_nano, 9);
    assert_eq!(data.data_points[0].start_time_unix_nano, 0);

    let info = one(&[group(Metric::Build, &[(&["1.2.3"], 1.0)])]);
    assert_eq!(info.name, "portcullis_build_info");
    assert!(matches!(info.data, Some(Data::Sum(sum)) if !sum.is_monotonic));
}

#[test]
fn a_histogram_has_each_bucket_alone_and_the_names_of_the_conventions() {
    let labels = [
        "tools/call",
        "",
        "execute_tool",
        "2026-07-28",
        "http",
        "tcp",
    ];
    let sent = one(&[Group {
        metric: Metric::ServerOperationDuration,
        samples: vec![Sample {
            labels: labels.map(str::to_owned).to_vec(),
            value: Value::Distribution(Distribution {
                bounds: vec![0.5, 1.0],
                counts: vec![2, 0, 3],
                sum: 12.5,
            }),
        }],
    }]);
    assert_eq!(sent.name, "mcp.server.operation.duration");
    assert_eq!(sent.unit, "s");
    let Some(Data::Histogram(histogram)) = sent.data else {
        panic!("{sent:?}")
    };
    let cumulative = AggregationTemporality::Cumulative;
    assert_eq!(histogram.aggregation_temporality(), cumulative);
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum), (5, Some(12.5)));
    assert_eq!(point.bucket_counts, [2, 0, 3]);
    assert_eq!(point.explicit_bounds, [0.5, 1.0]);
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
    // Success has no error.
    assert_eq!(
        names(&point.attributes),
        [
            "mcp.method.name",
            "gen_ai.operation.name",
            "mcp.protocol.version",
            "network.protocol.name",
            "network.transport"
        ]
    );
}

#[test]
fn at_the_end_a_gauge_has_no_value_and_a_sum_has_its_last() {
    let groups = [
        group(Metric::Ready, &[(&[], 0.0)]),
        group(Metric::Decisions, &[(&["allow"], 7.0)]),
    ];
    let sent = sent_and(&History::new(5).look(&groups, 9), Then::Ends);
    let point = |at: usize| match sent[at].data.as_ref().unwrap() {
        Data::Gauge(gauge) => gauge.data_points[0].clone(),
        Data::Sum(sum) => sum.data_points[0].clone(),
        other => panic!("{other:?}"),
    };
    let mask = DataPointFlags::NoRecordedValueMask as u32;
    assert_eq!((point(0).value, point(0).flags), (None, mask));
    let seven = number_data_point::Value::AsDouble(7.0);
    assert_eq!((point(1).value, point(1).flags), (Some(seven), 0));
}

#[test]
fn no_two_metrics_have_one_name() {
    let names: BTreeSet<_> = Metric::ALL.iter().map(|one| one.instrument()).collect();
    assert_eq!(names.len(), Metric::ALL.len());
}

#[test]
fn a_metric_that_has_not_occurred_is_not_sent() {
    let groups = [
        group(Metric::SinkErrors, &[]),
        group(Metric::Decisions, &[(&["deny"], 1.0)]),
    ];
    assert_eq!(one(&groups).name, "portcullis_decisions");
}

/// Since when the counter of each upstream counts.
fn since(history: &mut History, now: u64, samples: &[(&[&str], f64)]) -> Vec<u64> {
    let groups = [group(Metric::UpstreamRestarts, samples)];
    history.look(&groups, now).since
}

#[test]
fn a_series_counts_since_the_beginning_until_it_begins_anew() {
    let mut history = History::new(100);
    let (a, b): (&[&str], &[&str]) = (&["a"], &["b"]);
    assert_eq!(since(&mut history, 200, &[(a, 3.0)]), [100]);
    assert_eq!(since(&mut history, 300, &[(a, 3.0), (b, 1.0)]), [100, 200]);
    // Fewer than before: the upstream was made anew.
    assert_eq!(since(&mut history, 400, &[(a, 1.0), (b, 1.0)]), [300, 200]);
    assert_eq!(since(&mut history, 500, &[(a, 2.0)]), [300]);
    // It was gone, and is back.
    assert_eq!(since(&mut history, 600, &[(a, 2.0), (b, 1.0)]), [300, 500]);
}

#[test]
fn nothing_counts_since_a_time_that_is_still_to_come() {
    let mut history = History::new(1000);
    let a: &[&str] = &["a"];
    assert_eq!(since(&mut history, 2000, &[(a, 1.0)]), [1000]);
    // The clock is put back, and goes on from there.
    assert_eq!(since(&mut history, 50, &[(a, 2.0)]), [50]);
    assert_eq!(since(&mut history, 60, &[(a, 3.0)]), [50]);
}

#[test]
fn what_a_collector_did_not_take_is_read_from_its_answer() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsPartialSuccess;
    let answer = |rejected_data_points| {
        let partial_success = Some(ExportMetricsPartialSuccess {
            rejected_data_points,
            error_message: "too old".to_owned(),
        });
        read(&ExportMetricsServiceResponse { partial_success }.encode_to_vec())
    };
    let said = answer(3).unwrap();
    assert_eq!((said.rejected, &*said.message), (3, "too old"));
    assert_eq!(read(b"").unwrap(), otlp::Said::default());
    read(b"no protobuf").unwrap_err();
}
