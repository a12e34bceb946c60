//! Holds the rules against what is measured: which of them are broken, by what.
//!
//! Pure but for the counts that it remembers to tell what happened lately. For how long something has to be so is
//! [`super::book`]'s; gathering the numbers is whoever calls.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policy::Instant;

use super::rule::{Rule, RuleSettings, Threshold, size, span};
use super::window::Window;
use crate::health::{Dependency, State, Status};
use crate::metrics::{Group, Metric, Sample, Value};

/// What counts as a call.
const CALLS: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];
/// Error codes, as `error_type` of the metric, that are no client's doing: ours, an upstream's, and those that upstreams
/// make up.
const FAILURES: [&str; 4] = ["-32603", "-31002", "-31004", "_OTHER"];
/// With fewer calls in the window nothing is said about all of them.
const CALLS_MIN: u64 = 20;
/// Of a threshold: what is over it has to come down to this part of it to count as well again, so that an alert does not
/// come and go with every breath.
const EASE: f64 = 0.9;
/// The part of calls of which one is the slowest.
const SLOWEST: f64 = 0.99;
/// Dependencies that have a rule of their own.
const OTHERS: [Dependency; 3] = [
    Dependency::Upstream,
    Dependency::Certificate,
    Dependency::Audit,
];

/// What the rules are held against.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) groups: Vec<Group>,
    pub(super) dependencies: Vec<Status>,
    pub(super) now: Instant,
    pub(super) wall: SystemTime,
}

/// How something stands to its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It breaks it.
    Bad,
    /// It does not, but is not well either: what was so stays so.
    Near,
    /// It keeps it.
    Good,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    /// Which thing: labels and values, all from closed sets or the config.
    pub(super) subject: Vec<(&'static str, String)>,
    pub(super) verdict: Verdict,
    /// How it is, in words.
    pub(super) value: String,
}

/// Remembers counts.
#[derive(Debug)]
pub(super) struct Judge {
    calls: Window<Calls>,
    times: Window<Vec<u64>>,
    restarts: Window<Counts>,
    refused: Window<Counts>,
}

/// What was counted of each thing, by its name.
type Counts = BTreeMap<String, u64>;

/// Calls that ended, and those of them that failed.
#[derive(Debug, Clone, Copy, Default)]
struct Calls {
    all: u64,
    failed: u64,
}

impl Judge {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            calls: Window::new(now),
            times: Window::new(now),
            restarts: Window::new(now),
            refused: Window::new(now),
        }
    }

    /// What there is to say, of these rules.
    pub(super) fn look(
        &mut self,
        rules: &BTreeMap<Rule, RuleSettings>,
        seen: &Seen,
    ) -> Vec<Finding> {
        let mut found = Vec::new();
        for (rule, settings) in rules {
            let of = Of {
                rule: *rule,
                settings,
                seen,
            };
            match rule {
                Rule::Errors => found.extend(self.errors(&of)),
                Rule::Latency => found.extend(self.latency(&of)),
                Rule::Memory => found.extend(of.memory()),
                Rule::AuditDown => found.extend(of.audit_down()),
                Rule::AuditLag => found.extend(of.audit_lag()),
                Rule::CheckpointStale => found.extend(of.checkpoint_stale()),
                Rule::SinkBehind => found.extend(of.each(Metric::SinkLag, "sink", records)),
                Rule::SinkRefused => {
                    let lately = &mut self.refused;
                    found.extend(of.grown(lately, Metric::SinkRefused, "sink", refused));
                }
                Rule::PinWithheld => {
                    found.extend(of.each(Metric::PinsWithheld, "upstream", definitions));
                }
                Rule::UpstreamDown => found.extend(of.upstreams_down()),
                Rule::CertificateExpiring | Rule::CertificateEnding => {
                    found.extend(of.certificates());
                }
                Rule::Disk => found.extend(of.disk()),
                Rule::DependencyDown => found.extend(of.dependencies_down()),
                Rule::TaskRestarting => {
                    let lately = &mut self.restarts;
                    found.extend(of.grown(lately, Metric::TaskRestarts, "task", restarts));
                }
            }
        }
        found
    }

    fn errors(&mut self, of: &Of<'_>) -> Option<Finding> {
        let mut calls = Calls::default();
        for sample in of.samples(Metric::ServerOperationDuration) {
            let (Some(method), Some(error)) = (sample.labels.first(), sample.labels.get(1)) else {
                continue;
            };
            if let Value::Distribution(seen) = &sample.value
                && CALLS.contains(&method.as_str())
            {
                calls.all += seen.count();
                if FAILURES.contains(&error.as_str()) {
                    calls.failed += seen.count();
                }
            }
        }
        let base = self.calls.base(of.window(), of.seen.now, &calls);
        let all = calls.all.saturating_sub(base.all);
        let failed = calls.failed.saturating_sub(base.failed);
        let share = if all == 0 {
            0.0
        } else {
            number(failed) / number(all)
        };
        let verdict = if all < CALLS_MIN {
            Verdict::Good
        } else {
            of.over(share)
        };
        let value = format!("{failed} of {all} calls failed");
        Some(of.finding(Vec::new(), verdict, value))
    }

    fn latency(&mut self, of: &Of<'_>) -> Option<Finding> {
        let (mut bounds, mut counts) = (Vec::new(), Vec::<u64>::new());
        for sample in of.samples(Metric::RequestDuration) {
            if let Value::Distribution(seen) = &sample.value
                && sample
                    .labels
                    .first()
                    .is_some_and(|method| CALLS.contains(&method.as_str()))
            {
                bounds.clone_from(&seen.bounds);
                counts.resize(seen.counts.len(), 0);
                for (count, more) in counts.iter_mut().zip(&seen.counts) {
                    *count += more;
                }
            }
        }
        let mut base = self.times.base(of.window(), of.seen.now, &counts);
        base.resize(counts.len(), 0);
        let lately = counts
            .iter()
            .zip(&base)
            .map(|(now, before)| now.saturating_sub(*before));
        let lately: Vec<u64> = lately.collect();
        let slowest = quantile(&bounds, &lately);
        let verdict = if lately.iter().sum::<u64>() < CALLS_MIN {
            Verdict::Good
        } else {
            of.over(slowest)
        };
        let value = format!("one in a hundred takes {slowest:.1} s or more");
        Some(of.finding(Vec::new(), verdict, value))
    }
}

