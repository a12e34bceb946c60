//! A gate with one upstream, in one process: our own fixture of the conformance suite, its names as they are.
//!
//! `fixture --listen 127.0.0.1:8000` prints where it serves; SIGTERM ends it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use policy::{Clock, UpstreamId};
use server::SystemClock;
use server::config::{Environment, Sources};
use tempfile::TempDir;
use testkit::fixture::Fixture;
use tokio::signal::unix::{SignalKind, signal};
use upstream::{Kind, Sharing, Spec};

const CONFIG: &str = r#"
data_dir = "data"
builtins = []
catalog.prefix = "never"
limits.tool_call = { max = 100000, per = "1s" }
limits.resource_access = { max = 100000, per = "1s" }
"#;

/// The conformance suite's fixture, behind a gate.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to serve.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "whoever started it wants to know")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let folder = TempDir::with_prefix("portcullis-fixture-")?;
    let file = folder.path().join("portcullis.toml");
    fs::write(&file, CONFIG)?;
    let sources = Sources {
        config: Some(file),
        env: None,
        listen: vec![arguments.listen],
    };
    let environment = Environment {
        variables: BTreeMap::new(),
        folder: folder.path().to_owned(),
    };
    let mut loaded = server::config::load(&sources, &environment)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    loaded.upstreams.push(Spec {
        id: UpstreamId::new("fixture")?,
        kind: Kind::Provider(Arc::new(Fixture::new(Arc::clone(&clock))?)),
        timeout: Duration::from_secs(60),
        timeout_connect: Duration::from_secs(10),
        sharing: Sharing::Shared,
        methods: Vec::new(),
    });
    let serving = server::serve::start(loaded, clock).await?;
    for address in serving.addresses() {
        println!("http://{address}/mcp");
    }
    terminate.recv().await;
    serving.stop().await;
    Ok(())
}
