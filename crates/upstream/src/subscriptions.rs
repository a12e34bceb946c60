//! Resources that clients watch: one subscription of the upstream for each, however many clients watch it.
//!
//! The table outlives connections. Having a server tell of what stands in it is [`crate::watching`]'s; whether a client
//! may hear of a resource is the gate's.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use policy::UpstreamId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wire::json;

use crate::Error;

/// Resources of one upstream that are watched at once.
const WATCHED_MAX: usize = 10_000;
/// A URI of more bytes is not watched.
const URI_MAX: usize = 8 * 1024;
/// How long a resource that nobody watches any more is kept subscribed: the next one may be about to come.
const GRACE: Duration = Duration::from_secs(1);
/// Updates that wait for one client. Beyond it those of parts of a resource become one of the whole.
const WAITING_MAX: usize = 1_000;
/// Of an update with more bytes only the URI is passed on.
const PARAMS_MAX: usize = 4 * 1024;

/// What clients watch at one upstream.
#[derive(Debug)]
pub(crate) struct Table {
    upstream: UpstreamId,
    watched: Mutex<BTreeMap<String, Watched>>,
    last_number: AtomicU64,
    /// Another number, another set of resources.
    changes: watch::Sender<u64>,
}

#[derive(Debug)]
struct Watched {
    listeners: Vec<(u64, Updates)>,
    standing: watch::Sender<Standing>,
    /// It was subscribed on a connection before: what happened in between is not known.
    is_again: bool,
    /// Since when nobody watches it.
    left: Option<Instant>,
}

/// What became of asking the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not answered yet.
    Asked,
    /// It tells of changes.
    Honoured,
    /// It does not, and said why.
    Refused(String),
}

/// One client's wish to hear of one resource; ends when dropped.
#[derive(Debug)]
pub struct Subscription {
    table: Arc<Table>,
    uri: String,
    number: u64,
    standing: watch::Receiver<Standing>,
}

impl Subscription {
    /// Waits for the upstream's answer.
    pub(crate) async fn settled(&self) -> Standing {
        let mut standing = self.standing.clone();
        let settled = standing.wait_for(|standing| *standing != Standing::Asked);
        match settled.await {
            Ok(standing) => standing.clone(),
            // The table keeps an entry for as long as somebody watches it.
            Err(_) => Standing::Refused("it is gone".to_owned()),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.table.leave(&self.uri, self.number);
    }
}

impl Table {
    pub(crate) fn new(upstream: UpstreamId) -> Self {
        Self {
            upstream,
            watched: Mutex::default(),
            last_number: AtomicU64::default(),
            changes: watch::channel(0).0,
        }
    }

    /// Has `updates` hear of a resource.
    pub(crate) fn enter(
        self: &Arc<Self>,
        uri: &str,
        updates: &Updates,
    ) -> Result<Subscription, Error> {
        if uri.len() > URI_MAX {
            return Err(Error::Protocol("the URI is too long".to_owned()));
        }
        let number = self.last_number.fetch_add(1, Ordering::Relaxed);
        let standing = {
            let mut all = self.watched.lock();
            if all.len() >= WATCHED_MAX && !all.contains_key(uri) {
                return Err(Error::Full);
            }
            let watched = all.entry(uri.to_owned()).or_insert_with(|| Watched {
                listeners: Vec::new(),
                standing: watch::channel(Standing::Asked).0,
                is_again: false,
                left: None,
            });
            watched.left = None;
            watched.listeners.push((number, updates.clone()));
            // What was refused to another is asked for anew.
            watched.standing.send_if_modified(|standing| {
                let was_refused = matches!(standing, Standing::Refused(_));
                if was_refused {
                    *standing = Standing::Asked;
                }
                was_refused
            });
            watched.standing.subscribe()
        };
        self.changed();
        Ok(Subscription {
            table: Arc::clone(self),
            uri: uri.to_owned(),
            number,
            standing,
        })
    }

