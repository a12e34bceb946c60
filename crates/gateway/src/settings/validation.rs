//! What arguments and results are held against, beyond what their schemas ask for.

use std::collections::BTreeMap;

use policy::UpstreamId;

/// How arguments and results are checked.
#[derive(Debug, Clone, Default)]
pub struct ValidationSettings {
    /// For upstreams without a word of their own.
    pub default: Validation,
    /// For one upstream.
    pub of: BTreeMap<UpstreamId, Validation>,
}

/// How those of one upstream are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validation {
    /// Whether members that a schema does not name are refused where it is open, too.
    pub strict: bool,
    /// What becomes of structured results that do not fit their schema.
    pub output: OutputCheck,
}

/// What becomes of structured results that do not fit their schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputCheck {
    /// They are the upstream's error.
    #[default]
    Check,
    /// Nobody looks.
    Off,
}

impl ValidationSettings {
    /// What holds for an upstream.
    pub(crate) fn of(&self, upstream: &UpstreamId) -> Validation {
        self.of.get(upstream).copied().unwrap_or(self.default)
    }
}
