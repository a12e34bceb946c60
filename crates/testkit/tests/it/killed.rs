//! A gate that is killed at any moment: what was answered is in the audit log, what reached the upstream was there before,
//! and what nobody can say any more is `unknown`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Value, json};
use store::{AuditFilter, Outcome, Recorded, Store};
use tempfile::TempDir;
use testkit::fixtures::{Launch, Process, free_address};
use testkit::mcp::{call, modern};
use testkit::world::{program, until};
use tokio::task::JoinSet;

use crate::program::post;
use crate::properties::runner;

/// How often the gate is killed: in every run of the tests, and in `cargo xtask soak`.
const ROUNDS: usize = 5;
const ROUNDS_LONG: usize = 200;
/// Set where there is time.
const LONG: &str = "TESTKIT_LONG";
const CLIENTS: usize = 8;
/// Longest that a gate lives, from its first answer on.
const LIFE_MAX_MS: u64 = 300;
const RECORDS_MAX: u32 = 10_000_000;

/// A folder that one gate after the other works in, and the ledger of the upstream behind them.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-killed-")?;
        let (ledger, kept) = (program("ledger")?, folder.path().join("ledger"));
        let config = format!(
            "builtins = []\n\
             limits.tool_call = {{ max = 1000000, per = \"1s\" }}\n\
             upstreams.s = {{ stdio = [{:?}, \"s\", {kept:?}] }}\n",
            ledger.display().to_string()
        );
        fs::write(folder.path().join("portcullis.toml"), config)?;
        Ok(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The words of a command that works in this folder.
    fn words(&self, words: &[&str]) -> Result<Vec<String>> {
        let config = self.path().join("portcullis.toml").display().to_string();
        let program = program("gate")?.display().to_string();
        let words = words.iter().map(|word| (*word).to_owned());
        Ok([program]
            .into_iter()
            .chain(words)
            .chain(["--config".to_owned(), config])
            .collect())
    }

    fn data(&self) -> String {
        self.path().join("data").display().to_string()
    }

    async fn serve(&self) -> Result<(Process, SocketAddr)> {
        let address = free_address()?;
        let words = self.words(&["serve", "--listen", &address.to_string()])?;
        let launch = Launch::new(words).env("PORTCULLIS__DATA_DIR", self.data());
        let mut process = Process::start(&launch)?;
        process.accepts(address).await?;
        Ok((process, address))
    }

    fn run(&self, words: &[&str]) -> Result<Output> {
        let words = self.words(words)?;
        let (program, arguments) = words.split_first().context("no program")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("PORTCULLIS__DATA_DIR", self.data());
        Ok(command.output()?)
    }

    fn records(&self) -> Result<Vec<Recorded>> {
        let store = Store::open(&self.path().join("data/portcullis.db"))?;
        let all = AuditFilter {
            begun: true,
            ..AuditFilter::default()
        };
        Ok(store.audit_tail(RECORDS_MAX, Some(0), &all)?)
    }

    /// What the upstream was told to write, in its own words.
    fn reached(&self) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.path().join("ledger"))?;
        let told = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let calls = told.filter(|message| message["method"] == "tools/call");
        Ok(calls
            .map(|message| digest(&message["params"]["arguments"]))
            .collect())
    }
}

/// As the audit log has it.
fn digest(arguments: &Value) -> String {
    let hash =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, arguments.to_string().as_bytes());
    store::audit::text::hex(hash.as_ref())
}

/// Calls until the gate is gone; the digests of what was answered.
async fn client(address: SocketAddr, whose: String) -> Vec<String> {
    let mut answered = Vec::new();
    for nth in 0_u64.. {
        let arguments = json!({ "text": format!("{whose}-{nth}") });
        let message = modern(call(nth, "s.write", &arguments));
        let asked = async {
            let answer = post(address, None, &message).await?;
            ensure!(answer["result"].is_object(), "{answer}");
            Ok(())
        };
        if asked.await.is_err() {
            break;
        }
        answered.push(digest(&arguments));
    }
    answered
}

