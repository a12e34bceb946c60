//! The client against real servers on port 0: one of hyper's, and a raw one that misbehaves to order.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::*;

const SOON: Duration = Duration::from_secs(5);

/// A hyper server that counts. Its tasks end with it.
struct Peer {
    address: SocketAddr,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    open: watch::Sender<usize>,
}

impl Peer {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, tls, Arc::clone(&counts)));
        Self {
            address,
            counts,
            _tasks: tasks,
        }
    }

    fn get(&self, path: &str) -> Request {
        request(&format!("http://{}{path}", self.address))
    }

    fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    async fn all_closed(&self) {
        let mut open = self.counts.open.subscribe();
        timeout(SOON, open.wait_for(|open| *open == 0))
            .await
            .expect("closed soon")
            .expect("a sender");
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::SeqCst);
        counts.open.send_modify(|open| *open += 1);
        let (tls, counts) = (tls.clone(), Arc::clone(&counts));
        connections.spawn(async move {
            match tls {
                None => serve(tcp, &counts).await,
                Some(tls) => {
                    if let Ok(session) = tls.accept(tcp).await {
                        serve(session, &counts).await;
                    }
                }
            }
            counts.open.send_modify(|open| *open -= 1);
        });
    }
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, counts: &Arc<Counts>) {
    let service = service_fn(|request: http::Request<Incoming>| {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        answer(request)
    });
    // A client that goes away is what some tests are about.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(io), service)
            .await,
    );
}

async fn answer(request: http::Request<Incoming>) -> Result<http::Response<Pieces>, Infallible> {
    let piece = Bytes::from_static(b"0123456789");
    let mut response = http::Response::new(Pieces::default());
    match request.uri().path() {
        "/head" => {
            let told = format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.headers()
            );
            response.body_mut().sized(Bytes::from(told));
        }
        "/sized" => response.body_mut().sized(piece),
        "/pieces" => response.body_mut().left = VecDeque::from(vec![piece; 10]),
        "/endless" => {
            response.body_mut().left = VecDeque::from(vec![piece]);
            response.body_mut().endless = true;
        }
        "/close" => {
            response.body_mut().sized(piece);
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        "/redirect" => {
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/sized"));
        }
        "/silent" => std::future::pending().await,
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

/// A response body: some pieces, with or without their length said first, with or without an end.
#[derive(Default)]
struct Pieces {
    left: VecDeque<Bytes>,
    length: Option<u64>,
    endless: bool,
}

impl Pieces {
    fn sized(&mut self, piece: Bytes) {
        self.length = u64::try_from(piece.len()).ok();
        self.left = VecDeque::from(vec![piece]);
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.left.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.endless => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.length.map_or_else(
            http_body::SizeHint::default,
            http_body::SizeHint::with_exact,
        )
    }
}

fn request(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: Url::parse(url).expect("a URL"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        reach: Reach::Operator,
        timeout: SOON,
    }
}

fn client() -> Client {
    Client::new(Settings::default())
}

async fn read(client: &Client, request: Request) -> Result<String, Error> {
    let body = client
        .send(request)
        .await?
        .body
        .read_to_end(1 << 20, SOON)
        .await?;
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

/// What a raw server does next on a connection.
#[derive(Clone, Copy)]
enum Act {
    /// Reads one request and answers `ok`.
    Answer,
    /// Reads this many bytes, however they arrive, and resets the connection.
    Reset(usize),
    /// Says goodbye in good order.
    Close,
}

/// A server that follows a script per connection, and then takes no more.
struct Raw {
    address: SocketAddr,
    connections: watch::Receiver<usize>,
    acts: watch::Receiver<usize>,
    bytes: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Raw {
    async fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (accepted, connections) = watch::channel(0);
        let (acted, acts) = watch::channel(0);
        let bytes = Arc::<AtomicUsize>::default();
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&bytes);
        tasks.spawn(async move {
            for script in scripts {
                let (tcp, _) = listener.accept().await.expect("a connection");
                accepted.send_modify(|count| *count += 1);
                follow(&script, tcp, &seen, &acted).await;
            }
            // Whoever comes now is counted, and left alone.
            while let Ok((_tcp, _)) = listener.accept().await {
                accepted.send_modify(|count| *count += 1);
            }
        });
        Self {
            address,
            connections,
            acts,
            bytes,
            _tasks: tasks,
        }
    }

    fn get(&self) -> Request {
        request(&format!("http://{}/", self.address))
    }

    /// Waits until this many acts are over.
    async fn acted(&mut self, count: usize) {
        timeout(SOON, self.acts.wait_for(|acts| *acts >= count))
            .await
            .expect("soon")
            .expect("a sender");
    }

    fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// How many bytes of requests arrived in all.
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }
}

async fn follow(
    script: &[Act],
    mut tcp: TcpStream,
    bytes: &AtomicUsize,
    acted: &watch::Sender<usize>,
) {
    for act in script {
        let mut request = Vec::new();
        match act {
            Act::Answer => {
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(tcp.read_u8().await.expect("a request"));
                }
                tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await
                    .expect("a listener");
            }
            Act::Reset(count) => {
                request.resize(*count, 0);
                tcp.read_exact(&mut request).await.expect("a request");
                tcp.set_zero_linger().expect("a socket");
            }
            Act::Close => tcp.shutdown().await.expect("a socket"),
        }
        bytes.fetch_add(request.len(), Ordering::SeqCst);
        acted.send_modify(|count| *count += 1);
    }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_meant() {
    let peer = Peer::start(None).await;
    let client = client();
    let mut request = peer.get("/head?q=a|b%20c&%C3%A4#fragment");
    request
        .url
        .set_username("somebody")
        .expect("a URL with a host");
    request.method = Method::POST;
    request.body = Bytes::from_static(b"{}");
    request
        .headers
        .insert(header::HOST, HeaderValue::from_static("elsewhere"));
    request
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from_static("7"));
    let told = read(&client, request).await.expect("an answer");
    let host = peer.address;
    assert_eq!(
        told,
        format!("POST /head?q=a|b%20c&%C3%A4 {{\"host\": \"{host}\", \"content-length\": \"2\"}}")
    );
}

