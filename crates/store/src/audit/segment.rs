//! Records as they stand in the database: a stretch of the log in one piece.
//!
//! A row of a table for each record costs its writer several times what its hashes do: every value is bound, and every
//! index gets an entry. A segment costs one row for up to a [`BLOCK`] of them, and what a record has in common with the one
//! before it, as most of it, stands there once. What finds a segment is next to it: its records' numbers and times, and in
//! another table whose records and whom about are in it.
//!
//! A segment is the byte of its form, then its records, numbered one after the other. A record is
//!
//! - how it is sealed (1 byte; with [`ALONE`], nothing refers to the record before it): the salt (16 bytes) or, once that
//!   is erased, the commitment (32), and the chain's value after it (32);
//! - how each of its texts is spelt: 2 bits each, 6 bytes, little endian;
//! - its numbers: the time since the record before, the outcome with [`CODED`] if there is a code, that code, duration, size
//!   of request and answer; all but the outcome in LEB128, what can be negative in zigzag;
//! - its texts: plain ones with their length in front; hexadecimal digits as the bytes that they stand for, with how many
//!   these are in front, and a UUID so with none.

use std::collections::BTreeSet;

use super::append::LEVELS_KEPT;
use super::fields::{Numbers, TEXTS};
use super::merkle::Hash;
use super::text::SALT_LEN;
use super::{Fields, HASH_LEN, Outcome, Recorded};
use crate::db::{self, Connection, Failure, values};

/// Records of the log that are taken off it together, and that no segment goes beyond.
pub(super) const BLOCK: i64 = 1 << LEVELS_KEPT;
/// From how many bytes on a segment takes no more.
const LEN_MAX: usize = 64 * 1024;
/// From how many bytes on one that is in the database is not written again with more in it. Below that, who writes little at
/// a time would leave as many segments as records.
const GROWS_BELOW: usize = 8 * 1024;

/// The form that is written.
const FORM: u8 = 1;
const SALTED: u8 = 0;
const ERASED: u8 = 1;
const UNCHAINED: u8 = 2;
/// Nothing of the record in front is needed to read it.
const ALONE: u8 = 0x80;
/// There is a code.
const CODED: u8 = 0x80;
/// How a text is spelt.
const ABSENT: u64 = 0;
const PLAIN: u64 = 1;
const SAME: u64 = 2;
const DIGITS: u64 = 3;
/// Bits of that.
const HOW_BITS: usize = 2;
/// Bytes of all of them.
const HOW_LEN: usize = (TEXTS * HOW_BITS).div_ceil(8);
/// Fewer digits are spelt as they are.
const DIGITS_MIN: usize = 16;
/// Where the groups of a UUID's digits end.
const UUID_GROUPS: [usize; 5] = [8, 13, 18, 23, 36];
const UUID_LEN: usize = 16;

/// What holds a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seal {
    /// The salt over what can be erased, and the chain's value after it.
    Salted { salt: [u8; SALT_LEN], chain: Hash },
    /// What stands in the place of what was erased.
    Erased { commitment: Hash, chain: Hash },
    /// It is from before the chain.
    Unchained,
}

impl Seal {
    /// The chain's value after the record.
    pub(super) fn chain(&self) -> Option<Hash> {
        match self {
            Self::Salted { chain, .. } | Self::Erased { chain, .. } => Some(*chain),
            Self::Unchained => None,
        }
    }
}

/// What the next record may refer to.
#[derive(Debug, Clone, Copy)]
struct Before<'a> {
    texts: [Option<&'a str>; TEXTS],
    at_us: i64,
}

/// A segment in the making.
#[derive(Debug)]
pub(super) struct Segment<'a> {
    first: i64,
    last: i64,
    earliest_us: i64,
    latest_us: i64,
    records: Vec<u8>,
    before: Option<Before<'a>>,
    /// Whose records were added, and whom about.
    names: BTreeSet<&'a str>,
    /// The database has it, or a part of it.
    is_kept: bool,
    /// It has more than the database knows.
    is_changed: bool,
}

impl<'a> Segment<'a> {
    /// An empty one, whose first record has that number.
    pub(super) fn begin(first: i64) -> Self {
        Self {
            first,
            last: first - 1,
            earliest_us: i64::MAX,
            latest_us: i64::MIN,
            records: vec![FORM],
            before: None,
            names: BTreeSet::new(),
            is_kept: false,
            is_changed: false,
        }
    }

