//! A yes is bound to all that is sent, and what it is not bound to is not sent.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::mcp::call;
use testkit::world::World;

use super::{agree, answered, form, forms, modern, named, yes};

/// An upstream that gives back the line that reached it: of the client's own era, so that nothing is lost in between.
const MIRROR: &str = r#"
builtins = []
upstreams.e = { stdio = ["{echo}", "--modern"] }
roles.agents = { members = ["alice"], ask = ["e.*"] }
"#;
const TENANT: &str = "com.example/tenant";

async fn world() -> Result<World> {
    let world = World::of(MIRROR).await?;
    world.ready("e", 0).await?;
    Ok(world)
}

/// A call with something in `_meta` that is the client's own.
fn mirror(meta: &Value) -> Value {
    let mut message = testkit::mcp::modern(call(1, "e.mirror", &json!({ "path": "/a" })));
    for (name, value) in meta.as_object().into_iter().flatten() {
        message["params"]["_meta"][name.as_str()] = value.clone();
    }
    message
}

/// The `params` that reached the upstream.
fn reached(line: &str) -> Result<Value> {
    let line: Value = serde_json::from_str(line)?;
    ensure!(line["method"] == "tools/call", "{line}");
    Ok(line["params"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_in_meta_is_a_part_of_what_was_agreed_to() -> Result<()> {
    let world = world().await?;
    let none = json!({});
    let trace =
        |last: char| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333{last}-01");
    let agreed = mirror(&json!({ TENANT: "one", "traceparent": trace('1') }));
    let id = named(&modern(&world, "alice", &agreed, &none).await?)?;
    agree(&world, &id).await?;
    for meta in [
        json!({}),
        json!({ TENANT: "two" }),
        json!({ TENANT: ["one"] }),
    ] {
        let other = named(&modern(&world, "alice", &mirror(&meta), &none).await?)?;
        ensure!(other != id, "{meta}");
    }
    // A trace is another each time; nobody agreed to one, and none is sent.
    let again = mirror(&json!({ TENANT: "one", "traceparent": trace('2') }));
    let reply = modern(&world, "alice", &again, &none).await?;
    let params = reached(reply.text()?)?;
    ensure!(params["_meta"][TENANT] == "one", "{params}");
    ensure!(params["_meta"]["traceparent"].is_null(), "{params}");
    ensure!(params["arguments"] == json!({ "path": "/a" }), "{params}");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_to_nobodys_question_are_not_sent_along_with_what_was_agreed_to() -> Result<()> {
    let world = world().await?;
    let (none, extra) = (json!({}), json!({ "action": "accept", "content": {} }));
    let call = mirror(&none);
    // Elsewhere, and then beside the answer to our own form.
    let id = named(&modern(&world, "alice", &call, &none).await?)?;
    agree(&world, &id).await?;
    let mut with = call.clone();
    with["params"]["inputResponses"] = json!({ "theirs": extra });
    let reply = modern(&world, "alice", &with, &none).await?;
    let params = reached(reply.text()?)?;
    ensure!(params["inputResponses"].is_null(), "{params}");

    let (_, state) = form(&modern(&world, "alice", &call, &forms()).await?)?;
    let mut with = answered(&call, &state, &yes("once"));
    with["params"]["inputResponses"]["theirs"] = extra.clone();
    let reply = modern(&world, "alice", &with, &forms()).await?;
    let params = reached(reply.text()?)?;
    for member in ["inputResponses", "requestState"] {
        ensure!(params[member].is_null(), "{params}");
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_goes_on_is_the_one_that_was_agreed_to() -> Result<()> {
    let world = world().await?;
    // An upstream that always asks once more.
    let asks = json!({
        "resultType": "input_required", "requestState": "theirs",
        "inputRequests": { "name": { "method": "elicitation/create", "params": {
            "message": "Who?", "requestedSchema": { "type": "object", "properties": {} },
        } } },
    });
    let raw = call(1, "e.raw", &json!({ "result": asks.to_string() }));
    let (_, state) = form(&modern(&world, "alice", &raw, &forms()).await?)?;
    let reply = modern(
        &world,
        "alice",
        &answered(&raw, &state, &yes("once")),
        &forms(),
    )
    .await?;
    let result = &reply.answer()?["result"];
    ensure!(result["resultType"] == "input_required", "{result}");
    let state = result["requestState"].as_str().context("no state")?;
    let on = |mut message: Value| {
        let given = json!({ "name": { "action": "accept", "content": {} } });
        message["params"]["inputResponses"] = given;
        message["params"]["requestState"] = state.into();
        message
    };
    let mut tagged = testkit::mcp::modern(raw.clone());
    tagged["params"]["_meta"][TENANT] = "two".into();
    let other = call(1, "e.raw", &json!({ "result": "{}" }));
    for message in [on(tagged), on(other)] {
        let reply = modern(&world, "alice", &message, &forms()).await?;
        ensure!(reply.code()? == -32602, "{:?}", reply.messages);
    }
    // As it was, it goes on; and so does what comes of that.
    let reply = modern(&world, "alice", &on(raw), &forms()).await?;
    let result = &reply.answer()?["result"];
    ensure!(result["resultType"] == "input_required", "{result}");
    world.end().await
}
