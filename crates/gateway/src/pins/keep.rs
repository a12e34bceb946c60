//! The task that pins what upstreams offer, and tells of what is withheld. The only one that does: so the verdict on one
//! list is never written over by that on an older one.

use std::sync::Arc;
use std::time::Duration;

use policy::UpstreamId;
use store::{Outcome, Placed};
use tokio_util::sync::CancellationToken;
use upstream::{Link, Snapshot, chain};

use super::{Finding, Known, Look, PinKind, title};
use crate::Gate;
use crate::record::Opening;

/// How often it is looked whether another process approved something.
const POLL: Duration = Duration::from_millis(200);
/// Most findings about one list that are told of one by one.
const TOLD_MAX: usize = 64;

impl Gate {
    /// Takes note of what an upstream says now. What it changed is withheld at once; what is new is on offer when its
    /// pin is on disk.
    pub(crate) fn see(&self, link: &Arc<Link>, snapshot: Arc<Snapshot>) {
        let seen = {
            let mut links = self.links.lock();
            let Some(running) = links.iter_mut().find(|one| Arc::ptr_eq(&one.link, link)) else {
                return;
            };
            match &mut running.unlearned {
                Some(unlearned) if unlearned.has_listing_of(&snapshot) => {
                    *unlearned = unlearned.at(snapshot);
                    return;
                }
                None if running.known.has_listing_of(&snapshot) => {
                    running.known = running.known.at(snapshot);
                    None
                }
                Some(_) | None => Some(snapshot),
            }
        };
        // Digests of long lists take their time: not under the lock. Only the task of this upstream comes here.
        if let Some(snapshot) = seen {
            let known = Known::of(link, snapshot);
            let withholds = self.pins.snapshot().is_at_odds(&known);
            let mut links = self.links.lock();
            let Some(running) = links.iter_mut().find(|one| Arc::ptr_eq(&one.link, link)) else {
                return;
            };
            if known.is_exempt() || !known.is_listed() {
                running.known = known;
            } else {
                // Of what was never listed nothing is served yet: then all of it comes at once.
                if withholds && running.known.is_listed() {
                    running.known = known.clone();
                }
                running.unlearned = Some(known);
                self.pins.told.notify_one();
            }
        }
        self.merge();
    }

    /// Has what was approved or forgotten hold at once: for who has just done so in this process.
    pub fn look_at_pins(&self) {
        self.pins.told.notify_one();
    }

