//! A person's word, where the rules want one, before anything is sent.
//!
//! | who may answer | client | how it is asked |
//! |---|---|---|
//! | the requester | modern, shows forms | *input required*: the retry brings the answer |
//! | the requester | legacy, shows forms | a request of ours on its stream; the call waits |
//! | anybody else | hears of progress | a request that waits in the console; the call waits a while |
//! | anybody else | any | the same, and at once an answer that names the request |
//!
//! What was agreed to is `consents`; this decides when a call is asked about, and asks.

use std::borrow::Cow;
use std::time::Duration;

use policy::{Ask, Decision, Facts, Principal, RuleId, SubjectKind, Verb};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::RequestState;
use tokio::time::{Instant, sleep, timeout};
use upstream::{Event, Events, Notice};
use wire::method::{self, Subject, notification};
use wire::trace::{self, Context};
use wire::{Era, Outcome, Params, json};

use super::authorize::{SAMPLING, is_asked, note_ask, sampling, subject_name, verb};
use super::{Authorized, Call, Decided, Means, View, Yield, flow};
use crate::catalog::Entry;
use crate::consents::{
    Agreed, Asking, Deed, Question, Said, Unagreed, asks_requester, form, inexact_number, said,
    unavailable,
};
use crate::exchange::{INPUT_REQUIRED, input_request, input_required};
use crate::record::CallRecord;
use crate::{Rejection, translate};

/// What the state that a client carries is for.
const PURPOSE: &str = "consent";
/// The question's key among the input that is required.
const KEY: &str = "consent";
/// How often a client whose call waits for a person is told that it does.
const PULSE: Duration = Duration::from_secs(5);
/// Callers by whose hand a person calls: there is nobody else to ask.
const BY_HAND: &str = "local";
/// What is not part of the question: what belongs to a round of input, whose state binds it to the call.
const AROUND: [&str; 2] = ["requestState", "inputResponses"];

/// What came of asking.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on the way of nearly every call"
)]
pub(super) enum Consented<'a> {
    /// It may be sent.
    Yes(Granted<'a>),
    /// The client gets this in the place of an answer: somebody is to be asked first.
    Told(Yield),
}

/// A call that may be sent once there is a place for it. What it uses up of people's words it uses up by leaving.
pub(super) struct Granted<'a> {
    authorized: Authorized<'a>,
    /// By which its upstream may have the client's model asked, where a person had to say so.
    sampling: Option<Agreed>,
}

impl<'a> Granted<'a> {
    pub(super) fn call(&self) -> &Call<'a> {
        &self.authorized.call
    }

    /// The call leaves now, with what people agreed to, which is used up where it was for one call.
    pub(super) async fn leave(self, means: &Means<'_>) -> Result<Authorized<'a>, Rejection> {
        let Self {
            mut authorized,
            sampling,
        } = self;
        if let Some(agreed) = &authorized.agreed
            && !spend(agreed, means).await?
        {
            // The same call was made meanwhile with the only yes that there was.
            return Err(Rejection::Unconsented(Unagreed::Unanswered));
        }
        if let Some(agreed) = sampling {
            authorized.samples = spend(&agreed, means).await?;
        }
        Ok(authorized)
    }
}

async fn spend(agreed: &Agreed, means: &Means<'_>) -> Result<bool, Rejection> {
    let spent = Box::pin(means.consents.spend(agreed)).await;
    spent.map_err(|error| unavailable(&error))
}

/// What stands in the state of a question.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    /// The id of the request.
    id: String,
    /// Which question it is.
    fingerprint: String,
}

/// The state that a client brought back, and the answer beside it.
type Brought = (State, Option<Vec<u8>>);

