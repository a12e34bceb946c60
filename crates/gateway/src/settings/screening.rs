//! What the config says about which data may flow where.
//!
//! What is looked for in texts is [`policy::screen::Settings`], in [`super::CatalogSettings`]. Virtual servers may have
//! their own of both; what a principal has seen by one way in counts at all of them (`crate::flows`).

use std::time::Duration;

use policy::{Pattern, UpstreamId};

/// Which entries see what, and which can send it away.
#[derive(Debug, Clone)]
pub struct FlowSettings {
    /// They yield private data.
    pub private: Vec<Pattern>,
    /// They yield what strangers have written.
    pub untrusted: Vec<Pattern>,
    /// They can carry data out.
    pub sends: Vec<Pattern>,
    /// Whether a tool that says `openWorldHint` of itself yields what strangers have written.
    pub open_world: bool,
    /// How long what a principal has seen counts.
    pub window: Duration,
}

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            private: Vec::new(),
            untrusted: Vec::new(),
            sends: Vec::new(),
            open_world: true,
            window: Duration::from_secs(15 * 60),
        }
    }
}

impl FlowSettings {
    /// Whether anything is ever asked about.
    pub(crate) fn is_on(&self) -> bool {
        !self.sends.is_empty()
    }

    pub(crate) fn is_private(&self, upstream: &UpstreamId, name: &str) -> bool {
        any(&self.private, upstream, name)
    }

    pub(crate) fn is_untrusted(&self, upstream: &UpstreamId, name: &str) -> bool {
        any(&self.untrusted, upstream, name)
    }

    pub(crate) fn can_send(&self, upstream: &UpstreamId, name: &str) -> bool {
        any(&self.sends, upstream, name)
    }
}

fn any(patterns: &[Pattern], upstream: &UpstreamId, name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern.matches(upstream, name))
}
