//! What went out on the streams of a session, kept for a while: a client that lost its connection gets the rest of that
//! very stream on another one.
//!
//! A stream outlives the connection that carries it. Whoever makes the messages puts them here; a [`Reader`] takes
//! them, and only the newest reader of a stream gets any, so that each message goes out once. A client that does not
//! read loses notifications, never a question or an answer. Sources: MCP 2025-03-26 to 2025-11-25, "Resumability and
//! Redelivery".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use policy::Instant;
use tokio::sync::watch;
use wire::sse;

/// The stream that answers no request: changes, and whatever has no call.
const STANDING: u64 = 0;

/// Hexadecimal digits in front of every event id.
const NAME_LEN: usize = 8;
/// How long a stream is kept after its end.
const KEPT_FOR: Duration = Duration::from_secs(5 * 60);
/// Streams of one session that are kept; open ones count, but are not given up.
const STREAMS_MAX: usize = 64;
/// Messages of one stream, and their bytes: over these bounds the oldest notifications go.
const EVENTS_MAX: usize = 256;
const STREAM_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one session, and of all together: over these bounds streams that have ended go, oldest first.
const SESSION_BYTES_MAX: usize = 8 * 1024 * 1024;
const ALL_BYTES_MAX: usize = 256 * 1024 * 1024;
/// So much is handed to a connection at once, if one message is not more already.
const CHUNK_MAX: usize = 64 * 1024;
/// How long a client is to wait before it asks for the rest of a stream.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// Bytes kept for all sessions together.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    bytes: AtomicUsize,
}

/// The streams of one session.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Stands in front of every event id, so that another session's say nothing here.
    name: String,
    budget: Arc<Budget>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    streams: BTreeMap<u64, Stream>,
    bytes: usize,
}

#[derive(Debug)]
struct Stream {
    events: VecDeque<Event>,
    bytes: usize,
    /// The number of the next event.
    next: u64,
    /// The first event that no reader was given.
    unread: u64,
    /// Which reader is the newest, and whether it is still there.
    turn: u64,
    is_read: bool,
    ended: Option<Instant>,
    /// Tells readers that there is something to see; its end tells them that the stream is no longer kept.
    wake: watch::Sender<()>,
}

#[derive(Debug)]
struct Event {
    number: u64,
    /// Empty in the event that only gives the client an id to come back with.
    message: Bytes,
    may_be_lost: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            next: 0,
            unread: 0,
            turn: 0,
            is_read: false,
            ended: None,
            wake: watch::channel(()).0,
        }
    }
}

impl Streams {
    /// The streams of a new session; `None` if the system gives no random bytes.
    pub(crate) fn new(budget: Arc<Budget>) -> Option<Arc<Self>> {
        let name = super::random_id()?.get(..NAME_LEN)?.to_owned();
        Some(Arc::new(Self {
            name,
            budget,
            kept: Mutex::default(),
        }))
    }

    /// Begins a stream, and reads it. Without an answer it ends with its writer.
    pub(crate) fn open(self: &Arc<Self>) -> (Writer, Reader) {
        let mut kept = self.kept.lock();
        kept.last += 1;
        let number = kept.last;
        let reader = self.read(number, kept.streams.entry(number).or_default(), 0);
        self.make_room(&mut kept);
        let writer = Writer {
            streams: Arc::clone(self),
            number,
        };
        (writer, reader)
    }

    /// The standing stream, from the first message that nobody read. `true`: it is new, and wants somebody to fill it.
    pub(crate) fn stand(self: &Arc<Self>) -> (Reader, bool) {
        let mut kept = self.kept.lock();
        let is_new = !kept.streams.contains_key(&STANDING);
        let stream = kept.streams.entry(STANDING).or_default();
        let next = stream.unread;
        (self.read(STANDING, stream, next), is_new)
    }

