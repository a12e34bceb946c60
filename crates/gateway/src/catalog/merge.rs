//! How the lists of upstreams become a catalog: in their order, under public keys, with what did not change taken over.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::{SubjectKind, UpstreamId};
use upstream::{Item, Link, Snapshot, State};

use super::{Catalog, Entry, Section};
use crate::dialect;
use crate::settings::{CatalogSettings, Prefix};

/// Which list of an upstream goes into a section.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) kind: SubjectKind,
    items: fn(&upstream::Listing) -> &Vec<Item>,
    announced: fn(&upstream::Announced) -> u64,
    /// Whether keys are names, which get prefixes, or URIs, which never do.
    is_named: bool,
    pub(super) is_template: bool,
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
