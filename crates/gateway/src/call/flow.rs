//! Which data may flow where: who has seen private data and what strangers wrote is asked before something leaves.
//!
//! What was seen is `flows`; this says what a call sees and sends.

use std::sync::Arc;

use policy::{Ask, Remember, RuleId, Terms, Verb};

use super::authorize::{note_ask, subject_name, verb};
use super::{Authorized, Call, Decided, Means, View};
use crate::door::LOCAL;
use crate::flows::Taint;
use crate::record::CallRecord;
use crate::uri;

/// The gate's own rule.
const RULE: &str = "flow: private and untrusted before sends";

/// Has a person asked where the rules would let something out that should perhaps stay. What a person agreed to once
/// before does not count for it: the terms are those of the rule that asks anyway, for one call.
pub(super) fn judge(
    decided: &mut Decided<'_>,
    view: &View,
    means: &Means<'_>,
    record: &mut CallRecord,
) {
    let flows = view.flows();
    let call = &decided.call;
    if !flows.is_on() {
        return;
    }
    let taint = means.flows.taint(&call.asked.principal.id, record.opened());
    record.note_taint(taint);
    let upstream = call.entry.link.id();
    let says_something = match verb(call.method) {
        Verb::Use | Verb::Complete => true,
        Verb::Task => call.method.name == wire::method::TASKS_UPDATE.name,
        Verb::Subscribe | Verb::Sample | Verb::Administer => false,
    };
    let sends = says_something
        && call.asked.transport != LOCAL
        && names(call).any(|name| flows.can_send(upstream, &name));
    if !sends || !taint.is_toxic() {
        return;
    }
    let mut terms = decided
        .ask
        .as_ref()
        .map_or_else(Terms::default, |ask| (*ask.terms).clone());
    terms.longest = Remember::Once;
    let ask = Ask {
        rule: RuleId::new(RULE),
        terms: Arc::new(terms),
    };
    note_ask(&ask, record);
    decided.ask = Some(ask);
}

/// Whether a person is asked because of what was seen.
pub(super) fn is_about(ask: &Ask) -> bool {
    ask.rule == RuleId::new(RULE)
}

/// Remembers what the principal is about to see. Before it is sent, so that no call beside it slips through; and also where
/// nothing is asked about, for what was seen here may leave by another way.
pub(super) fn note(
    authorized: &Authorized<'_>,
    view: &View,
    means: &Means<'_>,
    record: &CallRecord,
) {
    let flows = view.flows();
    let call = &authorized.call;
    let shows_something = match verb(call.method) {
        Verb::Use | Verb::Task | Verb::Complete => true,
        Verb::Subscribe | Verb::Sample | Verb::Administer => false,
    };
    if !view.has_flows || !shows_something {
        return;
    }
    let upstream = call.entry.link.id();
    let says_open = flows.open_world && call.entry.traits.open_world == Some(true);
    let sees = Taint {
        private: names(call).any(|name| flows.is_private(upstream, &name)),
        untrusted: says_open || names(call).any(|name| flows.is_untrusted(upstream, &name)),
    };
    let (principal, now) = (&call.asked.principal.id, record.opened());
    means.flows.note(principal, sees, now, flows.window);
}

/// The names under which a rule may speak of it: of a URI each way to read it, and the template that it fits.
fn names<'c>(call: &'c Call<'_>) -> impl Iterator<Item = std::borrow::Cow<'c, str>> {
    let name = subject_name(call.method, &call.params, &call.entry);
    let readings = if name.contains('%') {
        uri::readings(name)
    } else {
        Vec::new()
    };
    [name, &call.entry.item.key]
        .into_iter()
        .map(Into::into)
        .chain(readings.into_iter().map(Into::into))
}
