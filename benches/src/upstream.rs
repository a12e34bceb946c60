//! A light MCP upstream over Streamable HTTP or stdio: all of the protocol that a call needs, nothing else.

use std::convert::Infallible;
use std::io::{self, BufRead as _, Write as _};
use std::net::Ipv4Addr;
use std::rc::Rc;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;

use crate::rpc;

const BODY_BYTES_MAX: usize = 1 << 20;
const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Serves on a free port until it is killed.
pub(crate) fn serve() -> Result<()> {
    let tasks = Rc::new(LocalSet::new());
    tasks.block_on(&crate::runtime()?, async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            // The process ends with its connections; nobody waits for them.
            tokio::task::spawn_local(async move {
                let http = hyper::server::conn::http1::Builder::new();
                // A client that hangs up early is no error here.
                drop(
                    http.serve_connection(TokioIo::new(stream), service_fn(handle))
                        .await,
                );
            });
        }
    })
}

/// Serves one client, line by line.
pub(crate) fn serve_stdio() -> Result<()> {
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().split(b'\n') {
        if let Some(body) = rpc::answer(&line?).body {
            out.write_all(format!("{body}\n").as_bytes())?;
            out.flush()?;
        }
    }
    Ok(())
}

async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() != Method::POST {
        let known = request.method() == Method::DELETE;
        return Ok(empty(if known {
            StatusCode::OK
        } else {
            StatusCode::METHOD_NOT_ALLOWED
        }));
    }
    let Ok(body) = Limited::new(request.into_body(), BODY_BYTES_MAX)
        .collect()
        .await
    else {
        return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
    };
    let reply = rpc::answer(&body.to_bytes());
    let Some(body) = reply.body else {
        return Ok(empty(StatusCode::ACCEPTED));
    };
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if reply.opens {
        // One name for all sessions will do: nothing is kept between calls.
        response
            .headers_mut()
            .insert(SESSION_ID, HeaderValue::from_static("bench-session"));
    }
    Ok(response)
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