    /// The rest of the stream to which an event of that id belongs; `None` if it is not kept, or never was.
    pub(crate) fn resume(self: &Arc<Self>, event_id: &str, now: Instant) -> Option<Reader> {
        let (number, seen) = event_id
            .strip_prefix(self.name.as_str())?
            .strip_prefix('-')?
            .split_once('-')?;
        let (number, seen): (u64, u64) = (number.parse().ok()?, seen.parse().ok()?);
        self.sweep(now);
        let mut kept = self.kept.lock();
        let stream = kept.streams.get_mut(&number)?;
        (seen < stream.next).then(|| self.read(number, stream, seen + 1))
    }

    fn read(self: &Arc<Self>, number: u64, stream: &mut Stream, next: u64) -> Reader {
        stream.turn += 1;
        stream.is_read = true;
        // The reader before learns that it is not the newest any more.
        stream.wake.send_replace(());
        Reader {
            streams: Arc::clone(self),
            number,
            turn: stream.turn,
            next,
            wake: stream.wake.subscribe(),
        }
    }

    /// Puts a message onto the standing stream, unless the same one waits there already.
    pub(crate) fn tell(&self, message: Bytes) {
        let is_waiting = self.kept.lock().streams.get(&STANDING).is_some_and(|one| {
            let mut unread = one.events.iter().filter(|event| event.number >= one.unread);
            unread.any(|event| event.message == message)
        });
        if !is_waiting {
            self.push(STANDING, message, true, None);
        }
    }

    fn push(&self, number: u64, message: Bytes, may_be_lost: bool, ended: Option<Instant>) {
        let mut kept = self.kept.lock();
        let Some(stream) = kept.streams.get_mut(&number) else {
            return;
        };
        let before = stream.bytes;
        stream.push(message, may_be_lost);
        stream.ended = ended;
        stream.wake.send_replace(());
        let after = stream.bytes;
        self.count(&mut kept, before, after);
        self.make_room(&mut kept);
    }

    /// Whether somebody reads one of them.
    pub(crate) fn is_read(&self) -> bool {
        self.kept.lock().streams.values().any(|one| one.is_read)
    }

