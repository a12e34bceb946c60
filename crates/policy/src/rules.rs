//! Decides whether a principal may reach an entry.
//!
//! Pure: a principal, a subject and facts go in, a decision comes out. Every rule is a policy of Cedar (`rules/cedar`),
//! and what nobody allows is unseen: there is no way to a decision but through them. What depends on nothing but the
//! roles held is found out once and kept (`rules/memo`); what the rules come to together is `rules/verdict`, and why is
//! [`Rules::explain`]. What a pattern matches is `pattern`; that an entry nobody may reach looks unknown is the gateway's
//! doing. Start at [`Rules::decide`].

mod cedar;
mod explain;
mod memo;
mod rule;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::{Pattern, Principal, PrincipalId, RoleName, ServerName, UpstreamId};
use cedar::Compiled;
use memo::{Holder, Uris};
use verdict::{Law, Verdict};

pub use cedar::{Condition, ConditionError, Uncompiled, Why};
pub use explain::{Explanation, Said, Spoken, Unrecorded};
pub use memo::Memo;
pub use rule::{About, Effect, Rule, Target, TargetError};
pub use verdict::Elsewhere;

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

impl Facts<'_> {
    /// Nothing is known: for what does not depend on facts.
    const NONE: Facts<'static> = Facts {
        arguments: None,
        client: "",
        now: SystemTime::UNIX_EPOCH,
    };

    /// Whether conditions can look at arguments: they have members, or there are none.
    fn has_arguments(&self) -> bool {
        matches!(self.arguments, Some(Value::Object(_)))
    }
}

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

/// A role as the config defines it.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// Who holds it.
    pub members: BTreeSet<PrincipalId>,
    /// What it may reach.
    pub allow: Vec<Rule>,
    /// What its holders may reach once a person has said yes.
    pub ask: Vec<Rule>,
    /// What nobody who holds it may reach, whatever else allows it.
    pub deny: Vec<Rule>,
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
    /// Its condition was read and still is none.
    #[error("{rule}: {cause}")]
    Uncompiled {
        /// Which rule.
        rule: RuleId,
        /// Why.
        #[source]
        cause: Uncompiled,
    },
}

/// All rules, compiled. An immutable snapshot: a call sees one from start to end.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Snapshot>);

#[derive(Debug)]
struct Snapshot {
    /// Marks what was found out under these rules.
    generation: u64,
    /// In the order of their numbers.
    laws: Vec<Arc<Law>>,
    roles: BTreeMap<RoleName, Held>,
    /// Decisions about what is no entry of a catalog.
    uris: Uris,
}

/// What a role brings: the numbers of its rules, by the upstreams that they are about.
#[derive(Debug, Default)]
struct Held {
    members: BTreeSet<PrincipalId>,
    named: HashMap<Box<str>, Vec<usize>>,
    anywhere: Vec<usize>,
}

impl Held {
    fn learn(&mut self, number: usize, pattern: &Pattern) {
        match pattern.only_upstream() {
            Some(upstream) => self.named.entry(upstream.into()).or_default().push(number),
            None => self.anywhere.push(number),
        }
    }

    /// The numbers of its rules that may be about an upstream.
    fn about(&self, upstream: &UpstreamId) -> impl Iterator<Item = usize> {
        let named = self.named.get(upstream.as_str());
        self.anywhere
            .iter()
            .chain(named.into_iter().flatten())
            .copied()
    }

    fn all(&self) -> impl Iterator<Item = usize> {
        self.anywhere
            .iter()
            .chain(self.named.values().flatten())
            .copied()
    }
}

static GENERATION: AtomicU64 = AtomicU64::new(0);

/// The number of the owner's rule: before all others.
const OWNER: usize = 0;
/// The number of the rule on sampling: it speaks where an upstream may be used at all.
const SAMPLING: usize = 1;

impl Rules {
    /// The built-in role that allows everything.
    pub const OWNER: &str = "owner";

    /// Compiles the roles of a config.
    ///
    /// # Errors
    /// If a role is defined twice, or the built-in one anew.
    pub fn new(roles: Vec<Role>) -> Result<Self, RulesError> {
        let mut laws = vec![Arc::new(owner()?), Arc::new(sampling()?)];
        let mut held: BTreeMap<RoleName, Held> = BTreeMap::new();
        for role in roles {
            let is_empty = role.allow.is_empty() && role.ask.is_empty() && role.deny.is_empty();
            if role.name.as_str() == Self::OWNER && !is_empty {
                return Err(RulesError::Owner);
            }
            let mut brings = Held {
                members: role.members,
                ..Held::default()
            };
            let lists = [
                (Effect::Allow, role.allow),
                (Effect::Ask, role.ask),
                (Effect::Deny, role.deny),
            ];
            for (effect, rules) in lists {
                for rule in rules {
                    let number = laws.len();
                    brings.learn(number, &rule.target.pattern);
                    laws.push(Arc::new(law(number, effect, &role.name, rule)?));
                }
            }
            if held.insert(role.name.clone(), brings).is_some() {
                return Err(RulesError::Twice(role.name));
            }
        }
        Ok(Self(Arc::new(Snapshot {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            laws,
            roles: held,
            uris: Uris::default(),
        })))
    }

    /// Whether `principal` may know of `subject`: with some arguments it could reach it, asked or not.
    ///
    /// Exact but for conditions that mix arguments with other things in one part (`a || b`): there it may say yes where
    /// [`Rules::decide`] says no to all arguments, and never the reverse.
    #[must_use]
    pub fn may_see(&self, principal: &Principal, subject: &Subject<'_>, facts: &Facts<'_>) -> bool {
        self.verdict(principal, subject)
            .may_see(principal, subject, facts)
    }

