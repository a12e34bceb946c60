//! The way of a call, from a decoded request to what it yields. Read [`run`] top to bottom; each stage is a file.
//!
//! `accept` and `decode` happened at the door, `authenticate` made the principal; `record` and `reply` are around
//! it in [`Gate::answer`](crate::Gate).

mod authorize;
mod consent;
mod dispatch;
mod flow;
mod hidden;
mod limit;
mod resolve;
mod screen;
mod validate;

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use observe::Stage;
use parking_lot::Mutex;
use policy::screen::{Found, Screen};
use policy::{Ask, Decision, Facts, Principal, ServerName, Verb};
use serde_json::{Map, Value};
use upstream::{Caller, Events};
use wire::method::Subject;
use wire::{Method, Params, Request, Revision, trace};

use crate::catalog::{Catalog, Entry};
use crate::connecting::ask_to_connect;
use crate::consents::{Agreed, Consents};
use crate::exchange::Desk;
use crate::flows::Flows;
use crate::limits::Counters;
use crate::record::CallRecord;
use crate::schemas::Schemas;
use crate::search::{self, Meant};
use crate::session::Session;
use crate::settings::{
    CatalogSettings, FlowSettings, SearchSettings, ValidationSettings, VirtualServer,
};
use crate::tasks::{self, Task};
use crate::{Rejection, Settings, lists};
use consent::Consented;

pub(crate) use authorize::{may_read, may_see, readable};
pub(crate) use consent::is_asked_about;

/// A request and all that is known about who sent it, in modern form whatever the client speaks.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) principal: Arc<Principal>,
    /// Where the request comes from.
    pub(crate) address: Option<IpAddr>,
    pub(crate) revision: Revision,
    /// Name and version of the client, for the record.
    pub(crate) client: String,
    pub(crate) caller: Caller,
    /// What its headers say of its arguments; `None` where there are no headers.
    pub(crate) mirrored: Option<SaidOfArguments>,
    /// What its HTTP request says of traces.
    pub(crate) carrier: trace::Context,
    /// The legacy conversation that it belongs to.
    pub(crate) session: Option<Arc<Session>>,
    pub(crate) transport: &'static str,
    /// The virtual server that is asked; `None`: the whole catalog.
    pub(crate) server: Option<ServerName>,
    /// When, by the wall clock.
    pub(crate) at: SystemTime,
}

impl Asked {
    /// What rules may ask about besides who and what.
    pub(crate) fn facts<'a>(&'a self, arguments: Option<&'a Value>) -> Facts<'a> {
        Facts {
            arguments,
            client: &self.client,
            now: self.at,
        }
    }
}

/// `Mcp-Param-…` headers: the name in lower case, and the decoded value; `Err` for what cannot be read.
pub(crate) type SaidOfArguments = Vec<(String, Result<String, ()>)>;

/// What one call sees of the world, the same from start to end.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: Arc<Catalog>,
    /// The virtual server whose catalog this is; `None`: it is the whole.
    pub(crate) server: Option<ServerName>,
    /// What the config says of that server.
    pub(crate) slice: Option<Arc<VirtualServer>>,
    /// Whether anything is asked about, here or by another way in, because of what somebody has seen.
    pub(crate) has_flows: bool,
}

impl View {
    /// The virtual server whose view this is.
    pub(crate) fn virtual_server(&self) -> Option<&VirtualServer> {
        self.slice.as_deref()
    }

    /// How names and schemas are written here.
    pub(crate) fn naming(&self) -> &CatalogSettings {
        self.virtual_server()
            .map_or(&self.settings.catalog, |server| &server.catalog)
    }

    /// What is looked for in what passes here.
    pub(crate) fn screen(&self) -> &Screen {
        &self.naming().screen
    }

    /// Whether there is tool search here.
    pub(crate) fn search(&self) -> SearchSettings {
        self.virtual_server()
            .map_or(self.settings.search, |server| server.search)
    }

    /// How arguments and results are checked here.
    pub(crate) fn validation(&self) -> &ValidationSettings {
        self.virtual_server()
            .map_or(&self.settings.validation, |server| &server.validation)
    }

