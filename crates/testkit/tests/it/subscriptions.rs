//! What upstreams tell outside of calls reaches whom it concerns, between any two eras.

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use testkit::mcp::{call, request, response};
use testkit::world::{Exchange, Session, World, program, until};

const A: &str = "watched://a";
const B: &str = "watched://b";
const UPDATED: &str = "notifications/resources/updated";
const TOOLS_CHANGED: &str = "notifications/tools/list_changed";
/// The flags of the upstream, and so its era.
const UPSTREAMS: [&str; 2] = ["", "--modern"];

/// A gate before an upstream whose resources change on request, and two people of whom one may not read everything.
async fn world(flag: &str) -> Result<World> {
    let mut command = vec![program("watched")?.to_string_lossy().into_owned()];
    command.extend((!flag.is_empty()).then(|| flag.to_owned()));
    let world = World::of(&format!(
        "builtins = []\n\
         limits.tool_call = {{ max = 10000, per = \"1s\" }}\n\
         upstreams.s = {{ stdio = {} }}\n\
         roles.all = {{ members = [\"alice\"], allow = [\"*\"] }}\n\
         roles.some = {{ members = [\"bob\"], allow = [\"s.*\"], deny = [\"s.watched://secret\", \"s.watched://item/secret\", \"s.watched://a/secret\"] }}\n",
        json!(command)
    ))
    .await?;
    // From here on its lists are known: what is told is news.
    tool(&world, "s.history", &json!({})).await?;
    Ok(world)
}

/// What a tool of the upstream says.
async fn tool(world: &World, name: &str, arguments: &Value) -> Result<String> {
    let reply = world.post("alice", &call(1, name, arguments)).await?;
    Ok(reply.text()?.to_owned())
}

async fn touch(world: &World, uri: &str) -> Result<()> {
    tool(world, "s.touch", &json!({ "uri": uri })).await?;
    Ok(())
}

/// Waits until the upstream tells of just these.
async fn watched(world: &World, uris: &str) -> Result<()> {
    until(&format!("the upstream tells of `{uris}`"), async || {
        Ok(tool(world, "s.watched", &json!({})).await? == uris)
    })
    .await
}

/// A modern client, and what it is told that it will hear of.
async fn listen(world: &World, who: &str, filter: &Value) -> Result<(Exchange, Value)> {
    let message = request(
        7,
        "subscriptions/listen",
        &json!({ "notifications": filter }),
    );
    let mut stream = world.begin(who, &message).await?;
    let first = stream.event().await?.context("no acknowledgement")?;
    world.owe(1);
    ensure!(
        first["method"] == "notifications/subscriptions/acknowledged",
        "{first}"
    );
    Ok((stream, first["params"]["notifications"].clone()))
}

/// A legacy client that listens and has subscribed.
async fn subscribe(world: &World, who: &str, uris: &[&str]) -> Result<(Exchange, Session)> {
    let session = world.open(who, "2025-11-25").await?;
    let stream = world.listen_in(&session).await?;
    for uri in uris {
        let message = request(*uri, "resources/subscribe", &json!({ "uri": uri }));
        let reply = world.post_in(&session, &message).await?;
        ensure!(
            reply.answer()?["result"] == json!({}),
            "{:?}",
            reply.messages
        );
    }
    Ok((stream, session))
}

