//! The part of the catalog that a virtual server has, under its own names.
//!
//! A slice is made of the whole catalog's entries and shares with them what is compiled and the way to the upstream;
//! what is withheld there is withheld here. Which entries there are is `settings::servers`' to say, what is different
//! about one `edit`'s.

use std::collections::HashMap;
use std::sync::Arc;

use policy::UpstreamId;
use policy::screen::Found;

use super::merge::{
    Candidate, Frame, METHODS, PROMPTS, RESOURCES, Source, TEMPLATES, TOOLS, reserved,
};
use super::naming::{Claim, Named, Naming};
use super::{Catalog, Entry, Section};
use crate::pins::Known;
use crate::settings::{Edit, EntryKind, VirtualServer};

impl Catalog {
    /// A virtual server's part of the whole catalog. `known` is what that was merged of, in the order of upstreams; what did
    /// not change since `old` is taken over from it.
    pub(crate) fn slice(
        whole: &Self,
        known: &[Known],
        server: &Arc<VirtualServer>,
        old: Option<&Self>,
    ) -> Self {
        let slicer = Slicer {
            whole,
            order: known
                .iter()
                .enumerate()
                .map(|(at, one)| (one.link.id(), at))
                .collect(),
            known,
            server,
            unheard: old.map_or(&[], |old| &old.missing),
        };
        let empty = Section::default();
        let section = |source, kind, of: fn(&Self) -> &Section| {
            slicer.section(source, kind, of(whole), old.map_or(&empty, of))
        };
        let kind = Some;
        let mut slice = Self {
            tools: section(TOOLS, kind(EntryKind::Tool), |all| &all.tools),
            prompts: section(PROMPTS, kind(EntryKind::Prompt), |all| &all.prompts),
            resources: section(RESOURCES, kind(EntryKind::Resource), |all| &all.resources),
            templates: section(TEMPLATES, kind(EntryKind::Template), |all| &all.templates),
            methods: section(METHODS, None, |all| &all.methods),
            scope: Some(Arc::clone(server)),
            generation: whole.generation,
            // Counted where the whole was made.
            found: Found::default(),
            instructions: whole
                .instructions
                .iter()
                .map(|told| told.within(&server.catalog.screen))
                .collect(),
            extensions: whole.extensions.clone(),
            missing: whole.missing.clone(),
            tasks: false,
            logs: false,
            is_settling: whole.is_settling,
        };
        slice.missing.retain(|upstream| server.is_about(upstream));
        let serves = |one: &&Known| {
            let mut tools = slice.tools.everything();
            tools.any(|entry| entry.link.id() == one.link.id())
        };
        slice.tasks = whole.tasks
            && known
                .iter()
                .filter(serves)
                .any(|one| one.snapshot.listing.tasks);
        slice.logs = whole.logs
            && known
                .iter()
                .filter(|one| server.is_about(one.link.id()))
                .any(|one| one.link.is_provider() || one.snapshot.listing.logs);
        slice.prepare(server.search);
        slice
    }
}

/// What all sections of a slice are made of.
struct Slicer<'a> {
    whole: &'a Catalog,
    known: &'a [Known],
    order: HashMap<&'a UpstreamId, usize>,
    server: &'a VirtualServer,
    unheard: &'a [UpstreamId],
}

/// One entry that is in the slice, and what is different about it.
struct Taken<'a> {
    entry: &'a Arc<Entry>,
    edit: Option<&'a Arc<Edit>>,
}

impl Taken<'_> {
    fn name(&self) -> Option<&str> {
        self.edit?.name.as_deref()
    }
}

impl Slicer<'_> {
    fn section(
        &self,
        source: Source,
        kind: Option<EntryKind>,
        whole: &Section,
        old: &Section,
    ) -> Section {
        let taken = self.taken(kind, whole);
        let names = taken.iter().map(|taken| taken.entry.item.key.as_str());
        let aliases = self.order.keys().copied();
        let naming = Naming::new(&self.server.catalog, source, names, aliases);
        let settings = &self.server.catalog;
        let family = settings.dialect.schemas;
        let one = |taken: &Taken<'_>| {
            let Taken { entry, edit } = *taken;
            let given = taken.name().map(|name| Named {
                key: name.to_owned(),
                claim: Claim::Given,
                like: None,
            });
            let named = given.unwrap_or_else(|| naming.name(entry.link.id(), &entry.item.key));
            let Named { key, claim, like } = named;
            let unchanged = old.named(&key).find(|old| {
                old.family == family
                    && old.shown.is_by(&settings.screen)
                    && old.is_slice_of(entry, edit)
            });
            Candidate {
                is_new: unchanged.is_none(),
                claim,
                like,
                entry: unchanged.map_or_else(
                    || Arc::new(Entry::sliced(entry, key, edit, settings)),
                    Arc::clone,
                ),
            }
        };
        let candidates: Vec<Candidate> = taken.iter().map(one).collect();
        let frame = Frame {
            old,
            generation: self.whole.generation,
            announced: self
                .known
                .iter()
                .filter(|one| self.server.is_about(one.link.id()))
                .map(|one| (source.announced)(&one.snapshot.announced))
                .sum(),
            reserved: reserved(source, self.server.search),
            unheard: self.unheard,
        };
        Section::assemble(&candidates, &frame)
    }

    /// The entries of a list that are in the slice: first those that the config names, which so keep their names, then
    /// in the order of upstreams.
    fn taken<'s>(&'s self, kind: Option<EntryKind>, whole: &'s Section) -> Vec<Taken<'s>> {
        let one = |entry: &'s Arc<Entry>| {
            let (upstream, name) = (entry.link.id(), &entry.item.key);
            if !self.server.takes(kind, upstream, name) {
                return None;
            }
            let edit = kind.and_then(|kind| self.server.edit(kind, upstream, name));
            let is_hidden = edit.is_some_and(|edit| edit.hide);
            (!is_hidden).then_some(Taken { entry, edit })
        };
        let mut taken: Vec<Taken<'_>> = whole.everything().filter_map(one).collect();
        taken.sort_by_key(|taken| {
            let place = self.order.get(taken.entry.link.id()).copied();
            (
                taken.name().is_none(),
                place.unwrap_or(usize::MAX),
                taken.entry.key.as_str(),
            )
        });
        taken
    }
}
