//! Names that are safe to use as they are: upstreams, principals, roles.
//!
//! Each is checked once, when it is made; from then on the type is the proof.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there.
    #[error("a name cannot be empty")]
    Empty,
    /// More than the bound.
    #[error("a name has at most {max} characters, this one has {found}")]
    Long {
        /// How many characters are allowed.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// A character outside the allowed set.
    #[error("`{found}` cannot stand in this name; use {allowed}")]
    Character {
        /// The first bad character.
        found: char,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// `__`, one of the separators between upstream and entry.
    #[error("`__` cannot stand in an upstream's name: it separates upstream and tool")]
    Separator,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps a name.
            ///
            /// # Errors
            /// What is wrong with it, in words for the person who wrote it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                let found = text.chars().count();
                if found == 0 {
                    return Err(NameError::Empty);
                }
                if found > $max {
                    return Err(NameError::Long { max: $max, found });
                }
                let ok: fn(char) -> bool = $ok;
                if let Some(found) = text.chars().find(|c| !ok(*c)) {
                    return Err(NameError::Character { found, allowed: $allowed });
                }
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// The alias of an upstream, as the config names it. Contains neither `.` nor `__`, so the name of an
    /// entry splits into upstream and entry in exactly one way.
    UpstreamId,
    48,
    "a-z, A-Z, 0-9, `-` and `_`",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);
name!(
    /// Who a principal is, in logs, rules and records: `local`, `alice`, `ci-robot`, an e-mail address.
    PrincipalId,
    128,
    "letters, digits and `-_.@:+/|`",
    |c| c.is_ascii_alphanumeric() || "-_.@:+/|".contains(c)
);
name!(
    /// The name of a role.
    RoleName,
    64,
    "a-z, A-Z, 0-9, `-` and `_`",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

name!(
    /// The name of a virtual server, as it stands in its path: `/mcp/support`.
    ServerName,
    48,
    "a-z, A-Z, 0-9, `-` and `_`",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

name!(
    /// The name of a rate limit or quota, in the config, in refusals and in metrics.
    LimitName,
    48,
    "a-z, A-Z, 0-9, `-` and `_`",
    |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

impl UpstreamId {
    /// As [`UpstreamId::new`], and refuses `__` too.
    ///
    /// # Errors
    /// What is wrong with the alias, in words for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.contains("__") {
            return Err(NameError::Separator);
        }
        Self::new(text)
    }
}
