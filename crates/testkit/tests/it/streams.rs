//! The streams of legacy sessions: a lost connection loses nothing, and nobody gets what is another's.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testkit::mcp::{call, call_with_progress, notification};
use testkit::world::{Exchange, Session, World, until};

const ONE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
"#;
const TWO_PEOPLE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
roles.all = { members = ["alice", "bob"], allow = ["*"] }
"#;
const STREAMING: [&str; 3] = ["2025-03-26", "2025-06-18", "2025-11-25"];

/// A call that tells of `steps` steps, waits for [`release`], and tells of two more.
async fn held(world: &World, session: &Session, steps: u32, token: &str) -> Result<Exchange> {
    let arguments = json!({ "steps": steps, "times": 2 });
    let message = call_with_progress(token, "s.hold", &arguments, token);
    world.begin_in(session, &message).await
}

/// Lets one call go on.
async fn release(world: &World, session: &Session) -> Result<()> {
    let reply = world
        .post_in(session, &call("release", "s.release", &json!({})))
        .await?;
    assert_eq!(reply.text()?, "released");
    Ok(())
}

async fn quiet(world: &World) -> Result<()> {
    until("no call in flight", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    })
    .await
}

/// The next event, and the id under which it came.
async fn event(exchange: &mut Exchange) -> Result<(Value, String)> {
    let event = exchange.event().await?.context("the stream ended")?;
    let id = exchange.last_event_id.clone().context("no event id")?;
    Ok((event, id))
}

