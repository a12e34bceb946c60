//! `portcullis check` against what is there, and against what is not.

use std::fs;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testkit::fixtures::{Launch, Process, Redis, Rotel, Signal, free_address};
use testkit::world::program;

use crate::program::Program;

fn config(redis: SocketAddr, mcp: SocketAddr, issuer: SocketAddr) -> Result<String> {
    let scripted = program("scripted")?;
    Ok(format!(
        r#"
builtins = ["time"]
[shared.redis]
url = "redis://{redis}"
[auth.issuers.corp]
url = "http://{issuer}"
[upstreams.child]
stdio = ["{}"]
[upstreams.web]
url = "http://{mcp}/mcp"
connect_timeout = "2s"
"#,
        scripted.display()
    ))
}

/// What the command says of each thing, and whether it ended well.
async fn check(gate: &Program) -> Result<Vec<Value>> {
    let said = gate.run_either(&["check", "--json"]).await?;
    let start = said.find('[').with_context(|| said.clone())?;
    let json = said.get(start..).unwrap_or_default();
    let mut all = serde_json::Deserializer::from_str(json).into_iter::<Vec<Value>>();
    Ok(all.next().context("nothing was said")??)
}

fn about<'v>(all: &'v [Value], what: &str) -> Result<&'v Value> {
    let found = all.iter().find(|one| one["what"] == what);
    found.with_context(|| format!("nothing about {what}: {all:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_good_and_what_is_not_says_why_and_what_to_do() -> Result<()> {
    let mut redis = Redis::start().await?;
    let mcp = free_address()?;
    let web = program("rmcp_server")?.to_string_lossy().into_owned();
    let mut web = Process::start(&Launch::new([
        web,
        "http".to_owned(),
        mcp.to_string(),
        "2025-11-25".to_owned(),
    ]))?;
    web.accepts(mcp).await?;
    // Another gate is an issuer with metadata and keys.
    let issuer = Program::start("auth.server.enabled = true\n").await?;
    let gate = Program::prepare(&[])?;
    let file = gate.folder().join("portcullis.toml");
    fs::write(&file, config(redis.address(), mcp, issuer.address())?)?;

    let all = check(&gate).await?;
    for what in [
        "config",
        "database",
        "shared store",
        "issuer corp",
        "upstream child",
        "upstream web",
        "upstream time",
    ] {
        let one = about(&all, what)?;
        ensure!(one["ok"] == true && one["hint"].is_null(), "{one}");
    }
    let listen = format!("listen {}", gate.address());
    ensure!(about(&all, &listen)?["why"] == "free", "{all:?}");

    redis.stop();
    drop(web);
    drop(issuer);
    let all = check(&gate).await?;
    for what in ["shared store", "issuer corp", "upstream web"] {
        let one = about(&all, what)?;
        ensure!(one["ok"] == false, "{one}");
        for told in ["why", "hint"] {
            ensure!(
                one[told].as_str().is_some_and(|text| !text.is_empty()),
                "{one}"
            );
        }
    }
    for what in ["database", "upstream child"] {
        ensure!(about(&all, what)?["ok"] == true, "{all:?}");
    }
    let said = gate.run_either(&["check"]).await?;
    ensure!(said.contains("FAIL shared store: "), "{said}");
    ensure!(said.contains("3 of "), "{said}");
    ensure!(gate.run(&["check"]).await.is_err(), "it ended well");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_is_tried_for_real_and_gets_nothing() -> Result<()> {
    let mut rotel = Rotel::start(Signal::Metrics).await?;
    let gate = Program::prepare(&[])?;
    let endpoint = rotel.endpoint();
    let config = format!(
        "builtins = []\ntelemetry.traces.endpoint = \"{endpoint}\"\ntelemetry.metrics.endpoint = \"{endpoint}\"\n"
    );
    fs::write(gate.folder().join("portcullis.toml"), config)?;
    let all = check(&gate).await?;
    for what in ["traces", "metrics"] {
        ensure!(about(&all, what)?["ok"] == true, "{all:?}");
    }
    ensure!(rotel.points()?.is_empty(), "{}", rotel.output()?);

    rotel.stop()?;
    let all = check(&gate).await?;
    for what in ["traces", "metrics"] {
        let one = about(&all, what)?;
        let hint = one["hint"].as_str().unwrap_or_default();
        ensure!(one["ok"] == false, "{one}");
        ensure!(hint.contains(&format!("telemetry.{what}")), "{one}");
    }
    Ok(())
}
