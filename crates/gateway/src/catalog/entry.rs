//! One entry of a catalog: what clients see of it, what its upstream knows it as, and what is compiled of it.
//!
//! Entries of virtual servers come from one of the whole catalog, and share what is compiled with it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use policy::{Memo, Schema, SubjectKind, Traits};
use upstream::{Item, Link};
use wire::{Mirrored, Template};

use super::merge::Source;
use crate::dialect::{self, Family};

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
    /// The definition that clients may see, under the upstream's name for it: what `text` is written from.
    pub(crate) shown: Item,
    /// The definition that clients see.
    pub(crate) text: Bytes,
    /// For whom it was written.
    pub(super) family: Family,
    compiled: Arc<Compiled>,
    pub(super) template: Option<Arc<Template>>,
    /// What else is known of it, for the rules.
    pub(crate) traits: Traits,
    /// What the rules decided about it.
    pub(crate) memo: Memo,
}

/// What is read out of a definition when it is first needed, kept until the definition changes.
#[derive(Debug, Default)]
struct Compiled {
    input_schema: OnceLock<Result<Option<Schema>, String>>,
    mirrored: OnceLock<Mirrored>,
}

impl Entry {
    /// An entry of the whole catalog.
    pub(super) fn new(
        source: Source,
        key: String,
        item: &Item,
        link: &Arc<Link>,
        family: Family,
    ) -> Self {
        let shown = item.clone();
        let text = shown.renamed(&key);
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
            template: source
                .is_template
                .then(|| Arc::new(Template::new(&item.key))),
            key,
            item: item.clone(),
            shown,
            link: Arc::clone(link),
            traits: traits(item),
            memo: Memo::default(),
            compiled: Arc::default(),
        }
    }

    /// The compiled schema of a tool's arguments.
    pub(crate) fn input_schema(&self) -> Result<Option<&Schema>, String> {
        let compiled = &self.compiled.input_schema;
        compiled
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
        self.compiled.mirrored.get_or_init(|| {
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
