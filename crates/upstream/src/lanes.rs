//! Conversations with a legacy server, one for each kind of client: such a server learns in the handshake what its
//! client can do, and asks on the same session what it wants to know.
//!
//! A lane is a session over HTTP, or a process of its own. It is opened by the first call that needs it and ends when
//! none has used it for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use parking_lot::Mutex;
use policy::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::Abilities;

use crate::peer::Peer;
use crate::{Caller, Error};

/// Lanes of one upstream; where another is needed, the one that has been idle longest makes room.
const LANES_MAX: usize = 256;
/// A lane that nobody used for so long is ended.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// For whom a lane is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// `None`: the upstream is declared to be shared.
    pub(crate) principal: Option<Arc<str>>,
    pub(crate) abilities: Abilities,
}

impl Key {
    /// For everybody.
    pub(crate) fn shared(abilities: Abilities) -> Self {
        Self {
            principal: None,
            abilities,
        }
    }

    /// For a client. No two principals share a lane: what a server keeps in a session is kept for one of them.
    pub(crate) fn of(caller: &Caller) -> Self {
        // Whether tasks can be answered is settled call by call.
        let abilities = Abilities {
            tasks: false,
            ..caller.abilities
        };
        Self {
            principal: Some(Arc::clone(&caller.principal)),
            abilities,
        }
    }
}

/// One conversation.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) key: Key,
    pub(crate) end: CancellationToken,
    state: watch::Sender<Progress>,
    used: Mutex<Instant>,
}

#[derive(Debug, Clone)]
enum Progress {
    Connecting,
    Open(Arc<Peer>),
    Over,
}

impl Lane {
    /// The handshake is done.
    pub(crate) fn opened(&self, peer: &Arc<Peer>) {
        self.state.send_replace(Progress::Open(Arc::clone(peer)));
    }

    /// Waits for the handshake.
    pub(crate) async fn peer(&self) -> Result<Arc<Peer>, Error> {
        let mut state = self.state.subscribe();
        let settled = state
            .wait_for(|state| !matches!(state, Progress::Connecting))
            .await;
        match settled.as_deref() {
            Ok(Progress::Open(peer)) => Ok(Arc::clone(peer)),
            Ok(Progress::Connecting | Progress::Over) | Err(_) => Err(Error::Down {
                state: "not taking up a conversation with this client",
            }),
        }
    }

    /// Whether nobody used it for too long.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.is_idle() && now.since(*self.used.lock()) > IDLE_MAX
    }

    fn is_idle(&self) -> bool {
        match &*self.state.borrow() {
            Progress::Open(peer) => peer.inbox().is_idle(),
            Progress::Connecting => false,
            Progress::Over => true,
        }
    }
}

/// All lanes of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    open: Mutex<HashMap<Key, Arc<Lane>>>,
    pub(crate) tasks: TaskTracker,
    /// A modern server that knows no handshake: it needs no lane, whoever asks.
    pub(crate) are_refused: AtomicBool,
    /// Ends every lane.
    end: CancellationToken,
}

impl Lanes {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// The connection of that key's lane, if its handshake is done: what nearly every call needs.
    pub(crate) fn ready(&self, key: &Key, now: Instant) -> Option<Arc<Peer>> {
        let open = self.open.lock();
        let lane = open.get(key)?;
        *lane.used.lock() = now;
        match &*lane.state.borrow() {
            Progress::Open(peer) => Some(Arc::clone(peer)),
            Progress::Connecting | Progress::Over => None,
        }
    }

    /// The lane of that key, and whether it is a new one, which the caller has to open.
    pub(crate) fn enter(&self, key: Key, now: Instant) -> Result<(Arc<Lane>, bool), Error> {
        let mut open = self.open.lock();
        if let Some(lane) = open.get(&key) {
            *lane.used.lock() = now;
            return Ok((Arc::clone(lane), false));
        }
        if open.len() >= LANES_MAX {
            let idle = open.values().filter(|lane| lane.is_idle());
            let longest = idle.min_by_key(|lane| *lane.used.lock()).cloned();
            let Some(lane) = longest else {
                return Err(Error::Full);
            };
            open.remove(&lane.key);
            lane.end.cancel();
        }
        let lane = Arc::new(Lane {
            key: key.clone(),
            end: self.end.child_token(),
            state: watch::channel(Progress::Connecting).0,
            used: Mutex::new(now),
        });
        open.insert(key, Arc::clone(&lane));
        Ok((lane, true))
    }

    /// A lane has ended: the next call opens another.
    pub(crate) fn leave(&self, lane: &Arc<Lane>) {
        let mut open = self.open.lock();
        if open
            .get(&lane.key)
            .is_some_and(|other| Arc::ptr_eq(other, lane))
        {
            open.remove(&lane.key);
        }
        lane.state.send_replace(Progress::Over);
    }

    /// Ends all of them and waits for it.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
