//! Against a server on port 0 that forgets its sessions and keeps its streams open.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, Either, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use wire::{Abilities, Params};

use super::*;
use crate::peer::{Carrier, Peer};
use crate::request::{Caller, Request};

/// A legacy server: the number of the session it knows, and the ids that were sent to it.
#[derive(Default)]
struct Server {
    epoch: AtomicUsize,
}

type Reply = http::Response<Either<Full<Bytes>, StreamBody<Endless>>>;
type Endless = futures_util::stream::Chain<
    futures_util::stream::Iter<
        std::array::IntoIter<Result<hyper::body::Frame<Bytes>, Infallible>, 1>,
    >,
    futures_util::stream::Pending<Result<hyper::body::Frame<Bytes>, Infallible>>,
>;

impl Server {
    async fn answer(&self, request: http::Request<Incoming>) -> Reply {
        let epoch = self.epoch.load(Ordering::SeqCst).to_string();
        let said = request.headers().get(mcp::SESSION_ID).cloned();
        let is_known = said.as_ref().is_some_and(|said| *said == *epoch);
        let body = http_body_util::Limited::new(request.into_body(), 1 << 20);
        #[expect(clippy::disallowed_methods, reason = "bounded by the line above")]
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let body = body.unwrap_or_default();
        let json = |status: u16, text: String| {
            let reply = http::Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .header(mcp::SESSION_ID, &epoch);
            reply
                .body(Either::Left(Full::from(text)))
                .expect("a response")
        };
        let Ok(Frame::Request(asked)) = Frame::decode(&body) else {
            return json(202, String::new());
        };
        let id = asked.id();
        match asked.method.as_str() {
            "initialize" if said.is_some() => json(404, String::new()),
            "initialize" => json(
                200,
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-06-18","capabilities":{{}},"serverInfo":{{"name":"s","version":"1"}}}}}}"#
                ),
            ),
            // As the TypeScript SDK says it.
            _ if said.is_some() && !is_known => json(
                404,
                r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"Session not found"},"id":null}"#
                    .to_owned(),
            ),
            _ if !is_known => json(
                400,
                r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"No session"},"id":null}"#
                    .to_owned(),
            ),
            _ => {
                let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"in":{epoch}}}}}"#);
                let first = [Ok(hyper::body::Frame::data(sse::message(text.as_bytes())))];
                let stream = futures_util::stream::iter(first).chain(futures_util::stream::pending());
                let reply = http::Response::builder().header("content-type", "text/event-stream");
                reply.body(Either::Right(StreamBody::new(stream))).expect("a response")
            }
        }
    }
}

struct World {
    server: Arc<Server>,
    connection: Arc<Connection>,
    peer: Peer,
    tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("its address"));
        let server = Arc::new(Server::default());
        let served = Arc::clone(&server);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let served = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let served = Arc::clone(&served);
                        async move { Ok::<_, Infallible>(served.answer(request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(tcp), service).await);
                });
            }
        });
        let spec = Http {
            url: url.parse().expect("a URL"),
            headers: Vec::new(),
            credential: crate::Credential::Written,
            transport: crate::Transport::Http,
            tls: None,
        };
        let client = net::Client::new(net::Settings::default());
        let (connection, driver) = start(client, &spec, None, Duration::from_secs(20));
        let connection = Arc::new(connection);
        let driven = Arc::clone(&connection);
        tasks.spawn(async move { drop(driven.run(driver, std::future::pending()).await) });
        let peer = Peer::new(Carrier::Http(Arc::clone(&connection)), Abilities::default());
        Box::pin(peer.greet(Some(Era::Legacy)))
            .await
            .expect("a greeting");
        Self {
            server,
            connection,
            peer,
            tasks,
        }
    }

    async fn call(&self) -> Outcome<Bytes> {
        let text = Bytes::from_static(
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#,
        );
        let Ok(Frame::Request(request)) = Frame::decode(&text) else {
            panic!("a request");
        };
        let params: Params = request.read_params().expect("params").clone();
        let request = Request {
            method: &method::TOOLS_CALL,
            params,
            name: None,
            task_id: None,
            input: None,
            mirrored: Vec::new(),
            trace: None,
            extension: None,
            caller: Caller::default(),
        };
        self.peer.call(&request, None).await.expect("an answer")
    }
}

fn result(epoch: usize) -> Outcome<Bytes> {
    Outcome::Result(format!("{{\"in\":{epoch}}}").into())
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_made_anew() {
    let world = Box::pin(World::start()).await;
    assert_eq!(world.call().await, result(0));
    world.server.epoch.store(1, Ordering::SeqCst);
    // Many at once lose the same session; every one of them is answered.
    let calls = futures_util::future::join_all((0..8).map(|_| world.call())).await;
    assert!(calls.iter().all(|answer| *answer == result(1)), "{calls:?}");
    // And what the server offers is looked at again.
    world.connection.inbox.changed.notified().await;
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_end_of_its_stream() {
    let world = Box::pin(World::start()).await;
    let began = tokio::time::Instant::now();
    for _ in 0..40 {
        assert_eq!(world.call().await, result(0));
    }
    // The streams never end. Waiting even 50 ms for each would be two seconds.
    assert!(began.elapsed() < Duration::from_secs(2));
    drop(world.tasks);
}

#[tokio::test]
async fn an_answer_counts_also_when_others_could_not_reach_the_server() {
    let world = Box::pin(World::start()).await;
    let connection = &world.connection;
    let id = connection.inbox.next_id();
    let params = Bytes::from_static(b"{}");
    let exchange = connection.exchange(Outgoing::own(id, "tools/call", params));
    let close = async { connection.inbox.close() };
    let (answer, ()) = tokio::join!(exchange, close);
    assert_eq!(answer.expect("an answer"), result(0));
}
