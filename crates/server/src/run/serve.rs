//! `portcullis serve`: the gate in service until it is told to stop.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{logging, runtime};
use crate::SystemClock;
use crate::cli::output::{self, say};
use crate::cli::{Common, Exit, Serve};
use crate::config::{self, Environment, Loaded, Sources, load};
use crate::serve::{Serving, start};

/// How often the config files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    logging::start(&loaded.log);
    runtime()?.block_on(run(common, loaded, &sources, &environment))
}

async fn run(
    common: &Common,
    loaded: Loaded,
    sources: &Sources,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    // Signals before anything else: a stop that comes early must not be lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut current = loaded.clone();
    let serving = start(loaded, Arc::new(SystemClock::start())).await?;
    announce(common, &serving, &current)?;
    let mut seen = fingerprint(sources, environment);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload(&serving, &mut current, sources, environment),
            _ = look.tick() => {
                let now = fingerprint(sources, environment);
                if now != seen {
                    seen = now;
                    reload(&serving, &mut current, sources, environment);
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

/// Takes over the config as it is now; a bad one changes nothing and says why.
fn reload(serving: &Serving, current: &mut Loaded, sources: &Sources, environment: &Environment) {
    let loaded = match load(sources, environment) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            for trouble in &invalid.0 {
                tracing::error!("config not taken over: {trouble}");
            }
            return;
        }
    };
    if loaded.listen != current.listen || loaded.data_dir != current.data_dir {
        tracing::warn!("`listen` and `data_dir` are taken over at the next start");
    }
    match serving.reload(&loaded) {
        Ok(()) => {
            tracing::info!(upstreams = loaded.upstreams.len(), "config taken over");
            *current = loaded;
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            tracing::error!(cause, "config not taken over: {error}");
        }
    }
}

/// What tells one state of the config files from another: which there are, and for each which file it is (editors
/// and Kubernetes put a new one in the place of the old), its size and its time.
///
/// Asked for once a second rather than told by the kernel: a watch on a folder wakes us for every file in it, and
/// the database may be one of them.
fn fingerprint(sources: &Sources, environment: &Environment) -> Vec<(PathBuf, u64, u64, i64, i64)> {
    let files = config::files(sources, environment).unwrap_or_default();
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

fn announce(common: &Common, serving: &Serving, loaded: &Loaded) -> anyhow::Result<()> {
    let endpoints: Vec<String> = serving
        .addresses()
        .iter()
        .map(|address| endpoint(*address))
        .collect();
    if common.json {
        let names: Vec<&str> = loaded
            .upstreams
            .iter()
            .map(|spec| spec.id.as_str())
            .collect();
        output::json(&serde_json::json!({ "endpoints": endpoints, "upstreams": names }))?;
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
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
        loaded.data_dir.display(),
    ));
    Ok(())
}

/// The MCP endpoint at an address, as a client on this machine reaches it.
fn endpoint(address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        address.ip()
    };
    format!("http://{}/mcp", SocketAddr::new(ip, address.port()))
}
