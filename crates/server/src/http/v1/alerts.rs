//! Alerts: what is wrong now, or might be.

use observe::alerts;
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// An alert that is not over.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Alert {
    alert: String,
    state: State,
    severity: &'static str,
    /// Since when it fires; of one that is pending, since when its rule is broken.
    since: String,
    /// How it is, in words.
    value: String,
    summary: &'static str,
    /// What to do about it.
    advice: &'static str,
    /// What tells it from others, its name among them.
    labels: alerts::Labels,
    /// Alertmanager's name for these labels.
    fingerprint: String,
}

/// How far an alert is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "AlertState")]
enum State {
    /// It has not been so for long enough to tell anybody.
    Pending,
    Firing,
}

impl From<alerts::Alert> for Alert {
    fn from(alert: alerts::Alert) -> Self {
        let row = alert.rule.map(alerts::Rule::row);
        Self {
            alert: alert.name().to_owned(),
            state: if alert.is_firing {
                State::Firing
            } else {
                State::Pending
            },
            severity: alert.severity.word(),
            since: time(alert.starts_at),
            summary: row.map_or("", |row| row.summary),
            advice: row.map_or("", |row| row.advice),
            fingerprint: alert.fingerprint(),
            value: alert.value,
            labels: alert.labels,
        }
    }
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let all = asked.edge.alerts.list();
    let all = all.into_iter().map(Alert::from).collect();
    let name = |one: &Alert| one.fingerprint.clone();
    Answer::ok(&page(all, asked.query, name)?)
}
