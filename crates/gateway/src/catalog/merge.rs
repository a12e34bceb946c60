//! How the lists of upstreams become a catalog: in their order, under public keys, with what did not change taken over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use policy::screen::Found;
use policy::{SubjectKind, UpstreamId};
use upstream::{Item, State};

use super::naming::{Claim, Named, Naming};
use super::{Catalog, Entry, LookAlike, Section};
use crate::pins::{self, Known, PinKind, Pinned};
use crate::screening::Instructions;
use crate::search;
use crate::settings::{CatalogSettings, SearchSettings, Settings};

/// Which list of an upstream goes into a section.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) kind: SubjectKind,
    items: fn(&upstream::Listing) -> &Vec<Item>,
    pub(super) announced: fn(&upstream::Announced) -> u64,
    /// Whether keys are names, which get prefixes, or URIs, which never do.
    pub(super) is_named: bool,
    /// What they are pinned as; `None`: the config names them, not the upstream.
    pin: Option<PinKind>,
    pub(super) is_template: bool,
}

pub(super) const TOOLS: Source = Source {
    kind: SubjectKind::Tool,
    items: |l| &l.tools,
    announced: |a| a.tools,
    is_named: true,
    pin: Some(PinKind::Tool),
    is_template: false,
};
pub(super) const PROMPTS: Source = Source {
    kind: SubjectKind::Prompt,
    items: |l| &l.prompts,
    announced: |a| a.prompts,
    is_named: true,
    pin: Some(PinKind::Prompt),
    is_template: false,
};
pub(super) const RESOURCES: Source = Source {
    kind: SubjectKind::Resource,
    items: |l| &l.resources,
    announced: |a| a.resources,
    is_named: false,
    pin: Some(PinKind::Resource),
    is_template: false,
};
pub(super) const TEMPLATES: Source = Source {
    kind: SubjectKind::Resource,
    items: |l| &l.templates,
    announced: |a| a.resources,
    is_named: false,
    pin: Some(PinKind::Template),
    is_template: true,
};

pub(super) const METHODS: Source = Source {
    kind: SubjectKind::Method,
    items: |l| &l.methods,
    announced: |_| 0,
    is_named: false,
    pin: None,
    is_template: false,
};

impl Catalog {
    /// Merges what the upstreams offer, in their order. What did not change since `old` is taken over from it.
    pub(crate) fn merge(known: &[Known], settings: &Settings, pinned: &Pinned, old: &Self) -> Self {
        let known: Vec<&Known> = known
            .iter()
            .filter(|one| one.snapshot.state != State::Stopped)
            .collect();
        let snapshots = || known.iter().map(|one| &one.snapshot);
        let generation = old.generation + 1;
        let unheard = &old.missing;
        let section = |source: Source, old: &Section| {
            let frame = Frame {
                old,
                generation,
                announced: snapshots()
                    .map(|snapshot| (source.announced)(&snapshot.announced))
                    .sum(),
                reserved: reserved(source, settings.search),
                unheard,
            };
            let candidates = candidates(&known, pinned, &settings.catalog, source, old);
            Section::assemble(&candidates, &frame)
        };
        let mut catalog = Self {
            tools: section(TOOLS, &old.tools),
            prompts: section(PROMPTS, &old.prompts),
            resources: section(RESOURCES, &old.resources),
            templates: section(TEMPLATES, &old.templates),
            methods: section(METHODS, &old.methods),
            scope: None,
            generation,
            found: Found::default(),
            instructions: instructions(&known, pinned, &settings.catalog),
            extensions: extensions(&known),
            missing: known
                .iter()
                .filter(|one| one.snapshot.revision.is_none())
                .map(|one| one.link.id().clone())
                .collect(),
            tasks: snapshots().any(|snapshot| snapshot.listing.tasks),
            logs: known
                .iter()
                .any(|one| one.snapshot.listing.logs || one.link.is_provider()),
            is_settling: snapshots().any(|snapshot| snapshot.state == State::Starting),
        };
        for section in [
            &catalog.tools,
            &catalog.prompts,
            &catalog.resources,
            &catalog.templates,
        ] {
            catalog.found.merge(&section.found);
        }
        catalog.prepare(settings.search);
        catalog
    }

