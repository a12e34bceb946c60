//! Tells a client that its call is still under way while the upstream says nothing of it.
//!
//! Only who gave a progress token is told, and only until the upstream reports progress of its own. The events of the
//! call pass through here on their way to the door, and are screened as its answer is.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use upstream::{Event, Events, Notice};
use wire::json;
use wire::method::notification;

use crate::screening::Sieve;

/// Events of one call that wait here.
const EVENTS_MAX: usize = 16;
/// So many beats fit below one: of any length that makes sense, enough for weeks.
const BEATS_MAX: u32 = 999_999;

/// What passes a call's events on, and fills the pauses between them.
#[derive(Debug)]
pub(crate) struct Heartbeat<'a> {
    pulse: Option<Pulse>,
    every: Duration,
    sieve: Sieve<'a>,
    events: mpsc::Receiver<Event>,
    client: Events,
}

/// Puts a heartbeat between a call and its client, if that wants to hear of progress, and the sieve, if anything is
/// looked for: the call is given the first as its events, and runs within [`over`].
pub(crate) fn between<'a>(
    every: Option<Duration>,
    token: Option<String>,
    client: Option<&Events>,
    sieve: Sieve<'a>,
) -> (Option<Events>, Option<Heartbeat<'a>>) {
    let Some(client) = client else {
        return (None, None);
    };
    let pulse = every.and(token).map(Pulse::new);
    if pulse.is_none() && !sieve.is_on() {
        return (Some(client.clone()), None);
    }
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let heartbeat = Heartbeat {
        pulse,
        every: every.unwrap_or_default(),
        sieve,
        events,
        client: client.clone(),
    };
    (Some(sender), Some(heartbeat))
}

/// Waits for the call. What it told before its end has been passed on when it is over.
pub(crate) async fn over<T>(
    heartbeat: Option<Heartbeat<'_>>,
    mut call: Pin<&mut impl Future<Output = T>>,
) -> T {
    let Some(heartbeat) = heartbeat else {
        return call.await;
    };
    let Heartbeat {
        mut pulse,
        every,
        sieve,
        mut events,
        client,
    } = heartbeat;
    let mut quiet = pin!(sleep(every));
    // A question that the client is not ready to take. Nothing overtakes it.
    let mut held: Option<Event> = None;
    let answer = loop {
        tokio::select! {
            place = client.reserve(), if held.is_some() => {
                // Without a client the question is dropped, which answers it.
                if let (Ok(place), Some(event)) = (place, held.take()) {
                    place.send(event);
                }
            }
            Some(event) = events.recv(), if held.is_none() => {
                held = pass(&mut pulse, &sieve, event, &client);
                quiet.as_mut().reset(Instant::now() + every);
            }
            () = &mut quiet, if pulse.is_some() => {
                // A client that has so much left to read knows that the call is alive.
                let beat = pulse.as_mut().and_then(Pulse::beat);
                drop(beat.map(|notice| client.try_send(Event::Told(notice))));
                quiet.as_mut().reset(Instant::now() + every);
            }
            answer = &mut call => break answer,
        }
    };
    while let Ok(event) = events.try_recv() {
        drop(pass(&mut pulse, &sieve, event, &client));
    }
    answer
}

/// Passes an event on. A question that finds no place comes back; a notification is lost, as everywhere.
fn pass(
    pulse: &mut Option<Pulse>,
    sieve: &Sieve<'_>,
    event: Event,
    client: &Events,
) -> Option<Event> {
    let is_question = match &event {
        Event::Told(notice) if !pulse.as_mut().is_none_or(|pulse| pulse.lets_pass(notice)) => {
            return None;
        }
        Event::Told(_) => false,
        Event::Asked(_) => true,
    };
    let event = sieve.pass(event)?;
    let back = client.try_send(event).err()?.into_inner();
    is_question.then_some(back)
}

/// What a client was told of progress, which must grow with each telling.
///
/// Ours grows by millionths, so that whatever an upstream begins with is most likely more. What is not (it begins
/// with 0) is not passed on.
#[derive(Debug)]
struct Pulse {
    /// The client's own, as it wrote it.
    token: String,
    beats: u32,
    /// Whether the upstream reports itself.
    is_over: bool,
}

impl Pulse {
    fn new(token: String) -> Self {
        Self {
            token,
            beats: 0,
            is_over: false,
        }
    }

    /// The next telling, unless the upstream speaks for itself.
    fn beat(&mut self) -> Option<Notice> {
        if self.is_over || self.beats == BEATS_MAX {
            return None;
        }
        self.beats += 1;
        let params = json::object([
            ("progressToken", self.token.as_str()),
            ("progress", format!("0.{:06}", self.beats).as_str()),
        ]);
        Some(Notice::new(notification::PROGRESS, params.into()))
    }

    /// Whether the client may hear this of the upstream.
    fn lets_pass(&mut self, notice: &Notice) -> bool {
        if notice.method != notification::PROGRESS {
            return true;
        }
        self.is_over = true;
        let last = f64::from(self.beats) / 1e6;
        self.beats == 0 || progress(&notice.params).is_none_or(|progress| progress > last)
    }
}

fn progress(params: &Bytes) -> Option<f64> {
    json::member(params, "progress").ok()??.get().parse().ok()
}

#[cfg(test)]
mod tests;
