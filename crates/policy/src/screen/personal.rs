//! What tells who somebody is, each with the check that its kind has: check digits, issuers, lengths.
//!
//! Everything begins at an `@`, or at a digit that follows none, so those are where it is looked for.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::{Kind, Kinds, text_at};

/// Bytes of a mailbox's name (RFC 5321, 4.5.3.1) and of a domain.
const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;
/// Letters and digits of an IBAN, at most, and with a space after every four.
const IBAN_MAX: usize = 34;
const IBAN_SPACED_MAX: usize = 42;
/// Digits of a payment card's number, at most.
const CARD_MAX: usize = 19;
/// Digits of a telephone number (E.164).
const PHONE_MIN: usize = 8;
const PHONE_MAX: usize = 15;
/// Bytes of an IP address written out.
const IP_MAX: usize = 39;
/// Bytes that are looked at in one go.
const WORD: usize = 8;

/// How long the IBAN of a country is (SWIFT's registry).
const IBANS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

/// Calls `on` with everything that begins within the range, until it says that it has seen enough. In JSON text whose
/// escapes are not undone it may find what is none, and finds each that is one.
pub(super) fn search(
    text: &[u8],
    range: Range<usize>,
    kinds: Kinds,
    mut on: impl FnMut(Range<usize>, Kind) -> bool,
) -> bool {
    let before = range.start.checked_sub(1).and_then(|at| text.get(at));
    let mut after_digit = before.is_some_and(u8::is_ascii_digit);
    let part = text_at(text, range.clone());
    for (bytes, start) in part.chunks(WORD).zip((range.start..).step_by(WORD)) {
        // What is missing at the end is nobody's digit.
        let mut word = [0; WORD];
        word.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        let mut begins = begins(word, &mut after_digit);
        while begins != 0 {
            let at = start + begins.trailing_zeros() as usize / 8;
            begins &= begins - 1;
            if let Some((found, kind)) = find(text, at, kinds)
                && on(found, kind)
            {
                return true;
            }
        }
    }
    false
}

/// Where in eight bytes there is an `@`, or a digit that follows none: the highest bit of each such byte, the first byte
/// lowest. Eight at a time, because hardly any is.
fn begins(word: [u8; WORD], after_digit: &mut bool) -> u64 {
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD])
    }
    /// The highest bit of each byte that is not below `bound`, which is at most 128.
    const fn from(bytes: u64, bound: u8) -> u64 {
        ((bytes & all(0x7f)) + all(0x80 - bound)) | bytes
    }
    let word = u64::from_le_bytes(word);
    let digits = !from(word ^ all(b'0'), 10) & all(0x80);
    let ats = !from(word ^ all(b'@'), 1) & all(0x80);
    let follows = digits << 8 | u64::from(*after_digit) << 7;
    *after_digit = digits >> 63 == 1;
    (digits & !follows) | ats
}

/// What has its `@` or its first digit here.
fn find(text: &[u8], at: usize, kinds: Kinds) -> Option<(Range<usize>, Kind)> {
    type Finder = fn(&[u8], usize) -> Option<Range<usize>>;
    const BY_DIGIT: [(Kind, Finder); 5] = [
        (Kind::Iban, iban),
        (Kind::Card, card),
        (Kind::Phone, phone),
        (Kind::Ssn, ssn),
        (Kind::Ip, ip),
    ];
    if text.get(at) == Some(&b'@') {
        let found = kinds.has(Kind::Email).then(|| email(text, at))?;
        return found.map(|found| (found, Kind::Email));
    }
    BY_DIGIT
        .iter()
        .filter(|(kind, _)| kinds.has(*kind))
        .find_map(|(kind, find)| find(text, at).map(|found| (found, *kind)))
}

