//! Figures are what they say they are.

use std::time::Duration;

use super::{Cell, Report, Series, median, percentile};
use crate::load::{Era, Sample};
use crate::run::Way;

#[test]
fn a_percentile_is_a_latency_that_was_seen() {
    let seen: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
    assert_eq!(
        (
            percentile(&seen, 50),
            percentile(&seen, 99),
            percentile(&[], 50)
        ),
        (50.0, 99.0, 0.0)
    );
    assert_eq!(percentile(&seen[..1], 99), 100.0);
}

#[test]
fn one_noisy_round_does_not_move_the_ratio() {
    let mut report = Report::default();
    for (way, calls) in [
        (Way::Proxy, 100),
        (Way::Gate, 60),
        (Way::Proxy, 2),
        (Way::Gate, 60),
        (Way::Proxy, 100),
        (Way::Gate, 60),
    ] {
        let sample = Sample {
            calls,
            elapsed: Duration::from_secs(1),
            latencies: Vec::new(),
        };
        report.add(
            Series {
                way,
                sessions: 64,
                era: Era::Legacy,
            },
            Cell {
                sample,
                cpu: Duration::ZERO,
            },
        );
    }
    assert_eq!(report.figures()["rows"][1]["against_proxy"], 0.6);
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
}
