//! Everything on offer, merged over all upstreams: an immutable snapshot, made anew when an upstream changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use policy::{Memo, Schema, SubjectKind, Traits, UpstreamId};
use upstream::{Item, Link, Snapshot, State};
use wire::{Mirrored, Template};

use crate::dialect::{self, Family};
use crate::settings::{CatalogSettings, Prefix};
use crate::uri;

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

/// One entry.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What the rules know it as.
    pub(crate) kind: SubjectKind,
    /// What clients call it.
    pub(crate) key: String,
    /// What its upstream calls it.
    pub(crate) item: Item,
    /// Who serves it.
    pub(crate) link: Arc<Link>,
    /// The definition that clients see.
    pub(crate) text: Bytes,
    /// For whom it was written.
    family: Family,
    input_schema: OnceLock<Result<Option<Schema>, String>>,
    mirrored: OnceLock<Mirrored>,
    template: Option<Template>,
    /// What else is known of it, for the rules.
    pub(crate) traits: Traits,
    /// What the rules decided about it.
    pub(crate) memo: Memo,
}

impl Entry {
    /// The compiled schema of a tool's arguments; compiled at the first call, kept until the definition changes.
    pub(crate) fn input_schema(&self) -> Result<Option<&Schema>, String> {
        self.input_schema
            .get_or_init(|| match self.item.member("inputSchema") {
                None => Ok(None),
                Some(text) => self.compile(text).map(Some),
            })
            .as_ref()
            .map(Option::as_ref)
            .map_err(Clone::clone)
    }

    /// Whether clients see the schema as its upstream wrote it, header annotations included.
    pub(crate) fn is_faithful(&self) -> bool {
        self.family == Family::Faithful
    }

    /// Which arguments an HTTP request repeats in headers. An annotation that is wrong counts as none: who must leave
    /// such a tool out has done so.
    pub(crate) fn mirrored(&self) -> &Mirrored {
        self.mirrored.get_or_init(|| {
            let schema = self.item.member("inputSchema");
            schema
                .and_then(|schema| Mirrored::read(schema).ok())
                .unwrap_or_default()
        })
    }

    fn compile(&self, text: &str) -> Result<Schema, String> {
        let schema = Schema::compile(text).map_err(|error| error.to_string())?;
        for pattern in schema.skipped() {
            tracing::warn!(
                tool = self.key,
                pattern,
                "a pattern that cannot be checked in linear time is not checked"
            );
        }
        Ok(schema)
    }
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

/// Which list of an upstream goes into a section.
#[derive(Clone, Copy)]
struct Source {
    kind: SubjectKind,
    items: fn(&upstream::Listing) -> &Vec<Item>,
    announced: fn(&upstream::Announced) -> u64,
    /// Whether keys are names, which get prefixes, or URIs, which never do.
    is_named: bool,
    is_template: bool,
}

const TOOLS: Source = Source {
    kind: SubjectKind::Tool,
    items: |l| &l.tools,
    announced: |a| a.tools,
    is_named: true,
    is_template: false,
};
const PROMPTS: Source = Source {
    kind: SubjectKind::Prompt,
    items: |l| &l.prompts,
    announced: |a| a.prompts,
    is_named: true,
    is_template: false,
};
const RESOURCES: Source = Source {
    kind: SubjectKind::Resource,
    items: |l| &l.resources,
    announced: |a| a.resources,
    is_named: false,
    is_template: false,
};
const TEMPLATES: Source = Source {
    kind: SubjectKind::Resource,
    items: |l| &l.templates,
    announced: |a| a.resources,
    is_named: false,
    is_template: true,
};

const METHODS: Source = Source {
    kind: SubjectKind::Method,
    items: |l| &l.methods,
    announced: |_| 0,
    is_named: false,
    is_template: false,
};

impl Catalog {
    /// Merges what the upstreams offer, in their order. What did not change since `old` is taken over from it.
    pub(crate) fn merge(links: &[Arc<Link>], settings: &CatalogSettings, old: &Self) -> Self {
        let snapshots: Vec<(&Arc<Link>, Arc<Snapshot>)> = links
            .iter()
            .map(|link| (link, link.snapshot()))
            .filter(|(_, s)| s.state != State::Stopped)
            .collect();
        let never_listed = |s: &Snapshot| s.revision.is_none();
        Self {
            tools: section(&snapshots, settings, TOOLS, &old.tools),
            prompts: section(&snapshots, settings, PROMPTS, &old.prompts),
            resources: section(&snapshots, settings, RESOURCES, &old.resources),
            templates: section(&snapshots, settings, TEMPLATES, &old.templates),
            methods: section(&snapshots, settings, METHODS, &old.methods),
            instructions: instructions(&snapshots),
            extensions: extensions(&snapshots),
            missing: snapshots
                .iter()
                .filter(|(_, s)| never_listed(s))
                .map(|(l, _)| l.id().clone())
                .collect(),
            tasks: snapshots.iter().any(|(_, s)| s.listing.tasks),
            logs: snapshots
                .iter()
                .any(|(l, s)| s.listing.logs || l.is_provider()),
            is_settling: snapshots.iter().any(|(_, s)| s.state == State::Starting),
        }
    }
}

fn section(
    snapshots: &[(&Arc<Link>, Arc<Snapshot>)],
    settings: &CatalogSettings,
    source: Source,
    old: &Section,
) -> Section {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for item in snapshots
        .iter()
        .flat_map(|(_, snapshot)| (source.items)(&snapshot.listing))
    {
        *count.entry(item.key.as_str()).or_default() += 1;
    }
    let mut entries: BTreeMap<String, Arc<Entry>> = BTreeMap::new();
    let mut others: BTreeMap<String, Vec<Arc<Entry>>> = BTreeMap::new();
    for (link, snapshot) in snapshots {
        let prefix = settings
            .prefix_of
            .get(link.id())
            .copied()
            .unwrap_or(settings.prefix);
        for item in (source.items)(&snapshot.listing) {
            let is_prefixed = source.is_named
                && match prefix {
                    Prefix::Always => true,
                    Prefix::OnCollision => {
                        count.get(item.key.as_str()).is_some_and(|count| *count > 1)
                    }
                    Prefix::Never => false,
                };
            let key = if is_prefixed {
                format!("{}{}{}", link.id(), settings.separator, item.key)
            } else {
                item.key.clone()
            };
            let key = if source.kind == SubjectKind::Tool {
                dialect::name(key, settings.dialect.names)
            } else {
                key
            };
            let family = settings.dialect.schemas;
            let before = old.others.get(&key).into_iter().flatten();
            let before = || old.get(&key).into_iter().chain(before.clone());
            let unchanged = before().find(|old| {
                Arc::ptr_eq(&old.link, link) && old.item == *item && old.family == family
            });
            let entry = unchanged.map_or_else(
                || Arc::new(Entry::new(source, key.clone(), item, link, family)),
                Arc::clone,
            );
            if let Some(first) = entries.get(&key) {
                // Once, however often lists are merged.
                if unchanged.is_none() {
                    tracing::warn!(key, first = %first.link.id(), second = %link.id(), "two upstreams offer the same; the second's is for those who may not see the first's");
                }
                others.entry(key).or_default().push(entry);
                continue;
            }
            entries.insert(key, entry);
        }
    }
    let announced = snapshots
        .iter()
        .map(|(_, snapshot)| (source.announced)(&snapshot.announced))
        .sum();
    let entries: Vec<Arc<Entry>> = entries.into_values().collect();
    let is_same = is_same(&entries, &old.entries)
        && others.len() == old.others.len()
        && others
            .iter()
            .zip(&old.others)
            .all(|((key, new), (before, old))| key == before && is_same(new, old));
    let by_key = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.key.clone(), at))
        .collect();
    Section {
        entries,
        by_key,
        stamp: if is_same && announced == old.announced {
            old.stamp
        } else {
            old.stamp + 1
        },
        announced,
        others,
    }
}

