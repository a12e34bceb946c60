//! The transports on which a client holds one conversation over a network: HTTP+SSE and WebSockets.
//!
//! What a request without a conversation gets is in `cases/door/sse.md` and `cases/door/websocket.md`.

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use store::Outcome;
use testkit::clients::{Mode, Plan, Sdk, Transport};
use testkit::fixtures::Peers;
use testkit::mcp::{
    call, call_with_progress, initialize, is_answer, modern, notification, request,
};
use testkit::world::{Exchange, World, until};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

const ONE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
"#;
pub(crate) const BOTH: [Transport; 2] = [Transport::Sse, Transport::WebSocket];
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// One client's conversation, bytes in its own hand.
pub(crate) enum Line {
    Sse(Exchange, String),
    Socket(Box<WebSocketStream<TcpStream>>),
}

impl Line {
    pub(crate) async fn open(world: &World, who: &str, transport: Transport) -> Result<Self> {
        match transport {
            Transport::Sse => {
                let bytes = world.complete(who, "GET /sse HTTP/1.1\r\n", b"")?;
                let mut stream = world.send_raw(&bytes).await?;
                ensure!(stream.status == 200, "status {}", stream.status);
                ensure!(stream.is_stream(), "{:?}", stream.headers);
                let (kind, uri) = stream.named_event().await?.context("no first event")?;
                ensure!(kind == "endpoint", "the first event is `{kind}`");
                Ok(Self::Sse(stream, uri))
            }
            Transport::WebSocket => Ok(Self::Socket(Box::new(socket(world, who).await??))),
            Transport::Http => bail!("no conversation"),
        }
    }

    pub(crate) async fn tell(&mut self, world: &World, who: &str, message: &Value) -> Result<()> {
        match self {
            Self::Sse(_, uri) => {
                let status = posted(world, who, uri, message).await?;
                ensure!(status == 202, "status {status}");
            }
            Self::Socket(socket) => socket.send(message.to_string().into()).await?,
        }
        Ok(())
    }

    /// The next message; `None` at the end.
    pub(crate) async fn hear(&mut self) -> Result<Option<Value>> {
        match self {
            Self::Sse(stream, _) => stream.event().await,
            Self::Socket(socket) => loop {
                let next = timeout(PATIENCE, socket.next()).await?;
                match next.transpose()? {
                    Some(Message::Text(text)) => return Ok(Some(serde_json::from_str(&text)?)),
                    Some(Message::Close(_)) | None => return Ok(None),
                    Some(_) => {}
                }
            },
        }
    }

    /// The next message that is not about a list: upstreams may be starting still.
    pub(crate) async fn hear_but_lists(&mut self) -> Result<Value> {
        loop {
            let message = self.hear().await?.context("the conversation ended")?;
            let method = message["method"].as_str().unwrap_or_default();
            if !method.ends_with("/list_changed") {
                return Ok(message);
            }
        }
    }

    /// Asks, and gives all that came up to the answer.
    pub(crate) async fn ask(
        &mut self,
        world: &World,
        who: &str,
        message: &Value,
    ) -> Result<Vec<Value>> {
        self.tell(world, who, message).await?;
        let mut came = Vec::new();
        loop {
            let message = self.hear().await?.context("the conversation ended")?;
            came.push(message);
            if came.last().is_some_and(is_answer) {
                world.owe(1);
                return Ok(came);
            }
        }
    }
}

/// Posts a message to a stream's address.
async fn posted(world: &World, who: &str, uri: &str, message: &Value) -> Result<u16> {
    let head = format!("POST {uri} HTTP/1.1\r\nContent-Type: application/json\r\n");
    let bytes = world.complete(who, &head, message.to_string().as_bytes())?;
    let exchange = world.send_raw(&bytes).await?;
    Ok(world.whole(exchange).await?.status)
}

/// Opens a WebSocket; the inner result is the gate's word.
async fn socket(world: &World, who: &str) -> Result<Result<WebSocketStream<TcpStream>, Error>> {
    let mut asked = format!("ws://{}/ws", world.address()).into_client_request()?;
    let headers = asked.headers_mut();
    headers.insert("sec-websocket-protocol", "mcp".parse()?);
    if let Some(key) = world.key(who)? {
        headers.insert("authorization", format!("Bearer {key}").parse()?);
    }
    let stream = Exchange::connect(world.address()).await?;
    Ok(client_async(asked, stream).await.map(|(socket, response)| {
        assert_eq!(
            response.headers()["sec-websocket-protocol"],
            "mcp",
            "{response:?}"
        );
        socket
    }))
}

