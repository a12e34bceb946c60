//! The rules on the admin API: who may do what in it, with what, and after whose yes.

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::world::World;

const CONFIG: &str = r#"
builtins = []
auth.loopback = "off"
[roles.owner]
members = ["root"]
[roles.all]
members = ["mallory"]
allow = ["*"]
[roles.clerk]
members = ["alice"]
allow = [{ admin = "keys.*" }]
ask = [{ admin = "keys.create", when = 'context.args.principal != "alice"' }]
deny = [{ admin = "keys.revoke", when = 'context.args.id like "root*"', reason = "the last key" }]
"#;

/// What the last record of an action says: decision and rule.
async fn last(world: &World, action: &str) -> Result<(String, Option<String>)> {
    let records = world.records().await?;
    let of = records.iter().rev().find(|one| one.row.method == action);
    let row = &of.context("no record")?.row;
    Ok((row.decision.to_string(), row.rule.clone()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_names_an_action_lets_do_that_and_no_more() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let (status, _) = world.admin("alice", "GET", "/v1/keys", None).await?;
    ensure!(status == 200, "{status}");
    let rule = "role clerk: allow admin keys.*".to_owned();
    ensure!(last(&world, "admin/keys.list").await? == ("allow".to_owned(), Some(rule)));
    for path in ["/v1/users", "/v1/sessions", "/v1/revocations"] {
        let (status, problem) = world.admin("alice", "GET", path, None).await?;
        ensure!(status == 403, "{path}: {problem}");
    }
    // A pattern alone never speaks of administration.
    let (status, problem) = world.admin("mallory", "GET", "/v1/keys", None).await?;
    ensure!(status == 403, "{problem}");
    let refused = world.records().await?.pop().context("no record")?.row;
    ensure!(refused.principal == "mallory" && refused.method == "admin/keys.list");
    ensure!(refused.decision == "deny", "{refused:?}");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_see_what_an_act_would_be_done_with() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let (status, problem) = world
        .admin("alice", "DELETE", "/v1/keys/root-1", None)
        .await?;
    ensure!(status == 403, "{problem}");
    let (decision, rule) = last(&world, "admin/keys.revoke").await?;
    ensure!(decision == "deny" && rule.is_some_and(|rule| rule.ends_with("(the last key)")));
    let (status, problem) = world
        .admin("alice", "DELETE", "/v1/keys/none", None)
        .await?;
    ensure!(status == 404, "{problem}");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_hands_out_more_than_he_has() -> Result<()> {
    let world = World::of(CONFIG).await?;
    for wanted in [
        json!({ "principal": "alice", "roles": ["owner"] }),
        json!({ "principal": "alice", "roles": ["all"] }),
    ] {
        let (status, problem) = world
            .admin("alice", "POST", "/v1/keys", Some(&wanted))
            .await?;
        ensure!(status == 403, "{wanted}: {problem}");
    }
    let own = json!({ "principal": "alice", "roles": ["clerk"] });
    let (status, made) = world.admin("alice", "POST", "/v1/keys", Some(&own)).await?;
    ensure!(status == 201, "{made}");

    // An owner's key is an owner's to rotate: its new secret would be in the answer.
    let owners = json!({ "principal": "root", "roles": [] });
    let (status, made) = world
        .admin("root", "POST", "/v1/keys", Some(&owners))
        .await?;
    ensure!(status == 201, "{made}");
    let id = made["key"]["id"].as_str().context("no id")?;
    let path = format!("/v1/keys/{id}/rotate");
    let (status, problem) = world
        .admin("alice", "POST", &path, Some(&json!({})))
        .await?;
    ensure!(status == 403, "{problem}");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_asks_is_done_once_somebody_agreed() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let wanted = json!({ "principal": "bob", "roles": ["clerk"] });
    let create = async || {
        world
            .admin("alice", "POST", "/v1/keys", Some(&wanted))
            .await
    };
    let (status, problem) = create().await?;
    ensure!(status == 403, "{problem}");
    ensure!(
        problem["type"] == "urn:portcullis:approval-required",
        "{problem}"
    );
    ensure!(last(&world, "admin/keys.create").await?.0 == "ask");
    let (_, keys) = world.admin("root", "GET", "/v1/keys", None).await?;
    ensure!(keys["items"] == json!([]), "{keys}");

    let approval = problem["approval"].as_str().context("no approval")?;
    let path = format!("/v1/approvals/{approval}");
    let yes = json!({ "answer": "approve" });
    let (status, answered) = world.admin("root", "POST", &path, Some(&yes)).await?;
    ensure!(status == 403, "{answered}");
    let once = gateway::Yes {
        hold: policy::Remember::Once,
        any_arguments: false,
    };
    crate::consent::owner_agrees(&world, approval, once).await?;
    let (status, made) = create().await?;
    ensure!(status == 201, "{made}");
    world.stop().await?;
    Ok(())
}
