//! How the gate is doing: what `/health` and `/readyz` say, and the probes of what it depends on.
//!
//! Keeping the states is `observe::health`'s. What is tried here is what calls rely on; upstreams and issuers are not
//! asked for this alone, they say how their last use went.

use std::time::Duration;

use observe::AuditMode;
use observe::health::{Dependency, Health, Status};
use policy::Principal;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use upstream::{Link, Snapshot, State};
use wire::Revision;

use crate::Gate;
use crate::call::View;

/// How often dependencies are tried.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// After so long the database is slow. That it is gone is known when its own deadline has passed.
const DATABASE_SLOW: Duration = Duration::from_secs(2);
/// After so long without an answer it is taken for gone, though it has not said so: a call waits no longer, either.
const DATABASE_GONE: Duration = Duration::from_secs(5);

impl Gate {
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
            self.tell_components(&mut status, false);
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
        let mut status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": now.0.as_secs(),
            "ready": self.is_ready(),
            "audit_log": if self.is_recording() { "ok" } else { "not writable" },
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
        });
        self.tell_components(&mut status, true);
        status
    }

    /// Each dependency and each task beside the calls; to owners also why.
    fn tell_components(&self, status: &mut Value, is_whole: bool) {
        let health = self.parts.tasks.health();
        let list =
            |all: Vec<Status>| -> Value { all.iter().map(|one| one.to_json(is_whole)).collect() };
        status["dependencies"] = list(health.dependencies());
        status["tasks"] = list(health.tasks());
    }

    /// Whether calls can be taken and recorded.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.draining.is_cancelled() && self.is_recording() && self.parts.tasks.health().is_ready()
    }

    /// Whether a record would be kept: the last commit did not fail, none hangs, and nobody has just waited in vain.
    fn is_recording(&self) -> bool {
        let store = &self.parts.store;
        let oldest = store.backlog().oldest;
        store.is_writable()
            && !store.is_in_vain()
            && oldest.is_none_or(|waiting| waiting < DATABASE_GONE)
    }

    /// Where components say how they are.
    #[must_use]
    pub fn components(&self) -> &Health {
        self.parts.tasks.health()
    }

    /// Takes note of how an upstream is now; of one that the config no longer has, nothing.
    pub(crate) fn note_upstream(&self, link: &Link, snapshot: &Snapshot) {
        let links = self.links.lock();
        if !links
            .iter()
            .any(|one| std::ptr::eq(&raw const *one.link, link))
        {
            return;
        }
        let name = link.id().as_str();
        let component = self.components().dependency_of(Dependency::Upstream, name);
        let why: &str = snapshot
            .last_error
            .as_deref()
            .unwrap_or("it does not answer");
        match snapshot.state {
            State::Ready => component.ok(snapshot.latency),
            State::Starting => component.starting(),
            State::Down => component.down(&why),
            State::Waiting => component.degraded(&snapshot.state.as_str()),
            State::Stopped => component.stopped(),
        }
    }

    /// Tries what the gate depends on, until `stop`.
    pub(crate) async fn probe(&self, stop: &CancellationToken) {
        let database = async {
            let mut is_up = true;
            loop {
                is_up = self.probe_database(is_up).await;
                if timeout(PROBE_EVERY, stop.cancelled()).await.is_ok() {
                    return;
                }
            }
        };
        let others = async {
            loop {
                self.look_at_audit();
                self.look_at_shared();
                self.look_at_issuers();
                if timeout(PROBE_EVERY, stop.cancelled()).await.is_ok() {
                    return;
                }
            }
        };
        // A probe that waits for the database is not waited for at the end.
        tokio::select! {
            ((), ()) = async { tokio::join!(database, others) } => {}
            () = stop.cancelled() => {}
        }
    }

    /// A transaction, if the last one worked; the writer itself finds out when they work again. Whether it is up.
    ///
    /// Once it is down, nothing less than a transaction that is done says otherwise: that the next one is merely slow so
    /// far says nothing.
    async fn probe_database(&self, was_up: bool) -> bool {
        let component = self.components().dependency(Dependency::Database);
        if !self.parts.store.is_writable() {
            component.down(&"it cannot be written; the log says why");
            return false;
        }
        let clock = &self.parts.clock;
        let started = clock.now();
        let flush = self.parts.store.flush();
        tokio::pin!(flush);
        let mut done = timeout(DATABASE_SLOW, &mut flush).await;
        if done.is_err() {
            if was_up {
                component.degraded(&format_args!(
                    "a transaction takes longer than {DATABASE_SLOW:?}"
                ));
            }
            done = timeout(DATABASE_GONE.saturating_sub(DATABASE_SLOW), &mut flush).await;
        }
        let done = match done {
            Ok(done) => done,
            Err(_gone) => {
                component.down(&format_args!(
                    "a transaction takes longer than {DATABASE_GONE:?}"
                ));
                flush.await
            }
        };
        match &done {
            Ok(()) => component.ok(Some(clock.now().since(started))),
            Err(error) => component.down(error),
        }
        done.is_ok()
    }

    fn look_at_audit(&self) {
        let component = self.components().dependency(Dependency::Audit);
        let mode = self.parts.audit;
        component.detail(format!("mode {}", mode.as_str()));
        match mode {
            _ if !self.is_recording() => {
                component.down(&"records cannot be kept; the log says why");
            }
            AuditMode::Durable => component.ok(None),
            AuditMode::Off => component.degraded(&"mode `danger_off`: nothing is recorded"),
            AuditMode::Relaxed => {
                component
                    .degraded(&"mode `relaxed`: what was answered last may be lost in a crash");
            }
        }
    }

    fn look_at_shared(&self) {
        let component = self.components().dependency(Dependency::Shared);
        let status = self.counters.shared_status();
        component.detail(status.kind);
        if status.is_up {
            component.ok(None);
        } else {
            component.down(&status.last_error.as_deref().unwrap_or("it does not answer"));
        }
    }

    fn look_at_issuers(&self) {
        let issuers = self.parts.auth.issuers();
        let names: Vec<&str> = issuers.iter().map(|issuer| &*issuer.name).collect();
        self.components().keep_only(Dependency::Issuer, &names);
        for issuer in &issuers {
            let name = &issuer.name;
            let component = self.components().dependency_of(Dependency::Issuer, name);
            component.detail(&*issuer.place);
            match (&issuer.failed, issuer.has_keys) {
                (None, true) => component.ok(issuer.took),
                (None, false) => component.starting(),
                (Some(why), true) => {
                    component.degraded(&format_args!("{why}; its last keys go on for a while"));
                }
                (Some(why), false) => component.down(why),
            }
        }
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
