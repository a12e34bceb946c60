//! How much was used of quotas: counted in memory, written behind, added up in the database.
//!
//! A counter is read from the database when it is first needed, and what is added to it is written every
//! [`FLUSH_EVERY`] and at the end: a gate that is killed forgets at most what was counted since, some
//! [`FLUSH_EVERY`]'s worth of calls; one that is stopped forgets nothing. Several processes on one database learn what
//! the others used at each writing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use policy::{Amount, Cost, Counted, QuotaRule, Window};
use store::{QuotaKey, QuotaUsed, Store};
use tracing::{info, warn};

use crate::Rejection;
use crate::rejection::Measure;
use crate::settings::Limits;

/// How often what was used is written.
pub(crate) const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Most counters in memory; those that are written can be read again.
const COUNTERS_MAX: usize = 65_536;
/// Most counters in one change of the database.
const ROWS_MAX: usize = 512;
/// How long rows of past windows are kept, for those who look back.
const KEEP: Duration = Duration::from_secs(100 * 86_400);
/// How often older ones are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);

/// What was used of all quotas.
#[derive(Debug)]
pub(crate) struct Ledger {
    store: Store,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lines: HashMap<QuotaKey, Line>,
    is_failing: bool,
    pruned_at: Option<SystemTime>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    /// As far as is known, with what is not written yet.
    used: QuotaUsed,
    unwritten: QuotaUsed,
    ends_at: SystemTime,
    /// How many charges and writings will come back to it.
    holders: usize,
}

/// What one call uses; given back when dropped, unless it was kept.
#[derive(Debug)]
pub(crate) struct Charge {
    ledger: Arc<Ledger>,
    counters: Vec<QuotaKey>,
    more: QuotaUsed,
    is_kept: bool,
}

/// A counter that a call is to be counted in.
struct Due<'r> {
    rule: &'r QuotaRule,
    window: Window,
    key: QuotaKey,
}

impl Ledger {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            state: Mutex::default(),
        })
    }

    /// How many counters are in memory.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().lines.len()
    }

    /// Counts a call of so many bytes in all quotas that speak of it, or in none.
    ///
    /// # Errors
    /// If one of them is used up: of several the one that lasts longest.
    pub(crate) fn charge(
        self: &Arc<Self>,
        limits: &Limits,
        counted: &Counted<'_>,
        bytes: usize,
        now: SystemTime,
    ) -> Result<Charge, Rejection> {
        let mut due = Vec::new();
        for rule in &limits.quotas {
            let window = rule.every.window(now);
            rule.counters(counted, |counter| {
                let starts_at = window.starts_at;
                let key = QuotaKey { counter, starts_at };
                due.push(Due { rule, window, key });
            });
        }
        let more = match due.is_empty() {
            true => Amount::default(),
            false => Amount {
                calls: 1,
                bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
                cost: Cost::of_call(&limits.costs, counted),
            },
        };
        let charge = |counters| Charge {
            ledger: Arc::clone(self),
            counters,
            more: signed(&more),
            is_kept: false,
        };
        if due.is_empty() {
            return Ok(charge(Vec::new()));
        }
        let mut state = self.state.lock();
        let mut refusing: Option<&Due<'_>> = None;
        for one in &due {
            let line = self.line(&mut state, one, &due)?;
            if !one.rule.fits(&unsigned(line.used), &more)
                && refusing.is_none_or(|other| other.window.ends_at < one.window.ends_at)
            {
                refusing = Some(one);
            }
        }
        if let Some(due) = refusing {
            return Err(Rejection::TooMany {
                limit: due.rule.name.clone(),
                measure: Measure::Quota,
                retry_after: due.window.ends_at.duration_since(now).unwrap_or_default(),
            });
        }
        let counters: Vec<QuotaKey> = due.into_iter().map(|due| due.key).collect();
        let more = signed(&more);
        state.add(&counters, more);
        state.hold(&counters);
        drop(state);
        Ok(charge(counters))
    }

    /// A counter, out of the database if it is new here. It takes the place of none that the same call needs.
    fn line<'s>(
        &self,
        state: &'s mut State,
        one: &Due<'_>,
        all: &[Due<'_>],
    ) -> Result<&'s Line, Rejection> {
        let key = &one.key;
        if !state.lines.contains_key(key) {
            if state.lines.len() >= COUNTERS_MAX {
                state.lines.retain(|key, line| {
                    !line.is_settled() || all.iter().any(|needed| needed.key == *key)
                });
            }
            if state.lines.len() >= COUNTERS_MAX {
                return Err(Rejection::Uncounted);
            }
            let used = self.store.get_quota_used(key).map_err(|error| {
                warn!(%error, "what was used of quotas cannot be read");
                Rejection::Uncounted
            })?;
            let line = Line {
                used: used.unwrap_or_default(),
                unwritten: NOTHING,
                ends_at: one.window.ends_at,
                holders: 0,
            };
            state.lines.insert(key.clone(), line);
        }
        state.lines.get(key).ok_or(Rejection::Uncounted)
    }

    /// Writes what is not written yet, and learns what other processes wrote.
    pub(crate) async fn flush(&self, now: SystemTime) {
        let mut rows: Vec<(QuotaKey, QuotaUsed)> = {
            let mut state = self.state.lock();
            state
                .lines
                .iter_mut()
                .filter(|(_, line)| line.unwritten != NOTHING)
                .map(|(key, line)| {
                    line.holders += 1;
                    (key.clone(), std::mem::take(&mut line.unwritten))
                })
                .collect()
        };
        while !rows.is_empty() {
            let batch = rows.split_off(rows.len().saturating_sub(ROWS_MAX));
            let written = self.store.add_quota_used(batch.clone()).await;
            let mut state = self.state.lock();
            match written {
                Ok(sums) => {
                    for ((key, _), sum) in batch.into_iter().zip(sums) {
                        if let Some(line) = state.lines.get_mut(&key) {
                            line.used = plus(sum, line.unwritten);
                            line.holders = line.holders.saturating_sub(1);
                        }
                    }
                    if std::mem::take(&mut state.is_failing) {
                        info!("quotas can be written again");
                    }
                }
                // Whether it was written is not always known; counted twice is the safe way to be wrong.
                Err(error) => {
                    for (key, more) in batch {
                        if let Some(line) = state.lines.get_mut(&key) {
                            line.unwritten = plus(line.unwritten, more);
                            line.holders = line.holders.saturating_sub(1);
                        }
                    }
                    if !std::mem::replace(&mut state.is_failing, true) {
                        warn!(%error, "quotas cannot be written; trying again");
                    }
                }
            }
        }
        self.forget(now).await;
    }

    /// Drops windows that are over, from memory and some time later from the database.
    async fn forget(&self, now: SystemTime) {
        let is_time = {
            let mut state = self.state.lock();
            let is_over = |line: &Line| line.ends_at <= now && line.is_settled();
            state.lines.retain(|_, line| !is_over(line));
            let is_time = state.pruned_at.is_none_or(|at| {
                now.duration_since(at)
                    .is_ok_and(|passed| passed >= PRUNE_EVERY)
            });
            if is_time {
                state.pruned_at = Some(now);
            }
            is_time
        };
        if is_time
            && let Some(before) = now.checked_sub(KEEP)
            && let Err(error) = self.store.prune_quotas(before).await
        {
            warn!(%error, "old windows of quotas are kept");
        }
    }
}

