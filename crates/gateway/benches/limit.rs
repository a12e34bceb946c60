//! What it costs to count a call: run with `cargo bench -p gateway --bench limit`; a plain test run only sees that it
//! works.
//!
//! Against the one limit that everybody has, with nobody else at the counters, it is to take less than 150 ns. `one` is
//! that; `four` is a call that is counted in four limits, all or nothing.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use divan::{Bencher, black_box};
use policy::{
    Bucket, Counted, CountedEntry, Credential, Limit, LimitName, LimitRule, Pattern, Per,
    Principal, PrincipalId, Scopes, Selector, UpstreamId,
};
use store::shared::{Memory, Take};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

fn rule(name: &str, per: Per, of: &[&str]) -> LimitRule {
    LimitRule {
        name: LimitName::new(name).expect("a name"),
        selector: Selector {
            per,
            of: of
                .iter()
                .map(|of| Pattern::parse(of).expect("a pattern"))
                .collect(),
            roles: BTreeSet::new(),
        },
        limit: Limit {
            max: NonZeroU32::MAX,
            per: Duration::from_secs(1),
        },
        cost: NonZeroU32::MIN,
    }
}

fn take<'b>(bucket: &'b Bucket<'_>) -> Take<'b> {
    Take {
        key: &bucket.key,
        interval: bucket.rule.limit.interval(),
        max: bucket.rule.limit.max,
        cost: bucket.rule.cost,
    }
}

/// Counts as `gateway::limits` does.
fn count(bencher: Bencher<'_, '_>, rules: &[LimitRule]) {
    let memory = Memory::new();
    let principal = Principal {
        id: PrincipalId::new("somebody@example.com").expect("a name"),
        roles: BTreeSet::new(),
        credential: Credential::Local,
        client: None,
        scopes: Scopes::CALLS,
        expires_at: None,
        claims: Arc::default(),
    };
    let upstream = UpstreamId::parse("tickets").expect("a name");
    let names = ["create_comment"];
    let mut now = Duration::from_secs(1_000);
    bencher.bench_local(|| {
        let counted = Counted {
            principal: black_box(&principal),
            entry: Some(CountedEntry {
                upstream: &upstream,
                key: names[0],
                names: &names,
            }),
            server: None,
        };
        now += Duration::from_micros(1);
        let mut buckets = Vec::new();
        for rule in rules {
            rule.buckets(&counted, &mut buckets);
        }
        match &*buckets {
            [bucket] => memory.take_now(&[take(bucket)], now),
            buckets => {
                let takes: Vec<Take<'_>> = buckets.iter().map(take).collect();
                memory.take_now(&takes, now)
            }
        }
    });
}

#[divan::bench]
fn one(bencher: Bencher<'_, '_>) {
    count(bencher, &[rule("tool_call", Per::Principal, &[])]);
}

#[divan::bench]
fn four(bencher: Bencher<'_, '_>) {
    let rules = [
        rule("tool_call", Per::Principal, &[]),
        rule("of_tickets", Per::Upstream, &["tickets.*"]),
        rule("comments", Per::Entry, &["*.create_*"]),
        rule("all", Per::Global, &[]),
    ];
    count(bencher, &rules);
}
