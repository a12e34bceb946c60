//! `[virtual_servers.NAME]` and `[tool_search]`: slices of the catalog, and when tools are searched instead of listed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gateway::{
    CatalogSettings, Edit, EntryId, EntryKind, FlowSettings, Pick, SearchSettings, ServerSettings,
    ValidationSettings, VirtualServer,
};
use policy::config::Complaints;
use policy::screen::Screen;
use policy::{Pattern, ServerName, UpstreamId, confusable};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value as Json};

use super::check::{family, names, prefix, result_max, separator};
use super::consent::RawDestructive;
use super::raw::{Raw, RawFamily, RawNames, RawPrefix, RawSeparator, SizeOrOff};
use super::screening::{RawOwnFlows, RawScreening};
use super::shape::nearest;
use super::validation::RawOwnValidation;

/// A longer name is accepted by no client.
const NAME_CHARS_MAX: usize = 128;
/// What is told to models about a server stays shorter.
const INSTRUCTIONS_BYTES_MAX: usize = 64 * 1024;

/// One virtual server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawServer {
    /// Which entries are in it, as patterns such as `files.read_*`; `{ tool = "files.*" }` means only tools (likewise `prompt`, `resource` and `template`).
    pub include: Vec<RawPick>,
    /// Which of them are not.
    #[serde(default)]
    pub exclude: Vec<RawPick>,
    /// What models are told about it, in the place of what its upstreams say.
    pub instructions: Option<String>,
    /// Replaces `catalog.prefix`.
    pub prefix: Option<RawPrefix>,
    /// Replaces `catalog.separator`.
    pub separator: Option<RawSeparator>,
    /// Replaces `catalog.schemas`.
    pub schemas: Option<RawFamily>,
    /// Replaces `catalog.names`.
    pub names: Option<RawNames>,
    /// Replaces `tool_search`.
    pub tool_search: Option<RawSearch>,
    /// Replaces `screening`, as far as it says something. A definition that is withheld there is withheld here.
    pub screening: Option<RawScreening>,
    /// Replaces `flows`, as far as it says something. What was seen through one path counts for all of them.
    pub flows: Option<RawOwnFlows>,
    /// Replaces `validation`, as far as it says something, for all upstreams.
    pub validation: Option<RawOwnValidation>,
    /// Replaces `calls`, as far as it says something.
    pub calls: Option<RawOwnCalls>,
    /// Replaces `consent`, as far as it says something.
    pub consent: Option<RawOwnConsent>,
    /// What is different about single tools, by upstream and name: `"files.read"`.
    #[serde(default)]
    pub tools: BTreeMap<String, RawCallable>,
    /// What is different about single prompts, by upstream and name.
    #[serde(default)]
    pub prompts: BTreeMap<String, RawCallable>,
    /// What is different about single resources, by upstream and URI: `"files.file:///srv/a.txt"`.
    #[serde(default)]
    pub resources: BTreeMap<String, RawReadable>,
    /// What is different about single templates of resources, by upstream and URI template.
    #[serde(default)]
    pub templates: BTreeMap<String, RawReadable>,
}

/// What is different about a tool or prompt.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCallable {
    /// What clients call it, as it stands here: no prefix is put in front.
    pub name: Option<String>,
    /// Another title.
    pub title: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Leaves it out.
    #[serde(default)]
    pub hide: bool,
    /// Arguments that every call has. Clients neither see nor give them.
    #[serde(default)]
    pub defaults: BTreeMap<String, Anything>,
    /// Clients see these arguments all the same, and may give other values.
    #[serde(default)]
    pub defaults_may_change: bool,
    /// Where in the list it stands: lower numbers first; 0 unless said.
    pub order: Option<i32>,
}

/// What is different about a resource or a template.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReadable {
    /// Another title.
    pub title: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Leaves it out.
    #[serde(default)]
    pub hide: bool,
    /// Where in the list it stands: lower numbers first; 0 unless said.
    pub order: Option<i32>,
}

/// Tools to search, describe and call tools, in the place of a long list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSearch {
    /// A client that may see more tools than this gets them; `off`: none does.
    pub above: CountOrOff,
}

/// What a virtual server has in the place of `calls`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwnCalls {
    /// Replaces `calls.result_max`.
    pub result_max: Option<SizeOrOff>,
}

/// What a virtual server has in the place of `consent`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOwnConsent {
    /// Replaces `consent.destructive`.
    pub destructive: Option<RawDestructive>,
}

