//! What clients call an entry: the upstream's own name, or that with its alias in front.
//!
//! No upstream can have a name that begins like another's. Which of two entries with the same or a similar name has it is
//! `merge`'s to say, by what is here called their [`Claim`].

use std::collections::HashMap;

use policy::{SubjectKind, UpstreamId, confusable};

use super::merge::Source;
use crate::dialect;
use crate::settings::{CatalogSettings, Prefix};

/// What an entry has its key by; of two with the same or a similar key the earlier here wins, whoever was there first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// The operator gave it.
    Given,
    /// Its upstream's alias stands in front.
    Prefixed,
    /// It is what its upstream calls it.
    Bare,
}

/// How public keys are made of upstreams' names.
pub(super) struct Naming<'a> {
    settings: &'a CatalogSettings,
    source: Source,
    /// How often each name is on offer.
    count: HashMap<&'a str, usize>,
    /// What the prefixed names of each upstream begin with, and how that looks.
    prefixes: Vec<Prefixes<'a>>,
}

/// How the prefixed names of one upstream begin.
struct Prefixes<'a> {
    upstream: &'a UpstreamId,
    looks: String,
}

/// What clients call an entry, and why.
pub(super) struct Named {
    pub(super) key: String,
    pub(super) claim: Claim,
    /// What its own name looks like, if that is why it has its upstream's alias in front.
    pub(super) like: Option<String>,
}

impl<'a> Naming<'a> {
    pub(super) fn new(
        settings: &'a CatalogSettings,
        source: Source,
        names: impl Iterator<Item = &'a str>,
        aliases: impl Iterator<Item = &'a UpstreamId>,
    ) -> Self {
        let mut count: HashMap<&str, usize> = HashMap::new();
        for name in names {
            *count.entry(name).or_default() += 1;
        }
        let prefix = |upstream: &'a UpstreamId| Prefixes {
            upstream,
            looks: confusable::skeleton(&format!("{upstream}{}", settings.separator)),
        };
        let has_prefix = |upstream: &&UpstreamId| policy(settings, upstream) != Prefix::Never;
        Self {
            settings,
            source,
            count,
            prefixes: aliases.filter(has_prefix).map(prefix).collect(),
        }
    }

    /// What clients call an entry.
    pub(super) fn name(&self, upstream: &UpstreamId, name: &str) -> Named {
        let is_prefixed = self.source.is_named
            && match policy(self.settings, upstream) {
                Prefix::Always => true,
                Prefix::OnCollision => self.count.get(name).is_some_and(|count| *count > 1),
                Prefix::Never => false,
            };
        // Whatever the policy: an upstream that calls its tool `b.search` would have the name of the `search` of `b`.
        let like = (self.source.is_named && !is_prefixed)
            .then(|| self.others_prefix(upstream, name))
            .flatten();
        let (key, claim) = if is_prefixed || like.is_some() {
            let key = format!("{upstream}{}{name}", self.settings.separator);
            (key, Claim::Prefixed)
        } else {
            (name.to_owned(), Claim::Bare)
        };
        let key = if self.source.kind == SubjectKind::Tool {
            dialect::name(key, self.settings.dialect.names)
        } else {
            key
        };
        Named { key, claim, like }
    }

    /// What a name begins with, or seems to, if that is how another upstream's prefixed names begin.
    fn others_prefix(&self, upstream: &UpstreamId, name: &str) -> Option<String> {
        let looks = confusable::skeleton(name);
        let other = self
            .prefixes
            .iter()
            .find(|one| one.upstream != upstream && looks.starts_with(&one.looks))?;
        Some(format!("{}{}", other.upstream, self.settings.separator))
    }
}

fn policy(settings: &CatalogSettings, upstream: &UpstreamId) -> Prefix {
    let own = settings.prefix_of.get(upstream).copied();
    own.unwrap_or(settings.prefix)
}