/// Has a person asked when a rule says so.
pub(super) async fn consent<'a>(
    decided: Decided<'a>,
    view: &View,
    means: &Means<'_>,
    events: Option<&Events>,
    record: &mut CallRecord,
) -> Result<Consented<'a>, Rejection> {
    let Decided { mut call, ask } = decided;
    let state = take_state(&mut call, means)?;
    let Some(ask) = ask.or_else(|| own_rule(&call, view)) else {
        return granted(call, None, view, means).await;
    };
    note_ask(&ask, record);
    leave_out(&mut call)?;
    match verb(call.method) {
        Verb::Use | Verb::Subscribe => {}
        Verb::Task => {
            let task = call.params.task_id.as_deref();
            let origin = task.and_then(|task| means.consents.origin(task));
            // What was seen since the call is no part of what was agreed to.
            if let Some(agreed) = origin.filter(|_| !flow::is_about(&ask)) {
                // Whoever agreed to the call agreed to what it came to.
                record.note(|row| row.consent = Some(agreed.consent.clone()));
                return Box::pin(granted(call, Some(agreed), view, means)).await;
            }
        }
        // Nobody is asked what a word could be completed to.
        Verb::Complete | Verb::Sample | Verb::Administer => {
            return Err(Rejection::Unconsented(Unagreed::Unasked));
        }
    }
    let around = Around {
        view,
        means,
        events,
    };
    Box::pin(agree(call, &ask, state, around, record)).await
}

/// The call may be sent. Whether its upstream may have the client's model asked meanwhile is decided here as well.
async fn granted<'a>(
    call: Call<'a>,
    agreed: Option<Agreed>,
    view: &View,
    means: &Means<'_>,
) -> Result<Consented<'a>, Rejection> {
    let asked = call.asked;
    let (mut samples, mut by) = (false, None);
    if asked.caller.abilities.sampling {
        let (upstream, facts) = (call.entry.link.id(), asked.facts(None));
        match sampling(&asked.principal, upstream, &facts, view) {
            Decision::Allow(_) => samples = true,
            Decision::Deny(_) | Decision::Unseen => {}
            Decision::Ask(ask) => by = Box::pin(may_sample(&call, &ask, view, means)).await?,
        }
    }
    Ok(Consented::Yes(Granted {
        authorized: Authorized {
            call,
            agreed,
            samples,
        },
        sampling: by,
    }))
}

/// By which word this upstream may have this client's model asked. If there is none, somebody is asked, and the call goes
/// on without.
async fn may_sample(
    call: &Call<'_>,
    ask: &Ask,
    view: &View,
    means: &Means<'_>,
) -> Result<Option<Agreed>, Rejection> {
    let asked = call.asked;
    let deed = Deed {
        principal: &asked.principal,
        server: view.server.as_ref(),
        method: method::ask::SAMPLING,
        upstream: call.entry.link.id().as_str(),
        entry: SAMPLING,
        definition: SAMPLING,
        sent: &Value::Null,
    };
    let question = Question::new(deed, ask, &asked.client, None);
    let consents = means.consents;
    let found = consents.find(&question).await;
    if let Some(agreed) = found.map_err(|error| unavailable(&error))? {
        return Ok(Some(agreed));
    }
    let settings = &view.settings.consent;
    let asking = consents.ask(&question, settings).await;
    if let Asking::Open { id, is_new: true } = asking.map_err(|error| unavailable(&error))? {
        consents.announce(&id, settings, means.console);
    }
    Ok(None)
}

/// Whether a person has to agree before a principal is told of a resource's changes.
pub(crate) fn is_asked_about(
    principal: &Principal,
    entry: &Entry,
    uri: &str,
    facts: &Facts<'_>,
    view: &View,
) -> bool {
    is_private(entry, uri, view) || is_asked(principal, entry, uri, facts, view)
}

/// Whether the config marks a resource as private, in any reading of its URI.
fn is_private(entry: &Entry, uri: &str, view: &View) -> bool {
    let readings = crate::uri::readings(uri);
    let mut names = readings
        .iter()
        .map(String::as_str)
        .chain([uri, &entry.item.key]);
    let (upstream, private) = (entry.link.id(), &view.settings.consent.private);
    names.any(|name| private.iter().any(|one| one.matches(upstream, name)))
}

/// The gate's own rules: what upstreams call destructive, and private data.
fn own_rule(call: &Call<'_>, view: &View) -> Option<Ask> {
    let entry = &call.entry;
    let does_it = matches!(verb(call.method), Verb::Use | Verb::Subscribe);
    if call.asked.transport == BY_HAND || !does_it {
        return None;
    }
    let rule = match entry.kind {
        SubjectKind::Tool => {
            let traits = &entry.traits;
            let destroys = traits.destructive == Some(true) && traits.read_only != Some(true);
            (destroys && view.asks_destructive()).then_some("consent: destructive")
        }
        SubjectKind::Resource => {
            let uri = subject_name(call.method, &call.params, entry);
            is_private(entry, uri, view).then_some("consent: private")
        }
        SubjectKind::Prompt | SubjectKind::Method | SubjectKind::Sampling | SubjectKind::Admin => {
            None
        }
    };
    rule.map(|rule| Ask {
        rule: RuleId::new(rule),
        terms: std::sync::Arc::default(),
    })
}

