//! `portcullis consent`, as a process of its own on the data of a gate that runs.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use policy::Clock as _;
use serde_json::{Value, json};
use server::SystemClock;
use testkit::clock;
use testkit::world::{World, program};
use tokio::process::Command;

use super::{ROLES, Scene, modern, named, write};

/// A scene whose clock stands still at a time that other processes agree with.
async fn scene() -> Result<Scene> {
    // However long the other process takes to start, the call waits.
    let scene = Scene::of(&format!("{ROLES}consent.wait = \"5m\"\n")).await?;
    let now = SystemClock::start().wall().duration_since(UNIX_EPOCH)?;
    let late = now.checked_sub(Duration::from_secs(clock::START));
    scene
        .world
        .advance(late.context("this machine's clock is slow")?);
    Ok(scene)
}

/// Runs the program: whether it ended well, what it gives, and what it says besides.
async fn run(world: &World, words: &[&str]) -> Result<(bool, String, String)> {
    let out = Command::new(program("gate")?)
        .arg("consent")
        .args(words)
        .arg("--config")
        .arg(world.folder().join("portcullis.toml"))
        .env("PORTCULLIS__DATA_DIR", world.folder().join("data"))
        .kill_on_drop(true)
        .output()
        .await?;
    let (given, said) = (
        String::from_utf8(out.stdout)?,
        String::from_utf8(out.stderr)?,
    );
    Ok((out.status.success(), given, said))
}

async fn shell(world: &World, words: &[&str]) -> Result<(bool, String)> {
    let (is_good, given, said) = run(world, words).await?;
    Ok((is_good, given + &said))
}

/// The same, which has to end well.
async fn done(world: &World, words: &[&str]) -> Result<String> {
    let (is_good, said) = shell(world, words).await?;
    ensure!(is_good, "{words:?}: {said}");
    Ok(said)
}

/// What it says in JSON.
async fn told(world: &World, words: &[&str]) -> Result<Value> {
    let (is_good, given, said) = run(world, &[words, &["--json"][..]].concat()).await?;
    ensure!(is_good, "{words:?}: {said}");
    serde_json::from_str(&given).with_context(|| format!("{words:?}: {given}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_in_the_shell_lets_the_waiting_call_through() -> Result<()> {
    let scene = scene().await?;
    let world = &scene.world;
    let mut message = write("/plans");
    message["params"]["_meta"] = json!({ "progressToken": "p" });
    let mut stream = world.begin("alice", &message).await?;
    stream.event().await?.context("the stream ended")?;

    let listed = told(world, &["list"]).await?;
    ensure!(listed["consents"] == json!([]), "{listed}");
    let asked = &listed["requests"][0];
    for (name, value) in [
        ("state", "waits"),
        ("principal", "alice"),
        ("method", "tools/call"),
        ("upstream", "s"),
        ("entry", "write"),
        ("rule", "role agents: ask s.write"),
    ] {
        ensure!(asked[name] == value, "{name}: {asked}");
    }
    let id = asked["id"].as_str().context("no id")?;
    let plain = done(world, &["list"]).await?;
    ensure!(plain.contains(id) && plain.contains("alice"), "{plain}");
    let shown = done(world, &["show", id]).await?;
    ensure!(shown.contains("/plans"), "{shown}");
    ensure!(!shell(world, &["approve", "0123456789ab"]).await?.0);
    scene.untouched()?;

    let said = done(world, &["approve", id]).await?;
    ensure!(said.contains(&format!("approved {id}")), "{said}");
    let reply = world.whole(stream).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    ensure!(scene.reached()? == ["{\"path\":\"/plans\"}"]);
    let shown = told(world, &["show", id]).await?;
    ensure!(shown["request"]["decided_by"] == "local", "{shown}");
    ensure!(shown["consent"]["state"] == "used", "{shown}");
    for words in [["approve", id], ["deny", id], ["revoke", id]] {
        let (is_good, said) = shell(world, &words).await?;
        ensure!(!is_good && said.contains("over"), "{words:?}: {said}");
    }
    // It was for one call.
    named(&modern(world, "alice", &write("/plans"), &json!({})).await?)?;
    ensure!(scene.reached()?.len() == 1);

    let Scene { world, .. } = scene;
    let records = world.stop().await?;
    let acts: Vec<_> = records
        .iter()
        .filter(|one| one.row.method.starts_with("admin/"))
        .map(|one| {
            let is_done = one.row.outcome == store::Outcome::Ok;
            (one.row.principal.as_str(), &*one.row.method, is_done)
        })
        .collect();
    let answer = |is_done| ("local", "admin/approvals.answer", is_done);
    ensure!(
        acts == [
            answer(false),
            answer(true),
            answer(false),
            answer(false),
            ("local", "admin/consents.revoke", false),
        ],
        "{acts:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_in_the_shell_is_asked_about_again() -> Result<()> {
    let scene = scene().await?;
    let world = &scene.world;
    let attempt = async || modern(world, "alice", &write("/plans"), &json!({})).await;
    let id = named(&attempt().await?)?;
    let (is_good, said) = shell(world, &["approve", &id, "--for", "365d"]).await?;
    ensure!(!is_good, "longer than the rule lets it: {said}");
    scene.untouched()?;
    done(world, &["approve", &id, "--for", "1h"]).await?;
    for _ in 0..2 {
        ensure!(attempt().await?.text()? == "write");
    }
    let listed = told(world, &["list"]).await?;
    ensure!(listed["requests"] == json!([]), "{listed}");
    ensure!(listed["consents"][0]["state"] == "allowed", "{listed}");
    done(world, &["revoke", &id]).await?;
    let again = named(&attempt().await?)?;
    ensure!(again != id);
    let shown = told(world, &["show", &id]).await?;
    ensure!(shown["consent"]["revoked_by"] == "local", "{shown}");
    done(world, &["deny", &again]).await?;
    let reply = attempt().await?;
    ensure!(reply.text()?.contains("said no"), "{:?}", reply.messages);
    ensure!(scene.reached()?.len() == 2);
    let Scene { world, .. } = scene;
    world.stop().await?;
    Ok(())
}
