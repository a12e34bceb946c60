//! `fetch` against a real server on port 0, and against addresses that it must not reach.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::native::Spec;
use crate::native::tests::World;

struct Site {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&requests);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        counted.fetch_add(1, Ordering::SeqCst);
                        std::future::ready(Ok::<_, Infallible>(answer(&request)))
                    });
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(tcp), service)
                            .await,
                    );
                });
            }
        });
        Self {
            address,
            requests,
            _tasks: tasks,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn answer(request: &http::Request<Incoming>) -> http::Response<Full<Bytes>> {
    let (status, headers, body): (u16, &[(&str, &str)], Vec<u8>) = match request.uri().path() {
        "/page" => (
            200,
            &[("content-type", "text/html; charset=utf-8")],
            "<html><head><title> A &amp; B </title><style>p { color: red }</style></head><body><h1>Hello</h1>\
             <script>alert('no')</script><p>A <a href=\"/x\">link</a> &amp; more.</p></body></html>"
                .into(),
        ),
        "/text" => (200, &[("content-type", "text/plain")], "äöü".repeat(10).into()),
        "/latin" => (200, &[("content-type", "text/plain")], vec![b'a', 0xe4, b'b']),
        "/json" => (200, &[("content-type", "application/problem+json")], "{\"a\":1}".into()),
        "/untold" => (200, &[], "plain".into()),
        "/bytes" => (200, &[], vec![0, 1, 2]),
        "/image" => (200, &[("content-type", "image/png")], vec![0x89]),
        "/large" => (200, &[("content-type", "text/plain")], vec![b'x'; (2 << 20) + 1]),
        "/deep" => (200, &[("content-type", "text/html")], "<div>".repeat(50_000).into()),
        "/many" => {
            let bold: String = (0..1000).map(|n| format!("<b id={n}>")).collect();
            (200, &[("content-type", "text/html")], format!("{bold}{}", "<p>x".repeat(100_000)).into())
        }
        "/gzip" => (200, &[("content-type", "text/plain"), ("content-encoding", "gzip")], vec![0x1f]),
        "/hop" => (302, &[("location", "/page")], Vec::new()),
        "/loop" => (302, &[("location", "/loop")], Vec::new()),
        "/nowhere" => (302, &[("location", "http://[")], Vec::new()),
        "/file" => (302, &[("location", "file:///etc/passwd")], Vec::new()),
        _ => (404, &[("content-type", "text/plain")], "not here".into()),
    };
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response
        .body(Full::new(Bytes::from(body)))
        .expect("a response")
}

fn open() -> World {
    World::of(|_| Spec::Fetch { private: true })
}

#[tokio::test]
async fn a_page_becomes_markdown_without_its_scripts() {
    let (site, world) = (Site::start().await, open());
    let page = world
        .call("fetch", json!({"url": site.url("/page")}))
        .await
        .expect("a page");
    assert_eq!(page["title"], "A & B");
    assert_eq!(page["content"], "# Hello\n\nA [link](/x) & more.");
    assert_eq!(
        (&page["status"], &page["url"]),
        (&json!(200), &json!(site.url("/page")))
    );
    world.end().await;
}

#[tokio::test]
async fn a_redirect_is_followed_and_told() {
    let (site, world) = (Site::start().await, open());
    let page = world
        .call("fetch", json!({"url": site.url("/hop")}))
        .await
        .expect("a page");
    assert_eq!(
        (&page["url"], &page["title"]),
        (&json!(site.url("/page")), &json!("A & B"))
    );
    world.end().await;
}

#[tokio::test]
async fn a_redirect_that_leads_nowhere_good_ends() {
    let (site, world) = (Site::start().await, open());
    for (path, requests) in [("/loop", 4), ("/nowhere", 1), ("/file", 1)] {
        let before = site.requests.load(Ordering::SeqCst);
        world
            .call("fetch", json!({"url": site.url(path)}))
            .await
            .expect_err(path);
        assert_eq!(
            site.requests.load(Ordering::SeqCst) - before,
            requests,
            "{path}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn text_comes_as_it_is_and_in_parts() {
    let (site, world) = (Site::start().await, open());
    let ask = json!({"url": site.url("/text"), "start_index": 3, "max_length": 4});
    let part = world.call("fetch", ask).await.expect("a part");
    assert_eq!(
        (&part["content"], &part["length"], &part["next_index"]),
        (&json!("äöüä"), &json!(30), &json!(7))
    );
    let last = json!({"url": site.url("/text"), "start_index": 27});
    let last = world.call("fetch", last).await.expect("the last part");
    assert_eq!(
        (&last["content"], last.get("next_index")),
        (&json!("äöü"), None)
    );
    let past = json!({"url": site.url("/text"), "start_index": 30});
    world.call("fetch", past).await.expect_err("past the end");
    for (path, content) in [
        ("/json", "{\"a\":1}"),
        ("/untold", "plain"),
        ("/absent", "not here"),
    ] {
        let page = world
            .call("fetch", json!({"url": site.url(path)}))
            .await
            .expect(path);
        assert_eq!(page["content"], content, "{path}");
    }
    let latin = world
        .call("fetch", json!({"url": site.url("/latin")}))
        .await
        .expect("a text");
    assert_eq!(latin["content"], "a\u{fffd}b");
    assert!(latin["note"].is_string());
    world.end().await;
}

#[tokio::test]
async fn what_is_no_text_or_too_much_is_refused() {
    let (site, world) = (Site::start().await, open());
    for (path, word) in [
        ("/image", "image/png"),
        ("/bytes", "no text"),
        ("/large", "2 MiB"),
        ("/gzip", "compressed"),
    ] {
        let error = world
            .call("fetch", json!({"url": site.url(path)}))
            .await
            .expect_err(path);
        assert!(error.contains(word), "{path}: {error}");
    }
    for url in [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:1",
    ] {
        world
            .call("fetch", json!({"url": url}))
            .await
            .expect_err(url);
    }
    world.end().await;
}

#[tokio::test]
async fn a_page_made_to_choke_on_is_cut() {
    let (site, world) = (Site::start().await, open());
    for path in ["/deep", "/many"] {
        let page = world
            .call("fetch", json!({"url": site.url(path)}))
            .await
            .expect("what is left");
        assert!(
            page["note"]
                .as_str()
                .is_some_and(|note| note.contains("complicated")),
            "{path}"
        );
    }
    world.end().await;
}

#[tokio::test]
async fn this_machine_is_not_reached_unless_allowed() {
    let (site, world) = (
        Site::start().await,
        World::of(|_| Spec::Fetch { private: false }),
    );
    let port = site.address.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "[::ffff:127.0.0.1]",
        "0",
    ] {
        let error = world
            .call(
                "fetch",
                json!({"url": format!("http://{host}:{port}/page")}),
            )
            .await
            .expect_err(host);
        assert!(error.contains("public"), "{host}: {error}");
        assert!(!error.contains("127.0.0.1"), "{error}");
    }
    assert_eq!(site.requests.load(Ordering::SeqCst), 0);
    world.end().await;
}

#[tokio::test]
async fn a_redirect_keeps_the_reach_it_began_with() {
    let site = Site::start().await;
    let client = Client::new(net::Settings::default());
    let fetch = Fetch::new(client.clone(), false);
    // The site itself is on loopback, so its first answer is had with an operator's reach.
    let mut first = fetch.request(Url::parse(&site.url("/hop")).expect("a URL"));
    assert_eq!(first.reach, Reach::Public);
    first.reach = Reach::Operator;
    let response = client.send(first).await.expect("an answer");
    let here = Url::parse(&site.url("/hop")).expect("a URL");
    let next = redirect(&response, &here)
        .expect("a URL")
        .expect("a redirect");
    let error = fetch.follow(next).await.expect_err("refused");
    assert!(error.0.contains("public"), "{error:?}");
    assert_eq!(site.requests.load(Ordering::SeqCst), 1);
}
