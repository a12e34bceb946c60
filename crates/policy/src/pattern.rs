//! Which entries a rule speaks of: `files.read_*`, `*.search`, `*`.
//!
//! A pattern is a pair of globs, one for the upstream and one for the entry's own name, and is held against
//! the pair. It never sees a joined name, so an upstream cannot slip under another's rule by how it spells
//! its tools. What follows from a match is `rules`.

use std::fmt;
use std::str::Chars;
use std::sync::Arc;

use crate::UpstreamId;

/// Longest pattern that is read.
const PATTERN_BYTES_MAX: usize = 512;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Only one half of the pair.
    #[error("`{0}` names an upstream but no entry; write `{0}.*` for all of it")]
    NoEntry(String),
    /// Nothing before the dot.
    #[error("`{0}` names no upstream; write `*{0}` for that entry of every upstream")]
    NoUpstream(String),
    /// A character that no upstream's name has.
    #[error("`{0}` cannot stand in an upstream's name; use a-z, A-Z, 0-9, `-`, `_`, `*` and `?`")]
    Character(char),
    /// More than the bound.
    #[error("a pattern has at most {PATTERN_BYTES_MAX} bytes")]
    Long,
    /// Nothing there.
    #[error("a pattern cannot be empty; write `*` for everything")]
    Empty,
}

/// An upstream glob and an entry glob. `*` stands for any run of characters, `?` for any one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    upstream: Arc<str>,
    entry: Arc<str>,
}

impl Pattern {
    /// Reads `upstream.entry`, split at the first dot, or `*` for everything.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::Long);
        }
        let (upstream, entry) = match text.split_once('.') {
            _ if text == "*" => ("*", "*"),
            Some((upstream, entry)) => (upstream, entry),
            None => (text, ""),
        };
        if let Some(odd) = upstream
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "-_*?".contains(*c)))
        {
            return Err(PatternError::Character(odd));
        }
        if upstream.is_empty() {
            return Err(PatternError::NoUpstream(text.to_owned()));
        }
        if entry.is_empty() {
            return Err(PatternError::NoEntry(upstream.to_owned()));
        }
        Ok(Self {
            upstream: Arc::from(upstream),
            entry: Arc::from(entry),
        })
    }

    /// `*`.
    pub(crate) fn everything() -> Self {
        Self {
            upstream: Arc::from("*"),
            entry: Arc::from("*"),
        }
    }

    /// The upstream that it is about, if it can be about no other.
    pub(crate) fn only_upstream(&self) -> Option<&str> {
        (!self.upstream.contains(['*', '?'])).then_some(&*self.upstream)
    }

    /// Whether it speaks of this entry; `name` is the upstream's own, or the URI of a resource.
    #[must_use]
    pub fn matches(&self, upstream: &UpstreamId, name: &str) -> bool {
        self.is_about(upstream) && glob(&self.entry, name)
    }

    /// Whether it speaks of any entry of this upstream.
    #[must_use]
    pub fn is_about(&self, upstream: &UpstreamId) -> bool {
        glob(&self.upstream, upstream.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if &*self.upstream == "*" && &*self.entry == "*" {
            return f.write_str("*");
        }
        write!(f, "{}.{}", self.upstream, self.entry)
    }
}

/// Holds `text` against `pattern`, all of it.
///
/// Only the last star is ever tried again, so the work is at most pattern times text, whatever they are.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut last_star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut pattern_rest, mut text_rest) = (pattern.clone(), text.clone());
        match (pattern_rest.next(), text_rest.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                last_star = Some((pattern_rest.clone(), text.clone()));
                pattern = pattern_rest;
            }
            (Some(want), Some(found)) if want == '?' || want == found => {
                (pattern, text) = (pattern_rest, text_rest);
            }
            // The text ended too early, and a longer star would only leave less of it.
            (Some(_), None) => return false,
            // A mismatch: let the last star take one more character.
            (_, Some(_)) => {
                let Some((after_star, taken_to)) = &mut last_star else {
                    return false;
                };
                taken_to.next();
                (pattern, text) = (after_star.clone(), taken_to.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
