//! Connections: accepted up to a bound, watched for clients that take their time, ended in good order.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::threads::Threads;
use super::{Edge, Facts};

/// A connection that asks nothing for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(300);
/// After a failure to accept (no file descriptor left, say) the next try waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to the thread that will serve it.
#[derive(Debug)]
pub(super) struct Accepted {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    /// Its place among all connections.
    place: OwnedSemaphorePermit,
}

/// Accepts connections until `stop`, and hands each to the next thread.
pub(crate) async fn listen(
    listener: TcpListener,
    places: Arc<Semaphore>,
    threads: Arc<Threads>,
    stop: CancellationToken,
) {
    loop {
        // A place first: past the bound, clients wait in the kernel's queue, which has a bound of its own.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = stop.cancelled() => return,
        };
        let Ok(place) = place else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let detached = accepted.and_then(|(stream, peer)| {
            stream.set_nodelay(true)?;
            Ok((stream.into_std()?, peer))
        });
        match detached {
            Ok((stream, peer)) => {
                let connection = Accepted {
                    stream,
                    peer,
                    place,
                };
                tokio::select! {
                    () = threads.hand_over(connection) => {}
                    () = stop.cancelled() => return,
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves the connections that come out of `queue` until it is closed, then lets each finish what it is at.
pub(super) async fn serve(edge: &Arc<Edge>, mut queue: mpsc::Receiver<Accepted>) {
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    while let Some(Accepted {
        stream,
        peer,
        place,
    }) = queue.recv().await
    {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be served");
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else {
            continue;
        };
        let activity = Arc::new(Activity::new());
        let facts = Arc::new(Facts {
            peer,
            local,
            certificate: None,
            activity: Arc::clone(&activity),
            tasks: tasks.clone(),
            _place: place,
        });
        let service = {
            let (edge, activity) = (Arc::clone(edge), Arc::clone(&activity));
            service_fn(move |request| {
                let busy = activity.busy();
                let (edge, facts) = (Arc::clone(&edge), Arc::clone(&facts));
                async move {
                    let response = edge.serve(&facts, request).await;
                    drop(busy);
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let io = TokioIo::new(Watched {
            stream,
            activity: Arc::clone(&activity),
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(64);
        builder
            .http2()
            .max_concurrent_streams(128)
            .max_header_list_size(16 * 1024);
        let connection = builder
            .serve_connection_with_upgrades(io, service)
            .into_owned();
        let connection = graceful.watch(connection);
        let edge = Arc::clone(edge);
        tasks.spawn(async move {
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %peer, "a connection ended badly");
                    }
                }
                () = activity.overdue(&edge) => tracing::debug!(%peer, "a connection was closed for taking too long"),
            }
        });
    }
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
    // Calls whose client went away and which go on all the same.
    edge.gate.lingered().await;
}

/// What a connection is doing: waiting for a request, reading its head, or answering.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests being answered.
    busy: AtomicUsize,
    /// Milliseconds after `opened` at which it last became idle or began to read a head.
    since: AtomicU64,
    /// Whether a head has begun to arrive. 1 or 0.
    reading: AtomicUsize,
}

/// One request being answered.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Arc<Activity>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.activity.note();
        self.activity.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Activity {
    fn new() -> Self {
        // A new connection owes a request: silence from the start is a slow head.
        Self {
            opened: Instant::now(),
            busy: AtomicUsize::new(0),
            since: AtomicU64::new(0),
            reading: AtomicUsize::new(1),
        }
    }

    fn note(&self) {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since.store(now, Ordering::Release);
    }

    /// A request's head is here.
    pub(super) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.reading.store(0, Ordering::Release);
        Busy {
            activity: Arc::clone(self),
        }
    }

    fn bytes_came(&self) {
        if self.busy.load(Ordering::Acquire) == 0 && self.reading.swap(1, Ordering::AcqRel) == 0 {
            self.note();
        }
    }

    /// Ends when the client has taken too long over a head, or asked nothing for too long.
    async fn overdue(&self, edge: &Edge) {
        loop {
            let header_timeout = edge.settings.load().header_timeout;
            tokio::time::sleep(header_timeout / 2).await;
            if self.busy.load(Ordering::Acquire) > 0 {
                continue;
            }
            let since = Duration::from_millis(self.since.load(Ordering::Acquire));
            let waited = self.opened.elapsed().saturating_sub(since);
            let is_reading = self.reading.load(Ordering::Acquire) == 1;
            if waited > if is_reading { header_timeout } else { IDLE_MAX } {
                return;
            }
        }
    }
}

/// A stream that tells when bytes come.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if poll.is_ready() {
            self.activity.bytes_came();
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
