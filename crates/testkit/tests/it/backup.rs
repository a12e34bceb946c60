//! The restore drill: a gate is backed up while it works, its data is destroyed, and what comes back is whole.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::{Value, json};
use testkit::fixtures::{Postgres, Process};
use testkit::mcp::{call, modern};
use testkit::world::until;
use tokio::task::JoinSet;

use crate::postgres::at_socket;
use crate::program::{Program, post};

const CONFIG: &str = "limits.tool_call = { max = 1000000, per = \"1s\" }\n\
    consent.destructive = \"allow\"\n\
    roles.user = { allow = [\"*\"] }\n";
const CLIENTS: usize = 4;

/// A gate that has something to lose, and a file with a passphrase.
struct Scene {
    gate: Program,
    key: String,
    phrase: PathBuf,
    backup: PathBuf,
}

impl Scene {
    async fn start() -> Result<Self> {
        let gate = Program::start(CONFIG).await?;
        let made = gate
            .run(&["key", "create", "alice", "--role", "user", "--json"])
            .await?;
        let made: Value = serde_json::from_str(&made)?;
        let key = made["key"].as_str().context("no key")?.to_owned();
        let secret = gate.folder().join("secret");
        fs::write(&secret, "tickets-api-token")?;
        let phrase = gate.folder().join("phrase");
        fs::write(&phrase, "nine brown foxes over one dog\n")?;
        let backup = gate.folder().join("gate.backup");
        Ok(Self {
            gate,
            key,
            phrase,
            backup,
        })
    }

    async fn run(&self, words: &[&str]) -> Result<String> {
        let phrase = self.phrase.to_string_lossy();
        let words = [words, &["--passphrase-file", &phrase]].concat();
        self.gate.run(&words).await
    }

    fn file(&self) -> String {
        self.backup.to_string_lossy().into_owned()
    }

    /// Asks for a note to be kept; whether it was.
    async fn keep(&self, nth: u64) -> Result<()> {
        let arguments = json!({ "title": format!("note {nth}"), "text": "kept" });
        let answer = ask(&self.gate, &self.key, nth, "notes.save", &arguments).await?;
        ensure!(answer["result"]["isError"] == false, "{answer}");
        Ok(())
    }

    /// The export of the log, checked by the program itself.
    async fn log(&self) -> Result<Vec<Value>> {
        let file = self.gate.folder().join("export.jsonl");
        drop(fs::remove_file(&file));
        let path = file.to_string_lossy().into_owned();
        let key = self.gate.run(&["audit", "key"]).await?;
        self.gate
            .run(&["audit", "export", "--output", &path])
            .await?;
        self.gate
            .run(&["audit", "verify", &path, "--key", key.trim()])
            .await?;
        let lines = fs::read_to_string(&file)?;
        Ok(lines
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?)
    }
}

