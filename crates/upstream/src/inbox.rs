//! Which answer belongs to which open call, on a connection that many calls share; and whom an upstream means when it
//! asks something itself.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{Notify, broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wire::method::notification;
use wire::{
    Abilities, Fault, Frame, Level, Outcome, Response, Span, Splice, code, encode, json, meta,
};

use crate::{Ask, Error, Event, Events, Logs, Notice, Told};

/// What a call comes to.
pub(crate) type Answer = Result<Outcome<Bytes>, Error>;

/// Questions of one upstream that are open at once.
const ASKS_MAX: usize = 64;
/// How long a question may stay open; whoever answers it is a person, or a model.
const ASK_MAX: Duration = Duration::from_secs(15 * 60);
/// Notifications that concern no call and wait for a slow listener.
const TOLD_MAX: usize = 256;
/// Pages that people were sent to, and which may be done with later.
const PAGES_MAX: usize = 256;

/// The open calls of one connection, by the id we gave them, and what the upstream told unasked.
#[derive(Debug)]
pub(crate) struct Inbox {
    next_id: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    /// The upstream's own requests that wait for an answer, by its ids.
    asked: Arc<Mutex<HashMap<String, CancellationToken>>>,
    /// Something in a list changed.
    pub(crate) changed: Notify,
    announced: Mutex<Announced>,
    /// What concerns no call: changed resources, finished elicitations, tasks.
    pub(crate) told: broadcast::Sender<Told>,
    /// Another number, another session: the server has forgotten what it was told in the one before.
    pub(crate) sessions: watch::Sender<u64>,
    /// The stream that it tells on was gone for a while.
    pub(crate) missed: Notify,
    /// Streams of changes that are being opened.
    acknowledged: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    /// Which principal was sent to which page: `elicitationId` and whose call it was, oldest first.
    pages: Mutex<VecDeque<(String, Arc<str>)>>,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Open {
    reply: oneshot::Sender<Answer>,
    /// Whose call it is; ours if nobody's.
    principal: Option<Arc<str>>,
    line: Option<Line>,
}

/// The way back to the client of a call, while the call is open.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// Whose call it is.
    pub(crate) principal: Arc<str>,
    pub(crate) events: Events,
    /// The client's progress token as it wrote it.
    pub(crate) token: Option<String>,
    pub(crate) abilities: Abilities,
    pub(crate) logs: Logs,
    /// How many questions of the upstream are open.
    pub(crate) asking: Arc<AtomicUsize>,
}

/// How often an upstream said that a list of its changed. It is passed on even if the list then reads the same: it may
/// have changed and changed back, and who keeps a copy has to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Announced {
    /// Tools.
    pub tools: u64,
    /// Prompts.
    pub prompts: u64,
    /// Resources and their templates.
    pub resources: u64,
}

/// What a message of the upstream demands of whoever drives the connection.
#[derive(Debug)]
pub(crate) enum Due {
    /// Send this.
    Message(Vec<u8>),
    /// Send what this comes to.
    Answer(Answering),
}

/// A question of the upstream, on its way to the client and back.
#[derive(Debug)]
pub(crate) struct Answering {
    id: String,
    answer: oneshot::Receiver<Outcome<Bytes>>,
    /// The upstream no longer wants to know.
    withdrawn: CancellationToken,
    among: Arc<Mutex<HashMap<String, CancellationToken>>>,
    asking: Arc<AtomicUsize>,
}

