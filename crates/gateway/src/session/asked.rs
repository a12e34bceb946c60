//! What upstreams ask a legacy client: requests of ours on its stream, each of which ends with the client's answer, or
//! with the word that it is no longer wanted.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use upstream::{Ask, Event};
use wire::method::notification;
use wire::{Outcome, Response, encode};

use super::Session;

/// Questions to one client that are open at once.
const ASKED_MAX: usize = 64;

/// What one client was asked and has not answered yet, under the ids that we gave the questions.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    last_id: AtomicU64,
    open: Mutex<HashMap<String, oneshot::Sender<Outcome<Bytes>>>>,
}

impl Asked {
    fn open(&self) -> Option<(String, oneshot::Receiver<Outcome<Bytes>>)> {
        let mut open = self.open.lock();
        if open.len() >= ASKED_MAX {
            return None;
        }
        let id = (self.last_id.fetch_add(1, Ordering::Relaxed) + 1).to_string();
        let (answer, receiver) = oneshot::channel();
        open.insert(id.clone(), answer);
        Some((id, receiver))
    }

    /// Takes the client's answer; one that nobody waits for is ignored.
    pub(crate) fn settle(&self, response: &Response) {
        let answer = response.id().and_then(|id| self.open.lock().remove(id));
        if let Some(answer) = answer {
            drop(answer.send(response.outcome()));
        }
    }
}

/// A question until it is answered: its id, and whether its upstream withdrew it.
type Open = Pin<Box<dyn Future<Output = (String, bool)> + Send>>;

/// The questions of one call. Those still open when it is dropped are forgotten.
pub(crate) struct Questions {
    /// `None`: a client that is asked nothing on its stream.
    session: Option<Arc<Session>>,
    open: FuturesUnordered<Open>,
    ids: Vec<String>,
}

impl Questions {
    pub(crate) fn of(session: Option<Arc<Session>>) -> Self {
        Self {
            session,
            open: FuturesUnordered::new(),
            ids: Vec::new(),
        }
    }

    /// What the client is told of an event: a notification as it is, a question as a request of ours. `None` if it
    /// cannot be asked, which leaves the question unanswered.
    pub(crate) fn message(&mut self, event: Event) -> Option<Bytes> {
        match event {
            Event::Told(notice) => {
                Some(encode::notification(&notice.method, &notice.params).into())
            }
            Event::Asked(ask) => self.ask(ask),
        }
    }

    fn ask(&mut self, ask: Ask) -> Option<Bytes> {
        let (id, answer) = self.session.as_ref()?.asked.open()?;
        let message = encode::request(&id, &ask.method, &ask.params);
        self.ids.push(id.clone());
        self.open.push(Box::pin(settled(id, ask, answer)));
        Some(message.into())
    }

    /// Passes answers on, and says what tells the client that a question is withdrawn. `None` if none is open. Safe to
    /// drop while it waits.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let (id, is_withdrawn) = self.open.next().await?;
            self.ids.retain(|other| *other != id);
            if is_withdrawn && self.forget(&id) {
                return Some(cancelled(&id));
            }
        }
    }

    /// Nobody wants to know the rest any more: what tells the client so.
    pub(crate) fn withdraw(&mut self) -> Vec<Bytes> {
        self.open.clear();
        let mut ids = std::mem::take(&mut self.ids);
        ids.retain(|id| self.forget(id));
        ids.iter().map(|id| cancelled(id)).collect()
    }

    /// Whether it was open still.
    fn forget(&self, id: &str) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.asked.open.lock().remove(id).is_some())
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        for id in &self.ids {
            self.forget(id);
        }
    }
}

fn cancelled(id: &str) -> Bytes {
    let params = format!("{{\"requestId\":{id}}}");
    encode::notification(notification::CANCELLED, params.as_bytes()).into()
}

async fn settled(
    id: String,
    mut ask: Ask,
    answer: oneshot::Receiver<Outcome<Bytes>>,
) -> (String, bool) {
    tokio::select! {
        biased;
        outcome = answer => {
            if let Ok(outcome) = outcome {
                ask.answer(outcome);
            }
            (id, false)
        }
        () = ask.withdrawn() => (id, true),
    }
}
