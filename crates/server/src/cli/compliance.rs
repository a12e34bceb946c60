//! `portcullis compliance`: how the config stands against the controls of security frameworks, for people and auditors.
//!
//! Nothing is started: the config is read as a gate would read it, and of the database, where there is one, a few numbers.
//! What is judged, and how, is [`crate::compliance`]'s.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use auth::Vault;
use clap::{Args, Subcommand, ValueEnum};
use observe::CheckpointVerifier;
use serde_json::json;
use store::Store;

use super::{Common, Exit, existing, now, output};
use crate::compliance::{Facts, Framework, Gate, Report, Status};
use crate::config::{self, Environment, Loaded};
use crate::{audit, vault};

/// `portcullis compliance`.
#[derive(Debug, Clone, Subcommand)]
pub enum Compliance {
    /// Say of each control of a framework whether it is on in this config, and what shows it.
    #[command(
        after_help = "Examples:\n  portcullis compliance report --framework soc2\n  \
                      portcullis compliance report --framework gdpr --format html --out gdpr.html\n  \
                      portcullis compliance report --framework cosai --format json --fail-on-gap | jq .summary\n\n\
                      Nothing is started. Of the database, where there is one, numbers are read, and the end of the audit log is \
                      verified. What a framework asks for and the gate does not have is said, too."
    )]
    Report(Wanted),
    /// List the frameworks.
    #[command(
        after_help = "Examples:\n  portcullis compliance list\n  portcullis compliance list --json"
    )]
    List,
}

/// `portcullis compliance report`.
#[derive(Debug, Clone, Args)]
pub struct Wanted {
    /// Which framework.
    #[arg(long, value_enum)]
    pub framework: Framework,
    /// In which form; `markdown` unless said, and `json` with `--json`.
    #[arg(long, value_enum)]
    pub format: Option<Form>,
    /// A file that there is not yet, for its owner's eyes; standard output if left out.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Exit with 1 if all that the gate has for some control is off, or the audit log does not hold together. What is partly on, and what the gate does not cover, is no gap.
    #[arg(long)]
    pub fail_on_gap: bool,
}

/// The form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Markdown, as GitHub reads it.
    Markdown,
    /// JSON, for programs.
    Json,
    /// One HTML file, for browsers and paper.
    Html,
}

pub(super) fn compliance(common: &Common, command: &Compliance) -> anyhow::Result<Exit> {
    match command {
        Compliance::Report(wanted) => report(common, wanted),
        Compliance::List => list(common),
    }
}

fn list(common: &Common) -> anyhow::Result<Exit> {
    if common.json {
        let frameworks = Framework::ALL
            .map(|one| json!({ "name": one.name(), "title": one.title(), "scope": one.scope() }));
        output::json(&frameworks)?;
    } else {
        let rows = Framework::ALL.map(|one| vec![one.name().to_owned(), one.title().to_owned()]);
        output::data(output::table(&["framework", "what"], &rows).as_bytes())?;
    }
    Ok(Exit::Done)
}

fn report(common: &Common, wanted: &Wanted) -> anyhow::Result<Exit> {
    let (shown, loaded) = config::show(&common.sources(), &Environment::of_process())?;
    let loaded = loaded?;
    let (facts, unread) = match facts(&loaded) {
        Ok(facts) => (Some(facts), None),
        Err(error) => (None, Some(causes(&error))),
    };
    let gate = Gate {
        loaded: &loaded,
        shown: &shown,
        facts: facts.as_ref(),
        now: now(),
    };
    let report = Report::new(wanted.framework, &gate, unread);
    let form = match wanted.format {
        Some(form) => form,
        None if common.json => Form::Json,
        None => Form::Markdown,
    };
    let text = match form {
        Form::Markdown => report.markdown()?,
        Form::Json => serde_json::to_string_pretty(&report)? + "\n",
        Form::Html => report.html()?,
    };
    match &wanted.out {
        Some(file) => put(file, text.as_bytes(), wanted.force)
            .with_context(|| format!("cannot write `{}`", file.display()))?,
        None => output::data(text.as_bytes())?,
    }
    if wanted.out.is_some() {
        let numbers =
            Status::ALL.map(|status| format!("{} {}", report.summary.of(status), status.word()));
        output::say(format!("{}: {}", report.title, numbers.join(", ")));
    }
    if wanted.fail_on_gap {
        let mut is_good = true;
        for control in report.gaps() {
            is_good = false;
            output::say(format!("off: {} {}", control.id, control.aim));
            let measures = control.measures.iter().filter_map(|id| report.measure(id));
            for measure in measures.filter(|measure| measure.status == Status::Off) {
                let remedy = measure.remedy.as_deref().unwrap_or_default();
                let line = format!("  {}: {}; {remedy}", measure.title, measure.why);
                output::say(output::printable(&line));
            }
        }
        if !is_good {
            return Ok(Exit::Failed);
        }
    }
    Ok(Exit::Done)
}

/// What the database says, if there is one.
fn facts(loaded: &Loaded) -> anyhow::Result<Facts> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = existing(loaded)?;
        let key = verifier(&store, loaded).await;
        let facts = Facts::read(
            &store,
            &loaded.database(),
            key.as_ref().map_err(causes),
            now(),
        );
        store.close().await;
        Ok(facts?)
    })
}

/// What checks the log's checkpoints. Nothing is made that is not there.
async fn verifier(store: &Store, loaded: &Loaded) -> anyhow::Result<CheckpointVerifier> {
    if store.audit_key()?.is_none() {
        bail!("nothing signs for the log yet: no gate has run");
    }
    let vault: std::sync::Arc<Vault> = vault::open_sealed(store, &loaded.master_key)?;
    Ok(audit::key(store, &vault, now()).await?.verifier().clone())
}

fn causes(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

/// Writes a file, whole or not at all, for its owner alone. One that is there stays, unless `force`.
fn put(file: &Path, bytes: &[u8], force: bool) -> io::Result<()> {
    let name = file
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(beside);
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = made.write_all(bytes).and_then(|()| made.sync_all());
    let placed = written.and_then(|()| {
        if force {
            fs::rename(&beside, file)
        } else {
            // Unlike a renaming, a link never replaces what is there.
            fs::hard_link(&beside, file)
        }
    });
    if placed.is_err() || !force {
        fs::remove_file(&beside)?;
    }
    placed
}
