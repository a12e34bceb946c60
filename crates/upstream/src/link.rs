//! One configured upstream and its whole life: start, handshake, lists, calls, restart with back-off, end.

mod conversations;
mod opening;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use parking_lot::Mutex;
use policy::{Clock, Instant, UpstreamId};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::method::{self, notification};
use wire::{Era, Outcome, Revision};

use crate::credential;
use crate::error::chain;
use crate::inbox::{Announced, Inbox, Line};
use crate::lanes::Lanes;
use crate::listing::{self, Item, Listing, Offers};
use crate::native::{self, Native};
use crate::peer::{Greeting, Peer};
use crate::subscriptions::{Standing, Subscription, Table, Updates};
use crate::{
    Credential, Credentials, Error, Events, For, Kind, Provider, Request, Spec, Told, Transport,
    watching,
};

use self::opening::{Drive, Fallback};

/// The first pause before a restart; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// How often an upstream that waits for somebody to connect it is asked whether it still wants that.
const WANTED_LOOK: Duration = Duration::from_secs(5 * 60);
/// An upstream that lived so long starts over with the first pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// A storm of list changes is answered once in so much time.
const CHANGES_PAUSE: Duration = Duration::from_millis(100);
/// How long asking for all lists may take.
const LISTS_TIMEOUT: Duration = Duration::from_secs(60);

/// Where an upstream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never connected so far.
    Starting,
    /// Connected, lists known.
    Ready,
    /// Was connected or tried to; another try comes by itself.
    Down,
    /// Nobody has connected it so far: it wants a principal's credential before it tells anything.
    Waiting,
    /// Ended for good: removed from the config, or the gate ends.
    Stopped,
}

impl State {
    /// A word from a closed set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Down => "restarting",
            Self::Waiting => "waiting for somebody to connect it",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of an upstream at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Where it is in its life.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// What it offers. Kept while it restarts, so that a call says "restarting" and not "unknown tool".
    pub listing: Arc<Listing>,
    /// How often it announced changes of its lists, this connection.
    pub announced: Announced,
    /// The revision spoken with it.
    pub revision: Option<Revision>,
    /// How long it took to answer when it was greeted; `None` of one within this process.
    pub latency: Option<Duration>,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it is not ready, for the operator.
    pub last_error: Option<String>,
}

/// An upstream's answer, and the era whose form it has.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Result or error object, as the upstream wrote it.
    pub outcome: Outcome<Bytes>,
    /// The era spoken with it.
    pub era: Era,
}

/// What upstreams need of the rest of the gate.
#[derive(Clone)]
pub struct Parts {
    /// The way out.
    pub client: net::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The program that watches over child processes; without one they are started directly.
    pub supervisor: Option<PathBuf>,
    /// What the built-in packs need.
    pub native: native::Parts,
    /// Who obtains credentials.
    pub credentials: Arc<dyn Credentials>,
    /// Where goes what upstreams tell of a principal's affairs outside of a call.
    pub told: broadcast::Sender<Told>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// One configured upstream.
pub struct Link {
    spec: Spec,
    parts: Parts,
    native: Option<Native>,
    live: ArcSwapOption<Peer>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Calls that are open.
    calls: TaskTracker,
    /// The era found last time, so that a restart needs no probe.
    era: Mutex<Option<Era>>,
    /// Whether an endpoint turned out to speak HTTP+SSE.
    fallback: Mutex<Fallback>,
    /// Conversations with a legacy server.
    lanes: Lanes,
    /// The last connection ended because somebody has to connect the upstream first.
    is_wanted: Arc<AtomicBool>,
    /// The resources that clients watch.
    watched: Arc<Table>,
    /// The runtime that it lives on; calls come from others.
    home: OnceLock<Handle>,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}

impl Link {
    /// An upstream that is not started; [`Link::run`] does that.
    ///
    /// # Errors
    /// If a built-in pack cannot be set up.
    pub fn new(spec: Spec, parts: Parts) -> Result<Self, Error> {
        let native = match &spec.kind {
            Kind::Native(pack) => Some(Native::new(pack.clone(), &parts.native)?),
            Kind::Provider(_) | Kind::Stdio(_) | Kind::Http(_) => None,
        };
        let mut snapshot = Snapshot {
            state: State::Starting,
            since: parts.clock.now(),
            listing: Arc::default(),
            announced: Announced::default(),
            revision: None,
            latency: None,
            restarts: 0,
            last_error: None,
        };
        if let Some(native) = &native {
            snapshot.state = State::Ready;
            snapshot.revision = Some(Revision::LATEST);
            snapshot.listing = Arc::new(native_listing(native));
        }
        if let Kind::Provider(provider) = &spec.kind {
            snapshot.state = State::Ready;
            snapshot.revision = Some(Revision::LATEST);
            snapshot.listing = Arc::new(provider.listing());
        }
        let (snapshot, _) = watch::channel(Arc::new(snapshot));
        Ok(Self {
            watched: Arc::new(Table::new(spec.id.clone())),
            spec,
            parts,
            native,
            live: ArcSwapOption::empty(),
            snapshot,
            calls: TaskTracker::new(),
            era: Mutex::new(None),
            fallback: Mutex::new(Fallback::No),
            lanes: Lanes::default(),
            is_wanted: Arc::default(),
            home: OnceLock::new(),
        })
    }

