//! How everything is doing: what the gate depends on, and the tasks that run beside its calls.
//!
//! A component says itself how it is, whenever it finds out; here it is kept, with the time since when. A change is
//! logged once. Running tasks again that ended is [`tasks`]; serving `/health` is `gateway`'s and `server`'s.
//! Start at [`Health`].

mod tasks;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use parking_lot::Mutex;
use policy::Clock;
use serde_json::{Value, json};

pub use tasks::{Order, Task, Tasks};

/// The longest text of an error that is kept, in bytes.
pub const ERROR_MAX: usize = 512;

/// Something outside of the gate's own code that it needs or uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// Where everything durable lies.
    Database,
    /// The audit log, in that database.
    Audit,
    /// The folder that checkpoints of it are written to.
    Checkpoints,
    /// Counters that gates share.
    Shared,
    /// An upstream, by its alias.
    Upstream,
    /// The keys of an issuer of tokens, by its name.
    Issuer,
    /// A certificate that is presented to clients, by its name.
    Certificate,
    /// Where spans go.
    Traces,
    /// Where metrics are pushed.
    Metrics,
    /// Where the audit log is sent on to, by the sink's name.
    Sink,
    /// Somebody who is told of alerts, by the name in the config.
    AlertReceiver,
}

/// How a component is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is known yet.
    Starting,
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Degraded,
    /// It does not work.
    Down,
    /// It was told to end, and did.
    Stopped,
}

/// A component as it is seen at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// What it is, from a closed set.
    pub name: &'static str,
    /// Which one of several; of a task or dependency that there is once, `None`.
    pub of: Option<String>,
    /// How it is doing.
    pub state: State,
    /// Since when it is so.
    pub since: SystemTime,
    /// How long it took to answer the last time that it was tried, if it is something that answers.
    pub latency: Option<Duration>,
    /// Why it was not well, the last time that it was not, and when that was. Names hosts and paths: for owners.
    pub last_error: Option<(String, SystemTime)>,
    /// More about it, for owners.
    pub detail: Option<String>,
    /// How often it was started again; only of tasks.
    pub restarts: Option<u64>,
    /// Without it the gate takes no calls.
    pub is_required: bool,
}

/// Which component. Dependencies come before tasks, and in the order in which they are declared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Dependency(Dependency, Option<String>),
    Task(Task, Option<String>),
}

/// All components of one gate. Cloning is cheap, and clones see the same.
#[derive(Debug, Clone)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Arc<dyn Clock>,
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    /// With the number of the handle that may change it.
    of: BTreeMap<Key, (u64, Status)>,
    last: u64,
}

/// The handle with which a component says how it is. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Component {
    health: Health,
    key: Key,
    number: u64,
}

impl Dependency {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Database,
        Self::Audit,
        Self::Checkpoints,
        Self::Shared,
        Self::Upstream,
        Self::Issuer,
        Self::Certificate,
        Self::Traces,
        Self::Metrics,
        Self::Sink,
        Self::AlertReceiver,
    ];

    /// Its name in health and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Audit => "audit",
            Self::Checkpoints => "checkpoints_to",
            Self::Shared => "shared",
            Self::Upstream => "upstream",
            Self::Issuer => "issuer",
            Self::Certificate => "certificate",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Sink => "sink",
            Self::AlertReceiver => "alert_receiver",
        }
    }

    /// What it is, for the reference page.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Database => "where everything durable lies; tried with a transaction",
            Self::Audit => {
                "whether a record written now would be kept, and in which mode; `degraded` in mode `relaxed`"
            }
            Self::Checkpoints => {
                "the folder that the audit log's checkpoints are written to, if the config names one"
            }
            Self::Shared => "the counters that gates share; memory, if the config names no store",
            Self::Upstream => "each upstream, by its alias",
            Self::Issuer => {
                "the keys of each issuer of tokens, as of the last time they were fetched"
            }
            Self::Certificate => {
                "the certificate that clients are shown; `degraded` when it soon ends, `down` when it has"
            }
            Self::Traces => "where spans go, as of the last batch of them",
            Self::Metrics => "where metrics are pushed, as of the last push",
            Self::Sink => {
                "where the audit log is sent on to, by the sink's name, as of the last batch of records"
            }
            Self::AlertReceiver => {
                "who is told of alerts, by the receiver's name, as of the last message"
            }
        }
    }

    /// Whether the gate takes no calls without it.
    #[must_use]
    pub fn is_required(self) -> bool {
        match self {
            Self::Database | Self::Audit => true,
            Self::Checkpoints
            | Self::Shared
            | Self::Upstream
            | Self::Issuer
            | Self::Certificate
            | Self::Traces
            | Self::Metrics
            | Self::Sink
            | Self::AlertReceiver => false,
        }
    }
}

