//! The gate itself: what lives from start to drain, and the frame around every call: open a record, run, reply.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::{Auth, Presented};
use bytes::Bytes;
use observe::health::{Dependency, Order, Task, Tasks as Supervised};
use observe::trace::Tracer;
use observe::{AuditLog, AuditMode, Metrics};
use parking_lot::Mutex;
use policy::{Clock, Facts, Principal, PrincipalId, ServerName};
use serde_json::Value;
use store::shared::Shared;
use store::{Outcome, Store};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upstream::{Events, Link, Spec, State, Told, chain};
use wire::{MethodName, Revision, encode};

use crate::call::{self, Asked, Means, View, Yield};
use crate::catalog::Catalog;
use crate::consents::Consents;
use crate::credentials::Obtained;
use crate::exchange::Desk;
use crate::flows::Flows;
use crate::happened::{Happened, Happenings};
use crate::lifecycle::Lifecycle;
use crate::limits::{Counters, Place};
use crate::metrics::{attempted, tell_of_end};
use crate::pins::{Known, Pins};
use crate::record::{CallRecord, Opening, Recorder};
use crate::rejection::Challenge;
use crate::schemas::Schemas;
use crate::seal::Seal;
use crate::session::Sessions;
use crate::tasks::Tasks;
use crate::views::Views;
use crate::{Rejection, Settings, translate};

/// How long an upstream that was taken out of the config may go on with the calls it is at.
const RETIRE_MAX: Duration = Duration::from_secs(60);
/// How often sessions that nobody uses are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long what looks after the gate's state may take to end, once there are no calls.
const UPKEEP_STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// What upstreams told of principals' affairs and a slow listener has not heard yet.
const TOLD_MAX: usize = 256;

/// What the gate is built from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The way out.
    pub client: net::Client,
    /// Durable state.
    pub store: Store,
    /// When a record of the audit log counts as written.
    pub audit: AuditMode,
    /// Counters that other gates may share.
    pub shared: Arc<dyn Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters and gauges.
    pub metrics: Metrics,
    /// Makes spans of calls.
    pub tracer: Tracer,
    /// What runs beside the calls, and how everything is.
    pub tasks: Supervised,
    /// Who is known.
    pub auth: Arc<Auth>,
    /// The program that watches over child processes; see [`upstream::SUPERVISE`].
    pub supervisor: Option<PathBuf>,
}

/// What a config comes to: replaced as a whole by a reload.
#[derive(Debug)]
pub struct Loaded {
    /// What the stages read.
    pub settings: Settings,
    /// The upstreams, in their order.
    pub upstreams: Vec<Spec>,
    /// By which the audit log knows this config: SHA-256, hex; `None`: it has none.
    pub digest: Option<String>,
}

/// Why a gate cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A built-in pack cannot be set up.
    #[error(transparent)]
    Upstream(#[from] upstream::Error),
    /// The system gives no random bytes, without which nothing can be sealed.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// What is pinned is not known.
    #[error("pins cannot be read")]
    Pins(#[source] store::Error),
}

/// One guarded gate.
#[derive(Debug)]
pub struct Gate {
    pub(crate) parts: Parts,
    views: ArcSwap<Views>,
    recorder: Arc<Recorder>,
    pub(crate) counters: Counters,
    pub(crate) desk: Desk,
    pub(crate) consents: Consents,
    flows: Flows,
    pub(crate) schemas: Schemas,
    pub(crate) sessions: Sessions,
    pub(crate) links: Mutex<Vec<Running>>,
    pub(crate) pins: Pins,
    /// Another number, another catalog.
    changes: watch::Sender<u64>,
    /// What upstreams tell of principals' affairs outside of calls.
    told: broadcast::Sender<Told>,
    /// What happens to the gate itself, on its way to the audit log.
    pub(crate) happenings: Happenings,
    /// Upstreams that are no longer in the config and end once their calls are answered.
    retiring: TaskTracker,
    /// Calls whose client went away and which go on all the same.
    pub(crate) lingering: TaskTracker,
    /// Ends open streams.
    pub(crate) draining: CancellationToken,
    /// Ends upstreams and everything else.
    pub(crate) stopping: CancellationToken,
}

/// An upstream and what is known of it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) link: Arc<Link>,
    stop: CancellationToken,
    /// What lists are merged of.
    pub(crate) known: Known,
    /// What it says now, if that is not pinned yet.
    pub(crate) unlearned: Option<Known>,
}

