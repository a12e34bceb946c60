//! How loud a log message is (RFC 5424, as MCP has it in every revision).

/// A log level, the quietest concern first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For who looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Out of the ordinary, and fine.
    Notice,
    /// Not as it should be.
    Warning,
    /// Something failed.
    Error,
    /// A part of it failed.
    Critical,
    /// Somebody must act now.
    Alert,
    /// It cannot go on.
    Emergency,
}

impl Level {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }
}
