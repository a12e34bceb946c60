//! What receivers are sent: an Alertmanager's two forms of JSON, and a mail.
//!
//! Nothing in it is a client's or an upstream's word, but aliases and names from the config: no arguments, no results, no
//! principals, no causes.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::book::Alert;

/// How long an Alertmanager may believe what it was told, unless it is told again: four times what it is told after.
const BELIEF: Duration = Duration::from_secs(240);
/// What webhooks have for "not over": the zero of Go's times.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// What an alert that is no rule's says.
const TEST: (&str, &str) = (
    "A test: nothing is wrong, and you are told when something is",
    "nothing",
);

/// Some alerts, to be said together.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The same as long as it is tried.
    pub(super) id: String,
    /// Where the gate is, without a slash at its end.
    pub(super) base: String,
    /// Never empty.
    pub(super) alerts: Vec<Alert>,
}

impl Message {
    fn is_over(&self) -> bool {
        self.alerts.iter().all(|alert| alert.ends_at.is_some())
    }
}

/// What Alertmanager sends to webhooks, version 4.
pub(super) fn webhook(message: &Message, receiver: &str) -> Value {
    let alerts = message.alerts.iter().map(|alert| {
        json!({
            "status": status(alert),
            "labels": alert.labels,
            "annotations": annotations(alert),
            "startsAt": time(alert.starts_at),
            "endsAt": alert.ends_at.map_or(NEVER.to_owned(), time),
            "generatorURL": source(message),
            "fingerprint": alert.fingerprint(),
        })
    });
    let mut common = message
        .alerts
        .first()
        .map(|alert| alert.labels.clone())
        .unwrap_or_default();
    for alert in &message.alerts {
        common.retain(|name, value| alert.labels.get(name) == Some(value));
    }
    json!({
        "version": "4",
        "groupKey": format!("portcullis:{}", message.base),
        "truncatedAlerts": 0,
        "status": if message.is_over() { "resolved" } else { "firing" },
        "receiver": receiver,
        "groupLabels": {},
        "commonLabels": common,
        "commonAnnotations": {},
        "externalURL": message.base,
        "alerts": alerts.collect::<Vec<_>>(),
    })
}

/// What `POST /api/v2/alerts` takes.
pub(super) fn alertmanager(message: &Message, now: SystemTime) -> Value {
    let alerts = message.alerts.iter().map(|alert| {
        json!({
            "labels": alert.labels,
            "annotations": annotations(alert),
            "startsAt": time(alert.starts_at),
            "endsAt": time(alert.ends_at.unwrap_or(now + BELIEF)),
            "generatorURL": source(message),
        })
    });
    alerts.collect()
}

/// Subject and text.
pub(super) fn mail(message: &Message) -> (String, String) {
    let firing = message
        .alerts
        .iter()
        .filter(|alert| alert.ends_at.is_none());
    let (firing, all) = (firing.count(), message.alerts.len());
    let counts = match (firing, all - firing) {
        (firing, 0) => format!("{firing} firing"),
        (0, over) => format!("{over} resolved"),
        (firing, over) => format!("{firing} firing, {over} resolved"),
    };
    let mut names: Vec<&str> = message.alerts.iter().map(Alert::name).collect();
    names.dedup();
    let more = if names.len() > 1 { ", …" } else { "" };
    let subject = format!(
        "[{counts}] {}{more}",
        names.first().copied().unwrap_or_default()
    );
    let mut text = String::new();
    for alert in &message.alerts {
        let (summary, advice) = words(alert);
        let state = status(alert).to_uppercase();
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{state}  {}\n{summary}.", alert.name());
        for (name, value) in alert.labels.iter().filter(|(name, _)| *name != "alertname") {
            let _written = writeln!(text, "  {name}: {value}");
        }
        let _written = writeln!(text, "  since: {}", time(alert.starts_at));
        match alert.ends_at {
            Some(ends_at) => {
                let _written = writeln!(text, "  over since: {}", time(ends_at));
            }
            None => {
                let _written = writeln!(text, "  now: {}\n  what to do: {advice}", alert.value);
            }
        }
        text.push('\n');
    }
    let _written = writeln!(text, "All alerts of this gate: {}", source(message));
    (subject, text)
}

fn status(alert: &Alert) -> &'static str {
    if alert.ends_at.is_some() {
        "resolved"
    } else {
        "firing"
    }
}

fn annotations(alert: &Alert) -> Value {
    let (summary, advice) = words(alert);
    json!({ "summary": summary, "description": format!("{}. What to do: {advice}", alert.value) })
}

fn words(alert: &Alert) -> (&'static str, &'static str) {
    let row = alert.rule.map(super::Rule::row);
    row.map_or(TEST, |row| (row.summary, row.advice))
}

fn source(message: &Message) -> String {
    format!("{}/v1/alerts", message.base)
}

/// RFC 3339, in UTC.
pub(super) fn time(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
