//! Places for calls in flight: so many in total, for each principal, and at each upstream.
//!
//! A call that finds no place waits, for a short while and in bounded company. Whoever waits is served in turn by
//! principal, one call each: a principal with a thousand calls waiting delays another's only call by one place becoming
//! free. A call whose principal or upstream has no place left steps aside for the next. It holds at all times that no
//! call waits that could go: so one that just came may go at once without pushing in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Adaptive, Bounds, Clock, Instant, LimitName, PrincipalId, UpstreamId};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::Rejection;
use crate::rejection::Measure;
use crate::settings::{Concurrency, Limits};

/// What is told to those who had no place for themselves, or at their upstream.
static PER_PRINCIPAL: LazyLock<LimitName> = LazyLock::new(|| name("in_flight_per_principal"));
static PER_UPSTREAM: LazyLock<LimitName> = LazyLock::new(|| name("in_flight_per_upstream"));
/// When they are told to come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn name(name: &str) -> LimitName {
    LimitName::new(name).expect("letters and underscores make a name")
}

/// All places of a gate.
#[derive(Debug)]
pub(crate) struct Places {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    total: usize,
    shares: Concurrency,
    in_flight: usize,
    /// Principals with a call in flight or waiting.
    principals: HashMap<PrincipalId, Line>,
    /// Upstreams that ever had a call.
    upstreams: HashMap<UpstreamId, Stand>,
    /// Principals with a call waiting; the first is served next.
    turns: VecDeque<PrincipalId>,
    waiting: usize,
    last_ticket: u64,
}

/// One principal's calls.
#[derive(Debug, Default)]
struct Line {
    in_flight: u32,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    upstream: Option<UpstreamId>,
    place: oneshot::Sender<Place>,
}

/// One upstream's places.
#[derive(Debug)]
struct Stand {
    in_flight: u32,
    places: Adaptive,
}

/// A place among the calls in flight; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    principal: PrincipalId,
    upstream: Option<UpstreamId>,
    began: Instant,
    ending: Ending,
}

/// What a call taught about its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing.
    Unknown,
    /// It bears as many calls as it had.
    Well,
    /// It does not.
    Overloaded,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    Total,
    Principal,
    Upstream,
}

impl From<Full> for Rejection {
    fn from(full: Full) -> Self {
        let limit = match full {
            Full::Total => return Self::Busy,
            Full::Principal => &*PER_PRINCIPAL,
            Full::Upstream => &*PER_UPSTREAM,
        };
        Self::TooMany {
            limit: limit.clone(),
            measure: Measure::AtOnce,
            retry_after: RETRY_AFTER,
        }
    }
}

