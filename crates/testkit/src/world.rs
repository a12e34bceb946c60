//! A real gate for one test: free port, real store in a temporary folder, and a clock that stands still.
//!
//! Talk to it as principals that the config names: each member of a role gets an API key; `local` and `nobody`
//! present nothing. When it ends, a world checks what every test shares, and that all which left the gate is what the
//! protocol's schemas allow: clients talk to it through a tap. What they say and are told is in `talk`, bytes on the
//! socket are [`Exchange`].

mod socket;
mod talk;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use gateway::Gate;
use observe::SYSTEM;
use parking_lot::Mutex;
use serde_json::Value;
use server::config::{Environment, Loaded, Sources};
use server::serve::{Cause, Serving};
use store::{AuditFilter, Recorded, Store};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use upstream::Kind;

use crate::clock::ManualClock;
use crate::schema::Schemas;
use crate::schema::traffic::{Conversation, conversations};

use self::tap::Tap;

pub use socket::Exchange;
pub(crate) use socket::PATIENCE;
pub use talk::{Reply, Session};

/// The pause after the first look at something that is waited for; each next
/// one is a quarter longer, so that a look which is a call never uses up the
/// 100 calls a minute of the default rate limit.
const LOOK: Duration = Duration::from_millis(5);
/// The longest pause between two looks.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Records that are read at most.
const RECORDS_MAX: u32 = 1_000_000;
/// The variable by which the processes of a world are known.
const MARK: &str = "TESTKIT_WORLD";

/// A real gate with everything around it.
#[derive(Debug)]
pub struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    serving: Serving,
    tap: Tap,
    /// What was said on pipes.
    pipes: Mutex<Vec<Conversation>>,
    keys: Mutex<BTreeMap<String, auth::key::Minted>>,
    sessions: Mutex<Vec<Session>>,
    /// Records that there must be: one for every answer, and for every call that was given up.
    owed: AtomicUsize,
}

impl World {
    /// A gate with this config.
    ///
    /// # Errors
    /// If the config is refused or the gate does not start.
    pub async fn of(config: &str) -> Result<Self> {
        Self::with_files(config, &[]).await
    }

