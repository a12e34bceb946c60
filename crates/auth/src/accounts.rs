//! Local accounts: passwords, one-time passwords, browser sessions, first start, reset.

use crate::Parts;

/// What the config says.
#[derive(Debug, Clone, Default)]
pub struct Settings {}

/// See the module.
#[derive(Debug)]
pub struct Accounts {
    parts: Parts,
}

impl Accounts {
    pub(crate) fn new(parts: &Parts, _settings: Settings) -> Self {
        Self {
            parts: parts.clone(),
        }
    }

    pub(crate) fn reload(&self, _settings: Settings) {
        let _ = &self.parts;
    }
}
