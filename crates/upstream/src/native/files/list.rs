//! `list`: what is in one folder.

use std::os::fd::{AsFd as _, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{SFlag, fstatat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::reply::Failure;
use super::Kind;
use super::root::Roots;

/// Most names of one folder that are read.
pub(super) const NAMES_MAX: usize = 50_000;
const ENTRIES_DEFAULT: usize = 200;
const ENTRIES_MAX: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    /// The folder: a root's name, then the path inside it, such as `docs/guide`. Empty lists the roots.
    path: String,
    /// How many entries to return at most: 1 to 1000, 200 unless said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Page {
    /// Sorted by name.
    entries: Vec<Entry>,
    /// Pass it as `cursor` for the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// The folder has more names than can be listed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schemars(default)]
    incomplete: bool,
}

#[derive(Serialize, JsonSchema)]
struct Entry {
    name: String,
    kind: Kind,
    /// Size in bytes; of a file only.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
}

pub(super) fn list(roots: &Roots, ask: &List) -> Result<Page, Failure> {
    if ask.path.is_empty() {
        let folder = |name: &str| Entry {
            name: name.to_owned(),
            kind: Kind::Folder,
            size: None,
        };
        let entries = roots.names().map(folder).collect();
        return Ok(Page {
            entries,
            next_cursor: None,
            incomplete: false,
        });
    }
    let place = roots.find(&ask.path)?;
    let folder = place.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let (names, incomplete) = names(&folder).map_err(|errno| place.failure(errno))?;
    let after = ask.cursor.as_deref().unwrap_or_default();
    let limit = ask.limit.unwrap_or(ENTRIES_DEFAULT).clamp(1, ENTRIES_MAX);
    let mut left = names
        .into_iter()
        .skip_while(|name| !after.is_empty() && name.as_str() <= after)
        .peekable();
    let mut entries = Vec::new();
    let mut last = None;
    for name in left.by_ref().take(limit) {
        last = Some(name.clone());
        entries.push(entry(&folder, name));
    }
    let next_cursor = left.peek().and(last);
    Ok(Page {
        entries,
        next_cursor,
        incomplete,
    })
}

/// The names in a folder, sorted, and whether there are more than we read.
///
/// A name that is not UTF-8 appears with replacement characters: it is seen, but cannot be asked for.
pub(super) fn names(folder: &OwnedFd) -> Result<(Vec<String>, bool), Errno> {
    let own = folder.try_clone().map_err(|_full| Errno::EMFILE)?;
    let mut names = Vec::new();
    let mut incomplete = false;
    for entry in Dir::from_fd(own)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name == "." || name == ".." {
            continue;
        }
        if names.len() == NAMES_MAX {
            incomplete = true;
            break;
        }
        names.push(name.into_owned());
    }
    names.sort_unstable();
    Ok((names, incomplete))
}

/// What a name in a folder stands for; a link for itself. What cannot be looked at counts as special.
fn entry(folder: &OwnedFd, name: String) -> Entry {
    let Ok(facts) = fstatat(folder.as_fd(), name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else {
        return Entry {
            name,
            kind: Kind::Special,
            size: None,
        };
    };
    let kind = match SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Folder,
        SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Special,
    };
    let size = u64::try_from(facts.st_size)
        .ok()
        .filter(|_| kind == Kind::File);
    Entry { name, kind, size }
}
