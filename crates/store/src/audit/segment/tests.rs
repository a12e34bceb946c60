//! What goes into a segment comes out of it, and bytes that are none are told from one.

use proptest::prelude::*;

use super::super::AuditRow;
use super::super::tests::row;
use super::*;

/// All that is in a segment.
fn read(records: &[u8], count: usize) -> db::Result<Vec<(i64, Seal, AuditRow)>> {
    let last = 6 + i64::try_from(count).unwrap();
    let mut records = Records::of(7, last, records)?;
    let mut all = Vec::new();
    while let Some(found) = records.next()? {
        assert_eq!(found.segment, 7);
        all.push((found.seq, found.seal, found.row.to_row()));
    }
    Ok(all)
}

fn salted(byte: u8) -> Seal {
    Seal::Salted {
        salt: [byte; SALT_LEN],
        chain: [!byte; HASH_LEN],
    }
}

/// Texts of all kinds that are spelt each in a way of its own, and those that nearly are.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-c]{1,3}",
        "[0-9a-f]{14,20}",
        "([0-9a-f]{2}){255,257}",
        "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9a-fA-F]{8}-[0-9a-f]{4}.[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "\\PC{0,40}",
    ]
}

fn any_row() -> impl Strategy<Value = AuditRow> {
    let texts = proptest::collection::vec(proptest::option::of(text()), TEXTS);
    let outcome = proptest::sample::select(Outcome::ALL.to_vec());
    let numbers = (any::<i64>(), any::<Option<i64>>(), any::<[u64; 3]>());
    (texts, outcome, numbers).prop_map(
        |(texts, outcome, (at_us, code, [took, bytes_in, bytes_out]))| {
            let mut texts = texts.into_iter();
            let mut some = || texts.next().flatten();
            AuditRow {
                at_us,
                call_id: some().unwrap_or_default(),
                principal: some().unwrap_or_default(),
                credential: some().unwrap_or_default(),
                client: some().unwrap_or_default(),
                transport: some().unwrap_or_default().into(),
                revision: some().unwrap_or_default().into(),
                method: some().unwrap_or_default().into(),
                upstream: some(),
                entry: some(),
                arguments_digest: some(),
                decision: some().unwrap_or_default().into(),
                rule: some(),
                server: some(),
                definition: some(),
                consent: some(),
                screened: some(),
                trace_id: some(),
                arguments: some(),
                address: some(),
                actor: some(),
                subject: some(),
                outcome,
                code,
                reason: some(),
                duration_us: took,
                bytes_in,
                bytes_out,
            }
        },
    )
}

fn any_seal() -> impl Strategy<Value = Seal> {
    prop_oneof![
        any::<u8>().prop_map(salted),
        any::<u8>().prop_map(|byte| Seal::Erased {
            commitment: [byte; HASH_LEN],
            chain: [1; HASH_LEN],
        }),
        Just(Seal::Unchained),
    ]
}

proptest! {
    #[test]
    fn what_went_in_comes_out(
        given in proptest::collection::vec((any_seal(), any_row()), 0..6),
        repeats in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let given: Vec<_> = given
            .into_iter()
            .flat_map(|one| std::iter::repeat_n(one, 1 + usize::from(repeats)))
            .collect();
        let bytes = encode_all(&given);
        let wanted: Vec<_> = (7..).zip(given).map(|(seq, (seal, row))| (seq, seal, row)).collect();
        let found = read(&bytes, wanted.len()).unwrap();
        prop_assert_eq!(&found, &wanted);

        // A part is not the whole, also where it ends with a record.
        prop_assert!(read(&bytes[..cut.index(bytes.len())], wanted.len()).is_err());
        prop_assert!(read(&bytes, wanted.len() + 1).is_err());
    }

    #[test]
    fn bytes_from_elsewhere_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        bytes.insert(0, FORM);
        let _either = read(&bytes, 3);
    }

    #[test]
    fn a_changed_byte_is_read_or_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let rows: Vec<_> = (0..3).map(|n| (salted(n), row(&n.to_string()))).collect();
        let mut bytes = encode_all(&rows);
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _either = read(&bytes, 3);
    }
}

#[test]
fn what_a_record_has_in_common_with_the_one_before_it_stands_there_once() {
    let one = AuditRow {
        call_id: "019b7ca9-8c88-772e-a954-000000000001".to_owned(),
        arguments_digest: Some("0f".repeat(32)),
        definition: Some("a0".repeat(32)),
        trace_id: Some("77".repeat(16)),
        ..row("")
    };
    let next = AuditRow {
        call_id: "019b7ca9-8c88-772e-a954-000000000002".to_owned(),
        arguments_digest: Some("f0".repeat(32)),
        trace_id: Some("78".repeat(16)),
        ..one.clone()
    };
    let alone = encode_all(&[(salted(1), one.clone())]).len();
    let both = encode_all(&[(salted(1), one), (salted(2), next)]).len();
    // Salt and chain, the digests that are its own as bytes, and little more.
    assert_eq!(both - alone, 1 + 16 + 32 + 6 + 10 + 17 + 33 + 17);
}

#[test]
fn another_form_is_not_read() {
    assert!(matches!(
        Records::of(7, 6, &[FORM + 1]),
        Err(Failure::Segment(7))
    ));
    assert!(matches!(Records::of(7, 6, &[]), Err(Failure::Segment(7))));
    let error = Failure::Segment(7).to_string();
    assert!(error.contains("from number 7 on"), "{error}");
}