#[tokio::test]
async fn one_connection_serves_request_after_request() {
    let peer = Peer::start(None).await;
    let client = client();
    for path in ["/sized", "/pieces", "/absent", "/redirect", "/sized"] {
        read(&client, peer.get(path)).await.expect("an answer");
    }
    assert_eq!((peer.requests(), peer.connections()), (5, 1));
}

#[tokio::test]
async fn a_redirect_is_the_answer() {
    let peer = Peer::start(None).await;
    let response = client()
        .send(peer.get("/redirect"))
        .await
        .expect("an answer");
    assert_eq!(response.status, StatusCode::FOUND);
    assert_eq!(response.headers[header::LOCATION], "/sized");
    assert_eq!(peer.requests(), 1);
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each() {
    let peer = Peer::start(None).await;
    let client = client();
    let one = client.send(peer.get("/pieces")).await.expect("an answer");
    let two = client.send(peer.get("/pieces")).await.expect("an answer");
    assert_eq!(peer.connections(), 2);
    for mut response in [one, two] {
        response
            .body
            .read_to_end(100, SOON)
            .await
            .expect("the body");
    }
    read(&client, peer.get("/sized")).await.expect("an answer");
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn reach_is_not_shared() {
    let peer = Peer::start(None).await;
    let client = client();
    read(&client, peer.get("/sized")).await.expect("an answer");
    let mut request = peer.get("/sized");
    request.reach = Reach::Public;
    let error = client.send(request).await.expect_err("refused");
    assert!(
        matches!(
            error,
            Error::Refused {
                kind: "loopback",
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(peer.requests(), 1);
}

#[tokio::test]
async fn no_more_connections_rest_than_the_bound() {
    let peer = Peer::start(None).await;
    let settings = Settings {
        idle_per_origin_max: 1,
        ..Settings::default()
    };
    let client = Client::new(settings);
    let mut one = client.send(peer.get("/pieces")).await.expect("an answer");
    let mut two = client.send(peer.get("/pieces")).await.expect("an answer");
    one.body.read_to_end(100, SOON).await.expect("the body");
    two.body.read_to_end(100, SOON).await.expect("the body");
    let mut open = peer.counts.open.subscribe();
    timeout(SOON, open.wait_for(|open| *open == 1))
        .await
        .expect("closed soon")
        .expect("a sender");
}

#[tokio::test]
async fn an_old_connection_is_not_used() {
    let peer = Peer::start(None).await;
    let settings = Settings {
        idle_age_max: Duration::ZERO,
        ..Settings::default()
    };
    let client = Client::new(settings);
    for _ in 0..3 {
        read(&client, peer.get("/sized")).await.expect("an answer");
    }
    assert_eq!((peer.requests(), peer.connections()), (3, 3));
}

#[tokio::test]
async fn a_connection_that_the_peer_gives_up_is_not_used_again() {
    let peer = Peer::start(None).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(
            read(&client, peer.get("/close")).await.expect("an answer"),
            "0123456789"
        );
    }
    assert_eq!((peer.requests(), peer.connections()), (3, 3));
}

#[tokio::test]
async fn a_connection_closed_while_idle_costs_no_request() {
    let mut raw = Raw::start(vec![vec![Act::Answer, Act::Close], vec![Act::Answer]]).await;
    let elsewhere = Peer::start(None).await;
    let client = client();
    assert_eq!(read(&client, raw.get()).await.expect("an answer"), "ok");
    let length = raw.bytes();
    raw.acted(2).await;
    // One round trip elsewhere: by then the runtime has heard of the close as well.
    read(&client, elsewhere.get("/sized"))
        .await
        .expect("an answer");
    assert_eq!(read(&client, raw.get()).await.expect("an answer"), "ok");
    assert_eq!((raw.connections(), raw.bytes()), (2, 2 * length));
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a bare connection marks the end of the queue"
)]
async fn a_reset_after_any_number_of_bytes_is_never_followed_by_a_second_try() {
    let length = "GET / HTTP/1.1\r\nhost: 127.0.0.1:00000\r\n\r\n".len();
    for count in 0..=length {
        for script in [
            vec![Act::Reset(count)],
            vec![Act::Answer, Act::Reset(count)],
        ] {
            let pooled = script.len() == 2;
            if pooled && count == 0 {
                // A reset of an idle connection: trying another one would be right.
                continue;
            }
            let mut raw = Raw::start(vec![script]).await;
            let client = client();
            if pooled {
                read(&client, raw.get()).await.expect("an answer");
            }
            let mut request = raw.get();
            // A port has four digits or five; this makes up for it.
            request.url.set_path(
                &"/".repeat(
                    length - format!("GET  HTTP/1.1\r\nhost: {}\r\n\r\n", raw.address).len(),
                ),
            );
            let error = client.send(request).await.expect_err("reset");
            assert!(
                matches!(error, Error::Closed { .. }),
                "{error}, reset after {count}"
            );
            if count > 0 {
                assert_eq!(error.sent(), Sent::Unknown, "reset after {count}");
            }
            raw.acted(1 + usize::from(pooled)).await;
            // A second try would stand in the queue before this connection.
            drop(TcpStream::connect(raw.address).await.expect("a connection"));
            timeout(SOON, raw.connections.wait_for(|count| *count >= 2))
                .await
                .expect("soon")
                .expect("a sender");
            assert_eq!(raw.connections(), 2, "reset after {count}");
        }
    }
}

#[tokio::test]
async fn head_and_body_leave_together() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut request = request(&format!(
        "http://{}/",
        listener.local_addr().expect("its address")
    ));
    request.method = Method::POST;
    request.body = Bytes::from(vec![b'x'; 4096]);
    let mut clients = JoinSet::new();
    clients.spawn(async move { client().send(request).await.map(drop) });
    let (mut tcp, _) = listener.accept().await.expect("a connection");
    let mut buffer = vec![0; 1 << 16];
    let count = tcp.read(&mut buffer).await.expect("a request");
    assert_eq!(
        buffer[..count].iter().filter(|byte| **byte == b'x').count(),
        4096
    );
}

#[tokio::test]
async fn a_body_over_the_cap_is_refused_whether_or_not_it_says_so() {
    let peer = Peer::start(None).await;
    let client = client();
    for (path, fits) in [("/sized", 10), ("/pieces", 100)] {
        let mut body = client.send(peer.get(path)).await.expect("an answer").body;
        assert_eq!(
            body.read_to_end(fits, SOON).await.expect("it fits").len(),
            fits
        );
        let mut body = client.send(peer.get(path)).await.expect("an answer").body;
        let error = body
            .read_to_end(fits - 1, SOON)
            .await
            .expect_err("one byte too many");
        assert!(
            matches!(error, Error::TooLarge { max } if max == fits - 1),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up_and_hung_up_on() {
    let peer = Peer::start(None).await;
    let mut request = peer.get("/silent");
    request.timeout = Duration::from_millis(20);
    let error = client().send(request).await.expect_err("silence");
    assert!(
        matches!(error, Error::Timeout { stage: Stage::Head }),
        "{error}"
    );
    assert_eq!(error.sent(), Sent::Unknown);
    peer.all_closed().await;
    assert_eq!(peer.requests(), 1);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_and_hung_up_on() {
    let peer = Peer::start(None).await;
    let mut response = client().send(peer.get("/endless")).await.expect("a head");
    let error = response
        .body
        .read_to_end(100, Duration::from_millis(20))
        .await
        .expect_err("no end");
    assert!(
        matches!(error, Error::Timeout { stage: Stage::Body }),
        "{error}"
    );
    peer.all_closed().await;
}

#[tokio::test]
async fn dropping_a_body_hangs_up() {
    let peer = Peer::start(None).await;
    let client = client();
    let mut response = client.send(peer.get("/endless")).await.expect("a head");
    assert_eq!(
        response
            .body
            .chunk()
            .await
            .expect("a piece")
            .expect("a piece"),
        "0123456789"
    );
    drop(response);
    peer.all_closed().await;
}

#[tokio::test]
async fn an_abandoned_wait_for_a_piece_loses_nothing() {
    let peer = Peer::start(None).await;
    let mut body = client()
        .send(peer.get("/pieces"))
        .await
        .expect("a head")
        .body;
    let mut length = 0;
    loop {
        // The first look at each piece is given up at once, if it is not there yet.
        let piece = match timeout(Duration::ZERO, body.chunk()).await {
            Ok(piece) => piece,
            Err(_) => body.chunk().await,
        };
        let Some(piece) = piece.expect("a piece") else {
            break;
        };
        length += piece.len();
    }
    assert_eq!(length, 100);
}

#[tokio::test]
async fn a_url_from_outside_does_not_reach_this_machine() {
    let peer = Peer::start(None).await;
    let port = peer.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "0.0.0.0",
    ] {
        let mut request = request(&format!("http://{host}:{port}/sized"));
        request.reach = Reach::Public;
        let error = client().send(request).await.expect_err("refused");
        assert!(matches!(error, Error::Refused { .. }), "{host}: {error}");
        assert_eq!(error.sent(), Sent::No);
    }
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    for url in ["ftp://example.com/", "file:///etc/passwd", "data:,x"] {
        let error = client().send(request(url)).await.expect_err("refused");
        assert!(matches!(error, Error::Url(_)), "{url}: {error}");
        assert_eq!(error.sent(), Sent::No);
    }
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_say_that_nothing_was_sent() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("it")
        .port();
    let error = client()
        .send(request(&format!("http://127.0.0.1:{port}/")))
        .await
        .expect_err("closed");
    assert!(
        matches!(error, Error::Connect { .. }) && error.source().is_some(),
        "{error}"
    );
    assert_eq!(error.sent(), Sent::No);
    let error = client()
        .send(request("http://name.invalid/"))
        .await
        .expect_err("unknown");
    assert_eq!(error.sent(), Sent::No);
}

#[test]
fn a_send_can_move_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    let client = client();
    sendable(&client.send(request("http://127.0.0.1/")));
    sendable(&client);
}
