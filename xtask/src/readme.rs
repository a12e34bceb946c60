//! Runs what the README tells a newcomer to run.
//!
//! Each ```` ```sh ```` block is a script, and so are the `$ ` lines of each ```` ```console ```` block; a block whose fence
//! names a file, such as ```` ```json mcp.json ````, is written to it. All happen in order, in one empty folder with
//! a home of its own, `examples/` beside it, and the freshly built `portcullis` first in the path. A line that
//! serves runs until the next one does, or to the end. See [`meaning`] for what is not run as it stands.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::steps::{Tree, run, works};

/// Where the gate listens if nobody says otherwise. The README says so, too; here it gets a free port instead.
const DEFAULT: &str = "127.0.0.1:8080";
/// How long the gate may take until it is ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How long the commands of one block may take.
const BLOCK_SECONDS_MAX: &str = "120";

/// A fenced block that asks for something.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// Commands, a whole one each.
    Commands(Vec<String>),
    /// A file's name and content.
    File(String, String),
}

/// What is done about a command.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// It is run as it stands.
    Run,
    /// Not in here, where it would start itself; that it exists is checked.
    Xtask(String),
    /// It serves until it is stopped; these are its arguments.
    Serve(String),
    /// It asks for what is there already, or for a program that is not ours.
    Skip,
}

/// Runs the README, if there is one.
pub(crate) fn check(tree: &Tree) -> Result<()> {
    let text = fs::read_to_string(tree.root.join("README.md")).context("README.md")?;
    run(tree
        .cargo()
        .args(["build", "--quiet", "--locked", "--package", "server"]))?;
    let mut place = Place::prepare(tree)?;
    for block in blocks(&text) {
        match block {
            Block::File(name, content) => {
                fs::write(place.folder.join(&name), place.text(&content))?;
            }
            Block::Commands(commands) => place.script(&commands)?,
        }
    }
    Ok(())
}

fn meaning(command: &str) -> Meaning {
    let words: Vec<_> = command.split_whitespace().collect();
    match words.as_slice() {
        ["cargo", "xtask", name, ..] => Meaning::Xtask((*name).to_owned()),
        ["cargo", "run", "--release"] | ["portcullis"] => Meaning::Serve(String::new()),
        ["cargo", "run", "--release", "--", rest @ ..] | ["portcullis", rest @ ..]
            if rest.first() == Some(&"serve") =>
        {
            Meaning::Serve(rest.join(" "))
        }
        ["git", "clone", ..] | ["cd" | "claude" | "code" | "cursor", ..] => Meaning::Skip,
        _ => Meaning::Run,
    }
}

/// The folder in which the README is run, and the gate that runs in it.
struct Place {
    folder: std::path::PathBuf,
    path: String,
    listen: SocketAddr,
    gate: Option<Gate>,
}

impl Place {
    fn prepare(tree: &Tree) -> Result<Self> {
        let folder = tree.target.join("readme");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(folder.join("home"))?;
        symlink(tree.root.join("examples"), folder.join("examples"))?;
        let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let path = std::env::var("PATH").context("PATH")?;
        Ok(Self {
            folder,
            path: format!("{}:{path}", tree.target.join("debug").display()),
            listen,
            gate: None,
        })
    }

    /// The README's text with the port that is used here.
    fn text(&self, text: &str) -> String {
        text.replace(DEFAULT, &self.listen.to_string())
    }

    fn script(&mut self, commands: &[String]) -> Result<()> {
        for command in commands {
            let command = self.text(command);
            println!("    $ {command}");
            match meaning(&command) {
                Meaning::Run => {
                    let mut bash = self.command("timeout");
                    bash.args([
                        "--kill-after=5",
                        BLOCK_SECONDS_MAX,
                        "bash",
                        "-euo",
                        "pipefail",
                        "-c",
                        &command,
                    ]);
                    let status = bash.stdin(Stdio::null()).status()?;
                    if !status.success() {
                        bail!("README: `{command}` ended with {status}{}", self.log());
                    }
                }
                Meaning::Xtask(name) => {
                    let ourselves = std::env::current_exe()?;
                    let ourselves = ourselves.to_str().context("our own path is not UTF-8")?;
                    if !works(ourselves, &[&name, "--help"]) {
                        bail!("README: there is no `cargo xtask {name}`");
                    }
                }
                Meaning::Serve(arguments) => self.serve(&arguments)?,
                Meaning::Skip => println!("      (not run here)"),
            }
        }
        Ok(())
    }

    fn serve(&mut self, arguments: &str) -> Result<()> {
        self.gate = None;
        let log = File::create(self.folder.join("gate.log"))?;
        let mut command = self.command("portcullis");
        command
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.gate = Some(Gate(command.spawn().context("starting portcullis")?));
        let deadline = Instant::now() + READY_MAX;
        while !ready(self.listen) {
            let runs = self.gate.as_mut().is_some_and(Gate::runs);
            if !runs || Instant::now() > deadline {
                bail!(
                    "README: `portcullis {arguments}` did not get ready{}",
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("env");
        // `env` finds the program in the path that we give, not in ours.
        command.arg(program).current_dir(&self.folder);
        command
            .env("PATH", &self.path)
            .env("HOME", self.folder.join("home"));
        command.env("PORTCULLIS__LISTEN", self.listen.to_string());
        for inherited in [
            "XDG_CONFIG_HOME",
            "XDG_DATA_HOME",
            "XDG_STATE_HOME",
            "XDG_CACHE_HOME",
        ] {
            command.env_remove(inherited);
        }
        command
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.join("gate.log")).unwrap_or_default();
        if log.is_empty() {
            log
        } else {
            format!("; the gate said:\n{log}")
        }
    }
}

/// A running gate; asked to stop, then killed, when dropped.
struct Gate(Child);

impl Gate {
    fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let asked = works("kill", &[&self.0.id().to_string()]);
        let deadline = Instant::now() + Duration::from_secs(10);
        while asked && self.runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Whether `GET /readyz` says 200.
fn ready(at: SocketAddr) -> bool {
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

/// The blocks that ask for something, in order.
fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            continue;
        };
        let body: Vec<_> = lines
            .by_ref()
            .take_while(|line| !line.starts_with("```"))
            .collect();
        let words: Vec<_> = fence.split_whitespace().collect();
        match words.as_slice() {
            ["sh"] => blocks.push(Block::Commands(commands(body))),
            ["console"] => blocks.push(Block::Commands(commands(
                body.iter().filter_map(|line| line.strip_prefix("$ ")),
            ))),
            [_, file] if is_plain_name(file) => {
                blocks.push(Block::File((*file).to_owned(), body.join("\n") + "\n"));
            }
            _ => {}
        }
    }
    blocks
}

fn is_plain_name(file: &str) -> bool {
    Path::new(file).extension().is_some() && !file.contains('/')
}

/// Joins lines that end with a backslash, or that leave a quote open; leaves out comments.
fn commands<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    let mut open: Option<String> = None;
    for line in lines {
        let whole = match open.take() {
            Some(head) => format!("{head}\n{line}"),
            None if line.trim().is_empty() || line.trim_start().starts_with('#') => continue,
            None => line.to_owned(),
        };
        if whole.ends_with('\\') || whole.matches('\'').count() % 2 == 1 {
            open = Some(whole);
        } else {
            commands.push(whole);
        }
    }
    commands.extend(open);
    commands
}
