//! When tries are free, what they cost, and that nothing keeps anybody out for good.

use super::*;

const ALICE: Name = [1; 32];

fn at(seconds: u64) -> Instant {
    Instant(Duration::from_secs(seconds))
}

fn charge(lockout: &Lockout, now: Instant) -> Option<u32> {
    lockout.charge_account(ALICE, Remembered::default(), now)
}

#[test]
fn a_try_costs_more_each_time_and_a_quarter_of_an_hour_at_most() {
    let lockout = Lockout::default();
    let mut now = at(0);
    let mut pauses = Vec::new();
    for nth in 1..=16 {
        assert_eq!(charge(&lockout, now), Some(nth));
        let mut waited = 0;
        while lockout.accounts.lock().0[&ALICE].open_at > now + Duration::from_secs(waited) {
            waited += 1;
        }
        if waited > 0 {
            // Closed to the last moment, and a try does not make it longer.
            assert_eq!(
                charge(&lockout, now + Duration::from_secs(waited - 1)),
                None
            );
        }
        pauses.push(waited);
        now = now + Duration::from_secs(waited);
    }
    assert_eq!(
        pauses,
        [
            0, 0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900
        ]
    );
    let day_later = now + FORGOTTEN_AFTER;
    assert_eq!(charge(&lockout, day_later), Some(1));
}

#[test]
fn many_tries_at_once_are_charged_before_any_is_judged() {
    let lockout = Lockout::default();
    let charged = (0..100).filter(|_| charge(&lockout, at(5)).is_some());
    assert_eq!(charged.count(), 5);
}

#[test]
fn a_good_try_is_taken_back_and_a_proof_clears_the_account() {
    let lockout = Lockout::default();
    for _ in 0..20 {
        assert_eq!(charge(&lockout, at(5)), Some(1));
        lockout.refund_account(ALICE, at(5));
    }
    for _ in 0..5 {
        charge(&lockout, at(5));
    }
    assert_eq!(charge(&lockout, at(5)), None);
    lockout.clear_account(ALICE);
    assert_eq!(charge(&lockout, at(5)), Some(1));
}

#[test]
fn what_the_store_remembers_goes_on_counting() {
    let remembered = |count, ago| Remembered {
        count,
        ago: Duration::from_secs(ago),
    };
    let first = |remembered| Lockout::default().charge_account(ALICE, remembered, at(0));
    assert_eq!(first(remembered(9, 31)), None);
    assert_eq!(first(remembered(9, 32)), Some(10));
    assert_eq!(first(remembered(4_000_000_000, 899)), None);
    assert_eq!(first(remembered(4_000_000_000, 900)), Some(4_000_000_001));
    assert_eq!(first(remembered(9, 24 * 60 * 60)), Some(1));
}

#[test]
fn addresses_of_one_subscriber_are_one_and_none_is_nobodys() {
    let lockout = Lockout::default();
    let from = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    for nth in 0..20 {
        let address = from(&format!("2001:db8:1:2::{nth:x}"));
        assert_eq!(lockout.charge_address(address, at(0)), Ok(()));
    }
    let wait = lockout.charge_address(from("2001:db8:1:2:ffff::1"), at(0));
    assert_eq!(wait, Err(PAUSE_MIN));
    assert_eq!(
        lockout.charge_address(from("2001:db8:1:3::1"), at(0)),
        Ok(())
    );
    for _ in 0..100 {
        assert_eq!(lockout.charge_address(None, at(0)), Ok(()));
    }
    // A proxy on this machine stands for many.
    for (one, same) in [("127.0.0.1", "::ffff:127.0.0.1"), ("::1", "::1")] {
        for _ in 0..20 {
            assert_eq!(lockout.charge_address(from(one), at(0)), Ok(()));
        }
        assert_eq!(lockout.charge_address(from(same), at(0)), Err(PAUSE_MIN));
    }
    // What is given back is one's own try, not those before.
    for _ in 0..20 {
        lockout.charge_address(from("192.0.2.1"), at(0)).unwrap();
    }
    lockout.refund_address(from("192.0.2.1"), at(0));
    lockout
        .charge_address(from("::ffff:192.0.2.1"), at(0))
        .unwrap();
    assert!(lockout.charge_address(from("192.0.2.1"), at(0)).is_err());
}

#[test]
fn a_flood_of_names_takes_bounded_room_and_frees_nobody_who_is_closed() {
    let lockout = Lockout::default();
    for _ in 0..6 {
        charge(&lockout, at(0));
    }
    for nth in 0..KEPT_MAX + 500 {
        let mut name = [2; 32];
        name[..8].copy_from_slice(&nth.to_le_bytes());
        lockout.charge_account(name, Remembered::default(), at(1));
    }
    assert_eq!(lockout.accounts.lock().0.len(), KEPT_MAX);
    assert_eq!(charge(&lockout, at(1)), None);
}
