//! Calls that take long, or yield much.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testkit::mcp::{call, call_with_progress, request};
use testkit::world::World;

const BEATING: &str = r#"
builtins = []
calls.heartbeat = "20ms"
upstreams.s = { stdio = ["{scripted}"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_that_its_silent_call_is_alive() -> Result<()> {
    let world = World::of(BEATING).await?;
    let held = call_with_progress(1, "s.hold", &json!({ "times": 2 }), "t");
    let mut exchange = world.begin("local", &held).await?;
    let mut told = Vec::new();
    for _ in 0..3 {
        let event = exchange.event().await?.context("the stream ended")?;
        assert_eq!(event["params"]["progressToken"], "t");
        told.push(event["params"]["progress"].as_f64().context("no number")?);
    }
    let released = world
        .post("local", &call(2, "s.release", &json!({})))
        .await?;
    assert_eq!(released.text()?, "released");
    let reply = world.whole(exchange).await?;
    for message in &reply.messages {
        told.extend(message["params"]["progress"].as_f64());
    }
    // Theirs is told as it is, and all of it grows.
    assert!(told.ends_with(&[1.0, 2.0]), "{told:?}");
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
    assert_eq!(reply.text()?, "let go");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gave_no_token_hears_nothing_before_the_answer() -> Result<()> {
    let world = World::of(BEATING).await?;
    let slow = call(1, "s.slow", &json!({ "ms": 200 }));
    let reply = world.post("local", &slow).await?;
    assert_eq!((reply.text()?, reply.messages.len()), ("at last", 1));
    world.end().await
}

const SHORT: &str = r#"
builtins = []
calls.result_max = "4KiB"
upstreams.s = { stdio = ["{scripted}"] }
roles.some = { members = ["alice", "bob"], allow = ["s.echo"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_is_linked_to_and_read_by_whose_it_is() -> Result<()> {
    let world = World::of(SHORT).await?;
    let text = "lorem ipsum ".repeat(1000);
    let echo = call(1, "s.echo", &json!({ "text": text }));
    let reply = world.post("alice", &echo).await?;
    let beginning = reply.text()?;
    assert!(beginning.starts_with("lorem ipsum") && beginning.len() < 3000);
    let link = &reply.answer()?["result"]["content"][1];
    assert_eq!(link["type"], "resource_link");
    let read = request(2, "resources/read", &json!({ "uri": link["uri"] }));
    let whole = world.post("alice", &read).await?;
    assert_eq!(whole.answer()?["result"]["contents"][0]["text"], text);
    // To everybody else, and later, there is no such thing.
    assert_eq!(world.post("bob", &read).await?.code()?, -32602);
    world.advance(Duration::from_secs(601));
    assert_eq!(world.post("alice", &read).await?.code()?, -32602);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_no_links_gets_all_of_a_long_result() -> Result<()> {
    let world = World::of(SHORT).await?;
    let text = "lorem ipsum ".repeat(1000);
    let echo = call(1, "s.echo", &json!({ "text": text }));
    let kinds = |answer: &Value| answer["result"]["content"].as_array().map(Vec::len);
    for (revision, blocks) in [("2024-11-05", 1), ("2025-03-26", 1), ("2025-06-18", 2)] {
        let session = world.open("alice", revision).await?;
        let reply = world.post_in(&session, &echo).await?;
        assert_eq!(kinds(reply.answer()?), Some(blocks), "{revision}");
    }
    world.end().await
}
