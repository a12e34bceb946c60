//! What is told outside of calls, to whoever listens: a legacy session's GET stream, a pipe, a modern
//! `subscriptions/listen`. Lists that changed, resources that changed, pages that people are done with.
//!
//! A [`Listener`] yields whole messages; how they are framed, and when a stream ends early, is the door's.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use parking_lot::Mutex;
use policy::{Counted, CountedEntry, Principal, Scope, Scopes, ServerName};
use store::Outcome;
use tokio::sync::{broadcast, watch};
use tokio::time::{Sleep, sleep};
use upstream::{Notice, Told};
use wire::method::{self, LimitKey, notification};
use wire::{Revision, encode, json, meta};

use crate::call::{Asked, View, is_asked_about, readable};
use crate::gate::{Reply, unrecorded};
use crate::limits::Watched;
use crate::record::Opening;
use crate::session::Session;
use crate::subscriptions::{SUBSCRIPTIONS_MAX, Subscriptions};
use crate::{Gate, Rejection, screening, uri};

/// Changes of lists are told at once, and then not again for so long: a storm of them is a few.
const LISTS_PAUSE: Duration = Duration::from_millis(500);
/// How many resources of one filter are subscribed to at once.
const SUBSCRIBED_AT_ONCE: usize = 16;

/// Somebody who hears of changes.
#[derive(Debug)]
pub(crate) struct Listener {
    principal: Arc<Principal>,
    /// The virtual server that it hears of; `None`: the whole catalog.
    server: Option<ServerName>,
    whose: Whose,
    lists: Lists,
    told: broadcast::Receiver<Told>,
    waiting: VecDeque<Bytes>,
    is_over: bool,
    /// What it watches, among all that is watched.
    watched: Vec<Watched>,
    _counted: observe::Counted,
}

/// Whose ear it is.
#[derive(Debug)]
enum Whose {
    /// A legacy session's.
    Session(Arc<Session>),
    /// That of one `subscriptions/listen`, by its raw id, which tags everything.
    Listen(String, Box<Subscriptions>),
}

impl Gate {
    /// Opens what `subscriptions/listen` asks for. What the listener yields first is what is honoured, and if that is
    /// nothing, the end follows. One record is kept, of the beginning.
    pub(super) async fn open_listener(&self, asked: &Asked) -> Result<Listener, Reply> {
        let id = Some(asked.request.id());
        let opening = Opening {
            principal: Some(&asked.principal),
            client: asked.client.clone(),
            address: asked.address,
            transport: asked.transport,
            revision: asked.revision.as_str(),
            method: method::LISTEN.name,
            bytes_in: asked.request.bytes().len(),
        };
        let mut record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(full) => return Err(unrecorded(id, asked.revision, &full)),
        };
        record.of_server(asked.server.as_ref());
        record.of_trace(self.trace_of(&asked.request, asked.carrier.clone()));
        match Listener::of_request(self, asked).await {
            Ok(listener) => {
                let bytes = listener.waiting.iter().map(Bytes::len).sum();
                let closed = record.close(Outcome::Ok, 200, bytes).await;
                closed.map_err(|full| unrecorded(id, asked.revision, &full))?;
                Ok(listener)
            }
            Err(rejection) => Err(self.reject(record, id, asked.revision, &rejection).await),
        }
    }
}

impl Listener {
    /// Hears, from now on, all that a legacy client gets: it subscribes to resources one by one, and to lists by being
    /// there.
    pub(super) fn of_session(
        gate: &Gate,
        session: &Arc<Session>,
        principal: &Arc<Principal>,
    ) -> Self {
        let lists = Lists::new(gate, session.server.clone(), [true; 3]);
        Self::new(gate, principal, Whose::Session(Arc::clone(session)), lists)
    }

