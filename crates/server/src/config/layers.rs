//! Lays one source over another and remembers where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::{Table, Value};

use super::schema;

/// Where a value came from. Ordered as people read: file by file, line by line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody said; this is what holds then.
    Default,
    /// A config file.
    File {
        /// The file, as it was named or found.
        path: Arc<Path>,
        /// The line, in formats whose parser tells.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Where each key came from; tables are in it too, so that a complaint about a whole section has a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// The origin of a key, or of the nearest thing around it: an element of a list has its list's.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<&Origin> {
        let mut key = key;
        loop {
            if let Some(origin) = self.0.get(key) {
                return Some(origin);
            }
            key = key.rsplit_once('.')?.0;
        }
    }

    /// The folder that a relative path under this key starts from.
    pub(super) fn base(&self, key: &str) -> PathBuf {
        match self.of(key) {
            Some(Origin::File { path, .. }) => {
                path.parent().map(Path::to_path_buf).unwrap_or_default()
            }
            Some(Origin::Default | Origin::Variable(_) | Origin::Flag(_)) | None => PathBuf::new(),
        }
    }

    pub(super) fn set(&mut self, path: &[String], origin: Origin) {
        self.0.insert(path.join("."), origin);
    }

    fn forget(&mut self, path: &[String]) {
        let key = path.join(".");
        let below = format!("{key}.");
        self.0
            .retain(|known, _| *known != key && !known.starts_with(&below));
    }
}

/// Values with their origins: one source, or several merged.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) table: Table,
    pub(super) origins: Origins,
}

impl Layer {
    /// Sets one value; tables on the way are made.
    pub(super) fn set(&mut self, path: &[String], value: Value, origin: &Origin) {
        let Some((last, way)) = path.split_last() else {
            return;
        };
        let mut table = &mut self.table;
        for (depth, key) in way.iter().enumerate() {
            self.origins.set(&path[..=depth], origin.clone());
            let slot = table
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if !slot.is_table() {
                *slot = Value::Table(Table::new());
            }
            let Value::Table(next) = slot else { return };
            table = next;
        }
        table.insert(last.clone(), value);
        self.origins.set(path, origin.clone());
    }

    /// Lays `over` over this: tables merge key by key, everything else is replaced whole.
    pub(super) fn merge(&mut self, over: Self) {
        let mut path = Vec::new();
        merge(
            &mut self.table,
            over.table,
            &mut path,
            &mut self.origins,
            &over.origins,
        );
    }

    /// Fills in what nobody said; `*` in `defaults` stands for every table that is there.
    pub(super) fn fill(&mut self, defaults: &Table) {
        fill(
            &mut self.table,
            defaults,
            &mut Vec::new(),
            &mut self.origins,
        );
    }
}

fn merge(
    base: &mut Table,
    over: Table,
    path: &mut Vec<String>,
    origins: &mut Origins,
    from: &Origins,
) {
    for (key, value) in over {
        path.push(key.clone());
        match (base.get_mut(&key), value) {
            // A reference to a secret is one value: `{ file = … }` replaces `{ env = … }`.
            (Some(Value::Table(below)), Value::Table(above)) if !schema::is_secret(path) => {
                if let Some(origin) = from.of(&path.join(".")) {
                    origins.set(path, origin.clone());
                }
                merge(below, above, path, origins, from);
            }
            (_, value) => {
                origins.forget(path);
                adopt(&value, path, origins, from);
                base.insert(key, value);
            }
        }
        path.pop();
    }
}

fn adopt(value: &Value, path: &mut Vec<String>, origins: &mut Origins, from: &Origins) {
    if let Some(origin) = from.of(&path.join(".")) {
        origins.set(path, origin.clone());
    }
    if let Value::Table(table) = value {
        for (key, value) in table {
            path.push(key.clone());
            adopt(value, path, origins, from);
            path.pop();
        }
    }
}

fn fill(table: &mut Table, defaults: &Table, path: &mut Vec<String>, origins: &mut Origins) {
    for (key, default) in defaults {
        if key == "*" {
            let Value::Table(default) = default else {
                continue;
            };
            for (name, each) in table.iter_mut() {
                if let Value::Table(each) = each {
                    path.push(name.clone());
                    fill(each, default, path, origins);
                    path.pop();
                }
            }
            continue;
        }
        path.push(key.clone());
        match (table.get_mut(key), default) {
            (Some(Value::Table(there)), Value::Table(default)) => {
                fill(there, default, path, origins);
            }
            (Some(_), _) => {}
            (None, Value::Table(default)) => {
                let mut there = Table::new();
                fill(&mut there, default, path, origins);
                table.insert(key.clone(), Value::Table(there));
            }
            (None, value) => {
                table.insert(key.clone(), value.clone());
                origins.set(path, Origin::Default);
            }
        }
        path.pop();
    }
}
