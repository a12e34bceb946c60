//! What exactly a person is asked: whose call of what, with which arguments, by which definition, under which rule.
//!
//! A yes is bound to all of it. Two texts that mean the same are the same question (RFC 8785); numbers that readers
//! could understand differently are no question at all.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use policy::{Ask, Principal, Remember, ServerName, Terms, canonical};
use serde_json::Value;
use store::audit::text::hex;
use store::{ConsentRequestRow, ConsentSubject, RequestState};

use super::shown::{is_cut, shown};
use super::{asks_requester, longest};
use crate::settings::ConsentSettings;

/// One question, before anybody is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) subject: ConsentSubject,
    /// Over what would be sent.
    pub(crate) digest: String,
    /// The same for people.
    pub(crate) shown: String,
    /// The program that wants it done, in its own words.
    pub(crate) client: String,
    /// The conversation that it is wanted in, if there is one.
    pub(crate) conversation: Option<String>,
    pub(crate) terms: Arc<Terms>,
    /// Whether the terms let the requester answer.
    pub(crate) asks_requester: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deed<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) server: Option<&'a ServerName>,
    /// A method of the protocol, or of the admin API.
    pub(crate) method: &'a str,
    pub(crate) upstream: &'a str,
    /// What the rules know it as.
    pub(crate) entry: &'a str,
    /// The digest of its definition as its upstream wrote it.
    pub(crate) definition: &'a str,
    /// What would be sent.
    pub(crate) sent: &'a Value,
}

impl Question {
    pub(crate) fn new(
        deed: Deed<'_>,
        ask: &Ask,
        client: &str,
        conversation: Option<String>,
    ) -> Self {
        let shown = shown(deed.sent);
        let mut terms = Arc::clone(&ask.terms);
        if is_cut(&shown) && terms.longest != Remember::Once {
            // What nobody saw is not agreed to for long.
            Arc::make_mut(&mut terms).longest = Remember::Once;
        }
        Self {
            subject: ConsentSubject {
                principal: deed.principal.id.to_string(),
                server: deed.server.map(ToString::to_string).unwrap_or_default(),
                method: deed.method.to_owned(),
                upstream: deed.upstream.to_owned(),
                entry: deed.entry.to_owned(),
                definition: deed.definition.to_owned(),
                rule: ask.rule.to_string(),
            },
            digest: canonical::digest(deed.sent),
            shown,
            client: client.to_owned(),
            conversation,
            asks_requester: asks_requester(&terms, deed.principal),
            terms,
        }
    }

    /// What is the same in this question and in no other.
    pub(crate) fn fingerprint(&self) -> String {
        let ConsentSubject {
            principal,
            server,
            method,
            upstream,
            entry,
            definition,
            rule,
        } = &self.subject;
        let mut context = Context::new(&SHA256);
        for part in [
            principal,
            server,
            method,
            upstream,
            entry,
            definition,
            rule,
            &self.digest,
        ] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        hex(context.finish().as_ref())
    }

    /// As it is kept.
    pub(super) fn row(
        &self,
        id: String,
        settings: &ConsentSettings,
        now: std::time::SystemTime,
    ) -> ConsentRequestRow {
        ConsentRequestRow {
            id,
            subject: self.subject.clone(),
            digest: self.digest.clone(),
            shown: self.shown.clone(),
            client: self.client.clone(),
            conversation: self.conversation.clone(),
            longest: longest(self.terms.longest),
            approvers: self
                .terms
                .approvers
                .iter()
                .map(ToString::to_string)
                .collect(),
            other_person: self.terms.other_person,
            created_at: now,
            expires_at: now + settings.expires,
            state: RequestState::Open,
            decided_at: None,
            decided_by: None,
        }
    }
}

/// A number in JSON text that readers could take for different ones: more digits than a double or a 64-bit integer
/// holds. Agreeing to one would be agreeing to its neighbours.
pub(crate) fn inexact_number(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = rest.get(at..)?;
        if let Some(string) = rest.strip_prefix('"') {
            rest = after_string(string);
            continue;
        }
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        if !is_exact(number) {
            return Some(number);
        }
        rest = after;
    }
    None
}

/// What follows a string's closing quote; the opening one is gone already.
fn after_string(text: &str) -> &str {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return text.get(at + 1..).unwrap_or_default(),
            _ => {}
        }
    }
    ""
}

fn is_exact(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let Ok(double) = number.parse::<f64>() else {
        return false;
    };
    // Written out as short as it can be read back, a double has the digits that it stands for.
    double.is_finite()
        && decimal(number).is_some_and(|it| Some(it) == decimal(&format!("{double:e}")))
}

/// Digits without zeros around them, and the power of ten of the first: `0.50` and `5e-1` are the same.
fn decimal(number: &str) -> Option<(String, i64)> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return Some((String::new(), 0));
    }
    let power = exponent + i64::try_from(whole.len()).ok()? - zeros;
    Some((significant.to_owned(), power))
}
