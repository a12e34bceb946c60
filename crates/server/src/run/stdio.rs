//! `portcullis stdio`: one client on stdin and stdout, in this process or over a bridge to a running gate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use auth::{Peer, Presented};
use bytes::Bytes;
use gateway::{Pipe, Visit};
use policy::{Clock, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use wire::Lines;

use super::{bridge, logging, pipes, runtime_of_one};
use crate::SystemClock;
use crate::cli::{Common, Exit, Stdio};
use crate::config::Loaded;
use crate::serve::Core;

/// Messages that may wait to be written.
const OUT_MAX: usize = 256;

/// How long the last answers may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// `portcullis stdio`.
///
/// # Errors
/// Why it could not serve.
pub fn stdio(common: &Common, stdio: &Stdio) -> anyhow::Result<Exit> {
    // A bridge starts no upstream.
    let loaded = match &stdio.connect {
        Some(_) => common.load_settings()?,
        None => common.load()?,
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    logging::start(&loaded.log, &clock);
    let runtime = runtime_of_one()?;
    let ended = runtime.block_on(async {
        if let Some(url) = &stdio.connect {
            return bridge::run(url, &loaded).await;
        }
        let server = server(stdio.server.as_deref(), &loaded)?;
        let core = Core::start(&loaded, &[], clock)?;
        core.keep_journal(&loaded)?;
        core.send_on(&loaded);
        let served = serve(&core, server, loaded.http.body_max, loaded.drain).await;
        core.stop().await;
        served
    });
    // Tokio reads stdin on a thread that cannot be interrupted; nobody needs what it may still read.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done)
}

/// The virtual server of that name.
fn server(name: Option<&str>, loaded: &Loaded) -> anyhow::Result<Option<ServerName>> {
    let Some(name) = name else { return Ok(None) };
    let server = ServerName::new(name).context("--server")?;
    if !loaded.gateway.servers.contains_key(&server) {
        bail!("there is no virtual server `{server}`; add a [virtual_servers.{server}]");
    }
    Ok(Some(server))
}

async fn serve(
    core: &Core,
    server: Option<ServerName>,
    line_max: usize,
    drain: Duration,
) -> anyhow::Result<()> {
    let principal = core
        .gate()
        .authenticate(&Presented::nothing(Peer::Stdio))
        .await
        .context("the local user is not let in")?;
    let (out, waiting) = mpsc::channel(OUT_MAX);
    let visit = Visit {
        principal,
        server,
        address: None,
    };
    let pipe = Pipe::new(Arc::clone(core.gate()), visit, "stdio", out);
    let writer = write(waiting);
    tokio::pin!(writer);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        () = read(&pipe, line_max) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        // Stdout is closed: the client is gone.
        () = &mut writer => return Ok(()),
    }
    // The client has said all it wanted to; what it asked is still answered.
    let finished = async {
        pipe.finish(drain).await;
        drop(pipe);
    };
    // The writer ends when the last message is out; a client that does not read must not keep us.
    let written = async { tokio::join!(finished, writer) };
    if tokio::time::timeout(drain + LAST_WORDS, written)
        .await
        .is_err()
    {
        tracing::warn!("the client does not read its answers");
    }
    Ok(())
}

async fn read(pipe: &Arc<Pipe>, line_max: usize) {
    let mut stdin = pipes::stdin();
    let mut lines = Lines::new(line_max);
    loop {
        while let Some(line) = lines.next_line() {
            match line {
                Ok(line) => pipe.take(line).await,
                Err(error) => pipe.take_overlong(error).await,
            }
        }
        if !matches!(stdin.read_buf(lines.buffer()).await, Ok(1..)) {
            return;
        }
    }
}

/// Writes messages, one a line, until nobody sends any more or nobody reads.
pub(super) async fn write(mut waiting: mpsc::Receiver<Bytes>) {
    let mut stdout = pipes::stdout();
    while let Some(message) = waiting.recv().await {
        let mut line = Vec::from(message);
        wire::encode::onto_one_line(&mut line);
        line.push(b'\n');
        // What waits together leaves together.
        while let Ok(message) = waiting.try_recv() {
            let start = line.len();
            line.extend_from_slice(&message);
            wire::encode::onto_one_line(line.get_mut(start..).unwrap_or_default());
            line.push(b'\n');
        }
        if stdout.write_all(&line).await.is_err() || stdout.flush().await.is_err() {
            return;
        }
    }
}
