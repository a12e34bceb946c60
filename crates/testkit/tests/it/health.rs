//! What `/health` says of what the gate depends on and of the tasks beside its calls, to owners and to others.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use observe::health::{Dependency, Task};
use serde_json::Value;
use testkit::fixtures::Redis;
use testkit::world::{World, until};

const CONFIG: &str = r#"
builtins = []
auth.loopback = "off"
roles.owner = { members = ["root"] }
roles.clerk = { members = ["alice"], allow = ["*"] }
upstreams.good = { stdio = ["{scripted}"] }
"#;

/// `/health`, as somebody sees it.
async fn health(world: &World, who: &str) -> Result<Value> {
    let bytes = world.complete(who, "GET /health HTTP/1.1\r\n", b"")?;
    let mut exchange = world.send_raw(&bytes).await?;
    ensure!(exchange.status == 200, "{}", exchange.status);
    Ok(serde_json::from_slice(&exchange.body().await?)?)
}

/// The entry of one component.
fn one(health: &Value, list: &str, name: &str, of: Option<&str>) -> Option<Value> {
    let all = health[list].as_array()?;
    let fits = |entry: &&Value| entry["name"] == name && entry["of"].as_str() == of;
    all.iter().find(fits).cloned()
}

/// Waits until a dependency is in this state, and gives its entry.
async fn dependency(world: &World, name: &str, of: Option<&str>, state: &str) -> Result<Value> {
    let mut found = Value::Null;
    until(&format!("{name} {of:?} is {state}"), async || {
        let seen = health(world, "root").await?;
        found = one(&seen, "dependencies", name, of).unwrap_or_default();
        Ok(found["state"] == state)
    })
    .await?;
    Ok(found)
}

/// As the protocol's schemas do not know `/health`, the world checks nothing of it at its end but what all share.
#[tokio::test(flavor = "multi_thread")]
async fn every_dependency_and_every_task_says_how_it_is() -> Result<()> {
    let world = World::of(CONFIG).await?;
    world.ready("good", 0).await?;
    let database = dependency(&world, "database", None, "ok").await?;
    ensure!(database["required"] == true, "{database}");
    ensure!(database["latency_ms"].is_number(), "{database}");
    let audit = dependency(&world, "audit", None, "ok").await?;
    ensure!(audit["detail"] == "mode durable", "{audit}");
    dependency(&world, "shared", None, "ok").await?;
    let upstream = dependency(&world, "upstream", Some("good"), "ok").await?;
    ensure!(upstream["since"].is_string(), "{upstream}");

    let seen = health(&world, "root").await?;
    ensure!(
        seen["ready"] == true && seen["version"].is_string(),
        "{seen}"
    );
    ensure!(seen["uptime_seconds"].is_number(), "{seen}");
    let running: BTreeSet<&str> = seen["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|task| task["state"] == "ok" && task["restarts"] == 0)
        .filter_map(|task| task["name"].as_str())
        .collect();
    // These run in each gate; the others want something in the config.
    for task in [
        Task::Upstream,
        Task::Sweep,
        Task::Pins,
        Task::Sever,
        Task::Announcements,
        Task::Credentials,
        Task::Limits,
        Task::Probes,
        Task::Checkpoints,
    ] {
        ensure!(running.contains(task.word()), "{}: {seen}", task.word());
    }
    // Whatever is there has a name from the closed sets.
    let words: BTreeSet<&str> = Task::ALL.iter().map(|task| task.word()).collect();
    ensure!(running.is_subset(&words), "{running:?}");
    let words: BTreeSet<&str> = Dependency::ALL.iter().map(|what| what.word()).collect();
    for entry in seen["dependencies"].as_array().context("a list")? {
        let name = entry["name"].as_str().unwrap_or_default();
        ensure!(words.contains(name), "{entry}");
    }
    let metrics = world.gate().metrics().encode(observe::Format::OpenMetrics);
    let restarts = metrics.lines();
    let mut restarts = restarts.filter(|line| line.starts_with("portcullis_task_restarts_total{"));
    ensure!(restarts.clone().count() == Task::ALL.len(), "{metrics}");
    ensure!(restarts.all(|line| line.ends_with(" 0")), "{metrics}");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn why_something_is_down_is_for_owners() -> Result<()> {
    let config = format!(
        "{CONFIG}\nupstreams.gone = {{ url = \"http://127.0.0.1:9/mcp\", connect_timeout = \"1s\" }}\n"
    );
    let world = World::of(&config).await?;
    let gone = dependency(&world, "upstream", Some("gone"), "down").await?;
    let why = gone["last_error"].as_str().context("why")?;
    ensure!(why.contains("127.0.0.1"), "{gone}");
    ensure!(gone["last_error_at"].is_string(), "{gone}");
    // The gate can do without it.
    let seen = health(&world, "alice").await?;
    ensure!(seen["ready"] == true, "{seen}");
    let gone = one(&seen, "dependencies", "upstream", Some("gone")).context("an entry")?;
    ensure!(gone["state"] == "down", "{gone}");
    ensure!(!seen.to_string().contains("127.0.0.1"), "{seen}");
    for list in ["dependencies", "tasks"] {
        for entry in seen[list].as_array().into_iter().flatten() {
            for kept in ["last_error", "last_error_at", "detail"] {
                ensure!(entry.get(kept).is_none(), "{entry}");
            }
        }
    }
    // What a reload takes away is no more.
    world.reload(CONFIG)?;
    let seen = health(&world, "root").await?;
    ensure!(
        one(&seen, "dependencies", "upstream", Some("gone")).is_none(),
        "{seen}"
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_that_comes_and_goes_is_seen() -> Result<()> {
    let mut redis = Redis::start().await?;
    let port = redis.address().port();
    let world = World::of(&format!(
        "{CONFIG}\n[shared.redis]\nurl = \"redis://127.0.0.1:{port}\"\n"
    ))
    .await?;
    let shared = dependency(&world, "shared", None, "ok").await?;
    ensure!(shared["detail"] == "redis", "{shared}");
    redis.stop();
    let shared = dependency(&world, "shared", None, "down").await?;
    ensure!(shared["last_error"].is_string(), "{shared}");
    redis.start_again().await?;
    dependency(&world, "shared", None, "ok").await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_are_down_until_they_were_fetched() -> Result<()> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    drop(listener);
    let world = World::of(&format!(
        "{CONFIG}\n[auth.issuers.corp]\nurl = \"http://{at}\"\n"
    ))
    .await?;
    // Nobody has come with its tokens.
    dependency(&world, "issuer", Some("corp"), "starting").await?;
    let tried = world.gate().auth().try_issuer("corp").await;
    ensure!(tried.context("no such issuer")?.failed.is_some());
    let issuer = dependency(&world, "issuer", Some("corp"), "down").await?;
    ensure!(issuer["last_error"].is_string(), "{issuer}");
    world.advance(Duration::from_secs(60));
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn relaxed_says_so() -> Result<()> {
    let world = World::of(&format!("{CONFIG}\naudit.mode = \"relaxed\"\n")).await?;
    let audit = dependency(&world, "audit", None, "degraded").await?;
    ensure!(
        audit["last_error"]
            .as_str()
            .is_some_and(|why| why.contains("relaxed")),
        "{audit}"
    );
    let seen = health(&world, "root").await?;
    ensure!(seen["ready"] == true, "{seen}");
    world.stop().await?;
    Ok(())
}
