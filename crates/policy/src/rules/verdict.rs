//! What the rules that speak of an entry come to: once and for all where they can, per call where they must.
//!
//! Deny beats ask beats allow, and what nobody allows is unseen. A rule whose condition cannot be judged never loosens
//! anything: a deny holds, an allow does not, and an ask turns what others allow into a question. Which rules speak is
//! [`super`]'s affair, what a single one says `cedar`'s.

use std::fmt;
use std::sync::Arc;

use super::cedar::{Case, Compiled, Heard, Reading, Set, Why};
use super::rule::{About, Effect, Target};
use super::{Ask, Decision, Facts, RuleId, Subject, Terms};
use crate::{Pattern, Principal, UpstreamId};

/// A rule of a role, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Law {
    /// Its place among all rules; of two that say the same the earlier is named.
    pub(super) number: usize,
    pub(super) effect: Effect,
    pub(super) id: RuleId,
    /// What it speaks of; `None`: everything.
    pub(super) target: Option<Target>,
    pub(super) terms: Arc<Terms>,
    pub(super) compiled: Compiled,
}

/// What is known of an entry for holders of the same roles.
#[derive(Debug)]
pub(super) struct Verdict {
    decided: Decided,
    /// Whether it may be seen; `None`: that depends.
    seen: Option<bool>,
}

#[derive(Debug)]
enum Decided {
    /// Whoever it is of those who hold the roles, whenever, and with whatever arguments.
    Always(Decision),
    Depends(Box<Open>),
}

/// The rules that must be asked anew in each call.
struct Open {
    case: Case,
    laws: Vec<Arc<Law>>,
    /// What the rules without such conditions come to.
    settled: Outcome,
    /// All of them.
    whole: Set,
    /// Those that look at no arguments, for when these are not known.
    without_arguments: Set,
    /// For lists: what can be said without the arguments, except of denials that look at them.
    visible: Set,
    /// Whether, as far as arguments go, some rule could always let it through.
    is_within_reach: bool,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.laws.iter().map(|law| &law.id))
            .finish()
    }
}

/// The most telling rule of each effect that holds.
#[derive(Debug, Clone, Default)]
struct Outcome {
    denied: Option<(Arc<Law>, Option<Why>)>,
    asked: Option<Arc<Law>>,
    /// An ask of which nobody can say whether it holds.
    unsure: Option<(Arc<Law>, Why)>,
    allowed: Option<Arc<Law>>,
}

impl Outcome {
    fn hear(&mut self, heard: &Heard, laws: &[Arc<Law>]) {
        let law = |number: &usize| laws.iter().find(|law| law.number == *number);
        for law in heard.hold.iter().filter_map(law) {
            self.add(law, None);
        }
        for (number, why) in &heard.fail {
            if let Some(law) = law(number) {
                self.add(law, Some(*why));
            }
        }
    }

    fn add(&mut self, law: &Arc<Law>, failed: Option<Why>) {
        let law = || Arc::clone(law);
        match (law().effect, failed) {
            (Effect::Deny, failed) => {
                // One that holds tells more than one that cannot be judged.
                let rank = |denied: &(Arc<Law>, Option<Why>)| (denied.1.is_some(), denied.0.number);
                let new = (law(), failed);
                if self
                    .denied
                    .as_ref()
                    .is_none_or(|old| rank(&new) < rank(old))
                {
                    self.denied = Some(new);
                }
            }
            (Effect::Ask, None) => {
                let rank = |law: &Law| (strictness(&law.terms), law.number);
                if self
                    .asked
                    .as_ref()
                    .is_none_or(|old| rank(&law()) < rank(old))
                {
                    self.asked = Some(law());
                }
            }
            (Effect::Ask, Some(why)) => {
                let rank = |law: &Law| (strictness(&law.terms), law.number);
                if self
                    .unsure
                    .as_ref()
                    .is_none_or(|(old, _)| rank(&law()) < rank(old))
                {
                    self.unsure = Some((law(), why));
                }
            }
            (Effect::Allow, None) => {
                if self
                    .allowed
                    .as_ref()
                    .is_none_or(|old| law().number < old.number)
                {
                    self.allowed = Some(law());
                }
            }
            (Effect::Allow, Some(_)) => {}
        }
    }

    fn conclude(&self) -> Decision {
        if let Some((law, failed)) = &self.denied {
            return Decision::Deny(law.name(*failed));
        }
        if let Some(law) = &self.asked {
            let asked = law.ask(None);
            return match &self.unsure {
                Some((law, why)) => asked.stricter(law.ask(Some(*why))),
                None => asked,
            };
        }
        match (&self.allowed, &self.unsure) {
            (Some(_), Some((law, why))) => law.ask(Some(*why)),
            (Some(law), None) => Decision::Allow(law.id.clone()),
            (None, _) => Decision::Unseen,
        }
    }

