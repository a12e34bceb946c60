//! `portcullis check`: config, addresses, database, and everything that the gate connects to, tried for real.
//!
//! What is tried, and how, is [`attempts`]: a function for each kind of thing. Here they are run, some at a time and
//! each for so long, and told: one line each, what, why, and what to do.

mod attempts;

use std::io::{IsTerminal as _, stderr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};
use policy::Clock;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{logging, runtime_of_one};
use crate::SystemClock;
use crate::cli::output::{self, say};
use crate::cli::{Common, Exit};
use crate::config::Loaded;
use crate::serve::Core;

/// Most attempts at once.
const AT_ONCE: usize = 8;
/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// What came of an attempt: a sentence fragment each.
enum Said {
    Good(String),
    Bad(String),
    /// It cannot be known without people, or without doing something.
    Untried(String),
}

/// Something to try.
struct Attempt<'a> {
    what: String,
    /// What to do if it fails.
    hint: &'static str,
    /// How long it may take.
    within: Duration,
    run: Pin<Box<dyn Future<Output = Said> + 'a>>,
}

/// What was tried.
struct Finding {
    what: String,
    hint: &'static str,
    said: Said,
    took: Duration,
}

impl Finding {
    fn is_bad(&self) -> bool {
        matches!(self.said, Said::Bad(_))
    }
}

/// `portcullis check`.
///
/// # Errors
/// What stood in the way of checking.
pub fn check(common: &Common) -> anyhow::Result<Exit> {
    // A bad config is told whole, one complaint a line, by the error itself.
    let loaded = common.load()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    logging::quiet(&loaded.log, &clock);
    let mut findings = vec![Finding {
        what: "config".to_owned(),
        hint: "",
        said: Said::Good(match loaded.files.as_slice() {
            [] => "embedded defaults".to_owned(),
            files => files
                .iter()
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
        }),
        took: Duration::ZERO,
    }];
    findings.extend(runtime_of_one()?.block_on(try_all(&loaded, &clock)));
    let is_good = !findings.iter().any(Finding::is_bad);
    print(common, &findings)?;
    for doubt in &loaded.doubts {
        say(format!("note: {doubt}"));
    }
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

async fn try_all(loaded: &Loaded, clock: &Arc<dyn Clock>) -> Vec<Finding> {
    let started = clock.now();
    let core = Core::start(loaded, &[], Arc::clone(clock));
    let took = clock.now().since(started);
    let core = match core {
        Ok(core) => core,
        // Nothing that goes through a gate can be tried; the rest can.
        Err(error) => {
            let error = anyhow::Error::new(error);
            let mut findings = run(attempts::without_gate(loaded, clock), clock).await;
            findings.insert(
                0,
                Finding {
                    what: "database and built-in tools".to_owned(),
                    hint: "see `data_dir` and the upstream's settings",
                    said: Said::Bad(format!("{error:#}")),
                    took,
                },
            );
            return findings;
        }
    };
    let mut all = attempts::without_gate(loaded, clock);
    all.extend(attempts::with_gate(loaded, &core));
    let findings = run(all, clock).await;
    core.stop().await;
    findings
}

/// Runs them, some at a time, and gives what came of them in their order.
async fn run(attempts: Vec<Attempt<'_>>, clock: &Arc<dyn Clock>) -> Vec<Finding> {
    let bar = stderr().is_terminal().then(|| {
        let bar = ProgressBar::new(attempts.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} of {len} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        bar
    });
    let one = async |(at, attempt): (usize, Attempt<'_>)| {
        let started = clock.now();
        let Attempt {
            what, hint, within, ..
        } = attempt;
        let said = match timeout(within, attempt.run).await {
            Ok(said) => said,
            Err(_late) => Said::Bad(format!("no answer within {within:?}")),
        };
        if let Some(bar) = &bar {
            bar.set_message(output::printable(&what));
            bar.inc(1);
        }
        let took = clock.now().since(started);
        let finding = Finding {
            what,
            hint,
            said,
            took,
        };
        (at, finding)
    };
    let mut findings: Vec<(usize, Finding)> = stream::iter(attempts.into_iter().enumerate())
        .map(one)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    findings.sort_by_key(|(at, _)| *at);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

fn print(common: &Common, findings: &[Finding]) -> anyhow::Result<()> {
    if common.json {
        let all: Vec<Value> = findings.iter().map(entry).collect();
        output::json(&all)?;
        return Ok(());
    }
    for finding in findings {
        let (mark, why) = match &finding.said {
            Said::Good(why) => ("ok  ", why),
            Said::Untried(why) => ("--  ", why),
            Said::Bad(why) => ("FAIL", why),
        };
        let what = &finding.what;
        output::line(output::printable(&format!("{mark} {what}: {why}")))?;
        if finding.is_bad() {
            output::line(format!("     {}", finding.hint))?;
        }
    }
    let bad = findings.iter().filter(|finding| finding.is_bad()).count();
    if bad > 0 {
        say(format!("{bad} of {} need attention", findings.len()));
    }
    Ok(())
}

/// `ok` is null for what was not tried.
fn entry(finding: &Finding) -> Value {
    let (ok, why) = match &finding.said {
        Said::Good(why) => (Some(true), why),
        Said::Untried(why) => (None, why),
        Said::Bad(why) => (Some(false), why),
    };
    let hint = finding.is_bad().then_some(finding.hint);
    let took = u64::try_from(finding.took.as_millis()).unwrap_or(u64::MAX);
    json!({ "what": finding.what, "ok": ok, "why": why, "hint": hint, "took_ms": took })
}