impl State {
    /// The word in health and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

impl Key {
    fn name(&self) -> &'static str {
        match self {
            Self::Dependency(dependency, _) => dependency.word(),
            Self::Task(task, _) => task.word(),
        }
    }

    fn of(&self) -> Option<&String> {
        match self {
            Self::Dependency(_, of) | Self::Task(_, of) => of.as_ref(),
        }
    }
}

impl Health {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                all: Mutex::default(),
            }),
        }
    }

    /// A dependency that there is once. The same one if it was asked for before.
    #[must_use]
    pub fn dependency(&self, what: Dependency) -> Component {
        self.component(Key::Dependency(what, None))
    }

    /// One of several dependencies of this kind, by name.
    #[must_use]
    pub fn dependency_of(&self, what: Dependency, of: &str) -> Component {
        self.component(Key::Dependency(what, Some(of.to_owned())))
    }

    /// One of several that begins. One of the same name that is still ending has no say any more.
    #[must_use]
    pub fn new_dependency_of(&self, what: Dependency, of: &str) -> Component {
        self.begun(Key::Dependency(what, Some(of.to_owned())))
    }

    /// Drops those dependencies of this kind whose names are not among `names`: for when a reload took some away.
    pub fn keep_only(&self, what: Dependency, names: &[&str]) {
        self.inner.all.lock().of.retain(|key, _| match key {
            Key::Dependency(kind, Some(of)) if *kind == what => names.contains(&of.as_str()),
            Key::Dependency(..) | Key::Task(..) => true,
        });
    }

    /// A task that begins. One of the same name that is still ending has no say any more.
    fn task(&self, task: Task, of: Option<&str>) -> Component {
        self.begun(Key::Task(task, of.map(str::to_owned)))
    }

    fn begun(&self, key: Key) -> Component {
        self.inner.all.lock().of.remove(&key);
        self.component(key)
    }

    fn component(&self, key: Key) -> Component {
        let now = self.inner.clock.wall();
        let mut all = self.inner.all.lock();
        let next = all.last + 1;
        let fresh = |key: &Key| Status {
            name: key.name(),
            of: key.of().cloned(),
            state: State::Starting,
            since: now,
            latency: None,
            last_error: None,
            detail: None,
            restarts: matches!(key, Key::Task(..)).then_some(0),
            is_required: matches!(key, Key::Dependency(what, _) if what.is_required()),
        };
        let entry = all.of.entry(key.clone());
        let number = entry.or_insert_with_key(|key| (next, fresh(key))).0;
        all.last = next;
        Component {
            health: self.clone(),
            key,
            number,
        }
    }

    /// Everything that the gate depends on.
    #[must_use]
    pub fn dependencies(&self) -> Vec<Status> {
        self.list(|key| matches!(key, Key::Dependency(..)))
    }

    /// Every task that runs beside the calls.
    #[must_use]
    pub fn tasks(&self) -> Vec<Status> {
        self.list(|key| matches!(key, Key::Task(..)))
    }

    fn list(&self, wanted: impl Fn(&Key) -> bool) -> Vec<Status> {
        let all = self.inner.all.lock();
        let wanted = all.of.iter().filter(|(key, _)| wanted(key));
        wanted.map(|(_, (_, status))| status.clone()).collect()
    }

    /// Whether nothing is down that the gate cannot do without.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let all = self.inner.all.lock();
        !all.of
            .values()
            .any(|(_, status)| status.is_required && status.state == State::Down)
    }
}

impl Component {
    /// It is as it should be. `latency`: how long it took to answer, if it was asked something.
    pub fn ok(&self, latency: Option<Duration>) {
        self.set(State::Ok, latency, None);
    }

    /// It works, but somebody should look: `why` is a sentence fragment without secrets.
    pub fn degraded(&self, why: &dyn Display) {
        self.set(State::Degraded, None, Some(why));
    }

    /// It does not work: `why` is a sentence fragment without secrets.
    pub fn down(&self, why: &dyn Display) {
        self.set(State::Down, None, Some(why));
    }

    /// It is about to work, or not, and does not know yet.
    pub fn starting(&self) {
        self.set(State::Starting, None, None);
    }

    /// It ended, as it was told.
    pub fn stopped(&self) {
        self.set(State::Stopped, None, None);
    }

    /// Says more about it, without secrets.
    pub fn detail(&self, text: impl Into<String>) {
        let text = text.into();
        self.change(|status| status.detail = Some(text));
    }

    /// It is no more.
    pub fn forget(self) {
        let mut all = self.health.inner.all.lock();
        if all
            .of
            .get(&self.key)
            .is_some_and(|(number, _)| *number == self.number)
        {
            all.of.remove(&self.key);
        }
    }

    fn restarted(&self) {
        self.change(|status| *status.restarts.get_or_insert(0) += 1);
    }