impl Answering {
    /// Waits for the answer; `None` if the upstream withdrew the question.
    pub(crate) async fn message(mut self) -> Option<Vec<u8>> {
        let answer = tokio::select! {
            answer = tokio::time::timeout(ASK_MAX, &mut self.answer) => answer,
            () = self.withdrawn.cancelled() => return None,
        };
        Some(match answer {
            Ok(Ok(Outcome::Result(result))) => encode::response(&self.id, &result),
            Ok(Ok(Outcome::Error(error))) => encode::error_object(&self.id, &error),
            Ok(Err(_)) | Err(_) => encode::error(
                Some(&self.id),
                code::INTERNAL_ERROR,
                "The client gave no answer",
                None,
            ),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.among.lock().remove(&self.id);
        self.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One open call. Dropping it forgets the call: a late answer is then nobody's.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    inbox: &'a Inbox,
    pub(crate) id: u64,
    pub(crate) reply: oneshot::Receiver<Answer>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.inbox.open.lock().remove(&self.id);
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            next_id: AtomicU64::default(),
            open: Mutex::default(),
            asked: Arc::default(),
            changed: Notify::default(),
            announced: Mutex::default(),
            told: broadcast::channel(TOLD_MAX).0,
            sessions: watch::channel(0).0,
            missed: Notify::default(),
            acknowledged: Mutex::default(),
            pages: Mutex::default(),
            is_closed: AtomicBool::default(),
        }
    }
}

impl Inbox {
    /// An id that no open call has.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Opens a call. `None` if the connection has ended.
    pub(crate) fn open(
        &self,
        id: u64,
        principal: Option<Arc<str>>,
        line: Option<Line>,
    ) -> Option<Ticket<'_>> {
        let (reply, receiver) = oneshot::channel();
        let mut open = self.open.lock();
        // Under the lock, so that no call slips in after `close` emptied the map.
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        open.insert(
            id,
            Open {
                reply,
                principal,
                line,
            },
        );
        drop(open);
        Some(Ticket {
            inbox: self,
            id,
            reply: receiver,
        })
    }

    /// An id for a `subscriptions/listen`, and where its acknowledgement comes: what is honoured.
    pub(crate) fn expect_acknowledgement(&self) -> (u64, oneshot::Receiver<Bytes>) {
        let id = self.next_id();
        let (sender, receiver) = oneshot::channel();
        let mut expected = self.acknowledged.lock();
        // Whoever expected it may have gone without a word.
        expected.retain(|_, sender| !sender.is_closed());
        expected.insert(id, sender);
        (id, receiver)
    }

    /// The server took us up anew: what it says later of what it was told before is lost.
    pub(crate) fn session_began(&self) {
        self.sessions.send_modify(|count| *count += 1);
        // What it offers may be something else now.
        self.changed.notify_one();
    }

    /// A principal was sent to pages by an error (`-32042` of 2025-11-25).
    pub(crate) fn note_pages(&self, error: &[u8], principal: &Arc<str>) {
        for id in pages_to_open(error).unwrap_or_default() {
            self.note_page(id, principal);
        }
    }

    fn note_page(&self, id: String, principal: &Arc<str>) {
        let mut pages = self.pages.lock();
        if pages.len() >= PAGES_MAX {
            pages.pop_front();
        }
        pages.push_back((id, Arc::clone(principal)));
    }

    /// Whose page is done with.
    fn take_page(&self, params: &[u8]) -> Option<Arc<str>> {
        let id = json::text(params, "elicitationId")?;
        let mut pages = self.pages.lock();
        let at = pages.iter().position(|(other, _)| *other == id)?;
        pages.remove(at).map(|(_, principal)| principal)
    }