    /// A gate with this config, and with files beside it.
    ///
    /// # Errors
    /// If the config is refused or the gate does not start.
    pub async fn with_files(config: &str, files: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::with_prefix("portcullis-world-")?;
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().context("a file in no folder")?)?;
            fs::write(path, text)?;
        }
        let clock = Arc::new(ManualClock::default());
        let keys = Mutex::default();
        let loaded = load(folder.path(), config, &keys)?;
        let serving =
            server::serve::start(loaded, Arc::clone(&clock) as Arc<dyn policy::Clock>).await?;
        let tap = Tap::open(serving.addresses()[0]).await?;
        Ok(Self {
            folder,
            clock,
            serving,
            tap,
            pipes: Mutex::default(),
            keys,
            sessions: Mutex::default(),
            owed: AtomicUsize::new(0),
        })
    }

    /// Where its config and its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it is reached.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tap.address()
    }

    /// Where the gate itself listens, past the tap: for more bytes than can be kept and judged.
    #[must_use]
    pub fn untapped(&self) -> SocketAddr {
        self.serving.addresses()[0]
    }

    /// The gate itself, for pipes.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        self.serving.gate()
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Has the gate take over another config.
    ///
    /// # Errors
    /// If the config is refused.
    pub fn reload(&self, config: &str) -> Result<()> {
        self.take_over(&self.load(config)?)
    }

    /// Reads another config, and does nothing with it.
    ///
    /// # Errors
    /// If it is refused.
    pub fn load(&self, config: &str) -> Result<Loaded> {
        load(self.folder.path(), config, &self.keys)
    }

    /// Has the gate take over a config that was read.
    ///
    /// # Errors
    /// If it cannot.
    pub fn take_over(&self, loaded: &Loaded) -> Result<()> {
        Ok(self.serving.reload(loaded, Cause::Signal)?)
    }

    /// The text of a principal's key; `None` for those who present nothing.
    ///
    /// # Errors
    /// If nobody of that name is known.
    pub fn key(&self, who: &str) -> Result<Option<String>> {
        if matches!(who, "local" | "nobody") {
            return Ok(None);
        }
        let keys = self.keys.lock();
        let key = keys
            .get(who)
            .with_context(|| format!("no role has `{who}` as a member"))?;
        Ok(Some(key.text.expose().to_owned()))
    }

    /// Takes note of what was said on a pipe, without line ends.
    ///
    /// # Errors
    /// If the gate said something that is no JSON.
    pub fn overheard(&self, sent: &[Vec<u8>], came: &[Vec<u8>]) -> Result<()> {
        let conversation = Conversation::on_pipe(sent, came)?;
        self.pipes.lock().push(conversation);
        Ok(())
    }

    /// Says that so many records more must be there at the end: for calls whose answer was not read by
    /// [`World::whole`], or never came.
    pub fn owe(&self, records: usize) {
        self.owed.fetch_add(records, Ordering::Relaxed);
    }

    /// All records so far, oldest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn records(&self) -> Result<Vec<Recorded>> {
        let store = self.serving.store();
        store.flush().await?;
        Ok(asked(store.audit_tail(
            RECORDS_MAX,
            Some(0),
            &AuditFilter::default(),
        )?))
    }

    /// All that was recorded so far of what happened to the gate itself, oldest first.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn happened(&self) -> Result<Vec<Recorded>> {
        let store = self.serving.store();
        store.flush().await?;
        let mut all = store.audit_tail(RECORDS_MAX, Some(0), &AuditFilter::default())?;
        all.retain(is_happening);
        Ok(all)
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.gate().metrics().encode(observe::Format::OpenMetrics);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .with_context(|| format!("no metric `{name}`"))?;
        Ok(line.trim().parse()?)
    }

    /// Waits until so many calls are with their upstreams.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn in_flight(&self, calls: u32) -> Result<()> {
        until(&format!("{calls} calls in flight"), async || {
            let text = self.gate().metrics().encode(observe::Format::OpenMetrics);
            let mut asked = 0.0;
            // Of the gate's own, some wait for the disk still: they have not got anywhere.
            for line in text.lines() {
                if let Some(of_one) = line.strip_prefix("portcullis_upstream_calls_in_flight{") {
                    let (_labels, value) = of_one.rsplit_once(' ').context("no value")?;
                    asked += value.parse::<f64>()?;
                }
            }
            Ok(asked >= f64::from(calls))
        })
        .await
    }

    /// What `/health` says of an upstream.
    ///
    /// # Errors
    /// If there is none of that alias.
    pub fn upstream(&self, alias: &str) -> Result<Value> {
        let status = self.gate().status();
        let upstreams = status["upstreams"].as_array().into_iter().flatten();
        upstreams
            .into_iter()
            .find(|one| one["name"] == alias)
            .cloned()
            .with_context(|| format!("no upstream `{alias}`"))
    }

    /// Waits until an upstream is ready after so many restarts.
    ///
    /// # Errors
    /// If that does not come about.
    pub async fn ready(&self, alias: &str, restarts: u32) -> Result<()> {
        until(&format!("{alias} is ready"), async || {
            let upstream = self.upstream(alias)?;
            Ok(upstream["state"] == "ready" && upstream["restarts"] == restarts)
        })
        .await?;
        // That its entries are in the catalog follows, and is no news to those who come after this.
        self.gate().settle().await;
        Ok(())
    }

    /// The processes that this gate has started, and theirs.
    ///
    /// # Errors
    /// If the process table cannot be read.
    pub fn processes(&self) -> Result<BTreeSet<i32>> {
        processes_of(&mark(self.folder.path()))
    }

    /// Ends the gate and starts another with the same folder, keys and time.
    ///
    /// # Errors
    /// If it does not stop, said what the protocol does not allow, or does not start again.
    pub async fn restart(self, config: &str) -> Result<Self> {
        timeout(PATIENCE, self.serving.stop())
            .await
            .context("the gate does not stop")?;
        judge(self.tap, self.pipes.into_inner()).await?;
        let loaded = load(self.folder.path(), config, &self.keys)?;
        let clock = Arc::clone(&self.clock) as Arc<dyn policy::Clock>;
        let serving = server::serve::start(loaded, clock).await?;
        let tap = Tap::open(serving.addresses()[0]).await?;
        Ok(Self {
            folder: self.folder,
            clock: self.clock,
            serving,
            tap,
            pipes: Mutex::default(),
            keys: self.keys,
            sessions: Mutex::default(),
            owed: self.owed,
        })
    }

    /// Ends the gate at once, whatever is under way, and gives all that was recorded.
    ///
    /// # Errors
    /// If it does not stop, or a process is left.
    pub async fn stop(self) -> Result<Vec<Recorded>> {
        let mark = mark(self.folder.path());
        timeout(PATIENCE, self.serving.stop())
            .await
            .context("the gate does not stop")?;
        judge(self.tap, self.pipes.into_inner()).await?;
        let left = processes_of(&mark)?;
        ensure!(left.is_empty(), "processes are left: {left:?}");
        let store = Store::open(&self.folder.path().join("data/portcullis.db"))?;
        let all = store.audit_tail(RECORDS_MAX, Some(0), &AuditFilter::default())?;
        Ok(asked(all))
    }

    /// Ends the gate, and checks what every test shares: one record per answer, no session, no call in flight and
    /// no process left.
    ///
    /// # Errors
    /// What is left.
    pub async fn end(self) -> Result<()> {
        let open = self.sessions.lock().clone();
        for session in open {
            self.close(&session).await?;
        }
        until("no session and no call in flight", async || {
            Ok(self.metric("portcullis_sessions")? == 0.0
                && self.metric("portcullis_calls_in_flight")? == 0.0)
        })
        .await?;
        let owed = self.owed.load(Ordering::Relaxed);
        let mut records = self.records().await?;
        // What the gate finds out by itself is nobody's request.
        records.retain(|one| one.row.principal != SYSTEM);
        if records.len() != owed {
            let told: Vec<String> = records
                .iter()
                .map(|one| {
                    format!(
                        "{} {} {}",
                        one.row.method,
                        one.row.outcome.as_str(),
                        one.row.reason.as_deref().unwrap_or_default()
                    )
                })
                .collect();
            bail!(
                "{owed} answers, but {} records:\n  {}",
                records.len(),
                told.join("\n  ")
            );
        }
        let ids: BTreeSet<&str> = records.iter().map(|one| one.row.call_id.as_str()).collect();
        ensure!(ids.len() == records.len(), "a call id was given twice");
        self.stop().await?;
        Ok(())
    }
}

