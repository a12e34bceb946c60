//! What is sent at once has bounds; the rest of a sink's life is in testkit, with real receivers.

use super::super::format::tests::record;
use super::*;

#[test]
fn a_batch_has_a_bound_in_bytes_and_at_least_one_record() {
    let large = |seq| {
        let mut record = record(seq);
        record.row.arguments = Some("x".repeat(600 << 10));
        record
    };
    let records = vec![large(1), record(2), large(3), record(4)];
    assert_eq!(within(&records, BATCH_BYTES_MAX), 2);
    assert_eq!(within(&records, 1), 1);
    assert_eq!(within(&[], 1), 0);
}

#[test]
fn a_pause_is_between_half_and_the_whole() {
    for _ in 0..100 {
        let pause = jittered(Duration::from_secs(8));
        assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&pause));
    }
}
