//! What a legacy upstream asks in the middle of a call reaches the client that made it, in the client's own form.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use auth::{Peer, Presented};
use bytes::Bytes;
use gateway::Pipe;
use serde_json::{Value, json};
use testkit::mcp::{call, headers, initialize_with, modern_with, notification, response};
use testkit::world::{Exchange, Reply, Session, World, until};
use tokio::sync::mpsc;
use tokio::time::timeout;

const ONE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
roles.all = { members = ["alice", "bob"], allow = ["*"] }
"#;
const PATIENCE: Duration = Duration::from_secs(20);

/// A client that can be asked everything.
fn able() -> Value {
    json!({ "elicitation": {}, "sampling": {}, "roots": {} })
}

fn ada() -> Value {
    json!({ "action": "accept", "content": { "name": "Ada" } })
}

async fn session(world: &World, revision: &str) -> Result<Session> {
    world.open_with("alice", revision, &able()).await
}

/// The next message, which must be a request.
async fn question(stream: &mut Exchange, method: &str) -> Result<Value> {
    let question = stream.event().await?.context("the stream ended")?;
    ensure!(question["method"] == method, "{question}");
    ensure!(question.get("id").is_some(), "{question}");
    Ok(question["id"].clone())
}

async fn reply_to(world: &World, session: &Session, id: &Value, result: &Value) -> Result<()> {
    let reply = world.post_in(session, &response(id, result)).await?;
    ensure!(reply.status == 202, "status {}", reply.status);
    Ok(())
}

async fn release(world: &World, session: &Session) -> Result<()> {
    let release = call("release", "s.release", &json!({}));
    world.post_in(session, &release).await?;
    Ok(())
}

