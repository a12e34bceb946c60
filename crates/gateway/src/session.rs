//! What a legacy client said in its handshake, kept for as long as it talks; and calls that may be cancelled.
//!
//! What it is asked is `asked`, what it is told over HTTP and may fetch once more `streams`.

mod asked;
mod streams;

pub(crate) use asked::{Asked, Questions};
use streams::Budget;
pub(crate) use streams::{RETRY, Reader, Streams, Writer};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use parking_lot::Mutex;
use policy::{Instant, Principal, PrincipalId, ServerName};
use tokio_util::sync::CancellationToken;
use upstream::Logs;
use wire::{Abilities, Revision};

use crate::door::Visit;
use crate::settings::SessionSettings;
use crate::subscriptions::Subscriptions;
use crate::{Rejection, SessionEntry};

/// One legacy session. It identifies, it never authenticates: every request proves its principal anew.
#[derive(Debug)]
pub(crate) struct Session {
    /// Visible ASCII from 128 random bits.
    pub(crate) id: String,
    pub(crate) principal: Arc<Principal>,
    /// The virtual server that it talks to; `None`: the whole catalog.
    pub(crate) server: Option<ServerName>,
    pub(crate) revision: Revision,
    /// `clientInfo` as JSON text.
    pub(crate) client_info: Option<String>,
    /// Its name and version, for the record.
    pub(crate) client: String,
    /// What it can do, as JSON text.
    pub(crate) capabilities: Option<String>,
    /// The same, as far as it can be asked something.
    pub(crate) abilities: Abilities,
    /// What it wants to hear of logs.
    pub(crate) logs: Mutex<Logs>,
    /// What it was asked and has not answered yet.
    pub(crate) asked: Asked,
    pub(crate) in_flight: InFlight,
    /// The resources that it watches.
    pub(crate) subscriptions: Subscriptions,
    /// What goes out on its streams over HTTP.
    pub(crate) streams: Arc<Streams>,
    /// Ends what hangs on the session.
    pub(crate) over: CancellationToken,
    /// What consents for this session alone name it by.
    conversation: OnceLock<Option<String>>,
    last_used: Mutex<Instant>,
    counted: Option<observe::Counted>,
}

impl Session {
    /// A session without a name: on a pipe it needs none, over HTTP [`Sessions::open`] gives it one.
    pub(crate) fn new(principal: Arc<Principal>, revision: Revision) -> Self {
        Self {
            id: String::new(),
            principal,
            server: None,
            revision,
            client_info: None,
            client: String::new(),
            capabilities: None,
            abilities: Abilities::default(),
            logs: Mutex::new(Logs::Unset),
            asked: Asked::default(),
            in_flight: InFlight::default(),
            subscriptions: Subscriptions::default(),
            streams: Arc::default(),
            over: CancellationToken::new(),
            conversation: OnceLock::new(),
            last_used: Mutex::default(),
            counted: None,
        }
    }

    /// A name for the conversation that is nothing else's, on a pipe too, and tells nobody the session's id.
    pub(crate) fn conversation(&self) -> Option<String> {
        self.conversation.get_or_init(random_id).clone()
    }
}

/// Requests whose client may still cancel them, by their raw ids.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    calls: Mutex<HashMap<String, CancellationToken>>,
}

/// One request in flight; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Cancellable<'a> {
    among: &'a InFlight,
    id: String,
    pub(crate) token: CancellationToken,
}

impl InFlight {
    /// Registers a request. `None` if one with that id is in flight: ids are unique within a session.
    pub(crate) fn enter(&self, id: &str) -> Option<Cancellable<'_>> {
        let token = CancellationToken::new();
        let mut calls = self.calls.lock();
        if calls.contains_key(id) {
            return None;
        }
        calls.insert(id.to_owned(), token.clone());
        Some(Cancellable {
            among: self,
            id: id.to_owned(),
            token,
        })
    }

    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        !self.calls.lock().is_empty()
    }

    /// Cancels the request that `notifications/cancelled` names; unknown ones are ignored, as the spec says.
    pub(crate) fn cancel(&self, params: &[u8]) {
        let Ok(Some(id)) = wire::json::member(params, "requestId") else {
            return;
        };
        if let Some(token) = self.calls.lock().get(id.get()) {
            token.cancel();
        }
    }
}

impl Drop for Cancellable<'_> {
    fn drop(&mut self) {
        self.among.calls.lock().remove(&self.id);
    }
}

/// All legacy sessions over HTTP, and the places of conversations that need no session.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<String, Arc<Session>>>,
    /// What all their streams may keep together.
    budget: Arc<Budget>,
    /// How many places each principal holds. Changed only under the lock of `open`, or to give one back.
    seated: Mutex<HashMap<PrincipalId, usize>>,
}