/// A number, or `off`.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountOrOff(Option<u32>);

/// Some entries: a pattern, or one for a kind of them.
#[derive(Debug)]
pub(super) struct RawPick {
    kind: Option<EntryKind>,
    pattern: String,
}

/// Any value.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Anything(toml::Value);

impl JsonSchema for Anything {
    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kind": "anything" })
    }
}

impl JsonSchema for CountOrOff {
    fn schema_name() -> Cow<'static, str> {
        "CountOrOff".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kind": "count",
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": 1_000_000 },
                { "type": "string", "enum": ["off"] },
            ],
        })
    }
}

impl JsonSchema for RawPick {
    fn schema_name() -> Cow<'static, str> {
        "Pick".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "properties": {
                        "tool": { "type": "string", "description": "Tools only." },
                        "prompt": { "type": "string", "description": "Prompts only." },
                        "resource": { "type": "string", "description": "Resources only, by URI." },
                        "template": { "type": "string", "description": "Templates of resources only." },
                    },
                    "additionalProperties": false,
                    "minProperties": 1,
                    "maxProperties": 1,
                },
            ],
        })
    }
}

impl<'de> Deserialize<'de> for CountOrOff {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = CountOrOff;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or \"off\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<CountOrOff, E> {
                let number = u32::try_from(number).map_err(|_none| {
                    E::invalid_value(de::Unexpected::Signed(number), &"a count")
                })?;
                Ok(CountOrOff(Some(number)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<CountOrOff, E> {
                match text {
                    "off" => Ok(CountOrOff(None)),
                    other => Err(E::unknown_variant(other, &["off"])),
                }
            }
        }
        from.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for RawPick {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrKind;
        impl<'de> Visitor<'de> for TextOrKind {
            type Value = RawPick;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pattern, or { tool = \"pattern\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RawPick, E> {
                let (kind, pattern) = (None, text.to_owned());
                Ok(RawPick { kind, pattern })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawPick, A::Error> {
                const KINDS: &[&str] = &["tool", "prompt", "resource", "template"];
                let one_of = || de::Error::custom(format_args!("one of {KINDS:?} is needed"));
                let (key, pattern) = map.next_entry::<String, String>()?.ok_or_else(one_of)?;
                if map.next_key::<String>()?.is_some() {
                    return Err(one_of());
                }
                let kind = match key.as_str() {
                    "tool" => EntryKind::Tool,
                    "prompt" => EntryKind::Prompt,
                    "resource" => EntryKind::Resource,
                    "template" => EntryKind::Template,
                    other => return Err(de::Error::unknown_field(other, KINDS)),
                };
                let kind = Some(kind);
                Ok(RawPick { kind, pattern })
            }
        }
        from.deserialize_any(TextOrKind)
    }
}

impl RawSearch {
    /// What `[tool_search]` says.
    pub(super) fn settings(&self) -> SearchSettings {
        let above = self.above.0;
        SearchSettings {
            above: above.map(|above| usize::try_from(above).unwrap_or(usize::MAX)),
        }
    }
}

/// What holds where a server says nothing else.
pub(super) struct Whole<'a> {
    pub(super) catalog: &'a CatalogSettings,
    pub(super) validation: &'a ValidationSettings,
    pub(super) flows: &'a FlowSettings,
    pub(super) result_max: Option<usize>,
}

/// What a server takes over from the rest of the config where it says nothing.
struct Around<'a> {
    /// The aliases of all upstreams, those that are switched off among them.
    upstreams: Vec<&'a str>,
    whole: Whole<'a>,
    search: SearchSettings,
    destructive: RawDestructive,
}

/// What `[virtual_servers]` says. `whole`: what holds where a server says nothing else.
pub(super) fn servers(
    raw: &Raw,
    whole: Option<Whole<'_>>,
    complaints: &mut Complaints,
) -> Option<ServerSettings> {
    let mut upstreams: Vec<&str> = raw.upstreams.keys().map(String::as_str).collect();
    for builtin in &raw.builtins {
        let alias = builtin.alias();
        if !upstreams.contains(&alias) {
            upstreams.push(alias);
        }
    }
    complaints.at("upstreams", |complaints| {
        look_alikes(upstreams.iter().copied(), complaints);
    });
    let around = Around {
        upstreams,
        whole: whole?,
        search: raw.tool_search.settings(),
        destructive: raw.consent.destructive,
    };
    complaints.at("virtual_servers", |complaints| {
        let raw = &raw.virtual_servers;
        look_alikes(raw.keys().map(String::as_str), complaints);
        let one = |(name, raw): (&String, &RawServer)| {
            complaints.at(name, |complaints| {
                let name = complaints.keep(ServerName::new(name), "it stands in a path: /mcp/NAME");
                let server = server(raw, &around, complaints);
                Some((name?, Arc::new(server?)))
            })
        };
        let servers: Vec<_> = raw.iter().map(one).collect();
        servers.into_iter().collect()
    })
}

