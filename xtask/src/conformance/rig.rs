//! What a leg needs running: the upstream, and the gate in front of it, on free loopback ports.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::install::Installed;
use super::legs::{Era, Leg, Upstream};
use super::text;
use crate::steps::{Tree, works};

/// Our own fixture: a program of the package `testkit`.
pub(super) const NATIVE: &str = "fixture";
/// How long a process may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long a process may take to end once it was asked to.
const POLITE_MAX: Duration = Duration::from_secs(5);

/// The processes of a leg; ended when dropped, the gate first.
pub(super) struct Rig {
    gate: Option<Process>,
    upstream: Option<Process>,
    /// What the suite is pointed at: an address, or for client scenarios the driver's command line.
    pub(super) url: String,
    variables: Vec<(&'static str, String)>,
}

impl Rig {
    /// Starts upstream and gate in `folder`, and waits until both are ready.
    pub(super) fn start(
        tree: &Tree,
        installed: &Installed,
        leg: &Leg,
        folder: &Path,
    ) -> Result<Self> {
        let script = tree.root.join("conformance/fixture.py");
        let fixture = [text(&installed.python)?, text(&script)?];
        let gate = tree.target.join("debug/portcullis");
        let mut rig = Self {
            gate: None,
            upstream: None,
            url: String::new(),
            variables: Vec::new(),
        };
        let behind = match leg.upstream {
            Upstream::Http(era) => {
                let address = free_address()?;
                let mut command = Command::new(fixture[0]);
                command.arg(fixture[1]).args(["--era", era.name()]);
                command.args(["--port", &address.port().to_string()]);
                command.env("PYTHONPATH", &installed.fixture);
                let mut process =
                    Process::start(&mut command, "fixture", &folder.join("fixture.log"))?;
                process.wait_until(|| TcpStream::connect(address).is_ok())?;
                rig.upstream = Some(process);
                rig.url = format!("http://{address}/mcp");
                json!({ "url": rig.url })
            }
            Upstream::Stdio => json!({
                "stdio": [fixture[0], fixture[1], "--stdio"],
                "env": { "PYTHONPATH": text(&installed.fixture)? },
            }),
            Upstream::Native => {
                let address = free_address()?;
                let mut command = Command::new(tree.target.join("debug").join(NATIVE));
                command.args(["--listen", &address.to_string()]);
                command.current_dir(folder);
                let mut process =
                    Process::start(&mut command, "fixture", &folder.join("fixture.log"))?;
                process.wait_until(|| TcpStream::connect(address).is_ok())?;
                rig.upstream = Some(process);
                rig.url = format!("http://{address}/mcp");
                Value::Null
            }
            Upstream::Authority => bail!("this leg has a rig of its own"),
            Upstream::Suite => {
                // The driver starts a gate for each scenario, in front of the server that the suite then scripts.
                let driver = tree.root.join("conformance/driver.py");
                rig.url = format!("{} {}", fixture[0], text(&driver)?);
                let gates = folder.join("gates");
                rig.variables = vec![
                    ("CONFORMANCE_GATE", text(&gate)?.to_owned()),
                    ("CONFORMANCE_CLIENT", text(&installed.client)?.to_owned()),
                    ("CONFORMANCE_FOLDER", text(&gates)?.to_owned()),
                ];
                return Ok(rig);
            }
        };
        if leg.gate {
            let address = free_address()?;
            let process = start_gate(&gate, address, behind, folder)?;
            rig.gate = Some(process);
            rig.url = format!("http://{address}/mcp");
        }
        Ok(rig)
    }

    /// Gives the suite what the driver wants to know.
    pub(super) fn environment(&self, suite: &mut Command) {
        suite.envs(self.variables.iter().map(|(name, value)| (*name, value)));
    }

    /// Fails if something ended that should still run.
    pub(super) fn alive(&mut self) -> Result<()> {
        for process in [&mut self.gate, &mut self.upstream].into_iter().flatten() {
            process.alive()?;
        }
        Ok(())
    }
}

impl fmt::Display for Rig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |process: &Option<Process>| process.as_ref().map(|process| process.child.id());
        let (gate, upstream) = (id(&self.gate), id(&self.upstream));
        write!(f, "{} (gate {gate:?}, upstream {upstream:?})", self.url)
    }
}

impl Era {
    fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

/// A gate with one upstream whose names it leaves alone.
fn start_gate(
    program: &Path,
    address: SocketAddr,
    mut upstream: Value,
    folder: &Path,
) -> Result<Process> {
    upstream["prefix"] = "never".into();
    let data = folder.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let often = json!({ "max": 100_000, "per": "1s" });
    let config = json!({
        "listen": address.to_string(),
        "data_dir": "data",
        "builtins": [],
        "limits": { "tool_call": often, "resource_access": often },
        "upstreams": { "fixture": upstream },
    });
    fs::write(
        folder.join("gate.json"),
        serde_json::to_vec_pretty(&config)?,
    )?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--config", "gate.json"])
        .current_dir(folder);
    let mut process = Process::start(&mut command, "gate", &folder.join("gate.log"))?;
    process.wait_until(|| ready(address))?;
    Ok(process)
}

/// A running process whose output is in a file; asked to stop, then killed, when dropped.
pub(super) struct Process {
    child: Child,
    name: &'static str,
    log: String,
}

impl Process {
    pub(super) fn start(command: &mut Command, name: &'static str, log: &Path) -> Result<Self> {
        let output = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting the {name}"))?;
        let log = log.display().to_string();
        Ok(Self { child, name, log })
    }

    pub(super) fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the {} ended with {status}; see {}", self.name, self.log),
            None => Ok(()),
        }
    }

    pub(super) fn wait_until(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + READY_MAX;
        while !ready() {
            self.alive()?;
            if Instant::now() > deadline {
                bail!("the {} did not get ready; see {}", self.name, self.log);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = works("kill", &[&self.child.id().to_string()]);
        let deadline = Instant::now() + POLITE_MAX;
        while asked && self.alive().is_ok() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address that is free now. Whoever takes it next may be quicker; then the process fails to start and says so.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Whether `GET /readyz` says 200.
pub(super) fn ready(at: SocketAddr) -> bool {
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
