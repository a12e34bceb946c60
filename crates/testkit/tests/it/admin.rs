//! The admin API from end to end: what it makes works, what it ends is over, and every request leaves its record.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use store::{AuditFilter, Outcome};
use testkit::mcp::request;
use testkit::world::World;

const CONFIG: &str = r#"
builtins = ["time"]
auth.loopback = "off"
roles.owner = { members = ["root"] }
roles.clerk = { members = ["alice"], allow = ["*"] }
"#;

/// Asks as `root`, or with another credential.
async fn ask(
    world: &World,
    verb: &str,
    path: &str,
    key: Option<&str>,
    body: Option<&str>,
) -> Result<(u16, Value)> {
    let mut head = format!("{verb} {path} HTTP/1.1\r\n");
    if let Some(key) = key {
        head.push_str(&["Authorization: Bearer ", key, "\r\n"].concat());
    }
    if body.is_some() {
        head.push_str("Content-Type: application/json\r\n");
    }
    let who = if key.is_some() { "nobody" } else { "root" };
    let bytes = world.complete(who, &head, body.unwrap_or_default().as_bytes())?;
    let mut answer = world.send_raw(&bytes).await?;
    let body = answer.body().await?;
    let kept = answer.header("cache-control");
    ensure!(kept == Some("no-store"), "{verb} {path}: {kept:?}");
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body)?
    };
    Ok((answer.status, body))
}

async fn get(world: &World, path: &str) -> Result<Value> {
    let (status, body) = ask(world, "GET", path, None, None).await?;
    ensure!(status == 200, "{path}: {status} {body}");
    Ok(body)
}

