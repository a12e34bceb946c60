//! A disk that is full, does not keep what it was given, or may not be written: no call without its record, and when the
//! disk is well again, so is the gate, without a restart.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::json;
use testkit::fixtures::{Launch, Process};
use testkit::mcp::{call, modern};
use testkit::world::{Exchange, program, until};

use crate::program::{Program, post};

/// Of a call that is not in the audit log.
const UNRECORDABLE: i64 = -31004;

/// A gate before an upstream that keeps all it is told, outside of the folder with the data.
struct Scene {
    gate: Program,
    ledger: PathBuf,
    calls: u64,
}

impl Scene {
    fn prepare() -> Result<Self> {
        let gate = Program::prepare(&[])?;
        let ledger = gate.folder().join("ledger");
        fs::create_dir(gate.folder().join("data"))?;
        let program = program("ledger")?;
        let config = format!(
            "builtins = []\n\
             limits.tool_call = {{ max = 1000000, per = \"1s\" }}\n\
             upstreams.s = {{ stdio = [{program:?}, \"s\", {ledger:?}] }}\n"
        );
        fs::write(gate.folder().join("portcullis.toml"), config)?;
        Ok(Self {
            gate,
            ledger,
            calls: 0,
        })
    }

    /// What the gate has in its data folder as it sees it, whatever is mounted there.
    fn seen(&self, name: &str) -> PathBuf {
        let data = self.gate.folder().join("data").join(name);
        PathBuf::from(format!("/proc/{}/root", self.gate.id()))
            .join(data.strip_prefix("/").unwrap_or(&data))
    }

    /// Calls once: the code of the error, if it is one. A call that was refused has not reached the upstream, unless it is
    /// said that what came of it is not told.
    async fn call(&mut self) -> Result<Option<i64>> {
        self.calls += 1;
        let text = format!("text-{}-", self.calls);
        let message = modern(call(self.calls, "s.write", &json!({ "text": text })));
        let answer = post(self.gate.address(), None, &message).await?;
        let reached = fs::read_to_string(&self.ledger)?.contains(&text);
        let said = answer["error"]["message"].as_str().unwrap_or_default();
        match answer["error"]["code"].as_i64() {
            None => ensure!(reached, "answered by nobody: {answer}"),
            Some(code) => {
                ensure!(code == UNRECORDABLE, "{answer}");
                let is_open = said.contains("cannot be recorded, so it is not told");
                ensure!(is_open == reached, "reached: {reached}, and told {answer}");
            }
        }
        Ok(answer["error"]["code"].as_i64())
    }

    /// The journal of the gate that serves.
    fn journal(&self) -> Result<PathBuf> {
        for file in fs::read_dir(self.gate.folder().join("data"))? {
            let file = file?;
            if file.file_name().to_string_lossy().contains(".journal-") {
                return Ok(file.path());
            }
        }
        bail!("the gate keeps no journal")
    }

    async fn is_ready(&self) -> Result<bool> {
        let address = self.gate.address();
        let bytes = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        let exchange = Exchange::send(address, bytes.as_bytes()).await?;
        Ok(exchange.status == 200)
    }

    /// Waits until the gate takes no calls and says so. From then on nobody waits for it: each call is refused before there is
    /// anything of it to write.
    async fn until_refused(&mut self) -> Result<()> {
        until("calls are refused", async || {
            Ok(self.call().await?.is_some())
        })
        .await?;
        until("the gate is not ready", async || {
            Ok(!self.is_ready().await?)
        })
        .await?;
        let waiting = self.gate.number("portcullis_audit_queue").await?;
        for _ in 0..5 {
            assert_eq!(self.call().await?, Some(UNRECORDABLE));
        }
        let added = self.gate.number("portcullis_audit_queue").await? - waiting;
        // What asks how the disk is waits as well.
        ensure!(added < 5.0, "{added} more records wait");
        Ok(())
    }