    /// Whether `principal` may reach `subject`. Of all its roles' rules that speak of it, a denial beats a question, and
    /// a question a permission.
    ///
    /// A condition that cannot be judged (it looks at an argument that is not there, or compares a text with a number)
    /// makes nothing looser: a denial holds, a permission does not, and a question is asked of what others permit. So it
    /// is with all conditions over arguments where those are not known.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
    ) -> Decision {
        self.verdict(principal, subject)
            .decide(principal, subject, facts)
    }

    /// What is known of the subject for holders of these roles: found out now, if nobody asked before.
    fn verdict(&self, principal: &Principal, subject: &Subject<'_>) -> Arc<Verdict> {
        let make = || {
            let laws = self.held(principal, subject);
            let laws: Vec<Arc<Law>> = laws
                .filter(|law| law.speaks_of(subject).is_ok())
                .cloned()
                .collect();
            Verdict::new(&laws, principal, subject)
        };
        let holder = Holder::new(self.0.generation, &principal.roles);
        match subject.memo {
            Some(memo) => memo.verdict(holder, subject, make),
            None => match self.0.uris.memo(subject) {
                Some(memo) => memo.verdict(holder, subject, make),
                None => Arc::new(make()),
            },
        }
    }

    /// The rules that the principal is under and that may speak of the subject, in their order.
    fn held(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
    ) -> impl Iterator<Item = &Arc<Law>> {
        let roles = principal
            .roles
            .iter()
            .filter_map(|name| self.0.roles.get(name));
        let mut numbers: Vec<usize> = roles
            .flat_map(|role| role.about(subject.upstream))
            .collect();
        if principal.is_owner() {
            numbers.push(OWNER);
        }
        if subject.verb == Verb::Sample && self.names(principal, subject.upstream) {
            numbers.push(SAMPLING);
        }
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|number| self.0.laws.get(number))
    }

    /// Whether some rule lets `principal` reach anything of `upstream`: then its name is no news to it.
    #[must_use]
    pub fn names(&self, principal: &Principal, upstream: &UpstreamId) -> bool {
        let mut numbers = principal
            .roles
            .iter()
            .filter_map(|name| self.0.roles.get(name))
            .flat_map(|role| role.about(upstream));
        principal.is_owner()
            || numbers.any(|number| {
                let law = self.0.laws.get(number);
                law.is_some_and(|law| law.permits_entries_of(upstream))
            })
    }

    /// Whether some rule could let `principal` do anything in the admin API: then a credential for it makes sense.
    #[must_use]
    pub fn may_administer(&self, principal: &Principal) -> bool {
        let roles = principal
            .roles
            .iter()
            .filter_map(|name| self.0.roles.get(name));
        let mut numbers = roles.flat_map(Held::all);
        principal.is_owner()
            || numbers.any(|number| {
                self.0
                    .laws
                    .get(number)
                    .is_some_and(|law| law.permits_administration())
            })
    }

    /// Whether there is a role of that name; the built-in one always is.
    #[must_use]
    pub fn defines(&self, role: &RoleName) -> bool {
        role.as_str() == Self::OWNER || self.0.roles.contains_key(role)
    }

    /// The roles that name `id` as a member.
    #[must_use]
    pub fn roles_of(&self, id: &PrincipalId) -> BTreeSet<RoleName> {
        self.0
            .roles
            .iter()
            .filter(|(_, role)| role.members.contains(id))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

fn law(number: usize, effect: Effect, role: &RoleName, rule: Rule) -> Result<Law, RulesError> {
    let id = RuleId::new(&format!("role {role}: {} {rule}", effect.as_str()));
    let compiled = Compiled::new(number, effect, Some(role), &rule);
    Ok(Law {
        number,
        effect,
        compiled: compiled.map_err(|cause| RulesError::Uncompiled {
            rule: id.clone(),
            cause,
        })?,
        id,
        target: Some(rule.target),
        terms: Arc::new(rule.terms),
    })
}

fn owner() -> Result<Law, RulesError> {
    let id = RuleId::new("role owner: allow *");
    let compiled = Compiled::everything(OWNER, Rules::OWNER);
    Ok(Law {
        number: OWNER,
        effect: Effect::Allow,
        compiled: compiled.map_err(|cause| RulesError::Uncompiled {
            rule: id.clone(),
            cause,
        })?,
        id,
        target: None,
        terms: Arc::default(),
    })
}

/// An upstream may ask the client's model wherever its caller may use it at all, unless a rule asks or denies: it could
/// as well answer with its question. The client asks its person anyway, as the protocol has it.
fn sampling() -> Result<Law, RulesError> {
    let rule = Rule::from(Target {
        about: About::Sampling,
        server: None,
        pattern: Pattern::everything(),
    });
    let id = RuleId::new("gate: allow sampling for upstreams that may be used");
    let compiled = Compiled::new(SAMPLING, Effect::Allow, None, &rule);
    Ok(Law {
        number: SAMPLING,
        effect: Effect::Allow,
        compiled: compiled.map_err(|cause| RulesError::Uncompiled {
            rule: id.clone(),
            cause,
        })?,
        id,
        target: Some(rule.target),
        terms: Arc::default(),
    })
}

#[cfg(test)]
mod tests;