impl Entry {
    fn new(source: Source, key: String, item: &Item, link: &Arc<Link>, family: Family) -> Self {
        let text = item.renamed(&key);
        Self {
            kind: source.kind,
            text: match source.kind {
                SubjectKind::Tool => dialect::tool(text, family),
                SubjectKind::Prompt
                | SubjectKind::Resource
                | SubjectKind::Method
                | SubjectKind::Sampling
                | SubjectKind::Admin => text,
            },
            family,
            template: source.is_template.then(|| Template::new(&item.key)),
            key,
            item: item.clone(),
            link: Arc::clone(link),
            traits: traits(item),
            memo: Memo::default(),
            input_schema: OnceLock::new(),
            mirrored: OnceLock::new(),
        }
    }
}

/// What an upstream says of a tool besides its name and schema (MCP, "Tool annotations"): hints.
fn traits(item: &Item) -> Traits {
    let Some(annotations) = item.member("annotations") else {
        return Traits::default();
    };
    let hint = |name: &str| {
        let raw = wire::json::member(annotations.as_bytes(), name).ok()??;
        raw.get().parse().ok()
    };
    Traits {
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        idempotent: hint("idempotentHint"),
        open_world: hint("openWorldHint"),
        private: false,
    }
}

fn is_same(new: &[Arc<Entry>], old: &[Arc<Entry>]) -> bool {
    new.len() == old.len()
        && new
            .iter()
            .zip(old)
            .all(|(new, old)| new.key == old.key && new.text == old.text)
}

fn extensions(snapshots: &[(&Arc<Link>, Arc<Snapshot>)]) -> Vec<(UpstreamId, String, String)> {
    snapshots
        .iter()
        .flat_map(|(link, snapshot)| {
            let extensions = snapshot.listing.extensions.iter();
            extensions.map(|(id, settings)| (link.id().clone(), id.clone(), settings.clone()))
        })
        .collect()
}

fn instructions(snapshots: &[(&Arc<Link>, Arc<Snapshot>)]) -> Vec<(UpstreamId, String)> {
    snapshots
        .iter()
        .filter_map(|(link, snapshot)| {
            let text = snapshot.listing.instructions.as_ref()?.trim();
            (!text.is_empty()).then(|| (link.id().clone(), text.to_owned()))
        })
        .collect()
}
