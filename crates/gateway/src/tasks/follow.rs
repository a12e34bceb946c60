//! What a client asks of a task that it has: `tasks/get`, `tasks/result`, `tasks/update`, `tasks/cancel`, `tasks/list`.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use upstream::{Ask, Event, Notice, Reply};
use wire::method::{self, Method};
use wire::{Abilities, Era, Outcome, Params, code, json};

use super::Task;
use super::form::{Seen, Status, related, renamed, renamed_error};
use super::run::Course;
use crate::call::{Asked, Means, View, may_follow};
use crate::exchange::{Desk, Exchange};
use crate::{Rejection, screening};

/// Tasks in one page of `tasks/list`: each is looked at anew.
const PAGE: usize = 32;
/// How often a cancelled task is looked at, and when, before its client is told how it is doing.
const CANCEL_LOOKS: usize = 10;
const CANCEL_PAUSE: Duration = Duration::from_millis(100);
/// Events of a task that wait for their client.
const EVENTS_MAX: usize = 16;

/// One request about one task.
struct Follow<'a> {
    desk: &'a Desk,
    exchange: &'a Exchange<'a>,
    task: &'a Task,
    /// What the client calls it.
    id: &'a str,
    /// What the client of this very request can be asked.
    abilities: Abilities,
}

impl Desk {
    /// Answers a request about a task. `exchange` goes where the task is known.
    pub(crate) async fn follow(
        &self,
        exchange: Exchange<'_>,
        task: &Task,
        abilities: Abilities,
    ) -> Result<Reply, Rejection> {
        let follow = Follow {
            desk: self,
            exchange: &exchange,
            task,
            id: exchange
                .request
                .params
                .task_id
                .as_deref()
                .unwrap_or_default(),
            abilities,
        };
        let is = |method: &Method| exchange.request.method.name == method.name;
        if is(&method::TASKS_GET) {
            follow.get().await
        } else if is(&method::TASKS_RESULT) {
            follow.result().await
        } else if is(&method::TASKS_UPDATE) {
            follow.update().await
        } else {
            follow.cancel().await
        }
    }

    /// The tasks of a principal, each as its upstream describes it now.
    pub(crate) async fn list_tasks(
        &self,
        asked: &Asked,
        params: &Params,
        view: &View,
        means: &Means<'_>,
    ) -> Result<Bytes, Rejection> {
        let mut known = self.tasks.listed_of(&asked.principal.id);
        if let Some(cursor) = &params.cursor {
            let last = known.iter().position(|(id, _)| id == cursor);
            known.drain(..=last.ok_or(Rejection::BadCursor)?);
        }
        let has_more = known.len() > PAGE;
        known.truncate(PAGE);
        let _place = means.counters.enter(&asked.principal.id).await?;
        let deadline = view.settings.catalog.list_deadline;
        let looks = known.iter().map(async |(id, task)| {
            let entry = view.catalog.tools.served(&task.upstream, &task.tool)?;
            if entry.withheld.is_some() || !may_follow(asked, id, entry, view, means) {
                return None;
            }
            let mut caller = asked.caller.clone();
            task.direct(&mut caller);
            let course = Course {
                link: &entry.link,
                caller: &caller,
                id: &task.id,
                events: None,
            };
            match tokio::time::timeout(deadline, course.look()).await {
                Ok(Ok(Ok(seen))) => {
                    let told = screening::result(view.screen(), seen.legacy(id).into());
                    told.ok()
                        .and_then(|(told, _found)| String::from_utf8(told.into()).ok())
                }
                Ok(Ok(Err(_unknown))) => {
                    self.tasks.unlist(id);
                    None
                }
                // Its upstream is down or slow; the next list may have it again.
                Ok(Err(_)) | Err(_) => None,
            }
        });
        let tasks: Vec<String> = join_all(looks).await.into_iter().flatten().collect();
        let tasks = format!("[{}]", tasks.join(","));
        let mut members = vec![("tasks", tasks)];
        if let Some((last, _)) = known.last().filter(|_| has_more) {
            members.push(("nextCursor", json::string(last)));
        }
        Ok(json::object(members).into())
    }
}

