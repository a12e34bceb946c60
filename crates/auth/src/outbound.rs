//! Credentials for upstreams: the gate's own and those that principals granted it, never what a client presented.

use crate::Parts;

/// See the module.
#[derive(Debug)]
pub struct Outbound {
    parts: Parts,
}

impl Outbound {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            parts: parts.clone(),
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}