/// What asking works with.
#[derive(Clone, Copy)]
struct Around<'a> {
    view: &'a View,
    means: &'a Means<'a>,
    events: Option<&'a Events>,
}

async fn agree<'a>(
    call: Call<'a>,
    ask: &Ask,
    state: Option<Brought>,
    around: Around<'_>,
    record: &mut CallRecord,
) -> Result<Consented<'a>, Rejection> {
    let Around { view, means, .. } = around;
    let question = question(&call, ask, view)?;
    let agreed = match state {
        Some((state, answer)) => {
            record.note(|row| row.consent = Some(state.id.clone()));
            match answered(&question, state, answer, means).await? {
                Some(agreed) => agreed,
                None => return ask_modern(call, &question, view, means, record).await,
            }
        }
        None => {
            if let Some(agreed) = already(&call, &question, means).await? {
                Ok(agreed)
            } else if call.params.request_state.is_some() {
                // It goes on with something, but with nothing that anybody agreed to.
                return Err(Rejection::BadState);
            } else if is_modern_form(&call, ask) {
                return ask_modern(call, &question, view, means, record).await;
            } else {
                ask_elsewhere(&call, ask, &question, around, record).await?
            }
        }
    };
    match agreed {
        Ok(agreed) => {
            record.note(|row| row.consent = Some(agreed.consent.clone()));
            granted(call, Some(agreed), view, means).await
        }
        Err(why) => told(&call, why, means, record),
    }
}

/// What was agreed to before: for good, or by the call that this one goes on with.
async fn already(
    call: &Call<'_>,
    question: &Question,
    means: &Means<'_>,
) -> Result<Option<Agreed>, Rejection> {
    if let Some(state) = &call.params.request_state
        && let Some(agreed) = means.consents.continued(state, &question.fingerprint())
    {
        return Ok(Some(agreed));
    }
    means
        .consents
        .find(question)
        .await
        .map_err(|error| unavailable(&error))
}

/// Whether its modern client can be handed the question.
fn is_modern_form(call: &Call<'_>, ask: &Ask) -> bool {
    let asked = call.asked;
    asked.revision.era() == Era::Modern
        && asked.caller.abilities.form
        && asks_requester(&ask.terms, &asked.principal)
        && matches!(
            call.method.subject,
            Subject::Tool | Subject::Prompt | Subject::Resource
        )
}

/// Takes a state of ours, and the answer that came with it, out of what will be sent.
fn take_state(call: &mut Call<'_>, means: &Means<'_>) -> Result<Option<Brought>, Rejection> {
    let Some(state) = &call.params.request_state else {
        return Ok(None);
    };
    let Some(content) = means.desk.seal.open(PURPOSE, state) else {
        return Ok(None);
    };
    let state: State = serde_json::from_slice(&content).map_err(|_foreign| Rejection::BadState)?;
    let given = call.params.input_responses();
    let answer = match &given {
        Some(given) => json::member(given, KEY).ok().flatten(),
        None => None,
    };
    let answer = answer.map(|answer| answer.get().as_bytes().to_vec());
    let text = json::without(call.params.text(), "requestState");
    let text = json::without(&text, "inputResponses");
    let params = Params::read(text.into()).map_err(Rejection::BadParams)?;
    call.params = Cow::Owned(params);
    Ok(Some((state, answer)))
}

/// Takes out of what will be sent what is in no question: answers that go with no state, and traces.
fn leave_out(call: &mut Call<'_>) -> Result<(), Rejection> {
    let params = &call.params;
    let mut text = params.text().to_vec();
    let has_rounds = verb(call.method) == Verb::Task
        || (call.asked.revision.era() == Era::Modern && params.request_state.is_some());
    if !has_rounds {
        for name in AROUND {
            text = json::without(&text, name);
        }
    }
    let bad = |error: serde_json::Error| Rejection::BadParams(error.to_string());
    if let Some(meta) = json::member(params.text(), "_meta").map_err(bad)? {
        let mut kept = meta.get().as_bytes().to_vec();
        // They differ each time, and nobody could agree to one: what is sent of them is our own.
        for name in trace::NAMES {
            kept = json::without(&kept, name);
        }
        if kept != meta.get().as_bytes() {
            let kept = String::from_utf8(kept).unwrap_or_else(|_never| "{}".to_owned());
            let others = json::without(&text, "_meta");
            text = json::with_members(&others, &format!("\"_meta\":{kept}"));
        }
    }
    if text != *params.text() {
        let params = Params::read(text.into()).map_err(Rejection::BadParams)?;
        call.params = Cow::Owned(params);
    }
    Ok(())
}

