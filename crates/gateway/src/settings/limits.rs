//! How often, how much and how many at once.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use policy::{Cost, LimitRule, QuotaRule, UpstreamId};

/// Rate limits, quotas, and the bounds on calls at once.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Counts each `tools/call`.
    pub tool_call: LimitRule,
    /// Counts each `resources/read`.
    pub resource_access: LimitRule,
    /// Count every request but pings, of those that they choose.
    pub rules: Vec<LimitRule>,
    /// How much of it in a day or a month.
    pub quotas: Vec<QuotaRule>,
    /// What calls cost, in the units that quotas count.
    pub costs: Vec<Cost>,
    /// Calls in flight, over all principals.
    pub in_flight_max: usize,
    /// How these are shared out.
    pub concurrency: Concurrency,
}

/// How the places for calls in flight are shared out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concurrency {
    /// Places that one principal may have.
    pub per_principal: NonZeroU32,
    /// Places at one upstream.
    pub per_upstream: NonZeroU32,
    /// Upstreams with a number of their own.
    pub upstreams: BTreeMap<UpstreamId, NonZeroU32>,
    /// Whether an upstream that is overloaded gets fewer, and how few at least.
    pub adaptive_min: Option<NonZeroU32>,
    /// Calls that may wait for a place, over all principals.
    pub queue_max: usize,
    /// How long each of them waits.
    pub queue_wait: Duration,
}
