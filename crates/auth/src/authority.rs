//! The embedded authorization server (OAuth 2.1): clients, grants, codes, tokens.

use crate::Parts;

/// What the config says.
#[derive(Debug, Clone, Default)]
pub struct Settings {}

/// See the module.
#[derive(Debug)]
pub struct Authority {
    parts: Parts,
}

impl Authority {
    pub(crate) fn new(parts: &Parts, _settings: Settings) -> Self {
        Self {
            parts: parts.clone(),
        }
    }

    pub(crate) fn reload(&self, _settings: Settings) {
        let _ = &self.parts;
    }
}
