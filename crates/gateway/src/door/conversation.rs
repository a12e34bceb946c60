//! Conversations over a network that last as long as their connection: HTTP+SSE and WebSockets.
//!
//! Each is a [`Pipe`] that holds a place among the sessions. How messages are framed, and how one notices that the
//! client is gone, is the listener's.

use std::sync::Arc;

use bytes::Bytes;
use policy::Principal;
use tokio::sync::mpsc;

use super::{Pipe, Visit};
use crate::session::random_id;
use crate::{Gate, Rejection};

/// One conversation and its place, which it gives back when dropped.
#[derive(Debug)]
pub struct Conversation {
    /// 128 random bits in hexadecimal digits, for transports whose messages must say where they belong.
    pub id: String,
    /// Takes the client's messages.
    pub pipe: Arc<Pipe>,
    /// Who talks.
    pub principal: Arc<Principal>,
    gate: Arc<Gate>,
    _counted: observe::Counted,
}

impl Gate {
    /// Begins a conversation over `transport` whose messages to the client go to `out`.
    ///
    /// # Errors
    /// If there are as many sessions and conversations as are kept, or the gate is about to end.
    pub fn converse(
        self: &Arc<Self>,
        visit: Visit,
        transport: &'static str,
        out: mpsc::Sender<Bytes>,
    ) -> Result<Conversation, Rejection> {
        if self.draining.is_cancelled() {
            return Err(Rejection::Draining);
        }
        let id = random_id().ok_or(Rejection::Busy)?;
        let settings = &self.view().settings.sessions;
        let principal = Arc::clone(&visit.principal);
        self.sessions
            .seat(settings, self.parts.clock.now(), &principal.id)?;
        Ok(Conversation {
            id,
            pipe: Pipe::new(Arc::clone(self), visit, transport, out),
            principal,
            gate: Arc::clone(self),
            _counted: self.parts.metrics.session(transport, &self.parts.clock),
        })
    }
}

impl Conversation {
    /// Ends when the gate drains: then the conversation should too.
    pub async fn draining(&self) {
        self.gate.draining.cancelled().await;
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.gate.sessions.leave(&self.principal.id);
    }
}
