//! Decides whether a principal may reach an entry.
//!
//! Pure: a principal and a subject go in, a decision comes out. What a pattern matches is `pattern`; that
//! an entry nobody may reach looks unknown is the gateway's doing. Start at [`Rules::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::{Pattern, Principal, PrincipalId, RoleName, UpstreamId};

/// What kind of entry is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// A tool, by name.
    Tool,
    /// A prompt, by name.
    Prompt,
    /// A resource or a template of them, by URI.
    Resource,
    /// A method of an extension, by its name on the wire.
    Method,
}

/// The entry that somebody wants to reach. A rule speaks of all kinds alike.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What it is.
    pub kind: SubjectKind,
    /// Whose it is.
    pub upstream: &'a UpstreamId,
    /// The upstream's own, unprefixed name, or the URI of a resource.
    pub name: &'a str,
}

/// May it be reached, and says who?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This rule allows it, and none denies it.
    Allow(RuleId),
    /// This rule denies it.
    Deny(RuleId),
    /// No rule of this principal speaks of it.
    Unseen,
}

/// Names a rule in records: `role reader: allow files.read_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleId(Arc<str>);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

static OWNER_RULE: LazyLock<RuleId> = LazyLock::new(|| RuleId("role owner: allow *".into()));

/// A role as the config defines it.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// Who holds it.
    pub members: BTreeSet<PrincipalId>,
    /// What it may reach.
    pub allow: Vec<Pattern>,
    /// What nobody who holds it may reach, whatever else allows it.
    pub deny: Vec<Pattern>,
}

/// Why roles are no set of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The built-in role may get members, but no other meaning.
    #[error(
        "the role `owner` is built in and allows everything; it can have members, but no `allow` or `deny`"
    )]
    Owner,
    /// Two definitions would be one too many.
    #[error("the role `{0}` is defined twice")]
    Twice(RoleName),
}

/// All rules, compiled. An immutable snapshot: a call sees one from start to end.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    roles: BTreeMap<RoleName, Compiled>,
}

#[derive(Debug, Clone)]
struct Compiled {
    members: BTreeSet<PrincipalId>,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    id: RuleId,
    pattern: Pattern,
}

impl Rules {
    /// The built-in role that allows everything.
    pub const OWNER: &str = "owner";

    /// Compiles the roles of a config.
    ///
    /// # Errors
    /// If a role is defined twice, or the built-in one anew.
    pub fn new(roles: Vec<Role>) -> Result<Self, RulesError> {
        let mut compiled = BTreeMap::new();
        for role in roles {
            if role.name.as_str() == Self::OWNER && !(role.allow.is_empty() && role.deny.is_empty())
            {
                return Err(RulesError::Owner);
            }
            let rules = |verb: &str, patterns: Vec<Pattern>| {
                let rule = |pattern: Pattern| Rule {
                    id: RuleId(format!("role {}: {verb} {pattern}", role.name).into()),
                    pattern,
                };
                patterns.into_iter().map(rule).collect()
            };
            let (allow, deny) = (rules("allow", role.allow), rules("deny", role.deny));
            if compiled
                .insert(
                    role.name.clone(),
                    Compiled {
                        members: role.members,
                        allow,
                        deny,
                    },
                )
                .is_some()
            {
                return Err(RulesError::Twice(role.name));
            }
        }
        Ok(Self { roles: compiled })
    }

    /// Whether `principal` may reach `subject`. A denial of any of its roles beats every permission.
    #[must_use]
    pub fn decide(&self, principal: &Principal, subject: &Subject<'_>) -> Decision {
        let held = || {
            principal
                .roles
                .iter()
                .filter_map(|name| self.roles.get(name))
        };
        if let Some(rule) = held().find_map(|role| first_match(&role.deny, subject)) {
            return Decision::Deny(rule);
        }
        if principal
            .roles
            .iter()
            .any(|name| name.as_str() == Self::OWNER)
        {
            return Decision::Allow(OWNER_RULE.clone());
        }
        held()
            .find_map(|role| first_match(&role.allow, subject))
            .map_or(Decision::Unseen, Decision::Allow)
    }

    /// Whether some rule allows `principal` anything of `upstream`: then its name is no news to it.
    #[must_use]
    pub fn names(&self, principal: &Principal, upstream: &UpstreamId) -> bool {
        principal.roles.iter().any(|name| {
            let role = self.roles.get(name);
            name.as_str() == Self::OWNER
                || role.is_some_and(|role| {
                    let mut allowed = role.allow.iter();
                    allowed.any(|rule| rule.pattern.is_about(upstream))
                })
        })
    }

    /// Whether there is a role of that name; the built-in one always is.
    #[must_use]
    pub fn defines(&self, role: &RoleName) -> bool {
        role.as_str() == Self::OWNER || self.roles.contains_key(role)
    }

    /// The roles that name `id` as a member.
    #[must_use]
    pub fn roles_of(&self, id: &PrincipalId) -> BTreeSet<RoleName> {
        self.roles
            .iter()
            .filter(|(_, role)| role.members.contains(id))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn first_match(rules: &[Rule], subject: &Subject<'_>) -> Option<RuleId> {
    rules
        .iter()
        .find(|rule| rule.pattern.matches(subject.upstream, subject.name))
        .map(|rule| rule.id.clone())
}

#[cfg(test)]
mod tests;
