//! What is held for one upstream: for each principal the token of this moment, so that a call looks and does not wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use parking_lot::{Mutex, RwLock};
use policy::Instant;
use serde::{Deserialize, Serialize};
use store::UpstreamTokenRow;
use zeroize::Zeroizing;

use super::challenge::Challenge;
use super::config::Upstream;
use super::discovery::Resource;
use super::error::OutboundError;
use super::token::Tokens;
use crate::Vault;

/// Principals that are remembered for one upstream; others are looked up in the store again.
const SLOTS_MAX: usize = 10_000;
/// A token is refreshed so long before its end, or a fifth of its life if that is less.
const AHEAD: Duration = Duration::from_secs(60);
/// Whoever asks so soon after a failure gets that failure.
pub(super) const FAILURE_KEPT: Duration = Duration::from_secs(5);
/// The principal of the gate's own access. No principal has it: a name is not empty.
pub(super) const OWN: &str = "";

/// One upstream.
pub(super) struct Account {
    pub(super) settings: Upstream,
    slots: RwLock<HashMap<Box<str>, Arc<Slot>>>,
    /// What the upstream said last to one without a token.
    pub(super) challenge: Mutex<Option<Challenge>>,
    /// Held while we become a client of its authorization server, so that we become one.
    pub(super) joining: tokio::sync::Mutex<()>,
}

/// What one principal has with it.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) held: ArcSwapOption<Held>,
    /// Held while tokens are obtained, so that many calls obtain one.
    pub(super) turn: tokio::sync::Mutex<()>,
    /// What the upstream wants beyond what the token is good for.
    pub(super) more: Mutex<Option<Challenge>>,
    pub(super) failed: Mutex<Option<(Instant, OutboundError)>>,
    /// What the authorization server calls the principal in tokens that it exchanges, where it has a name of its own.
    subject: Mutex<Option<Box<str>>>,
}

/// A token in use.
pub(super) struct Held {
    /// `Authorization`, as it is sent.
    pub(super) header: HeaderValue,
    pub(super) tokens: Tokens,
    pub(super) resource: Resource,
    pub(super) since: SystemTime,
}

/// What is kept of it, sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The upstream's endpoint when it was granted: a token is never sent to another.
    url: String,
    resource: Resource,
    tokens: Tokens,
}

impl Account {
    pub(super) fn new(settings: Upstream) -> Self {
        Self {
            settings,
            slots: RwLock::default(),
            challenge: Mutex::default(),
            joining: tokio::sync::Mutex::default(),
        }
    }

    /// The slot of a principal, if it was used before.
    pub(super) fn known(&self, principal: &str) -> Option<Arc<Slot>> {
        self.slots.read().get(principal).cloned()
    }

    /// The slot of a principal.
    pub(super) fn slot(&self, principal: &str) -> Arc<Slot> {
        if let Some(slot) = self.known(principal) {
            return slot;
        }
        let mut slots = self.slots.write();
        if slots.len() >= SLOTS_MAX {
            // What nobody is using is in the store as well.
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(principal.into()).or_default())
    }

    /// Has everything looked up in the store again.
    pub(super) fn doubt(&self) {
        let slots = self.slots.read();
        slots.values().for_each(|slot| slot.held.store(None));
    }

    /// Forgets what is remembered of a principal.
    pub(super) fn forget(&self, principal: &str) {
        if let Some(slot) = self.slots.write().remove(principal) {
            slot.held.store(None);
        }
    }

    /// Whether a token may name `subject` that was exchanged for `whose`: by the same name, or by one that is no other
    /// principal's, stays the same, and is noted then.
    pub(super) fn is_named(&self, whose: &str, subject: &str) -> bool {
        if subject == whose {
            return self.note_name(whose, subject);
        }
        let us = self.settings.client.as_ref();
        us.is_none_or(|us| us.id != subject)
            && self.known(subject).is_none()
            && self.note_name(whose, subject)
    }