    /// Which data may flow where.
    pub(crate) fn flows(&self) -> &FlowSettings {
        self.virtual_server()
            .map_or(&self.settings.flows, |server| &server.flows)
    }

    /// A tool's result with more bytes of text is kept for its reader, who gets a link.
    pub(crate) fn result_max(&self) -> Option<usize> {
        self.virtual_server()
            .map_or(self.settings.calls.result_max, |server| server.result_max)
    }

    /// Whether tools that their upstream calls destructive are asked about.
    pub(crate) fn asks_destructive(&self) -> bool {
        let whole = self.settings.consent.asks_destructive;
        self.virtual_server()
            .map_or(whole, |server| server.asks_destructive)
    }
}

/// What the stages work with, besides the call: all of it lives as long as the gate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means<'a> {
    pub(crate) counters: &'a Counters,
    pub(crate) desk: &'a Desk,
    pub(crate) consents: &'a Consents,
    pub(crate) schemas: &'a Schemas,
    pub(crate) flows: &'a Flows,
    /// Where the console is.
    pub(crate) console: &'a str,
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
    /// What will be sent; no longer what came if a filter changed it.
    params: Cow<'a, Params>,
    /// The arguments in it, read strictly; `Null` before they are validated.
    arguments: Value,
    entry: Arc<Entry>,
    /// Which task, if it is about one.
    task: Option<Task>,
    /// What screening found in what was told before the answer.
    heard: Mutex<Found>,
}

/// A call that the rules do not deny, and what they want of a person first.
struct Decided<'a> {
    call: Call<'a>,
    ask: Option<Ask>,
}

/// A call the rules allow, and a person where they say so. Made in `consent` alone: nothing else can be dispatched, so nothing unchecked can be.
struct Authorized<'a> {
    call: Call<'a>,
    /// The person's word, where one was wanted.
    agreed: Option<Agreed>,
    /// Whether its upstream may have the client's model asked.
    samples: bool,
}

/// One request in, one yield out; `record` learns on the way what became known.
pub(crate) async fn run(
    asked: &Asked,
    view: &View,
    means: &Means<'_>,
    events: Option<&Events>,
    record: &mut CallRecord,
) -> Result<Yield, Rejection> {
    let desk = means.desk;
    let meant = match search::meant(asked, view) {
        Ok(Meant::Itself) => None,
        Ok(Meant::Call(call)) => Some(call),
        Ok(Meant::Told(told)) => {
            limit::count(asked, view, means).await?;
            return Ok(told);
        }
        Err(rejection) => return Err(limit::refused(asked, view, means, rejection).await),
    };
    let asked = meant.as_deref().unwrap_or(asked);
    let (method, params) = match understand(asked, view) {
        Ok(understood) => understood,
        Err(rejection) => return Err(limit::refused(asked, view, means, rejection).await),
    };
    if method.subject == Subject::Gate && method.name != wire::method::PING.name {
        limit::count(asked, view, means).await?;
    }
    if method.name == wire::method::TASKS_LIST.name {
        return Box::pin(desk.list_tasks(asked, params, view, means))
            .await
            .map(result);
    }
    if method.subject == Subject::Gate {
        return lists::answer(asked, method, params, view, &desk.seal, record).map(result);
    }
    if let Some(whole) = resolve::kept(asked, method, params, desk, record) {
        limit::count(asked, view, means).await?;
        return Ok(result(whole));
    }
    if search::is_one(method, params, view) {
        limit::count(asked, view, means).await?;
        return search::answer(asked, method, params, view, record);
    }
    record.enter(Stage::Resolve);
    let mut call = match resolve::resolve(asked, method, params, view, desk, record) {
        Ok(call) => call,
        Err(rejection) => return Err(limit::refused(asked, view, means, rejection).await),
    };
    record.enter(Stage::Limit);
    limit::limit(&call, view, means).await?;
    record.enter(Stage::Validate);
    if let Some(told) = validate::validate(&mut call, view, means, record).await? {
        return Ok(told);
    }
    screen::arguments(&mut call, view, record)?;
    record.enter(Stage::Authorize);
    let mut decided = authorize::authorize(call, view, record)?;
    flow::judge(&mut decided, view, means, record);
    record.enter(Stage::Consent);
    let granted = match consent::consent(decided, view, means, events, record).await? {
        Consented::Yes(granted) => granted,
        Consented::Told(told) => return Ok(told),
    };
    // Not before: whoever makes a person think would keep others from the places in flight.
    record.enter(Stage::Limit);
    let permit = limit::admit(granted.call(), view, means).await?;
    // Not before that: a call that finds no place has used up nobody's yes.
    record.enter(Stage::Consent);
    let authorized = Box::pin(granted.leave(means)).await?;
    flow::note(&authorized, view, means, record);
    record.enter(Stage::Record);
    if has_effect(&authorized.call) {
        Box::pin(record.begin()).await?;
    }
    record.enter(Stage::Dispatch);
    let now = record.opened();
    let trace = record.trace().and_then(|trace| match &authorized.agreed {
        None => Some(trace.told()),
        Some(_) => trace.told_of_agreed(),
    });
    let begun = dispatch::Begun { at: now, trace };
    let answer = dispatch::dispatch(&authorized, permit, desk, events, view, begun);
    let (link, asked_for) = (&authorized.call.entry.link, authorized.call.method);
    let mut asking = record.asking(link, asked_for);
    let answer = Box::pin(answer).await;
    asking.end(&answer);
    record.enter(Stage::Screen);
    record.note_found(&authorized.call.heard.lock());
    consent::note_next(&authorized, &answer, means);
    let answer = answer.or_else(|rejection| ask_to_connect(asked, method, rejection))?;
    validate::result(&authorized.call, &answer, view, means).await?;
    let screened = screen::screen(&authorized, answer, view, record)?;
    asking.came_to(&screened);
    Ok(screen::shorten(screened, &authorized, view, desk, now))
}

