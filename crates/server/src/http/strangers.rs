//! How many refusals of one stranger the audit log keeps: whoever knocks for hours must not fill a disk, nor push the
//! records of those who are known out of the queue. What is not recorded is answered just the same, and counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Refusals that are recorded of one address in one [`WINDOW`].
const RECORDS_MAX: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);
/// Addresses that are told apart in one window; what others do is only counted.
const ADDRESSES_MAX: usize = 4096;

/// Where strangers came from, and how often of late.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    seen: Mutex<HashMap<IpAddr, Seen>>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    refusals: u32,
}

impl Strangers {
    /// Whether one more refusal of somebody at this address is to be recorded.
    pub(super) fn is_recorded(&self, address: IpAddr, now: Instant) -> bool {
        let mut seen = self.seen.lock();
        let address = network(address);
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&address) {
            seen.retain(|_, seen| now.duration_since(seen.since) < WINDOW);
            if seen.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let entry = seen.entry(address).or_insert(Seen {
            since: now,
            refusals: 0,
        });
        if now.duration_since(entry.since) >= WINDOW {
            (entry.since, entry.refusals) = (now, 0);
        }
        entry.refusals = entry.refusals.saturating_add(1);
        entry.refusals <= RECORDS_MAX
    }
}

/// An IPv6 host has a /64 to itself, and as many addresses.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[tokio::test]
    async fn one_address_fills_its_own_measure_and_gets_another_a_second_later() {
        let strangers = Strangers::default();
        let now = Instant::now();
        for _ in 0..RECORDS_MAX {
            assert!(strangers.is_recorded(at("192.0.2.1"), now));
        }
        assert!(!strangers.is_recorded(at("192.0.2.1"), now));
        assert!(!strangers.is_recorded(at("::ffff:192.0.2.1"), now));
        assert!(strangers.is_recorded(at("192.0.2.2"), now));
        assert!(strangers.is_recorded(at("192.0.2.1"), now + WINDOW));

        for n in 0..RECORDS_MAX {
            assert!(strangers.is_recorded(at(&format!("2001:db8::{n:x}")), now));
        }
        assert!(!strangers.is_recorded(at("2001:db8::ffff"), now));
        assert!(strangers.is_recorded(at("2001:db8:0:1::1"), now));
    }

    #[tokio::test]
    async fn more_addresses_than_are_told_apart_are_only_counted() {
        let strangers = Strangers::default();
        let now = Instant::now();
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() {
            assert!(strangers.is_recorded(IpAddr::from(n.to_be_bytes()), now));
        }
        assert!(!strangers.is_recorded(at("192.0.2.1"), now));
        assert!(strangers.is_recorded(at("192.0.2.1"), now + WINDOW));
    }
}
