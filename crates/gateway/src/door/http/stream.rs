//! The streams of legacy sessions: who fills them, and how they go out.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::unfold;
use policy::Principal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use upstream::Event;
use wire::{Revision, sse};

use super::super::changes::Listener;
use super::{Call, HttpReply, KEEP_ALIVE_EVERY};
use crate::Gate;
use crate::gate::Reply;
use crate::session::{Questions, RETRY, Reader, Session, Writer};

/// Fills the stream of one call of a legacy session, whether or not anybody reads it.
pub(super) struct Driver {
    gate: Arc<Gate>,
    session: Arc<Session>,
    writer: Writer,
    events: mpsc::Receiver<Event>,
    questions: Questions,
}

impl Driver {
    /// Opens the stream; the reply carries it away.
    pub(super) fn begin(
        gate: &Arc<Gate>,
        session: Arc<Session>,
        events: mpsc::Receiver<Event>,
    ) -> (Self, HttpReply) {
        let (writer, reader) = session.streams.open();
        // Before 2025-11-25 clients take every event for a message.
        if session.revision >= Revision::V2025_11_25 {
            writer.prime();
        }
        let driver = Self {
            gate: Arc::clone(gate),
            writer,
            events,
            questions: Questions::of(Some(Arc::clone(&session))),
            session,
        };
        let reply = body(reader, &driver.session, None);
        (driver, reply)
    }

    /// Takes the call to its end.
    pub(super) async fn run(mut self, mut call: Call) {
        let over = self.session.over.clone();
        let mut is_over = false;
        let reply = loop {
            tokio::select! {
                biased;
                Some(event) = self.events.recv() => self.write(event),
                Some(withdrawn) = self.questions.next() => self.writer.insist(withdrawn),
                reply = &mut call => break reply,
                // Nobody is left who could answer.
                () = over.cancelled(), if !is_over => {
                    is_over = true;
                    self.questions = Questions::of(None);
                }
            }
        };
        self.finish(reply);
    }

    /// Writes what is left before the answer, and the answer.
    pub(super) fn finish(mut self, reply: Reply) {
        while let Ok(event) = self.events.try_recv() {
            self.write(event);
        }
        for withdrawn in self.questions.withdraw() {
            self.writer.insist(withdrawn);
        }
        self.writer.end(reply.body, self.gate.parts.clock.now());
    }

    pub(super) fn write(&mut self, event: Event) {
        let may_be_lost = matches!(event, Event::Told(_));
        match self.questions.message(event) {
            Some(message) if may_be_lost => self.writer.tell(message),
            Some(question) => self.writer.insist(question),
            None => {}
        }
    }
}

/// A stream whose messages belong to no call; the session's changes are put there from its first reader on.
pub(super) fn standing(
    gate: &Arc<Gate>,
    session: &Arc<Session>,
    principal: &Arc<Principal>,
) -> HttpReply {
    let (reader, is_new) = session.streams.stand();
    if is_new {
        let listener = Listener::of_session(gate, session, principal);
        let (gate, session) = (Arc::clone(gate), Arc::clone(session));
        let tasks = gate.lingering.clone();
        tasks.spawn(async move { tell_changes(&gate, &session, listener).await });
    }
    resumed(gate, session, reader)
}

/// The rest of a stream.
pub(super) fn resumed(gate: &Gate, session: &Session, reader: Reader) -> HttpReply {
    // A call is finished before the gate ends; what has no end of its own is not waited for.
    let ends = reader.is_standing().then(|| gate.draining.clone());
    body(reader, session, ends)
}

async fn tell_changes(gate: &Gate, session: &Session, mut listener: Listener) {
    loop {
        let message = tokio::select! {
            message = listener.next(gate) => message,
            () = session.over.cancelled() => return,
            () = gate.draining.cancelled() => return,
        };
        let Some(message) = message else { return };
        session.streams.tell(message);
    }
}

fn body(reader: Reader, session: &Session, ends: Option<CancellationToken>) -> HttpReply {
    let sending = Sending {
        reader,
        over: session.over.clone(),
        ends,
        has_ended: false,
    };
    HttpReply::events(unfold(sending, Sending::next))
}

/// A stream on one connection.
struct Sending {
    reader: Reader,
    /// The session's end.
    over: CancellationToken,
    /// Ends the connection, and not the stream.
    ends: Option<CancellationToken>,
    has_ended: bool,
}

impl Sending {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.has_ended {
            return None;
        }
        let ended = async {
            match &self.ends {
                Some(ends) => ends.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let chunk = tokio::select! {
            biased;
            chunk = self.reader.next() => chunk?,
            () = self.over.cancelled() => return None,
            () = ended => {
                self.has_ended = true;
                sse::retry(RETRY)
            }
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => Bytes::from_static(sse::KEEP_ALIVE),
        };
        Some((chunk, self))
    }
}
