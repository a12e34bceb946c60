//! One run: starts the parts, loads them in turn, round after round, so that noise hits all alike.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tempfile::TempDir;

use crate::child::Part;
use crate::load::{Era, Load};
use crate::report::{Cell, Report, Series};
use crate::stdio::Pipe;
use crate::subject::Subject;

/// The run ends after so long, whatever hangs. Its children end with it.
const RUN_SECONDS_MAX: u32 = 1800;
/// How long the gate may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(20);
/// How long a load runs before its figures count.
const WARM_UP: Duration = Duration::from_millis(100);

/// What the load is sent through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// Straight to the upstream.
    Bare,
    Proxy,
    Gate,
}

/// Many short rounds: what disturbs a machine often lasts seconds, and then hits whole rounds.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// What the log costs is little: more of them show it in the noise.
    pub(crate) cost_rounds: usize,
    pub(crate) stretch: Duration,
    pipe_calls: usize,
}

const WHOLE: Plan = Plan {
    rounds: 12,
    cost_rounds: 36,
    stretch: Duration::from_millis(600),
    pipe_calls: 1000,
};
const QUICK: Plan = Plan {
    rounds: 2,
    cost_rounds: 2,
    stretch: Duration::from_millis(200),
    pipe_calls: 200,
};

/// Measures everything, or one thing alone, and prints the table.
pub(crate) fn run(
    gate: Option<&Path>,
    out: Option<&Path>,
    quick: bool,
    only: Option<Subject>,
) -> Result<()> {
    nix::unistd::alarm::set(RUN_SECONDS_MAX);
    let plan = if quick { QUICK } else { WHOLE };
    let is_asked = |subject| only.is_none_or(|only| only == subject);
    let folder = tempfile::tempdir()?;

    let (upstream, upstream_at) = Part::listening(&["upstream"])?;
    let (proxy, proxy_at) = Part::listening(&["proxy", &upstream_at.to_string()])?;
    let mut ways = vec![
        (Way::Bare, upstream, upstream_at),
        (Way::Proxy, proxy, proxy_at),
    ];
    let mut report = Report::default();
    if let Some(gate) = gate {
        let behind = format!("url = \"http://{upstream_at}/mcp\"");
        let (part, at) = start_gate(gate, &folder, "serve", |top| {
            config(&folder, "serve", top, &behind, "")
        })?;
        report.gate_rss_idle = Some(part.rss()?);
        ways.push((Way::Gate, part, at));
    }
    let loaded = if is_asked(Subject::Http) {
        rounds(&mut report, &ways, &plan)
    } else {
        Ok(())
    };
    if let Some((Way::Gate, part, _)) = ways.last() {
        report.gate_rss_loaded = Some(part.rss()?);
    }
    if matches!(ways.last(), Some((Way::Gate, ..))) {
        ways.pop();
    }
    // What was measured before a failure is told, too.
    let measured = loaded
        .and_then(|()| match gate {
            Some(gate) if is_asked(Subject::Cost) => {
                report.costs.measure(gate, &folder, upstream_at, &plan)
            }
            Some(_) | None => Ok(()),
        })
        .and_then(|()| {
            if is_asked(Subject::Stdio) {
                pipes(&mut report, gate, &folder, &plan)
            } else {
                Ok(())
            }
        });
    report.print();
    measured?;
    if let Some(out) = out {
        fs::create_dir_all(out.parent().context("the output has no folder")?)?;
        fs::write(out, serde_json::to_vec_pretty(&report.figures())?)?;
        println!("    figures: {}", out.display());
    }
    Ok(())
}

fn rounds(report: &mut Report, ways: &[(Way, Part, SocketAddr)], plan: &Plan) -> Result<()> {
    let runtime = crate::runtime()?;
    for round in 0..plan.rounds {
        println!("    round {} of {}", round + 1, plan.rounds);
        for era in [Era::Legacy, Era::Modern] {
            for sessions in [1, 64] {
                for (way, part, at) in ways {
                    let cell =
                        runtime.block_on(stretch(part, *at, sessions, era, "echo", plan.stretch));
                    let cell =
                        cell.with_context(|| format!("{way:?}, {sessions} sessions, {era:?}"))?;
                    report.add(
                        Series {
                            way: *way,
                            sessions,
                            era,
                        },
                        cell,
                    );
                }
            }
        }
    }
    Ok(())
}

