//! Fetching, against raw servers that answer what they are told to.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::Settings;

const SOON: Duration = Duration::from_secs(5);

/// Answers each connection with the next of its answers, the last for ever, and keeps the heads that it was sent.
struct Peer {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Peer {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let mut tasks = JoinSet::new();
        let kept = Arc::clone(&heads);
        tasks.spawn(async move {
            for nth in 0.. {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                    if tcp.read_buf(&mut head).await.unwrap() == 0 {
                        break;
                    }
                }
                kept.lock().push(String::from_utf8(head).unwrap());
                let answer = answers.get(nth).or(answers.last()).unwrap();
                // Who reads no further has gone.
                drop(tcp.write_all(answer.as_bytes()).await);
            }
        });
        Self {
            address,
            heads,
            _tasks: tasks,
        }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

fn moved(status: u16, location: &str) -> String {
    format!(
        "HTTP/1.1 {status} Moved\r\nconnection: close\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
    )
}

fn get(url: Url) -> Fetch {
    Fetch {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        reach: Reach::Operator,
        redirects_max: REDIRECTS_MAX,
        body_max: 1024,
        timeout: SOON,
    }
}

async fn fetch(fetch: Fetch) -> Result<Fetched, Error> {
    Client::new(Settings::default()).fetch(fetch).await
}

#[tokio::test]
async fn a_document_comes_whole_and_says_where_from() {
    let peer = Peer::start(vec![moved(302, "/b?c"), ok("{}")]).await;
    let fetched = fetch(get(peer.url("/a"))).await.unwrap();
    assert_eq!(fetched.status, 200);
    assert_eq!(&fetched.body[..], b"{}");
    assert_eq!(fetched.url, peer.url("/b?c"));
}

#[tokio::test]
async fn http_is_for_this_machine_alone() {
    for (url, reach) in [
        ("http://example.com/a", Reach::Operator),
        ("http://127.0.0.1/a", Reach::Public),
        ("http://127.0.0.1.example.com/a", Reach::Operator),
        ("http://10.0.0.1/a", Reach::Operator),
        ("ftp://127.0.0.1/a", Reach::Operator),
        ("file:///etc/passwd", Reach::Operator),
        ("https://alice@example.com/a", Reach::Public),
        ("https://:secret@example.com/a", Reach::Public),
    ] {
        let asked = Fetch {
            reach,
            ..get(Url::parse(url).unwrap())
        };
        let refused = fetch(asked).await.unwrap_err();
        assert!(matches!(refused, Error::Url(_)), "{url}: {refused}");
    }
}

#[tokio::test]
async fn a_url_from_outside_does_not_reach_inside() {
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "[::1]",
        "10.0.0.1",
        "localhost",
        "0x7f.1",
    ] {
        let asked = Fetch {
            reach: Reach::Public,
            ..get(Url::parse(&format!("https://{host}/a")).unwrap())
        };
        let refused = fetch(asked).await.unwrap_err();
        assert!(
            matches!(refused, Error::Refused { .. }),
            "{host}: {refused}"
        );
    }
}

#[tokio::test]
async fn a_server_cannot_send_us_to_where_its_operator_could() {
    let inner = Peer::start(vec![ok("secret")]).await;
    for target in [
        inner.url("/a").to_string(),
        format!("https://{}/a", inner.address),
        format!("//{}/a", inner.address),
        "https://169.254.169.254/latest".to_owned(),
        "file:///etc/passwd".to_owned(),
    ] {
        let outer = Peer::start(vec![moved(307, &target)]).await;
        let refused = fetch(get(outer.url("/"))).await.unwrap_err();
        assert!(
            matches!(refused, Error::Url(_) | Error::Refused { .. }),
            "{target}: {refused}"
        );
    }
    assert!(inner.heads().is_empty());
}

#[test]
fn nothing_leads_from_https_to_http() {
    let from = Url::parse("https://example.com/a").unwrap();
    assert!(next(&from, b"http://example.com/b").is_err());
    assert!(next(&from, b"http://127.0.0.1/b").is_err());
    assert!(next(&from, b"\xff").is_err());
    assert_eq!(
        next(&from, b"//b.example/c").unwrap().as_str(),
        "https://b.example/c"
    );
}

#[test]
fn what_may_be_a_credential_stays_with_its_origin() {
    let mut headers = HeaderMap::new();
    for name in [
        "authorization",
        "cookie",
        "dpop",
        "x-api-key",
        "x-anything",
        "accept",
        "user-agent",
    ] {
        headers.insert(name, HeaderValue::from_static("x"));
    }
    let kept = harmless(&headers);
    let mut kept: Vec<_> = kept.keys().map(header::HeaderName::as_str).collect();
    kept.sort_unstable();
    assert_eq!(kept, ["accept", "user-agent"]);
}

#[tokio::test]
async fn redirects_end() {
    let peer = Peer::start(vec![moved(302, "/again")]).await;
    let asked = Fetch {
        redirects_max: 1000,
        ..get(peer.url("/"))
    };
    assert_eq!(fetch(asked).await.unwrap().status, 302);
    assert_eq!(peer.heads().len(), 1 + REDIRECTS_MAX);
}

#[tokio::test]
async fn a_post_is_said_once() {
    for status in [301, 302, 303, 307, 308] {
        let peer = Peer::start(vec![moved(status, "/b")]).await;
        let asked = Fetch {
            method: Method::POST,
            body: Bytes::from_static(b"client_secret=x"),
            ..get(peer.url("/a"))
        };
        assert_eq!(fetch(asked).await.unwrap().status, status);
        assert_eq!(peer.heads().len(), 1);
    }
}

#[tokio::test]
async fn a_body_has_a_bound_and_the_whole_a_deadline() {
    let peer = Peer::start(vec![ok(&"x".repeat(1025))]).await;
    let refused = fetch(get(peer.url("/"))).await.unwrap_err();
    assert!(
        matches!(refused, Error::TooLarge { max: 1024 }),
        "{refused}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let asked = Fetch {
        timeout: Duration::from_millis(50),
        ..get(Url::parse(&url).unwrap())
    };
    let refused = fetch(asked).await.unwrap_err();
    assert!(matches!(refused, Error::Timeout { .. }), "{refused}");
}

#[test]
fn what_is_printed_tells_no_secret() {
    let mut asked = get(Url::parse("https://a.example/b?code=hunter2").unwrap());
    asked
        .headers
        .insert("authorization", HeaderValue::from_static("hunter2"));
    asked.body = Bytes::from_static(b"hunter2");
    assert!(!format!("{asked:?}").contains("hunter2"));
}
