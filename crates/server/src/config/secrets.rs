//! `[secrets]`: where the master key is; and where `{ secret = "NAME" }` is looked up while a config is read.
//!
//! A config is read before the database of a gate is open, and for commands that start no gate. So whoever reads says
//! what is to be done about references: [`Fetch`].

use std::cell::{Cell, OnceCell};
use std::path::PathBuf;

use auth::Vault;
use auth::vault::secrets::{self, SecretName};
use policy::config::Complaints;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use store::{Location, Store};
use zeroize::Zeroizing;

use super::check::Checker;
use crate::vault::{self, Source};

/// What stands for a secret that was not fetched. No gate starts with it.
const STAND_IN: &str = "not-fetched-not-fetched-not-fetched-not-fetched";

/// Secrets that are kept in the database, and the key that they are sealed under.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecrets {
    /// Where the 32 bytes are, raw or in base64, that everything secret in the database is sealed under: `{ file = "PATH" }`, readable by its owner alone; `{ env = "NAME" }`; or `{ command = ["/usr/bin/kms-decrypt", "…"] }`, a program that writes it to its stdout within ten seconds and gets no shell and a scrubbed environment. Unless said, the file `master.key` in `data_dir`, made at the first start.
    pub master_key: Option<RawMasterKey>,
}

/// Where the master key is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawMasterKey {
    File(String),
    Env(String),
    Command(Vec<String>),
}

impl JsonSchema for RawMasterKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MasterKey".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kind": "source",
            "type": "object",
            "properties": {
                "file": { "type": "string", "description": "The file that holds the key." },
                "env": { "type": "string", "description": "The environment variable that holds the key in base64." },
                "command": {
                    "type": "array",
                    "items": { "type": "string" },
                    "minItems": 1,
                    "description": "A program by its whole path, and its arguments.",
                },
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}

/// What is to be done about values that stand elsewhere.
#[derive(Clone, Copy)]
pub enum Fetch<'a> {
    /// Nothing: for commands that start no upstream, and should not fail for one's missing secret. What is read so
    /// is not whole ([`Loaded::is_whole`](super::Loaded::is_whole)).
    Nothing,
    /// They are fetched; secrets of the database from the one in the data folder, if there are any.
    Everything,
    /// They are fetched; secrets of the database from this one, which a gate has open.
    From(&'a Store, &'a Vault),
}

impl std::fmt::Debug for Fetch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Everything => "Everything",
            Self::From(..) => "From",
        })
    }
}

/// Secrets by name, while one config is read.
pub(super) struct Lookup<'a> {
    fetch: Fetch<'a>,
    /// The database and its master key, as this config says.
    place: OnceCell<(Location, Source)>,
    /// Opened by the first reference; `None` if there is no database yet.
    opened: OnceCell<Result<Option<Opened>, String>>,
    left_out: Cell<bool>,
}

struct Opened {
    store: Store,
    vault: std::sync::Arc<Vault>,
}

/// What is wrong with a reference, and what to do about it.
type Trouble = (String, String);

impl<'a> Lookup<'a> {
    pub(super) fn new(fetch: Fetch<'a>) -> Self {
        Self {
            fetch,
            place: OnceCell::new(),
            opened: OnceCell::new(),
            left_out: Cell::new(false),
        }
    }

    /// Says where the database is. Before anything is looked up.
    pub(super) fn settle(&self, database: Location, master_key: Source) {
        // The first word counts, and there is only one.
        drop(self.place.set((database, master_key)));
    }

    /// What stands for a secret if none is to be fetched.
    pub(super) fn stand_in(&self) -> Option<String> {
        if !matches!(self.fetch, Fetch::Nothing) {
            return None;
        }
        self.left_out.set(true);
        Some(STAND_IN.to_owned())
    }

    /// Whether every secret that was asked for was fetched.
    pub(super) fn is_whole(&self) -> bool {
        !self.left_out.get()
    }

    /// The secret of this name.
    pub(super) fn get(&self, name: &str) -> Result<Zeroizing<String>, Trouble> {
        let plain = |reason: String| (reason, String::new());
        let name = SecretName::new(name).map_err(|error| plain(error.to_string()))?;
        let missing = || {
            (
                format!("there is no secret `{name}`"),
                format!("run `portcullis secret set {name}`"),
            )
        };
        let (store, vault) = match self.fetch {
            Fetch::From(store, vault) => (store, vault),
            Fetch::Nothing | Fetch::Everything => match self.opened() {
                Ok(Some(opened)) => (&opened.store, &*opened.vault),
                Ok(None) => return Err(missing()),
                Err(error) => return Err(plain(error.clone())),
            },
        };
        let row = store
            .get_secret(name.as_str())
            .map_err(|error| plain(in_words(error)))?
            .ok_or_else(missing)?;
        secrets::open(vault, &name, &row.value)
            .map_err(|error| plain(format!("the secret `{name}`: {}", in_words(error))))
    }

    fn opened(&self) -> &Result<Option<Opened>, String> {
        self.opened.get_or_init(|| {
            let Some((database, master_key)) = self.place.get() else {
                return Ok(None);
            };
            // Reading a config makes no database, and no master key.
            if !database.exists() {
                return Ok(None);
            }
            let store = Store::open(database).map_err(in_words)?;
            if store.list_data_keys().map_err(in_words)?.is_empty() {
                return Ok(None);
            }
            let vault = vault::open_sealed(&store, master_key).map_err(in_words)?;
            Ok(Some(Opened { store, vault }))
        })
    }
}

fn in_words(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

impl Checker<'_> {
    /// Where the master key is.
    pub(super) fn master_key(
        &self,
        raw: &RawSecrets,
        own: PathBuf,
        complaints: &mut Complaints,
    ) -> Option<Source> {
        complaints.at("secrets.master_key", |complaints| match &raw.master_key {
            None => Some(Source::Own(own)),
            Some(RawMasterKey::File(text)) => {
                Some(Source::File(self.path(text, "secrets.master_key")))
            }
            Some(RawMasterKey::Env(name)) => Some(Source::Env {
                name: name.clone(),
                value: self
                    .environment
                    .get(name)
                    .map(|value| Zeroizing::new(value.to_owned())),
            }),
            Some(RawMasterKey::Command(words)) => command(words, complaints),
        })
    }
}

fn command(words: &[String], complaints: &mut Complaints) -> Option<Source> {
    const HINT: &str = "write for example [\"/usr/bin/kms-decrypt\", \"gate\"]";
    let program = words.first()?;
    if words.iter().any(|word| word.contains('\0')) {
        complaints.add("holds a NUL character", "");
        return None;
    }
    // The one that PATH happens to find first is not to have the key to everything.
    if !program.starts_with('/') {
        complaints.add(
            format!("`{program}` is not the whole path of a program"),
            HINT,
        );
        return None;
    }
    Some(Source::Command(words.to_vec()))
}
