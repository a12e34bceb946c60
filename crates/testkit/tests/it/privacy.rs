//! A log that forgets: records past their time, and what they say of a person, and still proves the rest; unless a court
//! wants it kept.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use store::audit::ERASED;
use store::{AuditFilter, AuditRow, Outcome, Store};
use testkit::world::{World, until};
use tokio::process::Command;

use crate::program::Program;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// A log of some days, written as a gate would have.
async fn log(gate: &Program, now_us: i64, records: i64) -> Result<()> {
    let store = Store::open(&gate.folder().join("data/portcullis.db"))?;
    for n in 0..records {
        let slot = store.reserve_audit(Duration::from_secs(5)).await?;
        slot.write(&row(n, now_us));
    }
    store.flush().await?;
    store.close().await;
    Ok(())
}

/// The first six hundred are three days old.
fn row(n: i64, now_us: i64) -> AuditRow {
    let age = if n < 600 { 3 * DAY_US } else { 0 };
    AuditRow {
        at_us: now_us - age + n,
        call_id: format!("call-{n}"),
        principal: ["alice", "carol"][usize::from(n % 3 == 0)].to_owned(),
        credential: "api_key:abc".to_owned(),
        client: "tests 1.0".to_owned(),
        transport: "http".into(),
        revision: "2026-07-28".into(),
        method: "tools/list".into(),
        upstream: None,
        entry: None,
        arguments_digest: None,
        decision: "allow".into(),
        rule: None,
        server: None,
        definition: None,
        consent: None,
        screened: None,
        trace_id: None,
        arguments: None,
        address: Some("192.0.2.1".to_owned()),
        actor: None,
        subject: None,
        outcome: Outcome::Ok,
        code: None,
        reason: None,
        duration_us: 1,
        bytes_in: 1,
        bytes_out: 1,
    }
}

fn now_us() -> Result<i64> {
    Ok(jiff::Timestamp::now().as_microsecond())
}

/// Exports the log and has it verified; what that says, and the file's text.
async fn verified(gate: &Program, name: &str) -> Result<(Value, String)> {
    let file = gate.folder().join(name).display().to_string();
    gate.run(&["audit", "export", "--output", &file]).await?;
    let key = gate.run(&["audit", "key"]).await?;
    let told = gate
        .run(&["audit", "verify", &file, "--key", key.trim(), "--json"])
        .await?;
    Ok((serde_json::from_str(&told)?, fs::read_to_string(&file)?))
}

/// A record's line without its personal part, as if it had been erased.
fn emptied(line: &str) -> Result<String> {
    let (chain, rest) = line.split_once("\"personal\":{").context("no line")?;
    let (_, rest) = rest.split_once(",\"record\":").context("no record")?;
    let (record, _) = rest.split_once(",\"salt\":").context("no salt")?;
    let signed = line.contains("\"signed\":true");
    Ok(format!(
        "{chain}\"personal\":null,\"record\":{record},\"salt\":null,\"signed\":{signed}}}"
    ))
}

/// That a text is found to be changed.
async fn is_found(gate: &Program, name: &str, text: &str) -> Result<()> {
    let file = gate.folder().join(name);
    fs::write(&file, text)?;
    let key = gate.run(&["audit", "key"]).await?;
    let file = file.display().to_string();
    let told = gate
        .run_either(&["audit", "verify", &file, "--key", key.trim(), "--json"])
        .await?;
    let told: Value = serde_json::from_str(told.lines().next().unwrap_or_default())?;
    ensure!(told["ok"] == false, "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_is_killed_half_way_explains_what_it_erased() -> Result<()> {
    let mut gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), "builtins = []\n")?;
    gate.serve("info").await?;
    log(&gate, now_us()?, 12_000).await?;
    let erase = ["audit", "erase", "--principal", "carol", "--yes", "--json"];
    let launch = gate.launch(&erase)?;
    let (program, arguments) = launch.argv.split_first().context("no program")?;
    let mut erasing = Command::new(program)
        .args(arguments)
        .envs(&launch.env)
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let store = Store::open(&gate.folder().join("data/portcullis.db"))?;
    until("something is erased", async || {
        Ok(!store.audit_of(ERASED, 0, i64::MAX, 1)?.records.is_empty())
    })
    .await?;
    erasing.kill().await?;
    store.close().await;
    let (half, _) = verified(&gate, "half.jsonl").await?;
    ensure!(half["ok"] == true && half["erased"].as_u64() >= Some(1));
    ensure!(
        half["erased_unexplained"].as_array().map(Vec::len) == Some(0),
        "{}",
        half["erased_unexplained"]
    );
    // Asked again, it goes on.
    gate.run(&erase).await?;
    let (whole, text) = verified(&gate, "whole.jsonl").await?;
    ensure!(whole["erased"].as_u64() >= Some(4000) && !text.contains("carol"));
    ensure!(whole["erased_unexplained"].as_array().map(Vec::len) == Some(0));
    Ok(())
}