impl Running {
    /// Has its definitions judged anew, as if it had just listed them.
    fn look_again(&mut self) {
        self.unlearned.get_or_insert_with(|| self.known.clone());
    }

    /// Ends an upstream that the config no longer has, once the calls that it is at are answered.
    async fn retire(self) {
        let quiet = tokio::time::timeout(RETIRE_MAX, self.link.quiet());
        tokio::select! {
            _ = quiet => {}
            () = self.stop.cancelled() => {}
        }
        self.stop.cancel();
    }
}

/// A whole JSON-RPC message for the client, and what HTTP says beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The message.
    pub body: Bytes,
    /// When it may be tried again.
    pub retry_after: Option<Duration>,
    /// What is wrong with the credential, if that is why.
    pub challenge: Option<Challenge>,
}

impl Gate {
    /// Starts the gate and its upstreams.
    ///
    /// # Errors
    /// If a built-in pack cannot be set up, or the system gives no random bytes.
    pub fn start(parts: Parts, loaded: Loaded) -> Result<Arc<Self>, StartError> {
        let counters = Counters::new(
            &loaded.settings.limits,
            Arc::clone(&parts.shared),
            parts.store.clone(),
            Arc::clone(&parts.clock),
        );
        let pins = Pins::open(parts.store.clone()).map_err(StartError::Pins)?;
        let audit = AuditLog::new(parts.store.clone(), parts.audit);
        let recorder = Recorder::new(audit, &parts.metrics, &parts.tracer, &parts.clock);
        let gate = Arc::new(Self {
            pins,
            recorder: Arc::new(recorder),
            views: ArcSwap::from_pointee(Views::first(loaded.settings)),
            counters,
            desk: Desk::new(
                Seal::ephemeral().map_err(|_unspecified| StartError::NoRandomness)?,
                Tasks::new(parts.store.node_key())
                    .map_err(|_unspecified| StartError::NoRandomness)?,
            ),
            schemas: Schemas::new(),
            flows: Flows::default(),
            consents: Consents::new(parts.store.clone(), Arc::clone(&parts.clock)),
            sessions: Sessions::default(),
            links: Mutex::default(),
            changes: watch::channel(0).0,
            told: broadcast::channel(TOLD_MAX).0,
            happenings: Happenings::default(),
            retiring: TaskTracker::new(),
            lingering: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            parts,
        });
        gate.tell_metrics();
        let links = gate.links_of(loaded.upstreams)?;
        gate.note(Happened {
            about: Some(env!("CARGO_PKG_VERSION").to_owned()),
            digest: loaded.digest,
            reason: Some(format!("audit.mode = {}", gate.parts.audit.as_str())),
            ..Happened::new("gate/started")
        });
        gate.set_upstreams(links);
        gate.supervise(Task::Happenings, |gate, stop| async move {
            gate.record_happenings(&stop).await;
        });
        gate.supervise(
            Task::Sweep,
            |gate, stop| async move { gate.sweep(&stop).await },
        );
        gate.supervise(Task::Pins, |gate, stop| async move {
            gate.keep_pins(&stop).await;
        });
        gate.supervise(
            Task::Sever,
            |gate, stop| async move { gate.sever(&stop).await },
        );
        gate.supervise(Task::Announcements, |gate, stop| async move {
            let client = &gate.parts.client;
            gate.consents.send_announcements(client, &stop).await;
        });
        gate.supervise(Task::Credentials, |gate, stop| async move {
            gate.parts.auth.upkeep(&stop).await;
        });
        gate.supervise(Task::Limits, |gate, stop| async move {
            gate.counters.keep(&stop).await;
        });
        gate.supervise(Task::Probes, |gate, stop| async move {
            gate.probe(&stop).await;
        });
        Ok(gate)
    }

