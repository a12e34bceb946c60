//! Definitions, instructions and events, screened before clients see them.
//!
//! What is looked for and what it becomes is `policy::screen`; calls are screened in `call::screen`. The digest by
//! which a definition is pinned is that of what the upstream wrote, not of what is left of it here.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use policy::screen::{Found, Place, Refusal, Screen, Screened};
use policy::{SubjectKind, UpstreamId};
use upstream::{Event, Item};

use crate::pins::Withheld;

/// A definition as clients may see it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Under the upstream's name for it. Nobody is shown it if it is refused.
    pub(crate) item: Item,
    pub(crate) is_refused: bool,
    /// What was found in it.
    pub(crate) found: Found,
    by: Arc<Screen>,
}

impl Shown {
    /// Looks through a definition. What was found is told to the operator, once, as this is done once.
    pub(crate) fn new(
        screen: &Arc<Screen>,
        upstream: &UpstreamId,
        kind: SubjectKind,
        item: &Item,
    ) -> Self {
        let shown = |item: &Item, is_refused, found| Self {
            item: item.clone(),
            is_refused,
            found,
            by: Arc::clone(screen),
        };
        let screened = match kind {
            SubjectKind::Tool | SubjectKind::Prompt | SubjectKind::Resource => {
                screen.screen(Place::Definition, item.text())
            }
            // Written by the config, or not at all.
            SubjectKind::Method | SubjectKind::Sampling | SubjectKind::Admin => {
                return shown(item, false, Found::default());
            }
        };
        let name = &item.key;
        match screened {
            Ok(Screened { text, found }) => {
                if !found.is_empty() {
                    tracing::warn!(%upstream, name, %found, "screening found something in a definition");
                }
                let mended = match text {
                    Cow::Borrowed(_) => return shown(item, false, found),
                    Cow::Owned(text) => item.with_text(text.into()),
                };
                // A name that had to change would be another entry's.
                if mended.is_none() {
                    tracing::warn!(%upstream, name, "a definition is withheld: its name cannot be shown");
                }
                let is_refused = mended.is_none();
                shown(mended.as_ref().unwrap_or(item), is_refused, found)
            }
            Err(refusal) => {
                tracing::warn!(%upstream, name, %refusal, "a definition is withheld: screening refuses it");
                shown(item, true, refusal.found().cloned().unwrap_or_default())
            }
        }
    }

    /// Whether it was looked through in that way.
    pub(crate) fn is_by(&self, screen: &Arc<Screen>) -> bool {
        Arc::ptr_eq(&self.by, screen) || self.by == *screen
    }

    /// Why it is withheld, if nothing else withholds it.
    pub(crate) fn withheld(&self) -> Option<Withheld> {
        self.is_refused.then_some(Withheld::Screened)
    }
}

/// What an upstream tells models about itself.
#[derive(Debug, Clone)]
pub(crate) struct Instructions {
    pub(crate) upstream: UpstreamId,
    written: String,
    /// What is left of it; `None`: nothing.
    pub(crate) text: Option<String>,
    /// What was found in it.
    pub(crate) found: Found,
}

impl Instructions {
    /// Looks through what an upstream wrote.
    pub(crate) fn new(screen: &Screen, upstream: &UpstreamId, written: &str) -> Self {
        let (text, found) = match screen.screen_text(Place::Instructions, written) {
            Ok((text, found)) => (Some(text.into_owned()), found),
            Err(refusal) => {
                tracing::warn!(%upstream, %refusal, "an upstream's instructions are left out: screening refuses them");
                (None, refusal.found().cloned().unwrap_or_default())
            }
        };
        Self {
            upstream: upstream.clone(),
            written: written.to_owned(),
            text,
            found,
        }
    }

    /// The same as a virtual server shows it. What the whole leaves out stays out.
    pub(crate) fn within(&self, screen: &Screen) -> Self {
        match self.text {
            Some(_) => Self::new(screen, &self.upstream, &self.written),
            None => self.clone(),
        }
    }
}

/// Something on its way to a client.
///
/// # Errors
/// Why it may not go there.
pub(crate) fn result(screen: &Screen, text: Bytes) -> Result<(Bytes, Found), Refusal> {
    let Screened {
        text: screened,
        found,
    } = screen.screen(Place::Result, &text)?;
    let changed = match screened {
        Cow::Borrowed(_) => None,
        Cow::Owned(changed) => Some(changed.into()),
    };
    Ok((changed.unwrap_or(text), found))
}

/// Screens what a call tells and asks before its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sieve<'a> {
    screen: &'a Screen,
    found: &'a Mutex<Found>,
}

impl<'a> Sieve<'a> {
    /// What is found is added to `found`.
    pub(crate) fn new(screen: &'a Screen, found: &'a Mutex<Found>) -> Self {
        Self { screen, found }
    }

    /// Whether anything is looked for.
    pub(crate) fn is_on(&self) -> bool {
        self.screen.looks_at(Place::Result)
    }

    /// What is left of an event; `None`: the client may not hear of it. A question that is dropped is answered by that.
    pub(crate) fn pass(&self, mut event: Event) -> Option<Event> {
        let params = match &mut event {
            Event::Told(notice) => &mut notice.params,
            Event::Asked(ask) => &mut ask.params,
        };
        match result(self.screen, params.clone()) {
            Ok((screened, found)) => {
                *params = screened;
                self.found.lock().merge(&found);
                Some(event)
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "an event is left out: screening refuses it");
                if let Some(found) = refusal.found() {
                    self.found.lock().merge(found);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
