//! Members that a schema does not name, also where it lets unknown ones pass.
//!
//! All subschemas that look at a value have a say, branches that it does not take included: a name that one of them knows
//! is known. Where none of them names any member, the value is free in form, and so is what lies within it; but not the
//! arguments themselves, which are never free.

use serde_json::{Map, Value};

use super::graph::{Edge, Graph, Node, NodeId};
use super::words::{pointed, strangers};
use super::{FAULTS_MAX, Fault};

/// Most subschemas that are asked in all.
const ASKED_MAX: usize = 200_000;
/// Deepest value that is looked into.
const DEPTH_MAX: usize = 128;

/// The members that no subschema names; too much to find out counts as a fault.
pub(super) fn unknown(graph: &Graph, value: &Value) -> Vec<Fault> {
    let mut search = Search {
        graph,
        left: ASKED_MAX,
        at: String::new(),
        faults: Vec::new(),
    };
    if search.look(&[Graph::ROOT], value, 0).is_none() {
        search.faults.push(Fault::too_much());
    }
    search.faults
}

struct Search<'a> {
    graph: &'a Graph,
    left: usize,
    at: String,
    faults: Vec<Fault>,
}

impl<'a> Search<'a> {
    /// `None` once there is nothing left to spend.
    fn look(&mut self, entered: &[NodeId], value: &Value, depth: usize) -> Option<()> {
        if depth == DEPTH_MAX {
            return None;
        }
        match value {
            Value::Object(members) => {
                let nodes = self.all(entered)?;
                self.members(&nodes, members, depth)
            }
            Value::Array(items) => {
                let nodes = self.all(entered)?;
                for (nth, item) in items.iter().enumerate() {
                    if !(item.is_object() || item.is_array()) {
                        continue;
                    }
                    let below: Vec<NodeId> = nodes
                        .iter()
                        .flat_map(|node| node.first.get(nth).into_iter().chain(&node.items))
                        .map(|edge| edge.to)
                        .collect();
                    self.below(&nth.to_string(), &below, item, depth)?;
                }
                Some(())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(()),
        }
    }

    fn members(
        &mut self,
        nodes: &[&'a Node],
        members: &Map<String, Value>,
        depth: usize,
    ) -> Option<()> {
        let is_free = depth > 0
            && nodes
                .iter()
                .all(|node| node.members.is_empty() && node.patterned.is_empty());
        let mut unknown = Vec::new();
        for (name, member) in members {
            self.left = self.left.checked_sub(nodes.len())?;
            let mut below: Vec<&Edge> = Vec::new();
            for node in nodes {
                let named = node.members.get(name.as_str());
                let patterned = node.patterned.iter().filter(|p| p.matches(name));
                below.extend(named.into_iter().chain(patterned.map(|p| &p.edge)));
            }
            if below.is_empty() && !is_free {
                unknown.push(name.clone());
                continue;
            }
            if below.is_empty() {
                below.extend(nodes.iter().flat_map(|node| &node.rest));
            }
            let below: Vec<NodeId> = below.iter().map(|edge| edge.to).collect();
            self.below(name, &below, member, depth)?;
        }
        if !unknown.is_empty() && self.faults.len() < FAULTS_MAX {
            let known = nodes.iter().flat_map(|node| node.members.keys());
            let mut known: Vec<&str> = known.map(|name| &**name).collect();
            known.sort_unstable();
            known.dedup();
            self.faults.push(Fault {
                path: self.at.clone(),
                message: strangers(&known, Some(members), &unknown),
            });
        }
        Some(())
    }

    fn below(&mut self, name: &str, nodes: &[NodeId], value: &Value, depth: usize) -> Option<()> {
        let length = self.at.len();
        pointed(&mut self.at, name);
        let looked = self.look(nodes, value, depth + 1);
        self.at.truncate(length);
        looked
    }

    /// The entered subschemas and all that they apply to the same value, each once.
    fn all(&mut self, entered: &[NodeId]) -> Option<Vec<&'a Node>> {
        let mut found: Vec<NodeId> = Vec::new();
        let mut next: Vec<NodeId> = entered.to_vec();
        while let Some(id) = next.pop() {
            self.left = self.left.checked_sub(1 + found.len() / 32)?;
            if found.contains(&id) {
                continue;
            }
            found.push(id);
            next.extend(self.graph.node(id).same.iter().rev().map(|edge| edge.to));
        }
        Some(found.into_iter().map(|id| self.graph.node(id)).collect())
    }
}
