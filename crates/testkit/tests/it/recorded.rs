//! What is in the audit log besides calls: what happens to the gate itself, who comes to it and in which way, what people
//! and apps do at its doors, and how much of arguments.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use observe::{ACTS, AuditorKey};
use serde_json::{Value, json};
use store::{AuditFilter, AuditRow, Outcome, Store};
use testkit::mcp::{call, modern};
use testkit::world::{World, until};

use crate::program::Program;

const ONE: &str = r#"
builtins = []
upstreams.one = { stdio = ["{scripted}"] }
"#;
const NONE: &str = "builtins = []\n";

/// What happened to the gate itself, as far as it is about `what`.
async fn happened(world: &World, what: &str) -> Result<Vec<AuditRow>> {
    let all = world.happened().await?;
    let rows = all.into_iter().map(|one| one.row);
    Ok(rows.filter(|row| row.method == what).collect())
}

/// Waits for that.
async fn happens(world: &World, what: &str) -> Result<AuditRow> {
    until(what, async || Ok(!happened(world, what).await?.is_empty())).await?;
    happened(world, what).await?.pop().context("it was there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_records_that_it_starts_and_what_becomes_of_its_upstreams_and_its_config()
-> Result<()> {
    let world = World::of(ONE).await?;
    let started = happens(&world, "gate/started").await?;
    ensure!(started.principal == observe::SYSTEM && started.credential == "-");
    ensure!(
        started.reason.as_deref() == Some("audit.mode = durable"),
        "{started:?}"
    );
    let first = started.definition.context("no digest of the config")?;
    let connected = happens(&world, "upstream/connected").await?;
    ensure!(connected.upstream.as_deref() == Some("one") && connected.outcome == Outcome::Ok);

    world.reload(NONE)?;
    let removed = happens(&world, "upstream/removed").await?;
    ensure!(removed.upstream.as_deref() == Some("one"));
    let reload = happens(&world, "config/reload").await?;
    ensure!(reload.entry.as_deref() == Some("SIGHUP"), "{reload:?}");
    ensure!(
        reload.reason == Some(format!("before: {first}")),
        "{reload:?}"
    );
    let second = reload.definition.context("no digest")?;
    ensure!(second != first && second.len() == 64);
    world.reload(ONE)?;
    until("the second reload", async || {
        Ok(happened(&world, "config/reload").await?.len() == 2)
    })
    .await?;
    let again = happens(&world, "config/reload").await?;
    ensure!(
        again.definition == Some(first),
        "the same config has the same digest"
    );

    let keep = tempfile::TempDir::new()?;
    let folder = world.folder().to_owned();
    copy_after(world, &folder, keep.path()).await?;
    let store = Store::open(&keep.path().join("portcullis.db"))?;
    let all = store.audit_tail(100, None, &AuditFilter::default())?;
    ensure!(
        all.last()
            .is_some_and(|last| last.row.method == "gate/stopped")
    );
    Ok(())
}

/// Ends a world and keeps its database.
async fn copy_after(world: World, folder: &Path, to: &Path) -> Result<()> {
    let from = folder.join("data");
    // Held open, so that the files outlive their folder.
    let files = ["portcullis.db", "portcullis.db-wal"].map(|name| (name, from.join(name)));
    for (name, path) in &files {
        if path.exists() {
            fs::hard_link(path, to.join(name))?;
        }
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_dies_is_recorded_as_lost_and_as_back() -> Result<()> {
    let world = World::of(ONE).await?;
    happens(&world, "upstream/connected").await?;
    let before = world.processes()?;
    for pid in &before {
        let _gone = nix::sys::signal::kill(nix::unistd::Pid::from_raw(*pid), Signal::SIGKILL);
    }
    let lost = happens(&world, "upstream/lost").await?;
    ensure!(
        lost.outcome == Outcome::Failed && lost.reason.is_some(),
        "{lost:?}"
    );
    until("it is back", async || {
        Ok(happened(&world, "upstream/connected").await?.len() >= 2)
    })
    .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_start_is_recorded_once_per_reason() -> Result<()> {
    let world = World::of("builtins = []\nupstreams.no = { stdio = [\"/no/such/program\"] }\n");
    let world = world.await?;
    let failed = happens(&world, "upstream/failed").await?;
    ensure!(failed.upstream.as_deref() == Some("no") && failed.outcome == Outcome::Failed);
    until("it is tried again", async || {
        Ok(world.upstream("no")?["restarts"].as_u64() >= Some(2))
    })
    .await?;
    ensure!(happened(&world, "upstream/failed").await?.len() == 1);
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_that_is_refused_is_recorded_with_its_keys_and_no_value() -> Result<()> {
    let gate =
        Program::start("builtins = []\nlimits.tool_call = { max = 3, per = \"1m\" }\n").await?;
    let bad = "builtins = []\nlimits.tool_call = { max = 3, per = \"topsecret\" }\n";
    fs::write(gate.folder().join("portcullis.toml"), bad)?;
    // Not by the program: it would refuse the config as well.
    let store = Store::open(&gate.folder().join("data/portcullis.db"))?;
    let reloads = AuditFilter {
        method: Some("config/reload".to_owned()),
        ..AuditFilter::default()
    };
    until("the refusal is recorded", async || {
        Ok(!store.audit_tail(9, None, &reloads)?.is_empty())
    })
    .await?;
    let row = store.audit_tail(1, None, &reloads)?.pop();
    let row = row.context("it was there")?.row;
    ensure!(row.outcome == Outcome::Refused && row.definition.is_none());
    ensure!(row.principal == "system" && row.entry.as_deref() == Some("a change"));
    let reason = row.reason.as_deref().unwrap_or_default();
    ensure!(reason.contains("limits.tool_call.per"), "{reason}");
    ensure!(!format!("{row:?}").contains("topsecret"), "{row:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_on_the_command_line_is_recorded_and_persons_can_be_erased_from_it()
-> Result<()> {
    let gate = Program::start("builtins = []\n").await?;
    gate.run(&["key", "create", "alice", "--role", "owner"])
        .await?;
    gate.run(&["user", "add", "carol"]).await?;
    gate.run(&["user", "disable", "carol"]).await?;
    gate.run(&["user", "list"]).await?;
    let export = gate.folder().join("export.jsonl");
    gate.run(&["audit", "export", "--output", &export.to_string_lossy()])
        .await?;
    let all = gate
        .run(&["audit", "search", "--principal", "local", "--json"])
        .await?;
    let rows: Vec<Value> = all
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let of = |method: &str| {
        let row = rows.iter().find(|row| row["method"] == method);
        row.with_context(|| format!("no {method}"))
    };
    for (method, person) in [
        ("admin/keys.create", "alice"),
        ("admin/users.create", "carol"),
        ("admin/users.change", "carol"),
    ] {
        let row = of(method)?;
        ensure!(row["transport"] == "cli" && row["outcome"] == "ok", "{row}");
        let by = row["credential"].as_str().unwrap_or_default();
        ensure!(by == format!("local:{}", nix::unistd::geteuid()), "{row}");
        ensure!(row["entry"].is_null() && row["subject"] == person, "{row}");
    }
    of("admin/audit.export")?;
    ensure!(
        of("admin/users.list").is_err(),
        "looking at a list changes nothing"
    );
    Ok(())
}

const KEEPS: &str = r#"
builtins = []
upstreams.one = { stdio = ["{scripted}"] }
upstreams.two = { stdio = ["{scripted}"] }
[audit]
arguments = "redacted"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_kept_redacted_sealed_or_not_at_all() -> Result<()> {
    const SECRET: &str = "AKIAIOSFODNN7EXAMPLF";
    let key = AuditorKey::generate()?;
    let config = format!(
        "{KEEPS}auditor = \"{}\"\nkeep = [{{ of = [\"two.*\"], arguments = \"sealed\" }}]\n",
        key.auditor()
    );
    let world = World::of(&config).await?;
    let arguments = json!({ "text": format!("the key is {SECRET}"), "password": "hunter22!" });
    for upstream in ["one", "two"] {
        let tool = format!("{upstream}.echo");
        let reply = world
            .post("local", &modern(call(1, &tool, &arguments)))
            .await?;
        ensure!(reply.text()?.contains(SECRET));
    }
    let store = world.gate().auth().parts().store.clone();
    store.flush().await?;
    let all = AuditFilter {
        begun: true,
        ..AuditFilter::default()
    };
    let mut kept = 0;
    for one in store.audit_tail(100, None, &all)? {
        let row = one.row;
        ensure!(!format!("{row:?}").contains(SECRET), "{row:?}");
        let (Some(upstream), Some(text)) = (&row.upstream, &row.arguments) else {
            ensure!(row.method != "tools/call", "{row:?}");
            continue;
        };
        kept += 1;
        if upstream == "one" {
            let read: Value = serde_json::from_str(text)?;
            ensure!(
                read["text"]
                    .as_str()
                    .is_some_and(|text| text.contains("redacted")),
                "{read}"
            );
            ensure!(!text.contains("hunter22!"));
        } else {
            let opened = key.open(&row.call_id, text)?;
            ensure!(serde_json::from_slice::<Value>(&opened)? == arguments);
        }
    }
    ensure!(kept >= 2, "{kept}");
    world.reload(ONE)?;
    let reply = world
        .post("local", &modern(call(2, "one.echo", &arguments)))
        .await?;
    ensure!(reply.text()?.contains(SECRET));
    let last = world.records().await?.pop().context("no record")?.row;
    ensure!(last.arguments.is_none() && last.arguments_digest.is_some());
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_recorded_with_the_address_that_it_came_from() -> Result<()> {
    let world = World::of("builtins = [\"time\"]\n").await?;
    world
        .post("local", &modern(call(1, "time.now", &json!({}))))
        .await?;
    let session = world.open("local", "2025-06-18").await?;
    world
        .post_in(&session, &call(2, "time.now", &json!({})))
        .await?;
    world.admin("local", "GET", "/v1/me", None).await?;
    let records = world.records().await?;
    ensure!(records.len() >= 4);
    for one in &records {
        ensure!(
            one.row.address.as_deref() == Some("127.0.0.1"),
            "{:?}",
            one.row
        );
    }
    world.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_that_ask_for_tokens_are_recorded_and_strangers_do_not_fill_the_log() -> Result<()> {
    let world = World::of("builtins = []\nauth.loopback = \"owner\"\n").await?;
    let ask = async |n: usize| -> Result<u16> {
        let body = format!("grant_type=refresh_token&refresh_token=none-{n}&client_id=nobody");
        let head = format!(
            "POST /oauth/token HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            world.address(),
            body.len(),
        );
        let mut answer = world
            .send_raw(&[head.as_bytes(), body.as_bytes()].concat())
            .await?;
        answer.body().await?;
        Ok(answer.status)
    };
    for n in 0..150 {
        let status = ask(n).await?;
        ensure!((400..500).contains(&status), "{status}");
    }
    let records = world.records().await?;
    let tokens: Vec<_> = records
        .iter()
        .filter(|one| one.row.method == "oauth/token")
        .collect();
    ensure!(!tokens.is_empty());
    let text = format!("{tokens:?}");
    ensure!(
        !text.contains("none-"),
        "what was presented is not recorded"
    );
    for one in tokens {
        ensure!(one.row.outcome == Outcome::Refused && one.row.reason.is_some());
    }
    world.stop().await?;
    Ok(())
}

/// Both ways: what is recorded without a row is what `CallRecord::open` looks for in every test.
#[test]
fn every_act_of_the_reference_is_recorded_somewhere() -> Result<()> {
    let mut sources = String::new();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for room in ["gateway", "server"] {
        read(&crates.join(room).join("src"), &mut sources)?;
    }
    let unused: BTreeSet<&str> = ACTS
        .iter()
        .map(|act| act.name)
        .filter(|name| !sources.contains(&format!("\"{name}\"")))
        .collect();
    ensure!(unused.is_empty(), "nothing records {unused:?}");
    Ok(())
}

fn read(folder: &Path, into: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read(&path, into)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}
