//! Our own binary as the supervisor of one child process: whatever ends the gate, the child and all that it started
//! end too.
//!
//! The kernel tells the supervisor when the gate is gone (the parent-death signal, set by `upstream`). It collects
//! orphans of the child (it is their subreaper), so that none escapes by leaving the process group.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long the child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// How often an ending child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// The binary to run as a supervisor; `None` where this process is not our binary (in tests).
pub(crate) fn program() -> Option<PathBuf> {
    PROGRAM.get().cloned()
}

/// Runs as a supervisor if the command line says so; else notes that this binary can be one.
pub(crate) fn as_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    let this = arguments.next();
    if arguments
        .next()
        .is_some_and(|word| word == upstream::SUPERVISE)
    {
        let words: Vec<OsString> = arguments.collect();
        return Some(supervise(&words));
    }
    if cfg!(target_os = "linux")
        && let Ok(path) = std::env::current_exe()
        && this.is_some()
    {
        // Set once: there is one main.
        PROGRAM.get_or_init(|| path);
    }
    None
}

fn supervise(words: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = words.split_first() else {
        return ExitCode::from(2);
    };
    let mut signals = SigSet::empty();
    for signal in [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ] {
        signals.add(signal);
    }
    // Blocked here and waited for below; the child starts with an empty mask, as std sees to it.
    if signals.thread_block().is_err() || become_subreaper().is_err() {
        return ExitCode::from(126);
    }
    let child = match Command::new(program).args(arguments).spawn() {
        Ok(child) => Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()),
        Err(error) => {
            crate::cli::output::say(format!(
                "`{}` could not be started: {error}",
                program.display()
            ));
            return ExitCode::from(127);
        }
    };
    // The pipes are the child's: the gate must see them close when the child closes them.
    let_go_of_pipes();
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    end_descendants(child);
                    return ExitCode::from(code);
                }
            }
            Ok(_) | Err(_) => {
                end_descendants(child);
                return ExitCode::from(143);
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn become_subreaper() -> nix::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)
}

#[cfg(not(target_os = "linux"))]
fn become_subreaper() -> nix::Result<()> {
    Ok(())
}

fn let_go_of_pipes() {
    let Ok(nothing) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
    else {
        return;
    };
    let done = nix::unistd::dup2_stdin(&nothing)
        .and_then(|()| nix::unistd::dup2_stdout(&nothing))
        .and_then(|()| nix::unistd::dup2_stderr(&nothing));
    // Then the gate sees the end a little later: when the supervisor ends.
    let _ends_later = done;
}

/// Collects whoever ended; the child's exit code once it is among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                code = Some(u8::try_from(status).unwrap_or(1));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = Some(u8::try_from(128 + signal as i32).unwrap_or(1));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

/// Asks all descendants to end, and ends those that do not.
fn end_descendants(child: Pid) {
    let signal_all = |signal| {
        for pid in descendants() {
            // One that is gone already is what we want.
            let _gone = kill(pid, signal);
        }
    };
    signal_all(Signal::SIGTERM);
    let mut waited = Duration::ZERO;
    while waited < GRACE {
        reap(child);
        if descendants().is_empty() {
            return;
        }
        std::thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    // Twice, for what was started in between.
    signal_all(Signal::SIGKILL);
    reap(child);
    signal_all(Signal::SIGKILL);
}

/// Everything below us in the tree of processes.
fn descendants() -> Vec<Pid> {
    let mut found = Vec::new();
    let mut open = vec![std::process::id().to_string()];
    while let Some(parent) = open.pop() {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            let children =
                std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for pid in children.split_whitespace() {
                if let Ok(number) = pid.parse() {
                    found.push(Pid::from_raw(number));
                    open.push(pid.to_owned());
                }
            }
        }
    }
    found
}