/// The question about a call: all that will be sent, but for what the gate itself writes anew.
fn question(call: &Call<'_>, ask: &Ask, view: &View) -> Result<Question, Rejection> {
    let asked = call.asked;
    let unfit = |why: String| Rejection::BadParams(why);
    let mut text = json::without(call.params.text(), "_meta");
    if verb(call.method) != Verb::Task {
        for name in AROUND {
            text = json::without(&text, name);
        }
    }
    let meta = call.params.meta().map_err(unfit)?;
    if let Some(meta) = meta.rewrite(None, &[], &Context::default()) {
        text = json::with_members(&text, &format!("\"_meta\":{meta}"));
    }
    let sent: Value = json::strict_value(&text).map_err(|error| unfit(error.to_string()))?;
    if let Some(number) = inexact_number(&String::from_utf8_lossy(&text)) {
        let number: String = number.chars().take(64).collect();
        return Err(unfit(format!(
            "`{number}` has more digits than readers agree on, and this call is one that a person is asked about"
        )));
    }
    let deed = Deed {
        principal: &asked.principal,
        server: view.server.as_ref(),
        method: call.method_name(),
        upstream: call.entry.link.id().as_str(),
        entry: subject_name(call.method, &call.params, &call.entry),
        definition: &call.entry.definition,
        sent: &sent,
    };
    let conversation = asked.session.as_ref().and_then(|one| one.conversation());
    Ok(Question::new(deed, ask, &asked.client, conversation))
}

impl Call<'_> {
    /// The method as it is written on the wire.
    fn method_name(&self) -> &str {
        self.asked.request.method.as_str()
    }
}

/// Takes a modern client's answer to our question; `None` if it brought none.
async fn answered(
    question: &Question,
    state: State,
    answer: Option<Vec<u8>>,
    means: &Means<'_>,
) -> Result<Option<Result<Agreed, Unagreed>>, Rejection> {
    if state.fingerprint != question.fingerprint() {
        return Err(Rejection::BadState);
    }
    let Some(answer) = answer else {
        return Ok(None);
    };
    let said = said(question, &answer)
        .ok_or_else(|| Rejection::BadParams(format!("`inputResponses.{KEY}` is no answer")))?;
    let consents = means.consents;
    let settled = consents.settle(question, &state.id, said).await;
    match settled.map_err(|error| unavailable(&error))? {
        Some(settled) => Ok(Some(settled)),
        // Used, over, or answered by somebody else, whose word then counts.
        None => {
            let found = consents
                .find(question)
                .await
                .map_err(|error| unavailable(&error))?;
            found
                .map(|agreed| Some(Ok(agreed)))
                .ok_or(Rejection::BadState)
        }
    }
}

/// Hands a modern client the question.
async fn ask_modern<'a>(
    call: Call<'a>,
    question: &Question,
    view: &View,
    means: &Means<'_>,
    record: &mut CallRecord,
) -> Result<Consented<'a>, Rejection> {
    let asking = means.consents.ask(question, &view.settings.consent).await;
    let id = match asking.map_err(|error| unavailable(&error))? {
        Asking::Open { id, .. } => id,
        Asking::Refused(id) => return told(&call, Unagreed::Refused(id), means, record),
        Asking::TooMany => return told(&call, Unagreed::TooMany, means, record),
    };
    note_waiting(&id, record);
    let state = State {
        id,
        fingerprint: question.fingerprint(),
    };
    let state = serde_json::to_vec(&state)
        .ok()
        .and_then(|content| means.desk.seal.close(PURPOSE, &content))
        .ok_or(Rejection::Busy)?;
    let form = input_request(method::ask::ELICITATION, form(question).as_bytes());
    let reply = input_required(&json::object([(KEY, form)]), Some(&state));
    let (Outcome::Result(text) | Outcome::Error(text)) = reply.outcome;
    Ok(Consented::Told(super::result(text)))
}

