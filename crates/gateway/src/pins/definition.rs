//! Definitions and their digests: what exactly is pinned.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::canonical;
use serde_json::Value;
use upstream::{Kind, Link, Listing, Snapshot, State};
use wire::json;

use super::PinKind;

/// What is known of one upstream, with the digests of its definitions: of one moment, which may be a little past.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) link: Arc<Link>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) definitions: Arc<Definitions>,
}

/// The digests of all definitions of one upstream, by kind and name.
#[derive(Debug, Default)]
pub(crate) struct Definitions {
    of: BTreeMap<PinKind, HashMap<Box<str>, Arc<str>>>,
}

impl Known {
    /// What there is to know before anything was pinned: all of what is built in, no definition of others.
    pub(crate) fn first(link: &Arc<Link>) -> Self {
        let snapshot = link.snapshot();
        if is_exempt(link) {
            return Self::of(link, snapshot);
        }
        let mut blank = Snapshot::clone(&snapshot);
        if blank.state == State::Ready {
            blank.state = State::Starting;
        }
        blank.revision = None;
        // What it can do is no definition: a client is told of it from the start.
        let all = &snapshot.listing;
        blank.listing = Arc::new(Listing {
            completes: all.completes,
            logs: all.logs,
            subscribes: all.subscribes,
            tasks: all.tasks,
            extensions: all.extensions.clone(),
            ..Listing::default()
        });
        Self {
            link: Arc::clone(link),
            snapshot: Arc::new(blank),
            definitions: Arc::default(),
        }
    }

    /// With the digests of what is listed.
    pub(crate) fn of(link: &Arc<Link>, snapshot: Arc<Snapshot>) -> Self {
        Self {
            link: Arc::clone(link),
            definitions: Arc::new(Definitions::of(&snapshot.listing)),
            snapshot,
        }
    }

    /// The same definitions at another moment.
    pub(crate) fn at(&self, snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            ..self.clone()
        }
    }

    /// Whether `snapshot` has the definitions that are known.
    pub(crate) fn has_listing_of(&self, snapshot: &Snapshot) -> bool {
        Arc::ptr_eq(&self.snapshot.listing, &snapshot.listing)
    }

    /// Whether it has ever said what it offers.
    pub(crate) fn is_listed(&self) -> bool {
        self.snapshot.revision.is_some()
    }

    /// Whether its definitions are a part of this binary.
    pub(crate) fn is_exempt(&self) -> bool {
        is_exempt(&self.link)
    }
}

fn is_exempt(link: &Link) -> bool {
    matches!(link.spec().kind, Kind::Native(_))
}

impl Definitions {
    fn of(listing: &Listing) -> Self {
        let mut definitions = Self::default();
        for (kind, name, text) in offered(listing) {
            let digest = digest(&text).into();
            let of_kind = definitions.of.entry(kind).or_default();
            of_kind.insert(name.into(), digest);
        }
        definitions
    }

    pub(crate) fn digest(&self, kind: PinKind, name: &str) -> Option<&Arc<str>> {
        self.of.get(&kind)?.get(name)
    }

    /// Kinds, names and digests.
    pub(super) fn all(&self) -> impl Iterator<Item = (PinKind, &str, &Arc<str>)> {
        self.of
            .iter()
            .flat_map(|(kind, of)| of.iter().map(|(name, digest)| (*kind, &**name, digest)))
    }
}

/// Everything of a listing that is pinned: kind, name, and the definition as JSON text.
pub(super) fn offered(listing: &Listing) -> impl Iterator<Item = (PinKind, &str, Cow<'_, [u8]>)> {
    let server = listing.identity.as_ref().map(|identity| {
        let text = Cow::Borrowed(identity.as_bytes());
        (PinKind::Server, "", text)
    });
    let instructions = instructions(listing).map(|text| {
        let text = Cow::Owned(json::string(text).into_bytes());
        (PinKind::Instructions, "", text)
    });
    let lists = [
        (PinKind::Tool, &listing.tools),
        (PinKind::Prompt, &listing.prompts),
        (PinKind::Resource, &listing.resources),
        (PinKind::Template, &listing.templates),
    ];
    let entries = lists.into_iter().flat_map(|(kind, items)| {
        items
            .iter()
            .map(move |item| (kind, item.key.as_str(), Cow::Borrowed(&item.text()[..])))
    });
    server.into_iter().chain(instructions).chain(entries)
}

/// What an upstream tells models about itself, if it says anything.
pub(crate) fn instructions(listing: &Listing) -> Option<&str> {
    let text = listing.instructions.as_ref()?.trim();
    (!text.is_empty()).then_some(text)
}

/// The digest of a definition.
pub(crate) fn digest(text: &[u8]) -> String {
    canonical::digest(&value(text))
}

/// What a text says. One that two readers could understand differently has no canonical form: it is held to the letter.
pub(super) fn value(text: &[u8]) -> Value {
    json::strict_value(text)
        .unwrap_or_else(|_ambiguous| Value::String(String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests;
