//! Who has seen private data and what strangers wrote is asked before something leaves: by every method, at every path,
//! in every session, for as long as is said.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::mcp::{call, modern_with, request};
use testkit::world::World;

use super::recorded;

const RULE: &str = "flow: private and untrusted before sends";
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A gate before an upstream that keeps what it is told.
struct Scene {
    world: World,
    folder: TempDir,
}

impl Scene {
    async fn of(settings: &str) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-flows-")?;
        let kept = folder.path().join("kept").display().to_string();
        let config = format!(
            "{}upstreams.a = {{ stdio = [\"{{ledger}}\", \"a\", {}] }}\n{settings}\n",
            super::OWNED,
            json!(kept)
        );
        let world = World::of(&config).await?;
        world.ready("a", 0).await?;
        Ok(Self { world, folder })
    }

    /// How often the upstream was told of a method.
    fn told(&self, method: &str) -> Result<usize> {
        let kept = fs::read_to_string(self.folder.path().join("kept"))?;
        Ok(kept.matches(&format!("\"{method}\"")).count())
    }

    /// Asks as somebody: whether that passed, or a person is to be asked because of what was seen.
    async fn passes(&self, server: Option<&str>, who: &str, message: &Value) -> Result<bool> {
        let exchange = self.world.begin_at(server, who, message).await?;
        let reply = self.world.whole(exchange).await?;
        let (decision, rule, _) = recorded(&self.world).await?;
        match decision.as_str() {
            "allow" => Ok(true),
            "ask" => {
                ensure!(rule.as_deref() == Some(RULE), "{rule:?}");
                Ok(false)
            }
            other => anyhow::bail!("{other}: {reply:?}"),
        }
    }
}

fn read() -> Value {
    call(1, "a.read", &json!({}))
}

fn page() -> Value {
    request(2, "resources/read", &json!({ "uri": "a://page/1" }))
}

fn write() -> Value {
    call(3, "a.write", &json!({}))
}

fn complete(prompt: &str) -> Value {
    let params = json!({
        "ref": { "type": "ref/prompt", "name": prompt },
        "argument": { "name": "to", "value": "b" },
    });
    request(4, "completion/complete", &params)
}

