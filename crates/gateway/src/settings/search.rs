//! When clients get tool search in the place of a long list of tools.

/// How many visible tools are too many; see `crate::search`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchSettings {
    /// A client that may see more tools than this gets tools to search, describe and call them instead; `None`: never.
    pub above: Option<usize>,
}

impl SearchSettings {
    /// Whether there are tools to search with at all.
    pub(crate) fn is_on(self) -> bool {
        self.above.is_some()
    }
}
