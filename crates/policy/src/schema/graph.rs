//! A schema as a graph: which subschemas look at the same value, and which at its members and items.
//!
//! The library that checks has no budget of its own: it follows every reference in every dynamic scope. So the same is
//! done here first, with the same resolver and in the same order, and what grows beyond the bounds is refused before the
//! library sees it. Afterwards [`price`](super::price) and [`strict`](super::strict) walk the graph beside a value.

use std::collections::HashMap;
use std::sync::OnceLock;

use referencing::{Draft, List, Registry, Resolver, Uri};
use regex::Regex;
use serde_json::{Map, Value};

use super::patterns::{self, Allowance};
use super::words::cut;
use super::{PATTERN_BYTES_MAX, SchemaError};

/// Most subschemas, each counted once in each dynamic scope that it is reached in.
pub(super) const SUBSCHEMAS_MAX: usize = 8 * 1024;
/// Most values that stand in those subschemas: options of an `enum`, required names, and the like.
const VALUES_MAX: usize = 64 * 1024;
/// Most bytes of all places of keywords, written as JSON pointers: the library keeps each of them.
const PLACES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most subschemas that are entered one within another, references included.
const NESTED_MAX: usize = 256;
/// Most resources (`$id`) that a chain of references passes through.
const SCOPE_MAX: usize = 16;

/// A subschema of a [`Graph`].
pub(super) type NodeId = usize;

/// All subschemas that can be reached from the first, which is the schema itself.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
}

/// A way from one subschema to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) to: NodeId,
    /// Whether it closes a circle. The library remembers what it found at such a place.
    pub(super) is_back: bool,
}

/// One subschema: those it applies to the same value, to members and to items, and what else it costs.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// To the value itself: `allOf`, `anyOf`, `oneOf`, `not`, `if`, `$ref`, and the like.
    pub(super) same: Vec<Edge>,
    /// `properties`.
    pub(super) members: HashMap<Box<str>, Edge>,
    /// `patternProperties`.
    pub(super) patterned: Vec<Patterned>,
    /// To members that are not named: `additionalProperties`, `unevaluatedProperties`.
    pub(super) rest: Vec<Edge>,
    /// `propertyNames`.
    pub(super) names: Vec<Edge>,
    /// To items by position.
    pub(super) first: Vec<Edge>,
    /// To items: `items`, `contains`, `unevaluatedItems`.
    pub(super) items: Vec<Edge>,
    /// Whether it has `unevaluatedProperties` or `unevaluatedItems`, which try what lies in `same` a second time.
    pub(super) is_retrying: bool,
    /// Whether items must all differ.
    pub(super) is_unique: bool,
    /// Values in it that any value is held against.
    pub(super) values: u64,
    /// States of the expression that a text is held against.
    pub(super) text_states: u64,
    /// States of the expressions that each member's name is held against.
    pub(super) name_states: u64,
}

/// A subschema for members whose names match.
#[derive(Debug)]
pub(super) struct Patterned {
    text: Option<String>,
    compiled: OnceLock<Option<Regex>>,
    pub(super) edge: Edge,
}

impl Patterned {
    /// Whether a member's name matches; compiled when it is first asked.
    pub(super) fn matches(&self, name: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| {
            regex::RegexBuilder::new(self.text.as_deref()?)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_BYTES_MAX)
                .build()
                .ok()
        });
        compiled.as_ref().is_some_and(|regex| regex.is_match(name))
    }
}

impl Graph {
    /// Follows a schema from its root.
    ///
    /// # Errors
    /// If it grows beyond the bounds, or refers to what is not in it.
    pub(super) fn new(root: &Value, allowance: Allowance) -> Result<Self, SchemaError> {
        let unusable = |error: &dyn std::error::Error| SchemaError::Unusable {
            at: String::new(),
            reason: cut(&error.to_string(), 300),
        };
        let draft = Draft::default().detect(root);
        let resource = draft.create_resource_ref(root);
        let base = resource.id().unwrap_or("json-schema:///");
        let base = referencing::uri::from_str(base).map_err(|error| unusable(&error))?;
        let registry = Registry::new()
            .retriever(Nowhere)
            .draft(draft)
            .add(base.as_str(), resource)
            .and_then(referencing::RegistryBuilder::prepare)
            .map_err(|error| unusable(&error))?;
        let mut builder = Builder {
            nodes: Vec::new(),
            done: HashMap::new(),
            open: HashMap::new(),
            allowance,
            values: 0,
            places_bytes: 0,
        };
        builder.node(root, &registry.resolver(base), draft, Place::default())?;
        Ok(Self {
            nodes: builder.nodes,
        })
    }

