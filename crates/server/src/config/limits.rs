//! `[limits]`: how often, how much and how many at once, from what people write to [`gateway::Limits`].

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use policy::config::{Complaints, duration, size};
use policy::{
    Cost, Every, Limit, LimitName, LimitRule, Pattern, Per, QuotaRule, RoleName, Rules, Selector,
    UpstreamId,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::{all, count, wait};
use super::keys::role;
use super::raw::{Raw, Size, Span};
use super::shape::nearest;

/// Longest that a bucket may take to be full again: what takes longer is a quota. Redis counts nanoseconds in doubles,
/// which are exact for a hundred days.
const PER_MAX: Duration = Duration::from_hours(30 * 24);
/// Longest that a call may wait for a place.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Names that are taken.
const BUILT_IN: [&str; 4] = [
    "tool_call",
    "resource_access",
    "in_flight_per_principal",
    "in_flight_per_upstream",
];

/// How often a principal may do what, how much of it, and how many calls go on at once.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    /// Tool calls of one principal.
    pub tool_call: RawLimit,
    /// Reads of resources by one principal.
    pub resource_access: RawLimit,
    /// Further rate limits, by name. A call is counted in all that speak of it, or in none: what one of them refuses uses up no other. A refusal names its limit.
    #[serde(default)]
    pub rules: BTreeMap<String, RawRule>,
    /// Quotas for a day or a month, by name. A call that is not made uses up nothing.
    #[serde(default)]
    pub quotas: BTreeMap<String, RawQuota>,
    /// What calls cost in the units that quotas count, by pattern, as `{ "llm.*" = 20 }`; the most that any pattern says, and 1 where none does.
    #[serde(default)]
    pub costs: BTreeMap<String, u32>,
    /// Calls at once, over all principals.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub in_flight_max: u32,
    /// How the places for calls at once are shared out.
    pub concurrency: RawConcurrency,
}

/// So many per so long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimit {
    /// How many.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// In how long.
    pub per: Span,
}

/// A rate limit: so many at once, and then one every `every / max`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    /// What has a counter of its own: each `principal`, `role`, `entry` (tool, prompt, resource or template), `upstream` or `server` (virtual server); or `global`, one counter for all.
    pub per: RawPer,
    /// Only calls of entries that one of these patterns matches, such as `tickets.*`; all calls unless said, and with them lists and whatever else the gate answers by itself.
    #[serde(default)]
    pub of: Vec<String>,
    /// Only calls of principals who hold one of these roles; of everybody unless said.
    #[serde(default)]
    pub roles: Vec<String>,
    /// How many.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// In how long, thirty days at most.
    pub every: Span,
    /// How many of them one call counts for; 1 unless said.
    #[schemars(range(min = 1))]
    pub cost: Option<u32>,
}

/// What has a counter of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawPer {
    Principal,
    Role,
    Entry,
    Upstream,
    Server,
    Global,
}

/// A quota: one or several of `calls`, `bytes` and `cost`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQuota {
    /// What has a counter of its own, as for rate limits.
    pub per: RawPer,
    /// Only calls of entries that one of these patterns matches; all calls unless said.
    #[serde(default)]
    pub of: Vec<String>,
    /// Only calls of principals who hold one of these roles; of everybody unless said.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Most calls.
    pub calls: Option<u32>,
    /// Most bytes of requests and answers; the answer that goes beyond is still given.
    pub bytes: Option<Size>,
    /// Most cost units; see `limits.costs`.
    pub cost: Option<u32>,
    /// When it begins anew: each `day` at midnight, or each `month` on its first day, in UTC.
    pub every: RawEvery,
}

/// When a quota begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawEvery {
    Day,
    Month,
}

/// How the places for calls at once are shared out.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConcurrency {
    /// Calls of one principal at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_principal: u32,
    /// Calls at one upstream at once.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_upstream: u32,
    /// Upstreams that bear another number, as `{ tickets = 8 }`.
    #[serde(default)]
    pub upstreams: BTreeMap<String, u32>,
    /// Whether an upstream that times out, or says that it is overloaded, gets fewer calls at once until it bears more again.
    pub adaptive: bool,
    /// How few at least.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub adaptive_min: u32,
    /// Calls that may wait for a place. Principals are served in turn.
    #[schemars(range(max = 1_000_000))]
    pub queue_max: u32,
    /// How long they wait before they are refused.
    pub queue_wait: Span,
}

