//! Wrong tries cost time, more with each: per account, and per address.
//!
//! A try is charged before it is judged, so that many at once are as slow as one after the other; a good one gets its
//! charge back. While an account is closed, tries neither open it nor keep it closed for longer: nobody can be locked
//! out for good. Counts are kept in memory; those of accounts are in the store too, and are taken up from there.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use parking_lot::Mutex;
use policy::Instant;

/// Wrong tries of an account that cost nothing.
const FREE_PER_ACCOUNT: u32 = 5;
/// Wrong tries from an address that cost nothing: several people may share it.
const FREE_PER_ADDRESS: u32 = 20;
/// What the first one after those costs; each further one costs twice as much.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// What one costs at most.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);
/// After so long without a wrong try, those before are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Most accounts, and most addresses, that are kept in mind.
const KEPT_MAX: usize = 10_000;

/// What names an account here: a keyed hash, so that names of any length, of accounts or not, take the same room.
pub(super) type Name = [u8; 32];

/// Wrong tries, by whom.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    accounts: Mutex<Ledger<Name>>,
    addresses: Mutex<Ledger<IpAddr>>,
}

/// What the store remembers of an account's wrong tries.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Remembered {
    /// How many.
    pub(super) count: u32,
    /// How long ago the last one was.
    pub(super) ago: Duration,
}

impl Lockout {
    /// Charges an account for a try; returns how many there are then, or `None` if it is closed at the moment.
    pub(super) fn charge_account(
        &self,
        name: Name,
        remembered: Remembered,
        now: Instant,
    ) -> Option<u32> {
        let mut ledger = self.accounts.lock();
        ledger.take_up(name, remembered, now);
        ledger.charge(name, now, FREE_PER_ACCOUNT).ok()
    }

    /// The try was a good one as far as it went: it is not counted.
    pub(super) fn refund_account(&self, name: Name, now: Instant) {
        self.accounts.lock().refund(&name, now, FREE_PER_ACCOUNT);
    }

    /// The account was proved to be somebody's: earlier tries are forgotten.
    pub(super) fn clear_account(&self, name: Name) {
        self.accounts.lock().0.remove(&name);
    }

    /// Charges an address for a try. Who has none is not counted: callers from this machine, and those behind a proxy
    /// that nobody told us of.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn charge_address(
        &self,
        from: Option<IpAddr>,
        now: Instant,
    ) -> Result<(), Duration> {
        let Some(address) = from.map(counted) else {
            return Ok(());
        };
        self.addresses
            .lock()
            .charge(address, now, FREE_PER_ADDRESS)
            .map(|_count| ())
    }

    /// The try was a good one. Only this one is taken back: whoever has an account could otherwise sign in to it
    /// between guesses at others.
    pub(super) fn refund_address(&self, from: Option<IpAddr>, now: Instant) {
        if let Some(address) = from.map(counted) {
            self.addresses
                .lock()
                .refund(&address, now, FREE_PER_ADDRESS);
        }
    }
}

/// What counts as one address: of IPv6, the network that one subscriber gets.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    count: u32,
    last_at: Instant,
    open_at: Instant,
}

#[derive(Debug)]
struct Ledger<K>(HashMap<K, Tries>);

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Copy> Ledger<K> {
    /// Begins with what the store says, if nothing is known here.
    fn take_up(&mut self, of: K, remembered: Remembered, now: Instant) {
        if remembered.count == 0 || remembered.ago >= FORGOTTEN_AFTER || self.0.contains_key(&of) {
            return;
        }
        self.make_room(now);
        let left = pause(remembered.count, FREE_PER_ACCOUNT).saturating_sub(remembered.ago);
        let tries = Tries {
            count: remembered.count,
            last_at: now,
            open_at: now + left,
        };
        self.0.insert(of, tries);
    }

    fn charge(&mut self, of: K, now: Instant, free: u32) -> Result<u32, Duration> {
        let before = match self.0.get(&of) {
            Some(tries) if tries.open_at > now => return Err(tries.open_at.since(now)),
            Some(tries) if now.since(tries.last_at) < FORGOTTEN_AFTER => tries.count,
            Some(_) => 0,
            None => {
                self.make_room(now);
                0
            }
        };
        let count = before.saturating_add(1);
        let tries = Tries {
            count,
            last_at: now,
            open_at: now + pause(count, free),
        };
        self.0.insert(of, tries);
        Ok(count)
    }

    fn refund(&mut self, of: &K, now: Instant, free: u32) {
        let Some(tries) = self.0.get_mut(of) else {
            return;
        };
        tries.count = tries.count.saturating_sub(1);
        tries.open_at = tries.open_at.min(now + pause(tries.count, free));
        if tries.count < free {
            tries.open_at = now;
        }
        if tries.count == 0 {
            self.0.remove(of);
        }
    }

    /// What has the least to lose goes first: the forgotten, then whoever is the nearest to being let in.
    fn make_room(&mut self, now: Instant) {
        if self.0.len() < KEPT_MAX {
            return;
        }
        self.0
            .retain(|_, tries| now.since(tries.last_at) < FORGOTTEN_AFTER);
        if self.0.len() < KEPT_MAX {
            return;
        }
        let least = self
            .0
            .iter()
            .min_by_key(|(_, tries)| (tries.count, tries.last_at))
            .map(|(of, _)| *of);
        if let Some(least) = least {
            self.0.remove(&least);
        }
    }
}

/// How long it is closed after so many wrong tries.
fn pause(count: u32, free: u32) -> Duration {
    match count.checked_sub(free) {
        None => Duration::ZERO,
        Some(over) => PAUSE_MIN
            .saturating_mul(2_u32.saturating_pow(over))
            .min(PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests;
