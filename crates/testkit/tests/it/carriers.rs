//! Upstreams at the other end of a WebSocket or of HTTP+SSE: other teams' servers, a legacy server behind a socket,
//! and a second gate in both eras.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use store::Outcome;
use testkit::fixtures::Peers;
use testkit::mcp::{call, call_with_progress, initialize_with, response};
use testkit::world::{Reply, World, program, until};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::faults::sent;
use crate::transports::{BOTH, Line};

const ONE: &str = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
"#;

/// A legacy server behind WebSockets: the scripted one, a process for each socket.
async fn behind_a_socket(tasks: &mut JoinSet<()>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tasks.spawn(async move {
        let mut sockets = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            // How a conversation ends is the other side's to judge.
            sockets.spawn(async move { drop(converse(tcp).await) });
        }
    });
    Ok(address)
}

async fn converse(tcp: TcpStream) -> Result<()> {
    let mut socket = accept_hdr_async(tcp, agree).await?;
    let mut child = Command::new(program("scripted")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => socket.send(Message::text(line)).await?,
                None => return Ok(socket.close(None).await?),
            },
            came = socket.next() => match came.transpose()? {
                Some(Message::Text(text)) => stdin.write_all(format!("{text}\n").as_bytes()).await?,
                Some(_) => {}
                None => return Ok(()),
            },
        }
    }
}

#[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn agree(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let offered = request.headers().get("sec-websocket-protocol").cloned();
    if let Some(offered) = offered {
        response
            .headers_mut()
            .insert("sec-websocket-protocol", offered);
    }
    Ok(response)
}

