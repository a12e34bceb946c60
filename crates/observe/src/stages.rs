//! When a call entered each stage of its way, and how long it was there: what metrics and traces are made of.

use std::time::Duration;

use policy::Instant;

/// The stages that a call goes through once it has a record, in their order.
///
/// What is before (accept, decode, authenticate) is the connection's time, not the call's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Which entry is meant.
    Resolve,
    /// Whether there is a place left: rates, quotas, calls in flight.
    Limit,
    /// Whether the arguments fit.
    Validate,
    /// What the rules say.
    Authorize,
    /// What a person says.
    Consent,
    /// The upstream.
    Dispatch,
    /// What is in the answer.
    Screen,
    /// The audit log.
    Record,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Resolve,
        Self::Limit,
        Self::Validate,
        Self::Authorize,
        Self::Consent,
        Self::Dispatch,
        Self::Screen,
        Self::Record,
    ];

    /// The word in metrics and traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Limit => "limit",
            Self::Validate => "validate",
            Self::Authorize => "authorize",
            Self::Consent => "consent",
            Self::Dispatch => "dispatch",
            Self::Screen => "screen",
            Self::Record => "record",
        }
    }
}

/// The times of one call.
#[derive(Debug, Clone)]
pub struct Stages {
    opened: Instant,
    /// The stage that it is in, and since when.
    current: Option<(Stage, Instant)>,
    seen: [Option<Visit>; Stage::ALL.len()],
}

/// One stage of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    /// When it was entered first, from the call's beginning on.
    pub after: Duration,
    /// How long the call was there, all in all: some stages have two parts with others between them.
    pub spent: Duration,
}

impl Stages {
    /// Of a call that has just begun.
    #[must_use]
    pub fn begin(opened: Instant) -> Self {
        Self {
            opened,
            current: None,
            seen: [None; Stage::ALL.len()],
        }
    }

    /// The call leaves the stage that it is in and enters another.
    pub fn enter(&mut self, stage: Stage, now: Instant) {
        self.leave(now);
        self.current = Some((stage, now));
    }

    /// The call leaves the stage that it is in.
    pub fn leave(&mut self, now: Instant) {
        let Some((stage, since)) = self.current.take() else {
            return;
        };
        if let Some(place) = self.seen.get_mut(stage as usize) {
            let visit = place.get_or_insert(Visit {
                after: since.since(self.opened),
                spent: Duration::ZERO,
            });
            visit.spent += now.since(since);
        }
    }

    /// The stages that it has left, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, Visit)> {
        Stage::ALL
            .into_iter()
            .zip(self.seen)
            .filter_map(|(stage, visit)| Some((stage, visit?)))
    }
}

#[cfg(test)]
mod tests;
