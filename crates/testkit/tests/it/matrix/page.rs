//! A file of the matrix, `cases/rules/KIND/SUBJECT.toml`: rules, and what each caller gets who asks for the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::cells::{Caller, Kind, Subject};

/// One file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    /// What it shows, in a sentence.
    pub(super) about: String,
    /// Further config: virtual servers, say.
    #[serde(default)]
    pub(super) config: toml::Table,
    /// The rules of who is allowed, asked and denied.
    pub(super) roles: BTreeMap<Caller, toml::Table>,
    /// Requests that every caller makes.
    pub(super) asks: Vec<Ask>,
}

/// One request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    /// What it is about, if not what the file is.
    pub(super) subject: Option<Subject>,
    /// A method of MCP, or a verb and a path of the admin API.
    pub(super) method: String,
    /// `{task}` in it is the id of a task that the caller made when nothing was forbidden yet.
    #[serde(default)]
    pub(super) params: Map<String, Value>,
    /// The virtual server that is asked; otherwise the whole.
    pub(super) server: Option<String>,
    /// What the client calls itself.
    #[serde(default = "client")]
    pub(super) client: String,
    /// What the issuer says of the caller, who presents a token then; otherwise a key.
    pub(super) claims: Option<Map<String, Value>>,
    /// How much time passes before.
    pub(super) after: Option<String>,
    /// What comes of it.
    pub(super) expect: BTreeMap<Caller, Outcome>,
}

fn client() -> String {
    "testkit/1".to_owned()
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    /// 401.
    Unauthenticated,
    /// As if there were no such virtual server: it has nothing for the caller.
    NoServer,
    /// As if there were no such thing: no rule speaks of it.
    Unknown,
    /// As if there were no such thing, because a rule denies it.
    Hidden,
    /// It is there, and may not be done; or not like this.
    Refused,
    /// A person must say yes first.
    Asked,
    /// Done.
    Answered,
}

impl Page {
    /// Whether time passes between its requests.
    pub(super) fn takes_time(&self) -> bool {
        self.asks.iter().any(|ask| ask.after.is_some())
    }

    /// Whether every request says what this caller gets.
    pub(super) fn covers(&self, caller: Caller) -> bool {
        !self.asks.is_empty() && self.asks.iter().all(|ask| ask.expect.contains_key(&caller))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cases/rules")
}

/// The file of one cell of the table.
pub(super) fn read(kind: Kind, subject: Subject) -> Result<Option<Page>> {
    let path = folder()
        .join(kind.word())
        .join([subject.word(), ".toml"].concat());
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)?;
    let page = toml::from_str(&text).with_context(|| path.display().to_string())?;
    Ok(Some(page))
}

/// All files there are.
pub(super) fn read_all() -> Result<BTreeMap<(Kind, Subject), Page>> {
    let mut pages = BTreeMap::new();
    for &kind in Kind::ALL {
        for &subject in Subject::ALL {
            if let Some(page) = read(kind, subject)? {
                pages.insert((kind, subject), page);
            }
        }
    }
    Ok(pages)
}

/// Files that lie where none is read.
pub(super) fn strays() -> Result<Vec<PathBuf>> {
    let mut strays = Vec::new();
    for kind in fs::read_dir(folder())? {
        for file in fs::read_dir(kind?.path())? {
            strays.push(file?.path());
        }
    }
    let known = |path: &PathBuf| {
        Kind::ALL.iter().any(|kind| {
            Subject::ALL.iter().any(|subject| {
                let name = [subject.word(), ".toml"].concat();
                path.ends_with(Path::new(kind.word()).join(name))
            })
        })
    };
    strays.retain(|path| !known(path));
    Ok(strays)
}
