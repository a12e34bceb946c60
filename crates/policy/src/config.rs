//! From what people write to what code may rely on.
//!
//! Each room owns a raw form (what people write) and a checked form; [`Check`] takes one to the other and
//! tells every complaint at once. Reading files, layers and environment is `server::config`.

use std::fmt;
use std::time::Duration;

/// One mistake in a config: where, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The dotted key, for example `limits.tool_call.per`.
    pub key: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead; empty if the reason says it all.
    pub hint: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)?;
        if self.hint.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.hint)
        }
    }
}

/// Gathers complaints under a key that grows as the check goes down.
#[derive(Debug, Default)]
pub struct Complaints {
    path: Vec<String>,
    list: Vec<Complaint>,
}

impl Complaints {
    /// No complaint yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `check` one key further down.
    pub fn at<T>(&mut self, key: impl Into<String>, check: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.into());
        let out = check(self);
        self.path.pop();
        out
    }

    /// Complains about the current key.
    pub fn add(&mut self, reason: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Complaint {
            key: self.path.join("."),
            reason: reason.into(),
            hint: hint.into(),
        });
    }

    /// Keeps the value, or complains about the current key.
    pub fn keep<T, E: fmt::Display>(&mut self, value: Result<T, E>, hint: &str) -> Option<T> {
        value
            .map_err(|error| self.add(error.to_string(), hint))
            .ok()
    }

    /// Whether nothing was wrong so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All complaints, in the order in which they were found.
    #[must_use]
    pub fn into_list(self) -> Vec<Complaint> {
        self.list
    }
}

/// Takes a raw form to its checked form.
pub trait Check {
    /// What the code may rely on.
    type Into;
    /// `None` only if something was complained about.
    fn check(self, complaints: &mut Complaints) -> Option<Self::Into>;
}

/// Reads a duration with its unit: `250ms`, `30s`, `5m`, `1h`, `7d`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let Ok(number) = number.parse::<u64>() else {
        return Err(format!(
            "`{text}` is not a duration; write for example \"60s\""
        ));
    };
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("`{text}` has no unit; write \"{text}s\"")),
        _ => return Err(format!("`{unit}` is no unit of time; use ms, s, m, h or d")),
    };
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("`{text}` is too long"))
}

/// Reads a size with its unit: `512B`, `64KiB`, `4MiB`, `1GiB`; `kB`, `MB`, `GB` are powers of ten. Bytes.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let Ok(number) = number.parse::<u64>() else {
        return Err(format!(
            "`{text}` is not a size; write for example \"4MiB\""
        ));
    };
    let bytes = match unit {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "" => return Err(format!("`{text}` has no unit; write for example \"4MiB\"")),
        _ => {
            return Err(format!(
                "`{unit}` is no unit of size; use B, KiB, MiB or GiB"
            ));
        }
    };
    number
        .checked_mul(bytes)
        .ok_or_else(|| format!("`{text}` is too large"))
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}
