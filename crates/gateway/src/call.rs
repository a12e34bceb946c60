//! The way of a call, from a decoded request to what it yields. Read [`run`] top to bottom.
//!
//! `accept` and `decode` happened at the door, `authenticate` made the principal; `record` and `reply` are around
//! it in [`Gate::answer`](crate::Gate).

use std::pin::{Pin, pin};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use futures_util::future::Either;
use policy::{
    Decision, Instant, Principal, Schema, Scope, Subject as RuleSubject, SubjectKind, UpstreamId,
};
use serde_json::Value;
use upstream::{Caller, Events};
use wire::method::{Area, Subject};
use wire::{Era, Method, MethodName, Outcome, Params, Reference, Request, Revision, json};

use crate::catalog::{Catalog, Entry};
use crate::connecting::ask_to_connect;
use crate::exchange::{Desk, Exchange};
use crate::limits::{Counters, Permit};
use crate::record::CallRecord;
use crate::session::Session;
use crate::tasks::{self, Task};
use crate::{Rejection, Settings, heartbeat, lists, translate, uri};

/// A request and all that is known about who sent it, in modern form whatever the client speaks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) principal: Arc<Principal>,
    pub(crate) revision: Revision,
    /// Name and version of the client, for the record.
    pub(crate) client: String,
    pub(crate) caller: Caller,
    /// What its headers say of its arguments; `None` where there are no headers.
    pub(crate) mirrored: Option<SaidOfArguments>,
    /// The legacy conversation that it belongs to.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) transport: &'static str,
}

/// `Mcp-Param-…` headers: the name in lower case, and the decoded value; `Err` for what cannot be read.
pub(crate) type SaidOfArguments = Vec<(String, Result<String, ()>)>;

/// What one call sees of the world, the same from start to end.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: Arc<Catalog>,
}

/// What a call yields.
#[derive(Debug)]
pub(crate) enum Yield {
    /// A result, in the form of the client's era.
    Result {
        /// JSON text.
        text: Bytes,
        /// Whether it is a tool's own failure.
        is_tool_error: bool,
    },
    /// An upstream's error object, passed on.
    Error(Bytes),
}

/// A request whose entry is found.
struct Call<'a> {
    asked: &'a Asked,
    method: &'static Method,
    params: &'a Params,
    entry: Arc<Entry>,
    /// Which task, if it is about one.
    task: Option<Task>,
}

/// A call the rules allow. Nothing else can be dispatched, so nothing unchecked can be.
struct Authorized<'a> {
    call: Call<'a>,
}

/// One request in, one yield out; `record` learns on the way what became known.
pub(crate) async fn run(
    asked: &Asked,
    view: &View,
    counters: &Counters,
    desk: &Desk,
    events: Option<&Events>,
    record: &mut CallRecord,
) -> Result<Yield, Rejection> {
    let method = find_method(asked, view)?;
    let params = asked.request.read_params().map_err(Rejection::NotMcp)?;
    within_scope(asked, method, params)?;
    if method.name.starts_with("tasks/") {
        // Who has tasks may still be on its way; a task that is not found is looked for again then.
        let are_offered = view.catalog.tasks || view.catalog.is_settling;
        tasks::may_ask(asked.revision, &asked.caller, are_offered, method.name)?;
    }
    if method.name == wire::method::TASKS_LIST.name {
        return Box::pin(desk.list_tasks(asked, params, view))
            .await
            .map(result);
    }
    if method.subject == Subject::Gate {
        return lists::answer(asked, method, params, view, &desk.seal).map(result);
    }
    if let Some(whole) = kept(asked, method, params, desk, record) {
        count(asked, method, view, counters, record)?;
        return Ok(result(whole));
    }
    let call = resolve(asked, method, params, view, desk, record)?;
    let permit = limit(&call, view, counters, record)?;
    if let Some(told) = validate(&call, record)? {
        return Ok(told);
    }
    let authorized = authorize(call, view, record)?;
    let authorized = consent(authorized);
    let now = record.opened();
    let answer = Box::pin(dispatch(&authorized, permit, desk, events, view, now)).await;
    let answer = answer.or_else(|rejection| ask_to_connect(asked, method, rejection))?;
    let screened = screen(&authorized, answer)?;
    Ok(shorten(screened, &authorized, view, desk, now))
}

fn result(text: Bytes) -> Yield {
    Yield::Result {
        text,
        is_tool_error: false,
    }
}