fn email(text: &[u8], at: usize) -> Option<Range<usize>> {
    let is_local =
        |byte: &&u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(byte);
    let before = text_at(text, at.saturating_sub(LOCAL_MAX)..at);
    let local = before.iter().rev().take_while(is_local).count();
    let is_domain = |byte: &&u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let after = text_at(text, at + 1..at + 1 + DOMAIN_MAX);
    let len = after.iter().take_while(is_domain).count();
    let domain = std::str::from_utf8(after.get(..len)?).ok()?;
    // The dot of a sentence is none of the domain's.
    let domain = domain.trim_end_matches(['.', '-']);
    let (labels, top) = domain.rsplit_once('.')?;
    let is_top = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_one = local > 0 && is_top && labels.split('.').all(|label| !label.is_empty());
    is_one.then_some(at - local..at + 1 + domain.len())
}

/// Two letters, two check digits, of which the first is at `at`, and the rest, in groups of four or in one.
fn iban(text: &[u8], at: usize) -> Option<Range<usize>> {
    let start = at.checked_sub(2)?;
    let country = text_at(text, start..at);
    if !country.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    let (_, len) = IBANS.iter().find(|(code, _)| code.as_bytes() == country)?;
    if is_word(text, start.checked_sub(1)) && !is_escaped(text, start) {
        return None;
    }
    let mut account = Vec::with_capacity(IBAN_MAX);
    let mut end = start;
    for byte in text_at(text, start..start + IBAN_SPACED_MAX) {
        match byte {
            b' ' if account.len() % 4 == 0 => {}
            _ if account.len() == *len => break,
            byte if byte.is_ascii_alphanumeric() => account.push(byte.to_ascii_uppercase()),
            _end => break,
        }
        end += 1;
        if account.len() == *len {
            break;
        }
    }
    let is_one = account.len() == *len && !is_word(text, Some(end)) && mod_97(&account) == 1;
    is_one.then_some(start..end)
}

/// ISO 7064, the first four characters at the end and letters as numbers from 10.
fn mod_97(account: &[u8]) -> u32 {
    let (head, rest) = account.split_at(account.len().min(4));
    rest.iter().chain(head).fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        letter => (sum * 100 + u32::from(letter.saturating_sub(b'A')) + 10) % 97,
    })
}

fn card(text: &[u8], at: usize) -> Option<Range<usize>> {
    // No issuer's numbers begin with anything else, and a year is not worth a closer look.
    if !matches!(text.get(at), Some(b'2'..=b'6')) {
        return None;
    }
    let (digits, end) = Digits::read(text, at, b" -", CARD_MAX)?;
    let follows_word = is_word(text, at.checked_sub(1)) && !is_escaped(text, at);
    (!follows_word && is_card(digits.all())).then_some(at..end)
}

/// Whether a number, as JSON has it, is a card's.
pub(super) fn is_card_number(number: &str) -> bool {
    let digits: Vec<u8> = number
        .bytes()
        .map(|digit| digit.wrapping_sub(b'0'))
        .collect();
    digits.iter().all(|digit| *digit <= 9) && is_card(&digits)
}

