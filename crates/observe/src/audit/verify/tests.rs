//! An export that was changed, in any way, is found out, and where.

use std::io::Cursor;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::json;
use store::Store;
use store::audit::Entry;
use tempfile::TempDir;

use super::super::checkpoint::CheckpointKey;
use super::super::export::export;
use super::super::proof::{prove, verify_proof};
use super::super::tests::row;
use super::*;

const LOG: &str = "gate.example/audit";

fn key() -> CheckpointKey {
    CheckpointKey::from_seed(LOG, &[3; 32]).unwrap()
}

async fn sign(store: &Store) -> Checkpoint {
    sign_from(store, 0).await
}

/// Signs for a log whose front is gone up to there.
async fn sign_from(store: &Store, begin: u64) -> Checkpoint {
    let LogState { tree, chain } = store.audit_log().unwrap();
    let checkpoint = Checkpoint {
        origin: LOG.to_owned(),
        size: tree.size(),
        root: tree.root(),
        chain,
        at: 1,
        begin,
    };
    let note = checkpoint.sign(&key());
    store
        .put_audit_checkpoint(checkpoint.size, note)
        .await
        .unwrap();
    checkpoint
}

/// A log with so many records and a checkpoint after every tenth.
async fn log(count: u64) -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let store = Store::open(&folder.path().join("gate.db")).unwrap();
    for n in 1..=count {
        let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
        let row = store::AuditRow {
            call_id: format!("call {n}: \"\u{1f600}\"\n"),
            entry: Some("read".to_owned()),
            ..row()
        };
        slot.commit(&row, Duration::from_secs(5)).await.unwrap();
        if n % 10 == 0 {
            sign(&store).await;
        }
    }
    (folder, store)
}

