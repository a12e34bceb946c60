//! The rules, asked in one way everywhere: which entries are seen, and the last word over exactly what will be sent.

use std::sync::Arc;

use policy::{
    Ask, Decision, Facts, Principal, Subject as RuleSubject, SubjectKind, Traits, UpstreamId, Verb,
};
use wire::method::Subject;
use wire::{Method, Params};

use super::{Call, Decided, View, validate};
use crate::catalog::Entry;
use crate::record::CallRecord;
use crate::{Rejection, uri};

/// What the rules know the client's model as.
pub(super) const SAMPLING: &str = "sampling";

/// What the rules know the subject as: the upstream's own name, or the very URI that is asked for.
pub(super) fn subject_name<'a>(method: &Method, params: &'a Params, entry: &'a Entry) -> &'a str {
    match (method.subject, &params.uri) {
        (Subject::Resource, Some(uri)) => uri,
        _ => &entry.item.key,
    }
}

/// What a method does with its subject.
pub(super) fn verb(method: &Method) -> Verb {
    match method.subject {
        Subject::Reference => Verb::Complete,
        Subject::Task => Verb::Task,
        Subject::Resource if method.name == wire::method::SUBSCRIBE.name => Verb::Subscribe,
        Subject::Tool | Subject::Prompt | Subject::Resource | Subject::Method | Subject::Gate => {
            Verb::Use
        }
    }
}

fn subject<'a>(verb: Verb, entry: &'a Entry, name: &'a str, view: &'a View) -> RuleSubject<'a> {
    RuleSubject {
        verb,
        kind: entry.kind,
        server: view.server.as_ref(),
        upstream: entry.link.id(),
        name,
        traits: Traits {
            private: is_private(entry.kind, entry.link.id(), &[name, &entry.item.key], view),
            ..entry.traits
        },
        // A decision about one of many URIs is not one about the template that they fit.
        memo: (name == entry.item.key).then_some(&entry.memo),
    }
}

/// Whether the config marks it as private data, under one of these names or in another reading of a URI. It is found out
/// in each call: it is the settings' to say, and may be so of one URI and not of the template that it fits.
fn is_private(kind: SubjectKind, upstream: &UpstreamId, names: &[&str], view: &View) -> bool {
    let (consent, flows) = (&view.settings.consent.private, view.flows());
    if consent.is_empty() && flows.private.is_empty() {
        return false;
    }
    let is_resource = kind == SubjectKind::Resource;
    let marked = |name: &str| {
        let is_asked_about = || consent.iter().any(|one| one.matches(upstream, name));
        flows.is_private(upstream, name) || (is_resource && is_asked_about())
    };
    names.iter().any(|name| {
        marked(name) || (is_resource && uri::readings(name).iter().any(|one| marked(one)))
    })
}

pub(super) fn decide(
    principal: &Principal,
    verb: Verb,
    entry: &Entry,
    name: &str,
    facts: &Facts<'_>,
    view: &View,
) -> Decision {
    decide_on(principal, subject(verb, entry, name, view), facts, view)
}

fn decide_on(
    principal: &Principal,
    subject: RuleSubject<'_>,
    facts: &Facts<'_>,
    view: &View,
) -> Decision {
    let rules = &view.settings.rules;
    let as_written = rules.decide(principal, &subject, facts);
    // `%73ecret` is `secret` to whoever opens it: every reading must be allowed.
    readings(&subject)
        .iter()
        .map(|name| rules.decide(principal, &read_as(name, subject), facts))
        .fold(as_written, Decision::stricter)
}

/// In which other ways the name of a resource can be read.
fn readings(subject: &RuleSubject<'_>) -> Vec<String> {
    if subject.kind != SubjectKind::Resource || !subject.name.contains('%') {
        return Vec::new();
    }
    uri::readings(subject.name)
}

/// The same under another reading of its name, for which nothing is remembered.
fn read_as<'a>(name: &'a str, subject: RuleSubject<'a>) -> RuleSubject<'a> {
    RuleSubject {
        name,
        memo: None,
        ..subject
    }
}