    /// The schema itself.
    pub(super) const ROOT: NodeId = 0;

    pub(super) fn node(&self, id: NodeId) -> &Node {
        static NOTHING: OnceLock<Node> = OnceLock::new();
        self.nodes
            .get(id)
            .unwrap_or_else(|| NOTHING.get_or_init(Node::default))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }
}

/// Fetches nothing: a schema refers to what it brings along.
#[derive(Debug)]
struct Nowhere;

impl referencing::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("`{uri}` is outside the schema").into())
    }
}

/// How deep, and how long the place is as a JSON pointer.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    nested: usize,
    bytes: usize,
}

impl Place {
    fn below(self, bytes: usize) -> Self {
        Self {
            nested: self.nested + 1,
            bytes: self.bytes + bytes,
        }
    }
}

/// Subschemas are told apart by where they lie in memory, as nothing moves meanwhile.
type Address = *const Value;

#[derive(Debug)]
struct Builder {
    nodes: Vec<Node>,
    done: HashMap<(Address, List<Uri<String>>), NodeId>,
    /// Those that are being followed.
    open: HashMap<Address, NodeId>,
    allowance: Allowance,
    values: usize,
    places_bytes: usize,
}

impl Builder {
    fn node(
        &mut self,
        schema: &Value,
        resolver: &Resolver<'_>,
        draft: Draft,
        place: Place,
    ) -> Result<Edge, SchemaError> {
        let address: Address = schema;
        if let Some(&to) = self.open.get(&address) {
            return Ok(Edge { to, is_back: true });
        }
        let draft = draft.detect(schema);
        // What has no good `$id` is the library's to refuse.
        let inside = resolver.in_subresource(draft.create_resource_ref(schema));
        let resolver = inside.as_ref().unwrap_or(resolver);
        let scope = resolver.dynamic_scope();
        within(
            scope.iter().count(),
            SCOPE_MAX,
            "resources in a chain of references",
        )?;
        within(place.nested, NESTED_MAX, "subschemas one within another")?;
        let key = (address, scope);
        if let Some(&to) = self.done.get(&key) {
            return Ok(Edge { to, is_back: false });
        }
        let to = self.nodes.len();
        within(to + 1, SUBSCHEMAS_MAX, "subschemas")?;
        self.place(place.bytes)?;
        self.nodes.push(Node::default());
        if let Some(schema) = schema.as_object() {
            self.open.insert(address, to);
            let node = self.keywords(schema, resolver, draft, place)?;
            if let Some(place) = self.nodes.get_mut(to) {
                *place = node;
            }
            self.open.remove(&address);
        }
        self.done.insert(key, to);
        Ok(Edge { to, is_back: false })
    }