fn exported(store: &Store, from: u64, to: u64) -> String {
    let mut out = Vec::new();
    export(store, LOG, from, to, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn verified(text: &[u8]) -> Result<Verified, Tampered> {
    verify(
        &mut Cursor::new(text),
        key().verifier(),
        Expected::default(),
    )
}

#[tokio::test]
async fn what_was_not_changed_holds_whole_and_in_parts() {
    let (_folder, store) = log(35).await;
    for (from, to, signed, unsigned) in [
        (0, 35, Some(30), 5),
        (0, 30, Some(30), 0),
        (13, 21, Some(20), 1),
        (31, 34, None, 3),
        (7, 7, None, 0),
    ] {
        let text = exported(&store, from, to);
        let expected = Expected {
            from: Some(from),
            unsigned: true,
            ..Expected::default()
        };
        let found = verify(&mut Cursor::new(&text), key().verifier(), expected).unwrap();
        assert_eq!((found.from, found.to), (from, to));
        assert_eq!(found.checkpoint.map(|one| one.size), signed, "{from}..{to}");
        assert_eq!(found.unsigned, unsigned, "{from}..{to}");
    }
}

#[tokio::test]
async fn the_record_that_was_changed_is_named() {
    let (_folder, store) = log(35).await;
    let text = exported(&store, 0, 35);
    let lines: Vec<&str> = text.lines().collect();
    // In front of the first there is a line, and a checkpoint behind every tenth.
    let at = |place: usize| 1 + place + place / 10;
    let join = |lines: &[&str]| format!("{}\n", lines.join("\n"));
    let told = |text: &str| {
        let found = verified(text.as_bytes()).unwrap_err();
        (found.line, found.place)
    };
    for place in [0, 9, 10, 23, 34] {
        let line = at(place);
        let named = (line as u64 + 1, Some(place as u64));
        let mut changed = lines.clone();
        let record = changed[line].replace("\"entry\":\"read\"", "\"entry\":\"drop\"");
        changed[line] = &record;
        assert_eq!(told(&join(&changed)), named);
        let mut changed = lines.clone();
        let personal =
            changed[line].replace("\"principal\":\"alice\"", "\"principal\":\"mallory\"");
        changed[line] = &personal;
        assert_eq!(told(&join(&changed)), named);
        let mut twice = lines.clone();
        twice.insert(line, lines[line]);
        let found = told(&join(&twice));
        assert!(found.0 == named.0 + 1 || place == 9, "{found:?}");
    }
    for place in [0, 8, 23, 33] {
        let line = at(place);
        let named = (line as u64 + 1, Some(place as u64));
        let mut missing = lines.clone();
        missing.remove(line);
        assert_eq!(told(&join(&missing)), named);
        let mut swapped = lines.clone();
        swapped.swap(line, line + 1);
        assert_eq!(told(&join(&swapped)), named);
    }
}

/// An end that nobody signed for can be written by anybody: it counts for nothing unless somebody says that it may.
#[tokio::test]
async fn an_unsigned_end_that_was_written_anew_is_not_taken_for_the_log() {
    let (_folder, store) = log(40).await;
    let text = exported(&store, 0, 40);
    // The last checkpoint is taken off, a record behind the one before is changed, and the chain made to fit.
    let (signed, rest) = text.split_at(text.rfind("{\"checkpoint\"").unwrap());
    assert_eq!(rest.lines().count(), 1);
    let mut chain = store.audit_log_at(30).unwrap().unwrap().chain;
    let mut out = String::new();
    let mut place = 0;
    for line in signed.lines() {
        let is_record = line.starts_with("{\"chain\"") && line.contains("\"record\"");
        if is_record {
            place += 1;
        }
        if is_record && place > 30 {
            let read: Line<'_> = serde_json::from_str(line).unwrap();
            let record = read.record.unwrap().get().replace("read", "drop");
            let salt = format!("\"{}\"", read.salt.unwrap());
            chain = link(&chain, &leaf(record.as_bytes()));
            out += &record_line(&chain, read.personal.unwrap().get(), &record, &salt, false);
        } else {
            out += line;
        }
        out.push('\n');
    }
    let found = verified(out.as_bytes()).unwrap_err();
    assert_eq!(found.place, Some(30));
    assert!(
        matches!(found.fault, Fault::Unsigned { count: 10 }),
        "{found}"
    );
    let expected = Expected {
        unsigned: true,
        ..Expected::default()
    };
    let found = verify(&mut Cursor::new(&out), key().verifier(), expected).unwrap();
    let signed = found.checkpoint.map(|one| one.size);
    assert_eq!((signed, found.unsigned), (Some(30), 10));
}

/// A file that begins later, with a first line that says so, is a part, and passes for one alone.
#[tokio::test]
async fn a_front_that_was_cut_off_is_found() {
    let (_folder, store) = log(40).await;
    let text = exported(&store, 15, 40);
    let check = |expected| verify(&mut Cursor::new(&text), key().verifier(), expected);
    let found = check(Expected::default()).unwrap_err();
    let is_front = |fault: &Fault| matches!(fault, Fault::Front { begin: 0, from: 15 });
    assert!(is_front(&found.fault), "{found}");
    let part = |from| Expected {
        from: Some(from),
        ..Expected::default()
    };
    assert!(check(part(15)).is_ok());
    let found = check(part(14)).unwrap_err();
    let is_other = |fault: &Fault| {
        matches!(
            fault,
            Fault::Part {
                wanted: 14,
                from: 15
            }
        )
    };
    assert!(is_other(&found.fault), "{found}");

    // A checkpoint over records in front of it says nothing of it.
    let (_, note) = store.audit_checkpoints(9, 10).unwrap().remove(0);
    let known = Checkpoint::open(&note, key().verifier()).unwrap();
    let expected = Expected {
        known: Some(&known),
        ..part(15)
    };
    let found = check(expected).unwrap_err();
    assert!(
        matches!(found.fault, Fault::Uncompared { signed: 10 }),
        "{found}"
    );
}

/// What the newest checkpoint says is gone need not be there.
#[tokio::test]
async fn a_log_that_was_shortened_in_order_is_whole() {
    let (_folder, store) = log(15).await;
    sign_from(&store, 12).await;
    let found = verified(exported(&store, 12, 15).as_bytes()).unwrap();
    assert_eq!((found.begin, found.from), (12, 12));
    let found = verified(exported(&store, 13, 15).as_bytes()).unwrap_err();
    let is_front = |fault: &Fault| {
        matches!(
            fault,
            Fault::Front {
                begin: 12,
                from: 13
            }
        )
    };
    assert!(is_front(&found.fault), "{found}");
}

/// A log of 16 records with a checkpoint after the 10th, the 14th and the last: those at 10, 11 and 13 are erased, and that
/// at 14 names the first two of them.
async fn erased() -> (TempDir, Store) {
    let (folder, store) = log(10).await;
    let row_of = |principal: &str| store::AuditRow {
        principal: principal.to_owned(),
        ..row()
    };
    let write = async |row| {
        let slot = store.reserve_audit(Duration::from_secs(1)).await.unwrap();
        slot.commit(&row, Duration::from_secs(5)).await.unwrap();
    };
    for principal in ["carol", "carol", "bob", "carol"] {
        write(row_of(principal)).await;
    }
    sign(&store).await;
    let first = store.audit_of("carol", 0, i64::MAX, 1).unwrap().records[0].seq;
    let entry = |text: String, transport: &'static str| store::AuditRow {
        method: ERASED.into(),
        transport: transport.into(),
        entry: Some(text),
        ..row()
    };
    write(entry(format!("{first}-{}", first + 1), "cli")).await;
    // What a client says explains nothing.
    write(entry(format!("{first}-{}", first + 9), "http")).await;
    store
        .erase_audit("carol", i64::MAX, i64::MAX)
        .await
        .unwrap();
    sign(&store).await;
    (folder, store)
}

#[tokio::test]
async fn an_erased_record_that_no_erasure_explains_is_found() {
    let (_folder, store) = erased().await;
    // An erasure stands behind what it erases: a part that begins later misses none.
    for from in [0, 10] {
        let text = exported(&store, from, u64::MAX);
        let check = |expected| verify(&mut Cursor::new(&text), key().verifier(), expected);
        let expected = Expected {
            from: Some(from),
            ..Expected::default()
        };
        let found = check(expected).unwrap_err();
        assert_eq!(found.place, Some(13));
        assert!(found.to_string().starts_with("record 13: "), "{found}");
        assert!(
            matches!(&found.fault, Fault::Unexplained { count: 1, places } if places == "13"),
            "{found}"
        );
        let found = check(Expected {
            unexplained: true,
            ..expected
        });
        let found = found.unwrap();
        assert_eq!(found.erased.to_string(), "10-11,13");
        assert_eq!(found.unexplained.to_string(), "13");
    }
}

/// What stands at the end and nobody signed for anybody can have written: a word on an erasure, too.
#[tokio::test]
async fn an_erasure_that_nobody_signed_for_explains_nothing() {
    let (_folder, store) = erased().await;
    let check = |to| {
        let expected = Expected {
            unsigned: true,
            ..Expected::default()
        };
        let text = exported(&store, 0, to);
        verify(&mut Cursor::new(text), key().verifier(), expected)
    };
    // It stands behind the end, and in front of it.
    for to in [14, 15] {
        let found = check(to).unwrap_err();
        assert_eq!(found.place, Some(10));
        assert!(
            matches!(&found.fault, Fault::Unexplained { count: 3, places } if places == "10-11,13"),
            "{found}"
        );
    }
    // What is not proved needs no explanation.
    let found = check(13).unwrap();
    assert_eq!(found.erased.to_string(), "10-11");
    assert_eq!((found.unsigned, found.unexplained.count()), (3, 0));
}

/// A salt has one form.
#[tokio::test]
async fn hexadecimal_digits_are_lower_case() {
    let (_folder, store) = log(10).await;
    let text = exported(&store, 0, 10);
    let at = text.find("\"salt\":\"").unwrap() + 8;
    let (head, rest) = text.split_at(at);
    let (salt, rest) = rest.split_at(32);
    assert!(salt.contains(char::is_alphabetic), "sixteen digits: {salt}");
    let changed = [head, &salt.to_uppercase(), rest].concat();
    let found = verified(changed.as_bytes()).unwrap_err();
    assert!(matches!(found.fault, Fault::Form), "{found}");
}

/// A chain that was worked out anew after a change does not fit what was signed.
#[tokio::test]
async fn a_log_that_was_written_anew_is_not_the_one_that_was_signed() {
    let (_folder, store) = log(35).await;
    let notes = store.audit_checkpoints(0, 99).unwrap();
    let mut chain = Hash::default();
    let mut out = vec![head(LOG, &store.audit_log_at(0).unwrap().unwrap(), 35)];
    for entry in store.audit_entries(0, 99).unwrap() {
        let Entry {
            place,
            record,
            personal,
            ..
        } = entry;
        let record = if place == 14 {
            record.replace("read", "drop")
        } else {
            record
        };
        chain = link(&chain, &leaf(record.as_bytes()));
        let (salt, personal) = personal.unwrap();
        let salt = format!("\"{}\"", hex(&salt));
        let is_signed = notes.iter().any(|(size, _)| *size == place + 1);
        out.push(record_line(&chain, &personal, &record, &salt, is_signed));
        out.extend(
            notes
                .iter()
                .filter(|(size, _)| *size == place + 1)
                .map(|(_, note)| noted(note)),
        );
    }
    let found = verified(format!("{}\n", out.join("\n")).as_bytes()).unwrap_err();
    // In front of it stands the first line, twenty records and a checkpoint.
    assert_eq!((found.line, found.place), (23, Some(19)));
    assert!(matches!(found.fault, Fault::Root { after: 9 }), "{found}");
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_found_by_a_checkpoint_from_elsewhere() {
    let (_folder, store) = log(30).await;
    let kept = Checkpoint::open(
        &store.audit_checkpoints(29, 30).unwrap()[0].1,
        key().verifier(),
    )
    .unwrap();
    let shorter = exported(&store, 0, 20);
    assert!(verified(shorter.as_bytes()).is_ok());
    let expected = Expected {
        known: Some(&kept),
        ..Expected::default()
    };
    let found = verify(&mut Cursor::new(shorter), key().verifier(), expected).unwrap_err();
    assert!(
        matches!(
            found.fault,
            Fault::Behind {
                signed: 30,
                found: 20
            }
        ),
        "{found}"
    );
    let whole = exported(&store, 0, 30);
    assert!(verify(&mut Cursor::new(whole), key().verifier(), expected).is_ok());
}

#[tokio::test]
async fn one_record_is_proved_without_the_others() {
    let (_folder, store) = log(25).await;
    for place in 0..20 {
        let proof = prove(&store, place).unwrap().unwrap();
        let proved = verify_proof(&proof, key().verifier()).unwrap();
        assert_eq!(proved.checkpoint.size, if place < 10 { 10 } else { 20 });
        assert!(proved.is_personal);
        let mut left_out: serde_json::Value = serde_json::from_str(&proof).unwrap();
        (left_out["personal"], left_out["salt"]) = (json!(null), json!(null));
        let proved = verify_proof(&left_out.to_string(), key().verifier()).unwrap();
        assert!(!proved.is_personal);
        let changed = proof.replace("\"entry\":\"read\"", "\"entry\":\"drop\"");
        assert!(matches!(
            verify_proof(&changed, key().verifier()),
            Err(Fault::NotIn { .. })
        ));
        let other = proof.replace("alice", "mallory");
        assert!(matches!(
            verify_proof(&other, key().verifier()),
            Err(Fault::Personal)
        ));
    }
    assert_eq!(prove(&store, 22).unwrap(), None);
    assert!(matches!(
        prove(&store, 25),
        Err(super::super::export::ExportError::NoSuch { .. })
    ));
}

/// What can be done to a file.
#[derive(Debug, Clone)]
enum Tampering {
    Byte(prop::sample::Index, u8),
    Delete(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Insert(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        (index(), 1..=255_u8).prop_map(|(at, bits)| Tampering::Byte(at, bits)),
        index().prop_map(Tampering::Delete),
        (index(), index()).prop_map(|(one, other)| Tampering::Swap(one, other)),
        (index(), index()).prop_map(|(one, at)| Tampering::Insert(one, at)),
        index().prop_map(Tampering::Truncate),
    ]
}

impl Tampering {
    /// The file afterwards.
    fn done(&self, text: &str) -> Vec<u8> {
        let mut lines: Vec<&[u8]> = text
            .as_bytes()
            .split_inclusive(|byte| *byte == b'\n')
            .collect();
        let count = lines.len();
        match self {
            Self::Byte(at, bits) => {
                let mut bytes = text.as_bytes().to_vec();
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
                bytes
            }
            Self::Truncate(at) => text.as_bytes()[..at.index(text.len())].to_vec(),
            Self::Delete(one) => {
                lines.remove(one.index(count));
                lines.concat()
            }
            Self::Swap(one, other) => {
                lines.swap(one.index(count), other.index(count));
                lines.concat()
            }
            Self::Insert(one, at) => {
                lines.insert(at.index(count + 1), lines[one.index(count)]);
                lines.concat()
            }
        }
    }
}

#[test]
fn a_thousand_changes_are_all_found_where_they_are() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_folder, store) = runtime.block_on(log(60));
    let text = exported(&store, 0, 60);
    let config = Config {
        cases: 1000,
        rng_seed: RngSeed::Fixed(6),
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&tampering(), |tampering| {
            let changed = tampering.done(&text);
            if changed == text.as_bytes() {
                return Ok(());
            }
            let Err(found) = verified(&changed) else {
                panic!("not found: {tampering:?}");
            };
            // The first line that is not what was written.
            let same = changed
                .iter()
                .zip(text.as_bytes())
                .take_while(|(a, b)| a == b);
            let kept = same.filter(|(byte, _)| **byte == b'\n').count() as u64;
            let first = kept + 1;
            assert!(
                (kept..=first + 1).contains(&found.line),
                "{tampering:?}: {found}, not {first}"
            );
            Ok(())
        })
        .unwrap();
}
