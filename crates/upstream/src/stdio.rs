//! An MCP server in a child process: newline-delimited messages on its stdin and stdout, its stderr in our log.
//!
//! One task drives a connection (see [`Driver::run`]); what calls do with it is in `stream`. A child is the leader of a
//! process group of its own, so that what it started ends with it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio as Pipe;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use policy::UpstreamId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use wire::{Lines, encode};

use crate::stream::{self, Ear, Ends};
use crate::{Error, Stdio};

/// The word by which our own binary becomes the supervisor of a child.
pub const SUPERVISE: &str = "__supervise";

/// Bytes that are written at once if they wait together.
const BATCH_MAX: usize = 64 * 1024;
/// The longest message taken from a child, in bytes.
const LINE_MAX: usize = 16 * 1024 * 1024;
/// The longest line of its stderr that is logged whole, in bytes.
const LOG_LINE_MAX: usize = 8 * 1024;
/// How long a child may take to end after its stdin was closed, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(2);

/// What of our own environment a child gets; the rest may hold secrets that are not its own.
const ENVIRONMENT: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// The side of a connection that its task runs.
#[derive(Debug)]
pub(crate) struct Driver {
    id: UpstreamId,
    ends: Ends,
    child: Child,
    group: Pid,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

/// Starts the child; under `supervisor` if there is one, which outlives us for as long as it takes to end the child
/// and all that it started, whatever killed us.
pub(crate) fn start(
    id: &UpstreamId,
    spec: &Stdio,
    supervisor: Option<&Path>,
) -> Result<(stream::Connection, Driver), Error> {
    let failed = |cause| Error::Spawn {
        program: spec.program.clone(),
        cause,
    };
    let mut command = match supervisor {
        Some(supervisor) => {
            // A program that is not there is told here, not by the exit code of its supervisor.
            find(spec).map_err(failed)?;
            let mut command = Command::new(supervisor);
            command.arg(SUPERVISE).arg(&spec.program);
            command
        }
        None => Command::new(&spec.program),
    };
    command.args(&spec.args).env_clear();
    command.envs(
        ENVIRONMENT
            .iter()
            .filter_map(|name| Some((*name, std::env::var_os(name)?))),
    );
    command
        .envs(&spec.env)
        .stdin(Pipe::piped())
        .stdout(Pipe::piped())
        .stderr(Pipe::piped());
    command.process_group(0).kill_on_drop(true);
    if let Some(cwd) = &spec.cwd {
        command.current_dir(cwd);
    }
    die_with_us(&mut command, supervisor.is_some());
    let mut child = command.spawn().map_err(failed)?;
    let lost = || failed(io::Error::other("its pipes are missing"));
    let group = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .map(Pid::from_raw)
        .ok_or_else(lost)?;
    let stdin = child.stdin.take().ok_or_else(lost)?;
    let stdout = child.stdout.take().ok_or_else(lost)?;
    let stderr = child.stderr.take().ok_or_else(lost)?;
    let (connection, ends) = stream::open(id);
    Ok((
        connection,
        Driver {
            id: id.clone(),
            ends,
            child,
            group,
            stdin,
            stdout,
            stderr,
        },
    ))
}

/// Whether the program is there, as the child's own `PATH` has it.
fn find(spec: &Stdio) -> io::Result<()> {
    let program = Path::new(&spec.program);
    let folder = spec.cwd.clone().unwrap_or_default();
    let inherited = || std::env::var_os("PATH").unwrap_or_default();
    let is_there = if program.components().count() > 1 {
        folder.join(program).exists()
    } else {
        let path = spec.env.get("PATH").map_or_else(inherited, OsString::from);
        std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    if is_there {
        Ok(())
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Has the kernel end the child when we are killed in a way that leaves us no time to do it.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command, supervised: bool) {
    // A supervisor has something to do before it ends.
    let signal = if supervised {
        libc::SIGTERM
    } else {
        libc::SIGKILL
    };
    // The signal is tied to the thread that forks. Ours are the runtime's workers, which live as long as we do.
    #[expect(
        unsafe_code,
        reason = "prctl between fork and exec: one async-signal-safe system call"
    )]
    // SAFETY: the closure only makes a system call; it allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) == 0 {
                Ok(())
            } else {
                Err(io::Error::last_os_error())
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_: &mut Command, _: bool) {}

impl Driver {
    /// Carries messages until the child or its stdout ends, or `stop` comes; then sees to it that the child and
    /// all it started are gone. Tells why it ended.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> String {
        let Self {
            id,
            ends,
            mut child,
            group,
            stdin,
            stdout,
            stderr,
        } = self;
        let Ends {
            inbox,
            queue,
            ear,
            mouth,
        } = ends;
        let why = tokio::select! {
            why = read(stdout, ear) => why,
            () = mouth.answer() => "its stdin was closed".to_owned(),
            () = write(stdin, queue) => "its stdin was closed".to_owned(),
            why = log(&id, stderr) => why,
            status = child.wait() => status.map_or_else(|e| e.to_string(), |status| format!("it ended with {status}")),
            () = stop => "stopped".to_owned(),
        };
        inbox.close();
        // The select dropped stdin: a well-behaved server ends now by itself.
        let why = match tokio::time::timeout(GRACE, child.wait()).await {
            Ok(Ok(status)) if why.starts_with("its ") => format!("it ended with {status}"),
            Ok(_) => why,
            Err(_) => {
                signal(group, Signal::SIGTERM);
                if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                    signal(group, Signal::SIGKILL);
                    drop(child.wait().await);
                }
                why
            }
        };
        // What the child started and left behind.
        signal(group, Signal::SIGKILL);
        why
    }
}

