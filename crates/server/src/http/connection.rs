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
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use observe::Metrics;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::threads::Threads;
use super::{Connection, Edge, inbound};
use crate::tls::Tls;

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
    metrics: Metrics,
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
                metrics.connection_failed();
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves the connections that come out of `queue` until it is closed, then lets each finish what it is at.
pub(super) async fn serve(edge: &Arc<Edge>, mut queue: mpsc::Receiver<Accepted>) {
    let graceful = GracefulShutdown::new();
    let closing = CancellationToken::new();
    let tasks = TaskTracker::new();
    while let Some(accepted) = queue.recv().await {
        let entrance = Entrance {
            edge: Arc::clone(edge),
            tasks: tasks.clone(),
            watcher: graceful.watcher(),
        };
        let closing = closing.clone();
        tasks.spawn(async move {
            let peer = accepted.peer;
            if let Err(error) = entrance.admit(accepted, &closing).await {
                tracing::debug!(%error, %peer, "a connection ended badly");
            }
        });
    }
    closing.cancel();
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
    // Calls whose client went away and which go on all the same.
    edge.gate.lingered().await;
}

/// What one connection needs to be served.
struct Entrance {
    edge: Arc<Edge>,
    tasks: TaskTracker,
    watcher: Watcher,
}

impl Entrance {
    /// From the handshake to the end.
    async fn admit(self, accepted: Accepted, closing: &CancellationToken) -> io::Result<()> {
        let Accepted {
            stream,
            peer,
            place,
        } = accepted;
        let metrics = self.edge.gate.metrics();
        let counted = metrics.connection();
        let stream = TcpStream::from_std(stream)?;
        let local = stream.local_addr()?;
        let tls = self.edge.tls.borrow().clone();
        let (wire, proof) = match tls.filter(|tls| tls.is_spoken_at(local)) {
            None => (Wire::Plain(stream), None),
            Some(tls) => {
                // Who is slow here is as slow as one who is slow over a head.
                let within = self.edge.settings.load().header_timeout;
                let shaken = tokio::select! {
                    shaken = timeout(within, Box::pin(tls.accept(stream))) => shaken,
                    () = closing.cancelled() => return Ok(()),
                };
                let slow = |_late| io::Error::new(io::ErrorKind::TimedOut, "no handshake in time");
                let shaken = shaken.map_err(slow).flatten();
                let (session, proof) = shaken.inspect_err(|_| metrics.handshake_failed())?;
                (Wire::Tls(Box::new(session)), proof)
            }
        };
        let activity = Arc::new(Activity::new());
        let connection = Arc::new(Connection {
            peer,
            local,
            certificate: proof.as_ref().map(|proof| Arc::clone(&proof.certificate)),
            proof,
            activity,
            tasks: self.tasks.clone(),
            _place: place,
            _counted: counted,
        });
        self.converse(wire, &connection).await
    }

    /// One request after the other, or several at once.
    async fn converse(self, wire: Wire, connection: &Arc<Connection>) -> io::Result<()> {
        let Self {
            edge,
            tasks: _,
            watcher,
        } = self;
        let activity = &connection.activity;
        let service = {
            let (edge, connection) = (Arc::clone(&edge), Arc::clone(connection));
            service_fn(move |request| {
                let busy = connection.activity.busy();
                let (edge, connection) = (Arc::clone(&edge), Arc::clone(&connection));
                async move {
                    let (request, rest) = inbound::keep_rest(request);
                    let mut response = edge.serve(&connection, request).await;
                    rest.settle(&mut response).await;
                    drop(busy);
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let io = TokioIo::new(Watched {
            wire,
            activity: Arc::clone(activity),
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
        let serving = builder
            .serve_connection_with_upgrades(io, service)
            .into_owned();
        tokio::select! {
            ended = watcher.watch(serving) => ended.map_err(io::Error::other),
            () = activity.overdue(&edge) => Err(io::Error::new(io::ErrorKind::TimedOut, "it took too long")),
            () = edge.disproved(connection) => Err(io::Error::other("its certificate no longer holds")),
        }
    }
}

impl Edge {
    /// Ends when the certificate that a client came with no longer holds: others are trusted or revoked now.
    pub(super) async fn disproved(&self, connection: &Connection) {
        let Some(proof) = &connection.proof else {
            return std::future::pending().await;
        };
        let mut tls = self.tls.subscribe();
        let holds = |tls: &Option<Tls>| tls.as_ref().is_some_and(|tls| tls.accepts(proof));
        while holds(&tls.borrow_and_update()) {
            if tls.changed().await.is_err() {
                return;
            }
        }
    }
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

/// What carries a connection's bytes.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that tells when bytes come.
#[derive(Debug)]
struct Watched {
    wire: Wire,
    activity: Arc<Activity>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
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
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(context),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
