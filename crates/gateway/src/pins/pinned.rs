//! All pins in memory, as an immutable snapshot: what an entry is held to when lists are merged.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use policy::UpstreamId;
use store::{PinRow, PinState};
use upstream::Item;

use super::definition::digest;
use super::{Known, PinKind, Withheld};

/// All pins, by upstream, kind and name.
#[derive(Debug, Default)]
pub(crate) struct Pinned {
    upstreams: HashMap<Box<str>, BTreeMap<PinKind, Named>>,
}

/// Entries of one kind, by the upstream's names for them.
type Named = HashMap<Box<str>, Pin>;

/// What is known of one entry: digests.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) approved: Option<Arc<str>>,
    pub(super) waiting: Option<Arc<str>>,
}

/// What is found out about an entry before it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The digest of its definition.
    pub(crate) definition: Arc<str>,
    /// Why it is not served, if it is not.
    pub(crate) withheld: Option<Withheld>,
}

impl Pinned {
    /// From what the store has. What was approved once and is not any more makes no difference here.
    pub(super) fn of(rows: Vec<PinRow>) -> Self {
        let mut pinned = Self::default();
        for row in rows {
            let Some(kind) = PinKind::parse(&row.of.kind) else {
                continue;
            };
            let upstream = pinned.upstreams.entry(row.of.upstream.into()).or_default();
            let of_kind = upstream.entry(kind).or_default();
            let pin = of_kind.entry(row.of.name.into()).or_default();
            match row.state {
                PinState::Approved => pin.approved = Some(row.digest.into()),
                PinState::Waiting => pin.waiting = Some(row.digest.into()),
                PinState::Superseded => {}
            }
        }
        pinned
    }

    pub(super) fn pin(&self, upstream: &UpstreamId, kind: PinKind, name: &str) -> Option<&Pin> {
        let kinds = self.upstreams.get(upstream.as_str())?;
        kinds.get(&kind)?.get(name)
    }

    /// The entries of an upstream of which a definition waits.
    pub(super) fn waiting(&self, upstream: &UpstreamId) -> Vec<(PinKind, &str)> {
        let kinds = self.upstreams.get(upstream.as_str()).into_iter().flatten();
        kinds
            .flat_map(|(kind, pins)| {
                pins.iter()
                    .filter(|(_, pin)| pin.waiting.is_some())
                    .map(|(name, _)| (*kind, &**name))
            })
            .collect()
    }

    /// What to make of an entry. Without a kind it is none of the upstream's definitions, but a method that the config
    /// gives to it: it stands and falls with the server.
    pub(crate) fn mark(&self, known: &Known, kind: Option<PinKind>, item: &Item) -> Mark {
        let definition = kind
            .and_then(|kind| known.definitions.digest(kind, &item.key))
            .map_or_else(|| digest(item.text()).into(), Arc::clone);
        let withheld = if known.is_exempt() {
            None
        } else {
            let own = kind.and_then(|kind| self.verdict(known, kind, &item.key, &definition));
            self.server(known).or(own)
        };
        Mark {
            definition,
            withheld,
        }
    }

    /// Whether models may be told what the upstream says of itself.
    pub(crate) fn may_instruct(&self, known: &Known) -> bool {
        let kind = PinKind::Instructions;
        known.is_exempt()
            || (self.server(known).is_none()
                && known
                    .definitions
                    .digest(kind, "")
                    .is_none_or(|digest| self.verdict(known, kind, "", digest).is_none()))
    }

    /// How many definitions of an upstream are withheld.
    pub(crate) fn withheld(&self, known: &Known) -> usize {
        if known.is_exempt() {
            return 0;
        }
        let is_other = self.server(known).is_some();
        known
            .definitions
            .all()
            .filter(|(kind, name, digest)| {
                is_other || self.verdict(known, *kind, name, digest).is_some()
            })
            .count()
    }

    /// Whether some definition is not the one that was approved: then it must not be served for another moment.
    pub(crate) fn is_at_odds(&self, known: &Known) -> bool {
        !known.is_exempt()
            && (self.lacks_identity(known)
                || known.definitions.all().any(|(kind, name, digest)| {
                    self.verdict(known, kind, name, digest) == Some(Withheld::Changed)
                }))
    }

    fn server(&self, known: &Known) -> Option<Withheld> {
        let Some(digest) = known.definitions.digest(PinKind::Server, "") else {
            return self.lacks_identity(known).then_some(Withheld::Server);
        };
        self.verdict(known, PinKind::Server, "", digest)
            .map(|why| match why {
                Withheld::Changed | Withheld::New | Withheld::Server => Withheld::Server,
                Withheld::Unpinned | Withheld::Screened => Withheld::Unpinned,
            })
    }

    /// Whether an upstream that said who it is before does not any more: that is another server, too.
    fn lacks_identity(&self, known: &Known) -> bool {
        let kind = PinKind::Server;
        known.definitions.digest(kind, "").is_none()
            && self.pin(known.link.id(), kind, "").is_some()
    }

    fn verdict(
        &self,
        known: &Known,
        kind: PinKind,
        name: &str,
        digest: &Arc<str>,
    ) -> Option<Withheld> {
        match self.pin(known.link.id(), kind, name) {
            None => Some(Withheld::Unpinned),
            Some(pin) if pin.approved.as_ref() == Some(digest) => None,
            Some(pin) if pin.approved.is_some() => Some(Withheld::Changed),
            Some(_) => Some(Withheld::New),
        }
    }
}
