//! An HTTP server that keeps what it is sent and answers as it is told: for receivers that no registry has, and for what
//! those that it has would not say.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A batch as it came.
#[derive(Debug, Clone)]
pub(super) struct Batch {
    pub(super) line: String,
    pub(super) credential: String,
    pub(super) content_type: String,
    pub(super) lines: Vec<Value>,
    /// What was answered.
    pub(super) status: u16,
}

/// The server; ends when dropped.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    _serving: JoinSet<()>,
}

/// Statuses to answer with before all is well, and what to say then.
struct State {
    batches: Mutex<Vec<Batch>>,
    next: Mutex<VecDeque<(u16, String)>>,
    refused: Mutex<Option<String>>,
    usual: String,
}

impl Receiver {
    /// One that answers with 200 and `usual`, unless it is told otherwise.
    pub(super) async fn start(usual: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            batches: Mutex::default(),
            next: Mutex::default(),
            refused: Mutex::default(),
            usual: usual.to_owned(),
        });
        let mut serving = JoinSet::new();
        let kept = Arc::clone(&state);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                let service = service_fn(move |request| {
                    let kept = Arc::clone(&kept);
                    async move { Ok::<_, Infallible>(kept.take(request).await) }
                });
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // How a connection ends is the gate's to judge.
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Ok(Self {
            address,
            state,
            _serving: serving,
        })
    }

    /// Has the next batches answered so, in this order.
    pub(super) fn answer(&self, answers: &[(u16, &str)]) {
        let answers = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()));
        self.state.next.lock().extend(answers);
    }

    /// From now on batches in which this stands are answered with 400; `None`: none.
    pub(super) fn refuse(&self, what: Option<&str>) {
        *self.state.refused.lock() = what.map(str::to_owned);
    }

    /// All batches so far.
    pub(super) fn batches(&self) -> Vec<Batch> {
        self.state.batches.lock().clone()
    }

    /// What stands in the batches that were taken, line by line.
    pub(super) fn taken(&self) -> Vec<Value> {
        let taken = self.batches().into_iter().filter(|one| one.status == 200);
        taken.flat_map(|one| one.lines).collect()
    }
}

impl State {
    async fn take(&self, request: Request<Incoming>) -> Response<String> {
        let (head, body) = request.into_parts();
        let text = read(body).await;
        let text = String::from_utf8_lossy(&text);
        let header = |name| {
            let value = head.headers.get(name);
            let value = value.and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let is_refused = self
            .refused
            .lock()
            .as_ref()
            .is_some_and(|what| text.contains(what));
        let next = match is_refused {
            true => Some((400, String::new())),
            false => self.next.lock().pop_front(),
        };
        let (status, answer) = next.unwrap_or_else(|| (200, self.usual.clone()));
        self.batches.lock().push(Batch {
            line: format!("{} {}", head.method, head.uri),
            credential: header(AUTHORIZATION),
            content_type: header(CONTENT_TYPE),
            lines: text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or(Value::Null))
                .collect(),
            status,
        });
        let mut response = Response::new(answer);
        *response.status_mut() = status.try_into().unwrap_or_default();
        response
    }
}

async fn read(mut body: Incoming) -> Bytes {
    let mut whole = Vec::new();
    while let Some(Ok(frame)) =
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await
    {
        whole.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    whole.into()
}
