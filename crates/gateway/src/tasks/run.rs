//! Waits for a task to its end, and has the client asked what the task wants to know meanwhile.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use upstream::{Caller, Events, Link, Reply, Request};
use wire::method::{self, Method};
use wire::{Era, Outcome, Params, code, json};

use super::form::{Seen, Status, related};
use super::welcome;
use crate::Rejection;
use crate::exchange::{InputRequest, ask_all, input_requests};

/// How long a task is waited for at most.
const RUN_MAX: Duration = Duration::from_secs(60 * 60);
/// How long an upstream may take to hear that a task is not wanted any more.
const CANCEL_MAX: Duration = Duration::from_secs(10);

/// A task at its upstream, and how to speak of it there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Course<'a> {
    pub(super) link: &'a Arc<Link>,
    pub(super) caller: &'a Caller,
    /// The upstream's own id.
    pub(super) id: &'a str,
    /// Where the client is asked.
    pub(super) events: Option<&'a Events>,
}

/// Makes a call for a client that takes no task: if it comes to one, it is waited for.
pub(crate) async fn carry(
    link: &Arc<Link>,
    request: &Request,
    events: Option<&Events>,
    carrier: &TaskTracker,
) -> Result<Reply, Rejection> {
    let mut reply = call(link, request, events).await?;
    let mut request = std::borrow::Cow::Borrowed(request);
    // A modern client says itself whether it takes tasks; for a legacy one we do, once it is needed.
    if request.caller.era == Era::Legacy && needs_tasks(&reply) {
        welcome(&mut request.to_mut().caller);
        reply = call(link, &request, events).await?;
    }
    let Some(created) = Seen::created(&reply) else {
        return Ok(reply);
    };
    let (seen, _) = created.map_err(|what| garbage(link, what))?;
    let course = Course {
        link,
        caller: &request.caller,
        id: &seen.id,
        events,
    };
    let mut unwanted = Unwanted {
        cancel: Some(course.request(&method::TASKS_CANCEL, "")?),
        link,
        carrier,
    };
    let reply = match reply.era {
        Era::Legacy => course.result().await?,
        Era::Modern => course.watch(None).await?,
    };
    unwanted.cancel = None;
    Ok(reply)
}

/// A task for which nobody waits any more once this is dropped; then its upstream is told, unless the task is over.
struct Unwanted<'a> {
    cancel: Option<Request>,
    link: &'a Arc<Link>,
    carrier: &'a TaskTracker,
}

impl Drop for Unwanted<'_> {
    fn drop(&mut self) {
        let (Some(cancel), Ok(runtime)) = (self.cancel.take(), Handle::try_current()) else {
            return;
        };
        let link = Arc::clone(self.link);
        let tell = async move {
            // Nobody is left to be told that it cannot be cancelled.
            drop(tokio::time::timeout(CANCEL_MAX, link.call(&cancel, None)).await);
        };
        self.carrier.spawn_on(tell, &runtime);
    }
}

async fn call(
    link: &Arc<Link>,
    request: &Request,
    events: Option<&Events>,
) -> Result<Reply, Rejection> {
    let reply = Box::pin(link.call(request, events)).await;
    reply.map_err(|cause| failed(link, cause))
}

/// Whether a modern upstream can answer only with a task.
fn needs_tasks(reply: &Reply) -> bool {
    let Outcome::Error(error) = &reply.outcome else {
        return false;
    };
    let is_it = matches!(json::member(error, "code"), Ok(Some(raw)) if raw.get() == code::MISSING_CAPABILITY.to_string());
    // Where else would an error of this code name the extension?
    is_it && String::from_utf8_lossy(error).contains(wire::Abilities::TASKS)
}

pub(super) fn failed(link: &Link, cause: upstream::Error) -> Rejection {
    Rejection::Upstream {
        upstream: link.id().clone(),
        cause,
    }
}

pub(super) fn garbage(link: &Link, what: String) -> Rejection {
    failed(link, upstream::Error::Protocol(what))
}