/// What limits are checked against.
struct Known<'a> {
    roles: Vec<&'a str>,
    upstreams: BTreeSet<&'a str>,
}

/// What `[limits]` says.
pub(super) fn limits(raw: &Raw, complaints: &mut Complaints) -> Option<gateway::Limits> {
    let builtins = raw.builtins.iter().map(|builtin| builtin.alias());
    let roles = raw.roles.keys().map(String::as_str);
    let known = Known {
        roles: roles.chain([Rules::OWNER]).collect(),
        upstreams: raw
            .upstreams
            .keys()
            .map(String::as_str)
            .chain(builtins)
            .collect(),
    };
    let raw = &raw.limits;
    let tool_call = usual("tool_call", &raw.tool_call, complaints);
    let resource_access = usual("resource_access", &raw.resource_access, complaints);
    let rules = each("rules", &raw.rules, complaints, |name, raw, complaints| {
        rule(name, raw, &known, complaints)
    });
    let quotas = each(
        "quotas",
        &raw.quotas,
        complaints,
        |name, raw, complaints| {
            if let Some(same) = raw_rule_named(name, rules.as_ref()) {
                complaints.add(
                    format!("there is a rate limit `{same}` already"),
                    "name one of them otherwise: refusals and metrics tell limits apart by name",
                );
                return None;
            }
            quota(name, raw, &known, complaints)
        },
    );
    let costs = each("costs", &raw.costs, complaints, |of, units, complaints| {
        Some(Cost {
            of: complaints.keep(Pattern::parse(of), "")?,
            units: u64::from(*units),
        })
    });
    let concurrency = complaints.at("concurrency", |complaints| {
        concurrency(&raw.concurrency, &known, complaints)
    });
    Some(gateway::Limits {
        tool_call: tool_call?,
        resource_access: resource_access?,
        rules: rules?,
        quotas: quotas?,
        costs: costs?,
        in_flight_max: count(raw.in_flight_max),
        concurrency: concurrency?,
    })
}

/// Checks all values of a table, each under its key.
fn each<R, T>(
    key: &str,
    raw: &BTreeMap<String, R>,
    complaints: &mut Complaints,
    mut check: impl FnMut(&str, &R, &mut Complaints) -> Option<T>,
) -> Option<Vec<T>> {
    complaints.at(key, |complaints| {
        let checked: Vec<Option<T>> = raw
            .iter()
            .map(|(name, raw)| {
                complaints.at(name.as_str(), |complaints| check(name, raw, complaints))
            })
            .collect();
        checked.into_iter().collect()
    })
}

fn raw_rule_named<'n>(name: &'n str, rules: Option<&Vec<LimitRule>>) -> Option<&'n str> {
    let mut rules = rules.into_iter().flatten();
    rules.any(|rule| rule.name.as_str() == name).then_some(name)
}

/// One of the two limits that everybody has.
fn usual(name: &str, raw: &RawLimit, complaints: &mut Complaints) -> Option<LimitRule> {
    complaints.at(name, |complaints| {
        Some(LimitRule {
            name: complaints.keep(LimitName::new(name), "")?,
            selector: Selector::per_principal(),
            limit: Limit {
                per: per(&raw.per, "per", complaints)?,
                max: NonZeroU32::new(raw.max)?,
            },
            cost: NonZeroU32::MIN,
        })
    })
}