    fn lets_through(&self) -> bool {
        self.denied.is_none() && (self.allowed.is_some() || self.asked.is_some())
    }
}

/// Less is stricter.
fn strictness(terms: &Terms) -> impl Ord + use<> {
    (
        !terms.other_person,
        terms.approvers.is_empty(),
        terms.longest,
    )
}

impl Law {
    fn name(&self, failed: Option<Why>) -> RuleId {
        match failed {
            None => self.id.clone(),
            Some(why) => RuleId::new(&format!(
                "{}; its condition could not be judged: {why}",
                self.id
            )),
        }
    }

    fn ask(&self, failed: Option<Why>) -> Decision {
        Decision::Ask(Ask {
            rule: self.name(failed),
            terms: Arc::clone(&self.terms),
        })
    }

    /// Whether it speaks of what is asked; its condition aside.
    pub(super) fn speaks_of(&self, subject: &Subject<'_>) -> Result<(), Elsewhere> {
        let Some(Target {
            about,
            server,
            pattern,
        }) = &self.target
        else {
            return Ok(());
        };
        if !about.covers(subject.verb, subject.kind) {
            return Err(Elsewhere::Kind);
        }
        if !pattern.matches(subject.upstream, subject.name) {
            return Err(Elsewhere::Entry);
        }
        if server.is_some() && server.as_ref() != subject.server {
            return Err(Elsewhere::Server);
        }
        Ok(())
    }

    /// Whether it could let somebody reach an entry of an upstream.
    pub(super) fn permits_entries_of(&self, upstream: &UpstreamId) -> bool {
        self.effect != Effect::Deny
            && self.target.as_ref().is_none_or(|target| {
                let is_entry = !matches!(target.about, About::Admin | About::Sampling);
                is_entry && target.pattern.is_about(upstream)
            })
    }

    /// Whether it could let somebody do something in the admin API.
    pub(super) fn permits_administration(&self) -> bool {
        let about = self.target.as_ref().map(|target| target.about);
        self.effect != Effect::Deny && about.is_none_or(|about| about == About::Admin)
    }
}

/// Why a rule does not speak of what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// It is about another kind of thing, or about something else to be done with it.
    Kind,
    /// Its pattern does not match.
    Entry,
    /// It is about another virtual server.
    Server,
}

impl Verdict {
    /// What these rules, all of which speak of the entry, come to for holders of the principal's roles.
    pub(super) fn new(laws: &[Arc<Law>], principal: &Principal, subject: &Subject<'_>) -> Self {
        let patterns: Vec<&Pattern> = laws
            .iter()
            .filter_map(|law| law.target.as_ref())
            .map(|target| &target.pattern)
            .collect();
        let Some(case) = Case::new(subject, &patterns) else {
            return Self::always(Decision::Deny(RuleId::new("the entry cannot be judged")));
        };
        let (settled, open): (Vec<_>, Vec<_>) = laws
            .iter()
            .cloned()
            .partition(|law| law.compiled.is_settled());
        let mut outcome = Outcome::default();
        let asking = Asking {
            principal,
            case: &case,
            subject,
            facts: &Facts::NONE,
        };
        asking.ask(&set(&settled), &settled, &mut outcome);
        // Beside a permission that always holds, another says nothing new; neither does anything beside a denial.
        let is_idle = |law: &Law| {
            outcome.denied.is_some() || (law.effect == Effect::Allow && outcome.allowed.is_some())
        };
        let open: Vec<_> = open.into_iter().filter(|law| !is_idle(law)).collect();
        if open.is_empty() {
            return Self::always(outcome.conclude());
        }
        Self::open(open, case, outcome)
    }

    fn always(decision: Decision) -> Self {
        let seen = matches!(decision, Decision::Allow(_) | Decision::Ask(_));
        Self {
            decided: Decided::Always(decision),
            seen: Some(seen),
        }
    }