    fn keywords(
        &mut self,
        schema: &Map<String, Value>,
        resolver: &Resolver<'_>,
        draft: Draft,
        place: Place,
    ) -> Result<Node, SchemaError> {
        let mut node = Node::default();
        let is_old = matches!(draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7);
        self.afford(schema)?;
        let mut below =
            |value: &Value, bytes: usize| self.node(value, resolver, draft, place.below(bytes));
        let mut values = 0;
        let mut places = 0;
        for (keyword, value) in schema {
            if is_old && schema.contains_key("$ref") && keyword != "$ref" {
                // Whatever stands beside a reference says nothing in these drafts.
                continue;
            }
            let bytes = keyword.len() + 1;
            places += place.bytes + bytes;
            match (keyword.as_str(), value) {
                ("properties", Value::Object(named)) => {
                    for (name, schema) in named {
                        let edge = below(schema, bytes + name.len() + 1)?;
                        node.members.insert(name.as_str().into(), edge);
                    }
                }
                ("patternProperties", Value::Object(named)) => {
                    for (pattern, schema) in named {
                        node.name_states += patterns::states(pattern).unwrap_or(0);
                        node.patterned.push(Patterned {
                            text: patterns::translated(pattern),
                            compiled: OnceLock::new(),
                            edge: below(schema, bytes + pattern.len() + 1)?,
                        });
                    }
                }
                ("dependentSchemas" | "dependencies", Value::Object(named)) => {
                    for (name, schema) in named {
                        match schema {
                            Value::Array(names) => values += names.len(),
                            schema => node.same.push(below(schema, bytes + name.len() + 1)?),
                        }
                    }
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                    for branch in branches {
                        node.same.push(below(branch, bytes + 6)?);
                    }
                }
                ("not" | "if" | "then" | "else", schema) => {
                    node.same.push(below(schema, bytes)?);
                }
                ("additionalProperties", schema) => node.rest.push(below(schema, bytes)?),
                ("unevaluatedProperties", schema) => {
                    node.is_retrying = true;
                    node.rest.push(below(schema, bytes)?);
                }
                ("propertyNames", schema) => node.names.push(below(schema, bytes)?),
                ("items" | "prefixItems", Value::Array(positions)) => {
                    for schema in positions {
                        node.first.push(below(schema, bytes + 6)?);
                    }
                }
                ("unevaluatedItems", schema) => {
                    node.is_retrying = true;
                    node.items.push(below(schema, bytes)?);
                }
                ("items" | "additionalItems" | "contains", schema) => {
                    node.items.push(below(schema, bytes)?);
                }
                ("pattern", Value::String(pattern)) => {
                    node.text_states += patterns::states(pattern).unwrap_or(0);
                }
                ("uniqueItems", Value::Bool(true)) => node.is_unique = true,
                ("enum" | "const" | "required" | "dependentRequired", value) => {
                    values += size(value);
                }
                _ => {}
            }
        }
        let references = ["$ref", "$dynamicRef", "$recursiveRef"];
        for (keyword, reference) in references
            .iter()
            .filter_map(|keyword| Some((*keyword, schema.get(*keyword)?.as_str()?)))
        {
            let found = match keyword {
                "$recursiveRef" => resolver.lookup_recursive_ref(),
                _ => resolver.lookup(reference),
            };
            // What is not there is the library's to refuse, if it matters.
            if let Ok(found) = found {
                let (target, resolver, draft) = found.into_inner();
                let place = Place {
                    nested: place.nested + 1,
                    bytes: reference.len(),
                };
                node.same.push(self.node(target, &resolver, draft, place)?);
            }
        }
        node.values = values as u64;
        self.values += values;
        within(self.values, VALUES_MAX, "values in its subschemas")?;
        self.place(places)?;
        Ok(node)
    }

    /// Members cannot be told apart without the patterns of their names, so those are not left out.
    fn afford(&mut self, schema: &Map<String, Value>) -> Result<(), SchemaError> {
        let named = schema.get("patternProperties").and_then(Value::as_object);
        let mut patterns = named.into_iter().flat_map(Map::keys);
        match patterns.find(|pattern| !self.allowance.affords(pattern)) {
            None => Ok(()),
            Some(pattern) => Err(SchemaError::Unusable {
                at: String::new(),
                reason: format!("`{}` cannot be checked in linear time", cut(pattern, 100)),
            }),
        }
    }

    fn place(&mut self, bytes: usize) -> Result<(), SchemaError> {
        self.places_bytes += bytes;
        within(
            self.places_bytes,
            PLACES_BYTES_MAX,
            "bytes of places of keywords",
        )
    }
}

fn within(count: usize, max: usize, what: &'static str) -> Result<(), SchemaError> {
    if count > max {
        return Err(SchemaError::Complex { what, max });
    }
    Ok(())
}

/// How many values a value consists of, itself included.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(size).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}