/// Kills one gate after the other; the digests of what they had answered.
async fn rounds(place: &Arc<Place>, rounds: usize) -> Result<BTreeSet<String>> {
    let mut answered = BTreeSet::new();
    let mut random = runner(1);
    for round in 0..rounds {
        let life = (1..LIFE_MAX_MS).new_tree(&mut random);
        let life = life.map_err(|why| anyhow::anyhow!("{why}"))?.current();
        let (process, address) = place.serve().await?;
        let mut clients = JoinSet::new();
        for whose in 0..CLIENTS {
            clients.spawn(client(address, format!("{round}-{whose}")));
        }
        let kept = place.path().join("ledger");
        until("a call reaches the upstream", async || {
            let needle = format!("\"{round}-");
            Ok(fs::read_to_string(&kept).is_ok_and(|text| text.contains(&needle)))
        })
        .await?;
        tokio::time::sleep(Duration::from_millis(life)).await;
        process.signal(Signal::SIGKILL)?;
        while let Some(heard) = clients.join_next().await {
            answered.extend(heard?);
        }
    }
    Ok(answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kills_the_gate_the_log_has_what_was_answered_and_what_was_begun() -> Result<()> {
    let long = std::env::var_os(LONG).is_some();
    let place = Arc::new(Place::new()?);
    let answered = rounds(&place, if long { ROUNDS_LONG } else { ROUNDS }).await?;
    ensure!(!answered.is_empty(), "nothing was answered");
    // One more gate looks after what the last one left.
    let (mut process, _) = place.serve().await?;
    until("what was left behind is settled", async || {
        let records = place.records()?;
        let count = |outcome| {
            records
                .iter()
                .filter(|one| one.row.outcome == outcome)
                .count()
        };
        let over = records
            .iter()
            .filter(|one| one.row.method == "tools/call")
            .count()
            - count(Outcome::Pending);
        Ok(over >= count(Outcome::Pending))
    })
    .await?;
    process.signal(Signal::SIGTERM)?;
    until("the gate has ended", async || Ok(process.ended().is_ok())).await?;

    let records = place.records()?;
    let mut outcomes: BTreeMap<&str, Vec<Outcome>> = BTreeMap::new();
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    for Recorded { row, .. } in records.iter().filter(|one| one.row.method == "tools/call") {
        outcomes.entry(&row.call_id).or_default().push(row.outcome);
        let digest = row.arguments_digest.clone().unwrap_or_default();
        match row.outcome {
            Outcome::Pending => drop(begun.insert(digest)),
            Outcome::Ok => drop(ended.insert(digest)),
            Outcome::Unknown => {}
            other => anyhow::bail!("{other:?}: {row:?}"),
        }
    }
    let lost: Vec<&String> = answered.difference(&ended).collect();
    assert_eq!(lost, Vec::<&String>::new(), "answered, and not in the log");
    let reached: BTreeSet<String> = place.reached()?.into_iter().collect();
    let unseen: Vec<&String> = reached.difference(&begun).collect();
    assert_eq!(
        unseen,
        Vec::<&String>::new(),
        "reached the upstream unrecorded"
    );
    for (call, outcomes) in &outcomes {
        assert_eq!(outcomes.len(), 2, "{call}: {outcomes:?}");
        assert_eq!(outcomes[0], Outcome::Pending, "{call}");
    }

    // And all of it is proved from outside, by the program's own words.
    let key = String::from_utf8(place.run(&["audit", "key"])?.stdout)?;
    let file = place.path().join("export.jsonl").display().to_string();
    let export = place.run(&["audit", "export", "--output", &file])?;
    assert!(export.status.success(), "{export:?}");
    let verify = ["audit", "verify", &file, "--key", key.trim(), "--json"];
    let verified = place.run(&verify)?;
    assert!(verified.status.success(), "{verified:?}");
    let told: Value = serde_json::from_slice(&verified.stdout)?;
    // That it was exported is recorded as well.
    assert_eq!(told["to"], records.len() + 1);
    let text = fs::read_to_string(&file)?;
    fs::write(&file, text.replacen("tools/call", "tools/list", 1))?;
    let verified = place.run(&verify)?;
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    Ok(())
}
