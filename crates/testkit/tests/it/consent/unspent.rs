//! A yes for one call is for a call that is made: one that is refused after it has not used it up.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::mcp::{call, headers};
use testkit::world::{Exchange, World, until};
use tokio::io::AsyncWriteExt as _;

use super::{ROLES, Scene, agree, answered, form, forms, modern, named, whole, write, yes};

fn quota(calls: u32) -> String {
    format!(
        "{ROLES}[limits.quotas.a_day]\nper = \"principal\"\nroles = [\"agents\"]\ncalls = {calls}\nevery = \"day\"\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_quota_refuses_does_not_cost_the_yes_that_it_had() -> Result<()> {
    let scene = Scene::of(&quota(1)).await?;
    let world = &scene.world;
    let none = json!({});
    let read = call(1, "s.read", &json!({ "path": "/a" }));
    ensure!(modern(world, "alice", &read, &none).await?.text()? == "read");
    let before = scene.reached()?.len();

    // One that is answered in a form, and one that is answered elsewhere.
    let (_, state) = form(&modern(world, "alice", &write("/form"), &forms()).await?)?;
    let in_form = answered(&write("/form"), &state, &yes("once"));
    let id = named(&modern(world, "alice", &write("/elsewhere"), &none).await?)?;
    agree(world, &id).await?;
    for _ in 0..2 {
        let reply = modern(world, "alice", &in_form, &forms()).await?;
        ensure!(reply.status == 429, "{:?}", reply.messages);
        let reply = modern(world, "alice", &write("/elsewhere"), &none).await?;
        ensure!(reply.status == 429, "{:?}", reply.messages);
    }
    ensure!(scene.reached()?.len() == before);

    world.reload(&whole(&quota(100), &scene.kept, ""))?;
    let reply = modern(world, "alice", &in_form, &forms()).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    let reply = modern(world, "alice", &write("/elsewhere"), &none).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    // And now they are used up.
    let reply = modern(world, "alice", &in_form, &forms()).await?;
    ensure!(reply.code()? == -32602, "{:?}", reply.messages);
    named(&modern(world, "alice", &write("/elsewhere"), &none).await?)?;
    let reached = scene.reached()?.split_off(before);
    let wanted = ["{\"path\":\"/form\"}", "{\"path\":\"/elsewhere\"}"];
    ensure!(reached == wanted, "{reached:?}");
    scene.world.end().await
}

const ONE_PLACE: &str = r#"
builtins = []
limits.in_flight_max = 1
limits.concurrency.queue_wait = "1ms"
upstreams.q = { stdio = ["{scripted}"] }
roles.agents = { members = ["alice"], ask = ["q.*"] }
roles.others = { members = ["bob"], allow = ["q.silent"] }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_finds_no_place_does_not_cost_the_yes_that_it_had() -> Result<()> {
    let world = World::of(ONE_PLACE).await?;
    world.ready("q", 0).await?;
    let none = json!({});
    // One that is agreed to, and one that was, and whose upstream wants to know something.
    let echo = call(1, "q.echo", &json!({ "text": "here" }));
    let id = named(&modern(&world, "alice", &echo, &none).await?)?;
    agree(&world, &id).await?;
    let ask = call(1, "q.ask_form", &json!({}));
    let (_, state) = form(&modern(&world, "alice", &ask, &forms()).await?)?;
    let reply = modern(
        &world,
        "alice",
        &answered(&ask, &state, &yes("once")),
        &forms(),
    )
    .await?;
    let result = reply.answer()?["result"].clone();
    let requests = result["inputRequests"].as_object().context("no requests")?;
    let (key, _) = requests.iter().next().context("nothing is asked")?;
    let mut on = ask.clone();
    let ada = json!({ "action": "accept", "content": { "name": "Ada" } });
    on["params"]["inputResponses"] = json!({ key.as_str(): ada });
    on["params"]["requestState"] = result["requestState"].clone();

    let silent = testkit::mcp::modern(call(2, "q.silent", &json!({})));
    let body = silent.to_string();
    let bytes = world.request("POST", "bob", &headers(&silent), body.as_bytes())?;
    let mut hanging = Exchange::connect(world.address()).await?;
    hanging.write_all(&bytes).await?;
    let in_flight = async |count| {
        until("so many are in flight", async || {
            Ok(world.gate().status()["calls"]["in_flight"] == count)
        })
        .await
    };
    in_flight(1).await?;
    for _ in 0..2 {
        ensure!(modern(&world, "alice", &echo, &none).await?.status == 503);
        ensure!(modern(&world, "alice", &on, &forms()).await?.status == 503);
    }
    drop(hanging);
    world.owe(1);
    in_flight(0).await?;
    let reply = modern(&world, "alice", &echo, &none).await?;
    ensure!(reply.text()? == "here", "{:?}", reply.messages);
    let reply = modern(&world, "alice", &on, &forms()).await?;
    ensure!(reply.text()?.contains("Ada"), "{:?}", reply.messages);
    // And now they are used up.
    named(&modern(&world, "alice", &echo, &none).await?)?;
    ensure!(modern(&world, "alice", &on, &forms()).await?.code()? == -32602);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_calls_that_are_the_same_and_made_at_once_one_is_made_with_one_yes() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let none = json!({});
    let id = named(&modern(world, "alice", &write("/a"), &none).await?)?;
    agree(world, &id).await?;
    let message = write("/a");
    let attempts = (0..8).map(|_| modern(world, "alice", &message, &none));
    let replies = futures_util::future::try_join_all(attempts).await?;
    let made = replies
        .iter()
        .filter(|reply| reply.text().is_ok_and(|text| text == "write"));
    ensure!(made.count() == 1);
    ensure!(scene.reached()?.len() == 1, "{:?}", scene.reached()?);
    scene.world.end().await
}
