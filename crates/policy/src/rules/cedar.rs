//! Cedar, the one evaluator: every rule is a policy in its language, and no other file knows it.
//!
//! A role is a group of principals, a pattern is a group of entries, and what is done is an action; so
//! `deny = [{ tool = "tickets.update", when = 'context.args.priority == "p0"' }]` of the role `support` reads
//!
//! ```cedar
//! forbid (principal in Role::"support", action in [Action::"use", Action::"task"], resource is Tool in Pattern::"tickets.update")
//! when { context.args.priority == "p0" };
//! ```
//!
//! A rule that asks is a permit too. Which of the rules that hold wins is [`super::verdict`]'s affair: here it is only
//! told which hold, and of which nobody can say.

mod condition;
mod value;
mod words;

use std::sync::Arc;
use std::{fmt, iter};

use cedar_policy::pst::{
    self, ActionConstraint, BinaryOp, Clause, EntityOrSlot, EntityType, EntityUID, Expr, Literal,
    Name, PolicyID, PrincipalConstraint, PstConstructionError, ResourceConstraint, StaticPolicy,
    Template, Var,
};
use cedar_policy::{
    AuthorizationError, Authorizer, Entities, Entity, EntityUid, EvaluationError, Policy, PolicyId,
    PolicySet, Request,
};

use super::rule::{Effect, Rule};
use super::{Facts, Subject};
use crate::{Pattern, Principal, RoleName};
use condition::Needs;
use value::{Nulls, TooMuch};
use words::Action;

pub use condition::{Condition, ConditionError};

/// A rule as Cedar has it.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    whole: Policy,
    /// Its condition alone, for calls of which it is known that the rule speaks of them.
    open: Policy,
    /// What of that can be judged without the arguments; `None`: nothing, so that with some arguments it does not hold.
    without_arguments: Option<Policy>,
    needs: Needs,
}

/// Why a rule could not be put into Cedar. None that was read can not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it cannot be put into Cedar: {0}")]
pub struct Uncompiled(String);

impl Compiled {
    /// The policy of the rule with this number; `role`: whose rule it is, `None` for everybody's.
    pub(super) fn new(
        number: usize,
        effect: Effect,
        role: Option<&RoleName>,
        rule: &Rule,
    ) -> Result<Self, Uncompiled> {
        let clauses = |condition: fn(&Condition) -> Vec<Clause>| {
            rule.condition.as_ref().map(condition).unwrap_or_default()
        };
        let open = |clauses: Vec<Clause>| finished(anything(number, effect), clauses);
        let needs = rule.condition.as_ref().map(Condition::needs);
        let needs = needs.unwrap_or_default();
        let without_arguments = match effect {
            // With other arguments it may not hold.
            Effect::Deny if needs.args.is_some() => None,
            _ => Some(open(clauses(Condition::clauses_without_arguments))?),
        };
        Ok(Self {
            whole: policy(number, effect, role, rule, clauses(Condition::clauses))?,
            open: open(clauses(Condition::clauses))?,
            without_arguments,
            needs,
        })
    }

    /// The built-in rule that allows everything, whatever it is.
    pub(super) fn everything(number: usize, role: &str) -> Result<Self, Uncompiled> {
        let open = finished(anything(number, Effect::Allow), Vec::new())?;
        let mut template = anything(number, Effect::Allow);
        template.principal = PrincipalConstraint::In(thing(words::ROLE, role)?);
        Ok(Self {
            whole: finished(template, Vec::new())?,
            without_arguments: Some(open.clone()),
            open,
            needs: Needs::default(),
        })
    }

    /// Whether it says the same whoever calls, when, and with what.
    pub(super) fn is_settled(&self) -> bool {
        self.needs.is_settled()
    }

    /// Whether it looks at arguments.
    pub(super) fn needs_arguments(&self) -> bool {
        self.needs.args.is_some()
    }

    /// Whether it can be said without the arguments whether it could hold; and if that too is always so.
    pub(super) fn could_always_hold(&self) -> bool {
        self.without_arguments
            .as_ref()
            .is_some_and(|policy| !policy.has_non_scope_constraint())
    }

    /// Whether it looks at claims.
    pub(super) fn needs_claims(&self) -> bool {
        self.needs.principal.contains(words::CLAIMS)
    }

    /// Whether it looks at what the entry's server says of it.
    pub(super) fn needs_hints(&self) -> bool {
        self.needs.hints
    }

    /// The text of its policy, for people.
    pub(super) fn text(&self) -> String {
        self.whole.to_cedar().unwrap_or_default()
    }
}