const LABELS: &str = "flows = { private = [\"a.read\", \"a.letter\"], untrusted = [\"a.a://page/*\"], sends = [\"a.write\", \"a.note\", \"a.job\"] }";

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_and_a_word_to_a_task_can_carry_something_out_too() -> Result<()> {
    let scene = Scene::of(LABELS).await?;
    let abilities = json!({ "extensions": { TASKS: {} } });
    let modern = |message: &Value| modern_with(message, &abilities);
    let begun = scene
        .world
        .post("alice", &modern(&call(1, "a.job", &json!({}))))
        .await?;
    let task = begun.answer()?["result"]["taskId"].clone();
    ensure!(task.is_string(), "{begun:?}");
    let update = request(
        2,
        "tasks/update",
        &json!({ "taskId": task, "inputResponses": {} }),
    );
    let look = modern(&request(3, "tasks/get", &json!({ "taskId": task })));
    let update = modern(&update);
    ensure!(scene.passes(None, "alice", &complete("a.note")).await?);
    let told = scene.told("completion/complete")?;
    // What completes private data shows some of it.
    ensure!(scene.passes(None, "alice", &complete("a.letter")).await?);
    ensure!(scene.passes(None, "alice", &page()).await?);
    for (message, passes) in [
        (complete("a.note"), false),
        (complete("a.letter"), true),
        (update, false),
        (look, true),
        (
            request(5, "prompts/get", &json!({ "name": "a.note" })),
            false,
        ),
        (write(), false),
    ] {
        let passed = scene.passes(None, "alice", &message).await?;
        ensure!(passed == passes, "{message}");
    }
    ensure!(scene.told("completion/complete")? == told + 2);
    ensure!(scene.told("tasks/update")? == 0);
    // Others have seen nothing.
    ensure!(scene.passes(None, "bob", &complete("a.note")).await?);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_outlives_a_session_and_counts_in_the_next_until_its_time_is_over()
-> Result<()> {
    let scene = Scene::of(&LABELS.replace("] }", "], window = \"10m\" }")).await?;
    let world = &scene.world;
    let first = world.open("alice", "2025-06-18").await?;
    world.post_in(&first, &read()).await?.answer()?;
    world.close(&first).await?;
    let second = world.open("alice", "2025-06-18").await?;
    world.post_in(&second, &page()).await?.answer()?;
    let third = world.open("alice", "2025-11-25").await?;
    world.post_in(&third, &write()).await?.answer()?;
    let (decision, rule, screened) = recorded(world).await?;
    ensure!((decision.as_str(), rule.as_deref()) == ("ask", Some(RULE)));
    ensure!(screened.as_deref() == Some("saw_private:1,saw_untrusted:1"));
    for session in [&second, &third] {
        world.close(session).await?;
    }
    ensure!(!scene.passes(None, "alice", &write()).await?);
    ensure!(scene.passes(None, "bob", &write()).await?);
    // One of the two seen again keeps only that one.
    world.advance(Duration::from_secs(9 * 60));
    ensure!(!scene.passes(None, "alice", &write()).await?);
    ensure!(scene.passes(None, "alice", &read()).await?);
    world.advance(Duration::from_secs(61));
    ensure!(scene.passes(None, "alice", &write()).await?);
    ensure!(recorded(world).await?.2.as_deref() == Some("saw_private:1"));
    world.advance(Duration::from_secs(10 * 60));
    ensure!(scene.passes(None, "alice", &write()).await?);
    ensure!(recorded(world).await?.2.is_none());
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_have_its_own_labels_and_what_is_seen_there_counts_elsewhere() -> Result<()> {
    let scene = Scene::of(&format!(
        "{LABELS}\n\
         virtual_servers.free = {{ include = [\"*\"], flows.sends = [] }}\n\
         virtual_servers.other = {{ include = [\"*\"], flows = {{ sends = [\"a.read\"], untrusted = [\"a.erase\"] }} }}\n\
         consent.destructive = \"allow\"\n",
    ))
    .await?;
    let (free, other) = (Some("free"), Some("other"));
    // Nobody is asked there, but it is noted.
    for message in [read(), page(), write()] {
        ensure!(scene.passes(free, "alice", &message).await?, "{message}");
    }
    ensure!(!scene.passes(None, "alice", &write()).await?);
    ensure!(scene.passes(free, "alice", &write()).await?);
    ensure!(scene.passes(other, "alice", &write()).await?);
    ensure!(!scene.passes(other, "alice", &read()).await?);
    // There a page is nothing strange, and another tool is.
    ensure!(scene.passes(other, "bob", &page()).await?);
    ensure!(scene.passes(other, "bob", &read()).await?);
    ensure!(scene.passes(None, "bob", &write()).await?);
    ensure!(
        scene
            .passes(other, "bob", &call(1, "a.erase", &json!({})))
            .await?
    );
    ensure!(!scene.passes(None, "bob", &write()).await?);
    scene.world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_one_server_alone_are_heeded_at_every_path() -> Result<()> {
    let scene = Scene::of(
        "virtual_servers.own = { include = [\"*\"], flows = { private = [\"a.read\"], untrusted = [\"a.a://page/*\"], sends = [\"a.write\"] } }\n\
         flows = { private = [\"a.read\"], untrusted = [\"a.a://page/*\"] }\n",
    )
    .await?;
    ensure!(scene.passes(None, "alice", &read()).await?);
    ensure!(scene.passes(None, "alice", &page()).await?);
    ensure!(scene.passes(None, "alice", &write()).await?);
    let found = scene.passes(Some("own"), "alice", &write()).await;
    ensure!(!found.context("at its own path")?);
    scene.world.end().await
}
