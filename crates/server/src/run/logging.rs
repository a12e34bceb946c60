//! Log lines: to stderr, as text for people and as JSON for machines. Stdout belongs to data.
//!
//! The form of a line, its filter and what is kept of the last ones are `observe::logs`'s.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic;
use std::sync::Arc;

use observe::logs::{Filter, Logs, text_field};
use policy::Clock;
use tracing_subscriber::Layer as _;
use tracing_subscriber::fmt::format;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Starts logging for the rest of the process; a second call changes nothing of what is written.
pub(super) fn start(log: &Log, clock: &Arc<dyn Clock>) -> Logs {
    let is_terminal = io::stderr().is_terminal();
    let as_text = match log.format {
        LogFormat::Auto => is_terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let (logs, filter) = Logs::new(Arc::clone(clock), log.filter.clone());
    let text = as_text.then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(is_terminal)
            .with_target(false)
            .fmt_fields(format::debug_fn(|writer, field, value| {
                text_field(writer, field, value)
            }))
            .boxed()
    });
    let lines = logs.lines((!as_text).then_some(write));
    let registry = tracing_subscriber::registry().with(filter);
    if registry.with(text).with(lines).try_init().is_err() {
        tracing::debug!("logging was started before");
    }
    tell_panics();
    logs
}

/// Logs only what went wrong: for commands whose output is their answer.
pub(super) fn quiet(log: &Log, clock: &Arc<dyn Clock>) {
    let mut log = log.clone();
    if log.filter.as_str() == "info"
        && let Ok(errors) = Filter::parse("error")
    {
        log.filter = errors;
    }
    start(&log, clock);
}

fn write(line: &str) {
    let mut stderr = io::stderr().lock();
    // Nobody is there to be told that nobody listens.
    drop(writeln!(stderr, "{line}"));
}

/// A panic is a line like any other. Where it was, and not what it said: that may quote what a client sent.
fn tell_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, "a panic");
    }));
}
