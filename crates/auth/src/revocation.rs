//! What no longer holds: looked at for every request and every open stream, kept in the store, known within a second.
//!
//! All revocations are in memory, so that a look costs neither I/O nor a lock. What this process revokes it knows at
//! once; what another does (the command line, beside a running gate) it notices by [`Revocations::watch`]. A gate that
//! has not been able to look for [`STALE_MAX`] trusts nobody: an old list would let in what was shut out since.
//! That streams end is their holders' affair: they ask again on each of [`Revocations::changes`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use policy::{Clock, Credential, Instant, Principal, PrincipalId, Token};
use store::{Changes, Counts, RevocationRow, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::AuthError;

/// How often it is looked what other processes revoked.
const POLL: Duration = Duration::from_millis(200);
/// How old the list may be when somebody is let in by it.
const STALE_MAX: Duration = Duration::from_secs(10);
/// How often a request tries for itself to read a list that is too old.
const RETRY: Duration = Duration::from_secs(1);
/// How often what can match nothing any more is looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked<'a> {
    /// An API key, by its public id; one of the config too.
    Key(&'a str),
    /// One access token.
    Token {
        /// The config's name for its issuer.
        issuer: &'a str,
        /// Its `jti`.
        jti: &'a str,
    },
    /// What the embedded authorization server gave a client, and all tokens under it.
    Grant(&'a str),
    /// A browser's session.
    Session(&'a str),
    /// Every token of a principal that was issued before now, and its grants and sessions. Keys are not: they have
    /// ends of their own.
    User(&'a PrincipalId),
    /// A principal, with all that it has and will have, until [`Revocations::lift`].
    Disabled(&'a PrincipalId),
    /// All tokens signed with a key.
    SigningKey {
        /// The config's name for the issuer.
        issuer: &'a str,
        /// The id of its key.
        kid: &'a str,
    },
    /// All that an OAuth client has.
    Client(&'a str),
    /// A client certificate, by the SHA-256 of its DER form, in hex.
    Certificate(&'a str),
}

impl<'a> Revoked<'a> {
    /// The kinds, as [`Revoked::kind`] names them.
    pub const KINDS: [&'static str; 9] = [
        "key",
        "token",
        "grant",
        "session",
        "user",
        "disabled",
        "signing-key",
        "client",
        "certificate",
    ];

    /// Its kind, for lists and records.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Token { .. } => "token",
            Self::Grant(_) => "grant",
            Self::Session(_) => "session",
            Self::User(_) => "user",
            Self::Disabled(_) => "disabled",
            Self::SigningKey { .. } => "signing-key",
            Self::Client(_) => "client",
            Self::Certificate(_) => "certificate",
        }
    }

    /// Whose it is, if it is an issuer's; and which one.
    fn name(&self) -> (&'a str, &'a str) {
        match *self {
            Self::Token { issuer, jti } => (issuer, jti),
            Self::SigningKey { issuer, kid } => (issuer, kid),
            Self::User(id) | Self::Disabled(id) => ("", id.as_str()),
            Self::Key(id)
            | Self::Grant(id)
            | Self::Session(id)
            | Self::Client(id)
            | Self::Certificate(id) => ("", id),
        }
    }
}

/// The revocations of this moment.
#[derive(Debug)]
pub struct Revocations {
    store: Store,
    clock: Arc<dyn Clock>,
    source: Mutex<Source>,
    snapshot: ArcSwap<Snapshot>,
    /// Another number, other keys in the store.
    keys: AtomicI64,
    /// When the store was last read, in nanoseconds of the clock.
    read_at: AtomicU64,
    changes: watch::Sender<u64>,
}

/// Where it is read from.
#[derive(Debug, Default)]
struct Source {
    /// `None` after it failed: it is opened again.
    changes: Option<Changes>,
    /// What was read last.
    counts: Option<Counts>,
    tried_at: Option<Instant>,
}

impl Revocations {
    /// What the store says.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(store: Store, clock: Arc<dyn Clock>) -> Result<Arc<Self>, store::Error> {
        let revocations = Self {
            store,
            clock,
            source: Mutex::default(),
            snapshot: ArcSwap::default(),
            keys: AtomicI64::new(0),
            read_at: AtomicU64::new(0),
            changes: watch::channel(0).0,
        };
        revocations.refresh()?;
        Ok(Arc::new(revocations))
    }

    /// Revokes, from now on. `until` is when nothing that this could match holds any longer by itself: then it may be
    /// forgotten; `None` if that is never.
    ///
    /// # Errors
    /// If it cannot be written; then nothing is revoked.
    pub async fn revoke(
        &self,
        what: Revoked<'_>,
        until: Option<SystemTime>,
        by: &str,
        reason: &str,
    ) -> Result<(), store::Error> {
        let (issuer, id) = what.name();
        let row = RevocationRow {
            kind: what.kind().to_owned(),
            issuer: issuer.to_owned(),
            id: id.to_owned(),
            revoked_at: self.clock.wall(),
            until,
            by: by.to_owned(),
            reason: reason.to_owned(),
        };
        self.store.put_revocation(row).await?;
        info!(kind = what.kind(), issuer, id, by, "revoked");
        self.refresh()
    }

    /// Takes a revocation back; `false` if there is none. What it ended by then stays ended.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn lift(&self, what: Revoked<'_>, by: &str) -> Result<bool, store::Error> {
        let (issuer, id) = what.name();
        let lifted = self
            .store
            .delete_revocation(what.kind(), issuer, id)
            .await?;
        info!(kind = what.kind(), issuer, id, by, "revocation lifted");
        self.refresh()?;
        Ok(lifted)
    }

    /// All of them, newest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<RevocationRow>, store::Error> {
        self.store.list_revocations()
    }

    /// Whether what this principal presented was revoked since. No lock, no I/O.
    #[must_use]
    pub fn is_revoked(&self, principal: &Principal) -> bool {
        self.snapshot.load().hits(principal)
    }

    /// Whether a principal is disabled.
    #[must_use]
    pub fn is_disabled(&self, principal: &PrincipalId) -> bool {
        self.snapshot.load().disabled.contains(principal.as_str())
    }

    /// When a principal's tokens, grants and sessions must have been made to count; `None` if that does not matter.
    /// For those who keep such things: what a principal presents is looked at by [`Revocations::is_revoked`].
    #[must_use]
    pub fn valid_since(&self, principal: &PrincipalId) -> Option<SystemTime> {
        self.snapshot.load().valid_since(principal)
    }

    /// Tells of every change, of keys in the store too: then whoever holds a stream open asks again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells of a change that is not of the store's: another config.
    pub(crate) fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever keys in the store do.
    pub(crate) fn keys(&self) -> i64 {
        self.keys.load(Ordering::Acquire)
    }

    /// That the list is young enough to let somebody in by it.
    pub(crate) fn ensure_fresh(&self) -> Result<(), AuthError> {
        if !self.is_stale() {
            return Ok(());
        }
        // Nobody looked for long: there is no watch, or it cannot read, or the clock jumped.
        {
            let mut source = self.source.lock();
            let now = self.clock.now();
            if self.is_stale() && source.tried_at.is_none_or(|at| now.since(at) >= RETRY) {
                source.tried_at = Some(now);
                self.read(&mut source).map_err(AuthError::unavailable)?;
            }
        }
        if self.is_stale() {
            return Err(AuthError::unavailable(Stale));
        }
        Ok(())
    }

    fn is_stale(&self) -> bool {
        let read_at = Instant(Duration::from_nanos(self.read_at.load(Ordering::Acquire)));
        self.clock.now().since(read_at) > STALE_MAX
    }

    /// Takes over what changed in the store, now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn refresh(&self) -> Result<(), store::Error> {
        self.read(&mut self.source.lock())
    }

    fn read(&self, source: &mut Source) -> Result<(), store::Error> {
        let now = self.clock.now();
        let read = self.take_over(source);
        match &read {
            Ok(()) => {
                let nanos = u64::try_from(now.0.as_nanos()).unwrap_or(u64::MAX);
                self.read_at.store(nanos, Ordering::Release);
            }
            Err(_) => source.changes = None,
        }
        read
    }

    fn take_over(&self, source: &mut Source) -> Result<(), store::Error> {
        let changes = match &mut source.changes {
            Some(changes) => changes,
            none => none.insert(self.store.changes()?),
        };
        let counts = changes.counts()?;
        let known = source.counts;
        let counted = |counts: Counts| (counts.keys, counts.revocations);
        if known.map(counted) == Some(counted(counts)) {
            return Ok(());
        }
        if known.is_none_or(|known| known.revocations != counts.revocations) {
            let snapshot = Snapshot::of(self.store.list_revocations()?);
            self.snapshot.store(Arc::new(snapshot));
        }
        self.keys.store(counts.keys, Ordering::Release);
        source.counts = Some(counts);
        self.changes.send_modify(|number| *number += 1);
        Ok(())
    }

    /// Looks what other processes revoke, until `stop`. Reading is one look at shared memory unless something changed.
    pub async fn watch(&self, stop: &CancellationToken) {
        let mut pruned_at = self.clock.now();
        let mut is_blind = false;
        while !stop.is_cancelled() {
            match self.refresh() {
                Ok(()) if is_blind => {
                    info!("revocations can be read again");
                    is_blind = false;
                }
                Err(error) if !is_blind => {
                    warn!(%error, "revocations cannot be read");
                    is_blind = true;
                }
                Ok(()) | Err(_) => {}
            }
            let now = self.clock.now();
            if now.since(pruned_at) >= PRUNE_EVERY {
                pruned_at = now;
                if let Err(error) = self.store.prune_revocations(self.clock.wall()).await {
                    warn!(%error, "old revocations are kept");
                }
            }
            let _stopped = tokio::time::timeout(POLL, stop.cancelled()).await;
        }
    }
}

/// The list is too old, and reading it was tried a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("what was revoked has not been known for {STALE_MAX:?}")]
struct Stale;

type Ids = HashSet<Box<str>>;

/// What rows say, to look things up in.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    keys: Ids,
    grants: Ids,
    sessions: Ids,
    clients: Ids,
    certificates: Ids,
    disabled: Ids,
    /// By issuer.
    tokens: HashMap<Box<str>, Ids>,
    /// By issuer.
    signing_keys: HashMap<Box<str>, Ids>,
    /// What was issued before does not count.
    users: HashMap<Box<str>, SystemTime>,
}