    /// The log's last one, if the record with that number can be added to it.
    pub(super) fn go_on(connection: &Connection, seq: i64) -> db::Result<Option<Self>> {
        // One that is too long is not fetched.
        let sql = "SELECT first_seq, last_seq, earliest_us, latest_us,
                CASE WHEN length(records) < CAST(?1 AS BIGINT) THEN records END
            FROM audit_segments ORDER BY first_seq DESC LIMIT 1";
        let below = i64::try_from(GROWS_BELOW).unwrap_or(i64::MAX);
        let found = connection.one(sql, values![below], |row| {
            Ok(Self {
                last: row.get(1)?,
                earliest_us: row.get(2)?,
                latest_us: row.get(3)?,
                records: row.get::<Option<_>>(4)?.unwrap_or_default(),
                is_kept: true,
                ..Self::begin(row.get(0)?)
            })
        })?;
        // Whoever wrote another form wrote to its end.
        Ok(found.filter(|found| {
            found.records.first() == Some(&FORM) && found.last.checked_add(1) == Some(seq)
        }))
    }

    /// It takes no more.
    pub(super) fn is_full(&self) -> bool {
        self.records.len() >= LEN_MAX
    }

    /// It is in the database, and too long to be written there again.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_changed && self.records.len() >= GROWS_BELOW
    }

    /// Adds the record whose number is the next one.
    pub(super) fn push(&mut self, seal: &Seal, row: &Fields<'a>) {
        let texts = row.texts();
        encode(
            &mut self.records,
            seal,
            &row.numbers(),
            &texts,
            self.before.as_ref(),
        );
        self.last += 1;
        self.earliest_us = self.earliest_us.min(row.at_us);
        self.latest_us = self.latest_us.max(row.at_us);
        self.names.insert(row.principal);
        self.names.extend(row.subject);
        self.before = Some(Before {
            texts,
            at_us: row.at_us,
        });
        self.is_changed = true;
    }

    /// Has the database know all of it.
    pub(super) fn keep(&mut self, connection: &Connection) -> db::Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let sql = if self.is_kept {
            "UPDATE audit_segments SET last_seq = ?2, earliest_us = ?3, latest_us = ?4, records = ?5 WHERE first_seq = ?1"
        } else {
            "INSERT INTO audit_segments (first_seq, last_seq, earliest_us, latest_us, records) VALUES (?1, ?2, ?3, ?4, ?5)"
        };
        connection.send(
            sql,
            values![
                self.first,
                self.last,
                self.earliest_us,
                self.latest_us,
                self.records
            ],
        )?;
        for name in std::mem::take(&mut self.names) {
            note_name(connection, name, self.first)?;
        }
        (self.is_kept, self.is_changed) = (true, false);
        Ok(())
    }
}

/// Has a name lead to a segment.
pub(super) fn note_name(connection: &Connection, name: &str, first: i64) -> db::Result<()> {
    connection.send(
        "INSERT INTO audit_names (name, segment) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        values![name, first],
    )
}

/// Has a name no longer lead to a segment.
pub(super) fn forget_name(connection: &Connection, name: &str, first: i64) -> db::Result<()> {
    connection.send(
        "DELETE FROM audit_names WHERE name = ?1 AND segment = ?2",
        values![name, first],
    )
}

/// The records of a segment, for those that are not added but changed.
pub(super) fn encode_all(records: &[(Seal, super::AuditRow)]) -> Vec<u8> {
    let mut bytes = vec![FORM];
    let mut before = None;
    for (seal, row) in records {
        let row = row.fields();
        let texts = row.texts();
        encode(&mut bytes, seal, &row.numbers(), &texts, before.as_ref());
        before = Some(Before {
            texts,
            at_us: row.at_us,
        });
    }
    bytes
}

