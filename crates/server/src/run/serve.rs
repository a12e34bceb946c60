//! `portcullis serve`: the gate in service until it is told to stop.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use observe::logs::Logs;
use policy::Clock;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::{logging, runtime};
use crate::SystemClock;
use crate::cli::output::{self, say};
use crate::cli::{Common, Exit, Serve};
use crate::config::{self, Environment, Fetch, Invalid, Loaded, Sources, load, load_with};
use crate::serve::{Cause, Serving, origin, start_logged};

/// How often config files and secrets are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long threads may still be at something when all else has ended.
const THREADS_TIMEOUT: Duration = Duration::from_secs(1);
/// Most keys of a bad config that a record names.
const WRONG_MAX: usize = 10;

/// `portcullis serve`.
///
/// # Errors
/// Why it could not serve.
pub fn serve(common: &Common, serve: &Serve) -> anyhow::Result<Exit> {
    let sources = Sources {
        listen: serve.listen.clone(),
        ..common.sources()
    };
    let environment = Environment::of_process();
    let loaded = load(&sources, &environment)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let logs = logging::start(&loaded.log, &clock);
    let runtime = runtime()?;
    let ended = runtime.block_on(run(common, loaded, (&sources, &environment), (clock, logs)));
    // A thread that waits for a disk or a network that does not answer cannot be interrupted.
    runtime.shutdown_timeout(THREADS_TIMEOUT);
    ended
}

async fn run(
    common: &Common,
    loaded: Loaded,
    (sources, environment): (&Sources, &Environment),
    (clock, logs): (Arc<dyn Clock>, Logs),
) -> anyhow::Result<Exit> {
    // Signals before anything else: a stop that comes early must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut current = loaded.clone();
    // Before anything takes time: what changes while the gate starts is taken over when it has.
    let files = fingerprint(sources, environment, &current);
    let serving = start_logged(loaded, clock, logs).await?;
    let console = console(&serving).await;
    announce(common, &serving, &current, &console)?;
    tell_doubts(&current);
    let mut seen = Seen {
        files,
        secrets: serving.secrets_seen(),
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(&serving, &mut current, sources, environment, Cause::Signal),
            _ = look.tick() => {
                let now = Seen::now(&serving, &current, sources, environment);
                if now.secrets != seen.secrets {
                    refresh(&serving);
                }
                if now != seen {
                    seen = now;
                    reload(&serving, &mut current, sources, environment, Cause::Change);
                }
            }
        }
    }
    say("stopping; calls in flight may finish (once more to stop at once)");
    tokio::select! {
        () = serving.stop() => Ok(Exit::Done),
        _ = terminate.recv() => Ok(Exit::Failed),
        _ = interrupt.recv() => Ok(Exit::Failed),
    }
}

/// Says what the config has that does nothing.
fn tell_doubts(loaded: &Loaded) {
    for doubt in &loaded.doubts {
        tracing::warn!("config: {doubt}");
    }
}

/// Takes over the config as it is now; a bad one changes nothing and says why.
fn reload(
    serving: &Serving,
    current: &mut Loaded,
    sources: &Sources,
    environment: &Environment,
    cause: Cause,
) {
    let auth = serving.gate().auth();
    let fetch = Fetch::From(serving.store(), &auth.parts().vault);
    let loaded = match load_with(sources, environment, fetch) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            for trouble in &invalid.0 {
                tracing::error!("config not taken over: {trouble}");
            }
            serving.refused(cause, wrong(&invalid));
            return;
        }
    };
    if loaded.listen != current.listen
        || loaded.data_dir != current.data_dir
        || loaded.master_key != current.master_key
    {
        tracing::warn!(
            "`listen`, `data_dir` and `secrets.master_key` are taken over at the next start"
        );
    }
    if loaded.tls.is_some() != current.tls.is_some() {
        tracing::warn!("`tls` is switched on and off at the next start");
    }
    match serving.reload(&loaded, cause) {
        Ok(()) => {
            tracing::info!(upstreams = loaded.upstreams.len(), "config taken over");
            tell_doubts(&loaded);
            *current = loaded;
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(cause, "config not taken over: {error}");
        }
    }
}

