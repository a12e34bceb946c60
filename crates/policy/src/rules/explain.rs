//! Why a decision is what it is: every rule that a principal is under, and what each had to say.

use std::fmt;

use super::cedar::{Case, Reading, Set, Why};
use super::rule::Effect;
use super::verdict::{Elsewhere, Law};
use super::{Decision, Facts, RuleId, Rules, Subject};
use crate::{Pattern, Principal, RoleName};

/// A decision with its reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What it comes to.
    pub decision: Decision,
    /// Whether it may be seen in lists.
    pub is_seen: bool,
    /// Each rule of the roles held, in the order in which they are asked.
    pub rules: Vec<Spoken>,
    /// Roles held that no config defines.
    pub undefined: Vec<RoleName>,
}

/// What one rule had to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoken {
    /// Which one.
    pub rule: RuleId,
    /// What it does where it holds.
    pub effect: Effect,
    /// Whether it holds, and if not, why not.
    pub said: Said,
    /// Whether it made the decision.
    pub won: bool,
    /// As Cedar has it.
    pub cedar: String,
}

/// Whether a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It does.
    Holds,
    /// Its condition is not met.
    NotMet,
    /// Nobody can say: a deny counts as holding, an allow as not.
    Unclear(Why),
    /// It speaks of something else.
    Elsewhere(Elsewhere),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::NotMet => f.write_str("its condition is not met"),
            Self::Unclear(why) => write!(f, "its condition could not be judged: {why}"),
            Self::Elsewhere(Elsewhere::Kind) => f.write_str("about another kind of thing"),
            Self::Elsewhere(Elsewhere::Entry) => f.write_str("about other entries"),
            Self::Elsewhere(Elsewhere::Server) => f.write_str("about another virtual server"),
        }
    }
}

/// What a decision depends on that records do not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unrecorded {
    /// Some rule that may matter looks at the arguments.
    pub arguments: bool,
    /// At the claims of a token.
    pub claims: bool,
    /// At what the entry's server says of it.
    pub hints: bool,
}

impl Rules {
    /// What a decision about a subject depends on besides roles, time and client.
    #[must_use]
    pub fn unrecorded(&self, principal: &Principal, subject: &Subject<'_>) -> Unrecorded {
        let verdict = self.verdict(principal, subject);
        let open = verdict.open_laws();
        let mut speaking = self
            .held(principal, subject)
            .filter(|law| law.speaks_of(subject).is_ok());
        Unrecorded {
            arguments: open.iter().any(|law| law.compiled.needs_arguments()),
            claims: open.iter().any(|law| law.compiled.needs_claims()),
            hints: speaking.any(|law| law.compiled.needs_hints()),
        }
    }

    /// Which rules spoke, which won, and why the others did not.
    #[must_use]
    pub fn explain(
        &self,
        principal: &Principal,
        subject: &Subject<'_>,
        facts: &Facts<'_>,
    ) -> Explanation {
        let decision = self.decide(principal, subject, facts);
        let winner = match &decision {
            Decision::Allow(rule) | Decision::Deny(rule) => Some(rule.to_string()),
            Decision::Ask(ask) => Some(ask.rule.to_string()),
            Decision::Unseen => None,
        };
        let rules = self.held(principal, subject).map(|law| {
            let said = said(law, principal, subject, facts);
            let id = law.id.to_string();
            // A rule that could not be judged is named with the reason behind it.
            let won = winner.as_ref().is_some_and(|winner| {
                *winner == id || winner.starts_with(&format!("{id}; its condition"))
            });
            Spoken {
                rule: law.id.clone(),
                effect: law.effect,
                said,
                won,
                cedar: law.compiled.text(),
            }
        });
        Explanation {
            rules: rules.collect(),
            is_seen: self.may_see(principal, subject, facts),
            decision,
            undefined: principal
                .roles
                .iter()
                .filter(|role| !self.defines(role))
                .cloned()
                .collect(),
        }
    }
}

/// What a rule says when it is asked alone; of the two readings of a `null` the one in which it is stricter.
fn said(law: &Law, principal: &Principal, subject: &Subject<'_>, facts: &Facts<'_>) -> Said {
    if let Err(elsewhere) = law.speaks_of(subject) {
        return Said::Elsewhere(elsewhere);
    }
    let pattern = law.target.as_ref().map(|target| &target.pattern);
    let patterns: Vec<&Pattern> = pattern.into_iter().collect();
    let Some(case) = Case::new(subject, &patterns) else {
        return Said::Unclear(Why::Other);
    };
    if law.compiled.needs_arguments() && !facts.has_arguments() {
        return Said::Unclear(Why::Unknown);
    }
    let set = Set::whole(std::iter::once(&law.compiled));
    let read = |reading| match set.ask(principal, &case, subject, facts, reading) {
        Err(why) => Said::Unclear(why),
        Ok(heard) => match heard.fail.first() {
            Some((_, why)) => Said::Unclear(*why),
            None if heard.hold.is_empty() => Said::NotMet,
            None => Said::Holds,
        },
    };
    let as_written = read(Reading::Written);
    if !set.meets_null(facts) {
        return as_written;
    }
    let without = read(Reading::WithoutNulls);
    let rank = |said: Said| match (law.effect, said) {
        (Effect::Deny | Effect::Ask, Said::Holds) | (Effect::Allow, Said::NotMet) => 0,
        (_, Said::Unclear(_)) => 1,
        _ => 2,
    };
    if rank(without) < rank(as_written) {
        without
    } else {
        as_written
    }
}