fn steps_told(reply: &Reply) -> usize {
    let told = |message: &&serde_json::Value| message["params"]["progressToken"] == "mine";
    reply.messages.iter().filter(told).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_server_behind_a_socket_is_an_upstream_like_any_other() -> Result<()> {
    let mut tasks = JoinSet::new();
    let address = behind_a_socket(&mut tasks).await?;
    let world = World::of(&format!(
        "builtins = []\nupstreams.s = {{ url = \"ws://{address}/\" }}\n"
    ))
    .await?;
    let session = world.open("local", "2025-06-18").await?;
    let echo = call(1, "s.echo", &json!({ "text": "here" }));
    let steps = call_with_progress(2, "s.progress", &json!({ "steps": 3 }), "mine");
    for _ in 0..2 {
        assert_eq!(world.post("local", &echo).await?.text()?, "here");
        assert_eq!(world.post_in(&session, &echo).await?.text()?, "here");
        for reply in [
            world.post("local", &steps).await?,
            world.post_in(&session, &steps).await?,
        ] {
            assert_eq!((steps_told(&reply), reply.text()?), (3, "done"));
        }
        // The process ends, and with it its socket; the next one is another.
        let gone = world.post("local", &call(3, "s.die", &json!({}))).await?;
        assert!(gone.code().is_ok(), "{:?}", gone.messages);
    }
    assert_eq!(world.upstream("s")?["revision"], "2025-06-18");
    world.end().await?;
    tasks.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_cancelled_at_the_other_end_of_the_socket() -> Result<()> {
    let mut tasks = JoinSet::new();
    let address = behind_a_socket(&mut tasks).await?;
    let world = World::of(&format!(
        "builtins = []\nupstreams.s = {{ url = \"ws://{address}/\" }}\n"
    ))
    .await?;
    world.post("local", &call(1, "s.echo", &json!({}))).await?;
    let stream = sent(&world, &call(2, "s.silent", &json!({}))).await?;
    world.in_flight(1).await?;
    drop(stream);
    world.owe(1);
    let cancelled = call(3, "s.cancelled", &json!({}));
    until("the server knows", async || {
        Ok(!world.post("local", &cancelled).await?.text()?.is_empty())
    })
    .await?;
    let given_up = world
        .records()
        .await?
        .into_iter()
        .find(|record| record.row.entry.as_deref() == Some("s.silent"));
    let outcome = given_up.context("no record")?.row.outcome;
    assert_eq!(outcome, Outcome::Cancelled);
    world.end().await?;
    tasks.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_goes_from_one_end_to_the_other_and_its_answer_back() -> Result<()> {
    let mut tasks = JoinSet::new();
    let address = behind_a_socket(&mut tasks).await?;
    // One server behind a socket, seen through a second gate and HTTP+SSE as well.
    let far = World::of(&format!(
        "builtins = []\nupstreams.s = {{ url = \"ws://{address}/\" }}\n"
    ))
    .await?;
    let near = World::of(&format!(
        "builtins = []\n\
         upstreams.s = {{ url = \"ws://{address}/\" }}\n\
         upstreams.far = {{ url = \"http://{}/sse\" }}\n",
        far.address()
    ))
    .await?;
    for upstream in ["s", "far"] {
        near.ready(upstream, 0).await?;
    }
    for transport in BOTH {
        let mut line = Line::open(&near, "local", transport).await?;
        let hello = initialize_with("2025-06-18", &json!({ "elicitation": {} }));
        line.ask(&near, "local", &hello).await?;
        for tool in ["s.ask_form", "far.s.ask_form"] {
            line.tell(&near, "local", &call(7, tool, &json!({})))
                .await?;
            // That the upstream has just become ready may be told as well.
            let question = line.hear_but_lists().await?;
            assert_eq!(
                question["method"], "elicitation/create",
                "{tool}: {question}"
            );
            let ada = json!({ "action": "accept", "content": { "name": "Ada" } });
            let answer = response(&question["id"], &ada);
            line.tell(&near, "local", &answer).await?;
            let reply = line.hear_but_lists().await?;
            near.owe(1);
            let text = reply["result"]["content"][0]["text"].as_str();
            assert!(
                text.is_some_and(|text| text.contains("Ada")),
                "{tool}: {reply}"
            );
        }
        drop(line);
    }
    near.end().await?;
    drop(far.stop().await?);
    tasks.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_stands_behind_a_gate_over_every_transport() -> Result<()> {
    let far = World::of(ONE).await?;
    let address = far.address();
    let near = World::of(&format!(
        "builtins = []\n\
         upstreams.socket = {{ url = \"ws://{address}/ws\" }}\n\
         upstreams.stream = {{ url = \"http://{address}/sse\", transport = \"sse\" }}\n\
         upstreams.found = {{ url = \"http://{address}/sse\" }}\n\
         upstreams.http = {{ url = \"http://{address}/mcp\" }}\n"
    ))
    .await?;
    let session = near.open("local", "2025-03-26").await?;
    for (upstream, revision) in [
        ("socket", "2026-07-28"),
        ("stream", "2025-11-25"),
        ("found", "2025-11-25"),
        ("http", "2026-07-28"),
    ] {
        near.ready(upstream, 0).await?;
        assert_eq!(near.upstream(upstream)?["revision"], revision, "{upstream}");
        let echo = call(1, &format!("{upstream}.s.echo"), &json!({ "text": "here" }));
        let steps = format!("{upstream}.s.progress");
        let steps = call_with_progress(2, &steps, &json!({ "steps": 3 }), "mine");
        for (echo, steps) in [
            (
                near.post("local", &echo).await?,
                near.post("local", &steps).await?,
            ),
            (
                near.post_in(&session, &echo).await?,
                near.post_in(&session, &steps).await?,
            ),
        ] {
            assert_eq!(echo.text()?, "here", "{upstream}");
            assert_eq!(steps_told(&steps), 3, "{upstream}: {:?}", steps.messages);
        }
    }
    near.end().await?;
    let records = far.stop().await?;
    for transport in ["websocket", "sse", "http"] {
        let calls = records
            .iter()
            .filter(|one| one.row.transport == transport && one.row.method == "tools/call");
        let wanted = if transport == "sse" { 8 } else { 4 };
        assert_eq!(calls.count(), wanted, "{transport}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_teams_servers_are_reached_over_http_sse() -> Result<()> {
    let peers = Peers::locate()?;
    let (mut typescript, python) = tokio::try_join!(peers.everything_sse(), peers.python_sse())?;
    let world = World::of(&format!(
        "builtins = []\n\
         upstreams.ts = {{ url = \"{0}\" }}\n\
         upstreams.forced = {{ url = \"{0}\", transport = \"sse\" }}\n\
         upstreams.py = {{ url = \"{1}\" }}\n",
        typescript.url(),
        python.url(),
    ))
    .await?;
    for upstream in ["ts", "forced", "py"] {
        world.ready(upstream, 0).await?;
    }
    for upstream in ["ts", "forced"] {
        let echo = call(1, &format!("{upstream}.echo"), &json!({ "message": "hi" }));
        assert_eq!(world.post("local", &echo).await?.text()?, "Echo: hi");
        let long = format!("{upstream}.trigger-long-running-operation");
        let steps = json!({ "duration": 0.4, "steps": 4 });
        let reply = world
            .post("local", &call_with_progress(2, &long, &steps, "mine"))
            .await?;
        assert_eq!(steps_told(&reply), 4, "{upstream}: {:?}", reply.messages);
    }
    let shout = call(1, "py.shout", &json!({ "text": "hi" }));
    assert_eq!(world.post("local", &shout).await?.text()?, "HI");
    let steps = call_with_progress(2, "py.steps", &json!({}), "mine");
    assert_eq!(steps_told(&world.post("local", &steps).await?), 3);

    // With the server goes its stream, and with the stream the calls that wait on it.
    let long = json!({ "duration": 60, "steps": 1 });
    let long = call(3, "ts.trigger-long-running-operation", &long);
    let dying = async {
        world.in_flight(1).await?;
        typescript
            .process()
            .signal(nix::sys::signal::Signal::SIGKILL)
    };
    let told = tokio::time::timeout(Duration::from_secs(10), world.post("local", &long));
    let (told, killed) = tokio::join!(told, dying);
    killed?;
    assert!(told?.map(|reply| reply.code())?.is_ok());
    until("the gate knows", async || {
        Ok(world.upstream("ts")?["state"] == "restarting")
    })
    .await?;
    assert_eq!(world.post("local", &shout).await?.text()?, "HI");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_speaks_neither_says_what_both_tries_came_to() -> Result<()> {
    let far = World::of("builtins = [\"time\"]\n").await?;
    let address = far.address();
    let near = World::of(&format!(
        "builtins = []\n\
         upstreams.nowhere = {{ url = \"http://{address}/nowhere\", connect_timeout = \"5s\" }}\n\
         upstreams.socket = {{ url = \"ws://{address}/mcp\", connect_timeout = \"5s\" }}\n"
    ))
    .await?;
    for (upstream, wanted) in [
        (
            "nowhere",
            "nor does it speak HTTP+SSE: the upstream answered HTTP 404",
        ),
        ("socket", "opened no WebSocket"),
    ] {
        until("the first try has failed", async || {
            Ok(near.upstream(upstream)?["state"] == "restarting")
        })
        .await?;
        let upstream = near.upstream(upstream)?;
        let Some(why) = upstream["last_error"].as_str() else {
            bail!("no error: {upstream}")
        };
        assert!(why.contains(wanted), "{why}");
    }
    near.end().await?;
    drop(far.stop().await?);
    Ok(())
}