/// The commands of whoever is on this machine are recorded, those of erasing too.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_erases_its_own_records_comes_to_an_end() -> Result<()> {
    let gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), "builtins = []\n")?;
    log(&gate, now_us()?, 1).await?;
    gate.run(&["audit", "key"]).await?;
    let erase = ["audit", "erase", "--principal", "local", "--yes", "--json"];
    let told: Value = serde_json::from_str(&gate.run(&erase).await?)?;
    ensure!(told["erased"].as_u64() >= Some(1), "{told}");
    let (whole, text) = verified(&gate, "own.jsonl").await?;
    ensure!(whole["ok"] == true && text.contains("\"local\""), "{whole}");
    ensure!(whole["erased_unexplained"].as_array().map(Vec::len) == Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_from_the_log_and_the_log_is_verified_as_before() -> Result<()> {
    let mut gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), "builtins = []\n")?;
    gate.serve("info").await?;
    log(&gate, now_us()?, 900).await?;
    let (before, text) = verified(&gate, "before.jsonl").await?;
    ensure!(before["ok"] == true && before["erased"] == 0 && text.contains("carol"));

    let own = gate.folder().join("carol.jsonl").display().to_string();
    gate.run(&["audit", "subject", "carol", "--out", &own])
        .await?;
    let own = fs::read_to_string(&own)?;
    ensure!(
        own.lines().count() == 300 && !own.contains("alice"),
        "{}",
        own.lines().count()
    );

    let hold = gate
        .run(&[
            "audit",
            "hold",
            "add",
            "--principal",
            "carol",
            "--reason",
            "case 7",
        ])
        .await?;
    let erase = ["audit", "erase", "--principal", "carol", "--yes", "--json"];
    let refused = gate.run_either(&erase).await?;
    ensure!(refused.contains(hold.trim()), "{refused}");
    gate.run(&["audit", "hold", "release", hold.trim()]).await?;
    let told: Value = serde_json::from_str(&gate.run(&erase).await?)?;
    ensure!(told["erased"].as_u64() >= Some(300), "{told}");

    let (after, text) = verified(&gate, "after.jsonl").await?;
    ensure!(
        after["ok"] == true && after["erased"] == told["erased"],
        "{after}"
    );
    ensure!(!text.contains("carol") && text.contains("alice"));
    // Which they were is recorded: one that is emptied besides stands out.
    let ranges = |name: &str| after[name].as_array().map_or(0, Vec::len);
    ensure!(
        ranges("erased_places") >= 300 && ranges("erased_unexplained") == 0,
        "{after}"
    );
    let line = text.lines().find(|line| line.contains("alice"));
    let line = line.context("nobody is left")?;
    let emptied = text.replacen(line, &emptied(line)?, 1);
    is_found(&gate, "emptied.jsonl", &emptied).await?;
    let (key, file) = (
        gate.run(&["audit", "key"]).await?,
        gate.folder().join("emptied.jsonl").display().to_string(),
    );
    let words = ["audit", "verify", &file, "--key", key.trim()];
    let mut records = text
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with("{\"checkpoint\""));
    let place = records.position(|one| one == line).context("no place")?;
    let told = gate.run_either(&words).await?;
    ensure!(
        told.contains(&format!("record {place}: ")) && !told.contains("as they were recorded"),
        "{told}"
    );
    let words = [&words[..], &["--allow-unexplained", "--json"]].concat();
    let found: Value = serde_json::from_str(&gate.run(&words).await?)?;
    ensure!(
        found["erased_unexplained"] == serde_json::json!([[place, place]]),
        "{found}"
    );
    // What is erased cannot be put back as something else, nor more taken away than is said.
    let line = text.lines().find(|line| line.contains("\"personal\":null"));
    let line = line.context("nothing is erased")?;
    let forged = line.replace(
        "\"personal\":null",
        "\"personal\":{\"principal\":\"alice\"}",
    );
    let forged = forged.replace(
        "\"salt\":null",
        &format!("\"salt\":\"{}\"", "00".repeat(16)),
    );
    is_found(&gate, "forged.jsonl", &text.replacen(line, &forged, 1)).await?;
    let other = line.replacen("\"outcome\":\"ok\"", "\"outcome\":\"refused\"", 1);
    is_found(&gate, "other.jsonl", &text.replacen(line, &other, 1)).await?;
    let without = text.replacen(&format!("{line}\n"), "", 1);
    is_found(&gate, "without.jsonl", &without).await?;

    // That it was done is recorded, and does not undo it.
    let acts = gate
        .run(&["audit", "search", "--principal", "local", "--json"])
        .await?;
    for act in ["subject", "erase", "hold", "release"] {
        ensure!(
            acts.contains(&format!("admin/audit.{act}")),
            "{act}: {acts}"
        );
    }
    ensure!(!acts.contains("carol"), "{acts}");
    let id = format!("\"{}", hold.trim());
    ensure!(
        acts.matches(&id).count() >= 2,
        "put on and ended, by its id: {acts}"
    );
    // And before it was done: it may be cut short.
    let begun = AuditFilter {
        outcome: Some("pending".to_owned()),
        begun: true,
        ..AuditFilter::default()
    };
    let store = Store::open(&gate.folder().join("data/portcullis.db"))?;
    let begun = store.audit_tail(100, None, &begun)?;
    for act in ["subject", "erase", "hold", "release"] {
        let method = format!("admin/audit.{act}");
        ensure!(begun.iter().any(|one| one.row.method == method), "{method}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn records_past_their_time_go_and_what_is_left_is_verified() -> Result<()> {
    let world = World::of("builtins = [\"time\"]\naudit.retention.keep = \"1d\"\n").await?;
    let parts = world.gate().auth().parts();
    let (store, clock) = (parts.store.clone(), std::sync::Arc::clone(&parts.clock));
    let write = async |count: i64| -> Result<()> {
        let now = clock.wall().duration_since(std::time::UNIX_EPOCH)?;
        for n in 0..count {
            let slot = store.reserve_audit(Duration::from_secs(5)).await?;
            let at_us = i64::try_from(now.as_micros())? + n;
            slot.write(&AuditRow { at_us, ..row(n, 0) });
        }
        Ok(store.flush().await?)
    };
    write(600).await?;
    world.advance(Duration::from_secs(3 * 24 * 60 * 60));
    write(300).await?;
    let whole = store.audit_log()?;
    // Whole blocks of 256: some of the old ones stay with the first of the new.
    until("what is old is gone", async || {
        Ok(store.audit_first()? == 512)
    })
    .await?;
    let (size, root) = (whole.tree.size(), whole.tree.root());
    let again = store.audit_log_at(size)?.context("not there any more")?;
    ensure!(again.tree.root() == root);
    ensure!(store.audit_log_at(511)?.is_none());
    until("that is recorded", async || {
        let happened = world.happened().await?;
        Ok(happened.iter().any(|one| one.row.method == "audit/pruned"))
    })
    .await?;
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_gate_left_behind_is_settled_while_this_one_runs() -> Result<()> {
    let world = World::of("builtins = [\"time\"]\n").await?;
    // The first may still be found by the gate as it starts.
    for n in 0..2 {
        let peer = Store::open(&world.folder().join("data/portcullis.db"))?;
        let slot = peer.reserve_audit(Duration::from_secs(5)).await?;
        let begun = AuditRow {
            outcome: Outcome::Pending,
            ..row(n, now_us()?)
        };
        let id = begun.call_id.clone();
        slot.commit(&begun, Duration::from_secs(5)).await?;
        peer.close().await;
        drop(peer);
        world.advance(Duration::from_secs(61));
        until("what it began is unknown", async || {
            let records = world.records().await?;
            let of = records.iter().find(|one| one.row.call_id == id);
            Ok(of.is_some_and(|one| one.row.outcome == Outcome::Unknown))
        })
        .await?;
    }
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_written_to_a_folder_elsewhere_and_an_end_that_was_cut_off_is_found_by_them()
-> Result<()> {
    let mut gate = Program::prepare(&[])?;
    let folder = gate.folder().join("elsewhere");
    let config = "builtins = []\naudit.checkpoints_to = \"elsewhere\"\n";
    fs::write(gate.folder().join("portcullis.toml"), config)?;
    gate.serve("info").await?;
    log(&gate, now_us()?, 900).await?;
    // The folder is not there: health says so, and calls go on.
    gate.run(&["audit", "checkpoint"]).await?;
    let health = async || -> Result<Value> {
        let said = ask(&gate, "/health").await?;
        Ok(serde_json::from_str(&said)?)
    };
    let state = |health: &Value| {
        let all = health["dependencies"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let one = all.into_iter().find(|one| one["name"] == "checkpoints_to");
        one.map(|one| one["state"].clone()).unwrap_or_default()
    };
    until("health says so", async || {
        Ok(state(&health().await?) == "down")
    })
    .await?;
    fs::create_dir(&folder)?;
    until("it is written", async || {
        Ok(state(&health().await?) == "ok" && fs::read_dir(&folder)?.count() > 0)
    })
    .await?;
    let files: Vec<_> = fs::read_dir(&folder)?.collect::<Result<_, _>>()?;
    let note = files.first().context("none")?.path();
    ensure!(
        note.extension().is_some_and(|ending| ending == "txt"),
        "{note:?}"
    );

    let (told, text) = verified(&gate, "whole.jsonl").await?;
    ensure!(told["ok"] == true && told["unsigned"] == 0, "{told}");
    // A part passes for a part alone.
    let part = gate.folder().join("part.jsonl").display().to_string();
    gate.run(&["audit", "export", "--from", "10", "--output", &part])
        .await?;
    let key = gate.run(&["audit", "key"]).await?;
    let words = ["audit", "verify", &part, "--key", key.trim()];
    let told = gate.run_either(&words).await?;
    ensure!(told.contains("its front was cut off"), "{told}");
    let as_part = [&words[..], &["--from", "10"]].concat();
    let told = gate.run_either(&as_part).await?;
    ensure!(told.contains("a part, from record 10"), "{told}");
    // An end that is not signed for passes only where that is said.
    let open = gate.folder().join("open.jsonl").display().to_string();
    gate.run(&["audit", "export", "--to", "10", "--output", &open])
        .await?;
    let words = ["audit", "verify", &open, "--key", key.trim()];
    let told = gate.run_either(&words).await?;
    ensure!(told.contains("anybody could have written them"), "{told}");
    let as_open = [&words[..], &["--allow-unsigned"]].concat();
    let told = gate.run_either(&as_open).await?;
    ensure!(!told.contains("none of them is missing"), "{told}");
    // Cut off in front of it, with a first line that says so.
    let (first, rest) = text.split_once('\n').context("no line")?;
    let mut head: Value = serde_json::from_str(first)?;
    head["to"] = 3.into();
    let short: Vec<&str> = rest
        .lines()
        .filter(|line| !line.starts_with("{\"checkpoint\""))
        .take(3)
        .collect();
    let short = format!("{head}\n{}\n", short.join("\n"));
    let file = gate.folder().join("short.jsonl");
    fs::write(&file, short)?;
    let key = gate.run(&["audit", "key"]).await?;
    let (file, note) = (file.display().to_string(), note.display().to_string());
    let told = gate
        .run_either(&[
            "audit",
            "verify",
            &file,
            "--key",
            key.trim(),
            "--checkpoint",
            &note,
            "--json",
        ])
        .await?;
    ensure!(told.contains("its end was cut off"), "{told}");
    Ok(())
}

async fn ask(gate: &Program, path: &str) -> Result<String> {
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        gate.address()
    );
    let mut exchange = testkit::world::Exchange::send(gate.address(), head.as_bytes()).await?;
    Ok(String::from_utf8(exchange.body().await?)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told_and_the_rest_is_erased() -> Result<()> {
    let gate = Program::prepare(&[])?;
    fs::write(gate.folder().join("portcullis.toml"), "builtins = []\n")?;
    log(&gate, now_us()?, 2_000).await?;
    // As a disk would that returns something else.
    let database = gate.folder().join("data/portcullis.db");
    let mut bytes = fs::read(&database)?;
    let found: Vec<usize> = bytes
        .windows(b"call-1000".len())
        .enumerate()
        .filter_map(|(at, text)| (text == b"call-1000").then_some(at))
        .collect();
    ensure!(!found.is_empty(), "the record stands elsewhere");
    for at in found {
        bytes[at..at + b"call-1000".len()].fill(0xFF);
    }
    fs::write(&database, bytes)?;

    let file = gate.folder().join("carol.jsonl").display().to_string();
    let told = gate
        .run_either(&["audit", "subject", "carol", "--out", &file])
        .await?;
    let count = fs::read_to_string(&file)?.lines().count();
    ensure!((580..667).contains(&count), "{count} of 667");
    ensure!(told.contains("what they say is not in the file"), "{told}");
    let erase = ["audit", "erase", "--principal", "carol", "--yes"];
    let told = gate.run_either(&erase).await?;
    ensure!(
        told.contains(&format!("{count} records is erased"))
            && told.contains("what they say is not erased"),
        "{told}"
    );
    // Nothing of her is left that can be read.
    let file = gate.folder().join("again.jsonl").display().to_string();
    gate.run_either(&["audit", "subject", "carol", "--out", &file])
        .await?;
    ensure!(fs::read_to_string(&file)?.is_empty());
    Ok(())
}