fn sees_it(
    principal: &Principal,
    subject: RuleSubject<'_>,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    let rules = &view.settings.rules;
    rules.may_see(principal, &subject, facts)
        && readings(&subject)
            .iter()
            .all(|name| rules.may_see(principal, &read_as(name, subject), facts))
}

/// Whether the rules show an entry, for this purpose, to a principal: the same rules that decide calls.
pub(super) fn sees(
    principal: &Principal,
    verb: Verb,
    entry: &Entry,
    name: &str,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    sees_it(principal, subject(verb, entry, name, view), facts, view)
}

/// Whether the rules show an entry to a principal.
pub(crate) fn may_see(
    principal: &Principal,
    entry: &Entry,
    name: &str,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    sees(principal, Verb::Use, entry, name, facts, view)
}

/// Who serves a resource, if the principal may read it.
pub(crate) fn readable<'v>(
    principal: &Principal,
    uri: &str,
    facts: &Facts<'_>,
    view: &'v View,
) -> Option<&'v Arc<Entry>> {
    let may = |entry: &Entry| sees(principal, Verb::Subscribe, entry, uri, facts, view);
    view.catalog
        .serving(uri, may)
        .filter(|entry| may(entry) && entry.withheld.is_none())
}

/// Whether the rules let a principal read a resource of an upstream, listed or not.
pub(crate) fn may_read(
    principal: &Principal,
    upstream: &UpstreamId,
    uri: &str,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    let subject = RuleSubject {
        verb: Verb::Subscribe,
        kind: SubjectKind::Resource,
        server: view.server.as_ref(),
        upstream,
        name: uri,
        traits: Traits {
            private: is_private(SubjectKind::Resource, upstream, &[uri], view),
            ..Traits::default()
        },
        memo: None,
    };
    sees_it(principal, subject, facts, view)
}

/// Whether an upstream may have the client's model asked in the course of a principal's call.
pub(super) fn sampling(
    principal: &Principal,
    upstream: &UpstreamId,
    facts: &Facts<'_>,
    view: &View,
) -> Decision {
    let subject = RuleSubject {
        verb: Verb::Sample,
        kind: SubjectKind::Sampling,
        server: view.server.as_ref(),
        upstream,
        name: SAMPLING,
        traits: Traits::default(),
        memo: None,
    };
    view.settings.rules.decide(principal, &subject, facts)
}

/// Whether the rules want a person's word before a principal may be told of a resource's changes.
pub(super) fn is_asked(
    principal: &Principal,
    entry: &Entry,
    uri: &str,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    let decision = decide(principal, Verb::Subscribe, entry, uri, facts, view);
    matches!(decision, Decision::Ask(_))
}

/// The last word, over exactly what will be sent.
pub(super) fn authorize<'a>(
    call: Call<'a>,
    view: &View,
    record: &mut CallRecord,
) -> Result<Decided<'a>, Rejection> {
    let name = subject_name(call.method, &call.params, &call.entry);
    let arguments = validate::known(&call)?;
    let facts = call.asked.facts(arguments.as_deref());
    let decision = decide(
        &call.asked.principal,
        verb(call.method),
        &call.entry,
        name,
        &facts,
        view,
    );
    match decision {
        Decision::Allow(rule) => {
            record.note(|row| (row.decision, row.rule) = ("allow".into(), Some(rule.to_string())));
            Ok(Decided { call, ask: None })
        }
        Decision::Ask(ask) => {
            note_ask(&ask, record);
            Ok(Decided {
                call,
                ask: Some(ask),
            })
        }
        // It was found among what may be seen: that it exists is no news, what its arguments may not be is.
        Decision::Deny(rule) => {
            record.note(|row| (row.decision, row.rule) = ("deny".into(), Some(rule.to_string())));
            Err(Rejection::Denied(call.entry.key.clone()))
        }
        Decision::Unseen => {
            record.note(|row| row.decision = "unseen".into());
            Err(Rejection::Denied(call.entry.key.clone()))
        }
    }
}

/// That the rules want a person's word.
pub(super) fn note_ask(ask: &Ask, record: &mut CallRecord) {
    record.note(|row| (row.decision, row.rule) = ("ask".into(), Some(ask.rule.to_string())));
}