/// Loads one way for a while.
pub(crate) async fn stretch(
    part: &Part,
    at: SocketAddr,
    sessions: usize,
    era: Era,
    tool: &str,
    length: Duration,
) -> Result<Cell> {
    let load = Load::open(at, sessions, era, tool).await?;
    let (load, _) = load.run(WARM_UP).await?;
    let before = part.cpu()?;
    let (load, sample) = load.run(length).await?;
    let cpu = part.cpu()?.saturating_sub(before);
    load.close().await?;
    Ok(Cell { cpu, sample })
}

/// A gate with the config that `write` writes around its address.
pub(crate) fn start_gate(
    gate: &Path,
    folder: &TempDir,
    name: &str,
    write: impl FnOnce(&str) -> Result<PathBuf>,
) -> Result<(Part, SocketAddr)> {
    let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let config = write(&format!("listen = \"{at}\""))?;
    let log = folder.path().join(format!("{name}.log"));
    let mut command = Command::new(gate);
    command.arg("serve").arg("--config").arg(&config);
    let mut part = Part::logging(&mut command, &log)?;
    let deadline = Instant::now() + READY_MAX;
    while !ready(at) {
        if !part.runs() || Instant::now() > deadline {
            bail!(
                "the gate did not get ready; it said:\n{}",
                fs::read_to_string(&log)?
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((part, at))
}

/// Writes a config with limits that the load does not reach; yields where it is.
pub(crate) fn config(
    folder: &TempDir,
    name: &str,
    top: &str,
    upstream: &str,
    rest: &str,
) -> Result<PathBuf> {
    let data = folder.path().join(name);
    fs::create_dir_all(&data)?;
    let data_toml =
        serde_json::Value::from(data.to_str().context("the temporary folder is not UTF-8")?);
    let path = data.join("portcullis.toml");
    let text = format!(
        "{top}\ndata_dir = {data_toml}\n\n[upstreams.bench]\n{upstream}\n\n[limits]\n\
         tool_call = {{ max = 1_000_000, per = \"1s\" }}\nresource_access = {{ max = 1_000_000, per = \"1s\" }}\n{rest}"
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Whether `GET /readyz` says 200.
fn ready(at: SocketAddr) -> bool {
    use std::io::{Read as _, Write as _};
    let ask = || -> Result<bool> {
        let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(
            format!("GET /readyz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.ends_with(b" 200"))
    };
    // Not yet listening is the same as not yet ready.
    ask().unwrap_or(false)
}

/// Round trips over stdio: the upstream alone, and behind `portcullis stdio`; in turns, too.
fn pipes(report: &mut Report, gate: Option<&Path>, folder: &TempDir, plan: &Plan) -> Result<()> {
    let ourselves = std::env::current_exe()?;
    let mut bare = Pipe::open(Command::new(&ourselves).args(["upstream", "--stdio"]))?;
    let argv = serde_json::to_string(&[
        ourselves.to_str().context("our own path is not UTF-8")?,
        "upstream",
        "--stdio",
    ])?;
    let mut gated = match gate {
        Some(gate) => {
            let config = config(folder, "stdio", "", &format!("stdio = {argv}"), "")?;
            let mut command = Command::new(gate);
            Some(
                Pipe::open(command.arg("stdio").arg("--config").arg(config))
                    .context("portcullis stdio")?,
            )
        }
        None => None,
    };
    for _ in 0..plan.rounds {
        report.pipe_bare.extend(bare.run(plan.pipe_calls)?);
        if let Some(gated) = &mut gated {
            report
                .pipe_gate
                .extend(gated.run(plan.pipe_calls).context("portcullis stdio")?);
        }
    }
    Ok(())
}
