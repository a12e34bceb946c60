//! Reload, drain and sudden death: what changes, what stays, and that nothing is left behind.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use store::Outcome;
use tempfile::TempDir;
use testkit::fixtures::{Launch, Process, free_address};
use testkit::mcp::{call, headers, modern, request};
use testkit::world::{Exchange, World, processes_of, program, until};

use crate::faults::sent;

const ONE: &str = r#"
builtins = []
upstreams.one = { stdio = ["{scripted}"] }
"#;
const ONE_AND_TWO: &str = r#"
builtins = []
upstreams.one = { stdio = ["{scripted}"] }
upstreams.two = { stdio = ["{scripted}"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_and_removes_upstreams_and_drops_nothing() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-06-18").await?;
    let echo = |upstream: &str| call(1, &format!("{upstream}.echo"), &json!({ "text": "here" }));
    assert_eq!(world.post_in(&session, &echo("one")).await?.text()?, "here");
    let before = world.processes()?;
    let mut changes = world.listen_in(&session).await?;
    let open = sent(&world, &call(2, "one.slow", &json!({ "ms": 500 }))).await?;
    world.in_flight(1).await?;

    world.reload(ONE_AND_TWO)?;
    assert_eq!(world.post_in(&session, &echo("two")).await?.text()?, "here");
    let told = changes.event().await?.context("the stream ended")?;
    assert!(
        told["method"]
            .as_str()
            .is_some_and(|name| name.ends_with("list_changed"))
    );

    world.reload(ONE)?;
    let reply = world.post_in(&session, &echo("two")).await?;
    assert_eq!(reply.code()?, -32602);
    until("the second upstream's process is gone", async || {
        Ok(world.processes()? == before)
    })
    .await?;
    let reply = world.whole(Exchange::receive(open).await?).await?;
    assert_eq!(reply.text()?, "at last");
    assert_eq!(world.upstream("one")?["restarts"], 0);
    drop(changes);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_while_the_log_has_no_place_is_recorded_once_it_has() -> Result<()> {
    let world = World::of(ONE).await?;
    world.ready("one", 0).await?;
    let store = &world.gate().auth().parts().store;
    let mut places = Vec::new();
    while let Ok(place) = store.reserve_audit(Duration::from_millis(20)).await {
        places.push(place);
    }
    let before = world.metric("portcullis_audit_refused_total")?;
    for pid in world.processes()? {
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    }
    until("a place was asked for in vain", async || {
        Ok(world.metric("portcullis_audit_refused_total")? > before)
    })
    .await?;
    drop(places);
    until("the end of the connection is recorded", async || {
        let happened = world.happened().await?;
        Ok(happened.iter().any(|one| one.row.method == "upstream/lost"))
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_cannot_be_done_changes_nothing() -> Result<()> {
    let world = World::with_files(ONE, &[("docs/a.txt", "alpha")]).await?;
    world
        .post("local", &call(1, "one.echo", &json!({})))
        .await?;
    let before = world.processes()?;
    let config = format!(
        "{ONE}upstreams.alpha = {{ native = \"files\", roots = [\"docs\"] }}\nlimits.tool_call = {{ max = 1, per = \"1h\" }}\n"
    );
    let loaded = world.load(&config)?;
    fs::remove_dir_all(world.folder().join("docs"))?;
    world
        .take_over(&loaded)
        .expect_err("the folder is gone, so it cannot be served");
    for _ in 0..3 {
        let reply = world
            .post("local", &call(2, "one.echo", &json!({ "text": "here" })))
            .await?;
        assert_eq!(reply.text()?, "here");
    }
    assert_eq!(world.processes()?, before);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_loses_no_call_in_flight() -> Result<()> {
    let world = World::of(ONE).await?;
    world
        .post("local", &call(1, "one.echo", &json!({})))
        .await?;
    let mut open = Vec::new();
    for id in 0..20 {
        open.push(sent(&world, &call(id, "one.slow", &json!({ "ms": 500 }))).await?);
    }
    world.in_flight(20).await?;
    let answers = async {
        for stream in open {
            let mut exchange = Exchange::receive(stream).await?;
            let body = String::from_utf8(exchange.body().await?)?;
            assert!(body.contains("at last"), "{body}");
        }
        anyhow::Ok(())
    };
    let (answers, records) = tokio::join!(answers, world.stop());
    answers?;
    let done = records?
        .iter()
        .filter(|record| record.row.outcome == Outcome::Ok)
        .count();
    assert_eq!(done, 21);
    Ok(())
}

/// The real program, with one upstream that ends only by force.
struct Program {
    _folder: TempDir,
    process: Process,
    address: std::net::SocketAddr,
    mark: String,
}

impl Program {
    async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-program-")?;
        let (name, value) = ("TESTKIT_WORLD", folder.path().display().to_string());
        let scripted = program("scripted")?;
        let config = folder.path().join("portcullis.toml");
        fs::write(
            &config,
            format!(
                "builtins = []\n[upstreams.s]\nstdio = [\"{}\", \"--stubborn\"]\nenv = {{ {name} = \"{value}\" }}\n",
                scripted.display()
            ),
        )?;
        let address = free_address()?;
        let launch = Launch::new([
            program("gate")?.to_string_lossy().into_owned(),
            "serve".to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
            "--listen".to_owned(),
            address.to_string(),
        ])
        .env(
            "PORTCULLIS__DATA_DIR",
            folder.path().join("data").display().to_string(),
        );
        let mut process = Process::start(&launch)?;
        process.accepts(address).await?;
        Ok(Self {
            _folder: folder,
            process,
            address,
            mark: format!("{name}={value}"),
        })
    }

    async fn post(&self, message: &serde_json::Value) -> Result<serde_json::Value> {
        let message = modern(message.clone());
        let body = message.to_string();
        let mut head = format!(
            "POST /mcp HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers(&message) {
            head.push_str(&[name, ": ", &value, "\r\n"].concat());
        }
        let bytes = format!("{head}\r\n{body}");
        let mut exchange = Exchange::send(self.address, bytes.as_bytes()).await?;
        Ok(serde_json::from_slice(&exchange.body().await?)?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_killed_leaves_no_upstream() -> Result<()> {
    let gate = Program::start().await?;
    let answer = gate
        .post(&call(1, "s.echo", &json!({ "text": "here" })))
        .await?;
    assert_eq!(answer["result"]["content"][0]["text"], "here");
    // What an upstream starts counts as its own.
    gate.post(&call(2, "s.spawn", &json!({}))).await?;
    until("all its processes are there", async || {
        Ok(processes_of(&gate.mark)?.len() >= 2)
    })
    .await?;
    let pid = Pid::from_raw(i32::try_from(gate.process.id())?);
    kill(pid, Signal::SIGKILL)?;
    let gone = until("the upstream is gone", async || {
        Ok(processes_of(&gate.mark)?.is_empty())
    });
    tokio::time::timeout(Duration::from_secs(2), gone)
        .await
        .context("an upstream outlived the gate by two seconds")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_file_of_the_gate_nor_of_an_upstream() -> Result<()> {
    let gate = Program::start().await?;
    gate.post(&call(1, "s.echo", &json!({ "text": "here" })))
        .await?;
    let mut processes = processes_of(&gate.mark)?;
    assert!(!processes.is_empty(), "an upstream has no process");
    processes.insert(i32::try_from(gate.process.id())?);
    for process in processes {
        let limits = fs::read_to_string(format!("/proc/{process}/limits"))?;
        let of_core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"));
        let words: Vec<&str> = of_core.context("no limit")?.split_whitespace().collect();
        assert_eq!(words[4..], ["1", "1", "bytes"], "process {process}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_is_told_to_stop_ends_in_good_order() -> Result<()> {
    let mut gate = Program::start().await?;
    let answer = gate.post(&request(1, "tools/list", &json!({}))).await?;
    assert!(answer["result"]["tools"].is_array(), "{answer}");
    let pid = Pid::from_raw(i32::try_from(gate.process.id())?);
    kill(pid, Signal::SIGTERM)?;
    until("the gate has ended", async || {
        Ok(gate.process.ended().is_ok())
    })
    .await?;
    assert!(
        gate.process.ended()?.success(),
        "{}",
        gate.process.output()?
    );
    assert!(processes_of(&gate.mark)?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_streams_in_good_order() -> Result<()> {
    let world = World::of(ONE).await?;
    let session = world.open("local", "2025-06-18").await?;
    let mut changes = world.listen_in(&session).await?;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let message = request("sub", "subscriptions/listen", &filter);
    let mut listen = world.begin("local", &message).await?;
    let streams = async {
        while changes.event().await?.is_some() {}
        let mut last = json!(null);
        while let Some(message) = listen.event().await? {
            last = message;
        }
        anyhow::Ok(last)
    };
    let (last, records) = tokio::join!(streams, world.stop());
    records?;
    let last = last?;
    assert_eq!(
        (&last["id"], &last["result"]["resultType"]),
        (&json!("sub"), &json!("complete")),
        "{last}"
    );
    Ok(())
}
