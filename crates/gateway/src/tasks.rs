//! Calls that go on after their answer: *tasks*, the core feature of 2025-11-25 and the extension of 2026-07-28.
//!
//! | client | upstream | a task |
//! |---|---|---|
//! | legacy | legacy | is passed through, ids exchanged |
//! | modern | modern | is passed through, ids exchanged |
//! | legacy | modern | the upstream learns that tasks are welcome when the client wishes one; `tasks/result` looks again and again, and asks the client what the task wants to know |
//! | modern | legacy | the gate wishes the task; `tasks/get` holds result and questions, which `tasks/update` answers |
//! | none of both | either | the gate waits for the task itself and answers the call with its result |
//!
//! An id that a client holds is the upstream's own, sealed together with whose it is and where it goes: it routes after
//! a restart, for its principal alone. How the two forms look is `form`, what a client asks of a task `follow`, what is
//! kept of a legacy upstream's questions `vigil`, and `run` waits for a task to its end.

mod follow;
mod form;
mod run;
#[cfg(test)]
mod tests;
mod vigil;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use policy::{Instant, PrincipalId};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::{Caller, Item, Notice, Reply, Told};
use wire::{Abilities, Era, Outcome, Params, Revision, json};

use crate::Rejection;
use crate::exchange::{Desk, Exchange};
use crate::seal::{KEY_LEN, Stamp};

pub(crate) use run::carry;

use form::Seen;
use vigil::Vigil;

/// What the key of task ids is derived for.
const PURPOSE: &str = "portcullis task id";
/// Tasks that `tasks/list` can tell of: all of them, and those of one principal. The oldest are forgotten first; what is
/// forgotten can still be asked for by its id.
const LISTED_MAX: usize = 4096;
const LISTED_OF_ONE_MAX: usize = 256;
/// The capability that a modern client needs for anything about tasks.
const NEEDED: &str = "{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}";

/// What stands in a task id that a client holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Task {
    /// Whose it is.
    principal: String,
    /// The alias of its upstream.
    pub(crate) upstream: String,
    /// The tool, by the upstream's own name: who may no longer call it may no longer ask for its tasks.
    pub(crate) tool: String,
    /// The upstream's own id.
    pub(crate) id: String,
    /// The era whose form it has.
    era: Era,
    /// The client that made it, as far as it decides which conversation with the upstream knows the task.
    caller: (Era, Abilities),
}

/// The seal on task ids, and what is remembered of tasks beside what stands in them.
#[derive(Debug)]
pub(crate) struct Tasks {
    stamp: Stamp,
    /// Newest last.
    listed: Mutex<VecDeque<(String, Task)>>,
    /// Legacy tasks that a modern client is asked something for, by our ids.
    vigils: Mutex<HashMap<String, Arc<Vigil>>>,
    keepers: TaskTracker,
    over: CancellationToken,
}

impl Tasks {
    /// Nothing known so far. `node_key` outlives the process, and so do ids.
    ///
    /// # Errors
    /// If no key can be made of it.
    pub(crate) fn new(node_key: &[u8; KEY_LEN]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        Ok(Self {
            stamp: Stamp::new(node_key, PURPOSE)?,
            listed: Mutex::default(),
            vigils: Mutex::default(),
            keepers: TaskTracker::new(),
            over: CancellationToken::new(),
        })
    }

    /// The task that a client names, if the id is ours and this principal's.
    pub(crate) fn open(&self, id: &str, principal: &PrincipalId) -> Option<Task> {
        let task = Task::read(&self.stamp.open(id)?)?;
        (task.principal == principal.as_str()).then_some(task)
    }

    /// The id for clients. The same task has the same id each time.
    fn id(&self, task: &Task) -> Result<String, Rejection> {
        self.stamp.close(&task.write()).ok_or(Rejection::Busy)
    }

    /// Keeps a task for lists, at the cost of the oldest.
    fn list(&self, id: String, task: Task) {
        let mut listed = self.listed.lock();
        if listed.iter().any(|(known, _)| *known == id) {
            return;
        }
        let of_one = |(_, other): &&(String, Task)| other.principal == task.principal;
        if listed.iter().filter(of_one).count() >= LISTED_OF_ONE_MAX {
            let oldest = listed
                .iter()
                .position(|(_, other)| other.principal == task.principal);
            oldest.and_then(|at| listed.remove(at));
        } else if listed.len() >= LISTED_MAX {
            listed.pop_front();
        }
        listed.push_back((id, task));
    }