/// One rule, and what it is held against.
struct Of<'a> {
    rule: Rule,
    settings: &'a RuleSettings,
    seen: &'a Seen,
}

impl Of<'_> {
    fn finding(
        &self,
        subject: Vec<(&'static str, String)>,
        verdict: Verdict,
        value: String,
    ) -> Finding {
        Finding {
            rule: self.rule,
            subject,
            verdict,
            value,
        }
    }

    fn samples(&self, metric: Metric) -> impl Iterator<Item = &Sample> {
        let groups = self.seen.groups.iter();
        groups
            .filter(move |group| group.metric == metric)
            .flat_map(|group| &group.samples)
    }

    /// Of a metric without labels.
    fn value(&self, metric: Metric) -> Option<f64> {
        self.samples(metric).find_map(plain)
    }

    fn window(&self) -> Duration {
        self.settings.window.unwrap_or_default()
    }

    fn threshold(&self) -> f64 {
        match self.settings.threshold {
            Threshold::Share(share) => share,
            Threshold::Time(time) => time.as_secs_f64(),
            Threshold::Size(bytes) => number(bytes),
            Threshold::Count(count) => f64::from(count),
            Threshold::None => 0.0,
        }
    }

    /// More than the threshold is bad.
    fn over(&self, value: f64) -> Verdict {
        let threshold = self.threshold();
        match value {
            value if value > threshold => Verdict::Bad,
            value if value > threshold * EASE => Verdict::Near,
            _ => Verdict::Good,
        }
    }

    /// Less than the threshold is bad.
    fn under(&self, value: f64) -> Verdict {
        let threshold = self.threshold();
        match value {
            value if value < threshold => Verdict::Bad,
            value if value < threshold / EASE => Verdict::Near,
            _ => Verdict::Good,
        }
    }

    /// As many as the threshold are too many.
    fn from(&self, value: f64) -> Verdict {
        yes(value >= self.threshold())
    }

    fn memory(&self) -> Option<Finding> {
        let bytes = self.value(Metric::ProcessResident)?;
        let value = format!("{} in use", size(whole(bytes)));
        Some(self.finding(Vec::new(), self.over(bytes), value))
    }

    fn audit_down(&self) -> Option<Finding> {
        let is_down = self.value(Metric::AuditWritable)? == 0.0;
        let value = if is_down {
            "it takes no records"
        } else {
            "it takes records"
        };
        Some(self.finding(Vec::new(), yes(is_down), value.to_owned()))
    }

    fn audit_lag(&self) -> Option<Finding> {
        let lag = self.value(Metric::AuditLag)?;
        let value = format!("the oldest record waits for {lag:.1} s");
        Some(self.finding(Vec::new(), self.over(lag), value))
    }

    fn checkpoint_stale(&self) -> Option<Finding> {
        let (unsigned, signed_at) = (
            self.value(Metric::AuditUnsigned)?,
            self.value(Metric::AuditCheckpoint)?,
        );
        let age = self.wall() - signed_at;
        let verdict = if unsigned > 0.0 {
            self.over(age)
        } else {
            Verdict::Good
        };
        let value = format!("{unsigned} records are not signed for");
        Some(self.finding(Vec::new(), verdict, value))
    }

    /// For each sample of a metric with one label: bad if it is over the threshold.
    fn each(
        &self,
        metric: Metric,
        label: &'static str,
        value: impl Fn(f64) -> String,
    ) -> Vec<Finding> {
        let each = self.samples(metric).filter_map(|sample| {
            let (name, number) = (sample.labels.first()?.clone(), plain(sample)?);
            Some(self.finding(vec![(label, name)], self.over(number), value(number)))
        });
        each.collect()
    }

    /// For each sample of a counter with one label: bad if it grew by the threshold lately.
    fn grown(
        &self,
        lately: &mut Window<Counts>,
        metric: Metric,
        label: &'static str,
        value: impl Fn(u64) -> String,
    ) -> Vec<Finding> {
        let all = self.samples(metric);
        let all = all.filter_map(|sample| Some((sample.labels.first()?.clone(), count(sample)?)));
        let all: Counts = all.collect();
        let base = lately.base(self.window(), self.seen.now, &all);
        let each = all.into_iter().map(|(name, count)| {
            let base = base.get(&name).copied().unwrap_or_default();
            // What counts less than before began anew, at nothing.
            let grown = count.checked_sub(base).unwrap_or(count);
            let verdict = self.from(number(grown));
            self.finding(vec![(label, name)], verdict, value(grown))
        });
        each.collect()
    }

    fn upstreams_down(&self) -> Vec<Finding> {
        let each = self.samples(Metric::UpstreamUp).filter_map(|sample| {
            let (name, is_down) = (sample.labels.first()?.clone(), plain(sample)? == 0.0);
            let value = if is_down {
                "not connected"
            } else {
                "connected"
            };
            Some(self.finding(vec![("upstream", name)], yes(is_down), value.to_owned()))
        });
        each.collect()
    }

    fn certificates(&self) -> Vec<Finding> {
        let each = self
            .samples(Metric::CertificateExpiry)
            .filter_map(|sample| {
                let (name, ends_at) = (sample.labels.first()?.clone(), plain(sample)?);
                let left = ends_at - self.wall();
                let value = if left <= 0.0 {
                    "it has ended".to_owned()
                } else {
                    format!("it ends in {}", coarse(left))
                };
                // No way between: a certificate is replaced by another, or it is not.
                let verdict = yes(left < self.threshold());
                Some(self.finding(vec![("certificate", name)], verdict, value))
            });
        each.collect()
    }

    fn disk(&self) -> Option<Finding> {
        let (free, all) = (
            self.value(Metric::DataDirFree)?,
            self.value(Metric::DataDirSize)?,
        );
        if all <= 0.0 {
            return None;
        }
        let value = format!("{} of {} left", size(whole(free)), size(whole(all)));
        Some(self.finding(Vec::new(), self.under(free / all), value))
    }

    fn dependencies_down(&self) -> Vec<Finding> {
        let all = self.seen.dependencies.iter();
        let all = all.filter(|one| !OTHERS.iter().any(|other| other.word() == one.name));
        let each = all.map(|one| {
            let mut subject = vec![("dependency", one.name.to_owned())];
            subject.extend(one.of.clone().map(|of| ("of", of)));
            // Why it is down names hosts and paths: `/health` tells that, to owners.
            self.finding(
                subject,
                yes(one.state == State::Down),
                one.state.word().to_owned(),
            )
        });
        each.collect()
    }

    fn wall(&self) -> f64 {
        let since = self.seen.wall.duration_since(UNIX_EPOCH);
        since.unwrap_or_default().as_secs_f64()
    }
}

