//! One entry of a catalog: what clients see of it, what its upstream knows it as, and what is compiled of it.
//!
//! Entries of virtual servers come from one of the whole catalog, and share what is compiled with it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use policy::{Memo, Schema, SubjectKind, Traits, confusable};
use upstream::{Item, Link};
use wire::{Mirrored, Template};

use super::Position;
use super::edit::Origin;
use super::merge::Source;
use crate::dialect::{self, Family};
use crate::pins::{Mark, Withheld};
use crate::schemas::{self, SchemaHash, SchemaOf, Schemas};
use crate::screening::Shown;
use crate::search::Words;
use crate::settings::CatalogSettings;

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
    pub(crate) shown: Shown,
    /// The definition that clients see.
    pub(crate) text: Bytes,
    /// For whom it was written.
    pub(super) family: Family,
    pub(super) compiled: Arc<Compiled>,
    pub(super) template: Option<Arc<Template>>,
    /// What else is known of it, for the rules.
    pub(crate) traits: Traits,
    /// What the rules decided about it.
    pub(crate) memo: Memo,
    /// The digest of the whole definition as its upstream wrote it.
    pub(crate) definition: Arc<str>,
    /// Why it is not served, if it is not. Then it is in no list and cannot be called; its key stays taken.
    pub(crate) withheld: Option<Withheld>,
    /// Where in its list it stands: see [`Position`].
    pub(super) order: i32,
    /// Where it comes from, in a virtual server.
    pub(super) origin: Option<Origin>,
    /// What its name looks like.
    pub(super) looks: OnceLock<String>,
    /// What it is found by.
    pub(super) words: OnceLock<Words>,
}

/// What is read out of a definition when it is first needed, kept until the definition changes.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// Under these hashes the compiled schemas are found.
    arguments: OnceLock<Option<SchemaHash>>,
    results: OnceLock<Option<SchemaHash>>,
    mirrored: OnceLock<Mirrored>,
}

impl Entry {
    /// An entry of the whole catalog.
    pub(super) fn new(
        source: Source,
        key: String,
        item: &Item,
        link: &Arc<Link>,
        settings: &CatalogSettings,
        mark: Mark,
    ) -> Self {
        let family = settings.dialect.schemas;
        let shown = Shown::new(&settings.screen, link.id(), source.kind, item);
        let text = shown.item.renamed(&key);
        let withheld = mark.withheld.or(shown.withheld());
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
            // What a definition that nobody approved says of itself decides nothing.
            traits: match withheld {
                None => traits(item),
                Some(_) => Traits::default(),
            },
            memo: Memo::default(),
            compiled: Arc::default(),
            definition: mark.definition,
            withheld,
            order: 0,
            origin: None,
            looks: OnceLock::new(),
            words: OnceLock::new(),
        }
    }

    /// Where it stands in its list.
    pub(crate) fn position(&self) -> Position<'_> {
        Position {
            order: self.order,
            key: &self.key,
        }
    }

    /// What its name looks like; `None` where it has a URI, which nobody knows by its looks.
    pub(super) fn looks(&self) -> Option<&str> {
        matches!(self.kind, SubjectKind::Tool | SubjectKind::Prompt).then(|| {
            self.looks
                .get_or_init(|| confusable::skeleton(&self.key))
                .as_str()
        })
    }

    /// What it is found by: the words that clients see.
    pub(crate) fn words(&self) -> &Words {
        self.words.get_or_init(|| Words::of(&self.key, &self.text))
    }

    /// The compiled schema of a tool's arguments or structured results, if it has one.
    pub(crate) async fn schema(
        &self,
        of: SchemaOf,
        schemas: &Schemas,
    ) -> Result<Option<Arc<Schema>>, Arc<str>> {
        let (member, hash) = match of {
            SchemaOf::Arguments => ("inputSchema", &self.compiled.arguments),
            SchemaOf::Results => ("outputSchema", &self.compiled.results),
        };
        let text = || self.item.member(member);
        match *hash.get_or_init(|| text().map(schemas::hash)) {
            Some(hash) => {
                let text = || text().unwrap_or_default().to_owned();
                schemas.get(hash, text).await.map(Some)
            }
            None => Ok(None),
        }
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
        // The config's to say, of each name and URI: see `call::authorize`.
        private: false,
    }
}