impl Places {
    /// All free.
    pub(crate) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            state: Mutex::new(State {
                total: limits.in_flight_max,
                shares: limits.concurrency.clone(),
                in_flight: 0,
                principals: HashMap::new(),
                upstreams: HashMap::new(),
                turns: VecDeque::new(),
                waiting: 0,
                last_ticket: 0,
            }),
        })
    }

    /// Takes over another config. Calls that are in flight stay, also where there are fewer places now.
    pub(crate) fn resize(self: &Arc<Self>, limits: &Limits) {
        let served = {
            let mut state = self.state.lock();
            state.total = limits.in_flight_max;
            state.shares = limits.concurrency.clone();
            let State {
                shares, upstreams, ..
            } = &mut *state;
            #[expect(
                clippy::iter_over_hash_type,
                reason = "each is changed by itself, in whatever order"
            )]
            for (upstream, stand) in upstreams {
                stand.places.set_bounds(bounds(shares, upstream));
            }
            self.serve(&mut state)
        };
        hand_out(served);
    }

    /// A place for a call, once there is one.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        principal: &PrincipalId,
        upstream: Option<&UpstreamId>,
    ) -> Result<Place, Rejection> {
        let (mut waiting, wait) = {
            let mut state = self.state.lock();
            if state.find_room(principal, upstream).is_ok() {
                return Ok(self.seat(&mut state, principal, upstream.cloned()));
            }
            let wait = state.shares.queue_wait;
            (self.line_up(&mut state, principal, upstream)?, wait)
        };
        match timeout(wait, &mut waiting.place).await {
            Ok(Ok(place)) => Ok(place),
            // Too late, or another principal's call had more right to wait.
            Ok(Err(_)) | Err(_) => {
                let why = self.state.lock().why_full(principal, upstream);
                Err(why.into())
            }
        }
    }

    /// Puts a call in its principal's line. Whoever waits longest in the longest line keeps its place in it, but its
    /// newest call goes if nobody else could wait.
    fn line_up<'a>(
        &'a self,
        state: &mut State,
        principal: &'a PrincipalId,
        upstream: Option<&UpstreamId>,
    ) -> Result<Waiting<'a>, Full> {
        let why = state.why_full(principal, upstream);
        if state.waiting >= state.shares.queue_max {
            let own = state.principals.get(principal);
            let own = own.map_or(0, |line| line.waiting.len());
            if !state.shorten_longest(own) {
                return Err(why);
            }
        }
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        let (sender, place) = oneshot::channel();
        let line = state.principals.entry(principal.clone()).or_default();
        if line.waiting.is_empty() {
            state.turns.push_back(principal.clone());
        }
        line.waiting.push_back(Waiter {
            ticket,
            upstream: upstream.cloned(),
            place: sender,
        });
        state.waiting += 1;
        Ok(Waiting {
            places: self,
            principal,
            ticket,
            place,
        })
    }

    /// Counts a call in.
    fn seat(
        self: &Arc<Self>,
        state: &mut State,
        principal: &PrincipalId,
        upstream: Option<UpstreamId>,
    ) -> Place {
        state.in_flight += 1;
        match state.principals.get_mut(principal) {
            Some(line) => line.in_flight += 1,
            None => {
                let line = Line {
                    in_flight: 1,
                    waiting: VecDeque::new(),
                };
                state.principals.insert(principal.clone(), line);
            }
        }
        if let Some(upstream) = &upstream {
            match state.upstreams.get_mut(upstream) {
                Some(stand) => stand.in_flight += 1,
                None => {
                    let stand = Stand {
                        in_flight: 1,
                        places: Adaptive::new(bounds(&state.shares, upstream)),
                    };
                    state.upstreams.insert(upstream.clone(), stand);
                }
            }
        }
        Place {
            places: Arc::clone(self),
            principal: principal.clone(),
            upstream,
            began: self.clock.now(),
            ending: Ending::Unknown,
        }
    }

    /// Gives free places to those who wait, in turn. They are handed out once the lock is released: a place that nobody
    /// takes any more comes back through it.
    fn serve(self: &Arc<Self>, state: &mut State) -> Vec<(Waiter, Place)> {
        let mut served = Vec::new();
        let mut passed_over = 0;
        while state.in_flight < state.total && passed_over < state.turns.len() {
            let Some(principal) = state.turns.pop_front() else {
                break;
            };
            let Some(waiter) = state.next_in_line(&principal) else {
                state.turns.push_back(principal);
                passed_over += 1;
                continue;
            };
            passed_over = 0;
            let place = self.seat(state, &principal, waiter.upstream.clone());
            served.push((waiter, place));
            let line = state.principals.get(&principal);
            if line.is_some_and(|line| !line.waiting.is_empty()) {
                state.turns.push_back(principal);
            }
        }
        served
    }

    fn leave(self: &Arc<Self>, place: &mut Place) {
        let served = {
            let mut state = self.state.lock();
            state.in_flight = state.in_flight.saturating_sub(1);
            if let Some(line) = state.principals.get_mut(&place.principal) {
                line.in_flight = line.in_flight.saturating_sub(1);
            }
            state.forget_idle(&place.principal);
            let is_adaptive = state.shares.adaptive_min.is_some();
            let stand = place.upstream.as_ref();
            if let Some(stand) = stand.and_then(|upstream| state.upstreams.get_mut(upstream)) {
                match place.ending {
                    Ending::Well if is_adaptive => stand.places.went_well(stand.in_flight),
                    Ending::Overloaded if is_adaptive => {
                        let now = self.clock.now();
                        stand.places.was_overloaded(place.began, now);
                    }
                    Ending::Well | Ending::Overloaded | Ending::Unknown => {}
                }
                stand.in_flight = stand.in_flight.saturating_sub(1);
            }
            if state.waiting == 0 {
                return;
            }
            self.serve(&mut state)
        };
        hand_out(served);
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// For health: how many calls are in flight and waiting, and how many places an upstream has that has fewer than
    /// the config says.
    pub(crate) fn status(&self) -> Value {
        let state = self.state.lock();
        let mut reduced: Vec<(&str, u32)> = state
            .upstreams
            .iter()
            .filter(|(upstream, stand)| {
                stand.places.places() < bounds(&state.shares, upstream).max.get()
            })
            .map(|(upstream, stand)| (upstream.as_str(), stand.places.places()))
            .collect();
        reduced.sort_unstable();
        let reduced: serde_json::Map<String, Value> = reduced
            .into_iter()
            .map(|(upstream, places)| (upstream.to_owned(), places.into()))
            .collect();
        json!({
            "in_flight": state.in_flight,
            "waiting": state.waiting,
            "reduced_upstreams": reduced,
        })
    }
}

