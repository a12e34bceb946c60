//! How much in a day or a month: amounts, and when they begin anew.
//!
//! Days and months are those of UTC, so that every gate agrees on them and a clock change in spring moves none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Counted, Selector, counter};
use crate::{LimitName, Pattern};

const DAY: u64 = 86_400;

/// What is counted of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Calls.
    pub calls: u64,
    /// Bytes of requests and of their answers.
    pub bytes: u64,
    /// Cost units; see [`Cost`].
    pub cost: u64,
}

/// How long a quota lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// From midnight to midnight, UTC.
    Day,
    /// From the first of a month to the next, UTC.
    Month,
}

/// A quota of the config.
#[derive(Debug, Clone)]
pub struct QuotaRule {
    /// What it is called in the config, in refusals and in metrics.
    pub name: LimitName,
    /// Which calls it counts, and by what.
    pub selector: Selector,
    /// Most calls.
    pub calls: Option<u64>,
    /// Most bytes.
    pub bytes: Option<u64>,
    /// Most cost units.
    pub cost: Option<u64>,
    /// When it begins anew.
    pub every: Every,
}

/// What calls of some entries cost.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Which entries.
    pub of: Pattern,
    /// Cost units for each call.
    pub units: u64,
}

impl Cost {
    /// What a call costs: the most that any of `costs` says of its entry, and one unit if none does.
    #[must_use]
    pub fn of_call(costs: &[Self], counted: &Counted<'_>) -> u64 {
        let speaks_of = |cost: &&Self| {
            counted.entry.is_some_and(|entry| {
                let mut names = entry.names.iter();
                names.any(|name| cost.of.matches(entry.upstream, name))
            })
        };
        let said = costs.iter().filter(speaks_of).map(|cost| cost.units).max();
        said.unwrap_or(1)
    }
}

impl QuotaRule {
    /// The counters that a call is counted in under this quota; none if it does not speak of it.
    pub fn counters(&self, counted: &Counted<'_>, mut each: impl FnMut(String)) {
        self.selector
            .holders(counted, |holder| each(counter(&self.name, holder)));
    }

    /// Whether `more` still fits to what was `used`. Of what is known only afterwards, the bytes of an answer, the last
    /// call may take more than there is.
    #[must_use]
    pub fn fits(&self, used: &Amount, more: &Amount) -> bool {
        let within = |max: Option<u64>, used: u64, more: u64| {
            max.is_none_or(|max| used.saturating_add(more) <= max)
        };
        within(self.calls, used.calls, more.calls)
            && within(self.bytes, used.bytes, more.bytes)
            && within(self.cost, used.cost, more.cost)
    }
}

/// A stretch of time for which a quota holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub starts_at: SystemTime,
    /// The first moment of the next.
    pub ends_at: SystemTime,
}

impl Every {
    /// The window that `now` is in. Before 1970 it is the first one.
    #[must_use]
    pub fn window(self, now: SystemTime) -> Window {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let day = seconds / DAY;
        let (first, next) = match self {
            Self::Day => (day, day + 1),
            Self::Month => {
                let (year, month) = month_of(day);
                let next = if month == 12 {
                    first_day(year + 1, 1)
                } else {
                    first_day(year, month + 1)
                };
                (first_day(year, month), next)
            }
        };
        let at = |day: u64| UNIX_EPOCH + Duration::from_secs(day.saturating_mul(DAY));
        Window {
            starts_at: at(first),
            ends_at: at(next),
        }
    }
}

/// Days between 1 March of the year 0 and 1 January 1970.
const EPOCH: u64 = 719_468;
/// Days in 400 years, after which the calendar repeats itself.
const ERA: u64 = 146_097;

/// The year and the month (1 to 12) of a day since 1970. Years are counted from March, so that the leap day is the last
/// of its year (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn month_of(day: u64) -> (u64, u64) {
    let day = day + EPOCH;
    let (era, day) = (day / ERA, day % ERA);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let year = era * 400 + year;
    if from_march < 10 {
        (year, from_march + 3)
    } else {
        (year + 1, from_march - 9)
    }
}

/// The day since 1970 on which a month begins.
fn first_day(year: u64, month: u64) -> u64 {
    let (year, from_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let (era, year) = (year / 400, year % 400);
    let day = 365 * year + year / 4 - year / 100 + (153 * from_march + 2) / 5;
    era * ERA + day - EPOCH
}

#[cfg(test)]
mod tests;
