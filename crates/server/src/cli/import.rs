//! `portcullis import`: takes the servers of MCP clients over into portcullis.toml, and says what it did.
//!
//! What the clients' files mean is [`read`]; how the config is changed is [`write`].

mod read;
mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum as _;
use serde_json::json;

use super::arguments::Unusable;
use super::{Client, Common, Exit, Import, edit, output};
use crate::config::{self, Environment, is_builtin};
use read::{Found, Gate, Server};
use write::{Fate, Target};

pub(super) fn import(common: &Common, import: &Import) -> anyhow::Result<Exit> {
    let environment = Environment::of_process();
    let files = files(import, &environment)?;
    let gate = Gate {
        program: std::env::current_exe()
            .and_then(fs::canonicalize)
            .unwrap_or_default(),
        // A config that does not load is no reason to import nothing; nobody can say then where the gate listens.
        listen: common
            .load_settings()
            .map(|loaded| loaded.listen)
            .unwrap_or_default(),
    };
    let mut found = Found::default();
    for file in &files {
        let text = fs::read_to_string(file).map_err(anyhow::Error::from);
        match text.and_then(|text| read::read(&text, file, &environment, &gate)) {
            Ok(more) => {
                found.servers.extend(more.servers);
                found.skipped.extend(more.skipped);
            }
            // One client's broken file is no reason to leave the others'.
            Err(error) if files.len() > 1 => found
                .skipped
                .push((file.display().to_string(), error.to_string())),
            Err(error) => return Err(error.context(format!("cannot take over {}", file.display()))),
        }
    }
    let path = target(common, import, &environment)?;
    let whole = environment.folder.join(&path);
    let before = match fs::read_to_string(&whole) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut target = Target::read(before.as_deref().unwrap_or_default())
        .with_context(|| format!("{} is not TOML", path.display()))?;
    let fates: Vec<(Server, Fate)> = found
        .servers
        .into_iter()
        .map(|server| {
            let fate = target.add(&server);
            (server, fate)
        })
        .collect();

    let added = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Added(_)))
        .count();
    let mut backup = None;
    if added > 0 && !import.dry_run {
        if before.is_some() {
            backup = Some(
                edit::back_up(&whole)
                    .with_context(|| format!("cannot back up {}", path.display()))?,
            );
        }
        edit::replace(&whole, &target.text())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    tell(common, &fates, &found.skipped)?;
    if import.dry_run && !common.json {
        output::data(edit::diff(before.as_deref().unwrap_or_default(), &target.text()).as_bytes())?;
    }
    if fates.is_empty() && found.skipped.is_empty() {
        output::say(format!("no MCP servers in {}", listed(&files)));
        return Ok(Exit::Failed);
    }
    match (added, import.dry_run) {
        (0, _) => output::say(format!("{} stays as it is", path.display())),
        (added, true) => output::say(format!("would add {added} to {}", path.display())),
        (added, false) => {
            let kept = backup
                .map(|backup| format!("; what was there is in {}", backup.display()))
                .unwrap_or_default();
            output::say(format!("added {added} to {}{kept}", path.display()));
            output::say("`portcullis check` tries them, `portcullis` serves them");
        }
    }
    Ok(Exit::Done)
}

/// The files to read: the one that was named, a client's, or those of all clients.
fn files(import: &Import, environment: &Environment) -> anyhow::Result<Vec<PathBuf>> {
    let named = |path: &Path| {
        let path = environment.folder.join(path);
        if path.is_file() {
            Ok(vec![path])
        } else {
            Err(Unusable(format!("there is no file {}", path.display())))
        }
    };
    let there = |clients: &[Client]| -> Vec<PathBuf> {
        clients
            .iter()
            .flat_map(|client| client.files(environment))
            .filter(|path| path.is_file())
            .collect()
    };
    if let Some(file) = &import.file {
        return Ok(named(file)?);
    }
    let Some(from) = &import.from else {
        let files = there(&Client::ALL);
        if files.is_empty() {
            let places: Vec<PathBuf> = Client::ALL
                .iter()
                .flat_map(|client| client.files(environment))
                .collect();
            anyhow::bail!(
                "no client's config was found; looked at {}",
                listed(&places)
            );
        }
        return Ok(files);
    };
    let Ok(client) = Client::from_str(from, true) else {
        return Ok(named(Path::new(from))?);
    };
    let files = there(&[client]);
    if files.is_empty() {
        anyhow::bail!(
            "{} has no config here; looked at {}",
            client.title(),
            listed(&client.files(environment))
        );
    }
    Ok(files)
}

/// The config to write into: what was asked for, what is in use, or a new one here.
fn target(common: &Common, import: &Import, environment: &Environment) -> anyhow::Result<PathBuf> {
    let path = match (&import.write, &common.config) {
        (Some(path), _) | (None, Some(path)) => path.clone(),
        (None, None) => {
            let found = config::files(&common.sources(), environment)?;
            found
                .first()
                .cloned()
                .unwrap_or_else(|| PathBuf::from("portcullis.toml"))
        }
    };
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Err(Unusable(format!(
            "{} is not TOML, and only that is written; use --write FILE.toml",
            path.display()
        ))
        .into());
    }
    Ok(path)
}

fn tell(
    common: &Common,
    fates: &[(Server, Fate)],
    skipped: &[(String, String)],
) -> anyhow::Result<()> {
    if common.json {
        let taken = fates.iter().map(|(server, fate)| {
            let (done, alias) = match fate {
                Fate::Added(alias) => ("added", alias),
                Fate::There(alias) => ("there already", alias),
            };
            json!({ "name": server.name, "from": server.from, "done": done, "alias": alias, "notes": server.notes })
        });
        let skipped = skipped
            .iter()
            .map(|(name, why)| json!({ "name": name, "done": "skipped", "notes": [why] }));
        output::json(&taken.chain(skipped).collect::<Vec<_>>())?;
        return Ok(());
    }
    for (server, fate) in fates {
        let name = output::printable(&server.name);
        match fate {
            Fate::Added(alias) if *alias == server.name => output::say(format!("+ {name}")),
            Fate::Added(alias) => output::say(format!("+ {name} as {alias}")),
            Fate::There(alias) => output::say(format!("= {name} is there already, as {alias}")),
        }
        if let Fate::Added(alias) = fate {
            if is_builtin(alias) {
                output::say(format!("    replaces the built-in `{alias}`"));
            }
            for note in &server.notes {
                output::say(format!("    {}", output::printable(note)));
            }
        }
    }
    for (name, why) in skipped {
        output::say(format!(
            "- {} left out: {}",
            output::printable(name),
            output::printable(why)
        ));
    }
    Ok(())
}

fn listed(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests;