    /// Waits until the gate is well, and has its log proved by the program's own words, run within `words`.
    async fn healed(mut self, words: &[&str]) -> Result<()> {
        until("calls are answered again", async || {
            Ok(self.call().await?.is_none())
        })
        .await?;
        until("the gate is ready", async || self.is_ready().await).await?;
        let file = self.gate.folder().join("export.jsonl");
        let file = file.to_string_lossy().into_owned();
        let key = self.gate.run_within(words, &["audit", "key"]).await?;
        let export = ["audit", "export", "--output", &file];
        self.gate.run_within(words, &export).await?;
        let verify = ["audit", "verify", &file, "--key", key.trim(), "--json"];
        self.gate.run_within(words, &verify).await?;
        // Each call that the upstream saw is there, and was there before.
        let log = fs::read_to_string(&file)?;
        let begun = log.matches("pending").count();
        let reached = fs::read_to_string(&self.ledger)?;
        let reached = reached.matches("\"tools/call\"").count();
        ensure!(begun >= reached, "{begun} begun, {reached} reached");
        self.gate.stop()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_calls_until_there_is_room() -> Result<()> {
    let mut scene = Scene::prepare()?;
    let data = scene.gate.folder().join("data");
    // A namespace of its own: the mount ends with the gate.
    let mount = format!("mount -t tmpfs -o size=16m,mode=700 none {data:?} && exec \"$@\"");
    let within = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    scene.gate.serve_within(&within, "info").await?;
    assert_eq!(scene.call().await?, None);

    let mut fill = File::create(scene.seen("fill"))?;
    while fill.write_all(&[0; 4096]).is_ok() {}
    scene.until_refused().await?;
    drop(fill);
    fs::remove_file(scene.seen("fill"))?;
    let gate = scene.gate.id().to_string();
    scene
        .healed(&["nsenter", "--target", &gate, "--mount", "--"])
        .await
}

/// A disk of which these system calls fail with that error, for a while.
async fn refuses_while_failing(calls: &str, error: &str) -> Result<()> {
    let mut scene = Scene::prepare()?;
    scene.gate.serve("info").await?;
    assert_eq!(scene.call().await?, None);

    let gate = scene.gate.id().to_string();
    let strace = Process::start(&Launch::new([
        "strace",
        "--follow-forks",
        &format!("--trace={calls}"),
        &format!("--inject={calls}:error={error}"),
        "--attach",
        &gate,
    ]))?;
    scene.until_refused().await?;
    ensure!(
        strace.output()?.contains("INJECTED"),
        "{}",
        strace.output()?
    );
    // It lets go of the gate, and ends.
    strace.signal(Signal::SIGTERM)?;
    scene.healed(&[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_to_sync_refuses_calls_until_it_does_not() -> Result<()> {
    refuses_while_failing("fsync,fdatasync", "EIO").await
}

/// As a kernel makes one when it finds it damaged: nothing is written to what is open, either.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_system_that_turns_read_only_refuses_calls_until_it_does_not() -> Result<()> {
    refuses_while_failing("pwrite64,fsync,fdatasync,ftruncate", "EROFS").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_journal_the_gate_keeps_records_all_the_same() -> Result<()> {
    let mut scene = Scene::prepare()?;
    scene.gate.serve("info").await?;
    assert_eq!(scene.call().await?, None);

    let gate = scene.gate.id().to_string();
    let journal = scene.journal()?;
    let path = format!("--trace-path={}", journal.display());
    let strace = Process::start(&Launch::new([
        "strace",
        "--follow-forks",
        "--trace=pwrite64",
        &path,
        "--inject=pwrite64:error=EIO",
        "--attach",
        &gate,
    ]))?;
    until("a write to the journal fails", async || {
        assert_eq!(scene.call().await?, None);
        Ok(strace.output()?.contains("INJECTED"))
    })
    .await?;
    for _ in 0..10 {
        assert_eq!(scene.call().await?, None);
    }
    assert!(scene.is_ready().await?);
    strace.signal(Signal::SIGTERM)?;
    scene.healed(&[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_does_not_answer_refuses_calls() -> Result<()> {
    let mut scene = Scene::prepare()?;
    scene.gate.serve("info").await?;
    assert_eq!(scene.call().await?, None);

    let gate = scene.gate.id().to_string();
    let path = format!("--trace-path={}", scene.journal()?.display());
    let strace = Process::start(&Launch::new([
        "strace",
        "--follow-forks",
        "--trace=pwrite64",
        &path,
        "--inject=pwrite64:delay_enter=3600s",
        "--attach",
        &gate,
    ]))?;
    scene.until_refused().await?;
    ensure!(strace.output()?.contains("pwrite64("), "it did not hang");
    // It lets go of the gate: the write that hung goes on.
    strace.signal(Signal::SIGTERM)?;
    scene.healed(&[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_answer_keeps_no_gate_from_ending() -> Result<()> {
    let mut scene = Scene::prepare()?;
    let config = scene.gate.folder().join("portcullis.toml");
    let out = scene.gate.folder().join("out.jsonl");
    let sink = "[audit.sinks.out]\nkind = \"file\"\npath = \"out.jsonl\"\n";
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("{text}{sink}"))?;
    File::create(&out)?;
    scene.gate.serve("info").await?;
    let gate = scene.gate.id().to_string();
    // What is written to this file takes an hour to be on the disk.
    let path = format!("--trace-path={}", out.display());
    let strace = Process::start(&Launch::new([
        "strace",
        "--follow-forks",
        "--trace=fdatasync",
        &path,
        "--inject=fdatasync:delay_enter=3600s",
        "--attach",
        &gate,
    ]))?;
    until("a write hangs", async || {
        scene.call().await?;
        Ok(strace.output()?.contains("fdatasync("))
    })
    .await?;
    scene.gate.signal(Signal::SIGTERM)?;
    // Gone but for its parent's asking how it ended.
    until("the gate has ended", async || {
        Ok(fs::read_to_string(format!("/proc/{gate}/stat"))?.contains(") Z "))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_written_is_told_at_the_start() -> Result<()> {
    let scene = Scene::prepare()?;
    let data = scene.gate.folder().join("data");
    let mount = format!(
        "mount --bind {data:?} {data:?} && mount -o remount,bind,ro {data:?} && exec \"$@\""
    );
    let within = ["unshare", "--mount", "sh", "-c", &mount, "sh"];
    let told = scene.gate.run_within(&within, &["serve"]).await;
    let told = told.err().context("it serves")?.to_string();
    let names = told.contains(&data.to_string_lossy().into_owned());
    ensure!(names && told.contains("ead-only"), "{told}");
    Ok(())
}
