//! Code points that a person does not see and a model reads: where they stand, and whether they have a use there.
//!
//! What a script or an emoji needs stays: joiners within Arabic and Indic words, the selector that makes a heart red,
//! the tags of the flags of England, Scotland and Wales. Each only once, so that no message hides in a row of them.
//! Finding out fast that there is nothing of the sort is [`suspects`]; it may be wrong in one direction only.
//!
//! Sources: Unicode 17, chapters 9 and 23; UTS 51 (emoji); ECMA-48 (escape sequences).

use std::ops::Range;

use super::Kind;

/// What is looked at in one go.
const BLOCK: usize = 64;
/// An operating system command of a terminal that takes more bytes is not one.
const STRING_BYTES_MAX: usize = 4096;
const ESCAPE: char = '\u{1b}';
/// The flags that are written in tags: a black flag, what it is of, and the end.
const FLAGS: [&str; 3] = [
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}",
    "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}",
];

/// Whether JSON text may say anything invisible between these positions, raw or escaped, or spells out letters that
/// need no escape and so hides words from whoever searches the bytes. With `any_code` each `\uXXXX` counts: its digits
/// get in the way of whoever looks for numbers. Reads no further than a few bytes past the end.
pub(super) fn suspects(json: &[u8], range: Range<usize>, any_code: bool) -> bool {
    let mut at = range.start;
    while at < range.end {
        let here = json.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>);
        let next = json.get(at + 1..).and_then(<[u8]>::first_chunk::<BLOCK>);
        let third = json.get(at + 2..).and_then(<[u8]>::first_chunk::<BLOCK>);
        let is_harmless = match (here, next, third) {
            (Some(here), Some(next), Some(third)) => {
                is_plain(here, next) || is_visible(here, next, third)
            }
            _near_the_end => false,
        };
        let end = json.len().min(at + BLOCK);
        if !is_harmless {
            let block = json.get(at..end).unwrap_or_default();
            let mut looks = block
                .iter()
                .zip(at..)
                .filter(|(byte, _)| LOOKS[usize::from(**byte)]);
            if looks.any(|(_, at)| begins(json, at, any_code)) {
                return true;
            }
        }
        at = end;
    }
    false
}

/// Whether there is nothing in a block but plain ASCII and harmless escapes. Without a branch, so that it becomes
/// vector instructions; `next` is the block one byte on.
fn is_plain(here: &[u8; BLOCK], next: &[u8; BLOCK]) -> bool {
    let mut odd = 0;
    for (byte, next) in here.iter().zip(next) {
        let (byte, next) = (*byte, *next);
        let is_space = (byte == b'\n') | (byte == b'\r') | (byte == b'\t');
        let is_escape = (byte == b'\\') & ((next == b'u') | (next == b'b') | (next == b'f'));
        odd |= u8::from(((byte < 0x20) & !is_space) | (byte >= 0x7f) | is_escape);
    }
    odd == 0
}

/// The same for text beyond ASCII: whether nothing in a block begins anything invisible, nor any escape. `next` and
/// `third` are the blocks one byte on and two. Each line is the UTF-8 of a line of [`kind_of`], or of more than that.
fn is_visible(here: &[u8; BLOCK], next: &[u8; BLOCK], third: &[u8; BLOCK]) -> bool {
    let mut odd = 0;
    for ((byte, next), third) in here.iter().zip(next).zip(third) {
        let (byte, next, third) = (*byte, *next, *third);
        let is_within = |low: u8, high: u8| (third >= low) & (third <= high);
        let is_space = (byte == b'\n') | (byte == b'\r') | (byte == b'\t');
        let is_escape = (byte == b'\\') & ((next == b'u') | (next == b'b') | (next == b'f'));
        let is_control = ((byte < 0x20) & !is_space) | (byte == 0x7f);
        let of_two = ((byte == 0xc2) & ((next < 0xa0) | (next == 0xad)))
            | ((byte == 0xcd) & (next == 0x8f))
            | ((byte == 0xd8) & (next == 0x9c));
        let in_e1 = ((next == 0x85) & is_within(0x9f, 0xa0))
            | ((next == 0x9e) & is_within(0xb4, 0xb5))
            | ((next == 0xa0) & is_within(0x8b, 0x8f));
        let in_e2 = ((next == 0x80) & (is_within(0x8b, 0x8f) | is_within(0xaa, 0xae)))
            | ((next == 0x81) & (third >= 0xa0));
        let in_ef = (next <= 0xa3)
            | ((next == 0xb8) & (third <= 0x8f))
            | ((next == 0xbb) & (third == 0xbf))
            | ((next == 0xbe) & (third == 0xa0))
            | ((next == 0xbf) & (third >= 0xb9));
        let of_three = ((byte == 0xe1) & in_e1)
            | ((byte == 0xe2) & in_e2)
            | ((byte == 0xe3) & (next == 0x85) & (third == 0xa4))
            | (byte == 0xee)
            | ((byte == 0xef) & in_ef);
        let in_f0 = ((next == 0x9b) & (third == 0xb2)) | ((next == 0x9d) & (third == 0x85));
        let of_four = ((byte == 0xf0) & in_f0) | (byte >= 0xf3);
        odd |= u8::from(is_control | is_escape | of_two | of_three | of_four);
    }
    odd == 0
}