    /// What was forgotten stays so.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        if let Some((number, status)) = self.health.inner.all.lock().of.get_mut(&self.key)
            && *number == self.number
        {
            change(status);
        }
    }

    fn set(&self, state: State, latency: Option<Duration>, why: Option<&dyn Display>) {
        let now = self.health.inner.clock.wall();
        let why = why.map(|why| shortened(why.to_string()));
        let mut before = None;
        self.change(|status| {
            before = Some(status.state);
            if status.state != state {
                status.state = state;
                status.since = now;
            }
            status.latency = latency.or(status.latency);
            if let Some(why) = &why {
                status.last_error = Some((why.clone(), now));
            }
        });
        if before.is_some_and(|before| before != state) {
            self.log(before.unwrap_or(state), state, why.as_deref());
        }
    }

    /// A change of state, once. What upstreams, issuers and the shared store go through is told where they are used, with
    /// more to it; and that tasks end, by [`tasks`].
    fn log(&self, before: State, state: State, why: Option<&str>) {
        let (component, of) = (self.key.name(), self.key.of());
        let (is_required, is_told_elsewhere) = match self.key {
            Key::Dependency(what, _) => (
                what.is_required(),
                matches!(
                    what,
                    Dependency::Upstream | Dependency::Shared | Dependency::Issuer
                ),
            ),
            Key::Task(..) => (false, state != State::Ok),
        };
        if is_told_elsewhere {
            return;
        }
        match state {
            State::Down if is_required => {
                tracing::error!(
                    component,
                    of,
                    error = why,
                    "not ready: something needed is down"
                );
            }
            State::Down => tracing::warn!(component, of, error = why, "something is down"),
            State::Degraded => tracing::warn!(component, of, error = why, "something is degraded"),
            State::Ok if matches!(before, State::Down | State::Degraded) => {
                tracing::info!(component, of, "well again");
            }
            State::Ok | State::Starting | State::Stopped => {
                tracing::debug!(
                    component,
                    of,
                    state = state.word(),
                    "a component has another state"
                );
            }
        }
    }
}

impl Status {
    /// The entry in `/health`. What names hosts, paths and causes is for owners: `is_whole`.
    #[must_use]
    pub fn to_json(&self, is_whole: bool) -> Value {
        let mut entry = json!({
            "name": self.name,
            "state": self.state.word(),
            "since": time(self.since),
        });
        if let Some(of) = &self.of {
            entry["of"] = of.as_str().into();
        }
        if self.is_required {
            entry["required"] = true.into();
        }
        if let Some(latency) = self.latency {
            let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            entry["latency_ms"] = (f64::from(micros) / 1000.0).into();
        }
        if let Some(restarts) = self.restarts {
            entry["restarts"] = restarts.into();
        }
        if !is_whole {
            return entry;
        }
        if let Some(detail) = &self.detail {
            entry["detail"] = detail.as_str().into();
        }
        if let Some((error, at)) = &self.last_error {
            entry["last_error"] = error.as_str().into();
            entry["last_error_at"] = time(*at).into();
        }
        entry
    }
}

/// The reference page: every component that `/health` may name.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Health\n\n\
         Made from `crates/observe/src/health.rs` by `cargo xtask bless`; do not edit.\n\n\
         `/health` lists what the gate depends on (`dependencies`) and what runs beside its calls (`tasks`). Each has `name`, \
         `state` (`starting`, `ok`, `degraded`, `down` or `stopped`) and `since`; of several of one name each has `of`, and \
         what is asked something has `latency_ms`, the time that the last answer took (of an upstream, when it was greeted). Tasks have `restarts`: one that ends \
         without having been told to is begun anew, and is `degraded` until it has gone well for a minute. Owners also see \
         `last_error`, `last_error_at` and `detail`.\n\n\
         While something `required` is down, `/readyz` says 503.\n\n\
         ## Dependencies\n\n| name | required | what |\n|---|---|---|\n",
    );
    for what in Dependency::ALL {
        let required = if what.is_required() { "yes" } else { "" };
        let (word, about) = (what.word(), what.about());
        page.extend(["| `", word, "` | ", required, " | ", about, " |\n"]);
    }
    page += "\n## Tasks\n\nAt the end they are stopped in this order: `calls`, `upkeep`, `records`, `metrics`.\n\n\
             | name | stopped with | what |\n|---|---|---|\n";
    for task in Task::ALL {
        let (word, order, about) = (task.word(), task.order().word(), task.about());
        page.extend(["| `", word, "` | `", order, "` | ", about, " |\n"]);
    }
    page
}

/// RFC 3339, in UTC.
fn time(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}

fn shortened(mut text: String) -> String {
    if text.len() > ERROR_MAX {
        let mut end = ERROR_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
