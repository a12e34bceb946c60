//! How many resources are watched over `subscriptions/listen`: so many by each principal, and so many of each upstream.
//! What one listener may name is bounded with the listener; this is for those who open many.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use policy::{PrincipalId, UpstreamId};

/// Most resources that one principal watches at once.
const PER_PRINCIPAL_MAX: usize = 1_000;
/// Most resources of one upstream that are watched at once.
const PER_UPSTREAM_MAX: usize = 16_384;

/// All that is watched.
#[derive(Debug, Default)]
pub(super) struct Watching {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    principals: HashMap<PrincipalId, usize>,
    upstreams: HashMap<UpstreamId, usize>,
}

/// One resource that is watched; counted no longer when dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    among: Arc<Watching>,
    principal: PrincipalId,
    upstream: UpstreamId,
}

impl Watching {
    /// How many are watched.
    pub(super) fn len(&self) -> usize {
        self.counts.lock().upstreams.values().sum()
    }

    pub(super) fn enter(
        self: &Arc<Self>,
        principal: &PrincipalId,
        upstream: &UpstreamId,
    ) -> Option<Watched> {
        let mut counts = self.counts.lock();
        let own = counts
            .principals
            .get(principal)
            .copied()
            .unwrap_or_default();
        let all = counts.upstreams.get(upstream).copied().unwrap_or_default();
        if own >= PER_PRINCIPAL_MAX || all >= PER_UPSTREAM_MAX {
            return None;
        }
        counts.principals.insert(principal.clone(), own + 1);
        counts.upstreams.insert(upstream.clone(), all + 1);
        drop(counts);
        Some(Watched {
            among: Arc::clone(self),
            principal: principal.clone(),
            upstream: upstream.clone(),
        })
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut counts = self.among.counts.lock();
        if let Some(count) = counts.principals.get_mut(&self.principal) {
            *count -= 1;
            if *count == 0 {
                counts.principals.remove(&self.principal);
            }
        }
        if let Some(count) = counts.upstreams.get_mut(&self.upstream) {
            *count -= 1;
            if *count == 0 {
                counts.upstreams.remove(&self.upstream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_principal_watches_so_much_and_another_still_may() {
        let watching = Arc::new(Watching::default());
        let who = |name| PrincipalId::new(name).unwrap();
        let upstream = UpstreamId::parse("files").unwrap();
        let mut watched: Vec<Watched> =
            std::iter::from_fn(|| watching.enter(&who("alice"), &upstream))
                .take(PER_PRINCIPAL_MAX + 1)
                .collect();
        assert_eq!(watched.len(), PER_PRINCIPAL_MAX);
        assert!(watching.enter(&who("bob"), &upstream).is_some());
        watched.pop();
        assert!(watching.enter(&who("alice"), &upstream).is_some());
        watched.clear();
        let counts = watching.counts.lock();
        assert!(counts.principals.is_empty() && counts.upstreams.is_empty());
    }
}