fn policy(
    number: usize,
    effect: Effect,
    role: Option<&RoleName>,
    rule: &Rule,
    mut clauses: Vec<Clause>,
) -> Result<Policy, Uncompiled> {
    let target = &rule.target;
    let mut template = anything(number, effect);
    if let Some(role) = role {
        template.principal = PrincipalConstraint::In(thing(words::ROLE, role.as_str())?);
    }
    let actions = target.about.verbs().iter();
    let actions = actions.map(|verb| entity(words::ACTION, Action::name(*verb)));
    template.action = ActionConstraint::In(actions.collect::<Result<Vec<_>, _>>()?);
    let group = thing(words::PATTERN, &target.pattern.to_string())?;
    template.resource = match target.about.kind() {
        Some(kind) => {
            let (kind, _) = words::kind(kind);
            ResourceConstraint::IsIn(EntityType(Name::unqualified(kind)?), group)
        }
        None => ResourceConstraint::In(group),
    };
    if let Some(server) = &target.server {
        let server = Expr::Literal(Literal::EntityUID(entity(words::SERVER, server.as_str())?));
        let is_through = Expr::BinaryOp {
            op: BinaryOp::In,
            left: Arc::new(Expr::Var(Var::Resource)),
            right: Arc::new(server),
        };
        clauses.insert(0, Clause::When(Arc::new(is_through)));
    }
    finished(template, clauses)
}

/// A policy about everything.
fn anything(number: usize, effect: Effect) -> Template {
    Template::new(
        PolicyID(number.to_string().into()),
        match effect {
            Effect::Allow | Effect::Ask => pst::Effect::Permit,
            Effect::Deny => pst::Effect::Forbid,
        },
        PrincipalConstraint::Any,
        ActionConstraint::Any,
        ResourceConstraint::Any,
    )
}

fn finished(template: Template, clauses: Vec<Clause>) -> Result<Policy, Uncompiled> {
    let template = template.try_with_clauses(clauses)?;
    let policy = StaticPolicy::try_from(template).map_err(PstConstructionError::from)?;
    Ok(Policy::from_pst(policy.into())?)
}

impl From<PstConstructionError> for Uncompiled {
    fn from(error: PstConstructionError) -> Self {
        Self(error.to_string())
    }
}

fn entity(kind: &str, id: &str) -> Result<EntityUID, PstConstructionError> {
    Ok(EntityUID {
        ty: EntityType(Name::unqualified(kind)?),
        eid: id.into(),
    })
}

fn thing(kind: &str, id: &str) -> Result<EntityOrSlot, PstConstructionError> {
    entity(kind, id).map(EntityOrSlot::Entity)
}

/// Policies that are asked together.
#[derive(Debug, Clone, Default)]
pub(super) struct Set {
    policies: PolicySet,
    /// Those of the rules that are in it.
    numbers: Vec<usize>,
    needs: Needs,
}

