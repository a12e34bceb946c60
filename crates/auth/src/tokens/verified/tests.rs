//! What is remembered stays within its bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use policy::{Credential, PrincipalId};

use super::*;
use crate::tokens::claims::{Audience, Binding};

fn verified(until: u64) -> Verified {
    let id = PrincipalId::new("alice").unwrap();
    let principal =
        crate::auth::principal(id, BTreeSet::new(), &BTreeMap::new(), Credential::Local);
    Verified {
        known: Arc::new(Known {
            principal: Arc::new(principal),
            binding: Binding::default(),
            audience: Audience::Whole,
            expires_at: UNIX_EPOCH + Duration::from_secs(1000),
        }),
        issuer: 0,
        generation: 1,
        until: Instant(Duration::from_secs(until)),
    }
}

fn at(seconds: u64) -> (Instant, SystemTime) {
    let since = Duration::from_secs(seconds);
    (Instant(since), UNIX_EPOCH + since)
}

#[test]
fn a_token_is_remembered_until_its_time_and_never_beyond_its_end() {
    let cache = Cache::default();
    let (now, wall) = at(0);
    cache.keep([1; 32], verified(60), now);
    assert!(cache.get(&[1; 32], now, wall).is_some());
    assert!(cache.get(&[2; 32], now, wall).is_none());
    let (later, _) = at(60);
    assert!(cache.get(&[1; 32], later, wall).is_none());
    let (_, ended) = at(1000);
    assert!(cache.get(&[1; 32], now, ended).is_none());
}

#[test]
fn many_tokens_fill_no_more_than_the_bound() {
    let cache = Cache::default();
    let (now, _) = at(0);
    let one = verified(60);
    for number in 0..=TOKENS_MAX {
        cache.keep(hash(&number.to_string()), one.clone(), now);
        assert!(cache.tokens.read().len() <= TOKENS_MAX);
    }
}