fn encode(
    to: &mut Vec<u8>,
    seal: &Seal,
    numbers: &Numbers,
    texts: &[Option<&str>; TEXTS],
    before: Option<&Before<'_>>,
) {
    let alone = if before.is_some() { 0 } else { ALONE };
    match seal {
        Seal::Salted { salt, chain } => {
            to.push(SALTED | alone);
            to.extend_from_slice(salt);
            to.extend_from_slice(chain);
        }
        Seal::Erased { commitment, chain } => {
            to.push(ERASED | alone);
            to.extend_from_slice(commitment);
            to.extend_from_slice(chain);
        }
        Seal::Unchained => to.push(UNCHAINED | alone),
    }
    let how_at = to.len();
    to.extend_from_slice(&[0; HOW_LEN]);
    let since = before.map_or(0, |before| before.at_us);
    put_signed(to, numbers.at_us.wrapping_sub(since));
    let coded = if numbers.code.is_some() { CODED } else { 0 };
    to.push(numbers.outcome.number() | coded);
    if let Some(code) = numbers.code {
        put_signed(to, code);
    }
    put_count(to, numbers.duration_us);
    put_count(to, numbers.bytes_in);
    put_count(to, numbers.bytes_out);
    let earlier = before.map_or(&[None; TEXTS], |before| &before.texts);
    let mut how = 0;
    for (nth, (text, earlier)) in texts.iter().zip(earlier).enumerate() {
        let spelt = match text {
            None => ABSENT,
            text if text == earlier => SAME,
            Some(text) if put_digits(to, text.as_bytes()) => DIGITS,
            Some(text) => {
                put_count(to, text.len() as u64);
                to.extend_from_slice(text.as_bytes());
                PLAIN
            }
        };
        how |= spelt << (HOW_BITS * nth);
    }
    for (to, from) in to
        .iter_mut()
        .skip(how_at)
        .zip(&how.to_le_bytes()[..HOW_LEN])
    {
        *to = *from;
    }
}

fn put_count(to: &mut Vec<u8>, mut count: u64) {
    loop {
        let [low, ..] = count.to_le_bytes();
        count >>= 7;
        if count == 0 {
            to.push(low & 0x7f);
            break;
        }
        to.push(low | 0x80);
    }
}

fn put_signed(to: &mut Vec<u8>, number: i64) {
    put_count(to, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Spells a text as the bytes that its digits stand for; `false`, and nothing, if it is not made of them.
fn put_digits(to: &mut Vec<u8>, text: &[u8]) -> bool {
    let begin = to.len();
    let is_spelt = if text.len() == UUID_GROUPS[4] && text.get(8) == Some(&b'-') {
        to.push(0);
        let mut from = 0;
        UUID_GROUPS.into_iter().all(|end| {
            let group = text.get(from..end).unwrap_or_default();
            from = end + 1;
            let dash = text.get(end).is_none_or(|dash| *dash == b'-');
            dash && put_pairs(to, group)
        })
    } else {
        let count = u8::try_from(text.len() / 2).ok();
        match count.filter(|_| text.len() >= DIGITS_MIN && text.len().is_multiple_of(2)) {
            Some(count) => {
                to.push(count);
                put_pairs(to, text)
            }
            None => false,
        }
    };
    if !is_spelt {
        to.truncate(begin);
    }
    is_spelt
}

fn put_pairs(to: &mut Vec<u8>, digits: &[u8]) -> bool {
    let (pairs, _rest) = digits.as_chunks::<2>();
    let mut seen = 0;
    to.extend(pairs.iter().map(|[high, low]| {
        let (high, low) = (NIBBLES[usize::from(*high)], NIBBLES[usize::from(*low)]);
        seen |= high | low;
        high << 4 | low & 15
    }));
    seen < NO_NIBBLE
}

/// What a character that is no digit stands for.
const NO_NIBBLE: u8 = 0x80;
/// What each character stands for.
const NIBBLES: [u8; 256] = {
    let mut nibbles = [NO_NIBBLE; 256];
    let mut nibble = 0;
    while nibble < 16 {
        let digit = if nibble < 10 { b'0' } else { b'a' - 10 };
        nibbles[(digit + nibble) as usize] = nibble;
        nibble += 1;
    }
    nibbles
};

/// A record, where it was found.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// The number of its segment's first record.
    pub(super) segment: i64,
    pub(super) seq: i64,
    pub(super) seal: Seal,
    pub(super) row: Fields<'a>,
}

impl Found<'_> {
    pub(super) fn to_recorded(&self) -> Recorded {
        Recorded {
            seq: self.seq,
            row: self.row.to_row(),
        }
    }
}

