//! The task that looks whether the gate is as it should be, and tells of it. The rules and who is told are
//! `observe::alerts`'s.

use observe::alerts::Alerts;
use observe::health::{Task, Tasks};

/// Begins. It runs whether or not there is anybody to tell: a reload may name one. Needs a runtime.
pub(crate) fn start(alerts: &Alerts, tasks: &Tasks) {
    let alerts = alerts.clone();
    tasks.supervise(Task::Alerts, move |stop| {
        let alerts = alerts.clone();
        async move { alerts.run(&stop).await }
    });
}
