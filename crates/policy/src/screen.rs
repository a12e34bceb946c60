//! Looks through what passes the gate for what should not: the invisible, secrets, personal data, orders to a model.
//!
//! Works on JSON text. A fast search over the bytes comes first; what it lets through is passed on untouched, and it is
//! never wrong about that. Only where it found something are the strings read, and only those that have to change are
//! written anew; the rest stays byte for byte. What is found, and where it may stand, is said by the files below; when
//! to look, and what to tell whom, is the gateway's. Start at [`Screen::screen`].
//!
//! What is encoded (Base64 in a blob, an image) is not decoded. Everything else is looked at, to its last byte.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};

mod grams;
mod injection;
mod invisible;
mod kind;
mod personal;
mod secrets;
mod strings;
mod walk;

pub use kind::{Found, Group, Kind, Kinds};

pub use invisible::shows_as_itself;

use crate::pattern::glob;

/// What the fast search looks at in one go: little enough to stay in the first cache for the second look.
const WINDOW: usize = 16 * 1024;

/// Where something passes the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Definitions of tools, prompts, resources, on their way to a client.
    Definition,
    /// What upstreams tell models about themselves.
    Instructions,
    /// Arguments, on their way to an upstream.
    Arguments,
    /// Results and events, on their way to a client.
    Result,
}

/// What is done about a group of finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Action {
    /// Nothing; it is not even looked for.
    #[default]
    Off,
    /// It is recorded.
    Flag,
    /// It is made harmless: the invisible is left out, secrets and personal data are replaced, orders are framed as
    /// what they are.
    Mend,
    /// All of it is refused.
    Refuse,
}

/// What is done about each group in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Treatment {
    /// About the invisible.
    pub invisible: Action,
    /// About secrets.
    pub secrets: Action,
    /// About personal data.
    pub personal: Action,
    /// About orders to a model.
    pub injection: Action,
    /// What has more bytes is refused.
    pub bytes_max: Option<usize>,
}

impl Treatment {
    /// What is done about a group.
    #[must_use]
    pub const fn of(&self, group: Group) -> Action {
        match group {
            Group::Invisible => self.invisible,
            Group::Secrets => self.secrets,
            Group::Personal => self.personal,
            Group::Injection => self.injection,
        }
    }
}

/// What is looked for, and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For [`Place::Definition`].
    pub definitions: Treatment,
    /// For [`Place::Instructions`].
    pub instructions: Treatment,
    /// For [`Place::Arguments`].
    pub arguments: Treatment,
    /// For [`Place::Result`].
    pub results: Treatment,
    /// What is looked for at all.
    pub kinds: Kinds,
    /// Secrets and personal data that may pass.
    pub allow: Vec<Allowed>,
    /// What the orders in a text must weigh together to count.
    pub threshold: u32,
}

/// What a text must weigh to be taken for orders, unless the config says otherwise.
pub const THRESHOLD: u32 = 3;

impl Default for Settings {
    fn default() -> Self {
        let told = Treatment {
            invisible: Action::Mend,
            injection: Action::Flag,
            ..Treatment::default()
        };
        Self {
            definitions: told,
            instructions: told,
            arguments: Treatment::default(),
            results: Treatment {
                secrets: Action::Flag,
                ..told
            },
            kinds: Kinds::default(),
            allow: Vec::new(),
            threshold: THRESHOLD,
        }
    }
}

/// A value that may pass: itself, or a pattern with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(String);

impl Allowed {
    /// A value, or a pattern of values.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    fn matches(&self, value: &str) -> bool {
        self.0 == value || glob(&self.0, value)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screened<'a> {
    /// What may pass. Borrowed if nothing had to change.
    pub text: Cow<'a, [u8]>,
    /// What was found.
    pub found: Found,
}

/// Why it may not pass. Quotes nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// This was found, and the config refuses it.
    #[error("refused for `{}` in it (found: {found})", kind.word())]
    Kind {
        /// The first of its group.
        kind: Kind,
        /// All that was found.
        found: Found,
    },
    /// More bytes than the config lets pass.
    #[error("{bytes} bytes are more than {max}")]
    Large {
        /// How many there are.
        bytes: usize,
        /// How many may be.
        max: usize,
    },
    /// Not JSON, so it cannot be looked at.
    #[error("not JSON")]
    Malformed,
    /// The name of a member would have to change, and with it what it means.
    #[error("the name of a member cannot be mended (found: {0})")]
    Member(Found),
}

impl Refusal {
    /// What was found before it was refused.
    #[must_use]
    pub fn found(&self) -> Option<&Found> {
        match self {
            Self::Kind { found, .. } | Self::Member(found) => Some(found),
            Self::Large { .. } | Self::Malformed => None,
        }
    }
}

