//! Virtual servers and tool search from outside: what a slice shows, what its upstreams are sent, and who finds it.
//!
//! The upstreams keep every byte that they are told.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gateway::{Pipe, Visit};
use policy::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::{call, headers, initialize, modern, request};
use testkit::world::{Exchange, Reply, World};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than the gate waits until it tells of changes again.
const QUIET: Duration = Duration::from_millis(900);

const CONFIG: &str = r#"
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
struct Scene {
    world: World,
    folder: TempDir,
}

impl Scene {
    async fn of(config: &str) -> Result<Self> {
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
    fn told(&self, upstream: &str) -> Result<Vec<String>> {
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

    async fn end(self) -> Result<()> {
        self.world.end().await
    }
}

/// Sends bytes to a path.
async fn send(
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
async fn post(world: &World, path: &str, who: &str, message: &Value) -> Result<Reply> {
    let exchange = begin(world, path, who, message).await?;
    world.whole(exchange).await
}

async fn begin(world: &World, path: &str, who: &str, message: &Value) -> Result<Exchange> {
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
async fn post_in(world: &World, path: &str, id: &str, message: &Value) -> Result<Reply> {
    let more = [
        ("Mcp-Session-Id", id.to_owned()),
        ("MCP-Protocol-Version", "2025-06-18".to_owned()),
    ];
    let body = message.to_string();
    let exchange = send(world, "POST", path, "alice", &more, body.as_bytes()).await?;
    world.whole(exchange).await
}

/// Opens a legacy session at a path: its id, and the result of the handshake.
async fn open(world: &World, path: &str) -> Result<(String, Value)> {
    let body = initialize("2025-06-18").to_string();
    let exchange = send(world, "POST", path, "alice", &[], body.as_bytes()).await?;
    let reply = world.whole(exchange).await?;
    let id = reply.header("mcp-session-id").context("no session")?;
    Ok((id.to_owned(), reply.answer()?["result"].clone()))
}

/// Ends a legacy session.
async fn close(world: &World, path: &str, id: &str) -> Result<()> {
    let more = [("Mcp-Session-Id", id.to_owned())];
    let exchange = send(world, "DELETE", path, "alice", &more, b"").await?;
    ensure!(world.whole(exchange).await?.status == 204, "{path}");
    Ok(())
}

fn names(list: &Value, member: &str, key: &str) -> Vec<String> {
    let entries = list["result"][member].as_array().map(Vec::as_slice);
    let name = |entry: &Value| entry[key].as_str().unwrap_or_default().to_owned();
    entries.unwrap_or_default().iter().map(name).collect()
}

async fn tools(world: &World, path: &str, who: &str) -> Result<Vec<String>> {
    let reply = post(world, path, who, &request(1, "tools/list", &json!({}))).await?;
    Ok(names(reply.answer()?, "tools", "name"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_has_its_own_names_order_and_definitions_in_both_eras() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let expected = ["read_doc", "a__erase", "a__write", "b__write"];
    ensure!(tools(world, "/mcp/desk", "alice").await? == expected);
    let (id, hello) = open(world, "/mcp/desk").await?;
    ensure!(hello["instructions"] == "What the desk is for.", "{hello}");
    let listed = post_in(
        world,
        "/mcp/desk",
        &id,
        &request(2, "tools/list", &json!({})),
    )
    .await?;
    let listed = listed.answer()?;
    ensure!(names(listed, "tools", "name") == expected, "{listed}");
    let read = &listed["result"]["tools"][0];
    ensure!(read["title"] == "Read" && read["description"] == "Reads what is on the desk.");
    ensure!(
        read["inputSchema"]["properties"] == json!({ "pages": { "type": "integer" } }),
        "{read}"
    );
    ensure!(read["annotations"]["readOnlyHint"] == true, "{read}");
    let write = &listed["result"]["tools"][3];
    ensure!(
        write["inputSchema"]["properties"]["pages"].is_object(),
        "{write}"
    );

    let discovered = post(
        world,
        "/mcp/desk",
        "alice",
        &request(3, "server/discover", &json!({})),
    )
    .await?;
    ensure!(discovered.answer()?["result"]["instructions"] == "What the desk is for.");

    let prompts = request(4, "prompts/list", &json!({}));
    let prompts = post(world, "/mcp/desk", "alice", &prompts).await?;
    let prompts = prompts.answer()?;
    ensure!(
        names(prompts, "prompts", "name") == ["a__letter", "a__note"],
        "{prompts}"
    );
    ensure!(
        prompts["result"]["prompts"][0]["arguments"] == json!([{ "name": "to" }]),
        "{prompts}"
    );

    let resources = request(5, "resources/list", &json!({}));
    let resources = post(world, "/mcp/desk", "alice", &resources).await?;
    ensure!(names(resources.answer()?, "resources", "uri") == ["a://open"]);

    let plain = tools(world, "/mcp/plain", "alice").await?;
    ensure!(plain == ["erase", "job", "read", "write"], "{plain:?}");
    let whole = tools(world, "/mcp", "alice").await?;
    ensure!(
        whole.len() == 8 && whole.contains(&"a.read".to_owned()),
        "{whole:?}"
    );
    close(world, "/mcp/desk", &id).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_its_own_names_and_the_default_arguments() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let (id, _) = open(world, "/mcp/desk").await?;
    // As the client wrote it, with the server's argument behind.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_doc","arguments":{ "pages" :  1, "x":1.50 }}}"#;
    let more = [("Mcp-Session-Id", id.clone())];
    let exchange = send(world, "POST", "/mcp/desk", "alice", &more, body.as_bytes()).await?;
    ensure!(world.whole(exchange).await?.text()? == "read");
    ensure!(
        post(
            world,
            "/mcp/desk",
            "alice",
            &request(2, "tools/call", &json!({ "name": "read_doc" }))
        )
        .await?
        .text()?
            == "read"
    );
    ensure!(
        scene.told("a")?
            == [
                r#"{"name":"read","arguments":{ "pages" :  1, "x":1.50 ,"path":"/srv/a b"}}"#,
                r#"{"name":"read","arguments":{"path":"/srv/a b"}}"#,
            ],
        "{:?}",
        scene.told("a")?
    );
    // An argument that clients do not see is one that there is not.
    let given = call(3, "read_doc", &json!({ "path": "/etc" }));
    let refused = post(world, "/mcp/desk", "alice", &given).await?;
    ensure!(
        refused.answer()?["result"]["isError"] == true,
        "{refused:?}"
    );
    ensure!(
        refused.text()?.contains("unknown property `path`"),
        "{refused:?}"
    );
    let refused = post_in(world, "/mcp/desk", &id, &given).await?;
    ensure!(refused.code()? == -32602, "{refused:?}");
    // Many readers do not look at upper and lower case.
    let given = call(3, "read_doc", &json!({ "Path": "/etc" }));
    let refused = post_in(world, "/mcp/desk", &id, &given).await?;
    ensure!(refused.code()? == -32602, "{refused:?}");
    ensure!(scene.told("a")?.len() == 2);

    post(
        world,
        "/mcp/desk",
        "alice",
        &call(4, "b__write", &json!({})),
    )
    .await?
    .text()?;
    post(
        world,
        "/mcp/desk",
        "alice",
        &call(5, "b__write", &json!({ "pages": 9 })),
    )
    .await?
    .text()?;
    ensure!(
        scene.told("b")?
            == [
                r#"{"name":"write","arguments":{"pages":3}}"#,
                r#"{"name":"write","arguments":{"pages":9}}"#,
            ],
        "{:?}",
        scene.told("b")?
    );

    let letter = request(
        6,
        "prompts/get",
        &json!({ "name": "a__letter", "arguments": { "to": "bob" } }),
    );
    post(world, "/mcp/desk", "alice", &letter).await?.answer()?;
    let told = scene.told("a")?;
    ensure!(
        told.last().map(String::as_str)
            == Some(r#"{"name":"letter","arguments":{"to":"bob","tone":"kind"}}"#),
        "{told:?}"
    );
    // Neither are they completed, whether they are asked about or said to be known.
    for (argument, known, is_told) in [
        ("to", json!({}), true),
        ("tone", json!({}), false),
        ("Tone", json!({}), false),
        ("to", json!({ "tone": "rude" }), false),
    ] {
        let params = json!({
            "ref": { "type": "ref/prompt", "name": "a__letter" },
            "argument": { "name": argument, "value": "b" },
            "context": { "arguments": known },
        });
        let asked = request(7, "completion/complete", &params);
        let reply = post(world, "/mcp/desk", "alice", &asked).await?;
        let answer = reply.answer()?;
        ensure!(answer.get("result").is_some() == is_told, "{answer}");
    }
    close(world, "/mcp/desk", &id).await?;
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_slice_is_unknown_there() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    for name in ["a.read", "a__read", "read", "a__job", "b__erase", "b__read"] {
        let reply = post(world, "/mcp/desk", "alice", &call(1, name, &json!({}))).await?;
        let said = reply.answer()?["error"]["message"].clone();
        ensure!(said == format!("Unknown tool: {name}"), "{name}: {reply:?}");
    }
    let reply = post(world, "/mcp", "alice", &call(1, "read_doc", &json!({}))).await?;
    ensure!(reply.code()? == -32602);
    ensure!(scene.told("a")?.is_empty() && scene.told("b")?.is_empty());
    // A template leads to what is not excluded, however that is spelled.
    for (uri, is_there) in [
        ("a://page/8", true),
        ("a://page/7", false),
        ("a://page/%37", false),
        ("a://closed", false),
        ("b://page/8", false),
    ] {
        let read = request(2, "resources/read", &json!({ "uri": uri }));
        let reply = post(world, "/mcp/desk", "alice", &read).await?;
        ensure!(
            reply.answer()?.get("result").is_some() == is_there,
            "{uri}: {reply:?}"
        );
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_its_server() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let list = request(1, "tools/list", &json!({}));
    for (own, others) in [
        ("/mcp/desk", ["/mcp", "/mcp/plain"]),
        ("/mcp", ["/mcp/desk", "/mcp/plain"]),
    ] {
        let (id, _) = open(world, own).await?;
        for other in others {
            ensure!(
                post_in(world, other, &id, &list).await?.status == 404,
                "{own} {other}"
            );
            let more = [("Mcp-Session-Id", id.clone())];
            for verb in ["GET", "DELETE"] {
                let exchange = send(world, verb, other, "alice", &more, b"").await?;
                ensure!(
                    world.whole(exchange).await?.status == 404,
                    "{verb} {own} {other}"
                );
            }
        }
        ensure!(
            post_in(world, own, &id, &list).await?.status == 200,
            "{own}"
        );
        close(world, own, &id).await?;
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_nothing_of_a_server_finds_no_such_path() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let list = request(1, "tools/list", &json!({}));
    ensure!(tools(world, "/mcp/desk", "bob").await? == ["read_doc"]);
    // A rule may hold in a virtual server alone.
    ensure!(tools(world, "/mcp/desk", "dora").await? == ["read_doc"]);
    ensure!(tools(world, "/mcp", "dora").await?.is_empty());
    let mut said = Vec::new();
    for (who, path) in [
        ("carol", "/mcp/desk"),
        ("carol", "/mcp/none"),
        ("root", "/mcp/none"),
        ("root", "/nothing"),
    ] {
        let reply = post(world, path, who, &list).await?;
        ensure!(reply.status == 404, "{who} {path}: {reply:?}");
        said.push((reply.code()?, reply.answer()?["error"]["message"].clone()));
    }
    ensure!(said.iter().all(|one| *one == said[0]), "{said:?}");
    ensure!(tools(world, "/mcp/desk", "root").await?.len() == 4);
    for path in ["/sse/desk", "/ws/desk"] {
        let exchange = send(world, "GET", path, "carol", &[], b"").await?;
        ensure!(world.whole(exchange).await?.status == 404, "{path}");
    }
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_a_resource_of_its_own() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let base = "/.well-known/oauth-protected-resource";
    // Whether there is such a server is not told.
    for server in ["desk", "none"] {
        let mut exchange = send(
            world,
            "GET",
            &format!("{base}/mcp/{server}"),
            "nobody",
            &[],
            b"",
        )
        .await?;
        ensure!(exchange.status == 200);
        let metadata: Value = serde_json::from_slice(&exchange.body().await?)?;
        let resource = metadata["resource"].as_str().context("no resource")?;
        ensure!(resource.ends_with(&format!("/mcp/{server}")), "{resource}");
        let list = request(1, "tools/list", &json!({}));
        let refused = post(world, &format!("/mcp/{server}"), "nobody", &list).await?;
        ensure!(refused.status == 401);
        let challenge = refused.header("www-authenticate").context("no challenge")?;
        ensure!(
            challenge.contains(&format!("{base}/mcp/{server}\"")),
            "{challenge}"
        );
    }
    let exchange = send(
        world,
        "GET",
        &format!("{base}/mcp/desk/more"),
        "nobody",
        &[],
        b"",
    )
    .await?;
    ensure!(exchange.status == 404);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_over_other_transports_are_with_one_server_too() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let mut stream = send(world, "GET", "/sse/desk", "alice", &[], b"").await?;
    let (_, endpoint) = stream.named_event().await?.context("no endpoint")?;
    ensure!(
        endpoint.starts_with("/messages/desk?session="),
        "{endpoint}"
    );
    let list = modern(request(1, "tools/list", &json!({}))).to_string();
    let elsewhere = endpoint.replace("/messages/desk", "/messages");
    let refused = send(world, "POST", &elsewhere, "alice", &[], list.as_bytes()).await?;
    ensure!(world.whole(refused).await?.status == 404);
    let taken = send(world, "POST", &endpoint, "alice", &[], list.as_bytes()).await?;
    ensure!(taken.status == 202);
    let listed = stream.event().await?.context("no answer")?;
    ensure!(names(&listed, "tools", "name")[0] == "read_doc", "{listed}");
    world.owe(1);

    let key = world.key("alice")?;
    let presented = auth::Presented {
        x_api_key: key.as_deref(),
        ..auth::Presented::nothing(auth::Peer::Stdio)
    };
    let visit = Visit {
        principal: world.gate().authenticate(&presented).await?,
        server: Some(ServerName::new("desk")?),
    };
    let (out, mut answers) = mpsc::channel(8);
    let pipe = Pipe::new(Arc::clone(world.gate()), visit, "stdio", out);
    pipe.take(list.into()).await;
    let answer = answers.recv().await.context("no answer")?;
    let answer: Value = serde_json::from_slice(&answer)?;
    ensure!(names(&answer, "tools", "name").len() == 4, "{answer}");
    world.owe(1);
    pipe.hang_up().await;
    drop(stream);
    scene.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whose_slice_changed_hear_of_it() -> Result<()> {
    let config = r#"
builtins = []
upstreams.s = { stdio = ["{scripted}"] }
upstreams.t = { stdio = ["{scripted}"] }
roles.all = { members = ["alice"], allow = ["*"] }
virtual_servers.one = { include = ["s.*"] }
virtual_servers.two = { include = ["t.*"] }
"#;
    let world = World::of(config).await?;
    world.ready("s", 0).await?;
    world.ready("t", 0).await?;
    // What comes at the start is no news.
    for path in ["/mcp/one", "/mcp/two"] {
        ensure!(!tools(&world, path, "alice").await?.is_empty());
    }
    let listen = request(
        1,
        "subscriptions/listen",
        &json!({ "notifications": { "toolsListChanged": true } }),
    );
    let mut one = begin(&world, "/mcp/one", "alice", &listen).await?;
    let mut two = begin(&world, "/mcp/two", "alice", &listen).await?;
    for stream in [&mut one, &mut two] {
        stream.event().await?.context("no acknowledgement")?;
        world.owe(1);
    }
    world
        .post("alice", &call(2, "s.storm", &json!({ "times": 1 })))
        .await?;
    let told = one.event().await?.context("nothing told")?;
    ensure!(
        told["method"] == "notifications/tools/list_changed",
        "{told}"
    );
    ensure!(
        timeout(QUIET, two.event()).await.is_err(),
        "the other hears, too"
    );
    ensure!(
        tools(&world, "/mcp/one", "alice")
            .await?
            .iter()
            .any(|name| name == "s.added_0")
    );
    drop((one, two));
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_makes_and_removes_servers() -> Result<()> {
    let config = |more: &str| {
        format!(
            "builtins = [\"time\"]\nroles.all = {{ members = [\"alice\"], allow = [\"*\"] }}\n{more}"
        )
    };
    let world = World::of(&config("")).await?;
    let list = request(1, "tools/list", &json!({}));
    ensure!(post(&world, "/mcp/x", "alice", &list).await?.status == 404);
    world.reload(&config("virtual_servers.x = { include = [\"time.now\"] }"))?;
    ensure!(tools(&world, "/mcp/x", "alice").await? == ["time.now"]);
    let (id, _) = open(&world, "/mcp/x").await?;
    world.reload(&config(
        "virtual_servers.x = { include = [\"time.*\"], separator = \"__\" }",
    ))?;
    ensure!(
        tools(&world, "/mcp/x", "alice")
            .await?
            .contains(&"time__convert".to_owned())
    );
    world.reload(&config(""))?;
    ensure!(post_in(&world, "/mcp/x", &id, &list).await?.status == 404);
    // It is there again with its server, and nobody finds it in between.
    world.reload(&config("virtual_servers.x = { include = [\"time.*\"] }"))?;
    close(&world, "/mcp/x", &id).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_search_shows_calls_and_records_what_the_rules_allow() -> Result<()> {
    let scene = Scene::of(CONFIG).await?;
    let world = &scene.world;
    let three = ["search_tools", "describe_tool", "call_tool"];
    ensure!(tools(world, "/mcp/find", "alice").await? == three);
    // Who may see few enough sees them, and can search all the same.
    ensure!(tools(world, "/mcp/find", "bob").await? == ["a.read"]);
    let search = |query: &str| call(1, "search_tools", &json!({ "query": query }));
    let found = async |who: &str, query: &str| -> Result<Vec<String>> {
        let reply = post(world, "/mcp/find", who, &search(query)).await?;
        Ok(names(
            &json!({ "result": reply.answer()?["result"]["structuredContent"] }),
            "tools",
            "name",
        ))
    };
    ensure!(found("alice", "erase something").await? == ["a.erase", "b.erase"]);
    ensure!(found("bob", "erase something").await?.is_empty());
    ensure!(
        found("bob", "books").await? == ["a.read"],
        "what it is described as"
    );
    ensure!(found("alice", "books").await?.len() == 8);

    let describe = |name: &str| call(2, "describe_tool", &json!({ "name": name }));
    let told = post(world, "/mcp/find", "alice", &describe("a.read")).await?;
    let tool = &told.answer()?["result"]["structuredContent"]["tool"];
    ensure!(
        tool["inputSchema"]["properties"]["pages"]["type"] == "integer",
        "{told:?}"
    );
    let hidden = post(world, "/mcp/find", "bob", &describe("a.erase")).await?;
    let nothing = post(world, "/mcp/find", "bob", &describe("a.nothing")).await?;
    ensure!(hidden.answer()?["result"]["isError"] == true);
    ensure!(hidden.text()?.replace("erase", "nothing") == nothing.text()?);

    let through = |name: &str| {
        call(
            3,
            "call_tool",
            &json!({ "name": name, "arguments": { "pages": 1 } }),
        )
    };
    ensure!(
        post(world, "/mcp/find", "bob", &through("a.read"))
            .await?
            .text()?
            == "read"
    );
    let denied = post(world, "/mcp/find", "bob", &through("a.erase")).await?;
    ensure!(
        denied.answer()?["error"]["message"] == "Unknown tool: a.erase",
        "{denied:?}"
    );
    let twice = post(world, "/mcp/find", "alice", &through("call_tool")).await?;
    ensure!(
        twice.answer()?["error"]["message"] == "Unknown tool: call_tool",
        "{twice:?}"
    );
    // By its name it is called as ever.
    ensure!(
        post(world, "/mcp/find", "alice", &call(4, "b.read", &json!({})))
            .await?
            .text()?
            == "read"
    );
    ensure!(scene.told("a")? == [r#"{"name":"read","arguments":{"pages":1}}"#]);
    ensure!(scene.told("b")?.len() == 1);

    for (arguments, why) in [
        (json!({}), "query"),
        (json!({ "query": "x", "limit": 0 }), "limit"),
        (json!({ "query": "x", "limit": 51 }), "limit"),
        (json!({ "query": "x", "other": 1 }), "other"),
        (json!({ "query": "x".repeat(2000) }), "1024"),
    ] {
        let reply = post(
            world,
            "/mcp/find",
            "alice",
            &call(5, "search_tools", &arguments),
        )
        .await?;
        ensure!(reply.answer()?["result"]["isError"] == true, "{arguments}");
        ensure!(reply.text()?.contains(why), "{arguments}: {reply:?}");
    }
    for arguments in [
        json!({}),
        json!({ "name": 1 }),
        json!({ "name": "a.read", "pages": 1 }),
    ] {
        let reply = post(
            world,
            "/mcp/find",
            "alice",
            &call(6, "call_tool", &arguments),
        )
        .await?;
        ensure!(
            reply.answer()?["result"]["isError"] == true,
            "{arguments}: {reply:?}"
        );
    }

    // In the other era as well.
    let (id, _) = open(world, "/mcp/find").await?;
    let listed = post_in(
        world,
        "/mcp/find",
        &id,
        &request(7, "tools/list", &json!({})),
    )
    .await?;
    ensure!(names(listed.answer()?, "tools", "name") == three);
    ensure!(
        post_in(world, "/mcp/find", &id, &through("b.write"))
            .await?
            .text()?
            == "write"
    );

    // Where there is no search, there are no such tools.
    let unknown = post(world, "/mcp", "alice", &search("read")).await?;
    ensure!(unknown.answer()?["error"]["message"] == "Unknown tool: search_tools");

    let records = scene.world.records().await?;
    let recorded = |entry: &str, decision: &str| {
        let mut rows = records.iter().map(|record| &record.row);
        rows.any(|row| {
            row.entry.as_deref() == Some(entry)
                && row.decision == decision
                && row.server.as_deref() == Some("find")
        })
    };
    ensure!(recorded("a.read", "allow") && recorded("a.erase", "unseen"));
    ensure!(recorded("search_tools", "allow"));
    close(world, "/mcp/find", &id).await?;
    scene.end().await
}

/// An upstream with these tools.
fn promising(tools: &[&str]) -> String {
    let tool = |name: &&str| {
        json!({
            "name": name, "inputSchema": { "type": "object" },
            "answer": { "content": [{ "type": "text", "text": "mine" }] },
        })
    };
    let tools: Vec<Value> = tools.iter().map(tool).collect();
    let definitions = json!({ "tools": tools }).to_string();
    format!("{{ stdio = [\"{{promising}}\", {}] }}", json!(definitions))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_like_another_is_withheld() -> Result<()> {
    // The first letter of the second is Cyrillic.
    let (honest, forged) = ("pay", "\u{440}ay");
    let config = format!(
        "builtins = []\ncatalog.prefix = \"never\"\n\
         roles.owner = {{ members = [\"root\"] }}\nroles.all = {{ members = [\"alice\"], allow = [\"*\"] }}\n\
         upstreams.a = {}\nupstreams.b = {}\n",
        promising(&[honest, "list"]),
        promising(&[forged, "1ist", "other"]),
    );
    let world = World::of(&config).await?;
    world.ready("a", 0).await?;
    world.ready("b", 0).await?;
    ensure!(tools(&world, "/mcp", "alice").await? == ["list", "other", "pay"]);
    let reply = world.post("alice", &call(1, "1ist", &json!({}))).await?;
    ensure!(reply.code()? == -32602, "{reply:?}");
    ensure!(
        world
            .post("alice", &call(1, honest, &json!({})))
            .await?
            .text()?
            == "mine"
    );
    let health = |who: &str| {
        let who = who.to_owned();
        let world = &world;
        async move {
            let mut exchange = send(world, "GET", "/health", &who, &[], b"").await?;
            Ok::<Value, anyhow::Error>(serde_json::from_slice(&exchange.body().await?)?)
        }
    };
    let seen = health("root").await?;
    let withheld = seen["catalog"]["look_alikes"].as_array().context("none")?;
    ensure!(withheld.len() == 2, "{seen}");
    ensure!(
        withheld
            .iter()
            .any(|one| one["name"] == forged && one["looks_like"] == honest)
    );
    ensure!(
        health("alice").await?["catalog"]
            .get("look_alikes")
            .is_none()
    );
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_config_says_of_servers_is_checked() -> Result<()> {
    let world = World::of("builtins = [\"time\"]").await?;
    for (config, complaint) in [
        (
            "virtual_servers.\"a b\" = { include = [\"*\"] }",
            "virtual_servers.a b: ` ` cannot stand in this name",
        ),
        (
            "virtual_servers.x = { include = [\"time\"] }",
            "virtual_servers.x.include.0: `time` names an upstream but no entry",
        ),
        (
            "virtual_servers.x = { include = [{ tools = \"time.*\" }] }",
            "virtual_servers.x.include.0",
        ),
        (
            "virtual_servers.x = { include = [\"*\"], tools.\"tine.now\" = { hide = true } }",
            "did you mean \"time.now\"?",
        ),
        (
            "virtual_servers.x = { include = [\"*\"], tools.\"time.now\" = { name = \"n\u{f6}w\" } }",
            "is no name that every client takes",
        ),
        (
            "virtual_servers.x = { include = [\"*\"], tools.\"time.now\".name = \"x\", tools.\"time.convert\".name = \"x\" }",
            "is already the name of",
        ),
        (
            "virtual_servers.x = { include = [\"*\"], prompts.\"time.now\".defaults = { a = 1 } }",
            "arguments of prompts are texts",
        ),
        (
            "virtual_servers = { \"files\" = { include = [\"*\"] }, \"fi1es\" = { include = [\"*\"] } }",
            "looks like `fi1es`",
        ),
        (
            "upstreams = { \"tirne\" = { native = \"time\" } }",
            "looks like `tirne`",
        ),
        ("tool_search.above = \"never\"", "tool_search.above"),
    ] {
        let refused = world.load(&format!("builtins = [\"time\"]\n{config}"));
        let said = format!("{:#}", refused.err().context(config)?);
        ensure!(said.contains(complaint), "{config}: {said}");
    }
    world.load(
        "builtins = [\"time\"]\ntool_search.above = 40\nvirtual_servers.x = { include = [\"time.*\"], tool_search = { above = \"off\" }, tools.\"time.now\" = { defaults = { deep = { er = [1, { x = true }] } } } }",
    )?;
    world.end().await
}
