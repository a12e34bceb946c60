//! The task that takes spans to the collector. What is in them, and when they are tried again, is `observe::trace`'s.

use observe::health::{Task, Tasks};
use observe::trace::Tracer;

/// Begins. It runs whether or not there is a collector: a reload may name one. Needs a runtime.
pub(crate) fn start(tracer: &Tracer, client: &net::Client, tasks: &Tasks) {
    let (tracer, client, health) = (tracer.clone(), client.clone(), tasks.health().clone());
    tasks.supervise(Task::Traces, move |stop| {
        let (tracer, client, health) = (tracer.clone(), client.clone(), health.clone());
        async move { tracer.export(&client, &health, &stop).await }
    });
}
