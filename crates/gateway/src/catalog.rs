//! Everything on offer, merged over all upstreams: an immutable snapshot, made anew when an upstream changes.
//!
//! Here is what is looked up in it. How it comes about is `merge`, under which names `naming`, one entry is `entry`; the part of it that a virtual
//! server has is `slice`, with what is different there in `edit`.

mod edit;
mod entry;
mod merge;
mod naming;
mod slice;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::UpstreamId;
use policy::screen::Found;

use crate::screening::Instructions;
use crate::settings::{EntryKind, VirtualServer};
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
    /// The virtual server whose slice this is; `None`: it is the whole.
    scope: Option<Arc<VirtualServer>>,
    /// Another number, another merge.
    generation: u64,
    /// What screening found in definitions that were not there before this merge.
    pub(crate) found: Found,
    /// What upstreams tell models about themselves.
    pub(crate) instructions: Vec<Instructions>,
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

/// One list, in the order of numbers that the config gives and then of public keys.
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
    /// Entries whose name would pass for another's.
    pub(crate) look_alikes: Vec<LookAlike>,
    /// What screening found in definitions that were not there before.
    found: Found,
}

/// An entry whose name would pass for another's.
#[derive(Debug)]
pub(crate) struct LookAlike {
    pub(crate) entry: Arc<Entry>,
    /// The key that it looks like, or what all keys of an upstream begin with.
    pub(crate) like: String,
    /// Whether it is shown all the same, with its own upstream's alias in front; else it is neither listed nor found.
    pub(crate) is_shown: bool,
}

impl LookAlike {
    /// Which one it is, defined in whatever way.
    fn id(&self) -> (&UpstreamId, &str) {
        (self.entry.link.id(), &self.entry.key)
    }
}

/// Where an entry stands in its list, and where a page ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position<'a> {
    pub(crate) order: i32,
    pub(crate) key: &'a str,
}

impl Catalog {
    /// Who serves a resource: the one that lists it, else the first whose template it fits.
    pub(crate) fn serving(&self, uri: &str, may: impl Fn(&Entry) -> bool) -> Option<&Arc<Entry>> {
        let leads = |entry: &Entry| self.leads_to(entry.link.id(), uri);
        self.resources
            .pick(uri, &may)
            .or_else(|| self.templates.matching(uri, leads, &may))
    }

    /// Whether a virtual server's templates lead to this resource of an upstream, in whichever way its URI is read.
    fn leads_to(&self, upstream: &UpstreamId, uri: &str) -> bool {
        self.scope.as_ref().is_none_or(|server| {
            server.leads_to(upstream, uri)
                && uri::readings(uri)
                    .iter()
                    .all(|reading| server.leads_to(upstream, reading))
        })
    }

    /// Whether somebody who watches it may hear of a resource: always of the whole catalog, and in a virtual server of
    /// what its lists and templates have.
    pub(crate) fn tells_of(&self, upstream: &UpstreamId, uri: &str) -> bool {
        let Some(server) = &self.scope else {
            return true;
        };
        let is_listed = self
            .resources
            .named(uri)
            .any(|entry| entry.link.id() == upstream);
        // A part of a watched resource is in no list, but it may be included, or fit a template that is.
        let is_included = || {
            server.takes(Some(EntryKind::Resource), upstream, uri)
                || self.templates.everything().any(|entry| {
                    let template = entry.template.as_ref();
                    entry.link.id() == upstream
                        && template.is_some_and(|template| template.matches(uri))
                })
        };
        is_listed || (self.leads_to(upstream, uri) && is_included())
    }

    /// Every entry of every list, but for what is withheld.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        [&self.tools, &self.prompts, &self.resources, &self.templates]
            .into_iter()
            .flat_map(|section| section.after(None))
            .filter(|entry| entry.withheld.is_none())
    }

    /// Whether there is anything that somebody `may` see.
    pub(crate) fn any_visible(&self, may: impl Fn(&Entry) -> bool) -> bool {
        let sections = [
            &self.tools,
            &self.prompts,
            &self.resources,
            &self.templates,
            &self.methods,
        ];
        let mut all = sections.into_iter().flat_map(Section::everything);
        all.any(|entry| entry.withheld.is_none() && may(entry))
    }

    /// What models are told of a virtual server in the place of what its upstreams say.
    pub(crate) fn own_instructions(&self) -> Option<&str> {
        self.scope.as_ref()?.instructions.as_deref()
    }
}

impl Section {
    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.by_key.get(key).and_then(|at| self.entries.get(*at))
    }

    /// All entries of that key.
    fn named(&self, key: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let others = self.others.get(key).into_iter().flatten();
        self.get(key).into_iter().chain(others)
    }

    /// All entries, those that stand in for others too.
    fn everything(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter().chain(self.others.values().flatten())
    }

    /// The entry that this upstream knows under that name.
    pub(crate) fn served(&self, upstream: &str, key: &str) -> Option<&Arc<Entry>> {
        self.everything()
            .find(|entry| entry.item.key == key && entry.link.id().as_str() == upstream)
    }

    /// The first entry of that key that somebody `may` see, in the order of upstreams; the very first if there is none.
    /// It may be withheld: then a call of it is refused.
    pub(crate) fn pick(&self, key: &str, may: impl Fn(&Entry) -> bool) -> Option<&Arc<Entry>> {
        let first = self.get(key)?;
        if !self.others.contains_key(key) {
            return Some(first);
        }
        self.holder(first, may).or(Some(first))
    }

    /// An entry of the list, or the one that stands in for it for somebody who `may` not see it. None stands in for what
    /// is withheld: its key is taken, and nobody sees it.
    pub(crate) fn visible<'s>(
        &'s self,
        entry: &'s Arc<Entry>,
        may: impl Fn(&Entry) -> bool,
    ) -> Option<&'s Arc<Entry>> {
        self.holder(entry, may)
            .filter(|entry| entry.withheld.is_none())
    }

    /// Whose the key of an entry is for somebody who `may` see some of those that have it.
    fn holder<'s>(
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
    /// than a URI is, or wanders: rules speak of the URI as it is written, and `docs/../secret` is in `secret` for whoever
    /// opens it.
    fn matching(
        &self,
        uri: &str,
        leads: impl Fn(&Entry) -> bool,
        may: impl Fn(&Entry) -> bool,
    ) -> Option<&Arc<Entry>> {
        if uri.len() > URI_MAX || uri::wanders(uri) {
            return None;
        }
        let fits = |entry: &&Arc<Entry>| {
            let template = entry.template.as_ref();
            template.is_some_and(|template| template.matches(uri)) && leads(entry)
        };
        let all = || self.everything().filter(fits);
        all().find(|entry| may(entry)).or_else(|| all().next())
    }

    /// All entries behind a position.
    pub(crate) fn after(&self, after: Option<Position<'_>>) -> &[Arc<Entry>] {
        let start = after.map_or(0, |after| {
            self.entries
                .partition_point(|entry| entry.position() <= after)
        });
        self.entries.get(start..).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}
