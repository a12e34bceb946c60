//! Having a server tell of changes: of its lists, and of the resources that stand in a [`Table`].
//!
//! A legacy server pushes list changes unasked and is asked about each resource; a modern one gets one
//! `subscriptions/listen` with all of it, and another in its place when that changes.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wire::{Era, Outcome, json, method};

use crate::Error;
use crate::error::chain;
use crate::inbox::Answer;
use crate::listing::{Changes, Offers, error_message};
use crate::peer::Peer;
use crate::subscriptions::{Standing, Table};

/// How long the server may take to say what it tells of.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How many resources are asked about at once.
const ASKED_AT_ONCE: usize = 16;
/// How long until a stream of changes that ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

/// Has the server tell of changes for as long as the connection lasts.
pub(crate) async fn keep(peer: &Peer, offers: Offers, table: &Table) {
    // Whatever was subscribed was so on a connection before this one.
    table.begin_again();
    match peer.revision().era() {
        Era::Legacy if offers.subscribe => {
            tokio::join!(hear(peer), subscribe(peer, table));
        }
        Era::Legacy => hear(peer).await,
        Era::Modern => listen(peer, offers, table).await,
    }
}

/// Listens to a legacy server in every session.
async fn hear(peer: &Peer) {
    let mut sessions = peer.inbox().sessions.subscribe();
    loop {
        sessions.mark_unchanged();
        peer.watch().await;
        if sessions.changed().await.is_err() {
            return;
        }
    }
}