    /// Does now what the first search would have to do.
    pub(super) fn prepare(&self, search: SearchSettings) {
        if search.is_on() {
            for entry in self.tools.everything() {
                entry.words();
            }
        }
    }
}

/// The names that no entry of a list may have.
pub(super) fn reserved(source: Source, search: SearchSettings) -> &'static [&'static str] {
    if source.kind == SubjectKind::Tool && search.is_on() {
        &search::NAMES
    } else {
        &[]
    }
}

/// One entry that may go into a section, and whether it was not there before.
pub(super) struct Candidate {
    pub(super) entry: Arc<Entry>,
    pub(super) is_new: bool,
    pub(super) claim: Claim,
    /// What its own name looks like, if that is why it has its upstream's alias in front.
    pub(super) like: Option<String>,
}

/// All items of the upstreams' lists under their public keys, in the order of upstreams.
fn candidates(
    known: &[&Known],
    pinned: &Pinned,
    settings: &CatalogSettings,
    source: Source,
    old: &Section,
) -> Vec<Candidate> {
    let all = || {
        known.iter().flat_map(|one| {
            let items = (source.items)(&one.snapshot.listing).iter();
            items.map(move |item| (*one, item))
        })
    };
    let names = all().map(|(_, item)| item.key.as_str());
    let aliases = known.iter().map(|one| one.link.id());
    let naming = Naming::new(settings, source, names, aliases);
    let family = settings.dialect.schemas;
    let one = |(known, item): (&Known, &Item)| {
        let link = &known.link;
        let Named { key, claim, like } = naming.name(link.id(), &item.key);
        let mark = pinned.mark(known, source.pin, item);
        let unchanged = old.named(&key).find(|old| {
            Arc::ptr_eq(&old.link, link)
                && old.item == *item
                && old.family == family
                && old.shown.is_by(&settings.screen)
                && old.definition == mark.definition
                && old.withheld == mark.withheld.or(old.shown.withheld())
        });
        Candidate {
            is_new: unchanged.is_none(),
            claim,
            like,
            entry: unchanged.map_or_else(
                || Arc::new(Entry::new(source, key, item, link, settings, mark)),
                Arc::clone,
            ),
        }
    };
    all().map(one).collect()
}

/// What a section is made within.
pub(super) struct Frame<'a> {
    pub(super) old: &'a Section,
    pub(super) generation: u64,
    pub(super) announced: u64,
    pub(super) reserved: &'static [&'static str],
    /// Upstreams that had not told anything yet when `old` was made.
    pub(super) unheard: &'a [UpstreamId],
}

