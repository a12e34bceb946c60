//! Decides whether a principal may reach an entry.
//!
//! Pure: a principal and a subject go in, a decision comes out. What a pattern matches is `pattern`; that
//! an entry nobody may reach looks unknown is the gateway's doing. Start at [`Rules::decide`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{Pattern, Principal, PrincipalId, RoleName, ServerName, UpstreamId};

/// What is to be done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Call the tool, get the prompt, read the resource, use the method.
    Use,
    /// Ask what an argument could be.
    Complete,
    /// Be told of the resource's changes.
    Subscribe,
    /// See, feed or cancel a task that a call of the tool came to.
    Task,
    /// Have the client's model asked, on behalf of the upstream.
    Sample,
    /// An action of the admin API.
    Administer,
}

/// What kind of entry is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A tool, by name.
    Tool,
    /// A prompt, by name.
    Prompt,
    /// A resource or a template of them, by URI.
    Resource,
    /// A method of an extension, by its name on the wire.
    Method,
    /// What an upstream wants of the client's model; its name is `sampling`.
    Sampling,
    /// An action of the admin API: `keys.create` is `create` of the area `keys`.
    Admin,
}

/// What is known of an entry besides its name: what its upstream says of it, which is a hint, and what the config says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Traits {
    /// `readOnlyHint`.
    pub read_only: Option<bool>,
    /// `destructiveHint`.
    pub destructive: Option<bool>,
    /// `idempotentHint`.
    pub idempotent: Option<bool>,
    /// `openWorldHint`.
    pub open_world: Option<bool>,
    /// Marked as private data by the config.
    pub private: bool,
}

/// The entry that somebody wants to reach, and what for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What for.
    pub verb: Verb,
    /// What it is.
    pub kind: SubjectKind,
    /// The virtual server through which it is reached; `None`: the whole catalog.
    pub server: Option<&'a ServerName>,
    /// Whose it is.
    pub upstream: &'a UpstreamId,
    /// The upstream's own, unprefixed name, or the URI of a resource.
    pub name: &'a str,
    /// What else is known of it.
    pub traits: Traits,
    /// Where decisions about this very entry are kept, if it is one of a catalog.
    pub memo: Option<&'a Memo>,
}

/// What a decision may depend on besides who and what.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What will be sent; `None`: not known (yet), as in a list.
    pub arguments: Option<&'a Value>,
    /// Name and version of the client, as it says.
    pub client: &'a str,
    /// The wall clock.
    pub now: SystemTime,
}

/// Decisions about one entry that depend on nothing but the roles held, once made.
#[derive(Debug, Default)]
pub struct Memo {}

/// May it be reached, and says who?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This rule allows it, and none asks or denies.
    Allow(RuleId),
    /// It may be done once a person has said yes.
    Ask(Ask),
    /// This rule denies it.
    Deny(RuleId),
    /// No rule of this principal speaks of it.
    Unseen,
}

/// A rule that wants a person's word, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Which rule it is.
    pub rule: RuleId,
    /// On which terms.
    pub terms: Arc<Terms>,
}

/// Who may say yes, and for how long at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The longest that a yes holds.
    pub longest: Remember,
    /// Roles whose members may say it; empty: owners, and the requester unless `other_person`.
    pub approvers: BTreeSet<RoleName>,
    /// Whether it must be somebody else than who wants it done.
    pub other_person: bool,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            longest: Remember::For(Duration::from_secs(30 * 24 * 3600)),
            approvers: BTreeSet::new(),
            other_person: false,
        }
    }
}

/// How long a yes holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remember {
    /// For one call.
    Once,
    /// For calls of the same conversation.
    Session,
    /// For so long.
    For(Duration),
}

/// Names a rule in records: `role reader: allow files.read_*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleId(Arc<str>);

impl RuleId {
    /// A rule that stands in no role: of the gate itself, as records name it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }
}

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
    /// What its holders may reach once a person has said yes.
    pub ask: Vec<Pattern>,
    /// What nobody who holds it may reach, whatever else allows it.
    pub deny: Vec<Pattern>,
}

/// Why roles are no set of rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// The built-in role may get members, but no other meaning.
    #[error(
        "the role `owner` is built in and allows everything; it can have members, but no `allow`, `ask` or `deny`"
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
    ask: Vec<Rule>,
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
            let is_empty = role.allow.is_empty() && role.ask.is_empty() && role.deny.is_empty();
            if role.name.as_str() == Self::OWNER && !is_empty {
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
            let ask = rules("ask", role.ask);
            if compiled
                .insert(
                    role.name.clone(),
                    Compiled {
                        members: role.members,
                        allow,
                        ask,
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

    /// Whether `principal` may know of `subject`: with some arguments it could reach it, asked or not.
    #[must_use]
    pub fn may_see(&self, principal: &Principal, subject: &Subject<'_>, facts: &Facts<'_>) -> bool {
        matches!(
            self.decide(principal, subject, facts),
            Decision::Allow(_) | Decision::Ask(_)
        )
    }

    /// Whether `principal` may reach `subject`. Of all its roles' rules that speak of it, a denial beats a question, and
    /// a question a permission.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
        _facts: &Facts<'_>,
    ) -> Decision {
        let held = || {
            principal
                .roles
                .iter()
                .filter_map(|name| self.roles.get(name))
        };
        if let Some(rule) = held().find_map(|role| first_match(&role.deny, subject)) {
            return Decision::Deny(rule);
        }
        if let Some(rule) = held().find_map(|role| first_match(&role.ask, subject)) {
            let terms = Arc::default();
            return Decision::Ask(Ask { rule, terms });
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
                    let mut allowed = role.allow.iter().chain(&role.ask);
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
