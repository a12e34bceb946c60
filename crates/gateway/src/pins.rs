//! Definitions are held to what was approved: what an upstream changes behind everybody's back is not served.
//!
//! A pin is the digest (RFC 8785, SHA-256) of a whole definition as its upstream wrote it, by upstream, kind and name:
//! of each tool, prompt, resource and template, of the upstream's instructions, and of the name and title by which the
//! server itself goes. Its version is left out: an upgrade as such changes nothing that a model reads. What is built
//! into this binary is pinned by it.
//!
//! Of each entry one definition is approved at a time. Another one is withheld: nobody finds it in a list, calls are
//! refused, and its name stays taken, so that no other upstream slips under it. This holds for an older definition as
//! well, though it was approved once: who wants it back says so. A name that went and came back is held to what it was.
//! Instructions that changed are withheld by themselves; behind another server name everything is.
//!
//! The decision costs a call nothing: it is made when lists are merged ([`Pinned::mark`]), from a snapshot in memory. A
//! definition is only served once its pin is on disk. `keep` is the task that sees to it, `review` what an owner does.

mod definition;
pub mod diff;
mod keep;
mod pinned;
pub mod review;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::{Changes, PinDraft, PinOffer, Placed, Store};
use tokio::sync::Notify;

use crate::settings::{ChangedEntry, NewEntry, PinPolicy};

pub(crate) use definition::{Known, instructions};
pub(crate) use pinned::{Mark, Pinned};

/// Who approves what is seen for the first time.
const BY_FIRST_USE: &str = "first use";
/// Who approves what changed, where the config says so.
const BY_CONFIG: &str = "pins.changed";

/// What is pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinKind {
    /// By which name and title an upstream's server goes.
    Server,
    /// What it tells models about itself.
    Instructions,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource.
    Resource,
    /// A resource template.
    Template,
}

impl PinKind {
    /// All of them, in the order of lists.
    pub const ALL: [Self; 6] = [
        Self::Server,
        Self::Instructions,
        Self::Tool,
        Self::Prompt,
        Self::Resource,
        Self::Template,
    ];

    /// A word from a closed set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Instructions => "instructions",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Template => "template",
        }
    }

    /// From that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// Why an entry is withheld.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// Nobody has approved it yet.
    New,
    /// Its definition is not the one that was approved.
    Changed,
    /// Its upstream's server goes by another name than the one that was approved.
    Server,
    /// Its definition could not be pinned (yet): the store takes nothing, or there are too many.
    Unpinned,
    /// There is something in its definition that screening lets no client see.
    Screened,
}

impl Withheld {
    /// For the operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "nobody has approved it yet",
            Self::Changed => "its definition is not the one that was approved",
            Self::Server => "its server goes by another name than the one that was approved",
            Self::Unpinned => "its definition could not be pinned so far",
            Self::Screened => "screening refuses its definition",
        }
    }
}

/// The pins of this moment.
#[derive(Debug)]
pub(crate) struct Pins {
    store: Store,
    snapshot: ArcSwap<Pinned>,
    source: Mutex<Source>,
    /// There is something to learn.
    pub(crate) told: Notify,
}

/// Where they are read from.
#[derive(Debug, Default)]
struct Source {
    /// `None` after it failed: it is opened again.
    changes: Option<Changes>,
    /// What was counted last.
    count: Option<i64>,
}

/// What is to be done with an upstream's definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The upstream changed them, or the config what it says of them.
    New,
    /// The store changed. Then only what it does not know is added: beside this gate another may serve from it, and what
    /// each of them sees would push the other's out for ever.
    Again,
}

/// What was found out about one definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: PinKind,
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) placed: Placed,
}