    /// Has `run` run beside the calls until the gate stops.
    fn supervise<R>(self: &Arc<Self>, task: Task, run: fn(Arc<Self>, CancellationToken) -> R)
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let gate = Arc::clone(self);
        let tasks = &self.parts.tasks;
        tasks.supervise(task, move |stop| run(Arc::clone(&gate), stop));
    }

    /// Takes over another config. Calls in flight keep the old one to their end; upstreams that did not change
    /// stay as they are.
    ///
    /// # Errors
    /// If a built-in pack cannot be set up; then nothing changed.
    pub fn reload(self: &Arc<Self>, loaded: Loaded) -> Result<(), upstream::Error> {
        // First what can fail, then what changes something.
        let links = self.links_of(loaded.upstreams)?;
        self.counters.resize(&loaded.settings.limits);
        {
            // Under the mergers' lock: none of them may put the old settings back.
            let mut links = self.links.lock();
            let before = self.view();
            if before.settings.pins != loaded.settings.pins {
                links.iter_mut().for_each(Running::look_again);
                self.pins.told.notify_one();
            }
            let catalog = Arc::clone(&before.catalog);
            let settings = Arc::new(loaded.settings);
            let known: Vec<Known> = links.iter().map(|running| running.known.clone()).collect();
            let views = self.views.load().next(&settings, &catalog, &known);
            self.views.store(Arc::new(views));
        }
        self.set_upstreams(links);
        Ok(())
    }

    /// A link for each: those that run already, and new ones that do not run yet.
    fn links_of(self: &Arc<Self>, specs: Vec<Spec>) -> Result<Vec<Arc<Link>>, upstream::Error> {
        let running: Vec<Arc<Link>> = {
            let links = self.links.lock();
            links.iter().map(|one| Arc::clone(&one.link)).collect()
        };
        let link_of = |spec: Spec| match running.iter().find(|link| *link.spec() == spec) {
            Some(link) => Ok(Arc::clone(link)),
            None => Link::new(spec, self.upstream_parts()).map(Arc::new),
        };
        specs.into_iter().map(link_of).collect()
    }

    fn set_upstreams(self: &Arc<Self>, wanted: Vec<Arc<Link>>) {
        let mut fresh = Vec::new();
        let metrics = &self.parts.metrics;
        {
            let mut links = self.links.lock();
            let mut next = Vec::with_capacity(wanted.len());
            for link in wanted {
                if let Some(at) = links
                    .iter()
                    .position(|running| Arc::ptr_eq(&running.link, &link))
                {
                    next.push(links.swap_remove(at));
                } else {
                    let stop = self.stopping.child_token();
                    fresh.push((Arc::clone(&link), stop.clone()));
                    next.push(Running {
                        known: Known::first(&link),
                        unlearned: None,
                        link,
                        stop,
                    });
                }
            }
            for gone in std::mem::replace(&mut *links, next) {
                self.note(Happened {
                    upstream: Some(gone.link.id().clone()),
                    ..Happened::new("upstream/removed")
                });
                self.retiring.spawn(async move { gone.retire().await });
            }
        }
        {
            let links = self.links.lock();
            let names: Vec<&str> = links.iter().map(|one| one.link.id().as_str()).collect();
            self.components().keep_only(Dependency::Upstream, &names);
            metrics.upstreams_are(|id| names.contains(&id.as_str()));
        }
        for (link, stop) in fresh {
            let (gate, id) = (Arc::clone(self), link.id().clone());
            let run = move |stop| {
                let (gate, link) = (Arc::clone(&gate), Arc::clone(&link));
                async move { gate.keep(link, stop).await }
            };
            let tasks = &self.parts.tasks;
            tasks.supervise_of(Task::Upstream, id.as_str(), stop, run);
        }
        self.merge();
    }

    fn upstream_parts(self: &Arc<Self>) -> upstream::Parts {
        let gate = Arc::downgrade(self);
        upstream::Parts {
            client: self.parts.client.clone(),
            clock: Arc::clone(&self.parts.clock),
            supervisor: self.parts.supervisor.clone(),
            credentials: Arc::new(Obtained(Arc::clone(&self.parts.auth))),
            told: self.told.clone(),
            native: upstream::native::Parts {
                client: self.parts.client.clone(),
                store: self.parts.store.clone(),
                clock: Arc::clone(&self.parts.clock),
                status: Arc::new(move || gate.upgrade().map_or(Value::Null, |gate| gate.status())),
            },
        }
    }

    /// Runs one upstream and merges its lists into the catalog whenever they change.
    async fn keep(&self, link: Arc<Link>, stop: CancellationToken) {
        let metrics = &self.parts.metrics;
        let mut known = link.watch();
        let mut before = link.snapshot();
        let clock = &self.parts.clock;
        let mut life = Lifecycle::new(link.id().clone(), clock.now());
        let merge = async {
            loop {
                let snapshot = known.borrow_and_update().clone();
                if !link.is_in_process()
                    && let Some(happened) = life.see(&snapshot, clock.now())
                {
                    self.note(happened);
                }
                tell_of_end(metrics, &link, &before, &snapshot);
                before = Arc::clone(&snapshot);
                self.note_upstream(&link, &snapshot);
                let has_ended = snapshot.state == State::Stopped;
                self.see(&link, snapshot);
                if has_ended {
                    return;
                }
                // What is held back of an upstream that flaps is recorded also if it does so no more.
                let changed = loop {
                    let Some(due) = life.due(clock.now()) else {
                        break known.changed().await;
                    };
                    if let Ok(changed) = tokio::time::timeout(due, known.changed()).await {
                        break changed;
                    }
                    life.release(clock.now())
                        .into_iter()
                        .for_each(|happened| self.note(happened));
                };
                if changed.is_err() {
                    return;
                }
            }
        };
        tokio::join!(link.run(stop), merge);
    }

    pub(crate) fn merge(&self) {
        // The lock makes mergers take turns, so that no older list overwrites a newer one.
        let links = self.links.lock();
        let known: Vec<Known> = links.iter().map(|running| running.known.clone()).collect();
        let pinned = self.pins.snapshot();
        let view = self.view();
        let settings = Arc::clone(&view.settings);
        let catalog = Catalog::merge(&known, &settings, &pinned, &view.catalog);
        self.parts.metrics.screened(&catalog.found);
        let views = self
            .views
            .load()
            .next(&settings, &Arc::new(catalog), &known);
        self.views.store(Arc::new(views));
        self.changes.send_modify(|count| *count += 1);
    }

    async fn sweep(&self, stop: &CancellationToken) {
        while tokio::time::timeout(SWEEP_EVERY, stop.cancelled())
            .await
            .is_err()
        {
            let now = self.parts.clock.now();
            self.sessions.sweep(&self.view().settings.sessions, now);
            self.desk.sweep(now);
            self.flows.sweep(now);
            self.consents.sweep().await;
        }
        self.desk.end().await;
    }

    /// Ends sessions whose owner's credential was revoked.
    async fn sever(&self, stop: &CancellationToken) {
        let mut revoked = self.parts.auth.revocations().changes();
        while let Some(Ok(())) = stop.run_until_cancelled(revoked.changed()).await {
            self.sessions
                .sever(|principal| !self.parts.auth.is_withdrawn(principal));
        }
    }

    /// Ends open streams and takes no more calls; those in flight go on.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Waits for calls whose client went away and which go on all the same. For the end: none may come after it.
    pub async fn lingered(&self) {
        self.lingering.close();
        self.lingering.wait().await;
    }

    /// Ends everything: upstreams and their processes, then what looks after the gate's state; what is still to be written
    /// is written last. What carries records away goes on ([`Order::Records`]).
    pub async fn stop(&self, within: Duration) {
        self.drain();
        self.stopping.cancel();
        let tasks = &self.parts.tasks;
        tasks.stop(Order::Calls, within).await;
        self.retiring.close();
        let end = async {
            self.retiring.wait().await;
            // A token that is on its way may be the only one.
            self.parts.auth.outbound().end().await;
        };
        if tokio::time::timeout(within, end).await.is_err() {
            tracing::warn!("tokens for upstreams that were on their way are given up");
        }
        tasks.stop(Order::Upkeep, UPKEEP_STOP_TIMEOUT).await;
        self.counters.flush().await;
        self.record_happened(Happened::new("gate/stopped")).await;
        if let Err(error) = self.parts.store.flush().await {
            tracing::error!(%error, "the audit log could not be flushed");
        }
    }

    /// Says who is calling.
    ///
    /// # Errors
    /// If what was presented does not tell, or is not valid.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Arc<Principal>, Rejection> {
        let tried = self.parts.auth.authenticate(presented).await;
        let metrics = &self.parts.metrics;
        metrics.auth_attempt(presented.kind(), attempted(&tried));
        tried.map_err(Rejection::Unauthenticated)
    }

    /// Identity: who is known, and all that goes with it.
    #[must_use]
    pub fn auth(&self) -> &Arc<Auth> {
        &self.parts.auth
    }

    /// Config and whole catalog of this moment.
    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.load().whole)
    }

    /// The same for a virtual server; `None` if there is none of that name any more.
    pub(crate) fn view_of(&self, server: Option<&ServerName>) -> Option<Arc<View>> {
        self.views.load().of(server)
    }

    /// What rules may ask about outside of a call: nothing is known of arguments.
    pub(crate) fn facts<'a>(&self, client: &'a str) -> Facts<'a> {
        Facts {
            arguments: None,
            client,
            now: self.parts.clock.wall(),
        }
    }

    /// Tells of every new catalog.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// A place for something of a principal's that has upstreams asked.
    pub(crate) async fn enter(&self, principal: &PrincipalId) -> Result<Place, Rejection> {
        self.counters.enter(principal).await
    }

    /// Tells of what upstreams say of principals' affairs outside of calls.
    pub(crate) fn told(&self) -> broadcast::Receiver<Told> {
        self.told.subscribe()
    }

    /// Waits for upstreams that are starting for the first time, so that the list right after a start is whole;
    /// none of them is waited for longer than the list deadline after its start.
    pub async fn settle(&self) {
        if !self.view().catalog.is_settling {
            return;
        }
        let now = self.parts.clock.now();
        let deadline = self.view().settings.catalog.list_deadline;
        let left = |running: &Running| {
            let snapshot = &running.known.snapshot;
            (snapshot.state == State::Starting)
                .then(|| deadline.saturating_sub(now.since(snapshot.since)))
        };
        let left = self.links.lock().iter().filter_map(left).max();
        let mut changes = self.changes();
        let settled = changes.wait_for(|_| !self.view().catalog.is_settling);
        // Late or not, the list is what is known then; it names what is missing.
        drop(tokio::time::timeout(left.unwrap_or_default(), settled).await);
    }

    /// One request in, one reply out, one audit record kept, whatever happens between.
    ///
    /// Notifications go to `events`, if anybody wants them; `cancel` is how the client gives the call up.
    pub(crate) async fn answer(
        &self,
        asked: &Asked,
        events: Option<&Events>,
        cancel: Option<&CancellationToken>,
    ) -> Reply {
        let id = Some(asked.request.id());
        let opening = Opening {
            principal: Some(&asked.principal),
            client: asked.client.clone(),
            address: asked.address,
            transport: asked.transport,
            revision: asked.revision.as_str(),
            method: known_name(&asked.request.method),
            bytes_in: asked.request.bytes().len(),
        };
        let mut record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(rejection) => return unrecorded(id, asked.revision, &rejection),
        };
        record.of_server(asked.server.as_ref());
        record.of_trace(self.trace_of(&asked.request, asked.carrier.clone()));
        let _in_flight = self.parts.metrics.call_in_flight();
        let yielded = async {
            if is_list(asked) {
                Box::pin(self.settle()).await;
            }
            let server = asked.server.as_ref();
            let view = self.view_of(server).ok_or(Rejection::UnknownServer)?;
            let means = Means {
                counters: &self.counters,
                desk: &self.desk,
                consents: &self.consents,
                schemas: &self.schemas,
                flows: &self.flows,
                console: self.parts.auth.site().base(),
            };
            match call::run(asked, &view, &means, events, &mut record).await {
                // What is unknown so soon after the start may be on its way.
                Err(rejection) if rejection.is_unknown() && view.catalog.is_settling => {
                    Box::pin(self.settle()).await;
                    let view = self.view_of(server).ok_or(Rejection::UnknownServer)?;
                    Box::pin(call::run(asked, &view, &means, events, &mut record)).await
                }
                yielded => yielded,
            }
        };
        let yielded = match cancel {
            None => yielded.await,
            Some(cancel) => tokio::select! {
                biased;
                yielded = yielded => yielded,
                () = cancel.cancelled() => Err(Rejection::Cancelled),
            },
        };
        let (outcome, reply) = match yielded {
            Ok(Yield::Result {
                text,
                is_tool_error,
            }) => {
                let body = Bytes::from(encode::response(asked.request.id(), &text));
                let outcome = if is_tool_error {
                    Outcome::ToolError
                } else {
                    Outcome::Ok
                };
                let reply = Reply {
                    status: 200,
                    body,
                    retry_after: None,
                    challenge: None,
                };
                (outcome, reply)
            }
            Ok(Yield::Error(error)) => {
                let body = Bytes::from(encode::error_object(asked.request.id(), &error));
                record.note(|row| {
                    row.code = wire::json::member(&error, "code")
                        .ok()
                        .flatten()
                        .and_then(|raw| raw.get().parse().ok());
                    row.reason = Some("the upstream answered with an error".to_owned());
                });
                let status = translate::error_status(asked.revision.era(), &error);
                let reply = Reply {
                    status,
                    body,
                    retry_after: None,
                    challenge: None,
                };
                (Outcome::Failed, reply)
            }
            Err(rejection) => {
                return Box::pin(self.reject(record, id, asked.revision, &rejection)).await;
            }
        };
        match record.close(outcome, reply.status, reply.body.len()).await {
            Ok(()) => reply,
            Err(rejection) => unrecorded(id, asked.revision, &rejection),
        }
    }

    pub(crate) async fn open_record(&self, opening: Opening<'_>) -> Result<CallRecord, Rejection> {
        let keeping = Arc::clone(&self.view().settings.keeping);
        CallRecord::open(&self.recorder, keeping, opening).await
    }

    /// Records a rejection and says it in the sender's terms.
    pub(crate) async fn reject(
        &self,
        mut record: CallRecord,
        id: Option<&str>,
        revision: Revision,
        rejection: &Rejection,
    ) -> Reply {
        let response = rejection.response(revision);
        self.parts.metrics.rejected(rejection.reason());
        if let Rejection::TooMany { limit, .. } = rejection {
            self.parts.metrics.limit_hit(limit.as_str());
        }
        record.note(|row| {
            row.code = Some(i64::from(response.code));
            row.reason = Some(chain(rejection));
        });
        let reply = error_reply(id, revision, &response, Some(record.id()));
        let outcome = match rejection {
            Rejection::Cancelled => Outcome::Cancelled,
            rejection if rejection.is_refusal() => Outcome::Refused,
            _ => Outcome::Failed,
        };
        match record.close(outcome, reply.status, reply.body.len()).await {
            Ok(()) => reply,
            Err(rejection) => unrecorded(id, revision, &rejection),
        }
    }

    /// Makes spans of calls.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.parts.tracer
    }

    /// Counters and gauges.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }
}

