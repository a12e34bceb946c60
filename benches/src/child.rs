//! The processes that are measured: started, asked for their figures, and ended with the run.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

/// The unit of CPU times in /proc: Linux tells user space hundredths of a second, whatever its own clock does.
const MILLIS_PER_TICK: u64 = 10;

/// A running part; killed when dropped.
pub(crate) struct Part {
    child: Child,
}

impl Part {
    /// Starts a part of this binary, and reads the address that it prints.
    pub(crate) fn listening(arguments: &[&str]) -> Result<(Self, SocketAddr)> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut part = Self::start(command.args(arguments).stdout(Stdio::piped()))?;
        let stdout = part.child.stdout.take().context("no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line
            .trim()
            .parse()
            .with_context(|| format!("{arguments:?} printed {line:?}"))?;
        Ok((part, address))
    }

    /// Starts a command whose output goes to a file.
    pub(crate) fn logging(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        Self::start(
            command
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log),
        )
    }

    fn start(command: &mut Command) -> Result<Self> {
        die_with_us(command);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The CPU time it has used so far, in user mode and in the kernel.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the name in parentheses, and may hold spaces.
        let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat")?;
        let mut ticks = fields
            .split_ascii_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>);
        let (Some(Ok(user)), Some(Ok(system))) = (ticks.next(), ticks.next()) else {
            bail!("/proc/PID/stat: {stat}");
        };
        Ok(Duration::from_millis((user + system) * MILLIS_PER_TICK))
    }

    /// The memory it holds, in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// No process outlives the run, whatever ends it.
#[expect(
    unsafe_code,
    reason = "the only way to have something done between fork and exec"
)]
pub(crate) fn die_with_us(command: &mut Command) {
    // SAFETY: prctl is async-signal-safe, allocates nothing, and concerns the child alone.
    unsafe {
        command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
    }
}
