//! Virtual servers: named slices of the catalog, each with a path of its own (`/mcp/support`).
//!
//! Here is what the config says about them; how it makes a slice is `catalog::slice`. What a principal may do in one
//! is the rules' business, as everywhere: a slice only leaves things out and shows them differently.

use std::collections::BTreeMap;
use std::sync::Arc;

use policy::{Pattern, ServerName, UpstreamId};
use serde_json::{Map, Value};

use super::{CatalogSettings, FlowSettings, SearchSettings, ValidationSettings};

/// All virtual servers, by name.
pub type ServerSettings = BTreeMap<ServerName, Arc<VirtualServer>>;

/// One slice of the catalog, and how it is presented.
#[derive(Debug, Clone)]
pub struct VirtualServer {
    /// What is in it.
    pub include: Vec<Pick>,
    /// What is not, whatever includes it.
    pub exclude: Vec<Pick>,
    /// What is different about single entries.
    pub edits: BTreeMap<EntryId, Arc<Edit>>,
    /// What models are told about it, in the place of what its upstreams say; `None`: what they say.
    pub instructions: Option<String>,
    /// How names and schemas are written for its clients.
    pub catalog: CatalogSettings,
    /// When its clients get tool search in the place of the list.
    pub search: SearchSettings,
    /// How arguments and results are checked here.
    pub validation: ValidationSettings,
    /// Which data may flow where, as seen from here.
    pub flows: FlowSettings,
    /// How long a tool's result may be here: see [`CallSettings::result_max`](super::CallSettings).
    pub result_max: Option<usize>,
    /// Whether tools that their upstream calls destructive are asked about here.
    pub asks_destructive: bool,
}

/// Which kind of entry is meant. Resources and templates are two lists, so they are two kinds here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A tool, by its name.
    Tool,
    /// A prompt, by its name.
    Prompt,
    /// A resource, by its URI.
    Resource,
    /// A template of resources, by its URI template.
    Template,
}

/// One entry of one upstream, under the upstream's own name for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// What it is.
    pub kind: EntryKind,
    /// Whose it is.
    pub upstream: UpstreamId,
    /// The upstream's own, unprefixed name, its URI or its template.
    pub name: String,
}

/// Some entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pick {
    /// Only of this kind; `None`: of every kind, methods of extensions among them.
    pub kind: Option<EntryKind>,
    /// Which of them.
    pub pattern: Pattern,
}

/// What is different about one entry. Nothing, by default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edit {
    /// What clients call it; no prefix is put in front.
    pub name: Option<String>,
    /// Another title.
    pub title: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Leaves it out.
    pub hide: bool,
    /// Arguments that every call has; clients do not see them.
    pub defaults: Map<String, Value>,
    /// Whether clients see them all the same, and may give others.
    pub defaults_may_change: bool,
    /// Where in the list it stands: lower numbers first, then names; 0 where nothing is said.
    pub order: i32,
}

impl Pick {
    /// Whether it means this entry; `kind` is `None` for methods of extensions.
    fn takes(&self, kind: Option<EntryKind>, upstream: &UpstreamId, name: &str) -> bool {
        (self.kind.is_none() || self.kind == kind) && self.pattern.matches(upstream, name)
    }
}

impl VirtualServer {
    /// Whether an entry is in the slice.
    pub(crate) fn takes(&self, kind: Option<EntryKind>, upstream: &UpstreamId, name: &str) -> bool {
        let takes = |picks: &[Pick]| picks.iter().any(|pick| pick.takes(kind, upstream, name));
        takes(&self.include) && !takes(&self.exclude)
    }

    /// Whether a resource that fits one of its templates may be reached by that. What is excluded may not, and what is
    /// hidden neither.
    pub(crate) fn leads_to(&self, upstream: &UpstreamId, uri: &str) -> bool {
        let kind = EntryKind::Resource;
        let is_excluded = self
            .exclude
            .iter()
            .any(|pick| pick.takes(Some(kind), upstream, uri));
        !is_excluded && !self.edit(kind, upstream, uri).is_some_and(|edit| edit.hide)
    }

    /// Whether anything of an upstream can be in it.
    pub(crate) fn is_about(&self, upstream: &UpstreamId) -> bool {
        self.include
            .iter()
            .any(|pick| pick.pattern.is_about(upstream))
    }

    /// What is different about an entry.
    pub(crate) fn edit(
        &self,
        kind: EntryKind,
        upstream: &UpstreamId,
        name: &str,
    ) -> Option<&Arc<Edit>> {
        // Most slices change nothing: no key is made for a look into an empty map.
        if self.edits.is_empty() {
            return None;
        }
        self.edits.get(&EntryId {
            kind,
            upstream: upstream.clone(),
            name: name.to_owned(),
        })
    }
}