    /// Pins what is to be pinned, and takes over what others decide, until the gate stops.
    pub(crate) async fn keep_pins(&self, stop: &CancellationToken) {
        let (mut is_blind, mut is_failing) = (false, false);
        loop {
            let told = tokio::time::timeout(POLL, self.pins.told.notified());
            let Some(told) = stop.run_until_cancelled(told).await else {
                return;
            };
            let changed = match self.pins.refresh() {
                Ok(changed) => {
                    is_blind = false;
                    changed
                }
                Err(error) => {
                    if !is_blind {
                        tracing::warn!(%error, "pins cannot be read; what was approved stays so");
                    }
                    is_blind = true;
                    false
                }
            };
            let has_more = told.is_ok() || self.owes_pins();
            if !(changed || has_more) {
                continue;
            }
            match self.learn_all().await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(
                            error = chain(&error),
                            "definitions cannot be pinned; new ones are withheld"
                        );
                    }
                    is_failing = true;
                }
            }
        }
    }

    /// Whether some list is not learned yet.
    fn owes_pins(&self) -> bool {
        self.links.lock().iter().any(|one| one.unlearned.is_some())
    }

    async fn learn_all(&self) -> Result<(), store::Error> {
        let turns: Vec<(Known, Look)> = {
            let links = self.links.lock();
            links
                .iter()
                .map(|running| match &running.unlearned {
                    Some(unlearned) => (unlearned.clone(), Look::New),
                    None => (running.known.clone(), Look::Again),
                })
                .collect()
        };
        let mut failed = Ok(());
        for (known, look) in turns {
            let upstream = known.link.id().clone();
            let policy = self.view().settings.pins.of(&upstream);
            let at = self.parts.clock.wall();
            let learned = self.pins.learn(&known, policy, look, at).await;
            if look == Look::New {
                self.set_known(known, learned.is_ok());
                self.merge();
            }
            match learned {
                Ok(findings) => self.tell_pins(&upstream, &findings).await,
                Err(error) => failed = Err(error),
            }
        }
        self.merge();
        failed
    }

    /// What was learned is what lists are merged of; what could not be is tried again.
    fn set_known(&self, known: Known, is_learned: bool) {
        let mut links = self.links.lock();
        let running = links
            .iter_mut()
            .find(|one| Arc::ptr_eq(&one.link, &known.link));
        let Some(running) = running else {
            return;
        };
        match running.unlearned.take() {
            Some(now) if now.has_listing_of(&known.snapshot) => {
                running.known = now.clone();
                running.unlearned = (!is_learned).then_some(now);
            }
            // Its turn comes next.
            newer => {
                running.known = known;
                running.unlearned = newer;
            }
        }
    }

    /// Says in the log and in the audit log what is withheld, and what was accepted.
    async fn tell_pins(&self, upstream: &UpstreamId, findings: &[Finding]) {
        let first = findings.iter().filter(|one| one.placed == Placed::First);
        let first = first.filter(|one| one.kind != PinKind::Server).count();
        if first > 0 {
            tracing::info!(%upstream, definitions = first, "pinned as they were first seen");
        }
        let news: Vec<(&Finding, &'static str, &'static str)> = findings
            .iter()
            .filter_map(|finding| {
                let (action, why) = worth_telling(finding.placed)?;
                Some((finding, action, why))
            })
            .collect();
        for (finding, action, why) in news.iter().take(TOLD_MAX) {
            let entry = title(upstream.as_str(), &finding.name);
            let kind = finding.kind.as_str();
            tracing::warn!(%upstream, kind, entry, definition = finding.digest, why, "{action}");
            self.record_pin(upstream, finding, action, &entry, why)
                .await;
        }
        let rest = news.len().saturating_sub(TOLD_MAX);
        if rest > 0 {
            tracing::warn!(%upstream, definitions = rest, "and more; `portcullis pin list --withheld` shows them all");
        }
    }

    async fn record_pin(
        &self,
        upstream: &UpstreamId,
        finding: &Finding,
        action: &'static str,
        entry: &str,
        why: &str,
    ) {
        let opening = Opening {
            principal: None,
            client: String::new(),
            address: None,
            transport: "-",
            revision: "-",
            method: action,
            bytes_in: 0,
        };
        let mut record = match self.open_record(opening).await {
            Ok(record) => record,
            Err(rejection) => {
                tracing::error!(%upstream, entry, error = chain(&rejection), "not recorded");
                return;
            }
        };
        record.note(|row| {
            row.principal = observe::SYSTEM.to_owned();
            row.upstream = Some(upstream.to_string());
            row.entry = Some(entry.to_owned());
            row.definition = Some(finding.digest.clone());
            row.reason = Some(format!("{} {why}", finding.kind.as_str()));
        });
        let outcome = match finding.placed {
            Placed::First | Placed::Accepted | Placed::Known => Outcome::Ok,
            Placed::WaitsAsNew | Placed::WaitsAsChanged | Placed::Full => Outcome::Refused,
        };
        if let Err(rejection) = record.close(outcome, 200, 0).await {
            tracing::error!(%upstream, entry, error = chain(&rejection), "not recorded");
        }
    }
}

/// What it is called in records, and why it is.
fn worth_telling(placed: Placed) -> Option<(&'static str, &'static str)> {
    match placed {
        Placed::First | Placed::Known => None,
        Placed::Accepted => Some(("pins/accepted", "changed, and the config accepts that")),
        Placed::WaitsAsNew => Some(("pins/withheld", "was never approved")),
        Placed::WaitsAsChanged => Some(("pins/withheld", "differs from what was approved")),
        Placed::Full => Some(("pins/withheld", "is more than is kept of one upstream")),
    }
}
