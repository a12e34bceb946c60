//! Conversations with a legacy server beside the one that lists come over: which client gets which, and their lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wire::{Abilities, Era};

use super::Link;
use crate::error::chain;
use crate::inbox::{Announced, Inbox};
use crate::lanes::{Key, Lane};
use crate::peer::Peer;
use crate::{Caller, Error, Sharing};

/// How long a new conversation waits for its stream of what belongs to no call.
const HEARD_MAX: Duration = Duration::from_millis(500);
/// How often an open conversation is looked at whether anybody still uses it.
const IDLE_LOOK: Duration = Duration::from_secs(30);

impl Link {
    /// Which conversation carries a client's calls; `None` for the connection that lists come over.
    ///
    /// A modern server learns with each request who is asking, so it needs no conversation; but if it speaks the legacy
    /// era as well, a legacy client that can be asked is best served in its own.
    pub(super) fn lane_key(&self, base: &Peer, caller: &Caller) -> Option<Key> {
        let is_shared = self.spec.sharing == Sharing::Shared && !self.is_personal();
        match base.revision().era() {
            Era::Legacy if is_shared => None,
            Era::Legacy => Some(Key::of(caller)),
            Era::Modern
                if caller.era == Era::Modern
                    || !caller.abilities.any()
                    || self.lanes.are_refused.load(Ordering::Relaxed) =>
            {
                None
            }
            Era::Modern if is_shared => Some(Key::shared(self.declared())),
            Era::Modern => Some(Key::of(caller)),
        }
    }

    /// The conversation of that key, opened if there is none; `base` where the server takes up none.
    pub(super) async fn lane(
        self: &Arc<Self>,
        key: Key,
        base: Arc<Peer>,
    ) -> Result<Arc<Peer>, Error> {
        let (lane, is_new) = self.lanes.enter(key, self.parts.clock.now())?;
        if is_new {
            let Some(home) = self.home.get() else {
                return Err(Error::Down { state: "starting" });
            };
            let (link, lane) = (Arc::clone(self), Arc::clone(&lane));
            self.lanes
                .tasks
                .spawn_on(async move { link.keep_lane(&lane).await }, home);
        }
        match lane.peer().await {
            Err(_) if base.revision().era() == Era::Modern => {
                self.lanes.are_refused.store(true, Ordering::Relaxed);
                Ok(base)
            }
            peer => peer,
        }
    }

    /// What a conversation for everybody declares: all that any client might do.
    pub(super) fn declared(&self) -> Abilities {
        Abilities {
            roots: self.spec.sharing == Sharing::PerClient,
            sampling: true,
            sampling_tools: true,
            form: true,
            url: true,
            tasks: false,
        }
    }

    /// Has the connection that lists come over look again when a lane hears of changes.
    async fn pass_changes_on(&self, lane: &Inbox) -> ! {
        let mut before = Announced::default();
        loop {
            lane.changed.notified().await;
            let now = lane.announced();
            if let Some(base) = self.live.load_full() {
                base.inbox().announce_all(now, before);
            }
            before = now;
        }
    }

    /// Opens a lane and carries it until it ends, is no longer used, or the upstream is stopped.
    async fn keep_lane(&self, lane: &Arc<Lane>) {
        let end = CancellationToken::new();
        let whose = lane.key.principal.clone();
        match self.open(lane.key.abilities, &end, whose.clone()) {
            Ok((peer, mut drive)) => {
                let use_it = async {
                    let waited = self.spec.timeout_connect;
                    let greet = Box::pin(peer.greet(Some(Era::Legacy)));
                    match tokio::time::timeout(waited, greet).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return chain(&error),
                        Err(_) => return chain(&Error::Silent { waited }),
                    }
                    let watch = async {
                        peer.watch().await;
                        std::future::pending::<()>().await;
                    };
                    tokio::pin!(watch);
                    // Some servers ask and tell on the stream that belongs to no call, and forget what they said before
                    // there was one; others send its head with the first event only.
                    tokio::select! {
                        () = &mut watch => {}
                        () = peer.is_heard() => {}
                        () = tokio::time::sleep(HEARD_MAX) => {}
                    }
                    lane.opened(&peer);
                    let unused = async {
                        while !lane.is_stale(self.parts.clock.now()) {
                            tokio::time::sleep(IDLE_LOOK).await;
                        }
                    };
                    tokio::select! {
                        () = &mut watch => String::new(),
                        () = self.pass_on(peer.inbox().told.subscribe()) => String::new(),
                        never = self.pass_changes_on(peer.inbox()) => never,
                        () = unused => "unused".to_owned(),
                    }
                };
                let (why, is_driven) = tokio::select! {
                    why = &mut drive => (why, false),
                    why = use_it => (why, true),
                    () = lane.end.cancelled() => ("stopped".to_owned(), true),
                    () = self.is_gone(whose) => ("its principal disconnected it".to_owned(), true),
                };
                tracing::debug!(upstream = %self.id(), why, "a conversation ended");
                self.lanes.leave(lane);
                if is_driven {
                    end.cancel();
                    drive.await;
                }
            }
            Err(error) => {
                tracing::warn!(upstream = %self.id(), error = chain(&error), "no further conversation could be opened");
                self.lanes.leave(lane);
            }
        }
    }
}
