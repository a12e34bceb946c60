//! What a token or key may be used for at most, whatever its holder's roles allow.
//!
//! A closed set: what an issuer calls its scopes is mapped to these where its tokens are read. Roles decide who may do
//! what; a scope only narrows (RFC 6749 section 3.3).

use std::fmt;

/// One of the gate's scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Listing and calling tools.
    Tools,
    /// Listing and getting prompts.
    Prompts,
    /// Listing, reading and watching resources.
    Resources,
    /// The admin API. Part of no default: it must be asked for.
    Admin,
}

impl Scope {
    /// All there are, in their order.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Admin];

    /// As it stands in tokens, challenges and metadata.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "mcp:tools",
            Self::Prompts => "mcp:prompts",
            Self::Resources => "mcp:resources",
            Self::Admin => "mcp:admin",
        }
    }

    /// The scope of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every one: credentials that are not narrowed.
    pub const EVERY: Self = Self(0b1111);
    /// What a client is told to ask for: everything but administration.
    pub const CALLS: Self = Self(0b0111);

    /// The scopes among space-separated words; others are passed over, as RFC 6749 section 3.3 has it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split_ascii_whitespace()
            .filter_map(Scope::parse)
            .collect()
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// These and those.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both have.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One by one, in their order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        Self(scope.bit())
    }
}

/// Space-separated, as OAuth writes them.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_unknown_words_are_passed_over() {
        assert_eq!(Scopes::parse(&Scopes::EVERY.to_string()), Scopes::EVERY);
        let some = Scopes::parse("openid mcp:resources mcp:tools mcp:tool");
        assert_eq!(some.to_string(), "mcp:tools mcp:resources");
        assert!(!Scopes::CALLS.contains(Scope::Admin));
    }
}
