//! Metrics as text: OpenMetrics 1.0, and Prometheus' own text format 0.0.4 for those who do not ask for it.

use std::fmt::Write as _;

use super::cell::{Distribution, number};
use super::sample::{Group, Value};
use super::table::Kind;

/// Why `write!` to a String is not looked at.
const IN_STRING: &str = "writing to a String cannot fail";

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// The one that a client wants, by its `Accept` header (RFC 9110 section 12.5.1): OpenMetrics if it says so, and does
    /// not like plain text better.
    #[must_use]
    pub fn wanted(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let range = accept.split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next()?.eq_ignore_ascii_case(wanted);
                let q = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
                is_it.then_some(q.unwrap_or(1.0))
            });
            range.fold(0.0, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes them all. A family without a sample is there with its name and help.
pub(super) fn encode(groups: &[Group], format: Format) -> String {
    let mut text = String::new();
    for group in groups {
        let row = group.metric.row();
        let is_open = format == Format::OpenMetrics;
        let (family, kind) = match (is_open, row.kind) {
            (true, kind) => (group.metric.family(), kind.word()),
            // That format knows no infos.
            (false, Kind::Info) => (row.name, Kind::Gauge.word()),
            (false, kind) => (row.name, kind.word()),
        };
        let help = row.help.replace('\\', "\\\\").replace('\n', "\\n");
        writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}").expect(IN_STRING);
        if let Some(unit) = group.metric.unit().filter(|_| is_open) {
            writeln!(text, "# UNIT {family} {unit}").expect(IN_STRING);
        }
        for sample in &group.samples {
            let names = row.labels.iter().map(|label| label.name);
            let labels = labels(names.zip(sample.labels.iter().map(String::as_str)));
            match &sample.value {
                Value::Number(value) => line(&mut text, row.name, "", &labels, *value),
                Value::Distribution(seen) => histogram(&mut text, row.name, &labels, seen),
            }
        }
    }
    if format == Format::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn histogram(text: &mut String, name: &str, labels: &str, seen: &Distribution) {
    let mut below = 0;
    let ends = seen.bounds.iter().map(|bound| canonical(*bound));
    let ends = ends.chain(std::iter::once("+Inf".to_owned()));
    for (end, count) in ends.zip(&seen.counts) {
        below += count;
        let comma = if labels.is_empty() { "" } else { "," };
        let labels = format!("{labels}{comma}le=\"{end}\"");
        line(text, name, "_bucket", &labels, number(below));
    }
    line(text, name, "_count", labels, number(seen.count()));
    line(text, name, "_sum", labels, seen.sum);
}

fn line(text: &mut String, name: &str, end: &str, labels: &str, value: f64) {
    text.push_str(name);
    text.push_str(end);
    if !labels.is_empty() {
        write!(text, "{{{labels}}}").expect(IN_STRING);
    }
    writeln!(text, " {value}").expect(IN_STRING);
}

/// `a="b",c="d"`. One that is empty is the same to Prometheus as one that is not there, and is not written.
fn labels<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs.filter(|(_, value)| !value.is_empty()) {
        if !text.is_empty() {
            text.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        write!(text, "{name}=\"{}\"", value.replace('\n', "\\n")).expect(IN_STRING);
    }
    text
}

/// The end of a bucket, with a point in it whatever it is (OpenMetrics, canonical numbers).
fn canonical(bound: f64) -> String {
    let text = bound.to_string();
    if text.contains('.') {
        text
    } else {
        text + ".0"
    }
}
