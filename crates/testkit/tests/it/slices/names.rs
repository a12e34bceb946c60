//! No upstream takes a name that begins like another's.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::mcp::{call, request};
use testkit::world::World;

use super::{OWNED, health, names, promising, saying, tools};

/// A gate before three upstreams that each say who they are.
async fn world(settings: &str, of_a: &[&str]) -> Result<World> {
    let of_a: Vec<_> = of_a.iter().map(|name| saying(name, "a")).collect();
    let config = format!(
        "{OWNED}{settings}\nupstreams.a.stdio = [\"{{promising}}\", {}]\n\
         upstreams.b = {}\nupstreams.c = {}\n",
        json!(json!({ "tools": of_a }).to_string()),
        promising(&json!({
            "tools": [saying("search", "b"), saying("only", "b")],
            "prompts": [{ "name": "letter" }],
        })),
        promising(&json!({ "tools": [saying("search", "c")], "prompts": [{ "name": "letter" }] })),
    );
    let world = World::of(&config).await?;
    for alias in ["a", "b", "c"] {
        world.ready(alias, 0).await?;
    }
    Ok(world)
}

async fn says(world: &World, name: &str) -> Result<String> {
    let reply = world.post("alice", &call(1, name, &json!({}))).await?;
    Ok(reply.text()?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_that_begins_like_anothers_prefixed_ones_gets_its_own_in_front() -> Result<()> {
    // The first letter of the last is Cyrillic: nobody would see that.
    let forged = "\u{441}.search";
    let world = world(
        "catalog.prefix = \"on-collision\"",
        &["b.search", "b.other", "a.mine", forged],
    )
    .await?;
    let renamed = format!("a.{forged}");
    let expected = [
        "a.b.other",
        "a.b.search",
        "a.mine",
        &renamed,
        "b.search",
        "c.search",
        "only",
    ];
    let listed = tools(&world, "alice").await?;
    ensure!(listed == expected, "{listed:?}");
    for (name, who) in [
        ("b.search", "b"),
        ("c.search", "c"),
        ("a.b.search", "a"),
        ("only", "b"),
    ] {
        ensure!(says(&world, name).await? == who, "{name}");
    }
    let reply = world.post("alice", &call(1, "b.other", &json!({}))).await?;
    ensure!(reply.code()? == -32602, "{reply:?}");
    // No header carries these letters.
    let session = world.open("alice", "2025-06-18").await?;
    let reply = world
        .post_in(&session, &call(1, &renamed, &json!({})))
        .await?;
    ensure!(reply.text()? == "a");
    let reply = world
        .post_in(&session, &call(1, forged, &json!({})))
        .await?;
    ensure!(reply.code()? == -32602, "{reply:?}");
    world.close(&session).await?;
    let seen = health(&world, "root").await?;
    let told = seen["look_alikes"].as_array().context("none")?;
    ensure!(told.len() == 3, "{seen}");
    ensure!(told.contains(&json!({
        "upstream": "a", "name": "b.search", "looks_like": "b.", "shown_as": "a.b.search",
    })));
    ensure!(health(&world, "alice").await?.get("look_alikes").is_none());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_is_whatever_an_upstream_has_for_itself_and_in_virtual_servers() -> Result<()> {
    let world = world(
        "upstreams.a.prefix = \"never\"\n\
         virtual_servers.bare = { include = [\"*\"], prefix = \"never\" }\n\
         virtual_servers.some = { include = [\"*\"], prefix = \"on-collision\", separator = \"__\" }\n",
        &["b.search", "b__search", "plain"],
    )
    .await?;
    let listed = tools(&world, "alice").await?;
    let expected = [
        "a.b.search",
        "b.only",
        "b.search",
        "b__search",
        "c.search",
        "plain",
    ];
    ensure!(listed == expected, "{listed:?}");
    ensure!(says(&world, "b.search").await? == "b");
    let at = async |server: &str, method: &str, member: &str| {
        let list = request(1, method, &json!({}));
        let reply = world.post_at(server, "alice", &list).await?;
        anyhow::Ok(names(reply.answer()?, member, "name"))
    };
    // Where nobody has a prefix there is none to imitate.
    let bare = at("bare", "tools/list", "tools").await?;
    ensure!(
        bare == ["b.search", "b__search", "only", "plain", "search"],
        "{bare:?}"
    );
    let some = at("some", "tools/list", "tools").await?;
    ensure!(
        some == [
            "a__b__search",
            "b.search",
            "b__search",
            "c__search",
            "only",
            "plain"
        ],
        "{some:?}"
    );
    let prompts = at("some", "prompts/list", "prompts").await?;
    ensure!(prompts == ["b__letter", "c__letter"], "{prompts:?}");
    let message = call(1, "b__search", &json!({}));
    let reply = world.post_at("some", "alice", &message).await?;
    ensure!(reply.text()? == "b");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shortened_prefixed_name_is_nobody_elses_either() -> Result<()> {
    let short = "catalog.names = \"64\"\ncatalog.prefix = \"on-collision\"";
    let first = world(short, &["other"]).await?;
    let listed = tools(&first, "alice").await?;
    first.end().await?;
    let target = listed.iter().find(|name| name.starts_with("b_search_"));
    let target = target.context("no shortened name")?.clone();
    // Its upstream is the first in order, and offers just that.
    let world = world(short, &[&target]).await?;
    ensure!(!tools(&world, "alice").await?.contains(&"other".to_owned()));
    ensure!(says(&world, &target).await? == "b");
    // Nor does it stand in for the other's where that is hidden.
    let seen = health(&world, "root").await?;
    let told = &seen["look_alikes"][0];
    ensure!(
        told["upstream"] == "a" && told["name"] == target.as_str() && told["shown_as"].is_null(),
        "{seen}"
    );
    world.end().await
}
