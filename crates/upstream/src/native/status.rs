//! The pack `status`: how the gate is doing, as the gate itself tells it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Error;
use super::reply::{input, reply};
use super::tool::{READS, tool};

pub(super) struct Status {
    tell: Arc<dyn Fn() -> Value + Send + Sync>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Open on purpose: what is told grows with the gate.
#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct Told(Map<String, Value>);

pub(super) fn tools() -> Vec<Box<RawValue>> {
    vec![tool::<Nothing, Told>(
        "status",
        "Gateway status",
        "Tells how this gateway is doing: its version, how long it has been up, and for each upstream \
         (the servers whose tools you can call) its state and counts. Call it when a tool is missing or \
         fails, to see whether its upstream is down.",
        READS,
    )]
}

impl Status {
    pub(super) fn new(tell: Arc<dyn Fn() -> Value + Send + Sync>) -> Self {
        Self { tell }
    }

    pub(super) fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
    ) -> Result<Box<RawValue>, Error> {
        match tool {
            "status" => Ok(reply(input(arguments).map(|Nothing {}| self.told()))),
            _ => Err(Error::UnknownTool(tool.to_owned())),
        }
    }

    fn told(&self) -> Told {
        match (self.tell)() {
            Value::Object(told) => Told(told),
            other => Told(Map::from_iter([("status".to_owned(), other)])),
        }
    }
}

impl std::fmt::Debug for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Status").finish_non_exhaustive()
    }
}
