//! Looks whether the certificate that clients are shown soon ends, and says so in health.

use std::sync::Arc;
use std::time::Duration;

use observe::health::{Dependency, Task, Tasks};
use policy::Clock;
use tokio::time::timeout;

use crate::http::Edge;
use crate::tls::Tls;

/// How often it is looked; also after each change of the certificate.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A certificate that ends before that is renewed by nobody, it seems.
pub(crate) const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Begins to look, if there is TLS. Needs a runtime.
pub(crate) fn start(tasks: &Tasks, edge: &Arc<Edge>, clock: &Arc<dyn Clock>) {
    if edge.tls.borrow().is_none() {
        return;
    }
    let (edge, clock, health) = (Arc::clone(edge), Arc::clone(clock), tasks.health().clone());
    tasks.supervise(Task::Certificates, move |stop| {
        let (edge, clock, health) = (Arc::clone(&edge), Arc::clone(&clock), health.clone());
        async move {
            let mut changes = edge.tls.subscribe();
            let component = health.dependency(Dependency::Certificate);
            while !stop.is_cancelled() {
                let ends = changes
                    .borrow_and_update()
                    .as_ref()
                    .and_then(Tls::expires_at)
                    .map(|ends| ends.duration_since(clock.wall()));
                match ends {
                    Some(Err(_past)) => component.down(&"the certificate has ended"),
                    Some(Ok(left)) if left < SOON => {
                        let days = left.as_secs() / (24 * 3600);
                        component.degraded(&format_args!("the certificate ends in {days} days"));
                    }
                    Some(Ok(_)) | None => component.ok(None),
                }
                tokio::select! {
                    _ = timeout(LOOK_EVERY, changes.changed()) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    });
}
