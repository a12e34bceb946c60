//! Which counters a call is counted in.

use std::collections::BTreeSet;

use super::*;
use crate::{
    Credential, Pattern, Principal, PrincipalId, RoleName, Scopes, ServerName, UpstreamId,
};

fn principal(id: &str, roles: &[&str]) -> Principal {
    Principal {
        id: PrincipalId::new(id).unwrap(),
        roles: roles
            .iter()
            .map(|role| RoleName::new(role).unwrap())
            .collect(),
        credential: Credential::Local,
        client: None,
        scopes: Scopes::CALLS,
        expires_at: None,
        claims: Default::default(),
    }
}

fn rule(per: Per, of: &[&str], roles: &[&str]) -> LimitRule {
    LimitRule {
        name: LimitName::new("r").unwrap(),
        selector: Selector {
            per,
            of: of.iter().map(|of| Pattern::parse(of).unwrap()).collect(),
            roles: roles
                .iter()
                .map(|role| RoleName::new(role).unwrap())
                .collect::<BTreeSet<_>>(),
        },
        limit: Limit {
            max: NonZeroU32::MIN,
            per: Duration::from_secs(1),
        },
        cost: NonZeroU32::MIN,
    }
}

/// The counters of one call of alice's, who is an `agent` and a `reader`.
fn counters(rule: &LimitRule, entry: Option<(&str, &str, &[&str])>) -> Vec<String> {
    let alice = principal("alice", &["agent", "reader"]);
    let server = ServerName::new("support").unwrap();
    let upstream = entry.map(|(upstream, _, _)| UpstreamId::parse(upstream).unwrap());
    let counted = Counted {
        principal: &alice,
        entry: entry
            .zip(upstream.as_ref())
            .map(|((_, key, names), upstream)| CountedEntry {
                upstream,
                key,
                names,
            }),
        server: Some(&server),
    };
    let mut buckets = Vec::new();
    rule.buckets(&counted, &mut buckets);
    buckets.into_iter().map(|bucket| bucket.key).collect()
}

const DELETE: Option<(&str, &str, &[&str])> = Some(("tickets", "delete", &["delete"]));

#[test]
fn each_kind_of_holder_has_a_counter_of_its_own() {
    for (per, expected) in [
        (Per::Principal, &["r alice"] as &[&str]),
        (Per::Role, &["r agent", "r reader"]),
        (Per::Entry, &["r tickets delete"]),
        (Per::Upstream, &["r tickets"]),
        (Per::Server, &["r support"]),
        (Per::Global, &["r"]),
    ] {
        assert_eq!(counters(&rule(per, &[], &[]), DELETE), expected, "{per:?}");
    }
}

#[test]
fn patterns_and_roles_choose_the_calls() {
    let counted =
        |of: &[&str], roles: &[&str]| !counters(&rule(Per::Global, of, roles), DELETE).is_empty();
    assert!(counted(&["tickets.del*"], &[]));
    assert!(counted(&["mail.*", "*.delete"], &["reader"]));
    assert!(!counted(&["mail.*"], &[]));
    assert!(!counted(&["tickets.*"], &["admin"]));
}

#[test]
fn a_limit_per_role_counts_only_the_roles_that_it_names() {
    assert_eq!(
        counters(&rule(Per::Role, &[], &["agent", "admin"]), DELETE),
        ["r agent"]
    );
}

#[test]
fn every_reading_of_a_uri_is_counted_in_the_counter_of_what_is_listed() {
    let read: Option<(&str, &str, &[&str])> = Some((
        "files",
        "file:///{path}",
        &["file:///%73ecret", "file:///secret"],
    ));
    let limit = rule(Per::Entry, &["files.file:///secret*"], &[]);
    assert_eq!(counters(&limit, read), ["r files file:///{path}"]);
}

#[test]
fn what_the_gate_answers_itself_has_no_counter_by_entry() {
    assert_eq!(counters(&rule(Per::Entry, &[], &[]), None), [""; 0]);
    assert_eq!(counters(&rule(Per::Global, &["*"], &[]), None), [""; 0]);
    assert_eq!(counters(&rule(Per::Principal, &[], &[]), None), ["r alice"]);
}

#[test]
fn an_interval_is_rounded_up_and_never_nothing() {
    let interval = |max, per| {
        Limit {
            max: NonZeroU32::new(max).unwrap(),
            per,
        }
        .interval()
        .get()
    };
    assert_eq!(interval(3, Duration::from_nanos(10)), 4);
    assert_eq!(interval(u32::MAX, Duration::ZERO), 1);
    assert_eq!(interval(1, Duration::MAX), u64::MAX);
}