    /// The connection has ended: every open call learns it at once.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        self.is_closed.store(true, Ordering::Release);
        open.clear();
    }

    /// Whether no call is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.lock().is_empty()
    }

    /// Takes in one message. `own` is the call on whose stream it came, where calls have streams of their own.
    pub(crate) fn take(&self, frame: Frame, own: Option<u64>) -> Option<Due> {
        match frame {
            Frame::Response(response) => {
                self.settle(&response);
                None
            }
            Frame::Notification(note) => {
                self.hear(&note.method, &note.params(), own);
                None
            }
            Frame::Request(request) => Some(self.asked(&request, own)),
        }
    }

    /// Takes in what is no message. If it was meant as the answer to an open call, that call has no other to wait for.
    pub(crate) fn refuse(&self, bytes: &[u8], fault: &Fault) {
        // The ids of the upstream's own requests are counted by itself and say nothing of our calls.
        let names_method = !matches!(json::member(bytes, "method"), Ok(None));
        let id = fault.id.as_deref().and_then(|id| str::from_utf8(id).ok());
        if let Some(call) = id
            .filter(|_| !names_method)
            .and_then(|id| self.close_call(id))
        {
            drop(call.reply.send(Err(Error::Protocol(fault.to_string()))));
        }
    }

    /// A message of ours was not accepted. If it was a request, its call has no answer to wait for.
    pub(crate) fn fail(&self, message: &Bytes, error: Error) {
        if let Ok(Frame::Request(request)) = Frame::decode(message)
            && let Some(call) = self.close_call(request.id())
        {
            drop(call.reply.send(Err(error)));
        }
    }

    fn settle(&self, response: &Response) {
        match response.id().and_then(|id| self.close_call(id)) {
            // Nobody waits any more if the caller left in this very moment.
            Some(call) => drop(call.reply.send(Ok(response.outcome()))),
            None => tracing::debug!(id = response.id(), "an answer that nobody waits for"),
        }
    }

    fn close_call(&self, id: &str) -> Option<Open> {
        self.open.lock().remove(&id.parse().ok()?)
    }

    /// The way back to the client that something concerns: the one on whose stream it came; where calls share one
    /// stream, the newest for which `fits` holds. If calls of several principals are open there, nobody's: what is
    /// meant for one person must not reach another.
    fn line(&self, own: Option<u64>, fits: impl Fn(&Line) -> bool) -> Option<Line> {
        let open = self.open.lock();
        if let Some(own) = own {
            let line = open.get(&own)?.line.clone()?;
            return fits(&line).then_some(line);
        }
        let mut whose = open.values().filter_map(|call| call.principal.as_ref());
        let first = whose.next()?;
        if whose.any(|other| other != first) {
            tracing::debug!("calls of several principals are open; nobody is told");
            return None;
        }
        open.values()
            .rev()
            .filter_map(|call| call.line.as_ref())
            .find(|line| fits(line))
            .cloned()
    }

    /// The upstream asks something: of the client, if that can do it, or of us.
    fn asked(&self, request: &wire::Request, own: Option<u64>) -> Due {
        let method = request.method.as_str();
        let refuse =
            |code, message| Due::Message(encode::error(Some(request.id()), code, message, None));
        if method == wire::method::PING.name {
            return Due::Message(encode::response(request.id(), b"{}"));
        }
        let params = request.params();
        let Some(line) = self.line(own, |line| line.abilities.allow(method, &params)) else {
            tracing::debug!(method, "the upstream asked for what was not offered");
            return refuse(code::METHOD_NOT_FOUND, "Method not found");
        };
        if let Some(page) = json::text(&params, "elicitationId") {
            self.note_page(page, &line.principal);
        }
        let (ask, answer) = Ask::new(method, params);
        let withdrawn = CancellationToken::new();
        {
            let mut asked = self.asked.lock();
            if asked.len() >= ASKS_MAX || asked.contains_key(request.id()) {
                return refuse(code::INVALID_REQUEST, "Too many requests, or an id twice");
            }
            asked.insert(request.id().to_owned(), withdrawn.clone());
        }
        line.asking.fetch_add(1, Ordering::Relaxed);
        let answering = Answering {
            id: request.id().to_owned(),
            answer,
            withdrawn,
            among: Arc::clone(&self.asked),
            asking: line.asking,
        };
        if line.events.try_send(Event::Asked(ask)).is_err() {
            return refuse(code::INTERNAL_ERROR, "The client does not listen");
        }
        Due::Answer(answering)
    }

    fn announce(&self, list: fn(&mut Announced) -> &mut u64) {
        *list(&mut self.announced.lock()) += 1;
        self.changed.notify_one();
    }

    /// Takes over what another connection to the same server announced beyond `before`.
    pub(crate) fn announce_all(&self, now: Announced, before: Announced) {
        {
            let mut announced = self.announced.lock();
            announced.tools += now.tools - before.tools;
            announced.prompts += now.prompts - before.prompts;
            announced.resources += now.resources - before.resources;
        }
        self.changed.notify_one();
    }

    /// How often changes were announced so far.
    pub(crate) fn announced(&self) -> Announced {
        *self.announced.lock()
    }

    /// Takes a notification. `own` is the call on whose stream it came.
    pub(crate) fn hear(&self, method: &str, params: &Bytes, own: Option<u64>) {
        match method {
            notification::PROGRESS => {
                let Some((id, at)) = progress_token(params) else {
                    return;
                };
                let line = self.open.lock().get(&id).and_then(|call| call.line.clone());
                if let Some((line, token)) = line.and_then(|mut line| {
                    let token = line.token.take()?;
                    Some((line, token))
                }) {
                    tell(&line, method, retokened(params, at, &token));
                }
            }
            notification::TOOLS_CHANGED => self.announce(|announced| &mut announced.tools),
            notification::PROMPTS_CHANGED => self.announce(|announced| &mut announced.prompts),
            notification::RESOURCES_CHANGED => {
                self.announce(|announced| &mut announced.resources);
            }
            notification::MESSAGE => {
                let level = json::text(params, "level");
                let level = level.as_deref().and_then(Level::parse);
                match self.line(own, |line| line.logs.hears(level)) {
                    Some(line) => tell(&line, method, params.clone()),
                    None => tracing::debug!(
                        severity = level.map_or("?", Level::as_str),
                        "the upstream logged a message"
                    ),
                }
            }
            notification::CANCELLED => {
                let id = json::member(params, "requestId").ok().flatten();
                let asked = self.asked.lock();
                if let Some(withdrawn) = id.and_then(|id| asked.get(id.get())) {
                    withdrawn.cancel();
                }
            }
            notification::ACKNOWLEDGED => {
                let id = subscription_id(params);
                let expected = id.and_then(|id| self.acknowledged.lock().remove(&id));
                if let Some(expected) = expected {
                    let honoured = json::member(params, "notifications").ok().flatten();
                    let honoured = honoured.map_or("{}", |raw| raw.get());
                    // Whoever opened it may be gone.
                    drop(expected.send(Bytes::copy_from_slice(honoured.as_bytes())));
                }
            }
            notification::RESOURCE_UPDATED
            | notification::ELICITATION_COMPLETE
            | notification::TASK_STATUS
            | notification::TASKS => {
                let principal = (method == notification::ELICITATION_COMPLETE)
                    .then(|| self.take_page(params))
                    .flatten();
                // Nobody listens: nobody subscribed.
                drop(self.told.send(Told {
                    upstream: None,
                    principal,
                    notice: Notice::new(method, params.clone()),
                }));
            }
            _ => tracing::trace!(method, "a notification that concerns no call"),
        }
    }
}