fn yes(is_bad: bool) -> Verdict {
    if is_bad { Verdict::Bad } else { Verdict::Good }
}

fn records(number: f64) -> String {
    format!("{number} records behind")
}

fn refused(number: u64) -> String {
    format!("{number} records refused")
}

fn restarts(number: u64) -> String {
    format!("begun anew {number} times")
}

fn definitions(number: f64) -> String {
    format!("{number} withheld")
}

fn plain(sample: &Sample) -> Option<f64> {
    match &sample.value {
        Value::Number(number) => Some(*number),
        Value::Distribution(_) => None,
    }
}

fn count(sample: &Sample) -> Option<u64> {
    plain(sample).map(whole)
}

/// Days, where there are any; the rest is hours.
fn coarse(seconds: f64) -> String {
    let hours = whole(seconds) / 3600;
    span(Duration::from_hours(if hours >= 48 {
        hours / 24 * 24
    } else {
        hours
    }))
}

/// Above which one in a hundred lies, within its bucket by its place there, as Prometheus has it. What lies above all
/// bounds counts as at the last.
fn quantile(bounds: &[f64], counts: &[u64]) -> f64 {
    let rank = number(counts.iter().sum()) * SLOWEST;
    let (mut below, mut from) = (0, 0.0);
    for (count, bound) in counts.iter().zip(bounds) {
        if *count > 0 && number(below + count) >= rank {
            let within = (rank - number(below)) / number(*count);
            return from + (bound - from) * within;
        }
        (below, from) = (below + count, *bound);
    }
    from
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and sizes that come nowhere near 2^53"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is only told"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
