//! What answers mean, by a server on a socket that says what it is told to say.

use std::io;
use std::net::SocketAddr;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// How long a test waits for what is to come at once.
const DEADLINE: Duration = Duration::from_secs(5);

/// A server that gives one answer to every request. Ends when dropped.
pub(crate) struct Peer {
    address: SocketAddr,
    _running: JoinSet<io::Result<()>>,
}

impl Peer {
    pub(crate) async fn start(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                // Whoever hangs up in the middle may.
                drop(serve(stream, &answer).await);
            }
        });
        Self {
            address,
            _running: running,
        }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint {
            url: format!("http://{}/v1/metrics", self.address)
                .parse()
                .unwrap(),
            headers: HeaderMap::new(),
            resource: Vec::new(),
        }
    }
}

/// Answers, and stays until the other side goes: what was promised and not sent is stalled.
async fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    let mut read = Vec::new();
    while !is_whole(&read) {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer).await?;
    while stream.read_buf(&mut read).await? > 0 {}
    Ok(())
}

/// Whether it has its head, and as much after it as that says.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    request.len() >= end + 4 + length
}

/// An answer that ends where it says.
pub(crate) fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    promised(status, body.len(), body)
}

/// One that says it is so long.
pub(crate) fn promised(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

async fn tried(answer: Vec<u8>, within: Duration) -> Tried {
    let peer = Peer::start(answer).await;
    let client = net::Client::new(net::Settings::default());
    peer.endpoint()
        .post(&client, Vec::new(), within, read)
        .await
}

fn read(answer: &[u8]) -> Result<Said, prost::DecodeError> {
    let answer = ExportMetricsServiceResponse::decode(answer)?;
    let said = answer.partial_success.map(|partial| Said {
        rejected: partial.rejected_data_points,
        message: partial.error_message,
    });
    Ok(said.unwrap_or_default())
}

fn partly(rejected_data_points: i64, message: &str) -> Vec<u8> {
    let partial_success = Some(ExportMetricsPartialSuccess {
        rejected_data_points,
        error_message: message.to_owned(),
    });
    ExportMetricsServiceResponse { partial_success }.encode_to_vec()
}

#[tokio::test]
async fn a_success_is_what_a_collector_would_say() {
    let ok = async |body: &[u8]| tried(answer("200 OK", body), DEADLINE).await;
    assert!(matches!(ok(b"").await, Tried::Taken));
    // A warning, and nothing lost.
    assert!(matches!(ok(&partly(0, "old names")).await, Tried::Taken));
    assert!(matches!(ok(&partly(3, "too old")).await, Tried::Partly(3, why) if why == "too old"));
    let login = ok(b"<!doctype html><title>Log in</title>").await;
    assert!(
        matches!(&login, Tried::Never(why) if why == FOREIGN),
        "{login:?}"
    );
    let large = ok(&vec![0; ANSWER_MAX + 1]).await;
    assert!(
        matches!(&large, Tried::Never(why) if why == FOREIGN),
        "{large:?}"
    );
}

#[tokio::test]
async fn a_success_that_is_not_said_to_its_end_is_none() {
    let whole = partly(3, "too old");
    let stalled = promised("200 OK", whole.len(), &whole[..2]);
    let tried = tried(stalled, Duration::from_secs(1)).await;
    assert!(matches!(tried, Tried::Later(_, None)), "{tried:?}");
}

#[tokio::test]
async fn a_refusal_counts_once_its_head_is_there() {
    let stalled = promised("503 Busy\r\nRetry-After: 7", 100, b"");
    let tried = timeout(DEADLINE, tried(stalled, Duration::from_secs(1)));
    let tried = tried.await.expect("the rest is not waited for");
    let Tried::Later(why, wait) = tried else {
        panic!("{tried:?}")
    };
    assert_eq!(why, "it answers with status 503");
    assert_eq!(wait, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let said = |message: &str| {
        let message = message.to_owned();
        Status { message }.encode_to_vec()
    };
    let never = async |body: &[u8]| match tried(answer("400 Bad Request", body), DEADLINE).await {
        Tried::Never(why) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        never(&said("no such\n\u{202e}tenant")).await,
        "it answers with status 400: no such  tenant"
    );
    let long = never(&said(&"x".repeat(5000))).await;
    assert!(long.ends_with("xx…") && long.len() < 300, "{long}");
    // A page of some proxy's, or nothing.
    assert_eq!(never(b"<html>").await, "it answers with status 400");
    assert_eq!(never(b"").await, "it answers with status 400");
}
