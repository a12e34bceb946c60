//! The threads that serve connections: each with a reactor of its own and connections that stay with it.
//!
//! A call over HTTP then runs from its first byte to its last on one thread: no other thread is woken for it, and its
//! upstream connection belongs to the same reactor. What it shares with other calls (catalog, limits, sessions) is
//! built for many threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Edge;
use super::connection::{Accepted, serve};

/// Connections that wait for their thread to take them.
const QUEUE_MAX: usize = 64;

/// Threads that serve connections.
#[derive(Debug)]
pub(crate) struct Threads {
    queues: Mutex<Vec<mpsc::Sender<Accepted>>>,
    next: AtomicUsize,
    running: Mutex<Vec<Running>>,
    runtimes: Vec<runtime::Handle>,
    abort: CancellationToken,
}

#[derive(Debug)]
struct Running {
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl Threads {
    /// Starts one for each core.
    pub(crate) fn start(edge: &Arc<Edge>) -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let abort = CancellationToken::new();
        let (mut queues, mut running) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut runtimes = Vec::with_capacity(count);
        for number in 0..count {
            let (queue, waiting) = mpsc::channel(QUEUE_MAX);
            let (alive, ended) = oneshot::channel::<()>();
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtimes.push(runtime.handle().clone());
            let (edge, abort) = (Arc::clone(edge), abort.clone());
            let handle = thread::Builder::new()
                .name(format!("http-{number}"))
                .spawn(move || {
                    // Its end is the message.
                    let _alive = alive;
                    runtime.block_on(async {
                        tokio::select! {
                            () = serve(&edge, waiting) => {}
                            () = abort.cancelled() => {}
                        }
                    });
                    // A file that does not answer may hold up a built-in tool; it must not hold up our end.
                    runtime.shutdown_background();
                })?;
            queues.push(queue);
            running.push(Running { ended, handle });
        }
        Ok(Self {
            queues: Mutex::new(queues),
            next: AtomicUsize::new(0),
            running: Mutex::new(running),
            runtimes,
            abort,
        })
    }

    /// Their runtimes.
    pub(crate) fn runtimes(&self) -> &[runtime::Handle] {
        &self.runtimes
    }

    /// Gives a connection to the thread whose turn it is.
    pub(super) async fn hand_over(&self, connection: Accepted) {
        let queue = {
            let queues = self.queues.lock();
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % queues.len().max(1);
            queues.get(turn).cloned()
        };
        if let Some(queue) = queue
            && queue.send(connection).await.is_err()
        {
            tracing::error!("a thread that serves connections is gone");
        }
    }

    /// Has every thread finish what it is at, for at most `within`; whether all did.
    pub(crate) async fn finish(&self, within: Duration) -> bool {
        self.queues.lock().clear();
        let running = std::mem::take(&mut *self.running.lock());
        let (ended, handles): (Vec<_>, Vec<_>) = running
            .into_iter()
            .map(|one| (one.ended, one.handle))
            .unzip();
        let finished = tokio::time::timeout(within, futures_util::future::join_all(ended))
            .await
            .is_ok();
        self.abort.cancel();
        // They end at once now: nothing on them blocks.
        let joined = tokio::task::spawn_blocking(move || {
            handles.into_iter().all(|handle| handle.join().is_ok())
        });
        finished && joined.await.unwrap_or(false)
    }
}
