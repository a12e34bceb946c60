//! From an origin to an open connection: resolve, check, connect, TLS.
//!
//! The addresses that were checked are the ones that are connected to; nothing is resolved twice. What is
//! then said over the connection is `link`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use crate::tls::Tls;
use crate::{Error, Reach, Stage};

/// Where a connection leads, on whose word and as whom: what two requests must share to share a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// `None` in the clear.
    pub(crate) tls: Option<Tls>,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
    pub(crate) reach: Reach,
}

impl Origin {
    /// Where an HTTP request goes.
    pub(crate) fn of(url: &Url, reach: Reach, tls: &Tls) -> Result<Self, Error> {
        match url.scheme() {
            "https" => Self::new(Some(tls), url, reach),
            "http" => Self::new(None, url, reach),
            _ => Err(Error::Url("its scheme is neither http nor https")),
        }
    }

    /// Where a WebSocket leads.
    pub(crate) fn of_socket(url: &Url, reach: Reach, tls: &Tls) -> Result<Self, Error> {
        match url.scheme() {
            "wss" => Self::new(Some(tls), url, reach),
            "ws" => Self::new(None, url, reach),
            _ => Err(Error::Url("its scheme is neither ws nor wss")),
        }
    }

    fn new(tls: Option<&Tls>, url: &Url, reach: Reach) -> Result<Self, Error> {
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Error::Url("it has no host"));
        };
        Ok(Self {
            tls: tls.cloned(),
            host: host.to_owned(),
            port,
            reach,
        })
    }
}

/// Opens a connection to `origin` before `deadline`.
pub(crate) async fn connect(origin: &Origin, deadline: Instant) -> Result<Stream, Error> {
    let tcp = open(origin, deadline).await?;
    match &origin.tls {
        None => Ok(Stream::plain(tcp)),
        Some(tls) => encrypt(origin, tcp, (tls, tls.connector()), deadline).await,
    }
}

/// The same, to a PostgreSQL: it is asked for TLS in the clear, and says with one byte whether it has it. One that has
/// none hears nothing more.
pub(crate) async fn connect_postgres(origin: &Origin, deadline: Instant) -> Result<Stream, Error> {
    // SSLRequest: its length, and a number that is no version of the protocol.
    const ASK: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    const YES: u8 = b'S';
    let mut tcp = open(origin, deadline).await?;
    let Some(tls) = &origin.tls else {
        return Ok(Stream::plain(tcp));
    };
    let mut answer = [0];
    let asked = timeout_at(deadline, async {
        tcp.write_all(&ASK).await?;
        // No more than this byte: what came after it unencrypted would be taken for encrypted.
        tcp.read_exact(&mut answer).await
    });
    let refused = |source| Error::Tls {
        host: origin.host.to_string(),
        source,
    };
    let late = |_late| Error::Timeout { stage: Stage::Tls };
    asked.await.map_err(late)?.map_err(refused)?;
    if answer != [YES] {
        return Err(refused(io::Error::other("the server has none")));
    }
    let connector = tls.connector_for(b"postgresql");
    encrypt(origin, tcp, (tls, &connector), deadline).await
}

async fn open(origin: &Origin, deadline: Instant) -> Result<TcpStream, Error> {
    let addresses = resolve(origin, deadline).await?;
    for address in &addresses {
        origin
            .reach
            .check(address.ip())
            .map_err(|kind| Error::Refused {
                host: origin.host.to_string(),
                address: address.ip(),
                kind,
            })?;
    }
    connect_any(origin, &addresses, deadline).await
}

async fn encrypt(
    origin: &Origin,
    tcp: TcpStream,
    (tls, connector): (&Tls, &TlsConnector),
    deadline: Instant,
) -> Result<Stream, Error> {
    let late = |_late| Error::Timeout { stage: Stage::Tls };
    let refused = |source| Error::Tls {
        host: origin.host.to_string(),
        source,
    };
    let name = tls.server_name(&origin.host).map_err(refused)?;
    let session = timeout_at(deadline, connector.connect(name, tcp))
        .await
        .map_err(late)?
        .map_err(refused)?;
    Ok(Stream::tls(session))
}

async fn resolve(origin: &Origin, deadline: Instant) -> Result<Vec<SocketAddr>, Error> {
    let name = match &origin.host {
        Host::Ipv4(v4) => return Ok(vec![SocketAddr::new(IpAddr::V4(*v4), origin.port)]),
        Host::Ipv6(v6) => return Ok(vec![SocketAddr::new(IpAddr::V6(*v6), origin.port)]),
        Host::Domain(name) => name,
    };
    let unresolved = |source| Error::Resolve {
        host: name.clone(),
        source,
    };
    let found = timeout_at(
        deadline,
        tokio::net::lookup_host((name.as_str(), origin.port)),
    )
    .await
    .map_err(|_late| Error::Timeout {
        stage: Stage::Resolve,
    })?
    .map_err(unresolved)?;
    let addresses: Vec<_> = found.collect();
    match addresses.is_empty() {
        true => Err(unresolved(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ))),
        false => Ok(addresses),
    }
}

/// Tries the addresses in the resolver's order; a silent one may use only its share of the time.
async fn connect_any(
    origin: &Origin,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, Error> {
    let mut last = Error::Timeout {
        stage: Stage::Connect,
    };
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        let share = now + deadline.saturating_duration_since(now) / left;
        #[expect(
            clippy::disallowed_methods,
            reason = "net is the only door out, and this is its hinge"
        )]
        let attempt = timeout_at(share, TcpStream::connect(address)).await;
        last = match attempt {
            // Nagle would hold a small request back until the peer has acknowledged the last one.
            Ok(Ok(tcp)) => match tcp.set_nodelay(true) {
                Ok(()) => return Ok(tcp),
                Err(source) => Error::Connect {
                    host: origin.host.to_string(),
                    source,
                },
            },
            Ok(Err(source)) => Error::Connect {
                host: origin.host.to_string(),
                source,
            },
            Err(_) => Error::Timeout {
                stage: Stage::Connect,
            },
        };
    }
    Err(last)
}

/// An open connection that remembers whether anything was written to it.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: Inner,
    written: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Inner {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    fn plain(tcp: TcpStream) -> Self {
        Self {
            inner: Inner::Plain(tcp),
            written: Arc::default(),
        }
    }

    fn tls(session: TlsStream<TcpStream>) -> Self {
        Self {
            inner: Inner::Tls(Box::new(session)),
            written: Arc::default(),
        }
    }

    /// Set once bytes may have left. Whoever clears it learns of the writes that follow.
    pub(crate) fn written(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.written)
    }

    fn note(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let left = match (&self.inner, &outcome) {
            (Inner::Plain(_), Poll::Ready(Ok(count))) => *count > 0,
            (Inner::Plain(_), Poll::Ready(Err(_)) | Poll::Pending) => false,
            // A failed or waiting write through TLS may have sent a part of a record.
            (Inner::Tls(_), _) => true,
        };
        if left {
            self.written.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Inner::Tls(session) => Pin::new(session).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = match &mut this.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Inner::Tls(session) => Pin::new(session).poll_write(cx, buf),
        };
        this.note(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = match &mut this.inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Inner::Tls(session) => Pin::new(session).poll_write_vectored(cx, bufs),
        };
        this.note(outcome)
    }

    /// Head and body of a request leave in one `writev`, without a copy.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Inner::Tls(session) => Pin::new(session).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().inner {
            Inner::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Inner::Tls(session) => Pin::new(session).poll_shutdown(cx),
        }
    }
}
