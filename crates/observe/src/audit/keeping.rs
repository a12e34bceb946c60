//! What of a call's arguments is kept in its record: nothing but their digest, what is left of them without secrets and
//! personal data, or all of them, sealed for an auditor.
//!
//! What a secret looks like is `policy::screen`'s; the seal is `sealing`'s. What stands here is the measure.

use policy::screen::{Action, Kinds, Place, Screen, Settings, Treatment};
use policy::{Pattern, UpstreamId};
use serde_json::{Value, json};

use super::sealing::Auditor;

/// The most bytes of redacted arguments that are kept: they stand in the log twice.
const REDACTED_MAX: usize = 16 * 1024;
/// The most bytes of arguments that are looked through for that: it is done while the call waits.
const REDACTING_MAX: usize = 256 * 1024;
/// The most bytes of arguments that are sealed.
const SEALED_MAX: usize = 256 * 1024;
/// What is longer is cut where redacted arguments are too long as a whole.
const TEXT_CHARS_MAX: usize = 200;
const MEMBERS_MAX: usize = 50;

/// What is kept of arguments besides their digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Nothing.
    #[default]
    Digest,
    /// What is left without secrets and personal data, as far as these can be told.
    Redacted,
    /// Everything, so that only the auditor reads it.
    Sealed,
}

/// What is kept of the arguments of which entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeping {
    keep: Keep,
    /// The first that fits holds.
    of: Vec<(Pattern, Keep)>,
    /// For whom is sealed.
    auditor: Option<Auditor>,
    redacting: Screen,
}

impl Default for Keeping {
    fn default() -> Self {
        Self::new(Keep::Digest, Vec::new(), None)
    }
}

impl Keeping {
    /// `of` some entries, the first that fits, and `keep` of all others. Where there is no auditor, nothing is sealed and
    /// nothing kept in its place.
    #[must_use]
    pub fn new(keep: Keep, of: Vec<(Pattern, Keep)>, auditor: Option<Auditor>) -> Self {
        let mend = Treatment {
            invisible: Action::Mend,
            secrets: Action::Mend,
            personal: Action::Mend,
            ..Treatment::default()
        };
        Self {
            keep,
            of,
            auditor,
            redacting: Screen::new(Settings {
                arguments: mend,
                kinds: Kinds::ALL,
                ..Settings::default()
            }),
        }
    }

    /// Whether anything is ever kept: if not, nobody needs to remember arguments.
    #[must_use]
    pub fn keeps_any(&self) -> bool {
        self.keep != Keep::Digest || self.of.iter().any(|(_, keep)| *keep != Keep::Digest)
    }

    /// What is kept of a call's arguments, as JSON; `None`: nothing. `entry` is whose they are, if such a one was found;
    /// `arguments` are JSON, as they are sent.
    #[must_use]
    pub fn kept(
        &self,
        entry: Option<(&UpstreamId, &str)>,
        call_id: &str,
        arguments: &[u8],
    ) -> Option<String> {
        let fits = |pattern: &Pattern| {
            entry.is_some_and(|(upstream, name)| pattern.matches(upstream, name))
        };
        let special = self.of.iter().find(|(pattern, _)| fits(pattern));
        match special.map_or(self.keep, |(_, keep)| *keep) {
            Keep::Digest => None,
            Keep::Redacted if arguments.len() > REDACTING_MAX => Some(omitted(arguments)),
            Keep::Redacted => Some(self.redacted(arguments)),
            Keep::Sealed if arguments.len() > SEALED_MAX => Some(omitted(arguments)),
            Keep::Sealed => self.auditor.as_ref()?.seal(call_id, arguments),
        }
    }

    fn redacted(&self, arguments: &[u8]) -> String {
        // Judged in one go, names and values; what cannot be looked through is not kept.
        let Ok(screened) = self.redacting.screen(Place::Arguments, arguments) else {
            return omitted(arguments);
        };
        match std::str::from_utf8(&screened.text) {
            Ok(text) if text.len() <= REDACTED_MAX => text.to_owned(),
            Ok(text) => {
                let cut = serde_json::from_str(text).map(|whole| cut(whole).to_string());
                cut.ok()
                    .filter(|text| text.len() <= REDACTED_MAX)
                    .unwrap_or_else(|| omitted(arguments))
            }
            Err(_) => omitted(arguments),
        }
    }
}

/// What stands for arguments that are too long.
fn omitted(arguments: &[u8]) -> String {
    json!({ "omitted_bytes": arguments.len() }).to_string()
}

/// The same with its long texts cut, and its lists and objects.
fn cut(value: Value) -> Value {
    match value {
        Value::String(text) => match text.char_indices().nth(TEXT_CHARS_MAX) {
            Some((end, _)) => {
                let start = text.get(..end).unwrap_or_default();
                Value::String(format!("{start}… ({} bytes)", text.len()))
            }
            None => Value::String(text),
        },
        Value::Array(mut list) => {
            let more = list.len().saturating_sub(MEMBERS_MAX);
            list.truncate(MEMBERS_MAX);
            let told = (more > 0).then(|| Value::String(format!("… ({more} more)")));
            list.into_iter().map(cut).chain(told).collect()
        }
        Value::Object(members) => {
            let more = members.len().saturating_sub(MEMBERS_MAX);
            let told = (more > 0).then(|| ("…".to_owned(), format!("{more} more").into()));
            let kept = members.into_iter().take(MEMBERS_MAX);
            kept.map(|(name, value)| (name, cut(value)))
                .chain(told)
                .collect()
        }
        small @ (Value::Null | Value::Bool(_) | Value::Number(_)) => small,
    }
}

#[cfg(test)]
mod tests;