/// Signals a whole process group; that it is gone already is fine.
fn signal(group: Pid, signal: Signal) {
    if let Err(error) = killpg(group, signal)
        && error != nix::errno::Errno::ESRCH
    {
        tracing::warn!(%error, "could not signal the upstream's processes");
    }
}

async fn read(mut stdout: ChildStdout, mut ear: Ear) -> String {
    let mut lines = Lines::new(LINE_MAX);
    loop {
        while let Some(line) = lines.next_line() {
            ear.hear(line.map_err(|error| error.to_string()));
        }
        match stdout.read_buf(lines.buffer()).await {
            Ok(0) => return "its stdout was closed".to_owned(),
            Ok(_) => {}
            Err(error) => return format!("its stdout could not be read: {error}"),
        }
    }
}

async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>) {
    let mut batch = BytesMut::new();
    let add = |batch: &mut BytesMut, message: &[u8]| {
        let start = batch.len();
        batch.extend_from_slice(message);
        encode::onto_one_line(batch.get_mut(start..).unwrap_or_default());
        batch.extend_from_slice(b"\n");
    };
    while let Some(message) = queue.recv().await {
        batch.clear();
        add(&mut batch, &message);
        // What waits together leaves together.
        while batch.len() < BATCH_MAX
            && let Ok(message) = queue.try_recv()
        {
            add(&mut batch, &message);
        }
        if stdin.write_all(&batch).await.is_err() {
            return;
        }
    }
}

/// Logs what the child says to people. Never ends: a closed stderr says nothing about the connection.
async fn log(upstream: &UpstreamId, stderr: impl AsyncRead + Unpin) -> String {
    let mut stderr = stderr;
    let mut lines = Lines::new(LOG_LINE_MAX);
    loop {
        while let Some(line) = lines.next_line() {
            match line {
                Ok(line) => {
                    tracing::info!(target: "upstream::stderr", %upstream, "{}", printable(&line));
                }
                Err(error) => {
                    tracing::info!(target: "upstream::stderr", %upstream, "{error} was left out");
                }
            }
        }
        if !matches!(stderr.read_buf(lines.buffer()).await, Ok(1..)) {
            return std::future::pending().await;
        }
    }
}

/// Text that cannot move the cursor or colour the operator's terminal.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
