//! Which answer belongs to which open call, on a connection that many calls share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use wire::method::notification;
use wire::{Fault, Frame, Outcome, Response, Span, Splice, json};

use crate::{Error, Event, Events};

/// What a call comes to.
pub(crate) type Answer = Result<Outcome<Bytes>, Error>;

/// The open calls of one connection, by the id we gave them, and what the upstream told unasked.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    next_id: AtomicU64,
    open: Mutex<HashMap<u64, Open>>,
    /// Something in a list changed.
    pub(crate) changed: Notify,
    is_closed: AtomicBool,
}

#[derive(Debug)]
struct Open {
    reply: oneshot::Sender<Answer>,
    progress: Option<Progress>,
}

/// Where the progress of a call goes, and under which token its client knows it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) events: Events,
    /// The client's token as it wrote it.
    pub(crate) token: String,
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

impl Inbox {
    /// An id that no open call has.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Opens a call. `None` if the connection has ended.
    pub(crate) fn open(&self, id: u64, progress: Option<Progress>) -> Option<Ticket<'_>> {
        let (reply, receiver) = oneshot::channel();
        let mut open = self.open.lock();
        // Under the lock, so that no call slips in after `close` emptied the map.
        if self.is_closed.load(Ordering::Acquire) {
            return None;
        }
        open.insert(id, Open { reply, progress });
        drop(open);
        Some(Ticket {
            inbox: self,
            id,
            reply: receiver,
        })
    }

    /// The connection has ended: every open call learns it at once.
    pub(crate) fn close(&self) {
        let mut open = self.open.lock();
        self.is_closed.store(true, Ordering::Release);
        open.clear();
    }

    /// Takes in one message. What comes back must be sent to the upstream: the answer to its own request.
    pub(crate) fn take(&self, frame: Frame) -> Option<Vec<u8>> {
        match frame {
            Frame::Response(response) => {
                self.settle(&response);
                None
            }
            Frame::Notification(note) => {
                self.hear(&note.method, &note.params());
                None
            }
            Frame::Request(request) => Some(answer_to(&request)),
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

    fn hear(&self, method: &str, params: &Bytes) {
        match method {
            notification::PROGRESS => {
                let Some((id, at)) = progress_token(params) else {
                    return;
                };
                let progress = self
                    .open
                    .lock()
                    .get(&id)
                    .and_then(|call| call.progress.clone());
                if let Some(progress) = progress {
                    let params = retokened(params, at, &progress.token);
                    // A full queue means a client that does not read; progress may be lost, the answer may not.
                    drop(progress.events.try_send(Event {
                        method: method.to_owned(),
                        params,
                    }));
                }
            }
            notification::TOOLS_CHANGED
            | notification::PROMPTS_CHANGED
            | notification::RESOURCES_CHANGED => {
                self.changed.notify_one();
            }
            notification::MESSAGE => {
                let level = json::member(params, "level")
                    .ok()
                    .flatten()
                    .and_then(json::unquote);
                tracing::debug!(
                    level = level.as_deref().unwrap_or("?"),
                    "the upstream logged a message"
                );
            }
            _ => tracing::trace!(method, "a notification that concerns no call"),
        }
    }
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

/// The gate declared no client capabilities of its own, so of its requests only `ping` has an answer.
fn answer_to(request: &wire::Request) -> Vec<u8> {
    match request.method.as_str() {
        "ping" => wire::encode::response(request.id(), b"{}"),
        method => {
            tracing::debug!(method, "the upstream asked for what was not offered");
            wire::encode::error(
                Some(request.id()),
                wire::code::METHOD_NOT_FOUND,
                "Method not found",
                None,
            )
        }
    }
}

#[cfg(test)]
mod tests;
