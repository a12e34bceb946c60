//! What is revoked by another process ends what is open within a second, and the next request is refused.
//!
//! The other process is a store of its own on the same file: what `portcullis key revoke` and `session revoke` are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use auth::{KeyDraft, Revocations, Revoked};
use policy::{PrincipalId, RoleName};
use serde_json::{Value, json};
use server::SystemClock;
use store::Store;
use testkit::clients::Transport;
use testkit::mcp::{initialize, notification, request};
use testkit::world::{Exchange, World};
use tokio::time::timeout;

use crate::transports::{BOTH, Line};

/// How long after the revocation something may still be open.
const SOON: Duration = Duration::from_secs(1);
const CONFIG: &str = r#"
builtins = ["time"]
auth.loopback = "off"
roles.owner = { members = ["root"] }
roles.clerk = { members = ["alice", "bob"], allow = ["*"] }
"#;

/// What is open, and must end.
enum Open {
    Stream(Exchange),
    Line(Box<Line>),
}

impl Open {
    /// One of each: a legacy session's stream, a modern subscription, and the two older transports.
    async fn all(world: &World, who: &str) -> Result<Vec<(&'static str, Self)>> {
        let session = world.open(who, "2025-11-25").await?;
        let legacy = world.listen_in(&session).await?;
        ensure!(legacy.is_stream(), "status {}", legacy.status);
        let filter = json!({ "notifications": { "toolsListChanged": true } });
        let listen = request(7, "subscriptions/listen", &filter);
        let mut modern = world.begin(who, &listen).await?;
        modern.event().await?.context("no acknowledgement")?;
        let mut all = vec![
            ("GET /mcp", Self::Stream(legacy)),
            ("subscriptions/listen", Self::Stream(modern)),
        ];
        for transport in BOTH {
            let mut line = Line::open(world, who, transport).await?;
            line.ask(world, who, &initialize("2024-11-05")).await?;
            let name = match transport {
                Transport::Sse => "/sse",
                Transport::WebSocket | Transport::Http => "/ws",
            };
            all.push((name, Self::Line(Box::new(line))));
        }
        Ok(all)
    }

    /// Reads up to the end.
    async fn over(self) -> Result<()> {
        match self {
            Self::Stream(mut stream) => while stream.event().await?.is_some() {},
            Self::Line(mut line) => while line.hear().await?.is_some() {},
        }
        Ok(())
    }
}

/// The same database, as another process has it open.
async fn beside(world: &World) -> Result<(Store, Arc<Revocations>)> {
    let store = Store::open(&world.folder().join("data/portcullis.db"))?;
    let revocations = Revocations::open(store.clone(), Arc::new(SystemClock::start()))?;
    Ok((store, revocations))
}

/// That all this ends soon, and that whoever had it is not known any more.
async fn cut(world: &World, who: &str, all: Vec<(&'static str, Open)>) -> Result<()> {
    let all_over = async {
        for (name, open) in all {
            open.over().await.context(name)?;
        }
        anyhow::Ok(())
    };
    timeout(SOON, all_over)
        .await
        .context("something is still open")??;
    let reply = world
        .post(who, &request(1, "tools/list", &json!({})))
        .await?;
    ensure!(reply.status == 401, "status {}", reply.status);
    let challenge = reply.header("www-authenticate").unwrap_or_default();
    ensure!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    Ok(())
}

async fn is_known(world: &World, who: &str) -> Result<bool> {
    let reply = world
        .post(who, &request(1, "tools/list", &json!({})))
        .await?;
    Ok(reply.status == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_by_another_process_cuts_all_that_is_open_under_it_and_nothing_else()
-> Result<()> {
    let world = World::of(CONFIG).await?;
    let all = Open::all(&world, "alice").await?;
    let others = Open::all(&world, "bob").await?;
    let (_store, beside) = beside(&world).await?;
    beside
        .revoke(Revoked::Key("alice"), None, "test", "")
        .await?;
    cut(&world, "alice", all).await?;
    for (name, open) in others {
        let over = timeout(Duration::from_millis(50), open.over()).await;
        ensure!(over.is_err(), "{name} of somebody else ended: {over:?}");
    }
    ensure!(is_known(&world, "bob").await?);
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_disabled_is_cut_off_and_comes_back_when_enabled() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let all = Open::all(&world, "alice").await?;
    let (_store, beside) = beside(&world).await?;
    let alice = PrincipalId::new("alice")?;
    beside
        .revoke(Revoked::Disabled(&alice), None, "test", "left")
        .await?;
    cut(&world, "alice", all).await?;

    beside.lift(Revoked::Disabled(&alice), "test").await?;
    let back = timeout(SOON, async {
        while !is_known(&world, "alice").await? {}
        anyhow::Ok(())
    });
    back.await.context("not let in again")??;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_store_works_until_another_process_revokes_it() -> Result<()> {
    let world = World::of(CONFIG).await?;
    let draft = KeyDraft {
        principal: PrincipalId::new("carol")?,
        roles: vec![RoleName::new("clerk")?],
        scopes: None,
        good_for: None,
        note: String::new(),
    };
    let key = world.gate().auth().keyring().create(draft).await?;
    let ask = async || {
        let head = format!(
            "GET /v1/me HTTP/1.1\r\nAuthorization: Bearer {}\r\n",
            key.text.expose()
        );
        let bytes = world.complete("nobody", &head, b"")?;
        let mut answer = world.send_raw(&bytes).await?;
        let body: Value = serde_json::from_slice(&answer.body().await?)?;
        anyhow::Ok((answer.status, body))
    };
    let (status, me) = ask().await?;
    ensure!(status == 200, "{me}");
    ensure!(
        me["principal"] == "carol" && me["roles"] == json!(["clerk"]),
        "{me}"
    );

    let (store, _beside) = beside(&world).await?;
    let now = policy::Clock::wall(&SystemClock::start());
    ensure!(store.revoke_key(&key.row.id, now).await?);
    let refused = timeout(SOON, async {
        loop {
            let (status, problem) = ask().await?;
            if status == 401 {
                return anyhow::Ok(problem);
            }
        }
    });
    let problem = refused.await.context("still let in")??;
    ensure!(problem["status"] == 401, "{problem}");
    world.stop().await?;
    Ok(())
}

/// `local` without a credential and `local` with a key are the same principal by two kinds of credential.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_not_continued_with_another_kind_of_credential() -> Result<()> {
    let world = World::of("builtins = [\"time\"]\nauth.loopback = \"owner\"\n").await?;
    let draft = KeyDraft {
        principal: PrincipalId::new("local")?,
        roles: vec![RoleName::new("owner")?],
        scopes: None,
        good_for: None,
        note: String::new(),
    };
    let key = world.gate().auth().keyring().create(draft).await?;
    let session = world.open("local", "2025-11-25").await?;
    let ping = notification("notifications/initialized", &json!({})).to_string();
    let mut statuses = Vec::new();
    for credential in [None, Some(key.text.expose())] {
        let mut head = "POST /mcp HTTP/1.1\r\nContent-Type: application/json\r\n".to_owned();
        for (name, value) in session.headers() {
            head.push_str(&[name, ": ", &value, "\r\n"].concat());
        }
        if let Some(key) = credential {
            head.push_str(&["X-API-Key: ", key, "\r\n"].concat());
        }
        let bytes = world.complete("nobody", &head, ping.as_bytes())?;
        statuses.push(world.send_raw(&bytes).await?.status);
    }
    ensure!(statuses == [202, 404], "{statuses:?}");
    world.stop().await?;
    Ok(())
}
