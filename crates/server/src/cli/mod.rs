//! The command line: which function each saying goes to. What can be said is [`Cli`].
//!
//! Data goes to stdout, everything for people to stderr, and the exit code is one of [`Exit`]. Commands that
//! need a running gate have their bodies in [`crate::run`]; the others have theirs in the files beside this.

mod alerts;
mod arguments;
mod audit;
mod backup;
mod clients;
mod commands;
mod compliance;
mod config;
mod consent;
mod edit;
mod import;
mod install;
mod key;
mod logs;
pub mod output;
mod pin;
mod policy;
mod record;
mod secret;
mod session;
mod terminal;
mod user;

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use clap::{CommandFactory as _, Parser as _};
use nix::sys::resource::{Resource, setrlimit};
use store::Store;

use ::policy::Clock as _;

pub use self::policy::{Explain, PolicyCommand, Simulate, What};
use crate::config::Loaded;
use crate::{SystemClock, run};
pub use alerts::AlertsCommand;
pub use clients::Client;
pub use commands::{
    ApproveConsent, ApprovePin, Audit, Cli, Command, Common, Config, Consent, Import, Install, Key,
    Kind, NewKeyArguments, NewUser, Pin, PinnedKind, Prompts, Resources, Revoke, Secret, Serve,
    Session, Stdio, Tools, User,
};
pub use compliance::{Compliance, Form, Wanted};
pub use logs::LogsCommand;

/// How a command ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was asked.
    Done,
    /// It did not.
    Failed,
    /// It was asked wrongly.
    Usage,
    /// The gate's policy said no.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Refused => Self::from(3),
        }
    }
}

/// Reads the command line, does what it says, and tells how it ended.
#[must_use]
pub fn main() -> ExitCode {
    keep_memory();
    if let Some(exit) = crate::supervise::as_asked() {
        return exit;
    }
    let cli = Cli::parse();
    let exit = match dispatch(cli) {
        Ok(exit) => exit,
        Err(error) => {
            // Whoever reads our output may stop reading: `portcullis tools list | head`.
            if output::is_broken_pipe(&error) {
                return Exit::Done.into();
            }
            output::error(&error);
            match error.downcast_ref::<arguments::Unusable>() {
                Some(_) => Exit::Usage,
                None => Exit::Failed,
            }
        }
    };
    exit.into()
}

/// The store that a config means, for whoever asks what is in it: nothing is made where nothing is, which would look like
/// a gate to which nothing has happened.
///
/// # Errors
/// If there is none yet, or it cannot be opened.
fn existing(loaded: &Loaded) -> anyhow::Result<Store> {
    let place = loaded.database();
    if !place.exists() {
        bail!("there is no database at `{place}` yet; start the gate first");
    }
    Ok(Store::open(&place)?)
}

/// No core file is written of this process, nor of one that it starts: keys are in memory, and what is passed on.
fn keep_memory() {
    // No file has room in one byte; and none is handed to a program either, as with a limit of zero (core(5), fs/coredump.c).
    if let Err(error) = setrlimit(Resource::RLIMIT_CORE, 1, 1) {
        output::say(format!("a crash may leave a core file: {error}"));
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Exit> {
    let Cli {
        common,
        listen,
        command,
    } = cli;
    match command {
        None => run::serve(&common, &Serve { listen }),
        Some(Command::Serve(mut serve)) => {
            serve.listen.splice(0..0, listen);
            run::serve(&common, &serve)
        }
        Some(_) if !listen.is_empty() => {
            Err(arguments::Unusable("--listen goes only with `serve`".to_owned()).into())
        }
        Some(Command::Stdio(stdio)) => run::stdio(&common, &stdio),
        Some(Command::Check) => run::check(&common),
        Some(Command::Tools(Tools::List)) => run::entries(&common, &run::Ask::List(Kind::Tools)),
        Some(Command::Tools(Tools::Search { words, limit })) => {
            let words = words.join(" ");
            run::entries(&common, &run::Ask::Search { words, limit })
        }
        Some(Command::Tools(Tools::Call { name, arguments })) => {
            let arguments = arguments::object(&arguments, &mut std::io::stdin().lock())?;
            run::entries(&common, &run::Ask::Call { name, arguments })
        }
        Some(Command::Prompts(Prompts::List)) => {
            run::entries(&common, &run::Ask::List(Kind::Prompts))
        }
        Some(Command::Prompts(Prompts::Get { name, arguments })) => {
            let arguments = arguments::texts(&arguments)?;
            run::entries(&common, &run::Ask::Get { name, arguments })
        }
        Some(Command::Resources(Resources::List)) => {
            run::entries(&common, &run::Ask::List(Kind::Resources))
        }
        Some(Command::Resources(Resources::Read { uri })) => {
            run::entries(&common, &run::Ask::Read { uri })
        }
        Some(Command::Import(import)) => import::import(&common, &import),
        Some(Command::Install(install)) => install::install(&common, &install),
        Some(Command::Config(Config::Show)) => config::show(&common),
        Some(Command::Config(Config::Schema)) => config::schema(),
        Some(Command::Key(key)) => key::key(&common, key),
        Some(Command::User(user)) => user::user(&common, user),
        Some(Command::Session(session)) => session::session(&common, session),
        Some(Command::Consent(asked)) => consent::consent(&common, &asked),
        Some(Command::Pin(pin)) => pin::pin(&common, pin),
        Some(Command::Policy(command)) => policy::policy(&common, &command),
        Some(Command::Secret(secret)) => secret::secret(&common, secret),
        Some(Command::Alerts(command)) => alerts::alerts(&common, &command),
        Some(Command::Logs(command)) => logs::logs(&common, &command),
        Some(Command::Audit(audit)) => audit::audit(&common, audit),
        Some(Command::Backup(command)) => backup::backup(&common, &command),
        Some(Command::Compliance(asked)) => compliance::compliance(&common, &asked),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "portcullis", &mut script);
            output::data(&script)?;
            Ok(Exit::Done)
        }
    }
}

/// A command that people type happens now.
fn now() -> SystemTime {
    SystemClock::start().wall()
}

#[cfg(test)]
mod tests;
