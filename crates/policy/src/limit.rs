//! How often and how much: which counters a call is counted against, and what each of them allows.
//!
//! A rate limit is a leaky bucket ([`Limit`]); a quota is an amount for a day or a month ([`QuotaRule`]). Both
//! choose their calls in the same words ([`Selector`]), and have a counter for each holder that these words make.
//! Where the counters are kept, and the sums of a bucket, are `store::shared`'s, so that a script in Redis stands beside
//! the code that it must agree with; what a client is told is `gateway`'s. How many calls an upstream bears at once is
//! found out by [`Adaptive`].

mod adaptive;
mod quota;
mod select;

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use crate::LimitName;

pub use adaptive::{Adaptive, Bounds};
pub use quota::{Amount, Cost, Every, QuotaRule, Window};
pub use select::{Counted, CountedEntry, Per, Selector};

/// At most `max` at once, and from then on one every `per / max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// How many may come at once.
    pub max: NonZeroU32,
    /// How long an empty bucket takes to be full again.
    pub per: Duration,
}

impl Limit {
    /// Nanoseconds between two calls in the long run; rounded up, so that rounding never lets one more in. Saturates at
    /// some 584 years.
    #[must_use]
    pub fn interval(&self) -> NonZeroU64 {
        let per = u64::try_from(self.per.as_nanos()).unwrap_or(u64::MAX);
        NonZeroU64::new(per.div_ceil(u64::from(self.max.get()))).unwrap_or(NonZeroU64::MIN)
    }
}

/// A rate limit of the config.
#[derive(Debug, Clone)]
pub struct LimitRule {
    /// What it is called in the config, in refusals and in metrics.
    pub name: LimitName,
    /// Which calls it counts, and by what.
    pub selector: Selector,
    /// How many of them.
    pub limit: Limit,
    /// How much one call takes out of the bucket.
    pub cost: NonZeroU32,
}

/// One bucket that a call takes from.
#[derive(Debug, Clone)]
pub struct Bucket<'r> {
    /// Whose.
    pub rule: &'r LimitRule,
    /// The bucket's own name: the rule's, and the holder's.
    pub key: String,
}

impl LimitRule {
    /// The buckets that a call takes from under this rule; none if the rule does not speak of it.
    pub fn buckets<'r>(&'r self, counted: &Counted<'_>, into: &mut Vec<Bucket<'r>>) {
        self.selector.holders(counted, |holder| {
            into.push(Bucket {
                rule: self,
                key: counter(&self.name, holder),
            });
        });
    }
}

/// The name of a counter. No space can stand in a rule's name, so two counters never share one.
fn counter(rule: &LimitName, holder: &[&str]) -> String {
    let bytes = holder.iter().map(|part| part.len() + 1).sum::<usize>();
    let mut key = String::with_capacity(rule.as_str().len() + bytes);
    key.push_str(rule.as_str());
    for part in holder {
        key.push(' ');
        key.push_str(part);
    }
    key
}

#[cfg(test)]
mod tests;