    /// Forgets a task that its upstream no longer knows.
    fn unlist(&self, id: &str) {
        self.listed.lock().retain(|(known, _)| known != id);
    }

    /// Those of one principal, oldest first.
    fn listed_of(&self, principal: &PrincipalId) -> Vec<(String, Task)> {
        let listed = self.listed.lock();
        listed
            .iter()
            .filter(|(_, task)| task.principal == principal.as_str())
            .cloned()
            .collect()
    }

    /// What an upstream says of a legacy task of this principal, in the words of its client.
    pub(crate) fn told(&self, principal: &PrincipalId, told: &Told) -> Option<Notice> {
        let upstream = told.upstream.as_ref()?;
        let theirs = json::text(&told.notice.params, "taskId")?;
        let listed = self.listed.lock();
        let (ours, _) = listed.iter().find(|(_, task)| {
            task.id == theirs
                && task.upstream == upstream.as_str()
                && task.principal == principal.as_str()
        })?;
        let params = form::renamed(&told.notice.params, &theirs, ours);
        Some(Notice::new(told.notice.method.as_str(), params))
    }

    /// Gives up questions whose client did not come back.
    pub(crate) fn sweep(&self, now: Instant) {
        self.vigils.lock().retain(|_, vigil| vigil.until > now);
    }

    /// Ends what runs for tasks, and waits for it.
    pub(crate) async fn end(&self) {
        self.over.cancel();
        self.keepers.close();
        self.keepers.wait().await;
        self.vigils.lock().clear();
    }
}

impl Task {
    fn read(content: &[u8]) -> Option<Self> {
        type Content = (String, String, String, String, u8);
        let (principal, upstream, tool, id, bits): Content =
            serde_json::from_slice(content).ok()?;
        let bit = |at: u8| bits & (1 << at) != 0;
        let era = |at| if bit(at) { Era::Modern } else { Era::Legacy };
        let abilities = Abilities {
            sampling: bit(2),
            sampling_tools: bit(3),
            form: bit(4),
            url: bit(5),
            roots: bit(6),
            tasks: false,
        };
        Some(Self {
            principal,
            upstream,
            tool,
            id,
            era: era(0),
            caller: (era(1), abilities),
        })
    }

    fn write(&self) -> Vec<u8> {
        let (caller, can) = self.caller;
        let bits = [
            self.era == Era::Modern,
            caller == Era::Modern,
            can.sampling,
            can.sampling_tools,
            can.form,
            can.url,
            can.roots,
        ];
        let bits = bits
            .iter()
            .rev()
            .fold(0_u8, |bits, bit| bits << 1 | u8::from(*bit));
        // Strings and a number: nothing in them cannot be written.
        serde_json::to_vec(&(&self.principal, &self.upstream, &self.tool, &self.id, bits))
            .unwrap_or_default()
    }

    /// Has a request go where the task is known: into the conversation in which it was made.
    pub(crate) fn direct(&self, caller: &mut Caller) {
        (caller.era, caller.abilities) = self.caller;
        if self.era == Era::Modern && caller.era == Era::Legacy {
            welcome(caller);
        }
    }
}

/// Whether this client may ask for tasks at all: its revision has them, some upstream offers them, and a modern client
/// says that it knows them.
pub(crate) fn may_ask(
    revision: Revision,
    caller: &Caller,
    are_offered: bool,
    method: &str,
) -> Result<(), Rejection> {
    if !revision.has_tasks() || !are_offered {
        return Err(Rejection::UnknownMethod(method.to_owned()));
    }
    if revision.era() == Era::Modern && !caller.abilities.tasks {
        return Err(Rejection::MissingCapability(NEEDED));
    }
    Ok(())
}

/// How a legacy tool stands to tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Support {
    Forbidden,
    Optional,
    Required,
}