fn came(text: &str, result: &Value) {
    let came: Value = serde_json::from_str(text).unwrap_or_default();
    assert_eq!(came, *result, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_is_asked_on_the_stream_of_its_call() -> Result<()> {
    let model = json!({
        "role": "assistant", "model": "m", "content": { "type": "text", "text": "something" },
    });
    let roots = json!({ "roots": [{ "uri": "file:///here" }] });
    let kinds = [
        ("s.ask_form", "elicitation/create", ada()),
        ("s.ask_model", "sampling/createMessage", model),
        ("s.ask_roots", "roots/list", roots),
    ];
    for revision in ["2025-06-18", "2025-11-25"] {
        let world = World::of(ONE).await?;
        let session = session(&world, revision).await?;
        for (tool, method, answer) in &kinds {
            let mut stream = world.begin_in(&session, &call(1, tool, &json!({}))).await?;
            let id = question(&mut stream, method).await?;
            reply_to(&world, &session, &id, answer).await?;
            came(world.whole(stream).await?.text()?, answer);
        }
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_a_client_that_lost_its_connection() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = session(&world, "2025-11-25").await?;
    let mut stream = world
        .begin_in(&session, &call(1, "s.ask_twice", &json!({})))
        .await?;
    let first = question(&mut stream, "elicitation/create").await?;
    let last = stream.last_event_id.clone().context("no event id")?;
    drop(stream);
    reply_to(&world, &session, &first, &ada()).await?;
    let mut stream = world.resume(&session, &last).await?;
    let second = question(&mut stream, "elicitation/create").await?;
    assert_ne!(first, second);
    reply_to(&world, &session, &second, &json!({ "action": "decline" })).await?;
    let reply = world.whole(stream).await?;
    assert_eq!(
        reply.text()?,
        format!("{} {}", ada(), json!({ "action": "decline" }))
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_taken_back_is_taken_back_from_the_client_too() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = session(&world, "2025-11-25").await?;
    let mut stream = world
        .begin_in(&session, &call(1, "s.ask_briefly", &json!({})))
        .await?;
    let id = question(&mut stream, "elicitation/create").await?;
    let next = stream.event().await?.context("the stream ended")?;
    assert_eq!(
        (&next["method"], &next["params"]["requestId"]),
        (&json!("notifications/cancelled"), &id)
    );
    // An answer that was on its way already is nobody's.
    reply_to(&world, &session, &id, &ada()).await?;
    release(&world, &session).await?;
    assert_eq!(world.whole(stream).await?.text()?, "never mind");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_with_its_call() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = session(&world, "2025-11-25").await?;
    let mut stream = world
        .begin_in(&session, &call(1, "s.ask_nobody", &json!({})))
        .await?;
    let id = question(&mut stream, "elicitation/create").await?;
    let next = stream.event().await?.context("the stream ended")?;
    assert_eq!(
        (&next["method"], &next["params"]["requestId"]),
        (&json!("notifications/cancelled"), &id)
    );
    assert_eq!(world.whole(stream).await?.text()?, "whatever");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_ends_its_questions() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = session(&world, "2025-11-25").await?;
    let mut stream = world
        .begin_in(&session, &call(1, "s.ask_form", &json!({})))
        .await?;
    question(&mut stream, "elicitation/create").await?;
    world.close(&session).await?;
    assert_eq!(stream.event().await?, None);
    world.owe(1);
    until("the upstream knows that nobody answers", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_cannot_do_is_not_asked_of_it() -> Result<()> {
    let world = World::of(ONE).await?;
    for capabilities in [json!({}), json!({ "sampling": {} })] {
        let session = world
            .open_with("alice", "2025-11-25", &capabilities)
            .await?;
        let reply = world
            .post_in(&session, &call(1, "s.ask_form", &json!({})))
            .await?;
        assert!(reply.text()?.contains("-32601"), "{:?}", reply.messages);
    }
    // Nor of one that could, but takes nothing before the answer.
    let session = session(&world, "2025-11-25").await?;
    let mut head =
        "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
            .to_owned();
    for (name, value) in session.headers() {
        head.push_str(&[name, ": ", &value, "\r\n"].concat());
    }
    let body = call(1, "s.ask_form", &json!({})).to_string();
    let bytes = world.complete("alice", &head, body.as_bytes())?;
    let reply = world.whole(world.send_raw(&bytes).await?).await?;
    assert!(!reply.is_stream);
    assert!(reply.text()?.contains("-32601"), "{:?}", reply.messages);
    world.end().await
}

/// A modern call of a client that can be asked.
async fn ask(world: &World, who: &str, message: &Value) -> Result<Reply> {
    let message = modern_with(message, &able());
    let body = message.to_string();
    let bytes = world.request("POST", who, &headers(&message), body.as_bytes())?;
    world.whole(world.send_raw(&bytes).await?).await
}

/// The input that is required, and the state.
fn required(reply: &Reply) -> Result<(Value, Value)> {
    let result = &reply.answer()?["result"];
    ensure!(result["resultType"] == "input_required", "{result}");
    Ok((
        result["inputRequests"].clone(),
        result["requestState"].clone(),
    ))
}

/// The retry of a call, with the same answer to whatever is required.
fn retry(tool: &str, arguments: &Value, required: &Value, state: &Value) -> Value {
    let mut message = call("again", tool, arguments);
    let keys = required.as_object().into_iter().flatten();
    let answers = keys.map(|(key, _)| (key.clone(), ada()));
    message["params"]["inputResponses"] = Value::Object(answers.collect());
    message["params"]["requestState"] = state.clone();
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_is_asked_in_the_result_and_its_retry_finishes_the_call() -> Result<()> {
    let world = World::of(ONE).await?;
    let none = json!({});
    let reply = ask(&world, "alice", &call(1, "s.ask_form", &none)).await?;
    let (asked, state) = required(&reply)?;
    let one = asked.as_object().and_then(|asked| asked.values().next());
    let one = one.context("nothing is asked")?;
    assert_eq!(one["method"], "elicitation/create");
    assert_eq!(one["params"]["message"], "Who are you?");
    let again = retry("s.ask_form", &none, &asked, &state);
    came(ask(&world, "alice", &again).await?.text()?, &ada());

    // Once more, and in two rounds.
    let reply = ask(&world, "alice", &call(1, "s.ask_twice", &none)).await?;
    let (asked, state) = required(&reply)?;
    let again = retry("s.ask_twice", &none, &asked, &state);
    let (asked, second) = required(&ask(&world, "alice", &again).await?)?;
    assert_ne!(state, second);
    let again = retry("s.ask_twice", &none, &asked, &second);
    let reply = ask(&world, "alice", &again).await?;
    assert_eq!(reply.text()?, format!("{} {}", ada(), ada()));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once_for_its_call_its_principal_and_a_while() -> Result<()> {
    let world = World::of(ONE).await?;
    let arguments = json!({ "text": "a" });
    let begin = async || {
        let reply = ask(&world, "alice", &call(1, "s.ask_form", &arguments)).await?;
        required(&reply)
    };
    let refused = async |who: &str, message: &Value| {
        let reply = ask(&world, who, message).await?;
        ensure!(reply.code()? == -32602, "{:?}", reply.messages);
        anyhow::Ok(())
    };
    let (asked, state) = begin().await?;
    let good = retry("s.ask_form", &arguments, &asked, &state);

    let text = state.as_str().context("a state is a string")?;
    let mut tampered = text.to_owned();
    let last = tampered.pop();
    tampered.push(if last == Some('A') { 'B' } else { 'A' });
    for state in [json!(tampered), json!(""), json!("x")] {
        refused("alice", &retry("s.ask_form", &arguments, &asked, &state)).await?;
    }
    refused("bob", &good).await?;
    let other = json!({ "text": "b" });
    refused("alice", &retry("s.ask_form", &other, &asked, &state)).await?;
    refused("alice", &retry("s.ask_twice", &arguments, &asked, &state)).await?;

    // None of that used it up; the right one does.
    came(ask(&world, "alice", &good).await?.text()?, &ada());
    refused("alice", &good).await?;

    let (asked, state) = begin().await?;
    world.advance(Duration::from_secs(10 * 60));
    refused("alice", &retry("s.ask_form", &arguments, &asked, &state)).await?;
    world.end().await
}

/// A client on a pipe.
struct Client {
    pipe: Arc<Pipe>,
    out: mpsc::Receiver<Bytes>,
}

impl Client {
    async fn new(world: &World) -> Result<Self> {
        let presented = Presented::nothing(Peer::Stdio);
        let gate = Arc::clone(world.gate());
        let principal = gate
            .authenticate(&presented)
            .await
            .map_err(anyhow::Error::msg)?;
        let (sender, out) = mpsc::channel(64);
        let pipe = Pipe::new(gate, principal, "stdio", sender);
        Ok(Self { pipe, out })
    }

    async fn tell(&self, message: &Value) {
        self.pipe.take(message.to_string().into()).await;
    }

    /// The next message, but for what the upstream's start changes in the lists.
    async fn hear(&mut self) -> Result<Value> {
        loop {
            let message = timeout(PATIENCE, self.out.recv()).await?;
            let message: Value = serde_json::from_slice(&message.context("closed")?)?;
            let method = message["method"].as_str().unwrap_or_default();
            if !method.ends_with("list_changed") {
                return Ok(message);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_on_a_pipe_is_asked_there() -> Result<()> {
    let world = World::of(ONE).await?;
    let mut client = Client::new(&world).await?;
    client.tell(&initialize_with("2025-11-25", &able())).await;
    client.hear().await?;
    client
        .tell(&notification("notifications/initialized", &json!({})))
        .await;

    client.tell(&call(1, "s.ask_form", &json!({}))).await;
    let asked = client.hear().await?;
    assert_eq!(asked["method"], "elicitation/create");
    client.tell(&response(&asked["id"], &ada())).await;
    let answer = client.hear().await?;
    came(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default(),
        &ada(),
    );

    client.tell(&call(2, "s.ask_nobody", &json!({}))).await;
    let asked = client.hear().await?;
    let taken_back = client.hear().await?;
    assert_eq!(taken_back["method"], "notifications/cancelled");
    assert_eq!(taken_back["params"]["requestId"], asked["id"]);
    assert_eq!(client.hear().await?["id"], 2);

    // The same pipe, the other era.
    let message = modern_with(&call(3, "s.ask_form", &json!({})), &able());
    client.tell(&message).await;
    let result = client.hear().await?["result"].clone();
    assert_eq!(result["resultType"], "input_required", "{result}");
    let again = retry(
        "s.ask_form",
        &json!({}),
        &result["inputRequests"],
        &result["requestState"],
    );
    client.tell(&modern_with(&again, &able())).await;
    let answer = client.hear().await?;
    came(
        answer["result"]["content"][0]["text"]
            .as_str()
            .unwrap_or_default(),
        &ada(),
    );
    world.owe(5);
    client.pipe.finish(Duration::ZERO).await;
    world.end().await
}

/// What a server keeps in a conversation, it keeps for one principal: also where nobody can be asked anything.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_principals_share_a_conversation_unless_the_upstream_is_declared_shared()
-> Result<()> {
    for (sessions, more) in [("per-client", [1, 2, 2]), ("shared", [0, 0, 0])] {
        let shared = "upstreams.s = { stdio = [\"{scripted}\"] }";
        let declared =
            format!("upstreams.s = {{ stdio = [\"{{scripted}}\"], sessions = \"{sessions}\" }}");
        let world = World::of(&ONE.replace(shared, &declared)).await?;
        world.ready("s", 0).await?;
        let alone = world.processes()?.len();
        for (who, more) in ["alice", "bob", "alice"].into_iter().zip(more) {
            let reply = world
                .post(who, &call(1, "s.echo", &json!({ "text": "here" })))
                .await?;
            assert_eq!(reply.text()?, "here");
            assert_eq!(world.processes()?.len(), alone + more, "{sessions}, {who}");
        }
        world.end().await?;
    }
    Ok(())
}