/// Complains if two names pass for one another: whoever reads a path, a rule or a prefix must not be led astray.
fn look_alikes<'a>(names: impl IntoIterator<Item = &'a str>, complaints: &mut Complaints) {
    if let Some((first, second)) = confusable::first_pair(names) {
        complaints.at(second, |complaints| {
            complaints.add(format!("looks like `{first}`"), "rename one of them");
        });
    }
}

fn server(
    raw: &RawServer,
    around: &Around<'_>,
    complaints: &mut Complaints,
) -> Option<VirtualServer> {
    let mut picks = |key: &str, raw: &[RawPick]| {
        complaints.at(key, |complaints| {
            let one = |(at, pick): (usize, &RawPick)| {
                complaints.at(at.to_string(), |complaints| {
                    Some(Pick {
                        kind: pick.kind,
                        pattern: complaints.keep(Pattern::parse(&pick.pattern), "")?,
                    })
                })
            };
            let picks: Vec<Option<Pick>> = raw.iter().enumerate().map(one).collect();
            picks.into_iter().collect::<Option<Vec<Pick>>>()
        })
    };
    let (include, exclude) = (
        picks("include", &raw.include),
        picks("exclude", &raw.exclude),
    );
    if raw
        .instructions
        .as_ref()
        .is_some_and(|text| text.len() > INSTRUCTIONS_BYTES_MAX)
    {
        complaints.at("instructions", |complaints| {
            complaints.add("no model reads that much", "write at most 64 KiB");
        });
    }
    let mut edits = BTreeMap::new();
    let callables = [
        ("tools", EntryKind::Tool, &raw.tools),
        ("prompts", EntryKind::Prompt, &raw.prompts),
    ];
    for (key, kind, raw) in callables {
        complaints.at(key, |complaints| {
            for (entry, raw) in raw {
                complaints.at(entry, |complaints| {
                    let id = entry_id(kind, entry, around, complaints);
                    let edit = callable(kind, raw, complaints);
                    edits.extend(id.zip(edit));
                });
            }
            same_names(raw, complaints);
        });
    }
    let readables = [
        ("resources", EntryKind::Resource, &raw.resources),
        ("templates", EntryKind::Template, &raw.templates),
    ];
    for (key, kind, raw) in readables {
        complaints.at(key, |complaints| {
            for (entry, raw) in raw {
                complaints.at(entry, |complaints| {
                    let id = entry_id(kind, entry, around, complaints);
                    edits.extend(id.zip(Some(Arc::new(readable(raw)))));
                });
            }
        });
    }
    let whole = &around.whole;
    let mut catalog = whole.catalog.clone();
    if let Some(own) = raw.prefix {
        catalog.prefix = prefix(own);
        catalog.prefix_of.clear();
    }
    if let Some(own) = raw.separator {
        catalog.separator = separator(own);
    }
    if let Some(own) = raw.schemas {
        catalog.dialect.schemas = family(own);
    }
    if let Some(own) = raw.names {
        catalog.dialect.names = names(own);
    }
    if let Some(own) = &raw.screening {
        let around = catalog.screen.settings();
        let own = complaints.at("screening", |complaints| own.settings(around, complaints));
        catalog.screen = Arc::new(Screen::new(own?));
    }
    let flows = match &raw.flows {
        Some(own) => complaints.at("flows", |complaints| own.settings(whole.flows, complaints)),
        None => Some(whole.flows.clone()),
    };
    let result_max = match raw.calls.as_ref().and_then(|own| own.result_max.as_ref()) {
        Some(own) => complaints.at("calls", |complaints| result_max(own, complaints)),
        None => Some(whole.result_max),
    };
    let validation = raw.validation.as_ref();
    let destructive = raw.consent.as_ref().and_then(|own| own.destructive);
    let search = raw.tool_search.as_ref();
    Some(VirtualServer {
        include: include?,
        exclude: exclude?,
        edits,
        instructions: raw.instructions.clone(),
        catalog,
        search: search.map_or(around.search, RawSearch::settings),
        validation: validation.map_or_else(
            || whole.validation.clone(),
            |own| own.settings(whole.validation),
        ),
        flows: flows?,
        result_max: result_max?,
        asks_destructive: destructive.unwrap_or(around.destructive) == RawDestructive::Ask,
    })
}