/// Which keys are wrong, for the audit log: values may be anybody's business.
fn wrong(invalid: &Invalid) -> String {
    let keys = invalid
        .0
        .iter()
        .map(|trouble| trouble.complaint.key.as_str());
    let named: Vec<&str> = keys.filter(|key| !key.is_empty()).take(WRONG_MAX).collect();
    format!("{} complaints: {}", invalid.0.len(), named.join(", "))
}

/// From now on the vault seals with the newest data key, whoever made it.
fn refresh(serving: &Serving) {
    if let Err(error) = serving.gate().auth().parts().vault.refresh() {
        tracing::error!("no longer the newest data key: {error}; start the gate again");
    }
}

/// What a running gate takes over when it changes.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    files: Vec<(PathBuf, u64, u64, i64, i64)>,
    /// `None` while the database cannot be read.
    secrets: Option<i64>,
}

impl Seen {
    fn now(
        serving: &Serving,
        current: &Loaded,
        sources: &Sources,
        environment: &Environment,
    ) -> Self {
        Self {
            files: fingerprint(sources, environment, current),
            secrets: serving.store().secrets_version().ok(),
        }
    }
}

/// What tells one state of the config files and certificates from another: which there are, and for each which file it
/// is (editors and Kubernetes put a new one in the place of the old), its size and its time.
///
/// Asked for once a second rather than told by the kernel: a watch on a folder wakes us for every file in it, and
/// the database may be one of them.
fn fingerprint(
    sources: &Sources,
    environment: &Environment,
    current: &Loaded,
) -> Vec<(PathBuf, u64, u64, i64, i64)> {
    let mut files = config::files(sources, environment).unwrap_or_default();
    files.extend(current.watched.iter().cloned());
    let print = |file: PathBuf| {
        let about = std::fs::metadata(&file).ok()?;
        Some((
            file,
            about.ino(),
            about.len(),
            about.mtime(),
            about.mtime_nsec(),
        ))
    };
    files.into_iter().filter_map(print).collect()
}

/// Where people go with a browser: as long as nobody has an account, a link that works once and makes the first owner.
struct Console {
    url: Zeroizing<String>,
    is_first: bool,
}

async fn console(serving: &Serving) -> Console {
    let auth = serving.gate().auth();
    let link = if auth.authority().is_enabled() {
        auth.accounts().first_link().await.unwrap_or_else(|error| {
            tracing::error!(%error, "no link for the first owner");
            None
        })
    } else {
        None
    };
    match link {
        Some(link) => Console {
            url: link.url,
            is_first: true,
        },
        None => Console {
            url: Zeroizing::new(format!("{}/console/account", auth.site().base())),
            is_first: false,
        },
    }
}

fn announce(
    common: &Common,
    serving: &Serving,
    loaded: &Loaded,
    console: &Console,
) -> anyhow::Result<()> {
    let endpoints: Vec<String> = serving
        .addresses()
        .iter()
        .map(|address| format!("{}/mcp", origin(loaded, *address)))
        .collect();
    if common.json {
        let names: Vec<&str> = loaded
            .upstreams
            .iter()
            .map(|spec| spec.id.as_str())
            .collect();
        output::json(&serde_json::json!({
            "endpoints": endpoints,
            "upstreams": names,
            "console": *console.url,
        }))?;
        return Ok(());
    }
    let names: Vec<&str> = loaded
        .upstreams
        .iter()
        .map(|spec| spec.id.as_str())
        .collect();
    let config = match loaded.files.as_slice() {
        [] => "none, embedded defaults; `portcullis import` takes over the servers of your clients"
            .to_owned(),
        files => files
            .iter()
            .map(|file| file.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    };
    let first = endpoints.first().cloned().unwrap_or_default();
    say(format!(
        "Portcullis {}\n\n  \
         endpoint   {}\n  \
         console    {}{}\n  \
         upstreams  {}\n  \
         config     {config}\n  \
         data       {}\n\n\
         Paste one of these:\n  \
         claude mcp add --transport http portcullis {first}\n  \
         portcullis install --client cursor        (claude, claude-code, vscode)\n  \
         {{\"mcpServers\": {{\"portcullis\": {{\"type\": \"http\", \"url\": \"{first}\"}}}}}}\n\n\
         Ctrl-C stops.\n",
        env!("CARGO_PKG_VERSION"),
        endpoints.join("\n             "),
        *console.url,
        if console.is_first {
            "\n             (works once, for a day: makes the first owner)"
        } else {
            ""
        },
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
        loaded.data_dir.display(),
    ));
    Ok(())
}
