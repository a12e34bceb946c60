//! Sign-ins under way: begun here, to be finished once, soon, and by the same principal.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Instant, PrincipalId, UpstreamId};
use url::Url;
use zeroize::Zeroizing;

use super::client::Client;
use super::discovery::{Resource, Server};
use super::error::OutboundError;

/// How long a person may take.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(10 * 60);
/// Sign-ins under way: all of them, and those of one principal.
const ATTEMPTS_MAX: usize = 1024;
const OF_ONE_MAX: usize = 16;

/// One sign-in.
pub(super) struct Attempt {
    pub(super) upstream: UpstreamId,
    /// Its endpoint, as it was then.
    pub(super) url: Url,
    pub(super) principal: PrincipalId,
    pub(super) resource: Resource,
    pub(super) server: Server,
    pub(super) client: Client,
    pub(super) verifier: Zeroizing<String>,
    pub(super) asked: Vec<String>,
    pub(super) until: Instant,
}

/// All of them, by a keyed hash of their `state`.
#[derive(Default)]
pub(super) struct Attempts {
    open: Mutex<HashMap<[u8; 32], Attempt>>,
}

impl Attempts {
    /// Keeps one. Of a principal with too many the oldest is given up.
    pub(super) fn keep(
        &self,
        state: [u8; 32],
        attempt: Attempt,
        now: Instant,
    ) -> Result<(), OutboundError> {
        let mut open = self.open.lock();
        open.retain(|_, attempt| attempt.until > now);
        let own = || {
            open.iter()
                .filter(|(_, one)| one.principal == attempt.principal)
        };
        if own().count() >= OF_ONE_MAX {
            let oldest = own()
                .min_by_key(|(_, one)| one.until)
                .map(|(state, _)| *state);
            oldest.and_then(|state| open.remove(&state));
        }
        if open.len() >= ATTEMPTS_MAX {
            return Err(OutboundError::Busy);
        }
        open.insert(state, attempt);
        Ok(())
    }

    /// Takes one out, whatever comes of it: nobody gets a second try.
    pub(super) fn take(
        &self,
        state: &[u8; 32],
        principal: &PrincipalId,
        now: Instant,
    ) -> Result<Attempt, OutboundError> {
        self.open
            .lock()
            .remove(state)
            .filter(|attempt| attempt.until > now && attempt.principal == *principal)
            .ok_or(OutboundError::Stranger)
    }

    /// Gives up those of a principal.
    pub(super) fn forget(&self, principal: &PrincipalId, upstream: Option<&UpstreamId>) {
        self.open.lock().retain(|_, attempt| {
            attempt.principal != *principal
                || upstream.is_some_and(|upstream| attempt.upstream != *upstream)
        });
    }
}

impl std::fmt::Debug for Attempts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempts").finish_non_exhaustive()
    }
}
