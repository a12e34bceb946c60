//! Notes' words as PostgreSQL's text search takes them, made here: the same words for every database, whatever its
//! locale and its dictionaries. A word is a run of letters and digits, without case and accents.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Most characters of a word that count.
const WORD_CHARS_MAX: usize = 100;
/// Most words of a note that are found. PostgreSQL keeps no place past 16383.
const WORDS_MAX: usize = 16_000;

/// The words of a note with their places, as a `tsvector` is written.
pub(super) fn index<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let words = texts.flat_map(|text| words(text)).take(WORDS_MAX);
    let placed = (1..)
        .zip(words)
        .map(|(place, word)| format!("{word}:{place}"));
    placed.collect::<Vec<_>>().join(" ")
}

/// A `tsquery` for all of these; each may go on, and what punctuation holds together stands together.
pub(super) fn query(words_wanted: &[&str]) -> String {
    let phrases = words_wanted.iter().map(|wanted| {
        let mut phrase = words(wanted).collect::<Vec<_>>().join(" <-> ");
        phrase.push_str(":*");
        phrase
    });
    phrases.collect::<Vec<_>>().join(" & ")
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let plain: String = text
        .nfkd()
        .filter(|c| !is_combining_mark(*c))
        .flat_map(char::to_lowercase)
        .collect();
    let words = plain
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(WORD_CHARS_MAX).collect())
        .collect::<Vec<String>>();
    words.into_iter()
}