impl Pins {
    /// What the store says.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn open(store: Store) -> Result<Self, store::Error> {
        let pins = Self {
            store,
            snapshot: ArcSwap::default(),
            source: Mutex::default(),
            told: Notify::new(),
        };
        pins.refresh()?;
        Ok(pins)
    }

    /// The pins of this moment. No lock, no I/O.
    pub(crate) fn snapshot(&self) -> Arc<Pinned> {
        self.snapshot.load_full()
    }

    /// Takes over what changed in the store, by whomever; whether anything did.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn refresh(&self) -> Result<bool, store::Error> {
        let mut source = self.source.lock();
        let read = self.take_over(&mut source);
        if read.is_err() {
            source.changes = None;
        }
        read
    }

    fn take_over(&self, source: &mut Source) -> Result<bool, store::Error> {
        let changes = match &mut source.changes {
            Some(changes) => changes,
            none => none.insert(self.store.changes()?),
        };
        let count = changes.counts()?.pins;
        if source.count == Some(count) {
            return Ok(false);
        }
        self.snapshot
            .store(Arc::new(Pinned::of(self.store.list_pins()?)));
        source.count = Some(count);
        Ok(true)
    }

    /// Has the store take in what an upstream offers that is not approved; what became of it.
    async fn learn(
        &self,
        known: &Known,
        policy: PinPolicy,
        look: Look,
        at: SystemTime,
    ) -> Result<Vec<Finding>, store::Error> {
        if known.is_exempt() || !known.is_listed() {
            return Ok(Vec::new());
        }
        let offer = offer(known, &self.snapshot(), policy, look, at);
        if offer.drafts.is_empty() && offer.gone.is_empty() {
            return Ok(Vec::new());
        }
        let named: Vec<(PinKind, String, String)> = offer
            .drafts
            .iter()
            .filter_map(|draft| {
                let kind = PinKind::parse(draft.kind)?;
                Some((kind, draft.name.clone(), draft.digest.clone()))
            })
            .collect();
        let placed = self.store.offer_pins(offer).await?;
        self.refresh()?;
        Ok(named
            .into_iter()
            .zip(placed)
            .map(|((kind, name, digest), placed)| Finding {
                kind,
                name,
                digest,
                placed,
            })
            .collect())
    }
}

/// What the store is to hear of an upstream.
fn offer(
    known: &Known,
    pinned: &Pinned,
    policy: PinPolicy,
    look: Look,
    at: SystemTime,
) -> PinOffer {
    let upstream = known.link.id();
    let accepts = look == Look::New && policy.changed == ChangedEntry::Accept;
    let mut gone = pinned.waiting(upstream);
    let mut drafts = Vec::new();
    for (kind, name, text) in definition::offered(&known.snapshot.listing) {
        let Some(digest) = known.definitions.digest(kind, name) else {
            continue;
        };
        let pin = pinned.pin(upstream, kind, name);
        let is = |what: &Option<Arc<str>>| what.as_ref() == Some(digest);
        let does_wait = pin.is_some_and(|pin| is(&pin.waiting));
        if does_wait {
            gone.retain(|waiting| *waiting != (kind, name));
        }
        let is_settled = pin.is_some_and(|pin| match look {
            Look::New => is(&pin.approved) || (does_wait && !(accepts && pin.approved.is_some())),
            Look::Again => is(&pin.approved) || pin.waiting.is_some(),
        });
        if !is_settled {
            let value = definition::value(&text);
            drafts.push(PinDraft {
                kind: kind.as_str(),
                name: name.to_owned(),
                digest: digest.to_string(),
                definition: policy::canonical::canonical(&value),
                new_by: approver(kind, policy),
            });
        }
    }
    if look == Look::Again {
        gone.clear();
    }
    PinOffer {
        upstream: upstream.to_string(),
        gone: gone
            .into_iter()
            .map(|(kind, name)| (kind.as_str(), name.to_owned()))
            .collect(),
        drafts,
        changed_by: accepts.then_some(BY_CONFIG),
        at,
    }
}

/// Who approves what was never seen. The server's name is only there to be compared: who wants to see its entries first
/// approves those.
fn approver(kind: PinKind, policy: PinPolicy) -> Option<&'static str> {
    let approves = kind == PinKind::Server || policy.new == NewEntry::Approve;
    approves.then_some(BY_FIRST_USE)
}

/// How people name an entry: `files.read`, or the alias alone where there is one of a kind.
#[must_use]
pub fn title(upstream: &str, name: &str) -> String {
    if name.is_empty() {
        return upstream.to_owned();
    }
    [upstream, ".", name].concat()
}