/// A full queue means a client that does not read; a notification may be lost, the answer may not.
fn tell(line: &Line, method: &str, params: Bytes) {
    drop(
        line.events
            .try_send(Event::Told(Notice::new(method, params))),
    );
}

/// Which `subscriptions/listen` a notification belongs to.
fn subscription_id(params: &[u8]) -> Option<u64> {
    let meta = json::member(params, "_meta").ok()??;
    let id = json::member(meta.get().as_bytes(), meta::SUBSCRIPTION_ID).ok()??;
    id.get().parse().ok()
}

/// The ids of the pages that an error has people open; `None` if it is no such error.
fn pages_to_open(error: &[u8]) -> Option<Vec<String>> {
    let is_one = json::member(error, "code").ok()??.get() == code::URL_ELICITATION.to_string();
    let data = json::member(error, "data").ok()??;
    let all = json::member(data.get().as_bytes(), "elicitations").ok()??;
    let all: Vec<&RawValue> = serde_json::from_str(all.get()).ok()?;
    is_one.then(|| {
        all.iter()
            .filter_map(|one| json::text(one.get().as_bytes(), "elicitationId"))
            .collect()
    })
}

/// Which call a progress notification is about, and where its token stands.
fn progress_token(params: &[u8]) -> Option<(u64, Span)> {
    let raw = json::member(params, "progressToken").ok()??;
    Some((
        raw.get().parse().ok()?,
        Span::of(raw.get().as_bytes(), params)?,
    ))
}

fn retokened(params: &[u8], at: Span, token: &str) -> Bytes {
    let mut splice = Splice::new(params);
    splice.replace(at, token.as_bytes().to_vec());
    splice.finish().into()
}

#[cfg(test)]
mod tests;