/// The code with which a WebSocket was closed.
async fn closed(socket: &mut WebSocketStream<TcpStream>) -> Result<CloseCode> {
    loop {
        let next = timeout(PATIENCE, socket.next()).await?;
        match next.context("closed without a word")?? {
            Message::Close(Some(frame)) => return Ok(frame.code),
            Message::Close(None) => bail!("closed without a code"),
            _ => {}
        }
    }
}

fn text(messages: &[Value]) -> Option<&str> {
    messages.last()?["result"]["content"][0]["text"].as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_eras_list_call_and_hear_of_progress_in_one_conversation() -> Result<()> {
    for transport in BOTH {
        for revision in ["2024-11-05", "2025-11-25"] {
            let world = World::of(ONE).await?;
            let mut line = Line::open(&world, "local", transport).await?;
            let hello = line.ask(&world, "local", &initialize(revision)).await?;
            assert_eq!(hello[0]["result"]["protocolVersion"], revision);
            let note = notification("notifications/initialized", &json!({}));
            line.tell(&world, "local", &note).await?;
            let list = request(1, "tools/list", &json!({}));
            let steps = call_with_progress(2, "s.progress", &json!({ "steps": 3 }), "mine");
            for (list, steps) in [(list.clone(), steps.clone()), (modern(list), modern(steps))] {
                let listed = line.ask(&world, "local", &list).await?;
                let tools = listed
                    .last()
                    .and_then(|list| list["result"]["tools"].as_array());
                assert!(tools.is_some_and(|tools| tools.len() >= 16), "{listed:?}");
                let came = line.ask(&world, "local", &steps).await?;
                let told = came
                    .iter()
                    .filter(|one| one["params"]["progressToken"] == "mine");
                assert_eq!(told.count(), 3, "{transport:?}: {came:?}");
                assert_eq!(text(&came), Some("done"));
            }
            drop(line);
            world.end().await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_answered_as_one_where_the_revision_has_them() -> Result<()> {
    for transport in BOTH {
        let world = World::of(ONE).await?;
        let mut line = Line::open(&world, "local", transport).await?;
        line.ask(&world, "local", &initialize("2024-11-05")).await?;
        let ping = |id: u32| request(id, "ping", &json!({}));
        line.tell(&world, "local", &json!([ping(1), ping(2)]))
            .await?;
        let answers = line.hear_but_lists().await?;
        assert_eq!(answers.as_array().map(Vec::len), Some(2), "{answers}");
        world.owe(2);
        drop(line);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_gets_no_answer_and_the_conversation_goes_on() -> Result<()> {
    for transport in BOTH {
        let world = World::of(ONE).await?;
        let mut line = Line::open(&world, "local", transport).await?;
        line.ask(&world, "local", &initialize("2025-06-18")).await?;
        line.tell(&world, "local", &call(7, "s.silent", &json!({})))
            .await?;
        world.in_flight(1).await?;
        let cancel = notification("notifications/cancelled", &json!({ "requestId": 7 }));
        line.tell(&world, "local", &cancel).await?;
        until("the call is given up", async || {
            Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
        })
        .await?;
        world.owe(1);
        let echo = call(8, "s.echo", &json!({ "text": "here" }));
        let came = line.ask(&world, "local", &echo).await?;
        assert!(came.iter().all(|message| message["id"] != 7), "{came:?}");
        assert_eq!(text(&came), Some("here"));
        drop(line);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_leaves_no_call_and_gives_the_place_back() -> Result<()> {
    for transport in BOTH {
        let world = World::of(&format!("{ONE}sessions.max = 1\n")).await?;
        let mut line = Line::open(&world, "local", transport).await?;
        line.tell(&world, "local", &modern(call(1, "s.silent", &json!({}))))
            .await?;
        world.in_flight(1).await?;
        // One place for all of them.
        for other in BOTH {
            let refused = match other {
                Transport::Sse | Transport::Http => {
                    let bytes = world.complete("local", "GET /sse HTTP/1.1\r\n", b"")?;
                    world.whole(world.send_raw(&bytes).await?).await?.status
                }
                Transport::WebSocket => match socket(&world, "local").await? {
                    Err(Error::Http(response)) => {
                        world.owe(1);
                        response.status().as_u16()
                    }
                    other => bail!("{other:?}"),
                },
            };
            assert_eq!(refused, 503, "{other:?} beside {transport:?}");
        }
        world
            .open("local", "2025-06-18")
            .await
            .expect_err("no room");
        drop(line);
        world.owe(1);
        until("the conversation is over", async || {
            Ok(world.metric("portcullis_sessions")? == 0.0)
        })
        .await?;
        let records = world.records().await?;
        let given_up = records
            .iter()
            .find(|record| record.row.entry.as_deref() == Some("s.silent"))
            .context("no record")?;
        assert_eq!(given_up.row.outcome, Outcome::Cancelled);
        let mut line = Line::open(&world, "local", transport).await?;
        line.ask(&world, "local", &initialize("2025-06-18")).await?;
        drop(line);
        world.end().await?;
    }
    Ok(())
}

const TWO_PEOPLE: &str = r#"
builtins = ["time"]
roles.clerk = { members = ["alice", "bob"], allow = ["*"] }
"#;
const WITHOUT_ALICE: &str = r#"
builtins = ["time"]
roles.clerk = { members = ["bob"], allow = ["*"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_messages_from_its_own_principal_only() -> Result<()> {
    let world = World::of(TWO_PEOPLE).await?;
    let mut line = Line::open(&world, "alice", Transport::Sse).await?;
    let Line::Sse(_, uri) = &line else {
        bail!("not a stream")
    };
    let id = uri.strip_prefix("/messages?session=").context("where?")?;
    assert_eq!(id.len(), 32, "128 bits");
    let ping = request(1, "ping", &json!({}));
    assert_eq!(posted(&world, "bob", uri, &ping).await?, 404);
    assert_eq!(posted(&world, "nobody", uri, &ping).await?, 401);
    assert_eq!(
        posted(&world, "alice", "/messages?session=0", &ping).await?,
        404
    );
    // Not a session either.
    let headers = [("Mcp-Session-Id", id.to_owned())];
    let bytes = world.request("POST", "alice", &headers, ping.to_string().as_bytes())?;
    assert_eq!(
        world.whole(world.send_raw(&bytes).await?).await?.status,
        404
    );
    let came = line.ask(&world, "alice", &ping).await?;
    assert_eq!(came.len(), 1, "{came:?}");
    drop(line);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_gone_ends_what_it_opened() -> Result<()> {
    let world = World::of(TWO_PEOPLE).await?;
    let mut stream = Line::open(&world, "alice", Transport::Sse).await?;
    let mut hers = socket(&world, "alice").await??;
    let mut his = Line::open(&world, "bob", Transport::WebSocket).await?;
    let ping = request(1, "ping", &json!({}));
    stream.ask(&world, "alice", &ping).await?;
    world.reload(WITHOUT_ALICE)?;
    hers.send(ping.to_string().into()).await?;
    assert_eq!(closed(&mut hers).await?, CloseCode::Policy);
    let Line::Sse(_, uri) = &stream else {
        bail!("not a stream")
    };
    assert_eq!(posted(&world, "alice", uri, &ping).await?, 401);
    his.ask(&world, "bob", &ping).await?;
    drop((stream, his));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_closes_the_socket_with_a_reason() -> Result<()> {
    let world = World::of("builtins = [\"time\"]\nhttp.body_max = \"1KiB\"\n").await?;
    let large = request(1, &"x".repeat(2000), &json!({})).to_string();
    for (message, code) in [
        (Message::binary("{}"), CloseCode::Unsupported),
        (Message::text(large.as_str()), CloseCode::Size),
    ] {
        let mut socket = socket(&world, "local").await??;
        socket.send(message).await?;
        assert_eq!(closed(&mut socket).await?, code);
    }
    // The same bound for what is posted; the stream goes on.
    let mut line = Line::open(&world, "local", Transport::Sse).await?;
    let Line::Sse(_, uri) = &line else {
        bail!("not a stream")
    };
    let large = serde_json::from_str(&large)?;
    assert_eq!(posted(&world, "local", uri, &large).await?, 413);
    line.ask(&world, "local", &request(2, "ping", &json!({})))
        .await?;
    drop(line);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_told_and_the_conversation_goes_on() -> Result<()> {
    for transport in BOTH {
        let world = World::of("builtins = [\"time\"]\n").await?;
        let mut line = Line::open(&world, "local", transport).await?;
        for nonsense in [json!({ "id": 3 }), json!([]), json!("hello")] {
            let came = line.ask(&world, "local", &nonsense).await?;
            assert_eq!(came[0]["error"]["code"], -32600, "{came:?}");
        }
        let early = line
            .ask(&world, "local", &request(4, "tools/list", &json!({})))
            .await?;
        assert_eq!(early[0]["error"]["code"], -32600, "{early:?}");
        drop(line);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn list_changes_reach_every_conversation() -> Result<()> {
    let world = World::of(ONE).await?;
    let mut lines = Vec::new();
    for transport in BOTH {
        let mut line = Line::open(&world, "local", transport).await?;
        line.ask(&world, "local", &initialize("2024-11-05")).await?;
        lines.push(line);
    }
    world.reload("builtins = [\"time\"]\nupstreams.s = { stdio = [\"{scripted}\"] }\n")?;
    for line in &mut lines {
        let told = line.hear().await?.context("the conversation ended")?;
        assert_eq!(told["method"], "notifications/tools/list_changed", "{told}");
    }
    drop(lines);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_is_in_flight_and_says_goodbye() -> Result<()> {
    for transport in BOTH {
        let world = World::of(ONE).await?;
        world.post("local", &call(1, "s.echo", &json!({}))).await?;
        let mut line = Line::open(&world, "local", transport).await?;
        let slow = modern(call(2, "s.slow", &json!({ "ms": 500 })));
        line.tell(&world, "local", &slow).await?;
        world.in_flight(1).await?;
        let end = async {
            let answer = line.hear().await?.context("the conversation ended")?;
            assert_eq!(text(&[answer]), Some("at last"));
            match &mut line {
                Line::Sse(stream, _) => assert_eq!(stream.event().await?, None),
                Line::Socket(socket) => assert_eq!(closed(socket).await?, CloseCode::Away),
            }
            anyhow::Ok(())
        };
        let (ended, records) = tokio::join!(end, world.stop());
        ended.with_context(|| format!("{transport:?}"))?;
        let last = records?.pop().context("no record")?;
        assert_eq!(last.row.outcome, Outcome::Ok);
        let carried = match transport {
            Transport::Sse => "sse",
            Transport::WebSocket | Transport::Http => "websocket",
        };
        assert_eq!(last.row.transport, carried);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_teams_clients_talk_over_them() -> Result<()> {
    let peers = Peers::locate()?;
    let everything = serde_json::to_string(&peers.everything()?.argv)?;
    let world = World::of(&format!("{ONE}upstreams.e = {{ stdio = {everything} }}\n")).await?;
    let (sse, socket) = (
        format!("http://{}/sse", world.address()),
        format!("ws://{}/ws", world.address()),
    );
    for (sdk, transport, url, mode) in [
        (Sdk::Python, Transport::Sse, &sse, Mode::Legacy),
        (Sdk::Python, Transport::Sse, &sse, Mode::Auto),
        (Sdk::TypeScript, Transport::Sse, &sse, Mode::Legacy),
        (Sdk::TypeScript, Transport::WebSocket, &socket, Mode::Legacy),
    ] {
        let seen = Plan::over(transport, url, mode)
            .call("s.echo", json!({ "text": "here" }))
            .call(
                "e.trigger-long-running-operation",
                json!({ "duration": 0.5, "steps": 4 }),
            )
            .run(sdk, &peers)
            .await
            .with_context(|| format!("{sdk:?} over {transport:?}, {mode:?}"))?;
        assert!(seen.tools.len() >= 16 + 13, "{sdk:?} over {transport:?}");
        let [echo, progress] = seen.steps.as_slice() else {
            bail!("{:?}", seen.steps)
        };
        assert_eq!(echo.text(), "here", "{sdk:?} over {transport:?}");
        assert!(progress.progress >= 3, "{sdk:?}: {progress:?}");
    }
    // Each call has its record; how many lists a client asks for is its own affair.
    let records = world.stop().await?;
    let calls = records.iter().filter(|one| one.row.method == "tools/call");
    assert_eq!(calls.count(), 8);
    Ok(())
}
