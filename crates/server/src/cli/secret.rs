//! `portcullis secret`: values that the config refers to as `{ secret = "NAME" }`, and the keys they are sealed with.
//!
//! No value is ever printed, and none is taken from the command line, which other users can read.

use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context as _;
use auth::vault::SEALED;
use auth::vault::secrets::{self, SecretName, VALUE_BYTES_MAX};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;
use store::Store;
use zeroize::Zeroizing;

use super::arguments::Unusable;
use super::record::Act;
use super::{Common, Exit, Secret, now, output, terminal};
use crate::config::{self, Environment, Loaded, is_placeholder};
use crate::vault::{self, Source};

/// Random bytes of a generated secret.
const GENERATED_LEN: usize = 32;

pub(super) fn secret(common: &Common, secret: Secret) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let exit = match secret {
            Secret::Set { name, generate } => {
                // What is no name may be the value by mistake: it gets into no record.
                let name = named(&name)?;
                let act = Act::begin(&store, "admin/secrets.set").await?;
                act.intend(name.as_str()).await?;
                let exit = set(common, &loaded, &store, &name, generate).await;
                act.end(name.as_str(), &exit).await?;
                exit
            }
            Secret::List => list(common, &store),
            Secret::Rotate {
                new_master_file: None,
            } => {
                let act = Act::begin(&store, "admin/secrets.rotate").await?;
                act.intend("data key").await?;
                let exit = rotate(common, &loaded, &store).await;
                act.end("data key", &exit).await?;
                exit
            }
            Secret::Rotate {
                new_master_file: Some(file),
            } => {
                let act = Act::begin(&store, "admin/secrets.rotate").await?;
                act.intend("master key").await?;
                let exit = rewrap(common, &loaded, &store, &file).await;
                act.end("master key", &exit).await?;
                exit
            }
            Secret::Remove { name } => {
                let name = named(&name)?;
                let act = Act::begin(&store, "admin/secrets.remove").await?;
                act.intend(name.as_str()).await?;
                let exit = remove(common, &store, &name).await;
                act.end(name.as_str(), &exit).await?;
                exit
            }
        };
        store.close().await;
        exit
    })
}

fn named(text: &str) -> Result<SecretName, Unusable> {
    SecretName::new(text).map_err(|error| Unusable(error.to_string()))
}

async fn set(
    common: &Common,
    loaded: &Loaded,
    store: &Store,
    name: &SecretName,
    generate: bool,
) -> anyhow::Result<Exit> {
    // Before anything is typed: a vault that does not open takes nothing.
    let vault = vault::open(store, &loaded.master_key, now())?;
    let value = if generate {
        generated()?
    } else {
        typed_or_piped(name)?
    };
    if std::str::from_utf8(&value).is_ok_and(is_placeholder) {
        anyhow::bail!("that is a placeholder, not a secret; nothing was kept");
    }
    let is_new = secrets::put(store, &vault, name, &value, now()).await?;
    if common.json {
        output::json(&json!({ "name": name.as_str(), "created": is_new }))?;
    }
    let done = if is_new { "keeps" } else { "replaced" };
    output::say(format!("{done} the secret {name}; it is not shown again"));
    output::say(if is_new {
        format!("refer to it in the config as {{ secret = \"{name}\" }}")
    } else {
        "a running gate takes it over within a second".to_owned()
    });
    Ok(Exit::Done)
}

fn generated() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut random = Zeroizing::new([0_u8; GENERATED_LEN]);
    SystemRandom::new()
        .fill(&mut *random)
        .ok()
        .context("the operating system gave no random bytes")?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*random));
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

/// From whoever is at the terminal, unseen; or from what is piped in, without the newline at its end.
fn typed_or_piped(name: &SecretName) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let mut stdin = terminal::stdin()?;
    let question = format!("value of {name} (not shown): ");
    if let Some(typed) = terminal::typed(&stdin, &question).context("nothing was kept")? {
        return Ok(typed);
    }
    let mut value = Zeroizing::new(Vec::with_capacity(VALUE_BYTES_MAX + 3));
    let limit = u64::try_from(VALUE_BYTES_MAX + 3)?;
    stdin.by_ref().take(limit).read_to_end(&mut value)?;
    // As editors and `echo` put it there.
    for end in [b'\n', b'\r'] {
        value.pop_if(|last| *last == end);
    }
    Ok(value)
}