    async fn of_request(gate: &Gate, asked: &Asked) -> Result<Self, Rejection> {
        let view = gate.view_of(asked.server.as_ref());
        let view = view.ok_or(Rejection::UnknownServer)?;
        count(gate, asked, None, &view).await?;
        let filter = Filter::read(&asked.request.params())?.within(asked.principal.scopes)?;
        // Before the rest: a change meanwhile is one to tell of.
        let lists = Lists::new(gate, asked.server.clone(), filter.lists);
        let subscriptions = Box::new(Subscriptions::default());
        let watched = Mutex::new(Vec::new());
        if !filter.uris.is_empty() {
            let _place = gate.enter(&asked.principal.id).await?;
            gate.settle().await;
            let view = gate.view_of(asked.server.as_ref());
            let view = view.ok_or(Rejection::UnknownServer)?;
            stream::iter(&filter.uris)
                .for_each_concurrent(SUBSCRIBED_AT_ONCE, |uri| async {
                    // What the principal may not read looks like what cannot be subscribed to.
                    let (who, facts) = (&asked.principal, asked.facts(None));
                    let Some(entry) = readable(who, uri, &facts, &view) else {
                        return;
                    };
                    // There is nobody to ask here, and untouched means untouched.
                    if is_asked_about(who, entry, uri, &facts, &view) {
                        return;
                    }
                    // As if each were asked for by itself; what is one too many is not honoured.
                    let (link, readings) = (&entry.link, uri::readings(uri));
                    let names: Vec<&str> = std::iter::once(uri.as_str())
                        .chain(readings.iter().map(String::as_str))
                        .collect();
                    let counted = CountedEntry {
                        upstream: link.id(),
                        key: &entry.item.key,
                        names: &names,
                    };
                    if count(gate, asked, Some(counted), &view).await.is_err() {
                        return;
                    }
                    let Some(one) = gate.counters.watch(&who.id, link.id()) else {
                        return;
                    };
                    watched.lock().push(one);
                    if let Err(error) = subscriptions.add(link, uri).await {
                        tracing::debug!(%error, "a subscription is not honoured");
                    }
                })
                .await;
        }
        let is_deaf = filter.lists == [false; 3] && subscriptions.uris().is_empty();
        let whose = Whose::Listen(asked.request.id().to_owned(), subscriptions);
        let mut listener = Self::new(gate, &asked.principal, whose, lists);
        listener.watched = watched.into_inner();
        listener.waiting.extend(listener.acknowledged());
        if is_deaf {
            listener.end();
        }
        Ok(listener)
    }

    fn new(gate: &Gate, principal: &Arc<Principal>, whose: Whose, lists: Lists) -> Self {
        Self {
            principal: Arc::clone(principal),
            server: lists.server.clone(),
            whose,
            lists,
            told: gate.told(),
            waiting: VecDeque::new(),
            is_over: false,
            watched: Vec::new(),
            _counted: gate.parts.metrics.stream(),
        }
    }

    /// The next message; `None` after the last one. Safe to drop while it waits.
    pub(super) async fn next(&mut self, gate: &Gate) -> Option<Bytes> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                names = self.lists.next(gate) => {
                    let params = self.whose.tagged(&[]);
                    self.waiting.extend(names.iter().map(|name| message(name, &params)));
                }
                update = self.whose.subscriptions().next(gate, &self.principal, self.server.as_ref()) => {
                    let params = screened(gate, self.server.as_ref(), update.params);
                    let params = params.map(|params| self.whose.updated(&params));
                    let told = params.map(|params| message(notification::RESOURCE_UPDATED, &params));
                    self.waiting.extend(told);
                }
                notice = self.whose.told(&mut self.told, gate) => {
                    let params = screened(gate, self.server.as_ref(), notice.params);
                    let told = params.map(|params| encode::notification(&notice.method, &params));
                    self.waiting.extend(told.map(Bytes::from));
                }
            }
        }
    }

    /// Ends it in good order: what [`Listener::next`] yields from now on is what is left, and the answer to
    /// `subscriptions/listen`.
    pub(super) fn end(&mut self) {
        self.is_over = true;
        if let Whose::Listen(id, _) = &self.whose {
            let result = self.whose.tagged(&[("resultType", "\"complete\"")]);
            let ended = encode::response(id, result.as_bytes());
            self.waiting.push_back(ended.into());
        }
    }

    /// What is honoured, for `subscriptions/listen`.
    fn acknowledged(&self) -> Option<Bytes> {
        let Whose::Listen(_, subscriptions) = &self.whose else {
            return None;
        };
        let uris = subscriptions.uris();
        let quoted: Vec<String> = uris.iter().map(|uri| json::string(uri)).collect();
        let quoted = format!("[{}]", quoted.join(","));
        let lists = LISTS.iter().zip(self.lists.wanted);
        let lists = lists
            .filter(|(_, wanted)| *wanted)
            .map(|((name, _), _)| (*name, "true"));
        let resources = (!uris.is_empty()).then_some(("resourceSubscriptions", quoted.as_str()));
        let honoured = json::object(lists.chain(resources));
        let params = self.whose.tagged(&[("notifications", &honoured)]);
        Some(message(notification::ACKNOWLEDGED, &params))
    }
}

