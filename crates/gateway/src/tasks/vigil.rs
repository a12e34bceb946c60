//! What a legacy task wants to know, kept until a modern client comes for it.
//!
//! A legacy upstream asks on the stream of `tasks/result`; a modern client looks with `tasks/get` and answers with
//! `tasks/update`. Between them somebody has to stay on the stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use policy::Instant;
use tokio::sync::{Notify, mpsc};
use upstream::{Ask, Caller, Event, Link};
use wire::{Abilities, Outcome, json};

use super::Tasks;
use super::form::renamed;
use super::run::Course;
use crate::Rejection;
use crate::exchange::{input_request, modern_ask};

/// Tasks whose questions are kept at once.
const VIGILS_MAX: usize = 256;
/// How long questions are kept.
const VIGIL_MAX: Duration = Duration::from_secs(15 * 60);
/// How long a look at a task waits for questions that it is said to have.
const QUESTION_WAIT: Duration = Duration::from_secs(2);
/// Open questions of one task.
const ASKS_MAX: usize = 64;
/// Events of the stream that wait to be taken.
const EVENTS_MAX: usize = 16;

/// The open questions of one task.
#[derive(Debug)]
pub(super) struct Vigil {
    pub(super) until: Instant,
    asks: Mutex<Vec<(String, Ask)>>,
    asked: Notify,
}

impl Tasks {
    /// Those who wait at this task, which clients know as `id`; from now on, if nobody did.
    pub(super) fn vigil(
        self: &Arc<Self>,
        id: &str,
        course: Course<'_>,
        now: Instant,
    ) -> Result<Arc<Vigil>, Rejection> {
        let mut vigils = self.vigils.lock();
        if let Some(vigil) = vigils.get(id) {
            return Ok(Arc::clone(vigil));
        }
        if vigils.len() >= VIGILS_MAX {
            return Err(Rejection::Busy);
        }
        let vigil = Arc::new(Vigil {
            until: now + VIGIL_MAX,
            asks: Mutex::default(),
            asked: Notify::new(),
        });
        vigils.insert(id.to_owned(), Arc::clone(&vigil));
        drop(vigils);
        let keep = {
            let (tasks, vigil, id) = (Arc::clone(self), Arc::clone(&vigil), id.to_owned());
            let (link, caller) = (Arc::clone(course.link), course.caller.clone());
            let theirs = course.id.to_owned();
            async move {
                tokio::select! {
                    () = vigil.keep(&link, &caller, &theirs, &id) => {}
                    () = tokio::time::sleep(VIGIL_MAX) => {}
                    () = tasks.over.cancelled() => {}
                }
                let mut vigils = tasks.vigils.lock();
                if vigils
                    .get(&id)
                    .is_some_and(|other| Arc::ptr_eq(other, &vigil))
                {
                    vigils.remove(&id);
                }
            }
        };
        self.keepers.spawn(keep);
        Ok(vigil)
    }

    /// Takes a client's answers to what a task asked; those to other questions are ignored.
    pub(super) fn answer(&self, id: &str, responses: &Bytes) -> Result<(), Rejection> {
        let given = json::members(responses)
            .map_err(|error| Rejection::BadParams(format!("`inputResponses`: {error}")))?;
        let Some(vigil) = self.vigils.lock().get(id).cloned() else {
            return Ok(());
        };
        let mut asks = vigil.asks.lock();
        for (key, answer) in given {
            if let Some(at) = asks.iter().position(|(asked, _)| *asked == key) {
                let (_, ask) = asks.swap_remove(at);
                let answer = Bytes::copy_from_slice(answer.get().as_bytes());
                ask.answer(Outcome::Result(answer));
            }
        }
        Ok(())
    }
}

impl Vigil {
    /// Stays on the stream until the task has its result, which is fetched again when it is wanted.
    async fn keep(&self, link: &Arc<Link>, caller: &Caller, theirs: &str, ours: &str) {
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let course = Course {
            link,
            caller,
            id: theirs,
            events: Some(&sender),
        };
        let result = course.result();
        tokio::pin!(result);
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => match event {
                    Event::Told(_) => {}
                    Event::Asked(mut ask) => {
                        ask.params = renamed(&ask.params, theirs, ours);
                        // A key is never used twice in the life of a task, whoever kept the questions before.
                        let key = format!("input-{}", uuid::Uuid::new_v4().simple());
                        {
                            let mut asks = self.asks.lock();
                            asks.retain(|(_, ask)| !ask.is_withdrawn());
                            // Dropped, a question beyond the bound is answered by that.
                            if asks.len() < ASKS_MAX {
                                asks.push((key, ask));
                            }
                        }
                        self.asked.notify_one();
                    }
                },
                _ = &mut result => return,
            }
        }
    }

    /// What is open and this client can answer, as `inputRequests`; waits a moment for the first. `None` if nothing is.
    pub(super) async fn questions(&self, abilities: Abilities) -> Option<String> {
        let open = || {
            let mut asks = self.asks.lock();
            asks.retain_mut(|(_, ask)| ask.withdrawn().now_or_never().is_none());
            let fit = asks
                .iter()
                .filter(|(_, ask)| abilities.allow(&ask.method, &ask.params));
            let requests: Vec<(String, String)> = fit
                .map(|(key, ask)| {
                    let params = modern_ask(&ask.method, &ask.params);
                    (key.clone(), input_request(&ask.method, &params))
                })
                .collect();
            (!requests.is_empty()).then(|| json::object(requests))
        };
        if let Some(questions) = open() {
            return Some(questions);
        }
        // Nothing came in time: the client looks again.
        drop(tokio::time::timeout(QUESTION_WAIT, self.asked.notified()).await);
        open()
    }
}