impl Support {
    fn of(tool: &Item) -> Self {
        let said = tool
            .member("execution")
            .and_then(|raw| json::text(raw.as_bytes(), "taskSupport"));
        match said.as_deref() {
            Some("optional") => Self::Optional,
            Some("required") => Self::Required,
            Some(_) | None => Self::Forbidden,
        }
    }
}

impl Desk {
    /// Makes a tool call that may come to a task: its upstream has tasks.
    pub(crate) async fn call_tool(
        &self,
        mut exchange: Exchange<'_>,
        tool: &Item,
        revision: Revision,
    ) -> Result<Reply, Rejection> {
        let caller = &mut exchange.request.caller;
        let takes_tasks = match revision.era() {
            Era::Modern => caller.abilities.tasks,
            Era::Legacy => revision.has_tasks() && exchange.request.params.wants_task,
        };
        if takes_tasks && revision.era() == Era::Legacy {
            welcome(caller);
        }
        let is_wished = match (Support::of(tool), revision) {
            // A client of this revision that wishes no task means it.
            (_, Revision::V2025_11_25) | (Support::Forbidden, _) => false,
            (Support::Optional, _) => takes_tasks,
            (Support::Required, _) => true,
        };
        if is_wished && exchange.speaks_legacy() && !exchange.request.params.wants_task {
            let text = json::with_members(exchange.request.params.text(), "\"task\":{}");
            exchange.request.params = Params::read(text.into()).map_err(Rejection::BadParams)?;
        }
        if !takes_tasks {
            exchange.carrier = Some(self.tasks.keepers.clone());
            return self.exchange(exchange).await;
        }
        let caller = &exchange.request.caller;
        let (era, principal) = (exchange.era, exchange.principal.to_string());
        let origin = (caller.era, caller.abilities);
        let upstream = exchange.link.id().clone();
        let reply = self.exchange(exchange).await?;
        let (seen, meta) = match Seen::created(&reply) {
            None => return Ok(reply),
            Some(Ok(created)) => created,
            Some(Err(what)) => {
                let cause = upstream::Error::Protocol(what);
                return Err(Rejection::Upstream { upstream, cause });
            }
        };
        let task = Task {
            principal,
            upstream: upstream.to_string(),
            tool: tool.key.clone(),
            id: seen.id.clone(),
            era: reply.era,
            caller: origin,
        };
        let id = self.tasks.id(&task)?;
        let text = match (era, reply.outcome) {
            (client, Outcome::Result(text)) if client == reply.era => {
                form::renamed(&text, &seen.id, &id)
            }
            (Era::Legacy, _) => {
                let task = seen.legacy(&id);
                let meta = meta
                    .as_deref()
                    .and_then(|raw| std::str::from_utf8(raw).ok());
                let members = [("task", Some(task.as_str())), ("_meta", meta)];
                let there = members
                    .into_iter()
                    .filter_map(|(name, raw)| Some((name, raw?)));
                json::object(there).into()
            }
            (Era::Modern, _) => {
                let meta = meta
                    .as_deref()
                    .and_then(|raw| std::str::from_utf8(raw).ok());
                let mut extra = "\"resultType\":\"task\"".to_owned();
                if let Some(meta) = meta {
                    extra = format!("{extra},\"_meta\":{meta}");
                }
                seen.modern(&id, seen.status, &extra).into()
            }
        };
        self.tasks.list(id, task);
        Ok(Reply {
            outcome: Outcome::Result(text),
            era,
        })
    }
}

/// Says for a client that tasks of the extension are welcome.
fn welcome(caller: &mut Caller) {
    let said = caller.capabilities.as_deref().unwrap_or("{}");
    let extensions = json::member(said.as_bytes(), "extensions").ok().flatten();
    let extensions = extensions.map_or("{}", serde_json::value::RawValue::get);
    let others = json::without(extensions.as_bytes(), Abilities::TASKS);
    let member = format!("{}:{{}}", json::string(Abilities::TASKS));
    let extensions = json::with_members(&others, &member);
    let extensions = format!("\"extensions\":{}", String::from_utf8_lossy(&extensions));
    let rest = json::without(said.as_bytes(), "extensions");
    caller.capabilities = String::from_utf8(json::with_members(&rest, &extensions)).ok();
}
