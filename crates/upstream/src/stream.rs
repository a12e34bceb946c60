//! A connection whose calls share one stream in each direction, whatever carries it: a child's pipes, a WebSocket, or
//! HTTP+SSE.
//!
//! Calls put a message into the queue and wait for their answer in the [`Inbox`]; the task that drives the connection
//! takes messages out of the queue and hands in what comes. How messages are framed is the driver's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use policy::UpstreamId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;
use wire::{Frame, Outcome, Revision, encode};

use crate::Error;
use crate::inbox::{Due, Inbox, Ticket};
use crate::request::Outgoing;

/// Messages that may wait to be written.
const QUEUE_MAX: usize = 256;
/// How long a request waits for a place among them: a crowd that the audit log lets go at once is larger, and no upstream
/// that cannot keep up.
const PLACE_WAIT: Duration = Duration::from_secs(1);

/// The side of a connection that calls use.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) inbox: Arc<Inbox>,
    outgoing: mpsc::Sender<Bytes>,
    revision: Mutex<Revision>,
}

/// The side of a connection that its driver holds.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) inbox: Arc<Inbox>,
    /// Messages to be sent, in their order.
    pub(crate) queue: mpsc::Receiver<Bytes>,
    pub(crate) ear: Ear,
    pub(crate) mouth: Mouth,
}

/// Takes what comes.
#[derive(Debug)]
pub(crate) struct Ear {
    upstream: UpstreamId,
    inbox: Arc<Inbox>,
    due: mpsc::Sender<Due>,
    garbage: u64,
}

/// Gives the upstream the answers to its own requests.
#[derive(Debug)]
pub(crate) struct Mouth {
    questions: mpsc::Receiver<Due>,
    answers: mpsc::Sender<Bytes>,
}

/// Both sides of a connection that is to be.
pub(crate) fn open(upstream: &UpstreamId) -> (Connection, Ends) {
    let (outgoing, queue) = mpsc::channel(QUEUE_MAX);
    let (due, questions) = mpsc::channel(QUEUE_MAX);
    let inbox = Arc::new(Inbox::default());
    let ends = Ends {
        inbox: Arc::clone(&inbox),
        queue,
        ear: Ear {
            upstream: upstream.clone(),
            inbox: Arc::clone(&inbox),
            due,
            garbage: 0,
        },
        mouth: Mouth {
            questions,
            answers: outgoing.clone(),
        },
    };
    let connection = Connection {
        inbox,
        outgoing,
        revision: Mutex::new(Revision::LATEST),
    };
    (connection, ends)
}

impl Connection {
    /// Sends a request and waits for its answer. Dropped while waiting, it tells the upstream so.
    pub(crate) async fn exchange(&self, outgoing: Outgoing<'_>) -> Result<Outcome<Bytes>, Error> {
        let Outgoing {
            id, method, params, ..
        } = outgoing;
        let ticket = self
            .inbox
            .open(id, outgoing.principal, outgoing.line)
            .ok_or(Error::Down { state: "down" })?;
        let request = encode::request(&id.to_string(), method, &params);
        self.send(request.into()).await?;
        let mut guard = Cancel {
            connection: self,
            ticket,
            is_open: true,
        };
        let answer = (&mut guard.ticket.reply).await;
        guard.is_open = false;
        answer.unwrap_or(Err(Error::Gone))
    }

    /// Puts one message into the queue, if there is a place.
    pub(crate) fn tell(&self, message: Vec<u8>) -> Result<(), Error> {
        self.outgoing
            .try_send(message.into())
            .map_err(|error| match error {
                TrySendError::Full(_) => Error::Full,
                TrySendError::Closed(_) => Error::Down { state: "down" },
            })
    }

    /// The same, and waits for a place for a moment.
    async fn send(&self, message: Bytes) -> Result<(), Error> {
        let message = match self.outgoing.try_send(message) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(message) | TrySendError::Closed(message)) => message,
        };
        match timeout(PLACE_WAIT, self.outgoing.send(message)).await {
            Ok(sent) => sent.map_err(|_closed| Error::Down { state: "down" }),
            Err(_elapsed) => Err(Error::Full),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        *self.revision.lock()
    }

    pub(crate) fn speak(&self, revision: Revision) {
        *self.revision.lock() = revision;
    }
}

/// Tells the upstream that an answer is no longer wanted, unless it came.
struct Cancel<'a> {
    connection: &'a Connection,
    ticket: Ticket<'a>,
    is_open: bool,
}

impl Drop for Cancel<'_> {
    fn drop(&mut self) {
        if self.is_open {
            let params = format!(
                "{{\"requestId\":{},\"reason\":\"the client cancelled\"}}",
                self.ticket.id
            );
            let message =
                encode::notification(wire::method::notification::CANCELLED, params.as_bytes());
            // If the queue is full or closed there is no one to tell.
            drop(self.connection.tell(message));
        }
    }
}

impl Ear {
    /// Takes one message, or why there is none where one should be.
    pub(crate) fn hear(&mut self, came: Result<Bytes, String>) {
        let frame = came.and_then(|message| {
            Frame::decode(&message).map_err(|fault| {
                self.inbox.refuse(&message, &fault);
                let start = message.get(..message.len().min(80)).unwrap_or_default();
                format!("{fault}: {:?}", String::from_utf8_lossy(start))
            })
        });
        match frame {
            Ok(frame) => {
                if let Some(answer) = self.inbox.take(frame, None) {
                    // A full queue: the upstream does not read, so it does not miss this answer either.
                    drop(self.due.try_send(answer));
                }
            }
            Err(error) => {
                self.garbage += 1;
                // Powers of two: loud enough to be seen, quiet enough to bear.
                if self.garbage.is_power_of_two() {
                    tracing::warn!(
                        upstream = %self.upstream,
                        garbage = self.garbage,
                        "the upstream wrote something that is not MCP: {error}"
                    );
                }
            }
        }
    }
}

impl Mouth {
    /// Puts answers into the queue, each when it is there, for as long as somebody listens.
    pub(crate) async fn answer(mut self) {
        let mut open = FuturesUnordered::new();
        loop {
            let message = tokio::select! {
                Some(due) = self.questions.recv() => match due {
                    Due::Message(message) => message,
                    Due::Answer(answering) => {
                        open.push(answering.message());
                        continue;
                    }
                },
                Some(message) = open.next() => match message {
                    Some(message) => message,
                    None => continue,
                },
                else => return,
            };
            drop(self.answers.try_send(message.into()));
        }
    }
}

#[cfg(test)]
mod tests;