/// The next message, which must say that a resource changed.
async fn updated(stream: &mut Exchange) -> Result<String> {
    let told = stream.event().await?.context("the stream ended")?;
    ensure!(told["method"] == UPDATED, "{told}");
    Ok(told["params"]["uri"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_subscription_of_the_upstream_serves_every_client_and_each_hears_of_its_own()
-> Result<()> {
    for flag in UPSTREAMS {
        let world = world(flag).await?;
        let (mut first, session) = subscribe(&world, "alice", &[A]).await?;
        let (mut second, honoured) =
            listen(&world, "bob", &json!({ "resourceSubscriptions": [A] })).await?;
        assert_eq!(honoured, json!({ "resourceSubscriptions": [A] }));
        let (mut third, _) =
            listen(&world, "alice", &json!({ "resourceSubscriptions": [A, B] })).await?;
        let (mut nobody, _) = listen(&world, "alice", &json!({ "toolsListChanged": true })).await?;
        watched(&world, "watched://a watched://b").await?;

        touch(&world, B).await?;
        assert_eq!(updated(&mut third).await?, B);
        touch(&world, A).await?;
        for stream in [&mut first, &mut second, &mut third] {
            assert_eq!(updated(stream).await?, A, "upstream {flag:?}");
        }
        tool(&world, "s.touch_lists", &json!({})).await?;
        let told = nobody.event().await?.context("the stream ended")?;
        assert_eq!(told["method"], TOOLS_CHANGED, "not of resources");

        // The last who goes ends it.
        drop((second, third));
        watched(&world, "watched://a").await?;
        let message = request(2, "resources/unsubscribe", &json!({ "uri": A }));
        world.post_in(&session, &message).await?;
        watched(&world, "").await?;
        let history = tool(&world, "s.history", &json!({})).await?;
        let asked = history.matches("subscribe watched://a").count();
        assert_eq!(asked, if flag.is_empty() { 2 } else { 0 }, "{history}");
        drop((first, nobody));
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_a_modern_client_carry_the_id_of_its_own_request() -> Result<()> {
    for flag in UPSTREAMS {
        let world = world(flag).await?;
        for id in [json!("7"), json!(7), json!(9_007_199_254_740_993_u64)] {
            let filter = json!({ "notifications": { "resourceSubscriptions": [A] } });
            let message = request(id.clone(), "subscriptions/listen", &filter);
            let mut stream = world.begin("bob", &message).await?;
            stream.event().await?.context("no acknowledgement")?;
            world.owe(1);
            touch(&world, A).await?;
            let told = stream.event().await?.context("the stream ended")?;
            let params = json!({
                "uri": A, "_meta": { "io.modelcontextprotocol/subscriptionId": id },
            });
            assert_eq!(told["params"], params);
        }
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_principal_may_not_read_it_cannot_watch() -> Result<()> {
    const SECRET: &str = "watched://secret";
    const ITEM: &str = "watched://item/secret";
    for flag in UPSTREAMS {
        let world = world(flag).await?;
        let uris = json!([
            SECRET,
            ITEM,
            "watched://%73ecret",
            "watched://refused",
            "other://x",
            A
        ]);
        let filter = json!({ "resourceSubscriptions": uris });
        let (mut modern, honoured) = listen(&world, "bob", &filter).await?;
        assert_eq!(honoured, json!({ "resourceSubscriptions": [A] }));
        let (mut legacy, session) = subscribe(&world, "bob", &[A]).await?;
        for uri in [SECRET, ITEM] {
            let message = request(1, "resources/subscribe", &json!({ "uri": uri }));
            let reply = world.post_in(&session, &message).await?;
            assert_eq!(reply.code()?, -32002, "as if it were not there");
        }
        let message = request(
            1,
            "resources/subscribe",
            &json!({ "uri": "watched://refused" }),
        );
        let reply = world.post_in(&session, &message).await?;
        assert_eq!(reply.code()?, -32602);

        let (mut other, _) = listen(
            &world,
            "alice",
            &json!({ "resourceSubscriptions": [SECRET, A] }),
        )
        .await?;
        touch(&world, SECRET).await?;
        assert_eq!(updated(&mut other).await?, SECRET);
        // A part of what is watched is told of, unless the rules keep it from the principal.
        touch(&world, "watched://a/secret").await?;
        assert_eq!(updated(&mut other).await?, "watched://a/secret");
        touch(&world, "watched://a/open").await?;
        for stream in [&mut modern, &mut legacy, &mut other] {
            assert_eq!(
                updated(stream).await?,
                "watched://a/open",
                "upstream {flag:?}"
            );
        }
        drop((modern, legacy, other));
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_of_which_nothing_is_honoured_ends_at_once() -> Result<()> {
    let world = world("").await?;
    let filter = json!({ "notifications": { "resourceSubscriptions": ["other://x"] } });
    let message = request("sub", "subscriptions/listen", &filter);
    let reply = world.post("alice", &message).await?;
    assert_eq!(reply.messages.len(), 2);
    assert_eq!(reply.messages[0]["params"]["notifications"], json!({}));
    assert_eq!(reply.answer()?["result"]["resultType"], "complete");
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_come_again_after_the_upstream_was_started_again() -> Result<()> {
    for flag in UPSTREAMS {
        let world = world(flag).await?;
        let (mut legacy, _session) = subscribe(&world, "alice", &[A]).await?;
        let (mut modern, _) =
            listen(&world, "bob", &json!({ "resourceSubscriptions": [A] })).await?;
        for pid in world.processes()? {
            let killed = kill(Pid::from_raw(pid), Signal::SIGKILL);
            // The one that watches over the other may be gone by then.
            ensure!(killed.is_ok() || killed == Err(Errno::ESRCH), "{killed:?}");
        }
        // What happened meanwhile nobody knows, so both are told to look.
        assert_eq!(updated(&mut legacy).await?, A);
        assert_eq!(updated(&mut modern).await?, A);
        watched(&world, A).await?;
        touch(&world, A).await?;
        assert_eq!(updated(&mut legacy).await?, A, "upstream {flag:?}");
        assert_eq!(updated(&mut modern).await?, A, "upstream {flag:?}");
        drop((legacy, modern));
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_behind_a_gate_passes_updates_on() -> Result<()> {
    let behind = World::of(&format!(
        "builtins = []\nupstreams.s = {{ stdio = {} }}\n",
        json!([program("watched")?.to_string_lossy()])
    ))
    .await?;
    let front = World::of(&format!(
        "builtins = []\ncatalog.prefix = \"never\"\nupstreams.g = {{ url = \"http://{}/mcp\" }}\n",
        behind.address()
    ))
    .await?;
    front
        .post("local", &call(1, "s.history", &json!({})))
        .await?;
    let session = front.open("local", "2025-06-18").await?;
    let mut legacy = front.listen_in(&session).await?;
    let message = request(1, "resources/subscribe", &json!({ "uri": A }));
    front.post_in(&session, &message).await?;
    assert_eq!(front.upstream("g")?["revision"], "2026-07-28");
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [A, B] });
    let (mut modern, honoured) = listen(&front, "local", &filter).await?;
    assert_eq!(honoured, filter);
    for uri in [B, A] {
        let message = call(1, "s.touch", &json!({ "uri": uri }));
        front.post("local", &message).await?;
        assert_eq!(updated(&mut modern).await?, uri);
    }
    assert_eq!(updated(&mut legacy).await?, A);
    front
        .post("local", &call(1, "s.touch_lists", &json!({})))
        .await?;
    for stream in [&mut modern, &mut legacy] {
        let told = stream.event().await?.context("the stream ended")?;
        assert_eq!(told["method"], TOOLS_CHANGED);
    }
    drop((modern, legacy));
    front.end().await?;
    behind.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_list_changes_is_a_few_for_clients_and_leaves_the_last_list() -> Result<()> {
    for flag in UPSTREAMS {
        let world = world(flag).await?;
        let (mut legacy, _session) = subscribe(&world, "alice", &[A]).await?;
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [A] });
        let (mut modern, _) = listen(&world, "alice", &filter).await?;
        tool(&world, "s.touch_lists", &json!({ "times": 500 })).await?;
        until("the last list is there", async || {
            let reply = world
                .post("alice", &request(1, "tools/list", &json!({})))
                .await?;
            Ok(reply.answer()?.to_string().contains("version_500"))
        })
        .await?;
        touch(&world, A).await?;
        for stream in [&mut legacy, &mut modern] {
            let mut changes = 0;
            loop {
                let told = stream.event().await?.context("the stream ended")?;
                if told["method"] == UPDATED {
                    break;
                }
                assert_eq!(told["method"], TOOLS_CHANGED);
                changes += 1;
            }
            assert!((1..=10).contains(&changes), "{changes} for 500");
        }
        drop((legacy, modern));
        world.end().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_page_is_done_with_is_told_to_the_sessions_of_whoever_was_sent_there() -> Result<()>
{
    let world = world("").await?;
    let able = json!({ "elicitation": { "form": {}, "url": {} } });
    let alice = world.open_with("alice", "2025-11-25", &able).await?;
    let unable = world.open("alice", "2025-11-25").await?;
    let bob = world.open_with("bob", "2025-11-25", &able).await?;
    let mut streams = Vec::new();
    for session in [&alice, &unable, &bob] {
        let stream = world.listen_in(session).await?;
        let message = request(1, "resources/subscribe", &json!({ "uri": A }));
        world.post_in(session, &message).await?;
        streams.push(stream);
    }
    let mut asking = world
        .begin_in(&alice, &call(2, "s.send_to_page", &json!({})))
        .await?;
    let question = asking.event().await?.context("the stream ended")?;
    assert_eq!(question["params"]["elicitationId"], "page-1");
    let accept = response(&question["id"], &json!({ "action": "accept" }));
    world.post_in(&alice, &accept).await?;
    let reply = world.whole(asking).await?;
    assert_eq!(reply.text()?, "\"accept\"");

    // Long after the call: it happens in a browser.
    tool(&world, "s.page_done", &json!({})).await?;
    touch(&world, A).await?;
    let done = streams[0].event().await?.context("the stream ended")?;
    assert_eq!(done["method"], "notifications/elicitation/complete");
    assert_eq!(done["params"]["elicitationId"], "page-1");
    for stream in &mut streams {
        assert_eq!(updated(stream).await?, A);
    }
    drop(streams);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_answer_holds_a_list_up_no_longer_than_the_deadline() -> Result<()>
{
    let world = World::of(
        "builtins = []\n\
         catalog.list_deadline = \"300ms\"\n\
         upstreams.s = { stdio = [\"{scripted}\"] }\n\
         upstreams.slow = { stdio = [\"{scripted}\", \"--deaf\"] }\n\
         upstreams.dead = { stdio = [\"/nowhere/to/be/found\"] }\n",
    )
    .await?;
    world.ready("s", 0).await?;
    let list = request(1, "tools/list", &json!({}));
    for _ in 0..2 {
        let reply = world.post("local", &list).await?;
        let answer = reply.answer()?;
        assert!(answer.to_string().contains("s.echo"), "{answer}");
        let mut missing: Vec<&str> = answer["result"]["_meta"]["dev.portcullis/incomplete"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        missing.sort_unstable();
        assert_eq!(missing, ["dead", "slow"]);
        assert_eq!(
            world.upstream("slow")?["state"],
            "starting",
            "it was not waited for"
        );
    }
    world.end().await
}
