//! What the server knows of numbers, looked up when somebody asks: its runtimes, its certificate, the room on the disk.
//!
//! Which metrics there are is `observe`'s; what the gate knows is `gateway`'s.

use std::path::PathBuf;
use std::sync::Weak;
use std::time::UNIX_EPOCH;

use nix::sys::statvfs::statvfs;
use observe::{Metric, Metrics, Samples};
use tokio::runtime::Handle;

use crate::http::Edge;
use crate::tls::Tls;

/// What is looked at.
pub(crate) struct Looked {
    pub(crate) edge: Weak<Edge>,
    /// As many connections of clients as are taken.
    pub(crate) connections_max: usize,
    /// Where the database is.
    pub(crate) data_dir: PathBuf,
    /// The runtime of everything but connections, and those of connections.
    pub(crate) main: Handle,
    pub(crate) http: Vec<Handle>,
}

/// Has metrics look at all that, for as long as they are there.
pub(crate) fn tell(metrics: &Metrics, looked: Looked) {
    metrics.at_scrape(move |samples| looked.sample(samples));
}

impl Looked {
    fn sample(&self, samples: &mut Samples) {
        samples.count(Metric::ConnectionsMax, &[], self.connections_max);
        let edge = self.edge.upgrade();
        let tls = edge.and_then(|edge| edge.tls.borrow().as_ref().and_then(Tls::expires_at));
        if let Some(ends) = tls {
            let ends = ends.duration_since(UNIX_EPOCH).unwrap_or_default();
            samples.set(Metric::CertificateExpiry, &["listener"], ends.as_secs_f64());
        }
        if let Ok(disk) = statvfs(&self.data_dir) {
            let bytes = |blocks: u64| wide(blocks.saturating_mul(disk.fragment_size()));
            samples.set(Metric::DataDirFree, &[], bytes(disk.blocks_available()));
            samples.set(Metric::DataDirSize, &[], bytes(disk.blocks()));
        }
        runtimes(samples, "main", std::slice::from_ref(&self.main));
        runtimes(samples, "http", &self.http);
    }
}

fn runtimes(samples: &mut Samples, name: &str, all: &[Handle]) {
    let sum = |of: fn(&Handle) -> usize| all.iter().map(of).sum();
    let numbers: [(Metric, usize); 3] = [
        (
            Metric::RuntimeWorkers,
            sum(|one| one.metrics().num_workers()),
        ),
        (
            Metric::RuntimeTasks,
            sum(|one| one.metrics().num_alive_tasks()),
        ),
        (
            Metric::RuntimeQueue,
            sum(|one| one.metrics().global_queue_depth()),
        ),
    ];
    for (metric, count) in numbers {
        samples.count(metric, &[name], count);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is exported is a double, and nobody looks at single bytes of a disk"
)]
fn wide(bytes: u64) -> f64 {
    bytes as f64
}
