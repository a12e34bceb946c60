//! What flows beside an answer: progress, cancellation, changes; each reaches the one whom it concerns.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use store::Outcome;
use testkit::mcp::{call, call_with_progress, notification, request};
use testkit::world::{Exchange, Reply, World, until};
use tokio::io::AsyncWriteExt as _;

use crate::faults::sent;

const ONE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
"#;

fn progress(reply: &Reply) -> Vec<(&Value, &Value)> {
    reply
        .messages
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .map(|message| {
            (
                &message["params"]["progressToken"],
                &message["params"]["progress"],
            )
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_carries_the_clients_own_token() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-06-18").await?;
    for token in [json!("one"), json!(1), json!(0)] {
        let message = call_with_progress(1, "s.progress", &json!({ "steps": 3 }), token.clone());
        let wanted: Vec<Value> = vec![json!(1), json!(2), json!(3)];
        for reply in [
            world.post("local", &message).await?,
            world.post_in(&session, &message).await?,
        ] {
            assert!(reply.is_stream);
            let steps: Vec<&Value> = progress(&reply).iter().map(|(_, step)| *step).collect();
            assert_eq!(steps, wanted.iter().collect::<Vec<_>>());
            assert!(progress(&reply).iter().all(|(told, _)| **told == token));
            assert_eq!(reply.text()?, "done");
        }
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_with_one_token_and_one_id_are_kept_apart() -> Result<()> {
    let world = World::of(ONE).await?;
    let message = |steps: u32| call_with_progress(7, "s.progress", &json!({ "steps": steps }), "t");
    let (two, five) = (message(2), message(5));
    let (two, five) = tokio::join!(world.post("local", &two), world.post("local", &five));
    assert_eq!(progress(&two?).len(), 2);
    assert_eq!(progress(&five?).len(), 5);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_cancels_a_modern_call() -> Result<()> {
    let world = World::of(ONE).await?;
    world.post("local", &call(1, "s.echo", &json!({}))).await?;
    let stream = sent(&world, &call(2, "s.silent", &json!({}))).await?;
    world.in_flight(1).await?;
    drop(stream);
    world.owe(1);
    until("the call is given up", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    })
    .await?;
    let last = world.records().await?.pop().context("no record")?;
    assert_eq!(
        (last.row.outcome, last.row.entry.as_deref()),
        (Outcome::Cancelled, Some("s.silent"))
    );
    let cancelled = call(3, "s.cancelled", &json!({}));
    until("the upstream knows", async || {
        Ok(!world.post("local", &cancelled).await?.text()?.is_empty())
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_cancels_nothing_within_a_session() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-11-25").await?;
    world
        .post_in(&session, &call(1, "s.echo", &json!({})))
        .await?;
    let message = call(2, "s.slow", &json!({ "ms": 300 })).to_string();
    let bytes = world.request("POST", "local", &session.headers(), message.as_bytes())?;
    let mut stream = Exchange::connect(world.address()).await?;
    stream.write_all(&bytes).await?;
    world.in_flight(1).await?;
    drop(stream);
    world.owe(1);
    until("the call is done", async || {
        Ok(world.metric("portcullis_calls_in_flight")? == 0.0)
    })
    .await?;
    let last = world.records().await?.pop().context("no record")?;
    assert_eq!(last.row.outcome, Outcome::Ok);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_is_cancelled_upstream_under_the_upstreams_id() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-06-18").await?;
    world
        .post_in(&session, &call("a", "s.echo", &json!({})))
        .await?;
    let message = call("mine", "s.silent", &json!({})).to_string();
    let bytes = world.request("POST", "local", &session.headers(), message.as_bytes())?;
    let mut stream = Exchange::connect(world.address()).await?;
    stream.write_all(&bytes).await?;
    world.in_flight(1).await?;
    let cancel = notification("notifications/cancelled", &json!({ "requestId": "mine" }));
    assert_eq!(world.post_in(&session, &cancel).await?.status, 202);
    let reply = world.whole(Exchange::receive(stream).await?).await?;
    assert_eq!(
        (reply.answer()?["id"].as_str(), reply.code()?),
        (Some("mine"), -31005)
    );
    let cancelled = call("c", "s.cancelled", &json!({}));
    until("the upstream knows", async || {
        let reply = world.post_in(&session, &cancelled).await?;
        let ids = reply.text()?;
        Ok(!ids.is_empty() && ids.parse::<u64>().is_ok())
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_once_to_everybody_who_listens() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-06-18").await?;
    world
        .post_in(&session, &call(1, "s.echo", &json!({})))
        .await?;
    let mut get = world.listen_in(&session).await?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let mut listen = world
        .begin("local", &request("sub", "subscriptions/listen", &filter))
        .await?;
    let first = listen.event().await?.context("no acknowledgement")?;
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    world.owe(1);
    world
        .post("local", &call(2, "s.storm", &json!({ "times": 1000 })))
        .await?;
    let told = get.event().await?.context("the stream ended")?;
    assert_eq!(told["method"], "notifications/tools/list_changed");
    let told = listen.event().await?.context("the stream ended")?;
    assert_eq!(
        told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"],
        "sub"
    );
    let reply = world
        .post("local", &call(3, "s.added_0", &json!({})))
        .await?;
    assert_eq!(reply.text()?, "added_0");
    // The next change is the next message: the storm was told once.
    world.reload("builtins = [\"time\"]\n")?;
    let mut names = BTreeSet::new();
    for stream in [&mut get, &mut listen] {
        let told = stream.event().await?.context("the stream ended")?;
        names.insert(told["method"].to_string());
    }
    assert!(
        names.contains("\"notifications/tools/list_changed\""),
        "{names:?}"
    );
    drop((get, listen));
    world.end().await
}
