//! A provider as the rest of the gate meets it: behind a link.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use policy::{Clock, Instant, UpstreamId};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wire::{Era, Frame, Revision, method};

use super::*;
use crate::{Input, Item, Kind, Link, Parts, Sharing, Spec, Updates, native};

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::default()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

/// Answers with the parameters that it was given.
#[derive(Debug)]
struct Echo {
    tools: Mutex<Vec<&'static str>>,
    told: broadcast::Sender<Notice>,
}

impl Echo {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tools: Mutex::new(vec!["echo"]),
            told: broadcast::channel(4).0,
        })
    }

    fn tell(&self, method: &str, params: &Value) {
        let notice = Notice::new(method, params.to_string().into());
        self.told.send(notice).expect("a listener");
    }
}

impl Provider for Echo {
    fn listing(&self) -> Listing {
        let read = |name: &&str| Item::read(json!({ "name": name }).to_string().into(), "name");
        Listing {
            tools: self.tools.lock().iter().filter_map(read).collect(),
            subscribes: true,
            ..Listing::default()
        }
    }

    fn told(&self) -> broadcast::Receiver<Notice> {
        self.told.subscribe()
    }

    fn call<'a>(&'a self, request: &'a Request, _: Option<&'a Events>) -> Answering<'a> {
        Box::pin(async {
            let params = request.modern_params().map_err(Error::Protocol)?;
            Ok(Outcome::Result(params))
        })
    }
}

/// Who has no credential for anybody: what is in this process wants none.
#[derive(Debug)]
struct Nobody;

impl crate::Credentials for Nobody {
    fn at_hand(&self, _: crate::For<'_>) -> Option<http::HeaderValue> {
        None
    }
    fn obtain<'a>(&'a self, _: crate::For<'a>) -> crate::Obtaining<'a> {
        Box::pin(async { Ok(None) })
    }
    fn refused<'a>(&'a self, _: crate::For<'a>, _: crate::Refusal<'a>) -> crate::Judging<'a> {
        Box::pin(std::future::pending())
    }
    fn lister(&self, _: &UpstreamId) -> Option<Arc<str>> {
        None
    }
    fn is_connected(&self, _: &UpstreamId, _: &str) -> bool {
        false
    }
    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}

/// A link to a provider; the folder is what it stands on.
fn link(provider: &Arc<Echo>) -> (Arc<Link>, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let client = net::Client::new(net::Settings::default());
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let parts = Parts {
        client: client.clone(),
        clock: Arc::clone(&clock),
        supervisor: None,
        native: native::Parts {
            client,
            store: store::Store::open(&folder.path().join("store.db")).expect("a store"),
            clock,
            status: Arc::new(|| Value::Null),
        },
        credentials: Arc::new(Nobody),
        told: broadcast::channel(4).0,
    };
    let spec = Spec {
        id: UpstreamId::new("echo").expect("a name"),
        kind: Kind::Provider(Arc::clone(provider) as Arc<dyn Provider>),
        timeout: Duration::from_secs(5),
        timeout_connect: Duration::from_secs(5),
        sharing: Sharing::Shared,
        methods: Vec::new(),
    };
    (Arc::new(Link::new(spec, parts).expect("a link")), folder)
}

#[tokio::test]
async fn a_provider_is_spoken_to_in_the_modern_form_whatever_the_client_speaks() {
    let body = json!({
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": { "name": "mine.echo", "_meta": { "progressToken": 18_446_744_073_709_551_615_u64 } },
    });
    let Ok(Frame::Request(message)) = Frame::decode(&body.to_string().into()) else {
        panic!("a request")
    };
    let request = Request {
        method: &method::TOOLS_CALL,
        params: message.read_params().expect("parameters").clone(),
        name: Some("echo".to_owned()),
        task_id: None,
        input: Some(Input {
            responses: Some("{\"name\":{\"action\":\"accept\"}}".to_owned()),
            state: Some("mine".to_owned()),
        }),
        mirrored: Vec::new(),
        trace: None,
        extension: None,
        caller: crate::Caller {
            capabilities: Some("{\"sampling\":{}}".to_owned()),
            era: Era::Legacy,
            ..crate::Caller::default()
        },
    };
    let (link, _folder) = link(&Echo::new());
    let reply = link.call(&request, None).await.expect("an answer");
    assert_eq!(reply.era, Era::Modern);
    let Outcome::Result(params) = reply.outcome else {
        panic!("a result")
    };
    let params: Value = serde_json::from_slice(&params).expect("JSON");
    assert_eq!(params["name"], "echo");
    assert_eq!(params["inputResponses"]["name"]["action"], "accept");
    assert_eq!(params["requestState"], "mine");
    let meta = &params["_meta"];
    assert_eq!(meta["progressToken"], 18_446_744_073_709_551_615_u64);
    assert_eq!(
        meta[wire::meta::PROTOCOL_VERSION],
        Revision::LATEST.as_str()
    );
    assert_eq!(
        meta[wire::meta::CLIENT_CAPABILITIES],
        json!({ "sampling": {} })
    );
}

#[tokio::test]
async fn what_a_provider_tells_is_taken_over() {
    let echo = Echo::new();
    let (link, _folder) = link(&echo);
    let mut known = link.watch();
    assert_eq!(known.borrow_and_update().listing.tools.len(), 1);
    let stop = CancellationToken::new();
    let tell = async {
        while echo.told.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        echo.tools.lock().push("shout");
        echo.tell("notifications/tools/list_changed", &json!({}));
        let changed = known.wait_for(|snapshot| snapshot.listing.tools.len() == 2);
        assert_eq!(changed.await.expect("a link").announced.tools, 1);

        let updates = Updates::default();
        let subscribed = link.subscribe("x://a", &updates);
        let _subscription = subscribed.await.expect("a subscription");
        let changed = json!({ "uri": "x://a" });
        echo.tell("notifications/resources/updated", &changed);
        assert_eq!(updates.next().await.uri, "x://a");
        stop.cancel();
    };
    let all = async { tokio::join!(link.run(stop.clone()), tell) };
    tokio::time::timeout(Duration::from_secs(10), all)
        .await
        .expect("heard in time");
}

#[test]
fn only_the_very_same_provider_stays_at_a_reload() {
    let kind = |echo: &Arc<Echo>| Kind::Provider(Arc::clone(echo) as Arc<dyn Provider>);
    let echo = Echo::new();
    assert_eq!(kind(&echo), kind(&echo));
    assert_ne!(kind(&echo), kind(&Echo::new()));
}
