//! The revisions of MCP and the two eras they fall into.

use std::fmt;

/// A published revision of MCP. Ordered by date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Revision {
    /// The first: stdio and HTTP+SSE.
    V2024_11_05,
    /// Streamable HTTP, batches.
    V2025_03_26,
    /// Structured output, elicitation; batches gone.
    V2025_06_18,
    /// The last with a handshake.
    V2025_11_25,
    /// Stateless.
    V2026_07_28,
}

/// How a revision opens a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Era {
    /// Handshake and sessions: up to 2025-11-25.
    Legacy,
    /// Every request carries what it needs: from 2026-07-28 on.
    #[default]
    Modern,
}

impl Revision {
    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
        Self::V2026_07_28,
    ];
    /// The newest with a handshake: what we offer a client whose wish we cannot meet.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;
    /// The newest of all.
    pub const LATEST: Self = Self::V2026_07_28;

    /// The date by which the protocol names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The revision of that date, if there is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|revision| revision.as_str() == text)
    }

    /// Its era.
    #[must_use]
    pub const fn era(self) -> Era {
        match self {
            Self::V2024_11_05 | Self::V2025_03_26 | Self::V2025_06_18 | Self::V2025_11_25 => {
                Era::Legacy
            }
            Self::V2026_07_28 => Era::Modern,
        }
    }

    /// Whether a JSON array of messages is legal: 2025-03-26 says so, 2024-11-05 inherits it from JSON-RPC.
    #[must_use]
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::V2024_11_05 | Self::V2025_03_26)
    }

    /// Whether a tool call can become a task: in the core of 2025-11-25, by an extension of 2026-07-28.
    #[must_use]
    pub const fn has_tasks(self) -> bool {
        matches!(self, Self::V2025_11_25 | Self::V2026_07_28)
    }

    /// The code for an unknown resource (the meaning moved in 2026-07-28).
    #[must_use]
    pub const fn resource_not_found(self) -> crate::code::Code {
        match self.era() {
            Era::Legacy => crate::code::RESOURCE_NOT_FOUND,
            Era::Modern => crate::code::INVALID_PARAMS,
        }
    }

    /// Whether an argument that does not fit the schema is told as a tool error (from 2025-11-25 on), so that the
    /// model sees it and repairs it, or as a protocol error.
    #[must_use]
    pub const fn tells_bad_arguments_to_the_model(self) -> bool {
        matches!(self, Self::V2025_11_25 | Self::V2026_07_28)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