/// Has somebody asked who does not answer with the next request.
async fn ask_elsewhere(
    call: &Call<'_>,
    ask: &Ask,
    question: &Question,
    around: Around<'_>,
    record: &mut CallRecord,
) -> Result<Result<Agreed, Unagreed>, Rejection> {
    let Around {
        view,
        means,
        events,
    } = around;
    let settings = &view.settings.consent;
    let asking = means.consents.ask(question, settings).await;
    let (id, is_new) = match asking.map_err(|error| unavailable(&error))? {
        Asking::Open { id, is_new } => (id, is_new),
        Asking::Refused(id) => return Ok(Err(Unagreed::Refused(id))),
        Asking::TooMany => return Ok(Err(Unagreed::TooMany)),
    };
    note_waiting(&id, record);
    let asked = call.asked;
    let is_shown_forms = asked.revision.era() == Era::Legacy
        && asked.caller.abilities.form
        && asks_requester(&ask.terms, &asked.principal);
    // A call that waits for its client's person waits like any other.
    let place = is_shown_forms.then(|| means.consents.wait(&asked.principal.id));
    match (events, place.flatten()) {
        (Some(events), Some(_place)) => {
            ask_legacy(question, &id, settings.expires, means, events).await
        }
        (events, _) => {
            if is_new {
                means.consents.announce(&id, settings, means.console);
            }
            let token = call.params.meta().ok();
            let token = token.as_ref().and_then(wire::Meta::progress_token);
            let hears = events.zip(token);
            wait(call, question, &id, settings.wait, means, hears).await
        }
    }
}

/// Asks a legacy client on its own stream; whoever answers first, there or elsewhere, has said it.
async fn ask_legacy(
    question: &Question,
    id: &str,
    at_most: Duration,
    means: &Means<'_>,
    events: &Events,
) -> Result<Result<Agreed, Unagreed>, Rejection> {
    let consents = means.consents;
    let params = form(question).into();
    let (ask, answer) = upstream::Ask::new(method::ask::ELICITATION, params);
    if events.send(Event::Asked(ask)).await.is_err() {
        return Ok(Err(Unagreed::Waiting(id.to_owned())));
    }
    let elsewhere = timeout(at_most, consents.answer_to(id));
    let said = tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(Outcome::Result(result)) => said(question, &result).unwrap_or(Said::Nothing),
            // It cannot show forms after all, or the person would not look.
            Ok(Outcome::Error(_)) | Err(_) => Said::Nothing,
        },
        state = elsewhere => {
            let state = state.map_err(|_elapsed| Rejection::Unconsented(Unagreed::Unanswered))?;
            return decided(question, id, state.map_err(|error| unavailable(&error))?, means).await;
        }
    };
    let settled = consents.settle(question, id, said).await;
    match settled.map_err(|error| unavailable(&error))? {
        Some(settled) => Ok(settled),
        None => {
            let state = consents.state(id).map_err(|error| unavailable(&error))?;
            decided(question, id, state, means).await
        }
    }
}

/// Waits a while for somebody elsewhere, if the client hears meanwhile that it waits.
async fn wait(
    call: &Call<'_>,
    question: &Question,
    id: &str,
    at_most: Duration,
    means: &Means<'_>,
    hears: Option<(&Events, &str)>,
) -> Result<Result<Agreed, Unagreed>, Rejection> {
    let consents = means.consents;
    let waits = || Ok(Err(Unagreed::Waiting(id.to_owned())));
    let Some((events, token)) = hears.filter(|_| !at_most.is_zero()) else {
        return waits();
    };
    let Some(_place) = consents.wait(&call.asked.principal.id) else {
        return waits();
    };
    let until = Instant::now() + at_most;
    let mut answer = std::pin::pin!(consents.answer_to(id));
    let mut told = 0_u32;
    loop {
        tell(events, token, told);
        told += 1;
        let pause = PULSE.min(until.saturating_duration_since(Instant::now()));
        tokio::select! {
            state = &mut answer => {
                return decided(question, id, state.map_err(|error| unavailable(&error))?, means).await;
            }
            () = sleep(pause) => if Instant::now() >= until {
                return waits();
            }
        }
    }
}