/// Whether the credential may be used for this at all; what its holder may do is the rules' business.
fn within_scope(asked: &Asked, method: &Method, params: &Params) -> Result<(), Rejection> {
    let held = asked.principal.scopes;
    let needed = match method.area {
        None => return Ok(()),
        Some(Area::Tools) => Scope::Tools,
        Some(Area::Prompts) => Scope::Prompts,
        Some(Area::Resources) => Scope::Resources,
        Some(Area::Reference) if matches!(params.reference, Some(Reference::Prompt(_))) => {
            Scope::Prompts
        }
        Some(Area::Reference) => Scope::Resources,
    };
    if held.contains(needed) {
        return Ok(());
    }
    let needed = needed.into();
    Err(Rejection::Unscoped { needed, held })
}

/// The row of the table, if this era has it; or the one that stands for what the config routes to an upstream.
fn find_method(asked: &Asked, view: &View) -> Result<&'static Method, Rejection> {
    match &asked.request.method {
        MethodName::Known(method) if method.is_in(asked.revision.era()) => Ok(method),
        MethodName::Known(method) => Err(Rejection::UnknownMethod(method.name.to_owned())),
        MethodName::Unknown(name) if view.catalog.methods.get(name).is_some() => {
            Ok(&wire::method::EXTENSION)
        }
        MethodName::Unknown(name) => Err(Rejection::UnknownMethod(name.clone())),
    }
}

/// The whole of a result of which this principal got the beginning, if that is what it reads.
fn kept(
    asked: &Asked,
    method: &'static Method,
    params: &Params,
    desk: &Desk,
    record: &mut CallRecord,
) -> Option<Bytes> {
    if method.name != wire::method::RESOURCES_READ.name {
        return None;
    }
    let (uri, reader) = (params.uri.as_deref()?, &asked.principal.id);
    let whole = desk.results.read(uri, reader, record.opened())?;
    record.note(|row| (row.entry, row.decision) = (Some(uri.to_owned()), "allow".into()));
    let era = asked.revision.era();
    Some(translate::result(era, method, whole))
}

/// Finds the catalog entry, only among what this principal may see.
fn resolve<'a>(
    asked: &'a Asked,
    method: &'static Method,
    params: &'a Params,
    view: &View,
    desk: &Desk,
    record: &mut CallRecord,
) -> Result<Call<'a>, Rejection> {
    let catalog = &view.catalog;
    let mut task = None;
    let need = |member: &Option<String>, name: &str| {
        member
            .clone()
            .ok_or_else(|| Rejection::BadParams(format!("`{name}` is missing")))
    };
    let may = |entry: &Entry| {
        let name = subject_name(method, params, entry);
        may_see(&asked.principal, entry, name, view)
    };
    type Found<'c> = (String, Option<&'c Arc<Entry>>, fn(String) -> Rejection);
    let (key, entry, unknown): Found<'_> = match method.subject {
        Subject::Tool => {
            let name = need(&params.name, "name")?;
            let entry = catalog.tools.pick(&name, may);
            (name, entry, Rejection::UnknownTool)
        }
        Subject::Prompt => {
            let name = need(&params.name, "name")?;
            let entry = catalog.prompts.pick(&name, may);
            (name, entry, Rejection::UnknownPrompt)
        }
        Subject::Resource => {
            let uri = need(&params.uri, "uri")?;
            let entry = catalog.serving(&uri, may);
            (uri, entry, Rejection::UnknownResource)
        }
        Subject::Reference => match &params.reference {
            Some(Reference::Prompt(name)) => (
                name.clone(),
                catalog.prompts.pick(name, may),
                Rejection::UnknownPrompt,
            ),
            Some(Reference::Resource(uri)) => {
                let entry = catalog
                    .templates
                    .pick(uri, may)
                    .or_else(|| catalog.resources.pick(uri, may));
                (uri.clone(), entry, Rejection::UnknownResource)
            }
            None => return Err(Rejection::BadParams("`ref` is missing".to_owned())),
        },
        Subject::Task => {
            let id = need(&params.task_id, "taskId")?;
            task = desk.tasks.open(&id, &asked.principal.id);
            let entry = task
                .as_ref()
                .and_then(|task| catalog.tools.served(&task.upstream, &task.tool));
            // The record names the tool: an id of a task says nothing to its reader.
            let key = entry.map_or_else(|| "(task)".to_owned(), |entry| entry.key.clone());
            (key, entry, |_| Rejection::UnknownTask)
        }
        Subject::Method => {
            let name = asked.request.method.as_str().to_owned();
            let entry = catalog.methods.pick(&name, may);
            (name, entry, Rejection::UnknownMethod)
        }
        Subject::Gate => {
            return Err(Rejection::UnknownMethod(method.name.to_owned()));
        }
    };
    let decided = entry.map(|entry| {
        let name = subject_name(method, params, entry);
        (entry, decide(&asked.principal, entry, name, view))
    });
    let entry = match decided {
        Some((entry, Decision::Allow(_))) => entry,
        refused => {
            let denied = refused.and_then(|(entry, decision)| match decision {
                Decision::Deny(rule) => Some((entry.link.id().to_string(), rule.to_string())),
                Decision::Allow(_) | Decision::Unseen => None,
            });
            record.note(|row| {
                (row.entry, row.decision) = (Some(key.clone()), "unseen".into());
                if let Some((upstream, rule)) = denied {
                    (row.upstream, row.decision) = (Some(upstream), "deny".into());
                    row.rule = Some(rule);
                }
            });
            // Unknown, not forbidden: "forbidden" would confirm to a stranger that it exists.
            return Err(unknown(key));
        }
    };
    record.note(|row| (row.upstream, row.entry) = (Some(entry.link.id().to_string()), Some(key)));
    let entry = Arc::clone(entry);
    Ok(Call {
        asked,
        method,
        params,
        entry,
        task,
    })
}