    /// Forgets what nobody came back for.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut kept = self.kept.lock();
        let is_over = |one: &Stream| {
            !one.is_read && one.ended.is_some_and(|ended| now.since(ended) >= KEPT_FOR)
        };
        let over: Vec<u64> = kept
            .streams
            .iter()
            .filter(|(_, one)| is_over(one))
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            self.forget(&mut kept, number);
        }
    }

    fn make_room(&self, kept: &mut Kept) {
        while kept.streams.len() > STREAMS_MAX
            || kept.bytes > SESSION_BYTES_MAX
            || (kept.bytes > 0 && self.budget.bytes.load(Ordering::Relaxed) > ALL_BYTES_MAX)
        {
            let is_read_out = |one: &&Stream| one.unread >= one.next;
            let ended = || kept.streams.iter().filter(|(_, one)| one.ended.is_some());
            // What is being read is not taken away from its reader.
            let oldest = ended()
                .find(|(_, one)| is_read_out(one))
                .or_else(|| ended().find(|(_, one)| !one.is_read))
                .map(|(number, _)| *number);
            let Some(oldest) = oldest else { return };
            self.forget(kept, oldest);
        }
    }

    fn forget(&self, kept: &mut Kept, number: u64) {
        if let Some(stream) = kept.streams.remove(&number) {
            self.count(kept, stream.bytes, 0);
        }
    }

    fn count(&self, kept: &mut Kept, before: usize, after: usize) {
        kept.bytes = kept.bytes + after - before;
        self.budget.bytes.fetch_add(after, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let bytes = self.kept.get_mut().bytes;
        self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Stream {
    fn push(&mut self, message: Bytes, may_be_lost: bool) {
        self.bytes += message.len();
        self.events.push_back(Event {
            number: self.next,
            message,
            may_be_lost,
        });
        self.next += 1;
        while self.events.len() > EVENTS_MAX || self.bytes > STREAM_BYTES_MAX {
            // The newest stays whatever it is: its reader may be quick.
            let older = self.events.len() - 1;
            let mut losable = self.events.iter().take(older);
            let Some(at) = losable.position(|event| event.may_be_lost) else {
                return;
            };
            let lost = self.events.remove(at);
            self.bytes -= lost.map_or(0, |event| event.message.len());
        }
    }
}

/// Fills one stream.
#[derive(Debug)]
pub(crate) struct Writer {
    streams: Arc<Streams>,
    number: u64,
}

impl Writer {
    /// Gives the client an id with which it can come back before there is any message.
    pub(crate) fn prime(&self) {
        self.push(Bytes::new(), true, None);
    }

    /// A notification: lost if there are too many.
    pub(crate) fn tell(&self, message: Bytes) {
        self.push(message, true, None);
    }

    /// What must not be lost: a question, or that it is withdrawn.
    pub(crate) fn insist(&self, message: Bytes) {
        self.push(message, false, None);
    }

    /// The answer, and the end of the stream.
    pub(crate) fn end(self, answer: Bytes, now: Instant) {
        self.push(answer, false, Some(now));
    }

    fn push(&self, message: Bytes, may_be_lost: bool, ended: Option<Instant>) {
        self.streams.push(self.number, message, may_be_lost, ended);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut kept = self.streams.kept.lock();
        let has_ended = kept
            .streams
            .get(&self.number)
            .is_none_or(|stream| stream.ended.is_some());
        // Whoever wrote was cut off: nobody may wait for an answer that never comes.
        if !has_ended {
            self.streams.forget(&mut kept, self.number);
        }
    }
}

/// Takes the messages of one stream for one connection.
#[derive(Debug)]
pub(crate) struct Reader {
    streams: Arc<Streams>,
    number: u64,
    turn: u64,
    next: u64,
    wake: watch::Receiver<()>,
}

enum Taken {
    Events(Bytes),
    Nothing,
    Over,
}

impl Reader {
    /// Whether it reads what belongs to no call.
    pub(crate) fn is_standing(&self) -> bool {
        self.number == STANDING
    }

    /// The next events, framed. `None` at the end of the stream, or because another connection has taken it over.
    /// Safe to drop while it waits.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.take() {
                Taken::Events(events) => return Some(events),
                Taken::Over => return None,
                Taken::Nothing => self.wake.changed().await.ok()?,
            }
        }
    }

    fn take(&mut self) -> Taken {
        let streams = Arc::clone(&self.streams);
        let mut kept = streams.kept.lock();
        let Some(stream) = kept
            .streams
            .get_mut(&self.number)
            .filter(|stream| stream.turn == self.turn)
        else {
            return Taken::Over;
        };
        let mut out = BytesMut::new();
        let first = stream
            .events
            .partition_point(|event| event.number < self.next);
        for event in stream.events.range(first..) {
            if !out.is_empty() && out.len() + event.message.len() > CHUNK_MAX {
                break;
            }
            let id = format!("{}-{}-{}", streams.name, self.number, event.number);
            if event.message.is_empty() {
                sse::put_prime(&mut out, &id, RETRY);
            } else {
                sse::put_message(&mut out, &id, &event.message);
            }
            self.next = event.number + 1;
        }
        stream.unread = stream.unread.max(self.next);
        if !out.is_empty() {
            return Taken::Events(out.freeze());
        }
        if stream.ended.is_some() {
            Taken::Over
        } else {
            Taken::Nothing
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let streams = Arc::clone(&self.streams);
        let mut kept = streams.kept.lock();
        if let Some(stream) = kept
            .streams
            .get_mut(&self.number)
            .filter(|stream| stream.turn == self.turn)
        {
            stream.is_read = false;
        }
        streams.make_room(&mut kept);
    }
}

#[cfg(test)]
mod tests;