/// Tells a client that its call waits. It grows by billionths: whatever an upstream begins with is more.
fn tell(events: &Events, token: &str, told: u32) {
    let params = json::object([
        ("progressToken", token),
        ("progress", &format!("0.{:09}", told + 1)),
        ("message", "\"Waiting for a person to agree\""),
    ]);
    let notice = Notice::new(notification::PROGRESS, params.into());
    // A client that has so much left to read knows that the call is alive.
    drop(events.try_send(Event::Told(notice)));
}

/// What the answer that somebody gave elsewhere means for the call.
async fn decided(
    question: &Question,
    id: &str,
    state: Option<RequestState>,
    means: &Means<'_>,
) -> Result<Result<Agreed, Unagreed>, Rejection> {
    Ok(match state {
        // Another call may have used it up.
        Some(RequestState::Approved) => {
            let found = means
                .consents
                .find(question)
                .await
                .map_err(|error| unavailable(&error))?;
            found.ok_or(Unagreed::Unanswered)
        }
        Some(RequestState::Denied) => Err(Unagreed::Refused(id.to_owned())),
        Some(RequestState::Open) => Err(Unagreed::Waiting(id.to_owned())),
        Some(RequestState::Withdrawn) | None => Err(Unagreed::Unanswered),
    })
}

fn note_waiting(id: &str, record: &mut CallRecord) {
    record.note(|row| {
        row.consent = Some(id.to_owned());
        row.reason = Some("a person is asked".to_owned());
    });
}

/// What the client gets in the place of an answer: what a model reads where it can, an error elsewhere.
fn told<'a>(
    call: &Call<'_>,
    why: Unagreed,
    means: &Means<'_>,
    record: &mut CallRecord,
) -> Result<Consented<'a>, Rejection> {
    if call.method.subject != Subject::Tool {
        return Err(Rejection::Unconsented(why));
    }
    record.note(|row| {
        if let Unagreed::Waiting(id) | Unagreed::Refused(id) = &why {
            row.consent = Some(id.clone());
        }
        row.reason = Some(why.to_string());
    });
    let key = &call.entry.key;
    let text = match &why {
        Unagreed::Waiting(id) => format!(
            "`{key}` was not called: a person has to agree first. Request {id} waits for an answer at {}/console/consents, \
             or for `portcullis consent approve {id}` on the gate's machine. Once it is approved, make the same call again.",
            means.console
        ),
        Unagreed::Refused(_) => format!("`{key}` was not called: a person said no to this call."),
        Unagreed::Unanswered => format!("`{key}` was not called: nobody agreed to this call."),
        Unagreed::TooMany => format!(
            "`{key}` was not called: a person would have to agree, and too much was asked lately. Try again later."
        ),
        Unagreed::Unasked | Unagreed::Unavailable => return Err(Rejection::Unconsented(why)),
    };
    let text = json::string(&text);
    let text = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
    let text = translate::result(call.asked.revision.era(), call.method, text.into());
    Ok(Consented::Told(Yield::Result {
        text,
        is_tool_error: true,
    }))
}

/// Keeps in mind that a call goes on which was agreed to: its upstream wants to know something first, and the retry is
/// no other call.
pub(super) fn note_next(
    authorized: &Authorized<'_>,
    answer: &Result<upstream::Reply, Rejection>,
    means: &Means<'_>,
) {
    let (Some(agreed), Ok(reply)) = (&authorized.agreed, answer) else {
        return;
    };
    let Outcome::Result(text) = &reply.outcome else {
        return;
    };
    let is_required = json::text(text, "resultType").as_deref() == Some(INPUT_REQUIRED);
    if let Some(state) = json::text(text, "requestState").filter(|_| is_required) {
        means.consents.continue_with(&state, agreed);
    }
    if authorized.call.method.subject == Subject::Tool {
        // In `task` or, where it is the result itself, beside the rest.
        let task = json::member(text, "task").ok().flatten();
        let task = task.and_then(|task| json::text(task.get().as_bytes(), "taskId"));
        let is_task = || json::text(text, "resultType").as_deref() == Some("task");
        let task = task.or_else(|| json::text(text, "taskId").filter(|_| is_task()));
        if let Some(task) = task {
            means.consents.came_to(&task, agreed);
        }
    }
}
