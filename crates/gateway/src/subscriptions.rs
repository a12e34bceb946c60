//! The resources that one client watches: a legacy session's, or those of one `subscriptions/listen`.
//!
//! Whether the client may watch a resource was decided on the way here, as for reading it; whether it may hear of an
//! update is decided when the update comes. Asking upstreams is [`upstream::Link::subscribe`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use policy::{Principal, ServerName};
use upstream::{Link, Subscription, Update, Updates};

use crate::call::may_read;
use crate::{Gate, Rejection, uri};

/// Resources that one client watches at once.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 1_000;

/// What one client watches, and what waits for it.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    held: Mutex<BTreeMap<String, Subscription>>,
    updates: Updates,
}

impl Subscriptions {
    /// Watches one more resource of that upstream.
    pub(crate) async fn add(&self, link: &Arc<Link>, uri: &str) -> Result<(), Rejection> {
        let has_room = |held: &BTreeMap<String, Subscription>| {
            if held.len() < SUBSCRIPTIONS_MAX {
                return Ok(());
            }
            Err(Rejection::NotAllowed(
                format!("no more than {SUBSCRIPTIONS_MAX} resources can be watched at once").into(),
            ))
        };
        {
            let held = self.held.lock();
            if held.contains_key(uri) {
                return Ok(());
            }
            has_room(&held)?;
        }
        let subscription = match link.subscribe(uri, &self.updates).await {
            Ok(subscription) => subscription,
            Err(upstream::Error::Refused { message, .. }) => {
                return Err(Rejection::BadParams(format!(
                    "`{uri}` cannot be subscribed to: {message}"
                )));
            }
            Err(cause) => {
                return Err(Rejection::Upstream {
                    upstream: link.id().clone(),
                    cause,
                });
            }
        };
        let mut held = self.held.lock();
        // Others may have come meanwhile.
        has_room(&held)?;
        held.insert(uri.to_owned(), subscription);
        Ok(())
    }

    /// Watches a resource no longer.
    pub(crate) fn remove(&self, uri: &str) {
        // Dropped outside of the lock: it has a lock of its own to take.
        let subscription = self.held.lock().remove(uri);
        drop(subscription);
    }

    /// The URIs that are watched.
    pub(crate) fn uris(&self) -> Vec<String> {
        self.held.lock().keys().cloned().collect()
    }

    /// The next update that the rules let the principal hear of, by the way of this server. Safe to drop while it waits.
    pub(crate) async fn next(
        &self,
        gate: &Gate,
        principal: &Principal,
        server: Option<&ServerName>,
    ) -> Update {
        loop {
            let update = self.updates.next().await;
            // A part of a watched resource is one that nobody has asked the rules about yet, and they may have changed.
            let Some(view) = gate.view_of(server) else {
                continue;
            };
            let (upstream, uri, facts) = (&update.upstream, &update.uri, gate.facts(""));
            if !uri::wanders(uri)
                && view.catalog.tells_of(upstream, uri)
                && may_read(principal, upstream, uri, &facts, &view)
            {
                return update;
            }
        }
    }
}
