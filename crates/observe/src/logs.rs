//! Log lines: one for each event, of one form, kept for a while, and filtered by what can be changed while the gate runs.
//!
//! The form of a line is [`line`], what is kept of them [`recent`]. Where lines are written to, and as text or JSON, is
//! `server`'s; what is logged, everybody's own. What is secret has a type that cannot be printed. Start at [`Logs`].

mod line;
mod recent;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Clock, Instant};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use line::{FIELD_BYTES_MAX, LINE_BYTES_MAX, text_field};
pub use recent::{BYTES_MAX, Found, LINES_MAX, Line, Query};

use recent::Recent;

/// The longest filter, in bytes.
pub const FILTER_BYTES_MAX: usize = 1024;
/// The longest time for which a filter can be set; without a time, it holds until the gate ends.
pub const FILTER_TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often it is looked whether a filter's time is over: the gate's clock may not be the runtime's.
const LOOK: Duration = Duration::from_secs(1);

/// The words for levels, the loudest last.
pub const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Why a filter is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// A lone word that is no level would be taken as the name of a part, and silence the rest.
    #[error("`{0}` is not a level")]
    Level(String),
    /// It cannot be read.
    #[error("{0}")]
    Form(String),
    /// It is too long.
    #[error("it is longer than {FILTER_BYTES_MAX} bytes")]
    Long,
}

/// What is logged: a filter that was read, such as `info,upstream=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Reads one.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Self, BadFilter> {
        if text.len() > FILTER_BYTES_MAX {
            return Err(BadFilter::Long);
        }
        for word in text.split(',').map(str::trim) {
            let level = match word.rsplit_once('=') {
                Some((_, level)) => level,
                None if word.contains('[') => continue,
                None => word,
            };
            if !LEVELS.contains(&level.to_lowercase().as_str()) {
                return Err(BadFilter::Level(level.to_owned()));
            }
        }
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        let text = words.join(",");
        read(&text).map_err(BadFilter::Form)?;
        Ok(Self(text))
    }

    /// As it was written, without spaces.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Without regular expressions: a filter may come over the network.
fn read(text: &str) -> Result<EnvFilter, String> {
    let read = EnvFilter::builder().with_regex(false).parse(text);
    read.map_err(|error| error.to_string())
}

/// Which filter holds, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filters {
    /// What the config says.
    pub configured: Filter,
    /// What was said since then, which holds instead.
    pub set: Option<Filter>,
    /// How long that still holds; `None` as long as the gate runs.
    pub left: Option<Duration>,
}

/// The log of this process. Cloning is cheap.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    recent: Mutex<Recent>,
    now: Mutex<Now>,
    changed: Notify,
    handle: reload::Handle<EnvFilter, Registry>,
}

struct Now {
    configured: Filter,
    set: Option<(Filter, Option<Instant>)>,
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

impl Logs {
    /// A log with nothing in it, and the layer that filters: it goes below all others.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        configured: Filter,
    ) -> (Self, reload::Layer<EnvFilter, Registry>) {
        let (layer, handle) = reload::Layer::new(filter_of(&configured));
        let now = Now {
            configured,
            set: None,
        };
        let inner = Inner {
            clock,
            recent: Mutex::default(),
            now: Mutex::new(now),
            changed: Notify::new(),
            handle,
        };
        let inner = Arc::new(inner);
        (Self { inner }, layer)
    }

    /// The layer that makes each event a line: kept here, and handed to `write` as JSON without a line end, if anybody
    /// wants it.
    #[must_use]
    pub fn lines(&self, write: Option<fn(&str)>) -> Lines {
        Lines {
            logs: self.clone(),
            write,
        }
    }

    /// Lines that were logged a short while ago.
    #[must_use]
    pub fn search(&self, query: &Query) -> Found {
        self.inner.recent.lock().search(query)
    }

    /// Which filter holds.
    #[must_use]
    pub fn filters(&self) -> Filters {
        let clock_now = self.inner.clock.now();
        let now = self.inner.now.lock();
        let (set, until) = now.set.clone().unzip();
        Filters {
            configured: now.configured.clone(),
            set,
            left: until.flatten().map(|until| until.since(clock_now)),
        }
    }

    /// The config says another filter. One that was set goes on.
    pub fn configure(&self, filter: &Filter) {
        let mut now = self.inner.now.lock();
        if now.configured != *filter {
            now.configured = filter.clone();
            self.apply(&now);
        }
    }

    /// Has a filter hold in place of what the config says, for so long; without a time as long as the gate runs.
    pub fn set(&self, filter: Filter, time: Option<Duration>) {
        let until = time.map(|time| self.inner.clock.now() + time.min(FILTER_TIME_MAX));
        let mut now = self.inner.now.lock();
        now.set = Some((filter, until));
        self.apply(&now);
        drop(now);
        self.inner.changed.notify_one();
    }

    /// Goes back to what the config says.
    pub fn reset(&self) {
        let mut now = self.inner.now.lock();
        if now.set.take().is_some() {
            self.apply(&now);
        }
    }

    /// Ends filters whose time is over, until `stop`.
    pub async fn keep(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let until = self.inner.now.lock().set.as_ref().map(|(_, until)| *until);
            let Some(Some(until)) = until else {
                tokio::select! {
                    () = self.inner.changed.notified() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            };
            if self.inner.clock.now() >= until {
                self.reset();
                let filter = self.filters().configured;
                tracing::info!(filter = filter.as_str(), "the time of a log filter is over");
                continue;
            }
            drop(timeout(LOOK, stop.cancelled()).await);
        }
    }

    fn apply(&self, now: &Now) {
        let filter = now.set.as_ref().map_or(&now.configured, |(set, _)| set);
        // Fails only if nothing is logged at all, because the subscriber is gone.
        drop(self.inner.handle.reload(filter_of(filter)));
    }
}

fn filter_of(filter: &Filter) -> EnvFilter {
    // It was read before.
    read(filter.as_str()).unwrap_or_default()
}

/// Makes each event a line.
#[derive(Debug)]
pub struct Lines {
    logs: Logs,
    write: Option<fn(&str)>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let at = self.logs.inner.clock.wall();
        let json = line::json(event, at);
        if let Some(write) = self.write {
            write(&json);
        }
        let metadata = event.metadata();
        let mut recent = self.logs.inner.recent.lock();
        recent.push(at, *metadata.level(), metadata.target(), json);
    }
}

#[cfg(test)]
mod tests;