const NOTHING: QuotaUsed = QuotaUsed {
    calls: 0,
    bytes: 0,
    cost: 0,
};

impl Line {
    /// Whether the database has all of it, and nobody is about to change it: then it can be read again.
    fn is_settled(&self) -> bool {
        self.unwritten == NOTHING && self.holders == 0
    }
}

impl State {
    fn hold(&mut self, counters: &[QuotaKey]) {
        for key in counters {
            if let Some(line) = self.lines.get_mut(key) {
                line.holders += 1;
            }
        }
    }

    fn release(&mut self, counters: &[QuotaKey]) {
        for key in counters {
            if let Some(line) = self.lines.get_mut(key) {
                line.holders = line.holders.saturating_sub(1);
            }
        }
    }

    fn add(&mut self, counters: &[QuotaKey], more: QuotaUsed) {
        for key in counters {
            if let Some(line) = self.lines.get_mut(key) {
                line.used = plus(line.used, more);
                line.unwritten = plus(line.unwritten, more);
            }
        }
    }
}

impl Charge {
    /// The call was made: what it used stays used.
    pub(crate) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// Adds the bytes of the answer.
    pub(crate) fn add_bytes(&mut self, bytes: usize) {
        if self.counters.is_empty() {
            return;
        }
        let more = QuotaUsed {
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            ..NOTHING
        };
        self.more = plus(self.more, more);
        self.ledger.state.lock().add(&self.counters, more);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.counters.is_empty() {
            return;
        }
        let mut state = self.ledger.state.lock();
        if !self.is_kept {
            let back = QuotaUsed {
                calls: -self.more.calls,
                bytes: -self.more.bytes,
                cost: -self.more.cost,
            };
            state.add(&self.counters, back);
        }
        state.release(&self.counters);
    }
}

fn plus(one: QuotaUsed, other: QuotaUsed) -> QuotaUsed {
    QuotaUsed {
        calls: one.calls.saturating_add(other.calls),
        bytes: one.bytes.saturating_add(other.bytes),
        cost: one.cost.saturating_add(other.cost),
    }
}

fn signed(amount: &Amount) -> QuotaUsed {
    let signed = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    QuotaUsed {
        calls: signed(amount.calls),
        bytes: signed(amount.bytes),
        cost: signed(amount.cost),
    }
}

fn unsigned(used: QuotaUsed) -> Amount {
    let unsigned = |used: i64| u64::try_from(used).unwrap_or_default();
    Amount {
        calls: unsigned(used.calls),
        bytes: unsigned(used.bytes),
        cost: unsigned(used.cost),
    }
}

#[cfg(test)]
mod tests;