/// Looks through texts, as its settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Screen {
    settings: Settings,
}

impl Screen {
    /// One with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether anything is looked for in a place.
    #[must_use]
    pub fn looks_at(&self, place: Place) -> bool {
        let treatment = self.treatment(place);
        *treatment != Treatment::default()
    }

    /// Looks through JSON text that stands in some place.
    ///
    /// # Errors
    /// Why it may not pass.
    pub fn screen<'a>(&self, place: Place, json: &'a [u8]) -> Result<Screened<'a>, Refusal> {
        let kinds = self.within_bounds(place, json.len())?;
        if !suspects(json, kinds) {
            return Ok(Screened {
                text: Cow::Borrowed(json),
                found: Found::default(),
            });
        }
        let (text, found) = walk::Walk::new(self, place, kinds).json(json)?;
        Ok(Screened {
            text: text.map_or(Cow::Borrowed(json), Cow::Owned),
            found,
        })
    }

    /// Looks through a text that is no JSON but one string.
    ///
    /// # Errors
    /// Why it may not pass.
    pub fn screen_text<'a>(
        &self,
        place: Place,
        text: &'a str,
    ) -> Result<(Cow<'a, str>, Found), Refusal> {
        let kinds = self.within_bounds(place, text.len())?;
        if kinds.is_empty() {
            return Ok((Cow::Borrowed(text), Found::default()));
        }
        let (mended, found) = walk::Walk::new(self, place, kinds).text(text)?;
        Ok((mended.map_or(Cow::Borrowed(text), Cow::Owned), found))
    }

    fn treatment(&self, place: Place) -> &Treatment {
        match place {
            Place::Definition => &self.settings.definitions,
            Place::Instructions => &self.settings.instructions,
            Place::Arguments => &self.settings.arguments,
            Place::Result => &self.settings.results,
        }
    }

    /// What to look for in a place, if it is not too long.
    fn within_bounds(&self, place: Place, bytes: usize) -> Result<Kinds, Refusal> {
        let treatment = self.treatment(place);
        match treatment.bytes_max {
            Some(max) if bytes > max => return Err(Refusal::Large { bytes, max }),
            _within => {}
        }
        let groups = [
            Group::Invisible,
            Group::Secrets,
            Group::Personal,
            Group::Injection,
        ];
        Ok(groups
            .into_iter()
            .filter(|group| treatment.of(*group) != Action::Off)
            .fold(Kinds::NONE, |kinds, group| {
                kinds.or(self.settings.kinds.of(group))
            }))
    }

    /// Whether secrets or personal data may pass.
    fn allows(&self, value: &str) -> bool {
        self.settings
            .allow
            .iter()
            .any(|allowed| allowed.matches(value))
    }
}

/// Whether JSON text may hold anything of these kinds. "No" is certain. One pass, nothing allocated.
fn suspects(json: &[u8], kinds: Kinds) -> bool {
    let is_personal = !kinds.of(Group::Personal).is_empty();
    let has_words = !kinds
        .of(Group::Secrets)
        .or(kinds.of(Group::Injection))
        .is_empty();
    if kinds.is_empty() {
        return false;
    }
    let mut start = 0;
    while start < json.len() {
        let window = start..json.len().min(start + WINDOW);
        start = window.end;
        // Also when nothing invisible is looked for: words may hide behind escapes.
        if invisible::suspects(json, window.clone(), is_personal)
            || (has_words && has_word(json, window.clone(), kinds))
            || (is_personal && personal::search(json, window, kinds, |_, _| true))
        {
            return true;
        }
    }
    false
}

/// Whether a form whose word begins within the window may be there.
fn has_word(json: &[u8], window: Range<usize>, kinds: Kinds) -> bool {
    grams::search(json, window, |at, anchor| {
        let is_there = kinds.has(anchor.kind)
            && match anchor.form {
                grams::Form::Secret(form) => form.find(json, at, true).is_some(),
                grams::Form::Order(form) => form.fits(json, at, anchor.word, true),
            };
        if is_there {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .is_break()
}

/// A part of a text, or as much of it as there is.
fn text_at(text: &[u8], range: Range<usize>) -> &[u8] {
    let end = range.end.min(text.len());
    text.get(range.start.min(end)..end).unwrap_or_default()
}

/// Whether an escape of JSON may end at `at`: what stands before is no letter then.
fn follows_escape(json: &[u8], at: usize) -> bool {
    let before = text_at(json, at.saturating_sub(6)..at);
    before.ends_with(b"\\")
        || before.iter().rev().nth(1) == Some(&b'\\')
        || before.starts_with(b"\\u")
}

#[cfg(test)]
mod tests;
