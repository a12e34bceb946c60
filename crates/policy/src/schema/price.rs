//! What it costs at most to hold a value against a schema, counted before it is done.
//!
//! The unit is a visit: one subschema looks at one value, which takes some ten nanoseconds. The count goes where the
//! library would go if nothing ended its way early, and stops at the bound.

use std::collections::HashSet;

use serde_json::Value;

use super::SchemaError;
use super::graph::{Edge, Graph, Node, NodeId};

/// Most visits for the answer whether a value fits.
pub(super) const VISITS_MAX: u64 = 1_000_000;
/// What one visit counts for where it may leave a reason behind, which takes memory as well.
const REASON: u64 = 20;
/// Most branches that are unfolded to find what is not evaluated.
const UNFOLDED_MAX: usize = 16 * 1024;
/// Most subschemas one within another while a value is looked at: each takes stack.
const NESTED_MAX: usize = 512;
/// Steps of an expression, and bytes of a text, that cost as much as one visit.
const STEPS_PER_VISIT: u64 = 16;

/// What is counted: the answer alone, or also the reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Yes or no. What is found at the end of a circle is remembered.
    Answer,
    /// All that is wrong. Nothing is remembered.
    Reasons,
}

/// More than the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooDear;

/// The visits that it takes, if they are not too many.
pub(super) fn visits(graph: &Graph, value: &Value, purpose: Purpose) -> Result<u64, TooDear> {
    let mut walk = Walk {
        graph,
        purpose,
        left: VISITS_MAX,
        seen: HashSet::new(),
    };
    let root = Edge {
        to: Graph::ROOT,
        is_back: false,
    };
    walk.visit(root, value, 0)?;
    Ok(VISITS_MAX - walk.left)
}

/// Whether the library may have it. What looks for unevaluated members and items is unfolded while it is compiled, and
/// what applies to the value itself is tried with the least of values.
///
/// # Errors
/// If its branches multiply beyond the bound.
pub(super) fn compilable(graph: &Graph) -> Result<(), SchemaError> {
    let mut left = UNFOLDED_MAX;
    for node in graph.nodes().filter(|node| node.is_retrying) {
        unfold(graph, node, &mut left, 0)?;
    }
    match visits(graph, &Value::Null, Purpose::Reasons) {
        Ok(_) => Ok(()),
        Err(TooDear) => Err(SchemaError::Complex {
            what: "ways through its branches",
            max: (VISITS_MAX / REASON) as usize,
        }),
    }
}

fn unfold(graph: &Graph, node: &Node, left: &mut usize, nested: usize) -> Result<(), SchemaError> {
    let cost = 1 + node.same.len() + node.members.len() + node.patterned.len();
    match left.checked_sub(cost) {
        Some(rest) if nested < NESTED_MAX => *left = rest,
        _ => {
            return Err(SchemaError::Complex {
                what: "branches to look for unevaluated members in",
                max: UNFOLDED_MAX,
            });
        }
    }
    for edge in node.same.iter().filter(|edge| !edge.is_back) {
        unfold(graph, graph.node(edge.to), left, nested + 1)?;
    }
    Ok(())
}

struct Walk<'a> {
    graph: &'a Graph,
    purpose: Purpose,
    left: u64,
    /// Ends of circles that were reached, and with which value.
    seen: HashSet<(NodeId, *const Value)>,
}

impl Walk<'_> {
    fn visit(&mut self, edge: Edge, value: &Value, nested: usize) -> Result<(), TooDear> {
        let mark = (edge.to, std::ptr::from_ref(value));
        if edge.is_back && !self.seen.insert(mark) {
            return self.pay(1);
        }
        if nested == NESTED_MAX {
            return Err(TooDear);
        }
        let node = self.graph.node(edge.to);
        self.pay(own(node, value))?;
        if self.purpose == Purpose::Reasons {
            self.pay(REASON)?;
        }
        for edge in &node.same {
            self.visit(*edge, value, nested + 1)?;
        }
        if node.is_retrying {
            self.retry(node, value, nested + 1)?;
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    for edge in &node.names {
                        self.visit_name(*edge, name, nested + 1)?;
                    }
                    let named = node.members.get(name.as_str());
                    if let Some(edge) = named {
                        self.visit(*edge, member, nested + 1)?;
                    }
                    for patterned in &node.patterned {
                        self.visit(patterned.edge, member, nested + 1)?;
                    }
                    if named.is_none() {
                        for edge in &node.rest {
                            self.visit(*edge, member, nested + 1)?;
                        }
                    }
                }
            }
            Value::Array(items) => {
                for (item, edge) in items.iter().zip(&node.first) {
                    self.visit(*edge, item, nested + 1)?;
                }
                for item in items {
                    for edge in &node.items {
                        self.visit(*edge, item, nested + 1)?;
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        if edge.is_back && self.purpose == Purpose::Reasons {
            self.seen.remove(&mark);
        }
        Ok(())
    }

    /// Looking for what is not evaluated tries the branches again, and theirs, each from the start.
    fn retry(&mut self, node: &Node, value: &Value, nested: usize) -> Result<(), TooDear> {
        for edge in &node.same {
            self.visit(*edge, value, nested)?;
            if !edge.is_back {
                self.retry(self.graph.node(edge.to), value, nested + 1)?;
            }
        }
        Ok(())
    }

    /// A member's name is looked at as a text.
    fn visit_name(&mut self, edge: Edge, name: &str, nested: usize) -> Result<(), TooDear> {
        if nested == NESTED_MAX {
            return Err(TooDear);
        }
        let node = self.graph.node(edge.to);
        self.pay(text(node, name))?;
        for edge in &node.same {
            if edge.is_back {
                // The name is a new value each time, so circles do not end.
                self.pay(1)?;
            } else {
                self.visit_name(*edge, name, nested + 1)?;
            }
        }
        Ok(())
    }

    fn pay(&mut self, visits: u64) -> Result<(), TooDear> {
        self.left = self.left.checked_sub(visits).ok_or(TooDear)?;
        Ok(())
    }
}

/// What a subschema's own keywords cost with a value.
fn own(node: &Node, value: &Value) -> u64 {
    match value {
        Value::String(value) => text(node, value),
        Value::Array(items) if node.is_unique => 1 + node.values + differences(items),
        Value::Object(members) if node.name_states > 0 => {
            let names: u64 = members.keys().map(|name| name.len() as u64 + 1).sum();
            1 + node.values + names * node.name_states / STEPS_PER_VISIT
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            1 + node.values
        }
    }
}

fn text(node: &Node, text: &str) -> u64 {
    1 + node.values + text.len() as u64 * (node.text_states + 1) / STEPS_PER_VISIT
}

/// Simple items are hashed. What lists hash to can be made the same by whoever writes them: then all are held against all.
fn differences(items: &[Value]) -> u64 {
    let nested = items
        .iter()
        .filter(|item| item.is_array() || item.is_object())
        .count() as u64;
    let size: u64 = items
        .iter()
        .map(|item| super::graph::size(item) as u64)
        .sum();
    size + nested.saturating_mul(size) / STEPS_PER_VISIT
}