/// What somebody asked for, and what became of definitions: tests of pins look for that among the calls.
fn asked(mut records: Vec<Recorded>) -> Vec<Recorded> {
    records.retain(|one| !is_happening(one));
    records
}

/// What happens to the gate itself, whenever it likes: ups and downs of upstreams, its own beginning and end.
fn is_happening(one: &Recorded) -> bool {
    one.row.principal == SYSTEM && !one.row.method.starts_with("pins/")
}

/// Looks until it is so.
///
/// # Errors
/// If it does not come about, or looking fails.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let look = async {
        let mut pause = LOOK;
        while !is_so().await? {
            sleep(pause).await;
            pause = (pause * 5 / 4).min(LOOK_MAX);
        }
        Ok(())
    };
    timeout(PATIENCE, look)
        .await
        .unwrap_or_else(|_elapsed| bail!("waited in vain: {what}"))
}

/// A program that was built together with the running test.
///
/// # Errors
/// If it is not there.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    test.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .with_context(|| format!("`{name}` is not built; run the tests of the package testkit"))
}

/// The processes whose environment holds this text.
///
/// # Errors
/// If the process table cannot be read.
pub fn processes_of(mark: &str) -> Result<BTreeSet<i32>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // Gone meanwhile, or somebody else's: not ours.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
        {
            found.insert(pid);
        }
    }
    Ok(found)
}

/// Holds all that the gate said against the protocol's schemas.
async fn judge(tap: Tap, mut said: Vec<Conversation>) -> Result<()> {
    let heard = tap.close().await;
    let heard: Vec<_> = heard
        .iter()
        .map(|one| (one.sent.lock().clone(), one.came.lock().clone()))
        .collect();
    said.extend(conversations(
        heard
            .iter()
            .map(|(sent, came)| (sent.as_slice(), came.as_slice())),
    )?);
    let mut schemas = Schemas::locate()?;
    for conversation in said {
        conversation.judge(&mut schemas)?;
    }
    Ok(())
}

fn mark(folder: &Path) -> String {
    format!("{MARK}={}", folder.display())
}

/// Writes the config with a key for every member, and reads it the way `portcullis serve` does.
fn load(
    folder: &Path,
    config: &str,
    keys: &Mutex<BTreeMap<String, auth::key::Minted>>,
) -> Result<Loaded> {
    let mut text = config.to_owned();
    for name in [
        "scripted",
        "echo",
        "ledger",
        "promising",
        "shifting",
        "shuffled",
        "watched",
    ] {
        text = text.replace(
            &["{", name, "}"].concat(),
            &program(name)?.to_string_lossy(),
        );
    }
    let table: toml::Table = toml::from_str(&text).context("the config")?;
    let roles = table.get("roles").and_then(toml::Value::as_table);
    let members: BTreeSet<&str> = roles
        .into_iter()
        .flat_map(|roles| roles.values())
        .filter_map(|role| role.get("members")?.as_array())
        .flatten()
        .filter_map(toml::Value::as_str)
        .filter(|member| *member != "local")
        .collect();
    let mut keys = keys.lock();
    for member in members {
        if !keys.contains_key(member) {
            keys.insert(member.to_owned(), auth::key::mint()?);
        }
        let hash = keys[member].hash.to_string();
        text.push_str(&["\n[keys.\"", member, "\"]\nhash = \"", &hash, "\"\n"].concat());
    }
    drop(keys);
    let file = folder.join("portcullis.toml");
    fs::write(&file, text)?;
    let sources = Sources {
        config: Some(file),
        env: None,
        listen: vec!["127.0.0.1:0".to_owned()],
    };
    let environment = Environment {
        variables: BTreeMap::from([(
            "PORTCULLIS__DATA_DIR".to_owned(),
            folder.join("data").to_string_lossy().into_owned(),
        )]),
        folder: folder.to_owned(),
    };
    let mut loaded = server::config::load(&sources, &environment)?;
    for spec in &mut loaded.upstreams {
        if let Kind::Stdio(stdio) = &mut spec.kind {
            stdio
                .env
                .insert(MARK.to_owned(), folder.display().to_string());
        }
    }
    Ok(loaded)
}
