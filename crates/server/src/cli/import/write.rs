//! Adds upstreams to a portcullis.toml and leaves everything else in it as it was, comments included.

use policy::UpstreamId;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value as Toml, value};

use super::read::{Kind, Server, Value};

/// Longest alias, as [`UpstreamId`] bounds it.
const ALIAS_CHARS_MAX: usize = 48;

/// What became of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is new, under this alias.
    Added(String),
    /// The same one was there already, under this alias.
    There(String),
}

/// The config to add to.
#[derive(Debug)]
pub(super) struct Target {
    document: DocumentMut,
}

impl Target {
    pub(super) fn read(text: &str) -> Result<Self, toml_edit::TomlError> {
        Ok(Self {
            document: text.parse()?,
        })
    }

    pub(super) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Adds a server, unless the same one is there.
    pub(super) fn add(&mut self, server: &Server) -> Fate {
        let upstreams = self.document.entry("upstreams").or_insert_with(|| {
            let mut table = Table::new();
            table.set_implicit(true);
            Item::Table(table)
        });
        if !upstreams.is_table_like() {
            // The config is broken there, and says so when it is read; here it only makes room.
            *upstreams = Item::Table(Table::new());
        }
        let Some(upstreams) = upstreams.as_table_like_mut() else {
            return Fate::There(server.name.clone());
        };
        let same = upstreams
            .iter()
            .find(|(_, there)| is_same(there, server))
            .map(|(alias, _)| alias.to_owned());
        if let Some(alias) = same {
            return Fate::There(alias);
        }
        let alias = free_alias(&server.name, upstreams);
        let table = table(server);
        let inline = upstreams
            .iter()
            .next()
            .is_some_and(|(_, first)| first.is_inline_table());
        let item = if inline {
            value(table.into_inline_table())
        } else {
            Item::Table(table)
        };
        upstreams.insert(&alias, item);
        Fate::Added(alias)
    }
}

fn is_same(there: &Item, server: &Server) -> bool {
    let Some(there) = there.as_table_like() else {
        return false;
    };
    let text = |key: &str| there.get(key).and_then(Item::as_str);
    match &server.kind {
        Kind::Url { url, .. } => text("url") == Some(url),
        Kind::Stdio { words, cwd, .. } => {
            let words_there = there.get("stdio").and_then(Item::as_array);
            let same_words = words_there.is_some_and(|array| {
                array
                    .iter()
                    .map(Toml::as_str)
                    .eq(words.iter().map(|word| Some(word.as_str())))
            });
            same_words && text("cwd") == cwd.as_deref()
        }
    }
}

fn free_alias(name: &str, upstreams: &dyn TableLike) -> String {
    let base = legal(name);
    if !upstreams.contains_key(&base) {
        return base;
    }
    let numbered = |nth: usize| {
        let suffix = format!("-{nth}");
        let head: String = base.chars().take(ALIAS_CHARS_MAX - suffix.len()).collect();
        head + &suffix
    };
    // One of these is free: there are more of them than upstreams.
    (2..=upstreams.len() + 2)
        .map(numbered)
        .find(|alias| !upstreams.contains_key(alias))
        .unwrap_or(base)
}

fn legal(name: &str) -> String {
    if UpstreamId::parse(name).is_ok() {
        return name.to_owned();
    }
    let mut alias = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        };
        let repeats = alias.ends_with(c) && (c == '-' || c == '_');
        if !repeats && alias.len() < ALIAS_CHARS_MAX {
            alias.push(c);
        }
    }
    let alias = alias.trim_matches('-');
    if alias.is_empty() {
        "server".to_owned()
    } else {
        alias.to_owned()
    }
}

fn table(server: &Server) -> Table {
    let mut table = Table::new();
    match &server.kind {
        Kind::Stdio { words, env, cwd } => {
            table.insert("stdio", value(words.iter().collect::<Array>()));
            if let Some(cwd) = cwd {
                table.insert("cwd", value(cwd));
            }
            if !env.is_empty() {
                table.insert("env", value(values(env)));
            }
        }
        Kind::Url { url, headers } => {
            table.insert("url", value(url));
            if !headers.is_empty() {
                table.insert("headers", value(values(headers)));
            }
        }
    }
    if !server.enabled {
        table.insert("enabled", value(false));
    }
    table
}

fn values(values: &[(String, Value)]) -> InlineTable {
    values
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => Toml::from(text),
                Value::Env(variable) => Toml::from(InlineTable::from_iter([("env", variable)])),
            };
            (name, value)
        })
        .collect()
}