    fn open(laws: Vec<Arc<Law>>, case: Case, settled: Outcome) -> Self {
        let compiled = || laws.iter().map(|law| &law.compiled);
        let permits = || laws.iter().filter(|law| law.effect != Effect::Deny);
        let is_within_reach =
            settled.lets_through() || permits().any(|law| law.compiled.could_always_hold());
        let depends = laws.iter().any(|law| match law.effect {
            Effect::Deny => !law.compiled.needs_arguments(),
            Effect::Allow | Effect::Ask => !is_within_reach,
        });
        Self {
            seen: (!depends).then_some(is_within_reach),
            decided: Decided::Depends(Box::new(Open {
                whole: Set::open(compiled()),
                without_arguments: Set::open(compiled().filter(|rule| !rule.needs_arguments())),
                visible: Set::without_arguments(compiled()),
                case,
                laws,
                settled,
                is_within_reach,
            })),
        }
    }

    /// The rules that must be asked anew in each call.
    pub(super) fn open_laws(&self) -> &[Arc<Law>] {
        match &self.decided {
            Decided::Always(_) => &[],
            Decided::Depends(open) => &open.laws,
        }
    }

    /// Whether it may be reached with these facts.
    pub(super) fn decide(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
    ) -> Decision {
        match &self.decided {
            Decided::Always(decision) => decision.clone(),
            Decided::Depends(open) => open.decide(principal, subject, facts),
        }
    }

    /// Whether with some arguments it could be reached.
    pub(super) fn may_see(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
    ) -> bool {
        match (&self.decided, self.seen) {
            (_, Some(seen)) => seen,
            (Decided::Always(_), None) => false,
            (Decided::Depends(open), None) => open.may_see(principal, subject, facts),
        }
    }
}

fn set(laws: &[Arc<Law>]) -> Set {
    Set::whole(laws.iter().map(|law| &law.compiled))
}

impl Open {
    fn decide(&self, principal: &Principal, subject: &Subject<'_>, facts: &Facts<'_>) -> Decision {
        let asking = Asking {
            principal,
            case: &self.case,
            subject,
            facts,
        };
        let as_read = |reading| {
            let mut outcome = self.settled.clone();
            let answer = if !facts.has_arguments() && self.whole.needs_arguments() {
                Err(Why::Unknown)
            } else {
                self.whole
                    .ask(principal, &self.case, subject, facts, reading)
            };
            match answer {
                Ok(heard) => outcome.hear(&heard, &self.laws),
                // Those that do not look at arguments can still be asked; the others fail.
                Err(why) => {
                    for law in self
                        .laws
                        .iter()
                        .filter(|law| law.compiled.needs_arguments())
                    {
                        outcome.add(law, Some(why));
                    }
                    asking.ask(&self.without_arguments, &self.laws, &mut outcome);
                }
            }
            outcome.conclude()
        };
        let as_written = as_read(Reading::Written);
        // Some servers take `null` for a value and some for nothing: both readings must be let through.
        if self.whole.meets_null(facts) {
            return as_written.stricter(as_read(Reading::WithoutNulls));
        }
        as_written
    }

    fn may_see(&self, principal: &Principal, subject: &Subject<'_>, facts: &Facts<'_>) -> bool {
        let asking = Asking {
            principal,
            case: &self.case,
            subject,
            facts,
        };
        let mut outcome = Outcome::default();
        asking.ask(&self.visible, &self.laws, &mut outcome);
        outcome.denied.is_none() && (self.is_within_reach || outcome.lets_through())
    }
}

/// Who asks what, and with which facts.
struct Asking<'a> {
    principal: &'a Principal,
    case: &'a Case,
    subject: &'a Subject<'a>,
    facts: &'a Facts<'a>,
}

impl Asking<'_> {
    /// Has policies judged; if none can be, all of theirs fail.
    fn ask(&self, set: &Set, laws: &[Arc<Law>], outcome: &mut Outcome) {
        let Self {
            principal,
            case,
            subject,
            facts,
        } = self;
        match set.ask(principal, case, subject, facts, Reading::Written) {
            Ok(heard) => outcome.hear(&heard, laws),
            Err(why) => {
                for law in laws.iter().filter(|law| set.has(law.number)) {
                    outcome.add(law, Some(why));
                }
            }
        }
    }
}

impl Decision {
    /// Of two decisions about what may be one thing, the one that lets less through; of two questions the one on stricter
    /// terms.
    #[must_use]
    pub fn stricter(self, other: Self) -> Self {
        if let (Self::Ask(one), Self::Ask(two)) = (&self, &other) {
            return match strictness(&two.terms) < strictness(&one.terms) {
                true => other,
                false => self,
            };
        }
        let rank = |decision: &Self| match decision {
            Self::Deny(_) => 0,
            Self::Unseen => 1,
            Self::Ask(_) => 2,
            Self::Allow(_) => 3,
        };
        if rank(&other) < rank(&self) {
            other
        } else {
            self
        }
    }
}