/// What the rules know the subject as: the upstream's own name, or the very URI that is asked for.
fn subject_name<'a>(method: &Method, params: &'a Params, entry: &'a Entry) -> &'a str {
    match (method.subject, &params.uri) {
        (Subject::Resource, Some(uri)) => uri,
        _ => &entry.item.key,
    }
}

fn decide(principal: &Principal, entry: &Entry, name: &str, view: &View) -> Decision {
    let subject = RuleSubject {
        kind: entry.kind,
        upstream: entry.link.id(),
        name,
    };
    decide_on(principal, subject, view)
}

fn decide_on(principal: &Principal, subject: RuleSubject<'_>, view: &View) -> Decision {
    let name = subject.name;
    let rules = &view.settings.rules;
    let as_written = rules.decide(principal, &subject);
    if subject.kind != SubjectKind::Resource || !name.contains('%') {
        return as_written;
    }
    // `%73ecret` is `secret` to whoever opens it: every reading must be allowed.
    uri::readings(name)
        .iter()
        .map(|name| rules.decide(principal, &RuleSubject { name, ..subject }))
        .find(|decision| !matches!(decision, Decision::Allow(_)))
        .unwrap_or(as_written)
}

/// Whether the rules show an entry to a principal: the same rules that decide calls.
pub(crate) fn may_see(principal: &Principal, entry: &Entry, name: &str, view: &View) -> bool {
    matches!(decide(principal, entry, name, view), Decision::Allow(_))
}

/// Who serves a resource, if the principal may read it.
pub(crate) fn readable<'v>(
    principal: &Principal,
    uri: &str,
    view: &'v View,
) -> Option<&'v Arc<Entry>> {
    let may = |entry: &Entry| may_see(principal, entry, uri, view);
    view.catalog.serving(uri, may).filter(|entry| may(entry))
}

/// Whether the rules let a principal read a resource of an upstream, listed or not.
pub(crate) fn may_read(
    principal: &Principal,
    upstream: &UpstreamId,
    uri: &str,
    view: &View,
) -> bool {
    let subject = RuleSubject {
        kind: SubjectKind::Resource,
        upstream,
        name: uri,
    };
    matches!(decide_on(principal, subject, view), Decision::Allow(_))
}

/// Counts the call; the permit goes back when dropped.
fn limit(
    call: &Call<'_>,
    view: &View,
    counters: &Counters,
    record: &CallRecord,
) -> Result<Permit, Rejection> {
    count(call.asked, call.method, view, counters, record)?;
    counters.enter()
}

fn count(
    asked: &Asked,
    method: &Method,
    view: &View,
    counters: &Counters,
    record: &CallRecord,
) -> Result<(), Rejection> {
    let limits = &view.settings.limits;
    let Some(key) = method.limit else {
        return Ok(());
    };
    let limit = match key {
        wire::method::LimitKey::ToolCall => &limits.tool_call,
        wire::method::LimitKey::ResourceAccess => &limits.resource_access,
    };
    counters.take(&asked.principal.id, key, limit, record.opened())
}