fn entry_id(
    kind: EntryKind,
    text: &str,
    around: &Around<'_>,
    complaints: &mut Complaints,
) -> Option<EntryId> {
    let Some((alias, name)) = text.split_once('.').filter(|(_, name)| !name.is_empty()) else {
        complaints.add(
            "names no entry of an upstream",
            "write it as \"upstream.name\", with the upstream's own name for it",
        );
        return None;
    };
    if !around.upstreams.contains(&alias) {
        let hint = match nearest(alias, &around.upstreams) {
            Some(near) => format!("did you mean \"{near}.{name}\"?"),
            None => format!("add an [upstreams.{alias}]"),
        };
        complaints.add(format!("there is no upstream `{alias}`"), hint);
        return None;
    }
    Some(EntryId {
        kind,
        upstream: complaints.keep(UpstreamId::parse(alias), "")?,
        name: name.to_owned(),
    })
}

fn callable(kind: EntryKind, raw: &RawCallable, complaints: &mut Complaints) -> Option<Arc<Edit>> {
    if let Some(name) = &raw.name {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
        let chars = name.chars().count();
        if chars == 0 || chars > NAME_CHARS_MAX || !name.chars().all(is_fine) {
            complaints.at("name", |complaints| {
                complaints.add(
                    format!("`{name}` is no name that every client takes"),
                    "use a-z, A-Z, 0-9, `_`, `-`, `.` and `/`, at most 128 of them",
                );
            });
            return None;
        }
    }
    let mut defaults = Map::new();
    complaints.at("defaults", |complaints| {
        for (name, Anything(value)) in &raw.defaults {
            complaints.at(name, |complaints| match json(value) {
                Some(value) if kind != EntryKind::Prompt || value.is_string() => {
                    defaults.insert(name.clone(), value);
                }
                Some(_) => complaints.add("arguments of prompts are texts", "write it in quotes"),
                None => complaints.add("a date is no JSON value", "write it in quotes"),
            });
        }
    });
    Some(Arc::new(Edit {
        name: raw.name.clone(),
        title: raw.title.clone(),
        description: raw.description.clone(),
        hide: raw.hide,
        defaults,
        defaults_may_change: raw.defaults_may_change,
        order: raw.order.unwrap_or_default(),
    }))
}

fn readable(raw: &RawReadable) -> Edit {
    Edit {
        title: raw.title.clone(),
        description: raw.description.clone(),
        hide: raw.hide,
        order: raw.order.unwrap_or_default(),
        ..Edit::default()
    }
}

/// Two entries cannot have one name.
fn same_names(raw: &BTreeMap<String, RawCallable>, complaints: &mut Complaints) {
    let mut seen = BTreeMap::new();
    for (entry, raw) in raw {
        let Some(name) = &raw.name else { continue };
        if let Some(first) = seen.insert(name, entry) {
            complaints.at(entry, |complaints| {
                complaints.at("name", |complaints| {
                    complaints.add(
                        format!("`{name}` is already the name of `{first}`"),
                        "choose another",
                    );
                });
            });
        }
    }
    let names = seen.keys().map(|name| name.as_str());
    if let Some((first, second)) = confusable::first_pair(names)
        && let Some(entry) = seen.get(&second.to_owned())
    {
        complaints.at(*entry, |complaints| {
            complaints.at("name", |complaints| {
                complaints.add(format!("`{second}` looks like `{first}`"), "choose another");
            });
        });
    }
}

/// The same value as JSON; `None` for what JSON does not have.
fn json(value: &toml::Value) -> Option<Json> {
    Some(match value {
        toml::Value::String(text) => Json::String(text.clone()),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        toml::Value::Boolean(value) => Json::Bool(*value),
        toml::Value::Datetime(_) => return None,
        toml::Value::Array(list) => Json::Array(list.iter().map(json).collect::<Option<_>>()?),
        toml::Value::Table(table) => Json::Object(
            table
                .iter()
                .map(|(key, value)| Some((key.clone(), json(value)?)))
                .collect::<Option<_>>()?,
        ),
    })
}