impl Follow<'_> {
    fn course(&self) -> Course<'_> {
        Course {
            link: self.exchange.link,
            caller: &self.exchange.request.caller,
            id: &self.task.id,
            events: self.exchange.events,
        }
    }

    fn is_same_era(&self) -> bool {
        self.exchange.era == self.task.era
    }

    /// The client's own request, under the upstream's id; what comes back under ours.
    async fn pass(&self) -> Result<Reply, Rejection> {
        let call = self.exchange.link.call(&self.exchange.request, None);
        let reply = Box::pin(call).await;
        let reply = reply.map_err(|cause| self.exchange.failed(cause))?;
        Ok(self.named(reply))
    }

    fn named(&self, reply: Reply) -> Reply {
        let (theirs, ours) = (self.task.id.as_str(), self.id);
        let outcome = match reply.outcome {
            Outcome::Result(text) => Outcome::Result(renamed(&text, theirs, ours)),
            Outcome::Error(error) => Outcome::Error(renamed_error(&error, theirs, ours)),
        };
        Reply { outcome, ..reply }
    }

    fn told(&self, text: impl Into<Bytes>) -> Reply {
        Reply {
            outcome: Outcome::Result(text.into()),
            era: self.exchange.era,
        }
    }

    fn refused(&self, error: Bytes) -> Reply {
        self.named(Reply {
            outcome: Outcome::Error(error),
            era: self.exchange.era,
        })
    }

    async fn get(&self) -> Result<Reply, Rejection> {
        if self.is_same_era() {
            return self.pass().await;
        }
        let seen = match self.course().look().await? {
            Ok(seen) => seen,
            Err(error) => return Ok(self.refused(error)),
        };
        match self.exchange.era {
            Era::Legacy => Ok(self.told(seen.legacy(self.id))),
            Era::Modern => self.detailed(&seen).await,
        }
    }

    /// A legacy task with all that a modern client finds in it: result, error, questions.
    async fn detailed(&self, seen: &Seen) -> Result<Reply, Rejection> {
        let (status, extra) = match seen.status {
            Status::Cancelled | Status::Working => (seen.status, None),
            Status::InputRequired if !self.abilities.any() => (Status::Working, None),
            Status::InputRequired => {
                let (course, now) = (self.course(), self.exchange.now);
                let vigil = self.desk.tasks.vigil(self.id, course, now)?;
                match vigil.questions(self.abilities).await {
                    Some(questions) => (seen.status, Some(("inputRequests", questions))),
                    // Without questions it would be no task that waits for input.
                    None => (Status::Working, None),
                }
            }
            Status::Completed | Status::Failed => {
                let course = Course {
                    events: None,
                    ..self.course()
                };
                let reply = self.named(course.result().await?);
                let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
                match &reply.outcome {
                    Outcome::Result(result) => (Status::Completed, Some(("result", text(result)))),
                    Outcome::Error(error) => (Status::Failed, Some(("error", text(error)))),
                }
            }
        };
        let extra = extra.map(|(name, raw)| format!("\"{name}\":{raw}"));
        Ok(self.told(seen.modern(self.id, status, extra.as_deref().unwrap_or_default())))
    }

    async fn result(&self) -> Result<Reply, Rejection> {
        match self.task.era {
            Era::Legacy => self.relay().await,
            Era::Modern => {
                let reply = self.course().watch(Some(self.id)).await?;
                Ok(match reply.outcome {
                    Outcome::Result(text) => self.told(related(&text, self.id)),
                    Outcome::Error(error) => self.refused(error),
                })
            }
        }
    }

    /// Waits for the result of a legacy task for a legacy client; what either says on the way names the task as the
    /// other knows it.
    async fn relay(&self) -> Result<Reply, Rejection> {
        let (theirs, ours) = (self.task.id.as_str(), self.id);
        let (sender, mut events) = mpsc::channel(EVENTS_MAX);
        let course = Course {
            events: self.exchange.events.map(|_| &sender),
            ..self.course()
        };
        let result = course.result();
        tokio::pin!(result);
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    let Some(client) = self.exchange.events else { continue };
                    let event = match event {
                        Event::Told(notice) => Event::Told(Notice {
                            params: renamed(&notice.params, theirs, ours),
                            ..notice
                        }),
                        Event::Asked(mut ask) => {
                            let params = renamed(&ask.params, theirs, ours);
                            let (question, answer) = Ask::new(ask.method.clone(), params);
                            answers.push(async move {
                                let outcome = tokio::select! {
                                    answer = answer => answer.ok(),
                                    () = ask.withdrawn() => None,
                                };
                                // Dropped without an answer, the upstream learns that there is none.
                                if let Some(outcome) = outcome {
                                    ask.answer(match outcome {
                                        Outcome::Result(text) => {
                                            Outcome::Result(renamed(&text, ours, theirs))
                                        }
                                        Outcome::Error(error) => Outcome::Error(error),
                                    });
                                }
                            });
                            Event::Asked(question)
                        }
                    };
                    // A full queue means a client that does not read.
                    drop(client.try_send(event));
                }
                Some(()) = answers.next() => {}
                reply = &mut result => return Ok(self.named(reply?)),
            }
        }
    }

    async fn update(&self) -> Result<Reply, Rejection> {
        let responses = self.exchange.request.params.input_responses();
        let responses = responses
            .ok_or_else(|| Rejection::BadParams("`inputResponses` is missing".to_owned()))?;
        if self.is_same_era() {
            return self.pass().await;
        }
        self.desk.tasks.answer(self.id, &responses)?;
        Ok(self.told("{}"))
    }

    async fn cancel(&self) -> Result<Reply, Rejection> {
        if self.is_same_era() {
            return self.pass().await;
        }
        let course = self.course();
        match self.exchange.era {
            // A modern client only hears that its wish was understood, whether or not the task was over already.
            Era::Modern => match course.send(&method::TASKS_CANCEL, "").await?.outcome {
                Outcome::Result(_) => Ok(self.told("{}")),
                Outcome::Error(error) => match course.look().await? {
                    Ok(_) => Ok(self.told("{}")),
                    Err(_) => Ok(self.refused(error)),
                },
            },
            Era::Legacy => {
                let mut seen = match course.look().await? {
                    Ok(seen) if seen.status.is_over() => return Ok(self.refused(over(&seen))),
                    Ok(seen) => seen,
                    Err(error) => return Ok(self.refused(error)),
                };
                let reply = course.send(&method::TASKS_CANCEL, "").await?;
                if let Outcome::Error(error) = reply.outcome {
                    return Ok(self.refused(error));
                }
                for _ in 0..CANCEL_LOOKS {
                    match course.look().await? {
                        Ok(now) => seen = now,
                        Err(error) => return Ok(self.refused(error)),
                    }
                    if seen.status.is_over() {
                        break;
                    }
                    tokio::time::sleep(CANCEL_PAUSE).await;
                }
                Ok(self.told(seen.legacy(self.id)))
            }
        }
    }
}

/// What a legacy client hears that cancels a task too late.
fn over(seen: &Seen) -> Bytes {
    let message = format!("The task is {} already", seen.status.as_str());
    let error = json::object([
        ("code", code::INVALID_PARAMS.to_string()),
        ("message", json::string(&message)),
    ]);
    error.into()
}