/// Counts a listener, or one resource that it watches, as the use of a resource.
async fn count(
    gate: &Gate,
    asked: &Asked,
    entry: Option<CountedEntry<'_>>,
    view: &View,
) -> Result<(), Rejection> {
    let counted = Counted {
        principal: &asked.principal,
        entry,
        server: view.server.as_ref(),
    };
    let (limits, key) = (&view.settings.limits, Some(LimitKey::ResourceAccess));
    gate.counters.count(limits, &counted, key).await
}

/// What is left of what an upstream tells; `None`: nobody may hear of it.
fn screened(gate: &Gate, server: Option<&ServerName>, params: Bytes) -> Option<Bytes> {
    let view = gate.view_of(server)?;
    match screening::result(view.screen(), params) {
        Ok((params, _found)) => Some(params),
        Err(refusal) => {
            tracing::debug!(%refusal, "a notification is left out: screening refuses it");
            None
        }
    }
}

fn message(method: &str, params: &str) -> Bytes {
    encode::notification(method, params.as_bytes()).into()
}

impl Whose {
    fn subscriptions(&self) -> &Subscriptions {
        match self {
            Self::Session(session) => &session.subscriptions,
            Self::Listen(_, subscriptions) => subscriptions,
        }
    }

    /// An object of these members, and of the tag where there is one.
    fn tagged(&self, members: &[(&str, &str)]) -> String {
        let tag = self.tag("{}");
        let tag = tag.as_deref().map(|tag| ("_meta", tag));
        json::object(members.iter().copied().chain(tag))
    }

    /// `_meta` with our tag instead of an upstream's; `None` if nothing is in it.
    fn tag(&self, meta: &str) -> Option<String> {
        let members = json::members(meta.as_bytes()).unwrap_or_default();
        let others = members
            .iter()
            .filter(|(name, _)| name != meta::SUBSCRIPTION_ID)
            .map(|(name, raw)| (name.as_ref(), raw.get()));
        let ours = match self {
            Self::Session(_) => None,
            Self::Listen(id, _) => Some((meta::SUBSCRIPTION_ID, id.as_str())),
        };
        let all: Vec<(&str, &str)> = others.chain(ours).collect();
        (!all.is_empty()).then(|| json::object(all))
    }

    /// The parameters of an update with our tag, everything else as it stands.
    fn updated(&self, params: &[u8]) -> String {
        let members = json::members(params).unwrap_or_default();
        let meta = members.iter().find(|(name, _)| name == "_meta");
        let tag = self.tag(meta.map_or("{}", |(_, raw)| raw.get()));
        let others = members
            .iter()
            .filter(|(name, _)| name != "_meta")
            .map(|(name, raw)| (name.as_ref(), raw.get()));
        json::object(others.chain(tag.as_deref().map(|tag| ("_meta", tag))))
    }

