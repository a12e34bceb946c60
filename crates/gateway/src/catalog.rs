//! Everything on offer, merged over all upstreams: an immutable snapshot, made anew when an upstream changes.
//!
//! Here is what is looked up in it. How it comes about is `merge`, one entry is `entry`.

mod entry;
mod merge;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::UpstreamId;

use crate::uri;

pub(crate) use entry::Entry;

/// A URI of more bytes is held against no template.
const URI_MAX: usize = 8 * 1024;

/// All tools, prompts, resources and templates on offer.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) tools: Section,
    pub(crate) prompts: Section,
    pub(crate) resources: Section,
    pub(crate) templates: Section,
    /// Methods of extensions that the config routes to an upstream.
    pub(crate) methods: Section,
    /// What upstreams tell models about themselves, each under its alias.
    pub(crate) instructions: Vec<(UpstreamId, String)>,
    /// The extensions they have, ids and settings, in the order of upstreams.
    pub(crate) extensions: Vec<(UpstreamId, String, String)>,
    /// Upstreams whose lists are not known (yet).
    pub(crate) missing: Vec<UpstreamId>,
    /// Whether the tool calls of some upstream can become tasks.
    pub(crate) tasks: bool,
    /// Whether some upstream logs to its clients, or may: a provider in this process.
    pub(crate) logs: bool,
    /// Whether one of them is still on its way for the first time.
    pub(crate) is_settling: bool,
}

/// One list, in the order of its public keys.
#[derive(Debug, Default)]
pub(crate) struct Section {
    entries: Vec<Arc<Entry>>,
    by_key: HashMap<String, usize>,
    /// Another number, another list.
    pub(crate) stamp: u64,
    /// Changes that upstreams announced.
    announced: u64,
    /// Entries whose key an upstream before theirs has as well: for principals that may not see that one.
    others: BTreeMap<String, Vec<Arc<Entry>>>,
}

impl Catalog {
    /// Who serves a resource: the one that lists it, else the first whose template it fits.
    pub(crate) fn serving(&self, uri: &str, may: impl Fn(&Entry) -> bool) -> Option<&Arc<Entry>> {
        self.resources
            .pick(uri, &may)
            .or_else(|| self.templates.matching(uri, &may))
    }

    /// Every entry of every list.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        [&self.tools, &self.prompts, &self.resources, &self.templates]
            .into_iter()
            .flat_map(|section| section.after(None))
    }
}

impl Section {
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.by_key.get(key).and_then(|at| self.entries.get(*at))
    }

    /// The entry that this upstream knows under that name.
    pub(crate) fn served(&self, upstream: &str, key: &str) -> Option<&Arc<Entry>> {
        self.entries
            .iter()
            .find(|entry| entry.item.key == key && entry.link.id().as_str() == upstream)
    }

    /// The first entry of that key that somebody `may` see, in the order of upstreams; the very first if there is none.
    pub(crate) fn pick(&self, key: &str, may: impl Fn(&Entry) -> bool) -> Option<&Arc<Entry>> {
        let first = self.get(key)?;
        if !self.others.contains_key(key) {
            return Some(first);
        }
        self.visible(first, may).or(Some(first))
    }

    /// An entry of the list, or the one that stands in for it for somebody who `may` not see it.
    pub(crate) fn visible<'s>(
        &'s self,
        entry: &'s Arc<Entry>,
        may: impl Fn(&Entry) -> bool,
    ) -> Option<&'s Arc<Entry>> {
        let others = self.others.get(&entry.key).into_iter().flatten();
        std::iter::once(entry)
            .chain(others)
            .find(|entry| may(entry))
    }

    /// The first template that `uri` fits and that somebody `may` see, as [`pick`](Self::pick). None does if it is longer
    /// than a URI is, or climbs: rules speak of the URI as it is written, and `docs/../secret` is in `secret` for whoever
    /// opens it.
    fn matching(&self, uri: &str, may: impl Fn(&Entry) -> bool) -> Option<&Arc<Entry>> {
        if uri.len() > URI_MAX || uri::climbs(uri) {
            return None;
        }
        let fits = |entry: &&Arc<Entry>| {
            let template = entry.template.as_ref();
            template.is_some_and(|template| template.matches(uri))
        };
        let all = || {
            let others = self.others.values().flatten();
            self.entries.iter().chain(others).filter(fits)
        };
        all().find(|entry| may(entry)).or_else(|| all().next())
    }

    /// All entries after the key `after`.
    pub(crate) fn after(&self, after: Option<&str>) -> &[Arc<Entry>] {
        let start = after.map_or(0, |after| {
            self.entries
                .partition_point(|entry| entry.key.as_str() <= after)
        });
        self.entries.get(start..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