impl Snapshot {
    pub(crate) fn of(rows: Vec<RevocationRow>) -> Self {
        let mut snapshot = Self::default();
        for row in rows {
            let (issuer, id) = (row.issuer.into_boxed_str(), row.id.into_boxed_str());
            let ids = match row.kind.as_str() {
                "key" => &mut snapshot.keys,
                "grant" => &mut snapshot.grants,
                "session" => &mut snapshot.sessions,
                "client" => &mut snapshot.clients,
                "certificate" => &mut snapshot.certificates,
                "disabled" => &mut snapshot.disabled,
                "token" => snapshot.tokens.entry(issuer).or_default(),
                "signing-key" => snapshot.signing_keys.entry(issuer).or_default(),
                "user" => {
                    snapshot.users.insert(id, row.revoked_at);
                    continue;
                }
                // The table takes no other.
                _ => continue,
            };
            ids.insert(id);
        }
        snapshot
    }

    /// When what a principal has must have been made to count.
    pub(crate) fn valid_since(&self, principal: &PrincipalId) -> Option<SystemTime> {
        self.users.get(principal.as_str()).copied()
    }

    /// Whether it is of no use to present this any more.
    pub(crate) fn hits(&self, principal: &Principal) -> bool {
        let is_client_out = || {
            let client = principal.client.as_deref();
            client.is_some_and(|client| self.clients.contains(client))
        };
        self.disabled.contains(principal.id.as_str())
            || is_client_out()
            || match &principal.credential {
                Credential::Local => false,
                Credential::ApiKey(id) => self.keys.contains(&**id),
                Credential::Token(token) => self.hits_token(&principal.id, token),
                Credential::Certificate(id) => self.certificates.contains(&**id),
                Credential::Session(id) => self.sessions.contains(&**id),
            }
    }

    fn hits_token(&self, holder: &PrincipalId, token: &Token) -> bool {
        let among = |all: &HashMap<Box<str>, Ids>, id: &Option<Arc<str>>| {
            let ids = all.get(&*token.issuer);
            ids.zip(id.as_deref())
                .is_some_and(|(ids, id)| ids.contains(id))
        };
        // A token that does not say when it was issued may be an old one.
        let is_old = |since: &SystemTime| token.issued_at.is_none_or(|at| at < *since);
        among(&self.tokens, &token.id)
            || among(&self.signing_keys, &token.key)
            || token
                .grant
                .as_deref()
                .is_some_and(|grant| self.grants.contains(grant))
            || self.users.get(holder.as_str()).is_some_and(is_old)
    }
}

#[cfg(test)]
mod tests;