    fn leave(&self, uri: &str, number: u64) {
        {
            let mut all = self.watched.lock();
            let Some(watched) = all.get_mut(uri) else {
                return;
            };
            watched.listeners.retain(|(other, _)| *other != number);
            if !watched.listeners.is_empty() {
                return;
            }
            watched.left = Some(Instant::now());
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Tells of every change of the set.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What the upstream should tell of, as far as it did not refuse; and when that may be less.
    pub(crate) fn wanted(&self, now: Instant) -> (BTreeSet<String>, Option<Instant>) {
        let mut all = self.watched.lock();
        all.retain(|_, watched| watched.left.is_none_or(|left| now < left + GRACE));
        let wanted = all
            .iter()
            .filter(|(_, watched)| !matches!(*watched.standing.borrow(), Standing::Refused(_)))
            .map(|(uri, _)| uri.clone())
            .collect();
        let next = all.values().filter_map(|watched| watched.left).min();
        (wanted, next.map(|left| left + GRACE))
    }

    /// What the upstream knew of us is lost: all must be asked for again.
    pub(crate) fn begin_again(&self) {
        for watched in self.watched.lock().values_mut() {
            watched.is_again |= *watched.standing.borrow() == Standing::Honoured;
            watched.standing.send_replace(Standing::Asked);
        }
    }

    /// The upstream's answer about one resource.
    pub(crate) fn settle(&self, uri: &str, standing: Standing) {
        let mut all = self.watched.lock();
        let Some(watched) = all.get_mut(uri) else {
            return;
        };
        if let Standing::Refused(why) = &standing {
            tracing::debug!(upstream = %self.upstream, why, "a resource cannot be watched");
        } else if std::mem::take(&mut watched.is_again) {
            // Changes may have come while nobody listened.
            self.pass_on(watched, uri, uri, &bare(uri));
        }
        watched.standing.send_replace(standing);
    }

    /// The upstream told that a resource changed: one that is watched, or a part of one.
    pub(crate) fn tell(&self, params: &Bytes) {
        let Some(uri) = json::text(params, "uri").filter(|uri| uri.len() <= URI_MAX) else {
            return;
        };
        let short = (params.len() <= PARAMS_MAX).then(|| params.clone());
        let params = short.unwrap_or_else(|| bare(&uri));
        let all = self.watched.lock();
        if let Some(watched) = all.get(&uri) {
            self.pass_on(watched, &uri, &uri, &params);
        }
        for whole in wholes(&uri) {
            if let Some(watched) = all.get(whole) {
                self.pass_on(watched, whole, &uri, &params);
            }
        }
    }

    /// Nobody knows what changed: everything may have.
    pub(crate) fn tell_all(&self) {
        for (uri, watched) in &*self.watched.lock() {
            self.pass_on(watched, uri, uri, &bare(uri));
        }
    }

    fn pass_on(&self, watched: &Watched, whole: &str, uri: &str, params: &Bytes) {
        for (_, updates) in &watched.listeners {
            updates.put(&self.upstream, whole, uri, params);
        }
    }
}

/// The URIs of which this one is a part: what stands before each of its `/`, `?` and `#`, with and without it.
fn wholes(uri: &str) -> impl Iterator<Item = &str> {
    let ends = uri.match_indices(['/', '?', '#']);
    ends.flat_map(|(at, _)| [uri.get(..at), uri.get(..=at)])
        .flatten()
        .filter(move |whole| whole.len() < uri.len())
}

fn bare(uri: &str) -> Bytes {
    format!("{{\"uri\":{}}}", json::string(uri)).into()
}

/// A resource that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Whose resource it is.
    pub upstream: UpstreamId,
    /// The resource: a watched one or a part of it.
    pub uri: String,
    /// The parameters of the notification, as the upstream wrote them.
    pub params: Bytes,
}

/// Where updates wait for a client: of each resource the last one.
#[derive(Debug, Clone, Default)]
pub struct Updates(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<(UpstreamId, String)>,
    latest: HashMap<(UpstreamId, String), Bytes>,
}

impl Updates {
    /// The next update. Safe to drop while it waits.
    pub async fn next(&self) -> Update {
        loop {
            if let Some(update) = self.take() {
                return update;
            }
            self.0.came.notified().await;
        }
    }

    fn take(&self) -> Option<Update> {
        let mut queue = self.0.queue.lock();
        let key = queue.order.pop_front()?;
        let params = queue.latest.remove(&key).unwrap_or_default();
        if !queue.order.is_empty() {
            // Whoever waits beside us may have the next.
            self.0.came.notify_one();
        }
        drop(queue);
        let (upstream, uri) = key;
        Some(Update {
            upstream,
            uri,
            params,
        })
    }

    fn put(&self, upstream: &UpstreamId, whole: &str, uri: &str, params: &Bytes) {
        let mut queue = self.0.queue.lock();
        let is_full = queue.order.len() >= WAITING_MAX;
        let (uri, params) = if is_full && uri != whole {
            (whole, bare(whole))
        } else {
            (uri, params.clone())
        };
        let key = (upstream.clone(), uri.to_owned());
        if queue.latest.insert(key.clone(), params).is_none() {
            queue.order.push_back(key);
        }
        drop(queue);
        self.0.came.notify_one();
    }
}

#[cfg(test)]
mod tests;