/// Whether something to look at begins here.
fn begins(json: &[u8], at: usize, any_code: bool) -> bool {
    let rest = json.get(at..).unwrap_or_default();
    match rest {
        [b'\t' | b'\n' | b'\r', ..] => false,
        [0..0x20 | 0x7f, ..] => true,
        [b'\\', b'b' | b'f', ..] => is_escape(json, at),
        [b'\\', b'u', digits @ ..] => is_escape(json, at) && (any_code || is_odd_escape(digits)),
        [0x80..=0xff, ..] => is_odd_sequence(rest),
        _harmless => false,
    }
}

/// Whether the backslash there is not itself escaped.
fn is_escape(json: &[u8], at: usize) -> bool {
    let before = json.get(..at).unwrap_or_default();
    let backslashes = before.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count().is_multiple_of(2)
}

fn is_odd_escape(digits: &[u8]) -> bool {
    let unit = digits
        .first_chunk::<4>()
        .and_then(|digits| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
    let Some(unit) = unit else {
        return true;
    };
    match unit {
        0x09 | 0x0a | 0x0d => false,
        // What ASCII needs no escape: somebody wants it unseen, or writes `<` as Go does.
        0x20..=0x7e => true,
        // The first half of what lies in the tag block and in the planes for private use, and of the invisible
        // characters of music and shorthand.
        0xdb40..=0xdbff | 0xd834 | 0xd82f => true,
        _other => char::from_u32(unit).is_some_and(|character| kind_of(character).is_some()),
    }
}

/// Bytes that something to look at may begin with: control characters, escapes, and the first bytes of the UTF-8
/// sequences of what is invisible.
static LOOKS: [bool; 256] = {
    let mut looks = [false; 256];
    let leads = [
        b'\\', 0x7f, 0xc2, 0xcd, 0xd8, 0xe1, 0xe2, 0xe3, 0xee, 0xef, 0xf0, 0xf3, 0xf4,
    ];
    let mut at = 0;
    while at < leads.len() {
        looks[leads[at] as usize] = true;
        at += 1;
    }
    at = 0;
    while at < 0x20 {
        looks[at] = true;
        at += 1;
    }
    looks
};

fn is_odd_sequence(text: &[u8]) -> bool {
    match text {
        // By far the most common that begin so: quotes and dashes, arrows, kana and ideographs, full-width forms.
        [0xe2, 0x80, 0x90..=0xa9 | 0xaf..=0xff, ..] | [0xe2, 0x82..=0xff, ..] => false,
        [0xe3, second, ..] if *second != 0x85 => false,
        _perhaps => {
            let len = text.len().min(4);
            let start = text.get(..len).unwrap_or_default();
            let character = start.utf8_chunks().next();
            let character = character.and_then(|chunk| chunk.valid().chars().next());
            // What is not UTF-8 is left to those who walk the text, and refuse it.
            character.is_none_or(|character| kind_of(character).is_some())
        }
    }
}

/// Whether a character shows as itself wherever it stands: it ends no line, turns nothing around, and does not hide.
#[must_use]
pub fn shows_as_itself(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{2028}' | '\u{2029}')
        && kind_of(character).is_none()
}

/// What kind of invisible a character is, wherever it stands.
fn kind_of(character: char) -> Option<Kind> {
    let kind = match character {
        '\t' | '\n' | '\r' => return None,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => Kind::Control,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Kind::Bidi,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' => {
            Kind::ZeroWidth
        }
        '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2065}' => Kind::ZeroWidth,
        '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' => Kind::ZeroWidth,
        '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' => {
            Kind::ZeroWidth
        }
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' => Kind::Variation,
        '\u{e0100}'..='\u{e01ef}' => Kind::Variation,
        '\u{e0000}'..='\u{e0fff}' => Kind::Tag,
        '\u{e000}'..='\u{f8ff}' | '\u{f0000}'.. => Kind::PrivateUse,
        _visible => return None,
    };
    Some(kind)
}

/// What is invisible in a text and of no use there, in order. A terminal's sequence is one find, with all that
/// belongs to it.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, Kind)> {
    let mut found = Vec::new();
    let mut strings = Strings::default();
    let mut before = None;
    let mut at = 0;
    while let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let mut len = character.len_utf8();
        let so_far = found.len();
        if let Some(flag) = FLAGS.iter().find(|flag| rest.starts_with(**flag)) {
            len = flag.len();
        } else if character == ESCAPE || is_introducer(character) {
            len = strings.sequence_len(text, at);
            found.push((at..at + len, Kind::Ansi));
        } else if let Some(kind) = kind_of(character) {
            let after = rest.get(len..).and_then(|rest| rest.chars().next());
            if !has_use(character, before, after) {
                found.push((at..at + len, kind));
            }
        }
        // Neighbours are those that will be.
        before = (found.len() == so_far).then_some(character);
        at += len;
    }
    found
}