impl Course<'_> {
    /// A request of ours about the task; `extra` are further members of its parameters, each with a comma in front.
    pub(super) fn request(
        &self,
        method: &'static Method,
        extra: &str,
    ) -> Result<Request, Rejection> {
        let params = format!("{{\"taskId\":{}{extra}}}", json::string(self.id));
        Ok(Request {
            method,
            extension: None,
            params: Params::read(params.into()).map_err(Rejection::BadParams)?,
            name: None,
            task_id: None,
            input: None,
            mirrored: Vec::new(),
            trace: None,
            caller: self.caller.clone(),
        })
    }

    /// Sends one of them.
    pub(super) async fn send(
        &self,
        method: &'static Method,
        extra: &str,
    ) -> Result<Reply, Rejection> {
        let request = self.request(method, extra)?;
        call(self.link, &request, None).await
    }

    /// How the task is doing; or the upstream's error object.
    pub(super) async fn look(&self) -> Result<Result<Seen, Bytes>, Rejection> {
        match self.send(&method::TASKS_GET, "").await?.outcome {
            Outcome::Result(text) => Seen::read(&text)
                .map(Ok)
                .map_err(|what| garbage(self.link, what)),
            Outcome::Error(error) => Ok(Err(error)),
        }
    }

    /// The result of a legacy task, once there is one. What the upstream asks goes to the client as it comes.
    pub(super) async fn result(&self) -> Result<Reply, Rejection> {
        let request = self.request(&method::TASKS_RESULT, "")?;
        self.within(async {
            loop {
                match Box::pin(self.link.call(&request, self.events)).await {
                    // It is silent for as long as the task runs: whether it does is asked in between.
                    Err(upstream::Error::Silent { .. }) => {}
                    answer => return answer.map_err(|cause| failed(self.link, cause)),
                }
                if let Err(error) = self.look().await? {
                    return Ok(refused(error, Era::Legacy));
                }
            }
        })
        .await
    }

    /// The result of a modern task, once there is one. What the task wants to know a legacy client is asked, as
    /// belonging to the task that it knows as `known_as`.
    pub(super) async fn watch(&self, known_as: Option<&str>) -> Result<Reply, Rejection> {
        let mut answered = HashSet::new();
        self.within(async {
            loop {
                let seen = match self.look().await? {
                    Ok(seen) => seen,
                    Err(error) => return Ok(refused(error, Era::Modern)),
                };
                if seen.status.is_over() {
                    return self.outcome(&seen);
                }
                if seen.status == Status::InputRequired {
                    self.answer(&seen, known_as, &mut answered).await?;
                }
                tokio::time::sleep(seen.poll_interval()).await;
            }
        })
        .await
    }

    /// What a modern task came to.
    fn outcome(&self, seen: &Seen) -> Result<Reply, Rejection> {
        let lacks =
            |what: &str| garbage(self.link, format!("a task that is over without `{what}`"));
        let outcome = match seen.status {
            Status::Completed => {
                let result = seen.member("result").ok_or_else(|| lacks("result"))?;
                Outcome::Result(result.clone())
            }
            Status::Failed => {
                let error = seen.member("error").ok_or_else(|| lacks("error"))?;
                Outcome::Error(error.clone())
            }
            Status::Cancelled | Status::Working | Status::InputRequired => {
                let error = format!("{{\"code\":{},\"message\":\"Cancelled\"}}", code::CANCELLED);
                Outcome::Error(error.into())
            }
        };
        Ok(Reply {
            outcome,
            era: Era::Modern,
        })
    }

    /// Asks the client what it was not asked yet, and tells the upstream.
    async fn answer(
        &self,
        seen: &Seen,
        known_as: Option<&str>,
        answered: &mut HashSet<String>,
    ) -> Result<(), Rejection> {
        let Some(raw) = seen.member("inputRequests") else {
            return Ok(());
        };
        let asked = input_requests(raw).map_err(|what| garbage(self.link, what))?;
        let new: Vec<InputRequest> = asked
            .into_iter()
            // The upstream may be slow to learn of an answer, and ask again.
            .filter(|asked| answered.insert(asked.key.clone()))
            .map(|asked| match known_as {
                Some(id) => InputRequest {
                    params: related(&asked.params, id),
                    ..asked
                },
                None => asked,
            })
            .collect();
        let can = self.caller.abilities;
        if let Some(unfit) = new
            .iter()
            .find(|asked| !can.allow(&asked.method, &asked.params))
        {
            let what = format!("it asks for `{}`, which the client cannot do", unfit.method);
            return Err(garbage(self.link, what));
        }
        if new.is_empty() {
            return Ok(());
        }
        let responses = ask_all(self.events, &new).await?;
        let extra = format!(",\"inputResponses\":{responses}");
        match self.send(&method::TASKS_UPDATE, &extra).await?.outcome {
            Outcome::Result(_) => Ok(()),
            Outcome::Error(_) => Err(garbage(self.link, "it takes no answers".to_owned())),
        }
    }

    async fn within(
        &self,
        wait: impl Future<Output = Result<Reply, Rejection>>,
    ) -> Result<Reply, Rejection> {
        let silent = upstream::Error::Silent { waited: RUN_MAX };
        tokio::time::timeout(RUN_MAX, wait)
            .await
            .unwrap_or_else(|_elapsed| Err(failed(self.link, silent)))
    }
}

fn refused(error: Bytes, era: Era) -> Reply {
    Reply {
        outcome: Outcome::Error(error),
        era,
    }
}
