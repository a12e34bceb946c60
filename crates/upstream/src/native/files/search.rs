//! `search`: files below a folder, by name and by text.
//!
//! Everything is bounded: results, files, bytes, depth and time. When a bound ends the search, the answer
//! says so.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use globset::{GlobBuilder, GlobMatcher};
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use policy::{Clock, Instant};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::reply::Failure;
use super::list::names;
use super::read::looks_like_text;
use super::root::Roots;

const MATCHES_DEFAULT: usize = 50;
const MATCHES_MAX: usize = 500;
const FILES_MAX: usize = 50_000;
const BYTES_MAX: u64 = 256 << 20;
const FILE_BYTES_MAX: u64 = 8 << 20;
const DEPTH_MAX: usize = 32;
const TIME_MAX: Duration = Duration::from_secs(10);
const LINE_CHARS_MAX: usize = 300;
const PATTERN_BYTES_MAX: usize = 1 << 20;
const STOPPED_FULL: &str = "there are as many matches as `limit` allows";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    /// The folder to search below: a root's name, then the path inside it, such as `docs/guide`.
    path: String,
    /// Only files of this name: a glob such as `*.md`; with a `/` in it, such as `src/**/*.rs`, it is held
    /// against the path below the folder.
    name: Option<String>,
    /// Only lines that match this regular expression (Rust syntax: no look-around, no back-references).
    text: Option<String>,
    /// Whether upper and lower case are the same in `text`; not unless said.
    #[serde(default)]
    ignore_case: bool,
    /// How many matches to return at most: 1 to 500, 50 unless said.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Found {
    matches: Vec<Match>,
    /// How many files were looked at.
    files: usize,
    /// Why there may be more than this. Narrow the search to see the rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
struct Match {
    /// The file, ready for `read`.
    path: String,
    /// Number of the line, from 1; when text was looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    /// The line, at most 300 characters of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

pub(super) fn search(roots: &Roots, ask: &Search, clock: &dyn Clock) -> Result<Found, Failure> {
    let name = ask.name.as_deref().map(glob).transpose()?;
    let text = ask
        .text
        .as_deref()
        .map(|text| pattern(text, ask.ignore_case))
        .transpose()?;
    if name.is_none() && text.is_none() {
        return Err(Failure::new(
            "Say what to look for: `name`, `text` or both. To see a folder, use `list`.",
        ));
    }
    let place = roots.find(&ask.path)?;
    let folder = place.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    let mut walk = Walk {
        name,
        text,
        base: ask.path.trim_end_matches('/').to_owned(),
        clock,
        start: clock.now(),
        matches_max: ask.limit.unwrap_or(MATCHES_DEFAULT).clamp(1, MATCHES_MAX),
        bytes: 0,
        found: Found {
            matches: Vec::new(),
            files: 0,
            stopped: None,
        },
    };
    walk.folder(&folder, "", 0);
    Ok(walk.found)
}

struct Name {
    glob: GlobMatcher,
    /// Held against the path below the folder, not only the file's name.
    whole: bool,
}

fn glob(text: &str) -> Result<Name, Failure> {
    let unread = |error: globset::Error| {
        Failure(format!("`name` is no glob: {error}. Write it like `*.md`."))
    };
    if text.len() > LINE_CHARS_MAX {
        return Err(Failure::new("`name` is too long for a glob."));
    }
    let glob = GlobBuilder::new(text)
        .literal_separator(true)
        .build()
        .map_err(unread)?;
    Ok(Name {
        glob: glob.compile_matcher(),
        whole: text.contains('/'),
    })
}

fn pattern(text: &str, ignore_case: bool) -> Result<Regex, Failure> {
    RegexBuilder::new(text)
        .case_insensitive(ignore_case)
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| {
            Failure(format!(
                "`text` is no regular expression that can be used: {error}"
            ))
        })
}

struct Walk<'a> {
    name: Option<Name>,
    text: Option<Regex>,
    base: String,
    clock: &'a dyn Clock,
    start: Instant,
    matches_max: usize,
    bytes: u64,
    found: Found,
}

impl Walk<'_> {
    /// Goes through a folder in the order of names, files and folders alike. `below` is its path from where
    /// the search began. What cannot be opened is passed over.
    fn folder(&mut self, folder: &OwnedFd, below: &str, depth: usize) {
        let Ok((names, incomplete)) = names(folder) else {
            return;
        };
        if incomplete {
            self.stop("a folder has too many files");
        }
        for name in names {
            if self.is_over() {
                return;
            }
            let path = if below.is_empty() {
                name.clone()
            } else {
                format!("{below}/{name}")
            };
            // One name, from an open folder, and no link: this cannot lead anywhere else.
            let flags = OFlag::O_RDONLY
                | OFlag::O_NOFOLLOW
                | OFlag::O_NONBLOCK
                | OFlag::O_NOCTTY
                | OFlag::O_CLOEXEC;
            let Ok(opened) = openat(folder, name.as_str(), flags, Mode::empty()) else {
                continue;
            };
            let file = File::from(opened);
            match file.metadata() {
                Ok(facts) if facts.is_dir() && name != ".git" => match depth < DEPTH_MAX {
                    true => self.folder(&file.into(), &path, depth + 1),
                    false => self.stop("some folders are nested too deeply"),
                },
                Ok(facts) if facts.is_file() => self.file(file, facts.len(), &name, &path),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn file(&mut self, file: File, size: u64, name: &str, path: &str) {
        self.found.files += 1;
        let fits = |wanted: &Name| wanted.glob.is_match(if wanted.whole { path } else { name });
        if !self.name.as_ref().is_none_or(fits) {
            return;
        }
        let Some(text) = &self.text else {
            self.found.matches.push(Match {
                path: format!("{}/{path}", self.base),
                line: None,
                text: None,
            });
            return;
        };
        if size > FILE_BYTES_MAX {
            self.stop("some files are too large to look into");
            return;
        }
        let mut content = Vec::new();
        let read = file.take(FILE_BYTES_MAX).read_to_end(&mut content);
        self.bytes += content.len() as u64;
        let head = content.get(..8 * 1024).unwrap_or(&content);
        if read.is_err() || !looks_like_text(head) {
            return;
        }
        for (line, number) in content.split(|byte| *byte == b'\n').zip(1..) {
            if text.is_match(line) {
                if self.found.matches.len() == self.matches_max {
                    self.found.stopped = Some(STOPPED_FULL);
                    break;
                }
                self.found.matches.push(Match {
                    path: format!("{}/{path}", self.base),
                    line: Some(number),
                    text: Some(
                        String::from_utf8_lossy(line)
                            .trim_end()
                            .chars()
                            .take(LINE_CHARS_MAX)
                            .collect(),
                    ),
                });
            }
        }
    }

    fn is_over(&mut self) -> bool {
        let why = if self.found.matches.len() >= self.matches_max {
            STOPPED_FULL
        } else if self.found.files >= FILES_MAX {
            "there are too many files"
        } else if self.bytes >= BYTES_MAX {
            "the files hold too much text"
        } else if self.clock.now().since(self.start) >= TIME_MAX {
            "it took too long"
        } else {
            return false;
        };
        self.found.stopped = Some(why);
        true
    }

    fn stop(&mut self, why: &'static str) {
        self.found.stopped = Some(why);
    }
}
