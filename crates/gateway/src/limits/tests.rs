//! A call is counted in every limit that speaks of it, or in none.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use policy::{
    CountedEntry, Credential, Limit, LimitName, LimitRule, Pattern, Per, Principal, Scopes,
    Selector, UpstreamId,
};
use store::shared::Memory;

use super::*;
use crate::settings::Concurrency;

/// A clock that stands still.
#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(Duration::from_secs(1))
    }
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn rule(name: &str, per: Per, of: &[&str], max: u32) -> LimitRule {
    LimitRule {
        name: LimitName::new(name).unwrap(),
        selector: Selector {
            per,
            of: of.iter().map(|of| Pattern::parse(of).unwrap()).collect(),
            ..Selector::per_principal()
        },
        limit: Limit {
            max: number(max),
            per: Duration::from_secs(60),
        },
        cost: number(1),
    }
}

/// What hardly limits anything.
pub(super) fn limits() -> Limits {
    Limits {
        tool_call: rule("tool_call", Per::Principal, &[], 100),
        resource_access: rule("resource_access", Per::Principal, &[], 50),
        rules: Vec::new(),
        quotas: Vec::new(),
        costs: Vec::new(),
        in_flight_max: 100,
        concurrency: Concurrency {
            per_principal: number(100),
            per_upstream: number(100),
            upstreams: BTreeMap::new(),
            adaptive_min: None,
            queue_max: 10,
            queue_wait: Duration::ZERO,
        },
    }
}

struct Gate {
    counters: Counters,
    limits: Limits,
    _folder: tempfile::TempDir,
}

fn gate(limits: Limits) -> Gate {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db")).unwrap();
    let counters = Counters::new(&limits, Arc::new(Memory::new()), store, Arc::new(Still));
    Gate {
        counters,
        limits,
        _folder: folder,
    }
}

impl Gate {
    /// A tool call; the name of the limit that refuses it.
    async fn call(&self, who: &str, upstream: &str, tool: &str) -> Result<Permit, String> {
        let principal = Principal {
            id: PrincipalId::new(who).unwrap(),
            roles: std::collections::BTreeSet::default(),
            credential: Credential::Local,
            client: None,
            scopes: Scopes::CALLS,
            expires_at: None,
            claims: Arc::default(),
        };
        let upstream = UpstreamId::parse(upstream).unwrap();
        let counted = Counted {
            principal: &principal,
            entry: Some(CountedEntry {
                upstream: &upstream,
                key: tool,
                names: &[tool],
            }),
            server: None,
        };
        let key = Some(LimitKey::ToolCall);
        let admitted = async {
            self.counters.count(&self.limits, &counted, key).await?;
            self.counters.admit(&self.limits, &counted, 10).await
        };
        admitted.await.map_err(|rejection| match rejection {
            Rejection::TooMany { limit, .. } => limit.to_string(),
            other => other.to_string(),
        })
    }

    async fn calls(&self, who: &str, upstream: &str, tool: &str) -> usize {
        let mut let_in = 0;
        while self.call(who, upstream, tool).await.is_ok() {
            let_in += 1;
        }
        let_in
    }
}

#[tokio::test]
async fn the_narrowest_limit_is_named_and_the_others_are_untouched() {
    let mut limits = limits();
    limits.rules = vec![
        rule("deletes", Per::Global, &["tickets.delete_*"], 3),
        rule("of_tickets", Per::Upstream, &["tickets.*"], 10),
    ];
    let gate = gate(limits);
    assert_eq!(gate.calls("alice", "tickets", "delete_all").await, 3);
    for _ in 0..50 {
        let refused = gate.call("alice", "tickets", "delete_all").await;
        assert_eq!(refused.unwrap_err(), "deletes");
    }
    // Seven of ten are left: the fifty took none.
    assert_eq!(gate.calls("bob", "tickets", "list").await, 7);
    assert_eq!(
        gate.call("bob", "tickets", "list").await.unwrap_err(),
        "of_tickets"
    );
    assert_eq!(gate.calls("alice", "mail", "send").await, 97);
    assert_eq!(
        gate.call("alice", "mail", "send").await.unwrap_err(),
        "tool_call"
    );
}

#[tokio::test]
async fn a_place_is_free_again_when_its_call_is_over() {
    let mut limits = limits();
    limits.in_flight_max = 1;
    let gate = gate(limits);
    let permit = gate.call("alice", "u", "t").await.unwrap();
    assert_eq!(
        gate.call("bob", "u", "t").await.unwrap_err(),
        Rejection::Busy.to_string()
    );
    drop(permit);
    assert!(gate.call("bob", "u", "t").await.is_ok());
}