async fn ask(gate: &Program, key: &str, id: u64, tool: &str, arguments: &Value) -> Result<Value> {
    let message = modern(call(id, tool, arguments));
    post(gate.address(), Some(key), &message).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_under_load_comes_back_and_goes_on() -> Result<()> {
    let mut scene = Scene::start().await?;
    let file = scene.file();
    for nth in 0..10 {
        scene.keep(nth).await?;
    }
    // Clients that go on while the copy is made.
    let mut clients = JoinSet::new();
    for whose in 1..=CLIENTS {
        let (key, address) = (scene.key.clone(), scene.gate.address());
        clients.spawn(async move {
            for nth in 0_u64.. {
                let note = json!({ "title": format!("{whose}-{nth}"), "text": "" });
                let message = modern(call(nth, "notes.save", &note));
                if post(address, Some(&key), &message).await.is_err() {
                    return nth;
                }
            }
            0
        });
    }
    let told = scene.run(&["backup", "create", &file, "--json"]).await?;
    let told: Value = serde_json::from_str(&told)?;
    assert_eq!(told["has_master_key"], true, "{told}");
    let sealed = fs::read(&scene.backup)?;
    let has = |text: &str| String::from_utf8_lossy(&sealed).contains(text);
    ensure!(!has("note 3") && !has("alice"), "it can be read");
    let before = scene.log().await?;
    let tried = scene.run(&["backup", "verify", &file, "--json"]).await?;
    let tried: Value = serde_json::from_str(&tried)?;
    assert_eq!(tried["rows"], told["rows"]);

    // It burns down.
    scene.gate.kill()?;
    let mut answered = 0;
    while let Some(heard) = clients.join_next().await {
        answered += heard?;
    }
    ensure!(answered > 0, "nobody called while it was copied");
    let data = scene.gate.folder().join("data");
    fs::remove_dir_all(&data)?;
    scene.run(&["backup", "restore", &file]).await?;
    scene.gate.serve("info").await?;

    // The same key opens it, the notes are there, the log is the one that was there, and goes on.
    let found = json!({ "query": "note" });
    let answer = ask(&scene.gate, &scene.key, 1, "notes.search", &found).await?;
    ensure!(answer.to_string().contains("note 3"), "{answer}");
    scene.keep(99).await?;
    until("what was begun is settled", async || {
        let log = scene.log().await?;
        let texts: Vec<String> = log.iter().map(ToString::to_string).collect();
        let of = |word: &str| texts.iter().filter(|text| text.contains(word)).count();
        Ok(of("\\\"pending\\\"") <= of("notes.save"))
    })
    .await?;
    let after = scene.log().await?;
    let records = |log: &[Value]| -> Vec<Value> {
        let records = log.iter().filter_map(|line| line.get("record"));
        records.take(10).cloned().collect()
    };
    assert_eq!(records(&before), records(&after));
    scene.gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_restored_is_refused_and_nothing_is_overwritten() -> Result<()> {
    let mut scene = Scene::start().await?;
    let file = scene.file();
    scene.keep(1).await?;
    scene.run(&["backup", "create", &file]).await?;
    let again = scene.run(&["backup", "create", &file]).await;
    let again = again.err().context("it was overwritten")?.to_string();
    ensure!(again.contains("nothing is overwritten"), "{again}");
    scene.gate.stop()?;

    // Into a database that is in use.
    let refused = scene.run(&["backup", "restore", &file]).await;
    let refused = refused.err().context("it was overwritten")?.to_string();
    ensure!(refused.contains("in use already"), "{refused}");

    // Another passphrase; a file that was changed or cut off.
    let whole = fs::read(&scene.backup)?;
    fs::write(&scene.phrase, "nine brown foxes over one cat\n")?;
    let refused = scene.run(&["backup", "verify", &file]).await;
    let refused = refused.err().context("it was opened")?.to_string();
    ensure!(refused.contains("another passphrase"), "{refused}");
    fs::write(&scene.phrase, "nine brown foxes over one dog\n")?;
    fs::remove_dir_all(scene.gate.folder().join("data"))?;
    for damaged in [
        whole[..whole.len() - 1].to_vec(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..], b"more"].concat(),
    ] {
        fs::write(&scene.backup, damaged)?;
        let refused = scene.run(&["backup", "restore", &file]).await;
        ensure!(refused.is_err(), "it was restored");
        let left = scene.gate.folder().join("data/portcullis.db").exists();
        ensure!(!left, "something was left behind");
    }
    fs::write(&scene.backup, &whole)?;
    scene.run(&["backup", "restore", &file]).await?;
    scene.gate.serve("info").await?;
    scene.keep(2).await?;
    scene.gate.stop()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_moves_a_gate_from_one_kind_of_database_to_the_other_and_back() -> Result<()> {
    let mut scene = Scene::start().await?;
    let file = scene.file();
    scene.keep(1).await?;
    scene.run(&["backup", "create", &file]).await?;
    scene.gate.stop()?;

    let server = Postgres::start(None)?;
    let path = scene.gate.folder().join("portcullis.toml");
    let config = fs::read_to_string(&path)?;
    fs::write(
        &path,
        format!("{config}store = {{ {} }}\n", at_socket(&server)),
    )?;
    scene.run(&["backup", "restore", &file]).await?;
    scene.gate.serve("info").await?;
    scene.keep(2).await?;
    let there = scene.log().await?.len();
    fs::remove_file(&scene.backup)?;
    scene.run(&["backup", "create", &file]).await?;
    scene.gate.stop()?;

    fs::write(&path, &config)?;
    fs::remove_dir_all(scene.gate.folder().join("data"))?;
    scene.run(&["backup", "restore", &file]).await?;
    scene.gate.serve("info").await?;
    let found = json!({ "query": "note" });
    let answer = ask(&scene.gate, &scene.key, 1, "notes.search", &found).await?;
    ensure!(answer.to_string().contains("note 2"), "{answer}");
    ensure!(scene.log().await?.len() > there, "the log is shorter");
    scene.gate.stop()
}

/// What a backup is tried in is all of the database, for whoever reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_tried_leaves_nothing_behind_when_it_is_interrupted() -> Result<()> {
    let mut scene = Scene::start().await?;
    let file = scene.file();
    scene.keep(1).await?;
    scene.run(&["backup", "create", &file]).await?;
    scene.gate.stop()?;
    let whole = fs::read(&scene.backup)?;
    for (signal, status) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let place = tempfile::tempdir()?;
        // A backup that does not come to its end: the command waits in the middle of it.
        let pipe = scene.gate.folder().join(format!("{signal}"));
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU)?;
        let phrase = scene.phrase.to_string_lossy();
        let words = [
            "backup",
            "verify",
            &pipe.to_string_lossy(),
            "--passphrase-file",
            &phrase,
        ];
        let launch = scene.gate.launch(&words)?;
        let tmp = place.path().to_string_lossy();
        let mut process = Process::start(&launch.env("TMPDIR", tmp))?;
        let mut writer = None;
        until("it reads", async || {
            let mut options = OpenOptions::new();
            options.write(true).custom_flags(OFlag::O_NONBLOCK.bits());
            writer = options.open(&pipe).ok();
            Ok(writer.is_some())
        })
        .await?;
        let mut writer = writer.context("not opened")?;
        let begun = whole.get(..whole.len() - 1).context("nothing")?;
        ensure!(writer.write(begun)? > 0);
        let scratch = || -> Result<_> { Ok(fs::read_dir(place.path())?.next().context("none")??) };
        until("it is tried", async || Ok(scratch().is_ok())).await?;
        let folder = scratch()?.path();
        let mode = fs::metadata(&folder)?.permissions().mode();
        ensure!(mode & 0o777 == 0o700, "{mode:o}");
        process.signal(signal)?;
        let ended = process.ended()?;
        assert_eq!(ended.code(), Some(status), "{}", process.output()?);
        let left: Vec<_> = fs::read_dir(place.path())?.collect();
        ensure!(left.is_empty(), "{left:?}");
        drop(writer);
    }
    Ok(())
}
