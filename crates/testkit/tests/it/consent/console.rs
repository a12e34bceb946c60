//! The page of what waits: whoever is signed in answers there, as themselves and from that page alone.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use auth::accounts::NewAccount;
use serde_json::json;
use store::Outcome;
use testkit::mcp::{call, headers, modern_with};
use testkit::world::World;

use super::{Scene, forms, modern, named, write};
use crate::pages::browser::{Browser, encoded};

/// `alice` calls and could answer, but for `s.read` somebody else has to; `bob` could answer that as well as she.
const ROLES: &str = r#"
auth.loopback = "off"
builtins = []
consent.wait = "5m"
roles.owner = { members = ["root"] }
roles.ops = { members = ["alice", "bob"] }
[roles.agents]
members = ["alice"]
allow = ["s.*"]
ask = ["s.write", { tool = "s.read", approvers = ["ops"], other_person = true }]
"#;
const PASSWORD: &str = "quartz-lantern-42-orbit";
const PAGE: &str = "/console/consents";

fn at(world: &World, path: &str) -> String {
    format!("http://{}{path}", world.address())
}

/// A browser in which somebody signed in who has an account since.
async fn signed_in(world: &World, name: &str) -> Result<Browser> {
    let account = NewAccount {
        name,
        email: None,
        roles: BTreeSet::new(),
        password: Some(PASSWORD),
    };
    world.gate().auth().accounts().add(account).await?;
    let mut browser = Browser::default();
    let page = browser.get(&at(world, "/console/login")).await?;
    let filled = [("name", name), ("password", PASSWORD)];
    let signed_in = browser.submit(&page, &filled).await?;
    ensure!(signed_in.status == 303, "{}", signed_in.text);
    Ok(browser)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_answers_on_the_page_and_the_waiting_call_goes_through() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let mut alice = signed_in(world, "alice").await?;
    let mut bob = signed_in(world, "bob").await?;
    // As nobody would write it who was not looked at byte for byte.
    let sent = r#"{ "pages" : 1.0e1, "path":"\u002fplans" }"#;
    let mut message = modern_with(&write("/plans"), &json!({}));
    message["params"]["_meta"]["progressToken"] = "p".into();
    let body = message.to_string().replace(r#"{"path":"/plans"}"#, sent);
    ensure!(body.contains(sent), "{body}");
    let bytes = world.request("POST", "alice", &headers(&message), body.as_bytes())?;
    let mut stream = world.send_raw(&bytes).await?;
    let told = stream.event().await?.context("the stream ended")?;
    ensure!(told["method"] == "notifications/progress", "{told}");

    let page = alice.get(&at(world, PAGE)).await?;
    ensure!(page.status == 200, "{}", page.status);
    for part in [
        "<strong>alice</strong>",
        "/plans",
        "role agents: ask s.write",
    ] {
        ensure!(page.text.contains(part), "no {part} in {}", page.text);
    }
    let id = page.form("act", "approve")?.1;
    let id = id.iter().find(|(name, _)| name == "id");
    let id = id.context("no id")?.1.clone();
    let (csrf, others) = (
        page.field("csrf")?,
        bob.get(&at(world, PAGE)).await?.field("csrf")?,
    );

    // From another site, with the token of another session, and without one.
    let ours = format!("Origin: http://{}\r\n", world.address());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (origin, token) in [
        ("", &*csrf),
        ("Origin: https://evil.example\r\n", &csrf),
        (&ours, &others),
        (&ours, ""),
    ] {
        let fields = [("id", &*id), ("act", "approve"), ("csrf", token)];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let head = format!("{origin}{form}");
        let url = at(world, PAGE);
        let refused = alice.send(&url, "POST", &head, &encoded(&fields)).await?;
        ensure!(
            refused.status == 403,
            "{origin:?} {token}: {}",
            refused.status
        );
        // Nor does it help to have no session at all.
        let refused = Browser::default()
            .send(&url, "POST", &head, &encoded(&fields))
            .await?;
        let is_sent_away =
            || Ok::<_, anyhow::Error>(refused.location()?.starts_with("/console/login"));
        ensure!(
            refused.status == 403 || is_sent_away()?,
            "{origin:?} {token}"
        );
    }
    // Somebody whom it does not concern does not even see it.
    let theirs = bob.get(&at(world, PAGE)).await?;
    ensure!(!theirs.text.contains(&id), "{}", theirs.text);
    scene.untouched()?;

    let once = [
        ("id", &*id),
        ("act", "approve"),
        ("hold", "once"),
        ("any", ""),
    ];
    let done = alice.submit(&page, &once).await?;
    let to = format!("{PAGE}?done=approve");
    ensure!(
        (done.status, done.location()?) == (303, &*to),
        "{}",
        done.text
    );
    let reply = world.whole(stream).await?;
    ensure!(reply.text()? == "write", "{:?}", reply.messages);
    ensure!(scene.reached()? == [sent], "{:?}", scene.reached()?);
    // The page that was shown before answers nothing any more.
    ensure!(alice.submit(&page, &once).await?.status == 409);

    // Once was once, and a no is a no.
    let none = json!({});
    let again = write("/plans");
    let other = named(&modern(world, "alice", &again, &none).await?)?;
    ensure!(other != id);
    let page = alice.get(&at(world, PAGE)).await?;
    let denied = alice
        .submit(&page, &[("id", &*other), ("act", "deny")])
        .await?;
    ensure!(denied.location()? == format!("{PAGE}?done=deny"));
    let reply = modern(world, "alice", &again, &none).await?;
    ensure!(reply.text()?.contains("said no"), "{:?}", reply.messages);
    ensure!(scene.reached()?.len() == 1);

    let Scene { world, .. } = scene;
    let records = world.stop().await?;
    let answers: Vec<_> = records
        .iter()
        .filter(|one| one.row.method == "admin/approvals.answer")
        .map(|one| (one.row.principal.as_str(), one.row.outcome == Outcome::Ok))
        .collect();
    ensure!(
        answers == [("alice", true), ("alice", false), ("alice", true)],
        "{answers:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_does_not_answer_where_the_rule_wants_another_person() -> Result<()> {
    let scene = Scene::of(ROLES).await?;
    let world = &scene.world;
    let mut alice = signed_in(world, "alice").await?;
    let mut bob = signed_in(world, "bob").await?;
    let mut carol = signed_in(world, "carol").await?;
    let read = call(1, "s.read", &json!({ "path": "/plans" }));
    // It could show the form; but what came back would be its own word.
    let id = named(&modern(world, "alice", &read, &forms()).await?)?;

    let yes = [
        ("id", &*id),
        ("act", "approve"),
        ("hold", "once"),
        ("any", ""),
    ];
    let page = alice.get(&at(world, PAGE)).await?;
    ensure!(page.text.contains("Somebody else has to answer this."));
    ensure!(page.form("act", "approve").is_err(), "{}", page.text);
    let refused = alice.submit(&page, &yes).await?;
    ensure!(refused.status == 403, "{}", refused.status);
    ensure!(refused.text.contains("another person"), "{}", refused.text);
    // Nor does anybody who holds none of the roles, whatever they know of it.
    let theirs = carol.get(&at(world, PAGE)).await?;
    ensure!(!theirs.text.contains(&id));
    let (csrf, url) = (theirs.field("csrf")?, at(world, PAGE));
    let mut fields: Vec<(String, String)> = vec![("csrf".to_owned(), csrf)];
    fields.extend(yes.map(|(name, value)| (name.to_owned(), value.to_owned())));
    ensure!(carol.post(&url, &fields).await?.status == 404);
    named(&modern(world, "alice", &read, &forms()).await?)?;
    scene.untouched()?;

    let page = bob.get(&at(world, PAGE)).await?;
    ensure!(bob.submit(&page, &yes).await?.status == 303);
    let reply = modern(world, "alice", &read, &forms()).await?;
    ensure!(reply.text()? == "read", "{:?}", reply.messages);
    ensure!(scene.reached()? == ["{\"path\":\"/plans\"}"]);
    let Scene { world, .. } = scene;
    world.stop().await?;
    Ok(())
}