impl Set {
    /// All that these rules say, of whatever they speak.
    pub(super) fn whole<'c>(rules: impl Iterator<Item = &'c Compiled>) -> Self {
        Self::of(rules.map(|rule| (&rule.whole, &rule.needs)), true)
    }

    /// What these rules say of calls of which they speak.
    pub(super) fn open<'c>(rules: impl Iterator<Item = &'c Compiled>) -> Self {
        Self::of(rules.map(|rule| (&rule.open, &rule.needs)), false)
    }

    /// What of that can be judged without the arguments.
    pub(super) fn without_arguments<'c>(rules: impl Iterator<Item = &'c Compiled>) -> Self {
        let rules = rules.filter_map(|rule| Some((rule.without_arguments.as_ref()?, &rule.needs)));
        Self::of(rules, false)
    }

    fn of<'c>(rules: impl Iterator<Item = (&'c Policy, &'c Needs)>, has_scopes: bool) -> Self {
        let mut set = Self::default();
        if has_scopes {
            // Scopes ask which roles the principal is in, and which patterns match the entry.
            let needs = &mut set.needs;
            (needs.is_personal, needs.roles, needs.entry) = (true, true, true);
        }
        for (policy, needs) in rules {
            // Refused only where a number is there twice, and each rule has its own.
            if set.policies.add(policy.clone()).is_ok() {
                set.numbers.extend(number(policy.id()));
                set.needs.union(needs);
            }
        }
        set
    }

    pub(super) fn needs_arguments(&self) -> bool {
        self.needs.args.is_some()
    }

    /// Whether the rule of that number is in it.
    pub(super) fn has(&self, number: usize) -> bool {
        self.numbers.contains(&number)
    }

    /// Whether a `null` is among the arguments that it looks at: then there are two readings of them.
    pub(super) fn meets_null(&self, facts: &Facts<'_>) -> bool {
        value::has_nulls(facts.arguments, &self.needs.args)
    }

    /// Which of them hold, and of which nobody can say. `Err`: of none, for what they look at is too much to look at.
    pub(super) fn ask(
        &self,
        principal: &Principal,
        case: &Case,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
        reading: Reading,
    ) -> Result<Heard, Why> {
        let too_much = |_too_much: TooMuch| Why::TooMuch;
        let nulls = match reading {
            Reading::Written => Nulls::Kept,
            Reading::WithoutNulls => Nulls::Dropped,
        };
        let context = value::context(subject, facts, &self.needs, nulls).map_err(too_much)?;
        let (who, known) = if self.needs.is_personal {
            let who = value::principal(principal, &self.needs).map_err(too_much)?;
            let entry = self.needs.entry.then(|| case.entry.clone());
            let known = Entities::from_entities(iter::once(who.clone()).chain(entry), None);
            (who.uid(), &known.map_err(|_error| Why::Other)?)
        } else {
            (case.anybody.clone(), &case.known)
        };
        let request = Request::new(who, case.action.clone(), case.entry.uid(), context, None)
            .map_err(|_error| Why::Other)?;
        let answer = Authorizer::new().is_authorized(&request, &self.policies, known);
        let (mut hold, mut fail) = (Vec::new(), Vec::new());
        hold.extend(answer.diagnostics().reason().filter_map(number));
        for AuthorizationError::PolicyEvaluationError(error) in answer.diagnostics().errors() {
            fail.extend(number(error.policy_id()).map(|number| (number, Why::of(error.inner()))));
        }
        Ok(Heard { hold, fail })
    }
}

/// The number of the rule that a policy is of.
fn number(id: &PolicyId) -> Option<usize> {
    AsRef::<str>::as_ref(id).parse().ok()
}

/// How the arguments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// `null` is a value.
    Written,
    /// A member that is `null` is left out.
    WithoutNulls,
}

/// What is done, and with what: the part of a question that is the same in every call.
#[derive(Debug, Clone)]
pub(super) struct Case {
    action: EntityUid,
    entry: Entity,
    /// Nothing but the entry.
    known: Entities,
    /// Who asks, for rules that do not look at that.
    anybody: EntityUid,
}

impl Case {
    /// `patterns` are those that match the entry.
    pub(super) fn new(subject: &Subject<'_>, patterns: &[&Pattern]) -> Option<Self> {
        let entry = value::entry(subject, patterns).ok()?;
        Some(Self {
            action: value::uid(words::ACTION, Action::name(subject.verb)),
            known: Entities::from_entities([entry.clone()], None).ok()?,
            entry,
            anybody: value::uid(words::PRINCIPALS, ""),
        })
    }
}

/// What policies said, by the numbers of their rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    /// Those that hold: where a deny does, no other.
    pub(super) hold: Vec<usize>,
    /// Those that could not be judged.
    pub(super) fail: Vec<(usize, Why)>,
}

/// Why a condition could not be judged. Nothing of what was sent is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It looks at a member that is not there.
    Missing,
    /// It compares what cannot be compared.
    Type,
    /// It calculates beyond 64 bits.
    Overflow,
    /// The arguments are not known.
    Unknown,
    /// There are too many values among the arguments or claims, or they are nested too deep.
    TooMuch,
    /// The evaluator gave up.
    Other,
}

impl Why {
    fn of(error: &EvaluationError) -> Self {
        match error {
            EvaluationError::EntityDoesNotExist(_)
            | EvaluationError::EntityAttrDoesNotExist(_)
            | EvaluationError::RecordAttrDoesNotExist(_) => Self::Missing,
            EvaluationError::TypeError(_)
            | EvaluationError::FailedExtensionFunctionExecution(_) => Self::Type,
            EvaluationError::IntegerOverflow(_) => Self::Overflow,
            _ => Self::Other,
        }
    }

    /// In words, behind "its condition could not be judged:".
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "it looks at a member that is not there",
            Self::Type => "a value is not of the type that it wants",
            Self::Overflow => "a number gets too large",
            Self::Unknown => "the arguments are not known",
            Self::TooMuch => "what it looks at is too large or too deep",
            Self::Other => "the evaluator gave up",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
