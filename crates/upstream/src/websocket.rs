//! An MCP server at the other end of a WebSocket: a message in each text frame, subprotocol `mcp`.
//!
//! No transport of the specification's, but one that servers have; what calls do with it is in `stream`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use net::{Dial, Heard, WebSocketReceiver, WebSocketSender};
use policy::UpstreamId;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::credential::Pass;
use crate::error::chain;
use crate::stream::{self, Ear, Ends};
use crate::{Error, Http};

/// The largest message taken, in bytes.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;
/// Messages that leave at once if they wait together.
const BATCH_MAX: usize = 64;
/// How often the server is asked for a sign of life; it has twice as long to give one, and to read.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How long a goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The side of a connection that its task runs.
#[derive(Debug)]
pub(crate) struct Driver {
    client: net::Client,
    dial: Dial,
    pass: Option<Pass>,
    ends: Ends,
}

/// Nothing is sent yet: the driver connects, within `timeout`.
pub(crate) fn start(
    id: &UpstreamId,
    client: net::Client,
    spec: &Http,
    pass: Option<Pass>,
    timeout: Duration,
) -> (stream::Connection, Driver) {
    let (connection, ends) = stream::open(id);
    let mut headers = HeaderMap::with_capacity(spec.headers.len());
    for (name, value) in &spec.headers {
        headers.append(name, value.clone());
    }
    let dial = Dial {
        url: spec.url.clone(),
        headers,
        protocol: "mcp",
        reach: net::Reach::Operator,
        timeout,
        message_max: MESSAGE_MAX,
    };
    let driver = Driver {
        client,
        dial,
        pass,
        ends,
    };
    (connection, driver)
}

impl Driver {
    /// Carries messages until the socket ends or `stop` comes. Tells why it ended.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) -> String {
        let Self {
            client,
            dial,
            pass,
            ends,
        } = self;
        let Ends {
            inbox,
            queue,
            ear,
            mouth,
        } = ends;
        tokio::pin!(stop);
        let opened = tokio::select! {
            opened = open(&client, dial, pass.as_ref()) => opened,
            () = &mut stop => {
                inbox.close();
                return "stopped".to_owned();
            }
        };
        let (mut sender, mut receiver) = match opened {
            Ok(halves) => halves,
            Err(error) => {
                inbox.close();
                return chain(&error);
            }
        };
        let is_there = AtomicBool::new(true);
        let why = tokio::select! {
            why = hear(&mut receiver, ear, &is_there) => why,
            why = write(&mut sender, queue, &is_there) => why,
            () = mouth.answer() => "closed".to_owned(),
            () = &mut stop => "stopped".to_owned(),
        };
        inbox.close();
        // If it is gone already there is nobody to tell.
        drop(timeout(CLOSE_TIMEOUT, sender.close()).await);
        why
    }
}

async fn open(
    client: &net::Client,
    mut dial: Dial,
    pass: Option<&Pass>,
) -> Result<(WebSocketSender, WebSocketReceiver), Error> {
    if let Some(pass) = pass {
        pass.add(&mut dial.headers, None).await?;
    }
    Ok(client.websocket(dial).await?)
}

async fn hear(receiver: &mut WebSocketReceiver, mut ear: Ear, is_there: &AtomicBool) -> String {
    loop {
        match receiver.next().await {
            Ok(Some(heard)) => {
                is_there.store(true, Ordering::Relaxed);
                if let Heard::Message(message) = heard {
                    ear.hear(Ok(message));
                }
            }
            Ok(None) => return "it closed the WebSocket".to_owned(),
            Err(error) => return chain(&error),
        }
    }
}

async fn write(
    sender: &mut WebSocketSender,
    mut queue: mpsc::Receiver<Bytes>,
    is_there: &AtomicBool,
) -> String {
    let mut beat = interval(PING_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once.
    beat.tick().await;
    let mut unanswered = 0;
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        let is_due = tokio::select! {
            count = queue.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return "closed".to_owned();
                }
                false
            }
            _ = beat.tick() => true,
        };
        if is_due {
            unanswered = if is_there.swap(false, Ordering::Relaxed) {
                0
            } else {
                unanswered + 1
            };
            if unanswered == 2 {
                return "it answers no ping".to_owned();
            }
        }
        let sending = async {
            if is_due {
                sender.ping().await?;
            }
            sender.send(batch.drain(..)).await
        };
        match timeout(PING_EVERY * 2, sending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return chain(&error),
            Err(_) => return "it does not read".to_owned(),
        }
    }
}