impl Sessions {
    /// Opens a session, if there is room.
    pub(crate) fn open(
        &self,
        settings: &SessionSettings,
        now: Instant,
        counted: observe::Counted,
        mut session: Session,
    ) -> Result<Arc<Session>, Rejection> {
        session.id = random_id().ok_or(Rejection::Busy)?;
        session.streams = Streams::new(Arc::clone(&self.budget)).ok_or(Rejection::Busy)?;
        session.last_used = Mutex::new(now);
        session.counted = Some(counted);
        let session = Arc::new(session);
        let mut open = self.open.lock();
        self.make_room(&mut open, settings, now, &session.principal.id)?;
        open.insert(session.id.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Takes a place for a conversation, if there is room; [`Sessions::leave`] gives it back.
    pub(crate) fn seat(
        &self,
        settings: &SessionSettings,
        now: Instant,
        principal: &PrincipalId,
    ) -> Result<(), Rejection> {
        let mut open = self.open.lock();
        self.make_room(&mut open, settings, now, principal)?;
        *self.seated.lock().entry(principal.clone()).or_default() += 1;
        Ok(())
    }

    /// Gives a place back.
    pub(crate) fn leave(&self, principal: &PrincipalId) {
        let mut seated = self.seated.lock();
        if let Some(count) = seated.get_mut(principal) {
            *count -= 1;
            if *count == 0 {
                seated.remove(principal);
            }
        }
    }

    fn make_room(
        &self,
        open: &mut HashMap<String, Arc<Session>>,
        settings: &SessionSettings,
        now: Instant,
        principal: &PrincipalId,
    ) -> Result<(), Rejection> {
        let (seated, own_seats) = {
            let seated = self.seated.lock();
            let own = seated.get(principal).copied().unwrap_or_default();
            (seated.values().sum::<usize>(), own)
        };
        if open.len() + seated >= settings.max {
            sweep(open, settings, now);
        }
        let count = open.len() + seated;
        let own = || {
            let sessions = open
                .values()
                .filter(|other| other.principal.id == *principal);
            sessions.count() + own_seats
        };
        if count >= settings.max
            || (count >= settings.per_principal && own() >= settings.per_principal)
        {
            return Err(Rejection::TooManySessions);
        }
        Ok(())
    }

    /// The session of that id, if it is this principal's, by the same client and kind of credential, and with this
    /// server; somebody else's, or another server's, looks unknown.
    pub(crate) fn get(
        &self,
        id: &str,
        visit: &Visit,
        now: Instant,
    ) -> Result<Arc<Session>, Rejection> {
        let session = self.open.lock().get(id).cloned().filter(|session| {
            session.principal.continues(&visit.principal) && session.server == visit.server
        });
        let session = session.ok_or(Rejection::UnknownSession)?;
        *session.last_used.lock() = now;
        Ok(session)
    }

    /// Ends a session.
    pub(crate) fn end(&self, session: &Session) {
        self.open.lock().remove(&session.id);
        session.over.cancel();
    }

    /// All that are open, in the order of their ids.
    pub(crate) fn list(&self) -> Vec<SessionEntry> {
        let mut all: Vec<SessionEntry> = {
            let open = self.open.lock();
            let entries = open.values().map(|session| SessionEntry {
                id: session.id.clone(),
                principal: session.principal.id.to_string(),
                client: session.client.clone(),
                revision: session.revision.as_str(),
            });
            entries.collect()
        };
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// Ends a session, whosever it is; `false` if there is none.
    pub(crate) fn end_by_id(&self, id: &str) -> bool {
        let session = self.open.lock().remove(id);
        if let Some(session) = &session {
            session.over.cancel();
        }
        session.is_some()
    }

    /// Ends all whose owner `is_current` no longer knows.
    pub(crate) fn sever(&self, is_current: impl Fn(&Principal) -> bool) {
        self.open.lock().retain(|_, session| {
            let stays = is_current(&session.principal);
            if !stays {
                session.over.cancel();
            }
            stays
        });
    }

    /// Ends all that nobody used for too long.
    pub(crate) fn sweep(&self, settings: &SessionSettings, now: Instant) {
        sweep(&mut self.open.lock(), settings, now);
    }

    pub(crate) fn len(&self) -> usize {
        self.open.lock().len() + self.seated.lock().values().sum::<usize>()
    }
}

fn sweep(open: &mut HashMap<String, Arc<Session>>, settings: &SessionSettings, now: Instant) {
    open.retain(|_, session| {
        session.streams.sweep(now);
        // So is whoever reads a stream, or waits for an answer.
        let is_used = session.streams.is_read()
            || session.in_flight.is_any()
            || now.since(*session.last_used.lock()) < settings.idle;
        if !is_used {
            session.over.cancel();
        }
        is_used
    });
}

/// 128 random bits.
pub(crate) fn random_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(format!("{:032x}", u128::from_be_bytes(bytes)))
}
