//! The tasks that take spans and metrics to the collector. What is in them, and when they are tried again, is
//! `observe::trace`'s and `observe::metrics`'.

use observe::health::{Task, Tasks};
use observe::metrics::Pusher;
use observe::trace::Tracer;

/// Begins. They run whether or not there is a collector: a reload may name one. Needs a runtime.
pub(crate) fn start(tracer: &Tracer, pusher: &Pusher, client: &net::Client, tasks: &Tasks) {
    let (tracer, to, health) = (tracer.clone(), client.clone(), tasks.health().clone());
    tasks.supervise(Task::Traces, move |stop| {
        let (tracer, client, health) = (tracer.clone(), to.clone(), health.clone());
        async move { tracer.export(&client, &health, &stop).await }
    });
    let (pusher, to, health) = (pusher.clone(), client.clone(), tasks.health().clone());
    tasks.supervise(Task::Metrics, move |stop| {
        let (pusher, client, health) = (pusher.clone(), to.clone(), health.clone());
        async move { pusher.run(&client, &health, &stop).await }
    });
}