impl State {
    /// Whether a call could go now; what is in its way.
    fn find_room(
        &self,
        principal: &PrincipalId,
        upstream: Option<&UpstreamId>,
    ) -> Result<(), Full> {
        if self.in_flight >= self.total {
            return Err(Full::Total);
        }
        let line = self.principals.get(principal);
        if line.is_some_and(|line| line.in_flight >= self.shares.per_principal.get()) {
            return Err(Full::Principal);
        }
        if upstream.is_some_and(|upstream| self.is_taken(upstream)) {
            return Err(Full::Upstream);
        }
        Ok(())
    }

    fn why_full(&self, principal: &PrincipalId, upstream: Option<&UpstreamId>) -> Full {
        // With room there it was only the others' turn.
        let found = self.find_room(principal, upstream);
        found.err().unwrap_or(Full::Total)
    }

    fn is_taken(&self, upstream: &UpstreamId) -> bool {
        let stand = self.upstreams.get(upstream);
        stand.is_some_and(|stand| stand.in_flight >= stand.places.places())
    }

    /// Takes the first call out of a line that can go; none if the principal has no place left, or no upstream that it
    /// waits for.
    fn next_in_line(&mut self, principal: &PrincipalId) -> Option<Waiter> {
        let line = self.principals.get(principal)?;
        if line.in_flight >= self.shares.per_principal.get() {
            return None;
        }
        let can_go = |waiter: &Waiter| {
            let upstream = waiter.upstream.as_ref();
            upstream.is_none_or(|upstream| !self.is_taken(upstream))
        };
        let at = line.waiting.iter().position(can_go)?;
        let waiter = self.principals.get_mut(principal)?.waiting.remove(at)?;
        self.waiting -= 1;
        Some(waiter)
    }

    /// Drops the newest call of the longest line, if that is longer than a newcomer's would be with it.
    fn shorten_longest(&mut self, own: usize) -> bool {
        let line_of = |principal: &PrincipalId| {
            let line = self.principals.get(principal);
            line.map_or(0, |line| line.waiting.len())
        };
        let longest = self.turns.iter().max_by_key(|one| line_of(one)).cloned();
        let Some(principal) = longest.filter(|longest| line_of(longest) > own + 1) else {
            return false;
        };
        let line = self.principals.get_mut(&principal);
        let dropped = line.and_then(|line| line.waiting.pop_back());
        self.waiting -= usize::from(dropped.is_some());
        dropped.is_some()
    }

    /// Takes a call out of its line that no longer waits.
    fn give_up(&mut self, principal: &PrincipalId, ticket: u64) {
        let Some(line) = self.principals.get_mut(principal) else {
            return;
        };
        let Some(at) = line.waiting.iter().position(|one| one.ticket == ticket) else {
            return;
        };
        line.waiting.remove(at);
        self.waiting -= 1;
        if line.waiting.is_empty() {
            self.turns.retain(|one| one != principal);
        }
        self.forget_idle(principal);
    }

    fn forget_idle(&mut self, principal: &PrincipalId) {
        let line = self.principals.get(principal);
        if line.is_some_and(|line| line.in_flight == 0 && line.waiting.is_empty()) {
            self.principals.remove(principal);
        }
    }
}

/// Between what an upstream's places move; without adapting they do not.
fn bounds(shares: &Concurrency, upstream: &UpstreamId) -> Bounds {
    let own = shares.upstreams.get(upstream).copied();
    let max = own.unwrap_or(shares.per_upstream);
    Bounds {
        min: shares.adaptive_min.unwrap_or(max),
        max,
    }
}

fn hand_out(served: Vec<(Waiter, Place)>) {
    for (waiter, place) in served {
        if let Err(place) = waiter.place.send(place) {
            // Its call was given up meanwhile.
            drop(place);
        }
    }
}

/// A call that waits; out of its line when dropped.
struct Waiting<'a> {
    places: &'a Places,
    principal: &'a PrincipalId,
    ticket: u64,
    place: oneshot::Receiver<Place>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places
            .state
            .lock()
            .give_up(self.principal, self.ticket);
    }
}

impl Place {
    /// Notes what the call taught about its upstream.
    pub(crate) fn note(&mut self, ending: Ending) {
        self.ending = ending;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let places = Arc::clone(&self.places);
        places.leave(self);
    }
}

#[cfg(test)]
mod tests;
