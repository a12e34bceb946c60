//! Upstreams that do what they must not: it costs nobody else anything, and they are there again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use testkit::mcp::{call, request};
use testkit::world::{Exchange, World, until};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

const TWO: &str = r#"
builtins = []
upstreams.bad = { stdio = ["{scripted}"] }
upstreams.good = { stdio = ["{scripted}"] }
"#;

/// A call whose answer is read later.
pub(crate) async fn sent(world: &World, message: &serde_json::Value) -> Result<TcpStream> {
    let message = testkit::mcp::modern(message.clone());
    let headers = testkit::mcp::headers(&message);
    let bytes = world.request("POST", "local", &headers, message.to_string().as_bytes())?;
    let mut stream = Exchange::connect(world.address()).await?;
    stream.write_all(&bytes).await?;
    Ok(stream)
}

async fn echoes(world: &World, upstream: &str) -> Result<()> {
    let message = call(1, &format!("{upstream}.echo"), &json!({ "text": "here" }));
    let reply = world.post("local", &message).await?;
    ensure!(reply.text()? == "here", "{:?}", reply.messages);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_of_an_upstream_reaches_nobody() -> Result<()> {
    let world = World::of(TWO).await?;
    let noises = [
        ("garbage", json!({}), "after garbage"),
        ("huge", json!({}), "after a huge line"),
        ("twice", json!({}), "first"),
        ("stranger", json!({}), "for you"),
        ("flood", json!({ "bytes": 20_000_000 }), "flooded"),
        ("storm", json!({ "times": 10_000 }), "it blew"),
    ];
    for (noise, arguments, answer) in noises {
        let reply = world
            .post("local", &call("x", &format!("bad.{noise}"), &arguments))
            .await
            .context(noise)?;
        assert_eq!(reply.text()?, answer);
        echoes(&world, "bad").await.context(noise)?;
        echoes(&world, "good").await.context(noise)?;
    }
    assert_eq!(world.upstream("bad")?["restarts"], 0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_death_ends_the_open_calls_within_a_second_and_no_others() -> Result<()> {
    let world = World::of(TWO).await?;
    echoes(&world, "bad").await?;
    echoes(&world, "good").await?;
    let other = sent(&world, &call(1, "good.slow", &json!({ "ms": 1500 }))).await?;
    let open = sent(&world, &call(2, "bad.silent", &json!({}))).await?;
    world.in_flight(2).await?;
    let dying = sent(&world, &call(3, "bad.die", &json!({}))).await?;
    for stream in [open, dying] {
        let reply = timeout(Duration::from_secs(1), async {
            world.whole(Exchange::receive(stream).await?).await
        });
        let reply = reply.await.context("no error within a second")??;
        assert_eq!(reply.code()?, -31002, "{:?}", reply.messages);
    }
    // Down or back already: never unknown.
    let reply = world
        .post("local", &call(4, "bad.echo", &json!({})))
        .await?;
    assert!(
        reply.answer()?["error"]["code"] != -32602,
        "{:?}",
        reply.messages
    );
    world.ready("bad", 1).await?;
    echoes(&world, "bad").await?;
    let reply = world.whole(Exchange::receive(other).await?).await?;
    assert_eq!(reply.text()?, "at last");
    assert_eq!(world.upstream("good")?["restarts"], 0);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_from_outside_comes_back() -> Result<()> {
    let world = World::of("builtins = []\nupstreams.bad = { stdio = [\"{scripted}\"] }\n").await?;
    echoes(&world, "bad").await?;
    let open = sent(&world, &call(1, "bad.silent", &json!({}))).await?;
    world.in_flight(1).await?;
    for pid in world.processes()? {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    let reply = timeout(Duration::from_secs(1), async {
        world.whole(Exchange::receive(open).await?).await
    });
    assert_eq!(
        reply.await.context("no error within a second")??.code()?,
        -31002
    );
    world.ready("bad", 1).await?;
    echoes(&world, "bad").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upstream_leaves_behind_ends_with_it() -> Result<()> {
    let world =
        World::of("builtins = []\nupstreams.bad = { stdio = [\"{scripted}\", \"--stubborn\"] }\n")
            .await?;
    let reply = world
        .post("local", &call(1, "bad.spawn", &json!({})))
        .await?;
    let left: i32 = reply.text()?.parse()?;
    // For a moment after its start the process table does not show what a process was started with.
    until("the grandchild is there", async || {
        Ok(world.processes()?.contains(&left))
    })
    .await?;
    for pid in world.processes()? {
        if pid != left {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
    }
    until("the grandchild is gone", async || {
        Ok(!world.processes()?.contains(&left))
    })
    .await?;
    world.ready("bad", 1).await?;
    // The one that runs now ignores all polite requests; `end` finds it if it is left.
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_says_nothing_delays_no_list_beyond_the_deadline() -> Result<()> {
    let world = World::of(
        r#"
builtins = ["time"]
catalog.list_deadline = "200ms"
upstreams.deaf = { stdio = ["{scripted}", "--deaf"] }
"#,
    )
    .await?;
    let list = request(1, "tools/list", &json!({}));
    let reply = timeout(Duration::from_secs(2), world.post("local", &list));
    let reply = reply.await.context("the list waited for the deaf one")??;
    let result = &reply.answer()?["result"];
    assert_eq!(result["tools"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        result["_meta"]["dev.portcullis/incomplete"],
        json!(["deaf"])
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_an_upstream_is_followed() -> Result<()> {
    let world = World::of(
        "builtins = []\nupstreams.s = { stdio = [\"{scripted}\", \"--page\", \"3\", \"--extra\", \"50\"] }\n",
    )
    .await?;
    let reply = world
        .post("local", &request(1, "tools/list", &json!({})))
        .await?;
    let tools = reply.answer()?["result"]["tools"]
        .as_array()
        .context("no tools")?;
    assert_eq!(tools.len(), 76);
    let reply = world
        .post("local", &call(2, "s.extra_049", &json!({})))
        .await?;
    assert_eq!(reply.text()?, "extra_049");
    world.end().await
}
