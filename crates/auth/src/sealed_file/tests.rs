//! What comes out is what went in, or nothing.

use std::io::{Read as _, Write as _};

use proptest::prelude::*;

use super::{HEAD_LEN, MAGIC, Opener, PIECE_LEN, SealedFileError, Sealer, TAG_LEN};

const PASSPHRASE: &str = "correct horse battery";

fn seal(plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), PASSPHRASE).expect("a key");
    sealer.write_all(plain).expect("written");
    sealer.finish().expect("finished")
}

fn open(sealed: &[u8], passphrase: &str) -> Result<Vec<u8>, String> {
    let mut plain = Vec::new();
    Opener::new(sealed, passphrase)
        .map_err(|error| error.to_string())?
        .read_to_end(&mut plain)
        .map_err(|error| error.to_string())?;
    Ok(plain)
}

/// How long the pieces are in the file, with their lengths before them.
fn pieces(sealed: &[u8]) -> Vec<&[u8]> {
    let mut rest = sealed.get(HEAD_LEN..).expect("a head");
    let mut pieces = Vec::new();
    while let Some((length, _)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).expect("small");
        let (piece, after) = rest.split_at(4 + length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

#[test]
fn what_was_sealed_is_opened_whatever_its_length() {
    for length in [0, 1, PIECE_LEN - 1, PIECE_LEN, PIECE_LEN + 1, 3 * PIECE_LEN] {
        let plain: Vec<u8> = (0..=255).cycle().take(length).collect();
        let sealed = seal(&plain);
        let count = length.div_ceil(PIECE_LEN).max(1);
        assert_eq!(pieces(&sealed).len(), count, "{length}");
        assert_eq!(sealed.len(), HEAD_LEN + count * (4 + TAG_LEN) + length);
        assert_eq!(open(&sealed, PASSPHRASE), Ok(plain), "{length}");
    }
}

#[test]
fn another_passphrase_opens_nothing_and_a_short_one_seals_nothing() {
    let sealed = seal(b"what is in it");
    assert!(open(&sealed, "correct horse cattery").is_err());
    assert!(matches!(
        Sealer::new(Vec::new(), "eleven char"),
        Err(SealedFileError::Short)
    ));
}

#[test]
fn a_piece_that_is_missing_moved_doubled_or_cut_off_shows() {
    let plain: Vec<u8> = (0..=255).cycle().take(3 * PIECE_LEN + 9).collect();
    let sealed = seal(&plain);
    let head = sealed.get(..HEAD_LEN).expect("a head");
    let [a, b, c, d] = pieces(&sealed)[..] else {
        panic!("four pieces");
    };
    let orders: [&[&[u8]]; 7] = [
        &[a, b, c],
        &[a, b, d],
        &[b, a, c, d],
        &[a, b, b, c, d],
        &[a, b, c, d, d],
        &[d],
        &[],
    ];
    for order in orders {
        let forged = [head, &order.concat()].concat();
        assert!(open(&forged, PASSPHRASE).is_err(), "{}", order.len());
    }
    assert_eq!(open(&[head, a, b, c, d].concat(), PASSPHRASE), Ok(plain));
}

#[test]
fn a_file_that_asks_for_too_much_is_refused_before_it_gets_it() {
    let mut sealed = seal(b"small");
    let memory = sealed
        .get_mut(MAGIC.len()..MAGIC.len() + 4)
        .expect("a head");
    memory.fill(0xff);
    assert_eq!(
        open(&sealed, PASSPHRASE),
        Err(SealedFileError::Costly.to_string())
    );
    assert_eq!(
        open(b"PK\x03\x04", PASSPHRASE),
        Err(SealedFileError::Strange.to_string())
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn a_byte_that_was_changed_shows(at in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut sealed = seal(b"the quick brown fox jumps over the lazy dog");
        // The costs are left alone: they only make the test slow.
        let costs = MAGIC.len()..MAGIC.len() + 12;
        let at = at.index(sealed.len());
        prop_assume!(!costs.contains(&at));
        if let Some(byte) = sealed.get_mut(at) {
            *byte ^= change;
        }
        prop_assert!(open(&sealed, PASSPHRASE).is_err());
    }
}
