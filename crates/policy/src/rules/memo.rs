//! What was found out about entries, kept as long as the rules stay the same.
//!
//! An entry of a catalog keeps it with itself; for URIs that only a template knows there is one bounded place for all.
//! Every verdict is kept under all that it depends on, so a mistaken caller gets a slow answer rather than a wrong one.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::mem;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;

use super::verdict::Verdict;
use super::{Subject, SubjectKind, Traits, Verb};
use crate::{RoleName, ServerName, UpstreamId};

/// How many verdicts one entry keeps: one for each set of roles, verb and virtual server that is in use.
const SLOTS_MAX: usize = 64;
/// How many URIs of templates are remembered; and as many again of those that were asked for before.
const URIS_MAX: usize = 2048;
/// Longest URI that is remembered, in bytes.
const URI_BYTES_MAX: usize = 2048;

/// Decisions about one entry that depend on nothing but the roles held, once made.
#[derive(Default)]
pub struct Memo {
    slots: ArcSwap<Vec<Arc<Slot>>>,
}

struct Slot {
    /// Of which rules it is.
    generation: u64,
    roles_hash: u64,
    roles: BTreeSet<RoleName>,
    verb: Verb,
    kind: SubjectKind,
    traits: Traits,
    server: Option<ServerName>,
    upstream: UpstreamId,
    name: Box<str>,
    verdict: Arc<Verdict>,
}

impl Slot {
    fn fits(&self, holder: Holder<'_>, subject: &Subject<'_>) -> bool {
        self.generation == holder.generation
            && self.roles_hash == holder.hash
            && self.verb == subject.verb
            && self.kind == subject.kind
            && self.traits == subject.traits
            && self.server.as_ref() == subject.server
            && *self.name == *subject.name
            && self.upstream == *subject.upstream
            && self.roles == *holder.roles
    }
}

/// A set of roles under one generation of rules.
#[derive(Clone, Copy)]
pub(super) struct Holder<'a> {
    generation: u64,
    hash: u64,
    roles: &'a BTreeSet<RoleName>,
}

impl<'a> Holder<'a> {
    pub(super) fn new(generation: u64, roles: &'a BTreeSet<RoleName>) -> Self {
        // FNV-1a: quick, and who could choose roles to collide gains nothing: they are compared as well.
        let bytes = roles.iter().flat_map(|role| role.as_str().bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self {
            generation,
            hash,
            roles,
        }
    }
}

impl Memo {
    /// The verdict that is kept, or the one that is made now.
    pub(super) fn verdict(
        &self,
        holder: Holder<'_>,
        subject: &Subject<'_>,
        make: impl FnOnce() -> Verdict,
    ) -> Arc<Verdict> {
        let slots = self.slots.load();
        if let Some(slot) = slots.iter().find(|slot| slot.fits(holder, subject)) {
            return Arc::clone(&slot.verdict);
        }
        let verdict = Arc::new(make());
        let slot = Arc::new(Slot {
            generation: holder.generation,
            roles_hash: holder.hash,
            roles: holder.roles.clone(),
            verb: subject.verb,
            kind: subject.kind,
            traits: subject.traits,
            server: subject.server.cloned(),
            upstream: subject.upstream.clone(),
            name: subject.name.into(),
            verdict: Arc::clone(&verdict),
        });
        self.slots.rcu(|slots| {
            let current = slots
                .iter()
                .filter(|slot| slot.generation == holder.generation);
            let mut kept: Vec<Arc<Slot>> = current.cloned().collect();
            if kept.len() >= SLOTS_MAX {
                kept.remove(0);
            }
            kept.push(Arc::clone(&slot));
            kept
        });
        verdict
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo")
            .field("slots", &self.slots.load().len())
            .finish()
    }
}

/// Memos of what is no entry of a catalog, the most recent ones.
#[derive(Debug, Default)]
pub(super) struct Uris {
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    young: HashMap<u64, Arc<Memo>>,
    /// What was young when that was full.
    old: HashMap<u64, Arc<Memo>>,
}

impl Uris {
    /// Where decisions about that name are kept; `None` if it is too long to keep. Names that share a place by their
    /// hash do not share a verdict.
    pub(super) fn memo(&self, subject: &Subject<'_>) -> Option<Arc<Memo>> {
        if subject.name.len() > URI_BYTES_MAX {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (subject.upstream, subject.kind, subject.name).hash(&mut hasher);
        let key = hasher.finish();
        {
            let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(memo) = kept.young.get(&key) {
                return Some(Arc::clone(memo));
            }
        }
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        if kept.young.len() >= URIS_MAX {
            kept.old = mem::take(&mut kept.young);
        }
        let memo = kept.old.remove(&key).unwrap_or_default();
        Some(Arc::clone(kept.young.entry(key).or_insert(memo)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject<'a>(upstream: &'a UpstreamId, name: &'a str) -> Subject<'a> {
        Subject {
            verb: Verb::Use,
            kind: SubjectKind::Resource,
            server: None,
            upstream,
            name,
            traits: Traits::default(),
            memo: None,
        }
    }

    #[test]
    fn only_so_many_uris_are_remembered() {
        let uris = Uris::default();
        let upstream = UpstreamId::parse("files").unwrap();
        let first = uris.memo(&subject(&upstream, "file:///0")).unwrap();
        for number in 1..10 * URIS_MAX {
            let name = format!("file:///{number}");
            assert!(uris.memo(&subject(&upstream, &name)).is_some());
        }
        let kept = uris.kept.read().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * URIS_MAX);
        drop(kept);
        let again = uris.memo(&subject(&upstream, "file:///0")).unwrap();
        assert!(!Arc::ptr_eq(&first, &again));
        assert!(
            uris.memo(&subject(&upstream, &"x".repeat(URI_BYTES_MAX + 1)))
                .is_none()
        );
    }
}
