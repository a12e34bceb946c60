//! Checkpoints as others' tools read them.

use super::*;

fn key(seed: u8) -> CheckpointKey {
    CheckpointKey::from_seed("gate.example/audit", &[seed; 32]).unwrap()
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        origin: "gate.example/audit".to_owned(),
        size: 20_852_163,
        root: [7; 32],
        chain: [8; 32],
        at: 1_795_000_000,
        begin: 0,
    }
}

#[test]
fn the_verifier_key_of_the_note_package_is_read() {
    // The example of Go's `golang.org/x/mod/sumdb/note`.
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let read: CheckpointVerifier = text.parse().unwrap();
    assert_eq!(
        (read.name(), read.to_string().as_str()),
        ("PeterNeumann", text)
    );
    for bad in [
        "",
        "PeterNeumann",
        &text.replace("c74f", "c74e"),
        text.trim_end_matches("TW"),
    ] {
        assert_eq!(bad.parse::<CheckpointVerifier>(), Err(BadVerifier), "{bad}");
    }
}

#[test]
fn a_checkpoint_comes_back_as_it_was_signed() {
    let note = checkpoint().sign(&key(1));
    let verifier: CheckpointVerifier = key(1).verifier().to_string().parse().unwrap();
    assert_eq!(Checkpoint::open(&note, &verifier), Ok(checkpoint()));
    assert!(!note.contains("begin"), "as before, where nothing is gone");
    let shortened = Checkpoint {
        begin: 512,
        ..checkpoint()
    };
    let opened = Checkpoint::open(&shortened.sign(&key(1)), &verifier);
    assert_eq!(opened, Ok(shortened));
    let beside = format!("{note}{DASH}witness.example AAAAAAAA\n");
    assert_eq!(Checkpoint::open(&beside, &verifier), Ok(checkpoint()));
}

#[test]
fn no_byte_of_it_can_be_changed() {
    let note = checkpoint().sign(&key(1));
    let signed = note.find(DASH).unwrap();
    for at in 0..note.len() {
        let mut bytes = note.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(changed) = String::from_utf8(bytes) {
            let opened = Checkpoint::open(&changed, key(1).verifier());
            assert!(opened.is_err(), "{at} of {signed}: {changed}");
        }
    }
    assert_eq!(
        Checkpoint::open(&note, key(2).verifier()),
        Err(BadCheckpoint::Unsigned)
    );
}

#[test]
fn names_that_would_end_early_are_none() {
    for name in ["", "a b", "a+b", "a\nb"] {
        assert!(
            CheckpointKey::from_seed(name, &[1; 32]).is_none(),
            "{name:?}"
        );
    }
}