/// All that is left: the step of each progress notification, the text of the answer.
async fn rest(mut exchange: Exchange, token: &str) -> Result<Vec<Value>> {
    assert_eq!(exchange.status, 200);
    let mut rest = Vec::new();
    while let Some(event) = exchange.event().await? {
        if event["method"] == "notifications/progress" {
            assert_eq!(event["params"]["progressToken"], token);
            rest.push(event["params"]["progress"].clone());
        } else {
            assert_eq!(event["id"], token);
            rest.push(event["result"]["content"][0]["text"].clone());
        }
    }
    Ok(rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() -> Result<()> {
    for revision in STREAMING {
        let world = World::of(ONE).await?;
        let session = world.open("local", revision).await?;
        let mut stream = held(&world, &session, 3, "mine").await?;
        let (_, first) = event(&mut stream).await?;
        event(&mut stream).await?;
        let (third, last) = event(&mut stream).await?;
        assert_eq!(third["params"]["progress"], 3);
        drop(stream);
        // It comes back while the call goes on,
        let stream = world.resume(&session, &last).await?;
        release(&world, &session).await?;
        assert_eq!(
            rest(stream, "mine").await?,
            [json!(4), json!(5), json!("let go")]
        );
        // and once more when it is over, from further back.
        let stream = world.resume(&session, &first).await?;
        let all = [json!(2), json!(3), json!(4), json!(5), json!("let go")];
        assert_eq!(rest(stream, "mine").await?, all);
        world.owe(1);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_nobody_listens_waits_for_the_client() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-11-25").await?;
    let mut stream = held(&world, &session, 1, "mine").await?;
    let (_, last) = event(&mut stream).await?;
    drop(stream);
    release(&world, &session).await?;
    quiet(&world).await?;
    let stream = world.resume(&session, &last).await?;
    assert_eq!(
        rest(stream, "mine").await?,
        [json!(2), json!(3), json!("let go")]
    );
    // Not for ever.
    world.advance(std::time::Duration::from_secs(5 * 60));
    let reply = world.whole(world.resume(&session, &last).await?).await?;
    assert_eq!((reply.status, reply.code()?), (400, -32600));
    world.owe(1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_of_one_session_never_mix() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-11-25").await?;
    let mut one = held(&world, &session, 1, "one").await?;
    let mut two = held(&world, &session, 1, "two").await?;
    let ((_, one_id), (_, two_id)) = (event(&mut one).await?, event(&mut two).await?);
    drop((one, two));
    release(&world, &session).await?;
    release(&world, &session).await?;
    quiet(&world).await?;
    let expected = [json!(2), json!(3), json!("let go")];
    let (one, two) = (
        world.resume(&session, &one_id).await?,
        world.resume(&session, &two_id).await?,
    );
    assert_eq!(rest(two, "two").await?, expected);
    assert_eq!(rest(one, "one").await?, expected);
    world.owe(2);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_resumes_what_is_another_sessions_or_principals() -> Result<()> {
    let world = World::of(TWO_PEOPLE).await?;
    let session = world.open("alice", "2025-11-25").await?;
    let mut stream = held(&world, &session, 1, "mine").await?;
    let (_, last) = event(&mut stream).await?;
    drop(stream);
    let other = world.open("alice", "2025-11-25").await?;
    let theirs = world.open("bob", "2025-11-25").await?;
    let stolen = Session {
        who: "bob".to_owned(),
        ..session.clone()
    };
    for (session, status) in [(&other, 400), (&theirs, 400), (&stolen, 404)] {
        let reply = world.whole(world.resume(session, &last).await?).await?;
        assert_eq!((reply.status, reply.code()?), (status, -32600));
        assert!(reply.answer()?.get("id").is_none(), "{:?}", reply.messages);
    }
    release(&world, &session).await?;
    let stream = world.resume(&session, &last).await?;
    assert_eq!(rest(stream, "mine").await?.last(), Some(&json!("let go")));
    world.owe(1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_that_know_it_are_primed() -> Result<()> {
    let world = World::of(ONE).await?;
    for revision in STREAMING {
        let session = world.open("local", revision).await?;
        let message = call_with_progress(1, "s.progress", &json!({ "steps": 1 }), "t");
        let mut exchange = world.begin_in(&session, &message).await?;
        let text = String::from_utf8(exchange.body().await?)?;
        let first = text.split("\n\n").next().unwrap_or_default();
        let lines: Vec<&str> = first.lines().collect();
        if revision == "2025-11-25" {
            assert!(lines[0].starts_with("id: "), "{text}");
            assert_eq!(lines[1..], ["retry: 1000", "data:"], "{text}");
        } else {
            assert!(!text.contains("retry:"), "{text}");
            assert!(lines[2].starts_with("data: {"), "{text}");
        }
        world.owe(1);
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_nobody_heard_are_told_to_whoever_comes_back() -> Result<()> {
    let world = World::of(ONE).await?;
    // The upstream's start is a change too.
    world.post("local", &call(0, "s.echo", &json!({}))).await?;
    let session = world.open("local", "2025-06-18").await?;
    let change = async || {
        let storm = call(1, "s.storm", &json!({ "times": 1 }));
        let before = world.upstream("s")?["tools"].clone();
        world.post("local", &storm).await?;
        until("the tool is there", async || {
            Ok(world.upstream("s")?["tools"] != before)
        })
        .await
    };
    let mut stream = world.listen_in(&session).await?;
    change().await?;
    let (told, last) = event(&mut stream).await?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    drop(stream);
    change().await?;
    let mut stream = world.resume(&session, &last).await?;
    let (told, newest) = event(&mut stream).await?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    assert_ne!(newest, last);
    drop(stream);
    // Who names no event is told of what nobody was told of,
    change().await?;
    let mut stream = world.listen_in(&session).await?;
    let (told, _) = event(&mut stream).await?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    // and who lost one on the way has it again.
    let mut again = world.resume(&session, &newest).await?;
    assert_eq!(event(&mut again).await?.0, told);
    // Of two streams the newer gets everything.
    assert_eq!(stream.event().await?, None);
    drop(again);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_says_so_on_its_stream() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-11-25").await?;
    let mut stream = held(&world, &session, 1, "mine").await?;
    let (_, last) = event(&mut stream).await?;
    drop(stream);
    let cancel = notification("notifications/cancelled", &json!({ "requestId": "mine" }));
    assert_eq!(world.post_in(&session, &cancel).await?.status, 202);
    let reply = world.whole(world.resume(&session, &last).await?).await?;
    assert_eq!(reply.code()?, -31005);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_goes_on_without_its_connection_and_each_call_can_be_cancelled() -> Result<()> {
    use testkit::world::Exchange;
    use tokio::io::AsyncWriteExt as _;

    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-03-26").await?;
    let ready = call("ready", "s.echo", &json!({}));
    world.post_in(&session, &ready).await?;
    let body = json!([
        call("silent", "s.silent", &json!({})),
        call("held", "s.hold", &json!({})),
    ]);
    let body = body.to_string();
    let bytes = world.request("POST", "local", &session.headers(), body.as_bytes())?;
    let mut stream = Exchange::connect(world.address()).await?;
    stream.write_all(&bytes).await?;
    world.in_flight(2).await?;
    drop(stream);
    world.owe(2);
    let cancel = notification("notifications/cancelled", &json!({ "requestId": "silent" }));
    world.post_in(&session, &cancel).await?;
    release(&world, &session).await?;
    quiet(&world).await?;
    let records = world.records().await?;
    let mut outcomes: Vec<(&str, &str)> = records
        .iter()
        .filter_map(|one| Some((one.row.entry.as_deref()?, one.row.outcome.as_str())))
        .collect();
    outcomes.sort_unstable();
    assert!(outcomes.contains(&("s.hold", "ok")), "{outcomes:?}");
    assert!(
        outcomes.contains(&("s.silent", "cancelled")),
        "{outcomes:?}"
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_an_end_of_its_own_says_when_to_come_back() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-11-25").await?;
    let mut changes = world.listen_in(&session).await?;
    let (text, records) = tokio::join!(changes.body(), world.stop());
    records?;
    let text = String::from_utf8(text?)?;
    assert!(text.ends_with("retry: 1000\n\n"), "{text}");
    Ok(())
}
