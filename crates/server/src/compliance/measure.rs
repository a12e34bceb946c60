//! One thing that the gate does for somebody's safety, and what it is judged from.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use url::Host;

use super::{Facts, Status};
use crate::config::{Loaded, Shown};

/// One thing that the gate does. All of them stand in `measures`.
#[derive(Debug)]
pub struct Measure {
    /// A short name that stays: reports refer to it.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// What the gate does, in a sentence or two.
    pub does: &'static str,
    /// Keys of the config that decide about it; `*` stands for any one name.
    pub keys: &'static [&'static str],
    /// Tests that try to break it: `FILE::FUNCTION` below `crates/`, or a file under `cases/`.
    pub tests: &'static [&'static str],
    /// Command lines that show what became of it in practice.
    pub queries: &'static [&'static str],
    /// How it stands with this config.
    pub judge: fn(&Gate<'_>) -> Verdict,
}

/// How a measure stands, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How.
    pub status: Status,
    /// Why, in a sentence; never empty.
    pub why: String,
    /// What would put it right: a line of config, a command, or what is needed besides the gate.
    pub remedy: Option<String>,
}

impl Verdict {
    pub(super) fn on(why: impl Into<String>) -> Self {
        Self::new(Status::On, why, None)
    }

    pub(super) fn partly(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Status::Partly, why, Some(remedy.into()))
    }

    pub(super) fn off(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(Status::Off, why, Some(remedy.into()))
    }

    /// Nothing in this version does it; `needed` says what does, in its place.
    pub(super) fn not_built(why: impl Into<String>, needed: impl Into<String>) -> Self {
        Self::new(Status::NotCovered, why, Some(needed.into()))
    }

    fn new(status: Status, why: impl Into<String>, remedy: Option<String>) -> Self {
        Self {
            status,
            why: why.into(),
            remedy,
        }
    }
}

/// What measures are judged from.
#[derive(Debug)]
pub struct Gate<'a> {
    /// The config, checked. Secrets need not have been fetched.
    pub loaded: &'a Loaded,
    /// The same as it is shown: each value with its origin, secrets left out.
    pub shown: &'a [Shown],
    /// What the database says; `None` if there is none yet, or it could not be read.
    pub facts: Option<&'a Facts>,
    /// When.
    pub now: SystemTime,
}

impl<'a> Gate<'a> {
    /// The values of a key in which `*` stands for any one name.
    pub fn values(&self, pattern: &str) -> impl Iterator<Item = &'a Shown> {
        let pattern = pattern.to_owned();
        self.shown
            .iter()
            .filter(move |one| fits(&pattern, &one.key))
    }

    /// The value of a key, without the quotes of a text; `None`: nobody said, and there is no default to show.
    pub(super) fn value(&self, key: &str) -> Option<&'a str> {
        let value = self.values(key).next()?.value.as_str();
        let text = value
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        Some(text.unwrap_or(value))
    }

    /// The names that stand where `*` is in `pattern`, of the values that `wanted` is true of.
    pub(super) fn names(&self, pattern: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let place = pattern.split('.').position(|part| part == "*");
        let found = self.values(pattern).filter(|one| wanted(&one.value));
        found
            .filter_map(|one| one.key.split('.').nth(place?).map(str::to_owned))
            .collect()
    }

    /// The addresses that other machines reach.
    pub(super) fn exposed(&self) -> impl Iterator<Item = SocketAddr> {
        let listen = self.loaded.listen.iter().copied();
        listen.filter(|address| !address.ip().is_loopback())
    }

    /// How long ago that was.
    pub(super) fn age(&self, then: SystemTime) -> Duration {
        self.now.duration_since(then).unwrap_or_default()
    }
}

// Names may have dots in them (`roles."a.b"`); such a key fits no pattern of ours, and is not shown as evidence.
fn fits(pattern: &str, key: &str) -> bool {
    let (mut wanted, mut there) = (pattern.split('.'), key.split('.'));
    loop {
        match (wanted.next(), there.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(there)) if wanted == there => {}
            _ => return false,
        }
    }
}

/// `3 files`, `1 file`.
pub(super) fn count(number: usize, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// `` `a`, `b` and 3 more ``.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN_MAX: usize = 5;
    let mut shown: Vec<String> = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    if let Some(more) = names.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        shown.push(format!("{more} more"));
    }
    match shown.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Whole days, at least none.
pub(super) fn days(span: Duration) -> u64 {
    span.as_secs() / (24 * 60 * 60)
}

/// Whether a URL leads to this machine.
pub(super) fn is_here(url: &url::Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