/// Whether a request is for one of the merged lists.
fn is_list(asked: &Asked) -> bool {
    asked.request.method.as_str().ends_with("/list")
}

/// A method name for records and metrics: from the table or `other`, never the client's word.
pub(crate) fn known_name(method: &MethodName) -> &'static str {
    match method {
        MethodName::Known(method) => method.name,
        MethodName::Unknown(_) => "other",
    }
}

/// An error reply about a call that the audit log could not take.
pub(crate) fn unrecorded(id: Option<&str>, revision: Revision, rejection: &Rejection) -> Reply {
    tracing::error!(error = chain(rejection), "a call was refused");
    error_reply(id, revision, &rejection.response(revision), None)
}

pub(crate) fn error_reply(
    id: Option<&str>,
    revision: Revision,
    response: &crate::Response,
    call: Option<&str>,
) -> Reply {
    let mut data = response.data.clone().unwrap_or_default();
    if let Some(call) = call {
        if !data.is_empty() {
            data.push(',');
        }
        data.push_str("\"call\":");
        data.push_str(&wire::json::string(call));
    }
    let data = (!data.is_empty()).then(|| format!("{{{data}}}"));
    let (code, message, data) = (response.code, &response.message, data.as_deref());
    // An id that could not be read is null in JSON-RPC, and since 2025-11-25 not there in MCP.
    let body = match id {
        None if revision >= Revision::V2025_11_25 => encode::error_without_id(code, message, data),
        id => encode::error(id, code, message, data),
    };
    Reply {
        status: response.status,
        body: body.into(),
        retry_after: response.retry_after,
        challenge: response.challenge.clone(),
    }
}
