//! `portcullis install`: writes the gate into a client's config, and nothing else there.

use std::fs;
use std::io;

use anyhow::Context as _;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::{Value, json};
use url::Url;

use super::{Common, Exit, Install, edit, output};
use crate::config::{Environment, Loaded};
use crate::serve::base;

/// The name under which clients know the gate.
const NAME: &str = "portcullis";

pub(super) fn install(common: &Common, install: &Install) -> anyhow::Result<Exit> {
    let environment = Environment::of_process();
    let client = install.client;
    let Some(path) = client.file(&environment) else {
        anyhow::bail!(
            "there is no home folder to find {}'s config in; set HOME",
            client.title()
        );
    };
    let loaded = common.load_settings()?;
    let url = match &install.url {
        Some(url) => url.clone(),
        None => endpoint(&loaded)?,
    };
    let entry = entry(common, install, &url, &loaded, &environment)?;
    let paste = format!("\"{NAME}\": {}", serde_json::to_string(&entry)?);

    let before = match fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let after = match edited(
        before.as_deref().unwrap_or_default(),
        client.section(),
        &entry,
    ) {
        Ok(after) => after,
        Err(reason) => {
            output::say(format!("{} {reason}, so it is left alone", path.display()));
            output::say(format!(
                "add this to its \"{}\" yourself:",
                client.section()
            ));
            output::line(&paste)?;
            return Ok(Exit::Failed);
        }
    };
    let unchanged = before.as_deref() == Some(&after);
    let mut backup = None;
    if !unchanged && !install.dry_run {
        if before.is_some() {
            backup = Some(
                edit::back_up(&path)
                    .with_context(|| format!("cannot back up {}", path.display()))?,
            );
        }
        edit::replace(&path, &after).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let diff = edit::diff(before.as_deref().unwrap_or_default(), &after);
    if common.json {
        output::json(&json!({
            "client": client.title(),
            "file": path,
            "entry": entry,
            "changed": !unchanged && !install.dry_run,
            "backup": backup,
        }))?;
        return Ok(Exit::Done);
    }
    if unchanged {
        output::say(format!(
            "{} has the gate already: {}",
            client.title(),
            path.display()
        ));
        return Ok(Exit::Done);
    }
    output::data(diff.as_bytes())?;
    if install.dry_run {
        output::say(format!("this is what would change in {}", path.display()));
        return Ok(Exit::Done);
    }
    match backup {
        Some(backup) => output::say(format!(
            "wrote {}; what was there is in {}",
            path.display(),
            backup.display()
        )),
        None => output::say(format!("wrote {}", path.display())),
    }
    output::say(format!(
        "restart {} to have it see the gate",
        client.title()
    ));
    Ok(Exit::Done)
}

fn entry(
    common: &Common,
    install: &Install,
    url: &Url,
    loaded: &Loaded,
    environment: &Environment,
) -> anyhow::Result<Value> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let mut words = vec!["stdio".to_owned()];
    if install.url.is_some() {
        words.extend(["--connect".to_owned(), url.to_string()]);
    } else if let Some(file) = loaded.files.first() {
        // The client starts it in a folder of its own choice.
        let file = environment.folder.join(file).display().to_string();
        words.extend(["--config".to_owned(), file]);
        let overlay = common.env.iter().flat_map(|name| ["--env", name]);
        words.extend(overlay.map(str::to_owned));
    }
    Ok(install
        .client
        .entry(url, &program.display().to_string(), &words))
}

/// Where clients find the gate.
fn endpoint(loaded: &Loaded) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("{}/mcp", base(loaded, &[])))?)
}

/// The text with our entry in it, comments and all else kept; or what is in the way.
fn edited(text: &str, section: &str, entry: &Value) -> Result<String, String> {
    let blank = text.trim().is_empty();
    let root = CstRootNode::parse(
        if blank { "{\n}\n" } else { text },
        &ParseOptions::default(),
    )
    .map_err(|error| format!("is not JSON ({error})"))?;
    let servers = root
        .object_value()
        .ok_or("holds no JSON object")?
        .object_value_or_create(section)
        .ok_or_else(|| format!("has a \"{section}\" that is no object"))?;
    match servers.get(NAME) {
        Some(property) => {
            if property
                .value()
                .and_then(|value| value.to_serde_value())
                .as_ref()
                == Some(entry)
            {
                return Ok(text.to_owned());
            }
            property.set_value(input(entry));
        }
        None => {
            servers.append(NAME, input(entry));
        }
    }
    Ok(root.to_string())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(yes) => CstInputValue::Bool(*yes),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(list) => CstInputValue::Array(list.iter().map(input).collect()),
        Value::Object(object) => CstInputValue::Object(
            object
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}
