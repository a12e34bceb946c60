//! Windows meet without a gap, at the right midnights, and an amount fits exactly up to its end.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{Per, Selector};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn days_and_months_begin_where_the_calendar_says() {
    // 2024-02-29 12:34:56, 2026-12-31 23:59:59, 2000-01-01 00:00:00, 2100-02-28 00:00:01.
    for (now, day, month, next_month) in [
        (1_709_210_096, 1_709_164_800, 1_706_745_600, 1_709_251_200),
        (1_798_761_599, 1_798_675_200, 1_796_083_200, 1_798_761_600),
        (946_684_800, 946_684_800, 946_684_800, 949_363_200),
        (4_107_456_001, 4_107_456_000, 4_105_123_200, 4_107_542_400),
    ] {
        let window = Every::Day.window(at(now));
        assert_eq!((window.starts_at, window.ends_at), (at(day), at(day + DAY)));
        let window = Every::Month.window(at(now));
        assert_eq!(
            (window.starts_at, window.ends_at),
            (at(month), at(next_month))
        );
    }
}

#[test]
fn an_amount_fits_up_to_its_last_unit() {
    let quota = QuotaRule {
        name: LimitName::new("q").unwrap(),
        selector: Selector {
            per: Per::Global,
            of: Vec::new(),
            roles: BTreeSet::new(),
        },
        calls: Some(3),
        bytes: None,
        cost: Some(10),
        every: Every::Day,
    };
    let used = |calls, cost| Amount {
        calls,
        bytes: u64::MAX,
        cost,
    };
    let more = Amount {
        calls: 1,
        bytes: 1,
        cost: 4,
    };
    assert!(quota.fits(&used(2, 6), &more));
    assert!(!quota.fits(&used(3, 6), &more), "no fourth call");
    assert!(!quota.fits(&used(2, 7), &more), "no eleventh unit");
}

proptest! {
    #[test]
    fn a_moment_is_in_its_window_and_windows_meet(
        now in 0_u64..8_000_000_000,
        every in prop::sample::select(vec![Every::Day, Every::Month]),
    ) {
        let window = every.window(at(now));
        prop_assert!(window.starts_at <= at(now) && at(now) < window.ends_at);
        prop_assert_eq!(every.window(window.ends_at).starts_at, window.ends_at);
        prop_assert_eq!(every.window(window.starts_at), window);
        let days = window.ends_at.duration_since(window.starts_at).unwrap().as_secs() / DAY;
        let usual = match every {
            Every::Day => 1..=1,
            Every::Month => 28..=31,
        };
        prop_assert!(usual.contains(&days), "{days}");
    }
}