/// Whether what an upstream does for it may be more than telling something. Its word that it is not is taken: what it
/// does behind that, it does to itself.
fn has_effect(call: &Call<'_>) -> bool {
    match call.method.subject {
        Subject::Tool => call.entry.traits.read_only != Some(true),
        Subject::Method => true,
        Subject::Task => [
            wire::method::TASKS_UPDATE.name,
            wire::method::TASKS_CANCEL.name,
        ]
        .contains(&call.method.name),
        Subject::Gate | Subject::Prompt | Subject::Resource | Subject::Reference => false,
    }
}

/// The method and the parameters, if the sender's era has it, and its credential is good for it.
fn understand<'a>(
    asked: &'a Asked,
    view: &View,
) -> Result<(&'static Method, &'a Params), Rejection> {
    let method = resolve::find_method(asked, view)?;
    let params = asked.request.read_params().map_err(Rejection::NotMcp)?;
    resolve::within_scope(asked, method, params)?;
    if method.name.starts_with("tasks/") {
        // Who has tasks may still be on its way; a task that is not found is looked for again then.
        let are_offered = view.catalog.tasks || view.catalog.is_settling;
        tasks::may_ask(asked.revision, &asked.caller, are_offered, method.name)?;
    }
    Ok((method, params))
}

/// Whether a principal may look after a task of this tool: the rules say so, or a person agreed to what it came of.
pub(crate) fn may_follow(
    asked: &Asked,
    task: &str,
    entry: &Entry,
    view: &View,
    means: &Means<'_>,
) -> bool {
    // Such requests have no arguments; rules that speak of them are asked as for the request itself.
    let arguments = Value::Object(Map::new());
    let (name, facts) = (&entry.item.key, asked.facts(Some(&arguments)));
    match authorize::decide(&asked.principal, Verb::Task, entry, name, &facts, view) {
        Decision::Allow(_) => true,
        Decision::Ask(_) => means.consents.origin(task).is_some(),
        Decision::Deny(_) | Decision::Unseen => false,
    }
}

fn result(text: Bytes) -> Yield {
    Yield::Result {
        text,
        is_tool_error: false,
    }
}