async fn post(world: &World, path: &str, body: &Value) -> Result<(u16, Value)> {
    ask(world, "POST", path, None, Some(&body.to_string())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_rotated_and_revoked() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let wanted = json!({
        "principal": "carol", "roles": ["clerk"], "scopes": ["mcp:tools"], "expires_in": "90d", "note": "laptop",
    });
    let (status, made) = post(&world, "/v1/keys", &wanted).await?;
    ensure!(status == 201, "{status} {made}");
    let (id, secret) = (made["key"]["id"].clone(), made["secret"].clone());
    let (id, secret) = (
        id.as_str().context("no id")?,
        secret.as_str().context("no secret")?,
    );
    let (status, me) = ask(&world, "GET", "/v1/me", Some(secret), None).await?;
    ensure!(status == 200 && me["principal"] == "carol", "{me}");
    ensure!(me["scopes"] == json!(["mcp:tools"]), "{me}");

    let listed = get(&world, "/v1/keys").await?;
    ensure!(
        !listed.to_string().contains(secret),
        "the secret is told again"
    );
    ensure!(listed["items"][0]["note"] == "laptop", "{listed}");

    let path = format!("/v1/keys/{id}/rotate");
    let (status, next) = post(&world, &path, &json!({ "overlap": "1h" })).await?;
    ensure!(status == 201 && next["key"]["rotated_from"] == id, "{next}");
    let next = next["secret"].as_str().context("no secret")?;
    for key in [secret, next] {
        let (status, me) = ask(&world, "GET", "/v1/me", Some(key), None).await?;
        ensure!(status == 200 && me["principal"] == "carol", "{me}");
    }
    let path = format!("/v1/keys/{id}");
    let (status, _) = ask(&world, "DELETE", &path, None, None).await?;
    ensure!(status == 204, "{status}");
    let (status, problem) = ask(&world, "GET", "/v1/me", Some(secret), None).await?;
    ensure!(status == 401 && problem["status"] == 401, "{problem}");
    let (status, _) = post(&world, &format!("/v1/keys/{id}/rotate"), &json!({})).await?;
    ensure!(status == 409, "{status}");

    let records = world.records().await?;
    let about = |action: &str| {
        let mut of = records.iter().filter(|one| one.row.method == action);
        of.next().map(|one| {
            (
                one.row.principal.clone(),
                one.row.entry.clone(),
                one.row.outcome,
            )
        })
    };
    let root = || "root".to_owned();
    let done = |entry: &str| Some((root(), Some(entry.to_owned()), Outcome::Ok));
    ensure!(about("admin/keys.create") == done(id), "{records:?}");
    ensure!(about("admin/keys.rotate").is_some(), "{records:?}");
    ensure!(about("admin/keys.revoke") == done(id), "{records:?}");
    ensure!(
        records
            .iter()
            .all(|one| !format!("{one:?}").contains(secret)),
        "a record holds a key"
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_wrongly_is_refused_and_changes_nothing() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let bad = [
        ("/v1/keys", "{}", 400),
        ("/v1/keys", "", 400),
        ("/v1/keys", "[]", 400),
        ("/v1/keys", r#"{"principal":"a","principal":"b"}"#, 400),
        ("/v1/keys", r#"{"principal":"a","role":["owner"]}"#, 400),
        (
            "/v1/keys",
            r#"{"principal":"a","roles":["nobody-has-it"]}"#,
            400,
        ),
        ("/v1/keys", r#"{"principal":"a","scopes":["mcp:all"]}"#, 400),
        ("/v1/keys", r#"{"principal":"a","expires_in":"90"}"#, 400),
        ("/v1/keys", r#"{"principal":""}"#, 400),
        ("/v1/revocations", r#"{"kind":"token","id":"x"}"#, 400),
        (
            "/v1/revocations",
            r#"{"kind":"key","id":"x","issuer":"corp"}"#,
            400,
        ),
        ("/v1/revocations", r#"{"kind":"everything","id":"x"}"#, 400),
        ("/v1/revocations", r#"{"kind":"key","id":""}"#, 400),
    ];
    for (path, body, expected) in bad {
        let (status, problem) = ask(&world, "POST", path, None, Some(body)).await?;
        ensure!(status == expected, "{path} {body}: {status} {problem}");
        ensure!(problem["type"] == "about:blank", "{problem}");
    }
    let long = json!({ "principal": "a", "note": "x".repeat(70_000) }).to_string();
    let (status, _) = ask(&world, "POST", "/v1/keys", None, Some(&long)).await?;
    ensure!(status == 413, "{status}");
    for query in ["limit=0", "limit=2000", "page=1", "after=nothing"] {
        let path = format!("/v1/keys?{query}");
        let (status, _) = ask(&world, "GET", &path, None, None).await?;
        ensure!(status == 400, "{query}: {status}");
    }
    ensure!(get(&world, "/v1/keys").await?["items"] == json!([]));
    ensure!(get(&world, "/v1/revocations").await?["items"] == json!([]));
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_listed_and_ended_and_a_configured_key_revoked() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let session = world.open("alice", "2025-11-25").await?;
    let listed = get(&world, "/v1/sessions").await?;
    let id = format!("mcp:{}", session.id);
    ensure!(listed["items"][0]["id"] == id.as_str(), "{listed}");
    ensure!(listed["items"][0]["principal"] == "alice", "{listed}");
    let path = format!("/v1/sessions/{id}");
    for expected in [204, 404] {
        let (status, said) = ask(&world, "DELETE", &path, None, None).await?;
        ensure!(status == expected, "{status} {said}");
    }
    let reply = world
        .post_in(&session, &request(1, "tools/list", &json!({})))
        .await?;
    ensure!(reply.status == 404, "{}", reply.status);

    let what = json!({ "kind": "key", "id": "alice", "reason": "lost" });
    let (status, said) = post(&world, "/v1/revocations", &what).await?;
    ensure!(status == 204, "{status} {said}");
    let reply = world
        .post("alice", &request(1, "tools/list", &json!({})))
        .await?;
    ensure!(reply.status == 401, "{}", reply.status);
    let listed = get(&world, "/v1/revocations").await?;
    let row = &listed["items"][0];
    ensure!(
        row["kind"] == "key" && row["by"] == "root" && row["reason"] == "lost",
        "{listed}"
    );
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_made_changed_shut_out_and_deleted() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let wanted = json!({ "name": "dora", "email": "dora@example.com", "roles": ["clerk"] });
    let (status, made) = post(&world, "/v1/users", &wanted).await?;
    ensure!(status == 201, "{status} {made}");
    ensure!(made["user"]["has_password"] == false, "{made}");
    let link = made["link"].as_str().context("no link")?.to_owned();
    let (status, _) = post(&world, "/v1/users", &wanted).await?;
    ensure!(status == 409, "{status}");

    let change = json!({ "roles": [], "disabled": true }).to_string();
    let path = "/v1/users/dora";
    let (status, user) = ask(&world, "PATCH", path, None, Some(&change)).await?;
    ensure!(status == 200 && user["disabled"] == true, "{status} {user}");
    ensure!(user["roles"] == json!([]), "{user}");
    let change = json!({ "disabled": false }).to_string();
    let (_, user) = ask(&world, "PATCH", path, None, Some(&change)).await?;
    ensure!(user["disabled"] == false, "{user}");
    let listed = get(&world, "/v1/users").await?;
    ensure!(
        !listed.to_string().contains(&link),
        "the link is told again"
    );
    ensure!(listed["items"][0]["name"] == "dora", "{listed}");
    // Found in any case of its letters, and recorded as itself, where it can be erased.
    for (path, expected) in [("/v1/users/DORA", 204), (path, 404)] {
        let (status, said) = ask(&world, "DELETE", path, None, None).await?;
        ensure!(status == expected, "{status} {said}");
    }
    let revoked = json!({ "kind": "user", "id": "dora" });
    let (status, said) = post(&world, "/v1/revocations", &revoked).await?;
    ensure!(status == 204, "{status} {said}");
    for one in world.records().await? {
        let row = one.row;
        let is_of_her = ["admin/users.delete", "admin/revocations.create"].contains(&&*row.method);
        ensure!(
            !is_of_her || row.subject.as_deref() == Some("dora"),
            "{row:?}"
        );
        ensure!(
            row.entry
                .is_none_or(|entry| !entry.to_lowercase().contains("dora"))
        );
    }
    // It was in the log before it was done.
    let begun = AuditFilter {
        outcome: Some("pending".to_owned()),
        begun: true,
        ..AuditFilter::default()
    };
    let store = &world.gate().auth().parts().store;
    store.flush().await?;
    let begun = store.audit_tail(100, None, &begun)?;
    let count = |method: &str| begun.iter().filter(|one| one.row.method == method).count();
    ensure!(count("admin/users.delete") == 2 && count("admin/users.list") == 0);
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_knock_all_the_time_are_refused_each_time_and_recorded_within_a_measure()
-> Result<()> {
    let world = World::of(CONFIG).await?;
    let knocks = 400_usize;
    for _ in 0..knocks {
        let bytes = world.complete("nobody", "GET /health HTTP/1.1\r\n", b"")?;
        let answer = world.send_raw(&bytes).await?;
        ensure!(answer.status == 401, "{}", answer.status);
    }
    let recorded = world.records().await?.len();
    let counted = world.metric("portcullis_refusals_unrecorded_total")?;
    let all = u32::try_from(recorded).map(f64::from)? + counted;
    let expected = u32::try_from(knocks).map(f64::from)?;
    ensure!((all - expected).abs() < 0.5, "{recorded} and {counted}");
    ensure!(counted > 0.0, "all {recorded} were recorded");
    world.stop().await?;
    Ok(())
}
