//! The pack `files`: reading, and if the operator allows it writing, files under a few folders.
//!
//! That nothing outside those folders is touched is the kernel's word, asked for in `root` and nowhere
//! else; the other files below only ever hold what `root` opened.

use std::path::PathBuf;
use std::sync::Arc;

use policy::Clock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Error;
use super::reply::{blocking, input, reply};
use super::tool::{READS, WRITES, tool};

mod list;
mod read;
mod root;
mod search;
#[cfg(test)]
mod tests;
mod write;

use root::Roots;

#[derive(Debug)]
pub(super) struct Files {
    roots: Arc<Roots>,
    clock: Arc<dyn Clock>,
    write: bool,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Folder,
    Link,
    /// A device, pipe or socket; it can be neither read nor written.
    Special,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stat {
    /// The file or folder: a root's name, then the path inside it, such as `docs/guide/start.md`.
    path: String,
}

pub(super) fn tools(roots: &[&str], write: bool) -> Vec<Box<RawValue>> {
    let roots: Vec<String> = roots.iter().map(|name| format!("`{name}`")).collect();
    let paths = format!(
        "A path is a root's name, then the path inside that root, separated by `/`; there are no absolute \
         paths. The roots are {}.",
        roots.join(", ")
    );
    let told = |text: &str| format!("{text} {paths}");
    let mut tools = vec![
        tool::<read::Read, read::Content>(
            "read",
            "Read a file",
            &told(
                "Returns a text file, by default its first 2000 lines; go on at `next_offset`. A binary file \
                 of up to 1 MiB comes as base64.",
            ),
            READS,
        ),
        tool::<list::List, list::Page>(
            "list",
            "List a folder",
            &told(
                "Lists what is in one folder, sorted by name, a page at a time. The path `` lists the roots.",
            ),
            READS,
        ),
        tool::<search::Search, search::Found>(
            "search",
            "Search files",
            &told(
                "Finds files below a folder by name, by a regular expression in their text, or both. Leaves \
                 out links, `.git` folders and, when it looks for text, binary files.",
            ),
            READS,
        ),
        tool::<Stat, read::Facts>(
            "stat",
            "Describe a file",
            &told(
                "Tells the kind, size and time of change of a file or folder without reading it.",
            ),
            READS,
        ),
    ];
    if write {
        tools.push(tool::<write::Write, write::Written>(
            "write",
            "Write a file",
            &told(
                "Writes a text file in a folder that exists: a new one, over an old one as a whole, or after \
                 its end.",
            ),
            WRITES,
        ));
    }
    tools
}

impl Files {
    pub(super) fn open(roots: &[PathBuf], clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(Self {
            roots: Arc::new(Roots::open(roots)?),
            clock,
            write: false,
        })
    }

    pub(super) fn writable(self, write: bool) -> Self {
        Self { write, ..self }
    }

    pub(super) fn root_names(&self) -> Vec<&str> {
        self.roots.names().collect()
    }

    pub(super) async fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<Box<RawValue>, Error> {
        let roots = Arc::clone(&self.roots);
        Ok(match tool {
            "read" => reply(blocking(move || read::read(&roots, &input(arguments)?)).await),
            "list" => reply(blocking(move || list::list(&roots, &input(arguments)?)).await),
            "search" => {
                let clock = Arc::clone(&self.clock);
                reply(blocking(move || search::search(&roots, &input(arguments)?, &*clock)).await)
            }
            "stat" => reply(
                blocking(move || {
                    let Stat { path } = input(arguments)?;
                    read::stat(&roots, &path)
                })
                .await,
            ),
            "write" if self.write => {
                reply(blocking(move || write::write(&roots, &input(arguments)?)).await)
            }
            _ => return Err(Error::UnknownTool(tool.to_owned())),
        })
    }
}
