//! A gate with virtual servers before two upstreams that keep every byte they are told, and how it is talked to at a path.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::{headers, initialize, modern, request};
use testkit::world::{Exchange, Reply, World};

pub(super) const CONFIG: &str = r#"
auth.loopback = "off"
builtins = []
roles.owner = { members = ["root"] }
roles.all = { members = ["alice"], allow = ["*"] }
roles.some = { members = ["bob"], allow = ["a.read"] }
roles.others = { members = ["carol"], allow = ["b.note"] }
roles.here = { members = ["dora"], allow = ["desk/a.read"] }

[virtual_servers.desk]
include = ["a.*", { tool = "b.write" }, { tool = "b.erase" }]
exclude = ["a.job", { resource = "a.a://page/7" }]
instructions = "What the desk is for."
separator = "__"
[virtual_servers.desk.tools."a.read"]
name = "read_doc"
title = "Read"
description = "Reads what is on the desk."
defaults = { path = "/srv/a b" }
order = -1
[virtual_servers.desk.tools."b.write"]
defaults = { pages = 3 }
defaults_may_change = true
[virtual_servers.desk.tools."b.erase"]
hide = true
[virtual_servers.desk.prompts."a.letter"]
defaults = { tone = "kind" }
[virtual_servers.desk.resources."a.a://closed"]
hide = true

[virtual_servers.plain]
include = [{ tool = "*" }]
prefix = "never"
schemas = "plain"

[virtual_servers.find]
include = ["*"]
tool_search = { above = 2 }
"#;

/// A gate before two upstreams.
pub(super) struct Scene {
    pub(super) world: World,
    folder: TempDir,
}

impl Scene {
    pub(super) async fn of(config: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-servers-")?;
        let upstream = |name: &str| {
            let kept = folder.path().join(name);
            format!(
                "upstreams.{name} = {{ stdio = [\"{{ledger}}\", \"{name}\", {:?}, \"Keeps books.\"] }}\n",
                kept.display().to_string()
            )
        };
        let config = [upstream("a"), upstream("b"), config.to_owned()].concat();
        let world = World::of(&config).await?;
        world.ready("a", 0).await?;
        world.ready("b", 0).await?;
        Ok(Self { world, folder })
    }

    /// The parameters of each call that an upstream was told of, byte for byte, without `_meta`.
    pub(super) fn told(&self, upstream: &str) -> Result<Vec<String>> {
        let kept: PathBuf = self.folder.path().join(upstream);
        let kept = fs::read_to_string(kept)?;
        kept.lines()
            .filter(|line| line.contains("\"tools/call\"") || line.contains("\"prompts/get\""))
            .map(|line| {
                let params = wire::json::member(line.as_bytes(), "params")?.context("no params")?;
                let without = wire::json::without(params.get().as_bytes(), "_meta");
                Ok(String::from_utf8(without)?)
            })
            .collect()
    }

    pub(super) async fn end(self) -> Result<()> {
        self.world.end().await
    }
}

/// Sends bytes to a path.
pub(super) async fn send(
    world: &World,
    verb: &str,
    path: &str,
    who: &str,
    more: &[(&str, String)],
    body: &[u8],
) -> Result<Exchange> {
    let mut head = format!("{verb} {path} HTTP/1.1\r\n");
    for (name, value) in more {
        head.push_str(&[*name, ": ", value, "\r\n"].concat());
    }
    head.push_str("Accept: application/json, text/event-stream\r\n");
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    world.send_raw(&world.complete(who, &head, body)?).await
}

/// A modern message to a path, and its answer.
pub(super) async fn post(world: &World, path: &str, who: &str, message: &Value) -> Result<Reply> {
    let exchange = begin(world, path, who, message).await?;
    world.whole(exchange).await
}

pub(super) async fn begin(
    world: &World,
    path: &str,
    who: &str,
    message: &Value,
) -> Result<Exchange> {
    let message = modern(message.clone());
    let body = message.to_string();
    send(
        world,
        "POST",
        path,
        who,
        &headers(&message),
        body.as_bytes(),
    )
    .await
}

/// A message of a legacy session.
pub(super) async fn post_in(world: &World, path: &str, id: &str, message: &Value) -> Result<Reply> {
    let more = [
        ("Mcp-Session-Id", id.to_owned()),
        ("MCP-Protocol-Version", "2025-06-18".to_owned()),
    ];
    let body = message.to_string();
    let exchange = send(world, "POST", path, "alice", &more, body.as_bytes()).await?;
    world.whole(exchange).await
}

/// Opens a legacy session at a path: its id, and the result of the handshake.
pub(super) async fn open(world: &World, path: &str) -> Result<(String, Value)> {
    let body = initialize("2025-06-18").to_string();
    let exchange = send(world, "POST", path, "alice", &[], body.as_bytes()).await?;
    let reply = world.whole(exchange).await?;
    let id = reply.header("mcp-session-id").context("no session")?;
    Ok((id.to_owned(), reply.answer()?["result"].clone()))
}

/// Ends a legacy session.
pub(super) async fn close(world: &World, path: &str, id: &str) -> Result<()> {
    let more = [("Mcp-Session-Id", id.to_owned())];
    let exchange = send(world, "DELETE", path, "alice", &more, b"").await?;
    ensure!(world.whole(exchange).await?.status == 204, "{path}");
    Ok(())
}

pub(super) fn names(list: &Value, member: &str, key: &str) -> Vec<String> {
    let entries = list["result"][member].as_array().map(Vec::as_slice);
    let name = |entry: &Value| entry[key].as_str().unwrap_or_default().to_owned();
    entries.unwrap_or_default().iter().map(name).collect()
}

pub(super) async fn tools(world: &World, path: &str, who: &str) -> Result<Vec<String>> {
    let reply = post(world, path, who, &request(1, "tools/list", &json!({}))).await?;
    Ok(names(reply.answer()?, "tools", "name"))
}