/// Subscribes a legacy server to each resource, and again in every new session.
async fn subscribe(peer: &Peer, table: &Table) {
    let mut changes = table.changes();
    let mut sessions = peer.inbox().sessions.subscribe();
    let mut held = BTreeSet::new();
    loop {
        changes.mark_unchanged();
        if sessions.has_changed().unwrap_or_default() {
            sessions.mark_unchanged();
            held.clear();
            table.begin_again();
        }
        let (wanted, next) = table.wanted(Instant::now());
        // A server that goes on telling of what is let go tells nobody.
        let over = held.difference(&wanted).cloned().collect();
        drop(about_each(peer, method::UNSUBSCRIBE.name, over).await);
        held.retain(|uri| wanted.contains(uri));
        let fresh = wanted.difference(&held).cloned().collect();
        for (uri, answer) in about_each(peer, method::SUBSCRIBE.name, fresh).await {
            match answer {
                Ok(()) => {
                    table.settle(&uri, Standing::Honoured);
                    held.insert(uri);
                }
                Err(why) => table.settle(&uri, Standing::Refused(why)),
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = sessions.changed() => {}
            // Changes may have come while nobody listened.
            () = peer.inbox().missed.notified() => table.tell_all(),
            () = at(next) => {}
        }
    }
}

/// One request about each resource, and what came of them.
async fn about_each(
    peer: &Peer,
    method: &'static str,
    uris: Vec<String>,
) -> Vec<(String, Result<(), String>)> {
    stream::iter(uris)
        .map(|uri| async move {
            let answer = about(peer, method, &uri).await;
            (uri, answer)
        })
        .buffer_unordered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// One request about one resource; `Err` says why it is refused.
async fn about(peer: &Peer, method: &'static str, uri: &str) -> Result<(), String> {
    let params = Bytes::from(format!("{{\"uri\":{}}}", json::string(uri)));
    match timeout(
        ANSWER_TIMEOUT,
        Box::pin(peer.ask_in_session(method, params)),
    )
    .await
    {
        Ok(Ok(Outcome::Result(_))) => Ok(()),
        Ok(Ok(Outcome::Error(error))) => Err(error_message(&error)),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// One `subscriptions/listen`, acknowledged.
struct Listening<'a> {
    /// Comes to how it ended. `None`: it ended, and another one would too.
    end: Option<Pin<Box<dyn Future<Output = Answer> + Send + 'a>>>,
    /// The resources that it tells of.
    held: BTreeSet<String>,
}

impl Listening<'_> {
    async fn ended(&mut self) -> Answer {
        match &mut self.end {
            Some(end) => end.await,
            None => std::future::pending().await,
        }
    }
}

/// Listens to a modern server: to the lists that it says change, and to the resources that are wanted.
async fn listen(peer: &Peer, offers: Offers, table: &Table) {
    let mut changes = table.changes();
    let mut current: Option<Listening<'_>> = None;
    loop {
        changes.mark_unchanged();
        let (mut wanted, next) = table.wanted(Instant::now());
        if !offers.subscribe {
            wanted.clear();
        }
        let is_fit = match &current {
            Some(current) => current.held == wanted,
            None => false,
        };
        if !offers.changes.any() && wanted.is_empty() {
            current = None;
        } else if !is_fit {
            // First the new one, then the end of the old one: nothing is missed in between.
            match open(peer, offers.changes, &wanted, &mut current).await {
                Some(opened) => {
                    for uri in &wanted {
                        let standing = if opened.held.contains(uri) {
                            Standing::Honoured
                        } else {
                            Standing::Refused("it does not tell of this resource".to_owned())
                        };
                        table.settle(uri, standing);
                    }
                    current = Some(opened);
                }
                None => {
                    sleep(PAUSE).await;
                    continue;
                }
            }
        }
        let ended = async {
            match &mut current {
                Some(current) => current.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = at(next) => {}
            _ = ended => {
                current = None;
                sleep(PAUSE).await;
                // Changes may have come while nobody listened.
                table.begin_again();
                peer.inbox().changed.notify_one();
            }
        }
    }
}

/// Opens a stream, while `old` goes on. `None` if that failed and may be tried again.
async fn open<'a>(
    peer: &'a Peer,
    changes: Changes,
    wanted: &BTreeSet<String>,
    old: &mut Option<Listening<'a>>,
) -> Option<Listening<'a>> {
    let filter = filter(changes, wanted);
    let (id, acknowledged) = peer.inbox().expect_acknowledgement();
    let mut end: Pin<Box<dyn Future<Output = Answer> + Send + 'a>> =
        Box::pin(async move { peer.listen(id, &filter).await });
    let acknowledged = timeout(ANSWER_TIMEOUT, acknowledged);
    tokio::pin!(acknowledged);
    let nothing = |end| {
        Some(Listening {
            end,
            held: BTreeSet::new(),
        })
    };
    loop {
        let has_old = old.is_some();
        let old_ended = async {
            match &mut *old {
                Some(old) => old.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            honoured = &mut acknowledged => return match honoured {
                Ok(Ok(honoured)) => {
                    let (held, has_any) = read(&honoured, wanted);
                    // A server that has nothing to tell of ends it at once, and would again.
                    Some(Listening { end: has_any.then_some(end), held })
                }
                // It may still tell of its lists.
                Ok(Err(_)) | Err(_) => nothing(Some(end)),
            },
            answer = &mut end => return match answer {
                // It knows no such request, or refuses this one.
                Ok(Outcome::Error(_)) | Err(Error::Status { status: ..500 }) => nothing(None),
                Ok(Outcome::Result(_)) | Err(_) => None,
            },
            _ = old_ended, if has_old => *old = None,
        }
    }
}

fn filter(changes: Changes, wanted: &BTreeSet<String>) -> String {
    let uris: Vec<String> = wanted.iter().map(|uri| json::string(uri)).collect();
    let uris = format!("[{}]", uris.join(","));
    let members = [
        (changes.tools, "toolsListChanged", "true"),
        (changes.prompts, "promptsListChanged", "true"),
        (changes.resources, "resourcesListChanged", "true"),
        (!wanted.is_empty(), "resourceSubscriptions", uris.as_str()),
    ];
    json::object(
        members
            .into_iter()
            .filter(|(is_wanted, ..)| *is_wanted)
            .map(|(_, name, value)| (name, value)),
    )
}

/// Which of the wanted resources are honoured, and whether anything is.
fn read(honoured: &[u8], wanted: &BTreeSet<String>) -> (BTreeSet<String>, bool) {
    let members = json::members(honoured).unwrap_or_default();
    let uris: Vec<String> = members
        .iter()
        .find(|(name, _)| name == "resourceSubscriptions")
        .and_then(|(_, raw)| serde_json::from_str(raw.get()).ok())
        .unwrap_or_default();
    let held: BTreeSet<String> = uris
        .into_iter()
        .filter(|uri| wanted.contains(uri))
        .collect();
    let has_any = !held.is_empty() || members.iter().any(|(_, raw)| raw.get() == "true");
    (held, has_any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listened_to_is_what_the_server_offers_and_clients_want() {
        let changes = Changes {
            tools: true,
            prompts: false,
            resources: true,
        };
        let wanted = BTreeSet::from(["x://\"a".to_owned(), "x://b".to_owned()]);
        assert_eq!(
            filter(changes, &wanted),
            r#"{"toolsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["x://\"a","x://b"]}"#
        );
        assert_eq!(filter(Changes::default(), &BTreeSet::new()), "{}");
    }

    #[test]
    fn what_is_acknowledged_and_wanted_is_held() {
        let wanted = BTreeSet::from(["x://a".to_owned(), "x://b".to_owned()]);
        let (held, has_any) = read(br#"{"resourceSubscriptions":["x://b","x://c"]}"#, &wanted);
        assert_eq!((held.len(), has_any), (1, true));
        assert!(held.contains("x://b"));
        assert!(read(br#"{"toolsListChanged":true}"#, &wanted).1);
        assert!(!read(br#"{"toolsListChanged":false}"#, &wanted).1);
        assert_eq!(read(b"{}", &wanted), (BTreeSet::new(), false));
    }
}