/// By issuer (ISO/IEC 7812), length and check digit.
fn is_card(digits: &[u8]) -> bool {
    let head = |len: usize| {
        let head = digits.iter().take(len);
        head.fold(0, |head, digit| head * 10 + u32::from(*digit))
    };
    let len = digits.len();
    let is_issued = match (head(2), head(4)) {
        (40..=49, _) => matches!(len, 13 | 16 | 19),
        (51..=55, _) | (_, 2221..=2720) => len == 16,
        (34 | 37, _) => len == 15,
        (36 | 38 | 39, _) | (30, 3000..=3059) => (14..=19).contains(&len),
        (35, 3528..=3589) | (62 | 64 | 65, _) | (60, 6011) => (16..=19).contains(&len),
        (50 | 56..=58 | 63 | 67, _) => (13..=19).contains(&len),
        _unknown => false,
    };
    is_issued && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, u32::from(*digit)) {
            (0, digit) => digit,
            (_, digit) if digit > 4 => digit * 2 - 9,
            (_, digit) => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+`, and eight to fifteen digits, of which the first is at `at`.
fn phone(text: &[u8], at: usize) -> Option<Range<usize>> {
    let plus = at.checked_sub(1)?;
    let is_begin = text.get(plus) == Some(&b'+') && text.get(at) != Some(&b'0');
    if !is_begin || (is_word(text, plus.checked_sub(1)) && !is_escaped(text, plus)) {
        return None;
    }
    let (digits, end) = Digits::read(text, at, b" -./()", PHONE_MAX)?;
    (digits.len >= PHONE_MIN).then_some(plus..end)
}

/// `AAA-GG-SSSS`, of numbers that are given out.
fn ssn(text: &[u8], at: usize) -> Option<Range<usize>> {
    let number = text_at(text, at..at + 11);
    if number.get(3) != Some(&b'-') {
        return None;
    }
    let number = std::str::from_utf8(number)
        .ok()
        .filter(|number| number.len() == 11)?;
    let is_part =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-');
    if is_part(text.get(at + 11)) || is_part(at.checked_sub(1).and_then(|at| text.get(at))) {
        return None;
    }
    let mut parts = number.split('-');
    let mut part = |len: usize| {
        let part = parts.next().filter(|part| part.len() == len)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(part)
    };
    let (area, group, serial) = (part(3)?, part(2)?, part(4)?);
    let is_given =
        area < "900" && !matches!(area, "000" | "666") && group != "00" && serial != "0000";
    is_given.then_some(at..at + 11)
}

/// An address that has its first digit at `at`.
fn ip(text: &[u8], at: usize) -> Option<Range<usize>> {
    let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || b".:".contains(byte);
    // A part has at most four digits, and something between it and another.
    let near = text_at(text, at.saturating_sub(4)..at + 5);
    if !near.iter().any(|byte| b".:".contains(byte)) {
        return None;
    }
    let before = text_at(text, at.saturating_sub(IP_MAX)..at);
    let start = at - before.iter().rev().take_while(is_part).count();
    let after = text_at(text, start..start + IP_MAX + 1);
    let len = after.iter().take_while(is_part).count();
    let address = after.get(..len)?;
    let count = |wanted: u8| address.iter().filter(|byte| **byte == wanted).count();
    // Times and numbers with a point end here.
    if count(b'.') < 3 && count(b':') < 6 && !address.windows(2).any(|two| two == b"::") {
        return None;
    }
    let address = std::str::from_utf8(address).ok()?;
    let address = address.trim_end_matches(['.', ':']);
    let is_one = address.parse::<Ipv4Addr>().is_ok()
        || (address.len() > 4 && address.parse::<Ipv6Addr>().is_ok());
    (is_one && !is_word(text, Some(start + len))).then_some(start..start + address.len())
}

/// The digits of a number.
struct Digits {
    digits: [u8; CARD_MAX],
    len: usize,
}

impl Digits {
    /// Up to `max` digits from `at` on, one or two separators of `between` among them, and where they end. `None` if
    /// more follow, or letters do.
    fn read(text: &[u8], at: usize, between: &[u8], max: usize) -> Option<(Self, usize)> {
        let mut digits = [0; CARD_MAX];
        let (mut len, mut end, mut separators) = (0, at, 0);
        for (offset, byte) in text.get(at..)?.iter().enumerate() {
            if byte.is_ascii_digit() {
                if len == max {
                    return None;
                }
                *digits.get_mut(len)? = byte - b'0';
                len += 1;
                end = at + offset + 1;
                separators = 0;
            } else if between.contains(byte) && separators < 2 {
                separators += 1;
            } else {
                break;
            }
        }
        (!is_word(text, Some(end))).then_some((Self { digits, len }, end))
    }

    fn all(&self) -> &[u8] {
        self.digits.get(..self.len).unwrap_or_default()
    }
}

/// Whether a letter, digit or underscore stands there.
fn is_word(text: &[u8], at: Option<usize>) -> bool {
    let byte = at.and_then(|at| text.get(at));
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether what stands before `at` may be the letter of an escape.
fn is_escaped(text: &[u8], at: usize) -> bool {
    at.checked_sub(2).and_then(|at| text.get(at)) == Some(&b'\\')
}

#[cfg(test)]
mod tests;