/// Holds the arguments against the tool's schema. From 2025-11-25 on what does not fit is told as the tool's own
/// failure, so that the model reads it and repairs the call.
fn validate(call: &Call<'_>, record: &mut CallRecord) -> Result<Option<Yield>, Rejection> {
    let arguments = call.params.arguments();
    if let Some(arguments) = &arguments {
        let digest = hex(digest(&SHA256, arguments).as_ref());
        record.note(|row| row.arguments_digest = Some(digest));
    }
    // Read strictly even without a schema: what two readers could understand differently is not passed on.
    let value = json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
        .map_err(|error| Rejection::BadParams(format!("`arguments`: {error}")))?;
    if call.method.subject != Subject::Tool {
        return Ok(None);
    }
    if let Some(said) = &call.asked.mirrored
        && call.entry.is_faithful()
    {
        let look_up = |name: &str| {
            let mut found = said
                .iter()
                .filter(|(said, _)| said.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some((_, value)), None) => value.clone().map(Some),
                (Some(_), Some(_)) => Err(()),
            }
        };
        let disagrees = |name: &str| Rejection::HeaderMismatch(format!("Mcp-Param-{name}").into());
        call.entry
            .mirrored()
            .check(&value, look_up)
            .map_err(disagrees)?;
    }
    let schema = call
        .entry
        .input_schema()
        .map_err(|reason| Rejection::BadSchema {
            tool: call.entry.key.clone(),
            reason,
        })?;
    let faults = schema
        .map(|schema| schema.check(&value))
        .unwrap_or_default();
    if faults.is_empty() || schema.is_some_and(|schema| fits_without_nulls(schema, value)) {
        return Ok(None);
    }
    let why = policy::schema::explain(&faults);
    if !call.asked.revision.tells_bad_arguments_to_the_model() {
        return Err(Rejection::BadArguments(why));
    }
    // What is wrong is for the model; the words of the client are not for the record.
    record.note(|row| row.reason = Some("arguments do not fit the schema".to_owned()));
    let text = json::string(&format!(
        "Invalid arguments for `{}`: {why}",
        call.entry.key
    ));
    let text = format!("{{\"content\":[{{\"type\":\"text\",\"text\":{text}}}],\"isError\":true}}");
    let text = translate::result(call.asked.revision.era(), call.method, text.into());
    Ok(Some(Yield::Result {
        text,
        is_tool_error: true,
    }))
}

/// Whether arguments fit once `null` counts as "left out", as many clients write it. Sent on is what was written: what
/// the tool makes of it is its own affair.
fn fits_without_nulls(schema: &Schema, mut arguments: Value) -> bool {
    drop_nulls(&mut arguments) && schema.check(&arguments).is_empty()
}

