//! An upstream over HTTP that gives back what it is told, after as long as the text itself decides: at `/new` without
//! sessions, at `/old` with them. A session there is one principal's, and that is looked at.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::poll_fn;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use uuid::Uuid;

/// An answer takes less than this.
const DELAY_MAX_MS: u64 = 20;
const SESSION: &str = "mcp-session-id";

/// The server; ends when dropped.
pub(super) struct Web {
    pub(super) address: SocketAddr,
    sessions: Arc<Sessions>,
    _serving: JoinSet<()>,
}

/// Whose canary was seen in each session.
type Sessions = Mutex<BTreeMap<String, Option<String>>>;

impl Web {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let sessions = Arc::<Sessions>::default();
        let mut serving = JoinSet::new();
        let seen = Arc::clone(&sessions);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let seen = Arc::clone(&seen);
                let service = service_fn(move |request| {
                    let seen = Arc::clone(&seen);
                    async move { Ok::<_, Infallible>(serve(request, &seen).await) }
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
            sessions,
            _serving: serving,
        })
    }

    /// How many sessions saw a canary.
    pub(super) fn sessions(&self) -> usize {
        let sessions = self.sessions.lock();
        sessions.values().filter(|canary| canary.is_some()).count()
    }
}

async fn serve(mut request: Request<Incoming>, sessions: &Sessions) -> Response<String> {
    if request.method() != Method::POST {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(message) = body(request.body_mut()).await else {
        return status(StatusCode::BAD_REQUEST);
    };
    if message.get("id").is_none() {
        return status(StatusCode::ACCEPTED);
    }
    let is_modern = request.uri().path() == "/new";
    let params = &message["params"];
    let mut session = None;
    let told = match message["method"].as_str().unwrap_or_default() {
        "initialize" if !is_modern => {
            let id = Uuid::new_v4().to_string();
            sessions.lock().insert(id.clone(), None);
            session = Some(id);
            json!({
                "protocolVersion": "2025-06-18",
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "web", "version": "1" },
            })
        }
        "server/discover" if is_modern => {
            let capabilities = json!({ "tools": {} });
            let found =
                json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities });
            whole(is_modern, found)
        }
        "tools/list" => {
            let tool = json!({ "name": "echo", "inputSchema": { "type": "object" } });
            whole(is_modern, json!({ "tools": [tool] }))
        }
        "tools/call" => {
            let text = params["arguments"]["text"].as_str().unwrap_or_default();
            let within = request.headers().get(SESSION);
            let within = within.and_then(|id| id.to_str().ok());
            if !is_modern && !is_one_principals(sessions, within, text) {
                return status(StatusCode::CONFLICT);
            }
            tokio::time::sleep(delay(text)).await;
            let content = json!([{ "type": "text", "text": text }]);
            whole(
                is_modern,
                json!({ "content": content, "structuredContent": { "text": text } }),
            )
        }
        _ => {
            let error = json!({ "code": -32601, "message": "Method not found" });
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
            let mut response = json_response(&answer);
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": told });
    let token = &params["_meta"]["progressToken"];
    let mut response = if token.is_null() {
        json_response(&answer)
    } else {
        let text = &params["arguments"]["text"];
        let told = json!({ "progressToken": token, "progress": 1, "message": text });
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": told });
        let mut events = Response::new(format!("data: {note}\n\ndata: {answer}\n\n"));
        let kind = hyper::header::HeaderValue::from_static("text/event-stream");
        events.headers_mut().insert("content-type", kind);
        events
    };
    if let Some(id) = session.and_then(|id| id.parse().ok()) {
        response.headers_mut().insert(SESSION, id);
    }
    response
}

/// Whether all that this session has seen is of whom this text is of.
fn is_one_principals(sessions: &Sessions, id: Option<&str>, text: &str) -> bool {
    let canary = text.split(' ').next().unwrap_or_default();
    let mut sessions = sessions.lock();
    let Some(seen) = id.and_then(|id| sessions.get_mut(id)) else {
        return false;
    };
    seen.get_or_insert_with(|| canary.to_owned()) == canary
}

fn delay(text: &str) -> Duration {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Duration::from_millis(hasher.finish() % DELAY_MAX_MS)
}

fn whole(is_modern: bool, mut own: Value) -> Value {
    if is_modern {
        own["resultType"] = "complete".into();
        own["ttlMs"] = 0.into();
        own["cacheScope"] = "private".into();
    }
    own
}

fn status(status: StatusCode) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    response
}

fn json_response(message: &Value) -> Response<String> {
    let mut response = Response::new(message.to_string());
    let kind = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", kind);
    response
}

async fn body(incoming: &mut Incoming) -> Result<Value> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut *incoming).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    serde_json::from_slice(&bytes).context("not JSON")
}
