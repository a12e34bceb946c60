//! Where something may stand that a form speaks of: a search for some hundred words at once.
//!
//! Each word is known by four letters of it, its rarest. Whether four letters are anybody's is one bit in a table,
//! asked at each position; only where it is set is the word held against the text. That runs at a multiple of the
//! speed of an automaton, and finding the wrong four letters costs a comparison. What follows from a word is
//! `secrets` and `injection`.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::LazyLock;

use super::{Kind, injection, secrets};

/// Bits of a place in the table.
const BITS: u32 = 17;
/// Places that are looked at in one go.
const STRIDE: usize = 16;
/// Knuth's multiplier: the high bits of the product are well mixed.
const MIX: u32 = 2_654_435_761;
/// English letters, the most common first; what is not among them is rarer still.
const COMMON: &[u8] = b"etaoinsrhldcumfpgwybvkxjqz";
/// What may follow a word of three letters.
const AFTER_SHORT: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789_-:%.";

/// A word by which a form is found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Anchor {
    pub(super) word: &'static str,
    /// Whether capitals matter.
    pub(super) is_exact: bool,
    pub(super) kind: Kind,
    /// Which form of its room it belongs to.
    pub(super) form: Form,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Secret(&'static secrets::Form),
    Order(&'static injection::Form),
}

/// All anchors, and the table over them.
struct Grams {
    bits: Box<[u64; 1 << (BITS - 6)]>,
    /// By four letters in lower case: whose they are, and how far into the word they stand.
    anchors: BTreeMap<u32, Vec<(Anchor, usize)>>,
}

static GRAMS: LazyLock<Grams> = LazyLock::new(Grams::new);

/// Calls `on` for each anchor whose word stands in the text and begins within the range, in the order in which their
/// rarest letters do.
pub(super) fn search(
    text: &[u8],
    range: Range<usize>,
    mut on: impl FnMut(usize, &Anchor) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let grams: &Grams = &GRAMS;
    let end = text.len().min(range.end + 3);
    let part = text.get(range.start..end).unwrap_or_default();
    let mut at = 0;
    // Several places for one branch, which is hardly ever taken.
    while let Some(letters) = part
        .get(at..)
        .and_then(<[u8]>::first_chunk::<{ STRIDE + 3 }>)
    {
        let mut any = 0;
        for gram in letters.array_windows::<4>() {
            any |= grams.bit(fold(*gram));
        }
        if any != 0 {
            grams.look(text, range.start + at, letters, &mut on)?;
        }
        at += STRIDE;
    }
    let rest = part.get(at..).unwrap_or_default();
    grams.look(text, range.start + at, rest, &mut on)
}

/// Four letters as one number, capitals as small ones.
#[inline]
fn fold(letters: [u8; 4]) -> u32 {
    u32::from_le_bytes(letters) | 0x2020_2020
}

impl Grams {
    fn new() -> Self {
        let mut grams = Self {
            bits: Box::new([0; 1 << (BITS - 6)]),
            anchors: BTreeMap::new(),
        };
        for anchor in secrets::anchors().chain(injection::anchors()) {
            let word = anchor.word.as_bytes();
            let rarest = word
                .array_windows::<4>()
                .enumerate()
                .max_by_key(|(_, letters)| letters.iter().map(rarity).sum::<usize>());
            match (rarest, word) {
                (Some((at, letters)), _) => grams.add(*letters, anchor, at),
                (None, &[a, b, c]) => {
                    for after in AFTER_SHORT {
                        grams.add([a, b, c, *after], anchor, 0);
                    }
                }
                (None, _shorter) => {}
            }
        }
        grams
    }

    fn add(&mut self, letters: [u8; 4], anchor: Anchor, at: usize) {
        let gram = fold(letters);
        let (word, bit) = Self::place(gram);
        self.bits[word] |= 1 << bit;
        self.anchors.entry(gram).or_default().push((anchor, at));
    }

    #[inline]
    fn place(gram: u32) -> (usize, u32) {
        let hash = gram.wrapping_mul(MIX) >> (32 - BITS);
        ((hash >> 6) as usize, hash & 63)
    }

    /// One if four letters are perhaps somebody's.
    #[inline]
    fn bit(&self, gram: u32) -> u64 {
        let (word, bit) = Self::place(gram);
        self.bits[word] >> bit & 1
    }

    /// Looks at each place of a part of the text, which begins at `start`.
    fn look(
        &self,
        text: &[u8],
        start: usize,
        part: &[u8],
        on: &mut impl FnMut(usize, &Anchor) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (at, letters) in part.array_windows::<4>().enumerate() {
            let gram = fold(*letters);
            if self.bit(gram) != 0 {
                self.at(text, start + at, gram, on)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// The table says yes, which it also does for a few others.
    #[cold]
    fn at(
        &self,
        text: &[u8],
        at: usize,
        gram: u32,
        on: &mut impl FnMut(usize, &Anchor) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (anchor, into) in self.anchors.get(&gram).into_iter().flatten() {
            let Some(start) = at.checked_sub(*into) else {
                continue;
            };
            let word = anchor.word.as_bytes();
            let is_it = text.get(start..start + word.len()).is_some_and(|found| {
                found == word || (!anchor.is_exact && found.eq_ignore_ascii_case(word))
            });
            if is_it {
                on(start, anchor)?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn rarity(letter: &u8) -> usize {
    let letter = letter.to_ascii_lowercase();
    let place = COMMON.iter().position(|common| *common == letter);
    place.unwrap_or(COMMON.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, &'static str)> {
        let mut found = Vec::new();
        let _end = search(text.as_bytes(), 0..text.len(), |at, anchor| {
            found.push((at, anchor.word));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn every_anchor_is_found_wherever_it_stands() {
        for anchor in secrets::anchors().chain(injection::anchors()) {
            for before in ["", "x ", "a longer beginning: "] {
                let text = format!("{before}{}abcdef", anchor.word);
                let wanted = (before.len(), anchor.word);
                assert!(found(&text).contains(&wanted), "{text}");
                let text = text.to_uppercase();
                assert_eq!(
                    found(&text).contains(&wanted),
                    !anchor.is_exact || anchor.word == anchor.word.to_uppercase(),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn no_anchor_holds_what_json_may_escape() {
        let escaped = |word: &str| word.contains(['/', '"', '\\']);
        let odd: Vec<&str> = secrets::anchors()
            .chain(injection::anchors())
            .map(|anchor| anchor.word)
            .filter(|word| escaped(word))
            .collect();
        // The second is the first, escaped.
        assert_eq!(odd, ["://", ":\\/\\/"]);
    }

    #[test]
    fn the_table_is_sparse() {
        let set: u32 = GRAMS.bits.iter().map(|word| word.count_ones()).sum();
        assert!(
            set < 1 << (BITS - 7),
            "{set} bits are set: one in 128 is too many"
        );
    }
}