    /// The next page that the principal is done with, for a client that knows of such pages; or how a task of the
    /// principal's is doing.
    async fn told(&self, told: &mut broadcast::Receiver<Told>, gate: &Gate) -> Notice {
        let Self::Session(session) = self else {
            return std::future::pending().await;
        };
        if session.revision < Revision::V2025_11_25 {
            return std::future::pending().await;
        }
        loop {
            match told.recv().await {
                Ok(Told {
                    principal: Some(principal),
                    notice,
                    upstream: _,
                }) if *principal == *session.principal.id.as_str()
                    && session.abilities.url
                    && notice.method == notification::ELICITATION_COMPLETE =>
                {
                    return notice;
                }
                Ok(told) if told.notice.method == notification::TASK_STATUS => {
                    if let Some(notice) = gate.desk.tasks.told(&session.principal.id, &told) {
                        return notice;
                    }
                }
                // What was missed was for clients that wait; they may ask again.
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The lists that change, by their names in a filter and by those of their notifications.
const LISTS: [(&str, &str); 3] = [
    ("toolsListChanged", notification::TOOLS_CHANGED),
    ("promptsListChanged", notification::PROMPTS_CHANGED),
    ("resourcesListChanged", notification::RESOURCES_CHANGED),
];

/// What a credential must be good for to hear of each of them.
const LIST_SCOPES: [Scope; 3] = [Scope::Tools, Scope::Prompts, Scope::Resources];

/// What a `subscriptions/listen` asks for.
struct Filter {
    lists: [bool; 3],
    uris: Vec<String>,
}

impl Filter {
    fn read(params: &[u8]) -> Result<Self, Rejection> {
        let bad = |why: &str| Rejection::BadParams(format!("`notifications` {why}"));
        let filter = json::member(params, "notifications")
            .map_err(|error| bad(&error.to_string()))?
            .ok_or_else(|| bad("is missing"))?;
        let members = json::members(filter.get().as_bytes())
            .map_err(|_not_an_object| bad("must be an object"))?;
        let find = |name: &str| {
            let found = members.iter().find(|(key, _)| key == name);
            found.map(|(_, raw)| raw.get())
        };
        let mut uris: Vec<String> = match find("resourceSubscriptions") {
            None => Vec::new(),
            Some(raw) => serde_json::from_str(raw)
                .map_err(|_other| bad("names resources by an array of their URIs"))?,
        };
        if uris.len() > SUBSCRIPTIONS_MAX {
            return Err(bad(&format!(
                "names more than {SUBSCRIPTIONS_MAX} resources"
            )));
        }
        uris.sort_unstable();
        uris.dedup();
        Ok(Self {
            lists: LISTS.map(|(name, _)| find(name) == Some("true")),
            uris,
        })
    }

    /// What of it the credential is good for. Lists beyond it are not honoured; resources are refused, and so is what
    /// leaves nothing.
    fn within(self, held: Scopes) -> Result<Self, Rejection> {
        let unscoped = |needed: Scopes| Err(Rejection::Unscoped { needed, held });
        if !self.uris.is_empty() && !held.contains(Scope::Resources) {
            return unscoped(Scope::Resources.into());
        }
        let wanted = LIST_SCOPES.into_iter().zip(self.lists);
        let needed: Scopes = wanted
            .filter_map(|(scope, is_wanted)| is_wanted.then_some(scope))
            .collect();
        let lists: [bool; 3] =
            std::array::from_fn(|at| self.lists[at] && held.contains(LIST_SCOPES[at]));
        if self.uris.is_empty() && self.lists != [false; 3] && lists == [false; 3] {
            return unscoped(needed);
        }
        Ok(Self { lists, ..self })
    }
}

/// The changes of some lists, from a moment on.
#[derive(Debug)]
struct Lists {
    /// Whose lists; `None`: of the whole catalog.
    server: Option<ServerName>,
    wanted: [bool; 3],
    changes: watch::Receiver<u64>,
    seen: [u64; 3],
    /// Until when nothing is told.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Lists {
    fn new(gate: &Gate, server: Option<ServerName>, wanted: [bool; 3]) -> Self {
        Self {
            wanted,
            changes: gate.changes(),
            seen: stamps(gate, server.as_ref()).unwrap_or_default(),
            server,
            pause: None,
        }
    }

    /// The next changes, as notification names; at least one. Safe to drop while it waits.
    async fn next(&mut self, gate: &Gate) -> Vec<&'static str> {
        loop {
            if let Some(pause) = &mut self.pause {
                pause.as_mut().await;
                self.pause = None;
            }
            self.changes.mark_unchanged();
            // Of a server that is gone there is nothing to tell.
            let now = stamps(gate, self.server.as_ref()).unwrap_or(self.seen);
            let changed = now.iter().zip(self.seen).map(|(now, seen)| *now != seen);
            let told: Vec<&'static str> = LISTS
                .iter()
                .zip(self.wanted.iter().zip(changed))
                .filter_map(|((_, name), (wanted, changed))| (*wanted && changed).then_some(*name))
                .collect();
            self.seen = now;
            if !told.is_empty() {
                self.pause = Some(Box::pin(sleep(LISTS_PAUSE)));
                return told;
            }
            if self.changes.changed().await.is_err() {
                // The gate is gone; whoever asks is ended by its stop.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Another number, another list. Templates are told of as resources.
fn stamps(gate: &Gate, server: Option<&ServerName>) -> Option<[u64; 3]> {
    let view = gate.view_of(server)?;
    let catalog = &view.catalog;
    Some([
        catalog.tools.stamp,
        catalog.prompts.stamp,
        catalog.resources.stamp + catalog.templates.stamp,
    ])
}