/// Reads the records of a segment, one after the other.
///
/// Most of a record is the same as of the one before it: what is not stays where it is.
pub(super) struct Records<'a> {
    segment: i64,
    /// The number of the next, and that of the last.
    seq: i64,
    last: i64,
    rest: &'a [u8],
    /// Of the last that was read.
    at_us: i64,
    texts: [Text<'a>; TEXTS],
    /// Those that were spelt as what their digits stand for.
    spelt: [String; TEXTS],
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text<'a> {
    Absent,
    Plain(&'a str),
    Spelt,
}

impl<'a> Records<'a> {
    /// Of the segment whose first and last record have these numbers.
    pub(super) fn of(first: i64, last: i64, records: &'a [u8]) -> db::Result<Self> {
        match records.split_first() {
            Some((&FORM, rest)) => Ok(Self {
                segment: first,
                seq: first,
                last,
                rest,
                at_us: 0,
                texts: [Text::Absent; TEXTS],
                spelt: Default::default(),
            }),
            _ => Err(Failure::Segment(first)),
        }
    }

    /// The next one.
    pub(super) fn next(&mut self) -> db::Result<Option<Found<'_>>> {
        let broken = Failure::Segment(self.segment);
        if self.rest.is_empty() != (self.seq > self.last) {
            return Err(broken);
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let Some((seal, numbers)) = self.decode() else {
            return Err(broken);
        };
        let seq = self.seq;
        self.seq += 1;
        let mut texts = self.texts.iter().zip(&self.spelt);
        let row = Fields::of(&numbers, || match texts.next()? {
            (Text::Absent, _) => None,
            (Text::Plain(text), _) => Some(*text),
            (Text::Spelt, text) => Some(text),
        });
        Ok(Some(Found {
            segment: self.segment,
            seq,
            seal,
            row,
        }))
    }

    fn decode(&mut self) -> Option<(Seal, Numbers)> {
        let mut rest = self.rest;
        let [kind] = taken(&mut rest)?;
        let seal = match kind & !ALONE {
            SALTED => Seal::Salted {
                salt: taken(&mut rest)?,
                chain: taken::<HASH_LEN>(&mut rest)?,
            },
            ERASED => Seal::Erased {
                commitment: taken(&mut rest)?,
                chain: taken(&mut rest)?,
            },
            UNCHAINED => Seal::Unchained,
            _ => return None,
        };
        if kind & ALONE != 0 {
            (self.at_us, self.texts) = (0, [Text::Absent; TEXTS]);
        }
        let mut how = [0; size_of::<u64>()];
        how.iter_mut()
            .zip(taken::<HOW_LEN>(&mut rest)?)
            .for_each(|(to, from)| *to = from);
        let how = u64::from_le_bytes(how);
        self.at_us = taken_signed(&mut rest)?.wrapping_add(self.at_us);
        let [outcome] = taken(&mut rest)?;
        let code = match outcome & CODED {
            0 => None,
            _ => Some(taken_signed(&mut rest)?),
        };
        let numbers = Numbers {
            at_us: self.at_us,
            outcome: Outcome::of_number(outcome & !CODED)?,
            code,
            duration_us: taken_count(&mut rest)?,
            bytes_in: taken_count(&mut rest)?,
            bytes_out: taken_count(&mut rest)?,
        };
        let texts = self.texts.iter_mut().zip(&mut self.spelt);
        for (nth, (text, spelt)) in texts.enumerate() {
            *text = match how >> (HOW_BITS * nth) & (DIGITS | PLAIN | SAME) {
                ABSENT => Text::Absent,
                SAME if *text == Text::Absent => return None,
                SAME => *text,
                PLAIN => {
                    let length = usize::try_from(taken_count(&mut rest)?).ok()?;
                    Text::Plain(str::from_utf8(rest.split_off(..length)?).ok()?)
                }
                _ => {
                    take_digits(&mut rest, spelt)?;
                    Text::Spelt
                }
            };
        }
        self.rest = rest;
        Some((seal, numbers))
    }
}

fn taken<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

fn taken_count(from: &mut &[u8]) -> Option<u64> {
    let mut count = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let [byte] = taken(from)?;
        count |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(count);
        }
    }
    None
}

fn taken_signed(from: &mut &[u8]) -> Option<i64> {
    let number = taken_count(from)?;
    Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
}

fn take_digits(from: &mut &[u8], to: &mut String) -> Option<()> {
    const DIGIT: &[u8; 16] = b"0123456789abcdef";
    let [count] = taken(from)?;
    let (length, is_uuid) = match usize::from(count) {
        0 => (UUID_LEN, true),
        count => (count, false),
    };
    let mut digits = std::mem::take(to).into_bytes();
    digits.clear();
    for byte in from.split_off(..length)? {
        if is_uuid && UUID_GROUPS.contains(&digits.len()) {
            digits.push(b'-');
        }
        let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
        digits.extend_from_slice(&[DIGIT[high], DIGIT[low]]);
    }
    *to = String::from_utf8(digits).ok()?;
    Some(())
}

#[cfg(test)]
mod tests;
