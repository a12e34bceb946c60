//! The gate itself: what lives from start to drain, and the frame around every call: open a record, run, reply.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::{Auth, Presented};
use bytes::Bytes;
use observe::{AuditLog, AuditMode, Metrics};
use parking_lot::Mutex;
use policy::{Clock, Facts, Principal, PrincipalId, ServerName};
use serde_json::{Value, json};
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
use crate::limits::{Counters, Place};
use crate::pins::{Known, Pins};
use crate::record::{CallRecord, Opening};
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
    audit: AuditLog,
    pub(crate) counters: Counters,
    pub(crate) desk: Desk,
    pub(crate) consents: Consents,
    flows: Flows,
    schemas: Schemas,
    pub(crate) sessions: Sessions,
    pub(crate) links: Mutex<Vec<Running>>,
    pub(crate) pins: Pins,
    /// Another number, another catalog.
    changes: watch::Sender<u64>,
    /// What upstreams tell of principals' affairs outside of calls.
    told: broadcast::Sender<Told>,
    tasks: TaskTracker,
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
        let gate = Arc::new(Self {
            pins,
            audit: AuditLog::new(parts.store.clone(), parts.audit),
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
            tasks: TaskTracker::new(),
            lingering: TaskTracker::new(),
            draining: CancellationToken::new(),
            stopping: CancellationToken::new(),
            parts,
        });
        gate.set_upstreams(gate.links_of(loaded.upstreams)?);
        let sweeper = Arc::clone(&gate);
        gate.tasks.spawn(async move { sweeper.sweep().await });
        let pinner = Arc::clone(&gate);
        gate.tasks.spawn(async move { pinner.keep_pins().await });
        let guard = Arc::clone(&gate);
        gate.tasks.spawn(async move { guard.sever().await });
        let herald = Arc::clone(&gate);
        gate.tasks.spawn(async move {
            let client = &herald.parts.client;
            herald
                .consents
                .send_announcements(client, &herald.stopping)
                .await;
        });
        let keeper = Arc::clone(&gate);
        gate.tasks
            .spawn(async move { keeper.parts.auth.upkeep(&keeper.stopping).await });
        let counting = Arc::clone(&gate);
        gate.tasks.spawn(async move {
            let (metrics, stop) = (&counting.parts.metrics, &counting.stopping);
            counting.counters.keep(metrics, stop).await;
        });
        Ok(gate)
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
                metrics.pins_withheld(gone.link.id(), 0);
                self.tasks.spawn(async move { gone.retire().await });
            }
        }
        for (link, stop) in fresh {
            let gate = Arc::clone(self);
            self.tasks.spawn(async move { gate.keep(link, stop).await });
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
        let mut restarts = 0;
        let merge = async {
            loop {
                let snapshot = known.borrow_and_update().clone();
                metrics.upstream_up(link.id(), snapshot.state == State::Ready);
                for _ in restarts..snapshot.restarts {
                    metrics.upstream_restarted(link.id());
                }
                restarts = snapshot.restarts;
                let has_ended = snapshot.state == State::Stopped;
                self.see(&link, snapshot);
                if has_ended || known.changed().await.is_err() {
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
        for one in &known {
            let withheld = pinned.withheld(one);
            self.parts.metrics.pins_withheld(one.link.id(), withheld);
        }
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

    async fn sweep(&self) {
        while tokio::time::timeout(SWEEP_EVERY, self.stopping.cancelled())
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
    async fn sever(&self) {
        let mut revoked = self.parts.auth.revocations().changes();
        while let Some(Ok(())) = self.stopping.run_until_cancelled(revoked.changed()).await {
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

    /// Ends everything: upstreams and their processes, and all tasks; the audit log is flushed last.
    pub async fn stop(&self, within: Duration) {
        self.drain();
        self.stopping.cancel();
        self.tasks.close();
        let end = async {
            self.tasks.wait().await;
            // A token that is on its way may be the only one.
            self.parts.auth.outbound().end().await;
        };
        if tokio::time::timeout(within, end).await.is_err() {
            tracing::warn!("some tasks did not end in time");
        }
        self.counters.flush().await;
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
        self.parts
            .auth
            .authenticate(presented)
            .await
            .map_err(Rejection::Unauthenticated)
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
        CallRecord::open(&self.audit, &self.parts.metrics, &self.parts.clock, opening).await
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

    /// The state of everything, as far as `principal` may know it: why an upstream is down names programs and
    /// addresses, which are the owner's business.
    #[must_use]
    pub fn health(&self, principal: &Principal) -> Value {
        let mut status = self.status();
        let upstreams = status.get_mut("upstreams").and_then(Value::as_array_mut);
        if !principal.is_owner() {
            for upstream in upstreams
                .into_iter()
                .flatten()
                .filter_map(Value::as_object_mut)
            {
                upstream.remove("last_error");
            }
            if let Some(catalog) = status["catalog"].as_object_mut() {
                catalog.remove("look_alikes");
            }
            if let Some(shared) = status["calls"]["shared"].as_object_mut() {
                shared.remove("last_error");
            }
        }
        status
    }

    /// The state of everything, for the owner.
    #[must_use]
    pub fn status(&self) -> Value {
        let now = self.parts.clock.now();
        let links = self.links.lock();
        let pinned = self.pins.snapshot();
        let upstreams: Vec<Value> = links
            .iter()
            .map(|running| {
                let snapshot = running.link.snapshot();
                json!({
                    "name": running.link.id().as_str(),
                    "state": snapshot.state.as_str(),
                    "since_seconds": now.since(snapshot.since).as_secs(),
                    "server": snapshot.listing.server,
                    "revision": snapshot.revision.map(Revision::as_str),
                    "tools": snapshot.listing.tools.len(),
                    "prompts": snapshot.listing.prompts.len(),
                    "resources": snapshot.listing.resources.len(),
                    "resource_templates": snapshot.listing.templates.len(),
                    "withheld": pinned.withheld(&running.known),
                    "restarts": snapshot.restarts,
                    "last_error": snapshot.last_error,
                })
            })
            .collect();
        let view = self.view();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.0.as_secs(),
            "ready": self.is_ready(),
            "audit_log": if self.parts.store.is_writable() { "ok" } else { "not writable" },
            "audit_mode": self.parts.audit.as_str(),
            "sessions": self.sessions.len(),
            "calls": self.counters.status(),
            "catalog": {
                "tools": view.catalog.tools.len(),
                "prompts": view.catalog.prompts.len(),
                "resources": view.catalog.resources.len(),
                "resource_templates": view.catalog.templates.len(),
                "look_alikes": look_alikes(&view),
            },
            "upstreams": upstreams,
        })
    }

    /// Counters and gauges.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Whether calls can be taken and recorded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining.is_cancelled() && self.parts.store.is_writable()
    }
}

/// What is withheld, or has its upstream's alias in front, because its name looks like another's.
fn look_alikes(view: &View) -> Vec<Value> {
    let catalog = &view.catalog;
    let all = catalog
        .tools
        .look_alikes
        .iter()
        .chain(&catalog.prompts.look_alikes);
    all.map(|one| {
        json!({
            "upstream": one.entry.link.id().as_str(),
            "name": if one.is_shown { &one.entry.item.key } else { &one.entry.key },
            "looks_like": one.like,
            "shown_as": one.is_shown.then_some(&one.entry.key),
        })
    })
    .collect()
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