fn list(common: &Common, store: &Store) -> anyhow::Result<Exit> {
    let kept = store.list_secrets()?;
    let data_key = |value: &[u8]| auth::vault::data_key_of(value).unwrap_or_default();
    if common.json {
        let all = kept.iter().map(|row| {
            json!({
                "name": row.name,
                "created_at": utc(row.created_at),
                "updated_at": utc(row.updated_at),
                "data_key": data_key(&row.value),
            })
        });
        output::json(&all.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if kept.is_empty() {
        output::say("there are no secrets; `portcullis secret set NAME` keeps one");
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = kept
        .into_iter()
        .map(|row| {
            let data_key = data_key(&row.value);
            vec![
                row.name,
                data_key,
                local(row.created_at),
                local(row.updated_at),
            ]
        })
        .collect();
    let headings = ["name", "data key", "created", "updated"];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

async fn rotate(common: &Common, loaded: &Loaded, store: &Store) -> anyhow::Result<Exit> {
    let vault = vault::open(store, &loaded.master_key, now())?;
    vault.rotate_data_key(now()).await?;
    let resealed = vault.reseal(SEALED).await?;
    if common.json {
        output::json(&json!({
            "data_key": vault.newest_data_key(),
            "resealed": resealed.done,
            "unreadable": resealed.unreadable,
        }))?;
    }
    output::say(format!(
        "made data key {} and sealed {} with it; a running gate takes it over within a second",
        vault.newest_data_key(),
        values(resealed.done)
    ));
    if resealed.unreadable > 0 {
        output::say(format!(
            "{} could not be opened and stay as they are: set them anew or remove them",
            values(resealed.unreadable)
        ));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn values(count: usize) -> String {
    match count {
        1 => "1 value".to_owned(),
        count => format!("{count} values"),
    }
}

async fn rewrap(
    common: &Common,
    loaded: &Loaded,
    store: &Store,
    file: &Path,
) -> anyhow::Result<Exit> {
    let vault = vault::open(store, &loaded.master_key, now())?;
    let file = std::path::absolute(file)?;
    let is_made = !file.exists();
    if is_made {
        vault::make(&file)?;
    }
    // Read back as the next start will read it.
    let master = Source::File(file.clone()).key()?;
    vault.rewrap(&master).await?;
    if common.json {
        output::json(&json!({ "master_key": file.to_string_lossy(), "created": is_made }))?;
    }
    let origin = if is_made { " which was made now," } else { "" };
    output::say(format!(
        "the master key is now that in {},{origin} and no other opens this database",
        file.display()
    ));
    output::say(format!(
        "say so in the config before the next start: [secrets] master_key = {{ file = {} }}",
        toml::Value::String(file.to_string_lossy().into_owned())
    ));
    output::say(format!(
        "a gate that runs goes on until then; {} opens only backups from before",
        loaded.master_key
    ));
    Ok(Exit::Done)
}

async fn remove(common: &Common, store: &Store, name: &SecretName) -> anyhow::Result<Exit> {
    let known = store.remove_secret(name.as_str()).await?;
    if common.json {
        output::json(&json!({ "name": name.as_str(), "removed": known }))?;
    }
    if !known {
        output::say(format!(
            "there is no secret {name}; `portcullis secret list` shows them all"
        ));
        return Ok(Exit::Failed);
    }
    output::say(format!("removed the secret {name}"));
    let used = used_by(common, name);
    if !used.is_empty() {
        output::say(format!(
            "the config still refers to it in {}: no gate starts until that is changed",
            used.join(", ")
        ));
    }
    Ok(Exit::Done)
}

/// The keys of the config that refer to a secret.
fn used_by(common: &Common, name: &SecretName) -> Vec<String> {
    let reference = format!("{{ secret = \"{name}\" }}");
    config::show(&common.sources(), &Environment::of_process())
        .map(|(shown, _)| shown)
        .unwrap_or_default()
        .into_iter()
        .filter(|one| one.value == reference)
        .map(|one| one.key)
        .collect()
}

fn utc(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn local(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