/// Takes out members that are `null`; whether there was one.
fn drop_nulls(value: &mut Value) -> bool {
    let mut dropped = false;
    match value {
        Value::Object(members) => {
            let before = members.len();
            members.retain(|_, value| !value.is_null());
            dropped = members.len() < before;
            for value in members.values_mut() {
                dropped |= drop_nulls(value);
            }
        }
        Value::Array(items) => {
            for item in items {
                dropped |= drop_nulls(item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    dropped
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

/// The last word, over exactly what will be sent.
fn authorize<'a>(
    call: Call<'a>,
    view: &View,
    record: &mut CallRecord,
) -> Result<Authorized<'a>, Rejection> {
    let name = subject_name(call.method, call.params, &call.entry);
    match decide(&call.asked.principal, &call.entry, name, view) {
        Decision::Allow(rule) => {
            record.note(|row| (row.decision, row.rule) = ("allow".into(), Some(rule.to_string())));
            Ok(Authorized { call })
        }
        Decision::Deny(_) | Decision::Unseen => Err(Rejection::UnknownTool(call.entry.key.clone())),
    }
}

/// Where a person is asked when a rule says so. No rule of this version does.
fn consent(authorized: Authorized<'_>) -> Authorized<'_> {
    authorized
}

/// Has the upstream do it, with a heartbeat for the client. The permit is held until the answer is here.
async fn dispatch(
    authorized: &Authorized<'_>,
    _permit: Permit,
    desk: &Desk,
    events: Option<&Events>,
    view: &View,
    now: Instant,
) -> Result<upstream::Reply, Rejection> {
    let Call {
        asked,
        method,
        params,
        entry,
        task,
    } = &authorized.call;
    let is_named = matches!(method.subject, Subject::Tool | Subject::Prompt)
        || matches!(params.reference, Some(Reference::Prompt(_)));
    if method.name == wire::method::COMPLETE.name && !entry.link.snapshot().listing.completes {
        // Not asked what it never offered; to the client that is "nothing to suggest".
        let nothing =
            Bytes::from_static(br#"{"completion":{"values":[],"total":0,"hasMore":false}}"#);
        return Ok(upstream::Reply {
            outcome: Outcome::Result(nothing),
            era: Era::Legacy,
        });
    }
    if let (Subject::Resource, Some(session), Some(uri)) =
        (method.subject, &asked.session, &params.uri)
        && method.name == wire::method::SUBSCRIBE.name
    {
        Box::pin(session.subscriptions.add(&entry.link, uri)).await?;
        return Ok(upstream::Reply {
            outcome: Outcome::Result(Bytes::from_static(b"{}")),
            era: Era::Legacy,
        });
    }
    let mut request = upstream::Request {
        method,
        extension: (method.subject == Subject::Method).then(|| entry.item.key.clone()),
        params: Params::clone(params),
        name: is_named.then(|| entry.item.key.clone()),
        task_id: task.as_ref().map(|task| task.id.clone()),
        input: None,
        mirrored: mirrored(entry, params),
        caller: asked.caller.clone(),
    };
    if let Some(task) = task {
        task.direct(&mut request.caller);
    }
    let calls = &view.settings.calls;
    let (events, heartbeat) = heartbeat::between(calls.heartbeat, request.progress_token(), events);
    let exchange = Exchange {
        link: &entry.link,
        request,
        principal: &asked.principal.id,
        era: asked.revision.era(),
        key: &entry.key,
        events: events.as_ref(),
        carrier: None,
        now,
    };
    let may_be_task = view.catalog.tasks
        && method.name == wire::method::TOOLS_CALL.name
        && entry.link.snapshot().listing.tasks;
    let abilities = asked.caller.abilities;
    // Tasks are rare: only the way of all other calls is not behind a box.
    let answer: Either<Pin<Box<dyn Future<Output = _> + Send + '_>>, _> = match task {
        Some(task) => Either::Left(Box::pin(desk.follow(exchange, task, abilities))),
        None if may_be_task => Either::Left(Box::pin(desk.call_tool(
            exchange,
            &entry.item,
            asked.revision,
        ))),
        None => Either::Right(desk.exchange(exchange)),
    };
    let answer = pin!(answer);
    let answer = heartbeat::over(heartbeat, answer);
    let Some(waited) = calls.deadline(&asked.client) else {
        return answer.await;
    };
    // Dropped at the deadline, the call is cancelled upstream.
    tokio::time::timeout(waited, answer)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(Rejection::Upstream {
                upstream: entry.link.id().clone(),
                cause: upstream::Error::Silent { waited },
            })
        })
}

/// The headers that repeat arguments, for a modern upstream over HTTP.
fn mirrored(entry: &Entry, params: &Params) -> Vec<(String, String)> {
    let mirrored = entry.mirrored();
    if mirrored.is_empty() {
        return Vec::new();
    }
    let arguments = params.arguments();
    json::strict_value(arguments.as_deref().unwrap_or(b"{}"))
        .map(|arguments| mirrored.values(&arguments))
        .unwrap_or_default()
}

/// Keeps what is too long to be told at once, if the client's revision has links to it.
fn shorten(
    told: Yield,
    authorized: &Authorized<'_>,
    view: &View,
    desk: &Desk,
    now: Instant,
) -> Yield {
    let call = &authorized.call;
    let has_links = call.asked.revision >= Revision::V2025_06_18;
    match (told, view.settings.calls.result_max) {
        (
            Yield::Result {
                text,
                is_tool_error,
            },
            Some(max),
        ) if has_links && call.method.subject == Subject::Tool => {
            let reader = &call.asked.principal.id;
            let text = desk
                .results
                .shortened(text, max, reader, &call.entry.key, now);
            Yield::Result {
                text,
                is_tool_error,
            }
        }
        (told, _) => told,
    }
}

/// What came back, made fit for the client: its shape is checked and put into the client's era.
fn screen(authorized: &Authorized<'_>, reply: upstream::Reply) -> Result<Yield, Rejection> {
    let Call {
        asked,
        method,
        entry,
        ..
    } = &authorized.call;
    let era = asked.revision.era();
    let garbage = |what: String| Rejection::Upstream {
        upstream: entry.link.id().clone(),
        cause: upstream::Error::Protocol(what),
    };
    let text = match reply.outcome {
        Outcome::Result(text) => text,
        Outcome::Error(error) => {
            json::members(&error).map_err(|error| garbage(error.to_string()))?;
            return Ok(Yield::Error(translate::error(
                asked.revision,
                method,
                error,
            )));
        }
    };
    let members = json::members(&text).map_err(|error| garbage(error.to_string()))?;
    let is_tool_error = members
        .iter()
        .any(|(key, raw)| key == "isError" && raw.get() == "true");
    let text = translate::result(era, method, text.clone());
    Ok(Yield::Result {
        text,
        is_tool_error,
    })
}