impl Section {
    /// Puts candidates into their order. Of several with the same key one is listed, the others stand in for it, but not for
    /// one whose key begins with its upstream's alias: nobody else has that. One that only looks like another is withheld.
    /// Among those with the same [`Claim`], who was there first keeps the name, whatever comes before it in the order of
    /// upstreams: also while it is down, because what it offered last stays among the candidates. What an upstream offers
    /// in its first list of all goes by the order, so that after a restart of the gate the names do not fall to whoever
    /// answers fastest; who was first before it is forgotten then.
    pub(super) fn assemble(candidates: &[Candidate], frame: &Frame<'_>) -> Self {
        let old = frame.old;
        let mut owners: HashMap<&str, &str> = HashMap::with_capacity(candidates.len());
        let listed = |entry: &Entry| {
            old.get(&entry.key).is_some_and(|old| {
                old.link.id() == entry.link.id() && old.item.key == entry.item.key
            })
        };
        let keeps = |entry: &Entry| frame.unheard.contains(entry.link.id()) || listed(entry);
        let mut in_turn: Vec<&Candidate> = candidates.iter().collect();
        in_turn.sort_by_cached_key(|one| (one.claim, !keeps(&one.entry)));
        for Candidate { entry, .. } in &in_turn {
            if let Some(looks) = entry.looks() {
                owners.entry(looks).or_insert(&entry.key);
            }
        }
        let mut entries: BTreeMap<&str, &Candidate> = BTreeMap::new();
        let mut others: BTreeMap<String, Vec<Arc<Entry>>> = BTreeMap::new();
        let mut look_alikes = Vec::new();
        let mut found = Found::default();
        // Told once, however often lists are merged.
        let told: HashSet<_> = old.look_alikes.iter().map(LookAlike::id).collect();
        let is_known = |entry: &Entry| told.contains(&(entry.link.id(), entry.key.as_str()));
        for candidate in in_turn {
            let Candidate {
                entry,
                is_new,
                claim,
                like,
            } = candidate;
            if *is_new {
                found.merge(&entry.shown.found);
            }
            let (key, upstream) = (entry.key.as_str(), entry.link.id());
            if frame.reserved.contains(&key) {
                if *is_new {
                    tracing::warn!(key, %upstream, "tool search has a tool of this name; the upstream's is hidden");
                }
                continue;
            }
            let owner = entry.looks().and_then(|looks| owners.get(looks).copied());
            if let Some(like) = owner.filter(|owner| *owner != key) {
                if !is_known(entry) {
                    tracing::warn!(key, %upstream, like, "a name that looks like another is withheld");
                }
                look_alikes.push(LookAlike {
                    entry: Arc::clone(entry),
                    like: like.to_owned(),
                    is_shown: false,
                });
                continue;
            }
            if let Some(like) = like {
                if !is_known(entry) {
                    tracing::warn!(key, %upstream, like, "a name that begins like another upstream's has its own upstream's in front");
                }
                look_alikes.push(LookAlike {
                    entry: Arc::clone(entry),
                    like: like.clone(),
                    is_shown: true,
                });
            }
            match entries.get(key).map(|first| (&first.entry, first.claim)) {
                None => drop(entries.insert(key, candidate)),
                // It was shortened, so it does not begin like the other's.
                Some((first, Claim::Prefixed))
                    if *claim == Claim::Bare && first.link.id() != upstream =>
                {
                    if !is_known(entry) {
                        tracing::warn!(key, first = %first.link.id(), %upstream, "a name that is another upstream's is withheld");
                    }
                    look_alikes.push(LookAlike {
                        entry: Arc::clone(entry),
                        like: key.to_owned(),
                        is_shown: false,
                    });
                }
                Some((first, _)) => {
                    if *is_new {
                        tracing::warn!(key, first = %first.link.id(), second = %upstream, "two upstreams offer the same; the second's is for those who may not see the first's");
                    }
                    others
                        .entry(key.to_owned())
                        .or_default()
                        .push(Arc::clone(entry));
                }
            }
        }
        let entries = entries.into_values().map(|one| &one.entry);
        let mut entries: Vec<Arc<Entry>> = entries.map(Arc::clone).collect();
        // By key already, and stable.
        entries.sort_by_key(|entry| entry.order);
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
        let has_changed = !is_same || frame.announced != old.announced;
        Self {
            entries,
            by_key,
            // Also another number than that of a slice of the same name that was there some time ago.
            stamp: if has_changed {
                frame.generation.max(old.stamp + 1)
            } else {
                old.stamp
            },
            announced: frame.announced,
            others,
            look_alikes,
            found,
        }
    }
}

fn is_same(new: &[Arc<Entry>], old: &[Arc<Entry>]) -> bool {
    let is_one = |new: &Entry, old: &Entry| {
        new.key == old.key
            && new.withheld.is_some() == old.withheld.is_some()
            && (new.withheld.is_some() || new.text == old.text)
    };
    new.len() == old.len() && new.iter().zip(old).all(|(new, old)| is_one(new, old))
}

fn extensions(known: &[&Known]) -> Vec<(UpstreamId, String, String)> {
    known
        .iter()
        .flat_map(|one| {
            let extensions = one.snapshot.listing.extensions.iter();
            extensions.map(|(id, settings)| (one.link.id().clone(), id.clone(), settings.clone()))
        })
        .collect()
}

fn instructions(
    known: &[&Known],
    pinned: &Pinned,
    settings: &CatalogSettings,
) -> Vec<Instructions> {
    known
        .iter()
        .filter(|one| pinned.may_instruct(one))
        .filter_map(|one| {
            let (upstream, text) = (one.link.id(), pins::instructions(&one.snapshot.listing)?);
            Some(Instructions::new(&settings.screen, upstream, text))
        })
        .collect()
}
