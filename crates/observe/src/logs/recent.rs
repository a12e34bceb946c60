//! The lines of the last while, bounded in number and in bytes; the oldest make room.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use tracing::Level;

/// Most lines that are kept.
pub const LINES_MAX: usize = 10_000;
/// Most bytes that they have together.
pub const BYTES_MAX: usize = 8 * 1024 * 1024;

/// A line that was logged.
#[derive(Debug, Clone)]
pub struct Line {
    /// The first has 1, each next one more.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// How loud.
    pub level: Level,
    /// The module that logged it, `upstream::link`.
    pub target: Arc<str>,
    /// All of it, a JSON object.
    pub json: Arc<str>,
}

/// Which lines are wanted.
#[derive(Debug, Clone)]
pub struct Query {
    /// At most this quiet: `warn` also finds errors.
    pub level: Level,
    /// Of this module, or one in it.
    pub target: Option<String>,
    /// With this somewhere in the JSON text, in any case of ASCII letters.
    pub contains: Option<String>,
    /// Not older.
    pub since: Option<SystemTime>,
    /// Before the line of this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// What was found, newest first.
#[derive(Debug, Clone)]
pub struct Found {
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether older ones would also have done.
    pub has_more: bool,
}

#[derive(Debug, Default)]
pub(super) struct Recent {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
}

impl Recent {
    pub(super) fn push(&mut self, at: SystemTime, level: Level, target: &str, json: String) {
        self.last += 1;
        self.bytes += json.len();
        self.lines.push_back(Line {
            number: self.last,
            at,
            level,
            target: target.into(),
            json: json.into(),
        });
        while (self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX)
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.json.len();
        }
    }

    pub(super) fn search(&self, query: &Query) -> Found {
        let contains = query
            .contains
            .as_ref()
            .map(|text| text.to_ascii_lowercase());
        let mut fitting = self.lines.iter().rev().filter(|line| {
            query.before.is_none_or(|before| line.number < before)
                && line.level <= query.level
                && query.since.is_none_or(|since| line.at >= since)
                && query
                    .target
                    .as_ref()
                    .is_none_or(|target| is_within(&line.target, target))
                && contains
                    .as_ref()
                    .is_none_or(|text| line.json.to_ascii_lowercase().contains(text))
        });
        let lines = fitting.by_ref().take(query.limit).cloned().collect();
        Found {
            lines,
            has_more: fitting.next().is_some(),
        }
    }
}

fn is_within(target: &str, wanted: &str) -> bool {
    target
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