    fn note_name(&self, whose: &str, subject: &str) -> bool {
        let slot = self.slot(whose);
        let slots = self.slots.write();
        let is_anothers = slots.iter().any(|(principal, slot)| {
            **principal != *whose && slot.subject.lock().as_deref() == Some(subject)
        });
        let mut known = slot.subject.lock();
        let is_same = known.as_deref().is_none_or(|known| known == subject);
        if is_same && !is_anothers {
            *known = Some(subject.into());
        }
        is_same && !is_anothers
    }

    /// Opens what the store keeps; `None` if it was sealed for something else or granted for another endpoint.
    pub(super) fn open(&self, vault: &Vault, row: &UpstreamTokenRow) -> Option<Held> {
        let purpose = purpose(&row.issuer, &row.upstream, &row.principal);
        let text = vault.open(&purpose, &row.sealed).ok()?;
        let kept: Kept = serde_json::from_slice(&text).ok()?;
        if kept.url != self.settings.url.as_str() {
            return None;
        }
        Held::new(kept.tokens, kept.resource, row.since).ok()
    }

    /// Seals what is held for the store.
    pub(super) fn seal(
        &self,
        vault: &Vault,
        held: &Held,
        principal: &str,
    ) -> Result<UpstreamTokenRow, OutboundError> {
        let failed = |error| OutboundError::unavailable("a seal", error);
        let kept = Kept {
            url: self.settings.url.to_string(),
            resource: held.resource.clone(),
            tokens: held.tokens.clone(),
        };
        let text = serde_json::to_vec(&kept)
            .map(Zeroizing::new)
            .map_err(|error| OutboundError::unavailable("a seal", error))?;
        let upstream = self.settings.id.as_str();
        let purpose = purpose(&held.resource.issuer, upstream, principal);
        Ok(UpstreamTokenRow {
            issuer: held.resource.issuer.clone(),
            upstream: upstream.to_owned(),
            principal: principal.to_owned(),
            sealed: vault.seal(&purpose, &text).map_err(failed)?,
            since: held.since,
            is_stale: false,
        })
    }
}

/// What a row of `upstream_tokens` is sealed for. No part of it can hold a line break.
pub(crate) fn purpose(issuer: &str, upstream: &str, principal: &str) -> String {
    format!("upstream_tokens/sealed\n{issuer}\n{upstream}\n{principal}")
}

impl Held {
    pub(super) fn new(
        tokens: Tokens,
        resource: Resource,
        since: SystemTime,
    ) -> Result<Self, OutboundError> {
        let text = Zeroizing::new(format!("Bearer {}", *tokens.access));
        let mut header = HeaderValue::try_from(text.as_str())
            .map_err(|_bad| OutboundError::untrusted("a token", "it fits no header"))?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            tokens,
            resource,
            since,
        })
    }

    /// Whether it can be used without a thought.
    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let Some(end) = self.end() else { return true };
        let life = end.duration_since(self.obtained()).unwrap_or_default();
        now + AHEAD.min(life / 5) < end
    }

    /// Whether it still holds.
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.end().is_none_or(|end| now < end)
    }

    pub(super) fn obtained(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.tokens.obtained_at)
    }

    fn end(&self) -> Option<SystemTime> {
        Some(UNIX_EPOCH + Duration::from_secs(self.tokens.expires_at?))
    }
}

impl Slot {
    /// The header of a token that can be used without a thought.
    pub(super) fn fresh(&self, now: SystemTime) -> Option<HeaderValue> {
        let held = self.held.load();
        let held = held.as_ref().filter(|held| held.is_fresh(now))?;
        Some(held.header.clone())
    }

    /// How obtaining failed a moment ago.
    pub(super) fn failure(&self, now: Instant) -> Option<OutboundError> {
        let failed = self.failed.lock();
        let (at, error) = failed.as_ref()?;
        (now.since(*at) < FAILURE_KEPT).then(|| error.clone())
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