    /// Its alias.
    #[must_use]
    pub fn id(&self) -> &UpstreamId {
        &self.spec.id
    }

    /// Whether it is a provider in this process, which says nothing of what it may tell.
    #[must_use]
    pub fn is_provider(&self) -> bool {
        matches!(self.spec.kind, Kind::Provider(_))
    }

    /// Whether it is code of this process: it is never connected, and never lost.
    #[must_use]
    pub fn is_in_process(&self) -> bool {
        matches!(self.spec.kind, Kind::Native(_) | Kind::Provider(_))
    }

    /// What carries messages to it: a word from a closed set.
    #[must_use]
    pub fn transport_word(&self) -> &'static str {
        match &self.spec.kind {
            Kind::Native(_) | Kind::Provider(_) => "in_process",
            Kind::Stdio(_) => "stdio",
            Kind::Http(spec) => match self.transport(spec.transport) {
                Transport::Http => "http",
                Transport::Sse => "sse",
                Transport::WebSocket => "websocket",
            },
        }
    }

    /// How many conversations with it are open beside its connection; see [`Lanes`].
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// What the config says about it.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What is known of it now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Tells of every change of what is known.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.subscribe()
    }

    /// Waits until no call is open.
    pub async fn quiet(&self) {
        self.calls.close();
        self.calls.wait().await;
    }

    /// Has `updates` hear of a resource for as long as what this returns is kept, over all connections; the upstream is
    /// subscribed to once, however many want to hear.
    ///
    /// # Errors
    /// If the upstream is away or does not tell of that resource.
    pub async fn subscribe(&self, uri: &str, updates: &Updates) -> Result<Subscription, Error> {
        let refused = |message: &str| Error::Refused {
            method: method::SUBSCRIBE.name,
            message: message.to_owned(),
        };
        let snapshot = self.snapshot();
        if snapshot.state != State::Ready {
            let state = snapshot.state.as_str();
            return Err(Error::Down { state });
        }
        if !snapshot.listing.subscribes {
            return Err(refused("it tells of no resource"));
        }
        let subscription = self.watched.enter(uri, updates)?;
        if let Kind::Provider(_) = &self.spec.kind {
            return Ok(subscription);
        }
        let waited = self.spec.timeout;
        match tokio::time::timeout(waited, subscription.settled()).await {
            Ok(Standing::Refused(why)) => Err(refused(&why)),
            Ok(Standing::Asked | Standing::Honoured) => Ok(subscription),
            Err(_) => Err(Error::Silent { waited }),
        }
    }

    /// Makes a call. Dropped while it waits, the upstream is told that the answer is no longer wanted.
    ///
    /// # Errors
    /// Why there is no answer; see [`Error::nothing_sent`].
    pub async fn call(
        self: &Arc<Self>,
        request: &Request,
        events: Option<&Events>,
    ) -> Result<Reply, Error> {
        let _open = self.calls.token();
        let asking = Arc::new(AtomicUsize::new(0));
        let line = events.map(|events| Line {
            principal: Arc::clone(&request.caller.principal),
            events: events.clone(),
            token: request.progress_token(),
            abilities: request.caller.abilities,
            logs: request.caller.logs,
            asking: Arc::clone(&asking),
        });
        let call = async {
            if let Some(native) = &self.native {
                return call_native(native, request).await;
            }
            if let Kind::Provider(provider) = &self.spec.kind {
                let outcome = provider.call(request, events).await?;
                return Ok(Reply {
                    outcome,
                    era: Era::Modern,
                });
            }
            if self.is_personal() {
                self.let_in(&request.caller.principal).await?;
            }
            let base = self.live.load_full().ok_or_else(|| Error::Down {
                state: self.snapshot().state.as_str(),
            })?;
            let peer = match self.lane_key(&base, &request.caller) {
                None => base,
                Some(key) => match self.lanes.ready(&key, self.parts.clock.now()) {
                    Some(peer) => peer,
                    None => Box::pin(self.lane(key, base)).await?,
                },
            };
            let outcome = peer.call(request, line).await?;
            if let Outcome::Error(error) = &outcome {
                peer.inbox().note_pages(error, &request.caller.principal);
            }
            Ok(Reply {
                outcome,
                era: peer.revision().era(),
            })
        };
        tokio::pin!(call);
        let waited = self.spec.timeout;
        loop {
            match tokio::time::timeout(waited, &mut call).await {
                Ok(answer) => return answer,
                // While its client is asked something, the upstream is not the one who is silent.
                Err(_) if asking.load(Ordering::Relaxed) > 0 => {}
                Err(_) => return Err(Error::Silent { waited }),
            }
        }
    }

    /// What of a listing is everybody's. Where each principal has a credential of its own, tools, prompts and templates
    /// are what the server can do, but resources are what the lister has: nobody else's business.
    fn of_all(&self, mut listing: Listing) -> Listing {
        if self.is_personal() {
            listing.resources.clear();
            listing.subscribes = false;
        }
        listing
    }

    /// Whether it is shown each principal's own credential.
    fn is_personal(&self) -> bool {
        matches!(&self.spec.kind, Kind::Http(spec) if spec.credential == Credential::Personal)
    }

    /// Nothing goes to it for a principal that has no credential for it.
    async fn let_in(&self, principal: &str) -> Result<(), Error> {
        let (credentials, principal) = (&self.parts.credentials, Some(principal));
        let who = For {
            upstream: self.id(),
            principal,
        };
        if credentials.at_hand(who).is_none() {
            credentials.obtain(who).await?;
        }
        Ok(())
    }

    fn methods(&self) -> Vec<Item> {
        let methods = self.spec.methods.iter();
        methods.filter_map(|name| Item::method(name)).collect()
    }

    /// Lives until `stop`: connects, lists, listens for changes, and starts again whenever the connection ends.
    pub async fn run(&self, stop: CancellationToken) {
        self.home.get_or_init(Handle::current);
        if self.native.is_some() {
            stop.cancelled().await;
        }
        if let Kind::Provider(provider) = &self.spec.kind {
            tokio::select! {
                () = self.heed(&**provider) => {}
                () = stop.cancelled() => {}
            }
        }
        let mut pause = PAUSE_FIRST;
        while !stop.is_cancelled() {
            let started = self.parts.clock.now();
            self.is_wanted.store(false, Ordering::Relaxed);
            let mut connected = self.parts.credentials.changes();
            let why = Box::pin(self.live_once(&stop)).await;
            self.live.store(None);
            if stop.is_cancelled() {
                break;
            }
            if self.is_wanted.load(Ordering::Relaxed) {
                tracing::info!(upstream = %self.id(), "upstream waits for somebody to connect it");
                self.publish(|next| {
                    next.state = State::Waiting;
                    next.last_error = Some(why.clone());
                });
                tokio::select! {
                    _ = connected.changed() => {}
                    () = tokio::time::sleep(WANTED_LOOK) => {}
                    () = stop.cancelled() => {}
                }
                pause = PAUSE_FIRST;
                continue;
            }
            let Some(why) = self.without_fallback(why) else {
                continue;
            };
            if self.parts.clock.now().since(started) > HEALTHY_AFTER {
                pause = PAUSE_FIRST;
            }
            tracing::warn!(upstream = %self.id(), why, pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "upstream down, will be started again");
            self.publish(|next| {
                next.state = State::Down;
                next.last_error = Some(why.clone());
                next.restarts += 1;
            });
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
        self.lanes.end().await;
        self.publish(|next| next.state = State::Stopped);
    }

    /// Hears what a provider tells, and takes over its lists whenever they changed. Never ends.
    async fn heed(&self, provider: &dyn Provider) {
        let inbox = Inbox::default();
        let mut told = provider.told();
        let hear = async {
            let nothing = Bytes::from_static(b"{}");
            loop {
                match told.recv().await {
                    Ok(notice) => inbox.hear(&notice.method, &notice.params, None),
                    // What was missed may have been about any of them.
                    Err(RecvError::Lagged(_)) => {
                        inbox.hear(notification::TOOLS_CHANGED, &nothing, None);
                        inbox.hear(notification::PROMPTS_CHANGED, &nothing, None);
                        inbox.hear(notification::RESOURCES_CHANGED, &nothing, None);
                        self.watched.tell_all();
                    }
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        let relist = async {
            loop {
                let announced = inbox.announced();
                self.publish_listing(provider.listing(), announced);
                inbox.changed.notified().await;
                tokio::time::sleep(CHANGES_PAUSE).await;
            }
        };
        tokio::select! {
            () = hear => {}
            () = self.pass_on(inbox.told.subscribe()) => {}
            () = relist => {}
        }
    }

    /// One connection from its start to its end; tells why it ended.
    async fn live_once(&self, stop: &CancellationToken) -> String {
        let end = CancellationToken::new();
        let whose = match self.is_personal() {
            true => self.parts.credentials.lister(self.id()),
            false => None,
        };
        match self.open(self.declared(), &end, whose.clone()) {
            Ok((peer, drive)) => Box::pin(self.serve(peer, drive, (&end, stop), whose)).await,
            Err(error) => chain(&error),
        }
    }

    async fn serve(
        &self,
        peer: Arc<Peer>,
        mut drive: Drive,
        (end, stop): (&CancellationToken, &CancellationToken),
        whose: Option<Arc<str>>,
    ) -> String {
        let why = tokio::select! {
            why = &mut drive => return why,
            () = self.is_gone(whose) => "who connected it has disconnected it".to_owned(),
            error = self.manage(&peer) => chain(&error),
            () = stop.cancelled() => "stopped".to_owned(),
        };
        self.live.store(None);
        end.cancel();
        drive.await;
        why
    }

    /// Ends when the principal whose connection it is has no credential any more; never if it is nobody's.
    async fn is_gone(&self, whose: Option<Arc<str>>) {
        match &self.spec.kind {
            Kind::Http(spec) if spec.credential == Credential::Personal => {
                credential::is_gone(self.pass(spec, whose).as_ref()).await;
            }
            _ => std::future::pending().await,
        }
    }

    /// Greets, lists, and lists again at every change. Only ever ends with why it could not.
    async fn manage(&self, peer: &Arc<Peer>) -> Error {
        let offers = match Box::pin(self.connect(peer)).await {
            Ok(offers) => offers,
            Err(error) => return error,
        };
        let watch = async {
            watching::keep(peer, offers, &self.watched).await;
            std::future::pending::<()>().await;
        };
        let relist = async {
            let inbox = peer.inbox();
            loop {
                inbox.changed.notified().await;
                tokio::time::sleep(CHANGES_PAUSE).await;
                let announced = inbox.announced();
                match tokio::time::timeout(LISTS_TIMEOUT, listing::fetch(peer, offers)).await {
                    Ok(Ok(listing)) => self.publish_listing(self.of_all(listing), announced),
                    Ok(Err(error)) => {
                        tracing::warn!(upstream = %self.id(), error = chain(&error), "the lists changed but cannot be read");
                    }
                    Err(_) => {
                        tracing::warn!(upstream = %self.id(), "the lists changed but do not come");
                    }
                }
            }
        };
        tokio::select! {
            () = watch => Error::Gone,
            () = self.pass_on(peer.inbox().told.subscribe()) => Error::Gone,
            error = relist => error,
        }
    }

    /// Passes on what the server tells outside of calls, for as long as the connection lasts.
    async fn pass_on(&self, mut told: broadcast::Receiver<Told>) {
        loop {
            match told.recv().await {
                Ok(told) if told.notice.method == notification::RESOURCE_UPDATED => {
                    self.watched.tell(&told.notice.params);
                }
                // Nobody listens if no client is there.
                Ok(told) => drop(self.parts.told.send(Told {
                    upstream: Some(self.id().clone()),
                    ..told
                })),
                Err(RecvError::Lagged(_)) => self.watched.tell_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn connect(&self, peer: &Arc<Peer>) -> Result<Offers, Error> {
        let waited = self.spec.timeout_connect;
        let silent = |_| Error::Silent { waited };
        let known = match &self.spec.kind {
            // Who still speaks it is of the first revision.
            Kind::Http(spec) if self.transport(spec.transport) == Transport::Sse => {
                Some(Era::Legacy)
            }
            _ => *self.era.lock(),
        };
        if matches!(self.spec.kind, Kind::Stdio(_)) {
            // If the child dies of the probe, the next start leaves it out.
            *self.era.lock() = Some(Era::Legacy);
        }
        let greeted = self.parts.clock.now();
        let greeting = match tokio::time::timeout(waited, Box::pin(peer.greet(known)))
            .await
            .map_err(silent)?
        {
            Err(error) => {
                // It lives and refuses the legacy handshake: the next start asks anew what it is.
                if matches!(error, Error::Refused { .. }) {
                    *self.era.lock() = None;
                }
                if peer.is_refused() && *self.fallback.lock() == Fallback::No {
                    *self.fallback.lock() = Fallback::Refused;
                }
                return Err(error);
            }
            Ok(greeting) => greeting,
        };
        let latency = self.parts.clock.now().since(greeted);
        // An endpoint may be another server the next time; asking again costs it one request.
        *self.era.lock() =
            matches!(self.spec.kind, Kind::Stdio(_)).then(|| greeting.revision.era());
        let mut listing =
            tokio::time::timeout(LISTS_TIMEOUT, listing::fetch(peer, greeting.offers))
                .await
                .map_err(|_elapsed| Error::Silent {
                    waited: LISTS_TIMEOUT,
                })??;
        listing = self.of_all(listing);
        let Greeting {
            revision,
            offers,
            server,
            identity,
            instructions,
            extensions,
        } = greeting;
        (listing.server, listing.instructions) = (server, instructions);
        listing.identity = Some(identity);
        listing.extensions = extensions;
        listing.methods = self.methods();
        tracing::info!(
            upstream = %self.id(),
            server = listing.server,
            %revision,
            tools = listing.tools.len(),
            prompts = listing.prompts.len(),
            resources = listing.resources.len(),
            "upstream ready"
        );
        self.live.store(Some(Arc::clone(peer)));
        // It may be another server now.
        self.lanes.are_refused.store(false, Ordering::Relaxed);
        self.publish(|next| {
            next.state = State::Ready;
            next.revision = Some(revision);
            next.latency = Some(latency);
            next.last_error = None;
            next.listing = Arc::new(listing);
        });
        Ok(offers)
    }

    fn publish_listing(&self, mut listing: Listing, announced: Announced) {
        let old = self.snapshot();
        listing.server.clone_from(&old.listing.server);
        listing.identity.clone_from(&old.listing.identity);
        listing.instructions.clone_from(&old.listing.instructions);
        listing.extensions.clone_from(&old.listing.extensions);
        listing.methods = self.methods();
        if listing != *old.listing || announced != old.announced {
            self.publish(|next| {
                next.listing = Arc::new(listing);
                next.announced = announced;
            });
        }
    }

    fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        let now = self.parts.clock.now();
        self.snapshot.send_modify(|current| {
            let mut next = Snapshot::clone(current);
            change(&mut next);
            if next.state != current.state {
                next.since = now;
            }
            *current = Arc::new(next);
        });
    }
}

async fn call_native(native: &Native, request: &Request) -> Result<Reply, Error> {
    let name = request
        .name
        .as_deref()
        .or(request.params.name.as_deref())
        .unwrap_or_default();
    let arguments = request
        .params
        .arguments()
        .unwrap_or_else(|| Bytes::from_static(b"{}"));
    let arguments = match wire::json::strict_value(&arguments) {
        Ok(serde_json::Value::Object(arguments)) => arguments,
        Ok(_) => serde_json::Map::new(),
        Err(error) => return Err(Error::Protocol(error.to_string())),
    };
    let caller = native::Caller {
        principal: &request.caller.principal,
    };
    let result = native.call(name, arguments, caller).await?;
    let result = Bytes::from(Box::<str>::from(result).into_string());
    // A pack writes results in the form that both eras share; what only the modern one has is added at the door.
    Ok(Reply {
        outcome: Outcome::Result(result),
        era: Era::Legacy,
    })
}

fn native_listing(native: &Native) -> Listing {
    let read = |raw: &serde_json::value::RawValue| {
        Item::read(Bytes::copy_from_slice(raw.get().as_bytes()), "name")
    };
    Listing {
        tools: native.tools().iter().filter_map(|raw| read(raw)).collect(),
        server: concat!("portcullis ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Listing::default()
    }
}

/// Between half and the whole of `pause`, so that upstreams that fell together do not rise together.
fn jittered(pause: Duration) -> Duration {
    let dice = uuid::Uuid::new_v4().as_u128() % 1000;
    pause / 2 + (pause / 2000) * u32::try_from(dice).unwrap_or_default()
}
