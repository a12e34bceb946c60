//! What one upstream offers: its lists, read to the last page, definitions kept as they came.

use bytes::Bytes;
use wire::method::{self, Method};
use wire::{Abilities, Mirrored, Outcome, Span, json};

use crate::Error;
use crate::peer::Peer;

/// More entries than this in one list are not taken.
const ENTRIES_MAX: usize = 10_000;
/// Pages of more bytes together are not kept.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// More pages than this are not followed.
const PAGES_MAX: usize = 1_000;

/// Everything an upstream offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Tools, keyed by name.
    pub tools: Vec<Item>,
    /// Prompts, keyed by name.
    pub prompts: Vec<Item>,
    /// Resources, keyed by URI.
    pub resources: Vec<Item>,
    /// Resource templates, keyed by URI template.
    pub templates: Vec<Item>,
    /// Whether it completes arguments.
    pub completes: bool,
    /// Whether it logs to its clients.
    pub logs: bool,
    /// Whether it tells of changes of a resource to who subscribes.
    pub subscribes: bool,
    /// Whether calls can go on as tasks, in the form of its era.
    pub tasks: bool,
    /// Methods of extensions that the config routes to it, keyed by their names.
    pub methods: Vec<Item>,
    /// The extensions it has: ids and settings as JSON text.
    pub extensions: Vec<(String, String)>,
    /// What it tells models about itself.
    pub instructions: Option<String>,
    /// Its name and version, as said.
    pub server: String,
    /// Its name and title as a JSON object, without the version; `None` for what is in this process.
    pub identity: Option<String>,
}

/// One definition: the upstream's bytes, and where its key stands in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Name, URI or URI template.
    pub key: String,
    text: Bytes,
    key_at: Span,
}

impl Item {
    /// Reads a definition whose key is the member `key_name`; `None` if it has none.
    #[must_use]
    pub fn read(text: Bytes, key_name: &str) -> Option<Self> {
        let raw = json::member(&text, key_name).ok()??;
        let key = json::unquote(raw)?.into_owned();
        let key_at = Span::of(raw.get().as_bytes(), &text)?;
        Some(Self { key, key_at, text })
    }

    /// A method of an extension.
    pub(crate) fn method(name: &str) -> Option<Self> {
        let text = json::object([("method", json::string(name))]);
        Self::read(text.into(), "method")
    }

    /// The definition as the upstream wrote it.
    #[must_use]
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// The same entry with another definition; `None` if that does not have its key where it was.
    #[must_use]
    pub fn with_text(&self, text: Bytes) -> Option<Self> {
        let members = json::members(&self.text).ok()?;
        let (key_name, _) = members
            .iter()
            .find(|(_, raw)| Span::of(raw.get().as_bytes(), &self.text) == Some(self.key_at))?;
        Self::read(text, key_name).filter(|item| item.key == self.key)
    }

    /// The definition under another key, everything else byte for byte.
    #[must_use]
    pub fn renamed(&self, key: &str) -> Bytes {
        if key == self.key {
            return self.text.clone();
        }
        let mut splice = wire::Splice::new(&self.text);
        splice.replace(self.key_at, json::string(key).into_bytes());
        splice.finish().into()
    }

    /// One member of the definition, as JSON text.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        json::member(&self.text, name)
            .ok()
            .flatten()
            .map(serde_json::value::RawValue::get)
    }
}

/// Which lists an upstream says it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
    pub(crate) completions: bool,
    pub(crate) logging: bool,
    /// Whether it tells of changes of a resource.
    pub(crate) subscribe: bool,
    /// Whether calls can go on as tasks: the core feature of 2025-11-25, or the extension of 2026-07-28.
    pub(crate) tasks: bool,
    /// Of which lists it says when they change.
    pub(crate) changes: Changes,
}

/// Some of the lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) tools: bool,
    pub(crate) prompts: bool,
    pub(crate) resources: bool,
}

impl Changes {
    /// Whether there is any.
    pub(crate) fn any(self) -> bool {
        self.tools || self.prompts || self.resources
    }
}

impl Offers {
    /// Reads a `capabilities` object.
    pub(crate) fn read(capabilities: &[u8]) -> Self {
        let members = json::members(capabilities).unwrap_or_default();
        let has = |name: &str| {
            members
                .iter()
                .any(|(key, raw)| key == name && raw.get().starts_with('{'))
        };
        let says = |name: &str, what: &str| {
            members
                .iter()
                .find(|(key, _)| key == name)
                .and_then(|(_, raw)| json::member(raw.get().as_bytes(), what).ok()?)
                .is_some_and(|raw| raw.get() == "true")
        };
        Self {
            tools: has("tools"),
            prompts: has("prompts"),
            resources: has("resources"),
            completions: has("completions"),
            logging: has("logging"),
            subscribe: says("resources", "subscribe"),
            tasks: has("tasks") || Abilities::read(capabilities).tasks,
            changes: Changes {
                tools: says("tools", "listChanged"),
                prompts: says("prompts", "listChanged"),
                resources: says("resources", "listChanged"),
            },
        }
    }
}

