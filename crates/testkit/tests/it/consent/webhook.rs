//! Announcements, as a receiver of the test's own gets them.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::clock;
use testkit::fixtures::Hook;

use super::{ROLES, Scene, agree, form, forms, modern, named, write};

const SECRET: &str = "kestrel-anvil-0451-marble";

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_somebody_else_is_announced_without_its_arguments() -> Result<()> {
    let receiver = Hook::open(1).await?;
    let config = format!(
        "{ROLES}[consent.webhook]\nurl = \"http://{}/hooks/gate?room=1\"\nsecret = \"{SECRET}\"\n",
        receiver.address()
    );
    let scene = Scene::of(&config).await?;
    let world = &scene.world;
    let none = json!({});
    let id = named(&modern(world, "alice", &write("/plans/kestrel"), &none).await?)?;
    // The first was not taken, so it is said once more, in the same words and under the same id.
    let came = receiver.came(2).await?;
    let bodies: Vec<&str> = came.iter().map(|one| one.body.as_str()).collect();
    ensure!(bodies[0] == bodies[1], "{bodies:?}");
    let path = format!("/v1/approvals/{id}");
    let (_, approval) = world.admin("root", "GET", &path, None).await?;
    for one in &came {
        ensure!(
            one.line == "POST /hooks/gate?room=1 HTTP/1.1",
            "{}",
            one.line
        );
        ensure!(one.header("content-type")? == "application/json");
        ensure!(one.header("webhook-id")? == id);
        ensure!(one.header("webhook-timestamp")? == clock::START.to_string());
        ensure!(!one.body.contains("kestrel"), "{}", one.body);
        let said = one.verified(SECRET)?;
        ensure!(said["type"] == "consent.requested", "{said}");
        let about = &said["data"];
        for (name, value) in [
            ("id", json!(id)),
            ("principal", json!("alice")),
            ("method", json!("tools/call")),
            ("upstream", json!("s")),
            ("entry", json!("write")),
            ("rule", json!("role agents: ask s.write")),
            ("digest", approval["digest"].clone()),
            ("approvers", json!([])),
            ("other_person", json!(false)),
            ("expires_at", json!(clock::START + 15 * 60)),
        ] {
            ensure!(about[name] == value, "{name}: {said}");
        }
        let page = about["page"].as_str().context("no page")?;
        ensure!(page.ends_with("/console/consents"), "{page}");
    }

    // Neither the same question nor one that the caller is handed is news to anybody else.
    named(&modern(world, "alice", &write("/plans/kestrel"), &none).await?)?;
    form(&modern(world, "alice", &write("/handed"), &forms()).await?)?;
    let other = named(&modern(world, "alice", &write("/other"), &none).await?)?;
    let came = receiver.came(3).await?;
    ensure!(came.len() == 3 && came[2].header("webhook-id")? == other);
    ensure!(came[2].verified(SECRET)?["data"]["id"] == other);
    scene.untouched()?;

    agree(world, &other).await?;
    ensure!(
        modern(world, "alice", &write("/other"), &none)
            .await?
            .text()?
            == "write"
    );
    ensure!(scene.reached()? == ["{\"path\":\"/other\"}"]);
    scene.world.end().await
}
