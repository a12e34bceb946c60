//! Tool search from outside: what it finds, describes, calls and records is what the rules show.

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::mcp::{call, request};

use super::scene::{CONFIG, Scene, close, names, open, post, post_in, tools};

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