/// Asks for every list the upstream offers.
pub(crate) async fn fetch(peer: &Peer, offers: Offers) -> Result<Listing, Error> {
    let mut listing = Listing {
        completes: offers.completions,
        tasks: offers.tasks,
        logs: offers.logging,
        subscribes: offers.subscribe,
        ..Listing::default()
    };
    if offers.tools {
        listing.tools = fetch_list(peer, &method::TOOLS_LIST, "tools", "name").await?;
        if peer.mirrors() {
            listing.tools.retain(is_mirrorable);
        }
    }
    if offers.prompts {
        listing.prompts = fetch_list(peer, &method::PROMPTS_LIST, "prompts", "name").await?;
    }
    if offers.resources {
        listing.resources = fetch_list(peer, &method::RESOURCES_LIST, "resources", "uri").await?;
        // Templates came with the same capability, but not every server with resources knows the method.
        listing.templates = fetch_list(
            peer,
            &method::TEMPLATES_LIST,
            "resourceTemplates",
            "uriTemplate",
        )
        .await
        .unwrap_or_default();
    }
    Ok(listing)
}

/// A tool whose header annotations are wrong is left out where requests have headers (2026-07-28, Streamable HTTP).
fn is_mirrorable(tool: &Item) -> bool {
    let read = tool.member("inputSchema").map(Mirrored::read);
    if let Some(Err(why)) = &read {
        tracing::warn!(tool = tool.key, why, "a tool was left out");
    }
    !matches!(read, Some(Err(_)))
}

async fn fetch_list(
    peer: &Peer,
    method: &'static Method,
    member: &'static str,
    key_name: &'static str,
) -> Result<Vec<Item>, Error> {
    let mut items: Vec<Item> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut bytes = 0_usize;
    for _ in 0..PAGES_MAX {
        let params = cursor.as_ref().map_or_else(
            || Bytes::from_static(b"{}"),
            |raw| Bytes::from(format!("{{\"cursor\":{raw}}}")),
        );
        let page = match peer.ask(method.name, params).await? {
            Outcome::Result(page) => page,
            Outcome::Error(error) => {
                return Err(Error::Refused {
                    method: method.name,
                    message: error_message(&error),
                });
            }
        };
        let bad = |what: &str| Error::Protocol(format!("`{}`: {what}", method.name));
        bytes += page.len();
        if bytes > BYTES_MAX {
            return Err(bad("more bytes than are kept"));
        }
        let members = json::members(&page).map_err(|error| bad(&error.to_string()))?;
        let list = members
            .iter()
            .find(|(key, _)| key == member)
            .ok_or_else(|| bad("the list is missing"))?
            .1;
        let raw_items: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(list.get()).map_err(|error| bad(&error.to_string()))?;
        for raw in raw_items {
            let Some(item) = Item::read(page.slice_ref(raw.get().as_bytes()), key_name) else {
                tracing::warn!(
                    method = method.name,
                    "an entry without `{key_name}` was left out"
                );
                continue;
            };
            if items.len() >= ENTRIES_MAX {
                return Err(bad("more entries than are taken"));
            }
            items.push(item);
        }
        let next = members
            .iter()
            .find(|(key, _)| key == "nextCursor")
            .map(|(_, raw)| raw.get());
        match next.filter(|raw| *raw != "null") {
            None => {
                // Of two entries with one key the first is the one that a call would reach.
                let mut seen = std::collections::HashSet::new();
                items.retain(|item| seen.insert(item.key.clone()));
                return Ok(items);
            }
            Some(raw) if cursor.as_deref() == Some(raw) => {
                return Err(bad("the cursor does not move"));
            }
            Some(raw) => cursor = Some(raw.to_owned()),
        }
    }
    Err(Error::Protocol(format!(
        "`{}`: more pages than are followed",
        method.name
    )))
}

/// The `message` of an error object.
pub(crate) fn error_message(error: &[u8]) -> String {
    json::member(error, "message")
        .ok()
        .flatten()
        .and_then(json::unquote)
        .map_or_else(|| "no message".to_owned(), std::borrow::Cow::into_owned)
}