/// Whether a joiner or selector does what it is for, between its neighbours.
fn has_use(character: char, before: Option<char>, after: Option<char>) -> bool {
    let Some(before) = before else {
        return false;
    };
    match character {
        // RFC 5892, appendix A.1 and A.2, in the rough: joiners belong into these scripts.
        '\u{200c}' => is_joining(before),
        '\u{200d}' => {
            let next_is_emoji = after.is_some_and(|after| after != '\u{fe0f}' && is_emoji(after));
            is_joining(before) || (is_emoji(before) && next_is_emoji)
        }
        '\u{180b}'..='\u{180d}' | '\u{180f}' => is_joining(before),
        // A digit is one only in a key cap.
        '\u{fe0e}' | '\u{fe0f}' => match before {
            '0'..='9' | '#' | '*' => after == Some('\u{20e3}'),
            _other => is_emoji(before) && before != '\u{fe0f}',
        },
        _no_use => false,
    }
}

/// Letters and marks of scripts whose letters join: Arabic to Samaritan, the Indic ones, Myanmar, Khmer, Mongolian.
fn is_joining(character: char) -> bool {
    matches!(character,
        '\u{620}'..='\u{85f}' | '\u{8a0}'..='\u{dff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17b3}'
        | '\u{17b6}'..='\u{17d3}' | '\u{1820}'..='\u{18aa}')
}

/// Characters that are pictures, or become them.
fn is_emoji(character: char) -> bool {
    matches!(character,
        '\u{a9}' | '\u{ae}' | '\u{203c}' | '\u{2049}' | '\u{2122}' | '\u{2139}' | '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{27bf}' | '\u{2900}'..='\u{297f}' | '\u{2b00}'..='\u{2bff}' | '\u{3030}'
        | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{fe0f}' | '\u{1f000}'..='\u{1faff}')
}

/// Control characters that begin a sequence by themselves (ECMA-48, 5.3 and 5.6).
fn is_introducer(character: char) -> bool {
    matches!(
        character,
        '\u{90}' | '\u{98}' | '\u{9b}' | '\u{9d}'..='\u{9f}'
    )
}

/// Where control strings end; looked for once, however many begin.
#[derive(Default)]
struct Strings {
    /// Up to where was looked, and where the next ends.
    known: Option<(usize, Option<usize>)>,
}

impl Strings {
    /// Bytes of the escape sequence that begins at `at`.
    fn sequence_len(&mut self, text: &str, at: usize) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        let mut characters = rest.chars();
        let first = characters.next().unwrap_or(ESCAPE);
        let (introducer, len) = if first == ESCAPE {
            match characters.next() {
                Some(second @ '\u{20}'..='\u{7e}') => (second, 2),
                // Alone, it is only itself.
                _no_sequence => return 1,
            }
        } else {
            let as_seven_bits = (u32::from(first) - 0x40).try_into().unwrap_or('\\');
            (as_seven_bits, first.len_utf8())
        };
        let body = rest.get(len..).unwrap_or_default();
        match introducer {
            '[' => len + control_sequence_len(body),
            'P' | 'X' | ']' | '^' | '_' => len + self.string_len(text, at + len).unwrap_or(0),
            '\u{20}'..='\u{2f}' => len + final_len(body, 0x30),
            _two_characters => len,
        }
    }

    /// Bytes of a control string and its end; `None` if it has none nearby.
    fn string_len(&mut self, text: &str, at: usize) -> Option<usize> {
        let end = match self.known {
            Some((looked_from, end)) if looked_from <= at && end.is_none_or(|end| end > at) => end,
            _unknown => {
                let rest = text.get(at..).unwrap_or_default();
                let ends = ["\u{7}", "\u{1b}\\", "\u{9c}"];
                let ends = ends
                    .iter()
                    .filter_map(|end| Some(rest.find(end)? + end.len()));
                let end = ends.min().map(|len| at + len);
                self.known = Some((at, end));
                end
            }
        };
        end.map(|end| end - at)
            .filter(|len| *len <= STRING_BYTES_MAX)
    }
}

/// Parameters, intermediates and the final byte of a control sequence.
fn control_sequence_len(body: &str) -> usize {
    let parameters = body
        .bytes()
        .take_while(|byte| matches!(byte, 0x30..=0x3f))
        .count();
    parameters + final_len(body.get(parameters..).unwrap_or_default(), 0x40)
}

/// Intermediates and a final byte not below `lowest`.
fn final_len(body: &str, lowest: u8) -> usize {
    let between = body
        .bytes()
        .take_while(|byte| matches!(byte, 0x20..=0x2f))
        .count();
    let last = body.as_bytes().get(between);
    between + usize::from(last.is_some_and(|last| (lowest..=0x7e).contains(last)))
}

#[cfg(test)]
mod tests;