fn rule(
    name: &str,
    raw: &RawRule,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<LimitRule> {
    let name = own_name(name, complaints);
    let selector = selector(raw.per, &raw.of, &raw.roles, known, complaints);
    let per = per(&raw.every, "every", complaints);
    let cost = raw.cost.unwrap_or(1);
    if cost > raw.max {
        complaints.at("cost", |complaints| {
            complaints.add(
                format!("no call would ever get through: `max` is {}", raw.max),
                "write a `cost` that is not above `max`",
            );
        });
        return None;
    }
    Some(LimitRule {
        name: name?,
        selector: selector?,
        limit: Limit {
            per: per?,
            max: NonZeroU32::new(raw.max)?,
        },
        cost: NonZeroU32::new(cost)?,
    })
}

fn quota(
    name: &str,
    raw: &RawQuota,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<QuotaRule> {
    let name = own_name(name, complaints);
    let selector = selector(raw.per, &raw.of, &raw.roles, known, complaints);
    let bytes = match &raw.bytes {
        Some(bytes) => complaints
            .at("bytes", |complaints| complaints.keep(size(&bytes.0), ""))
            .map(Some),
        None => Some(None),
    };
    if raw.calls.is_none() && raw.bytes.is_none() && raw.cost.is_none() {
        complaints.add(
            "says nothing about how much",
            "write `calls`, `bytes` or `cost`",
        );
        return None;
    }
    for (key, most) in [("calls", raw.calls), ("cost", raw.cost)] {
        if most == Some(0) {
            complaints.at(key, |complaints| {
                complaints.add(
                    "`0` lets nothing through",
                    "write a number from 1 up, or a rule that denies",
                );
            });
            return None;
        }
    }
    Some(QuotaRule {
        name: name?,
        selector: selector?,
        calls: raw.calls.map(u64::from),
        bytes: bytes?,
        cost: raw.cost.map(u64::from),
        every: match raw.every {
            RawEvery::Day => Every::Day,
            RawEvery::Month => Every::Month,
        },
    })
}

fn own_name(name: &str, complaints: &mut Complaints) -> Option<LimitName> {
    if BUILT_IN.contains(&name) {
        complaints.add("is the name of a built-in limit", "name it otherwise");
        return None;
    }
    complaints.keep(LimitName::new(name), "")
}

fn selector(
    per: RawPer,
    of: &[String],
    roles: &[String],
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<Selector> {
    let of = complaints.at("of", |complaints| {
        all(of, complaints, |text, complaints| {
            complaints.keep(Pattern::parse(text), "")
        })
    });
    let roles: Option<Vec<RoleName>> = complaints.at("roles", |complaints| {
        all(roles, complaints, |text, complaints| {
            role(text, &known.roles, complaints)
        })
    });
    Some(Selector {
        per: match per {
            RawPer::Principal => Per::Principal,
            RawPer::Role => Per::Role,
            RawPer::Entry => Per::Entry,
            RawPer::Upstream => Per::Upstream,
            RawPer::Server => Per::Server,
            RawPer::Global => Per::Global,
        },
        of: of?,
        roles: roles?.into_iter().collect(),
    })
}

fn per(raw: &Span, key: &str, complaints: &mut Complaints) -> Option<Duration> {
    let long = wait(raw, key, complaints)?;
    if long > PER_MAX {
        complaints.at(key, |complaints| {
            complaints.add(
                "a rate limit looks back at most thirty days",
                "write a quota for a month, or at most \"30d\"",
            );
        });
        return None;
    }
    Some(long)
}

fn concurrency(
    raw: &RawConcurrency,
    known: &Known<'_>,
    complaints: &mut Complaints,
) -> Option<gateway::Concurrency> {
    let upstreams: Option<Vec<(UpstreamId, NonZeroU32)>> = each(
        "upstreams",
        &raw.upstreams,
        complaints,
        |name, places, complaints| {
            if !known.upstreams.contains(name) {
                let names: Vec<&str> = known.upstreams.iter().copied().collect();
                let hint = nearest(name, &names);
                complaints.add(
                    format!("there is no upstream `{name}`"),
                    hint.map_or_else(String::new, |near| format!("did you mean `{near}`?")),
                );
                return None;
            }
            let Some(places) = NonZeroU32::new(*places) else {
                complaints.add(
                    "no call would ever get through",
                    format!("to switch it off, write upstreams.{name}.enabled = false"),
                );
                return None;
            };
            Some((complaints.keep(UpstreamId::parse(name), "")?, places))
        },
    );
    let queue_wait = complaints.at("queue_wait", |complaints| {
        let wait = complaints.keep(duration(&raw.queue_wait.0), "")?;
        if wait > QUEUE_WAIT_MAX {
            complaints.add("a call would wait too long", "write at most \"60s\"");
            return None;
        }
        Some(wait)
    });
    Some(gateway::Concurrency {
        per_principal: NonZeroU32::new(raw.per_principal)?,
        per_upstream: NonZeroU32::new(raw.per_upstream)?,
        upstreams: upstreams?.into_iter().collect(),
        adaptive_min: raw
            .adaptive
            .then(|| NonZeroU32::new(raw.adaptive_min))
            .flatten(),
        queue_max: count(raw.queue_max),
        queue_wait: queue_wait?,
    })
}
