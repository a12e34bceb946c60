//! A record as the bytes that are hashed: canonical JSON (RFC 8785), written by hand because every call pays for it.
//!
//! What a person may have erased is not in these bytes; a salted hash over it is, so that the chain holds without it.

use std::io::Write as _;

use super::Fields;
use super::merkle::{self, Hash, sha256};

/// Random bytes in front of what is committed to: without them a name could be guessed from its hash.
pub const SALT_LEN: usize = 16;

/// What is hashed in front of a link of the chain; leaves and nodes of the tree have 0 and 1.
const LINK: u8 = 2;
/// Why `write!` to bytes in memory is not looked at.
const IN_MEMORY: &str = "writing to a Vec cannot fail";
/// Room for either text of nearly all rows.
const TEXT_LEN: usize = 1_024;

/// Bytes that are looked at in one go.
const PIECE: usize = 16;

/// What stands in front of a member's value.
macro_rules! member {
    ($name:literal) => {
        concat!(",\"", $name, "\":")
    };
}

/// What of a row can be erased, as canonical JSON.
#[must_use]
pub fn personal(row: &Fields<'_>) -> String {
    let mut text = Vec::with_capacity(TEXT_LEN);
    write_personal(&mut text, row);
    into_string(text)
}

fn write_personal(out: &mut Vec<u8>, row: &Fields<'_>) {
    let mut text = Members::begin(out);
    text.text_if(member!("actor"), row.actor);
    text.text_if(member!("address"), row.address);
    text.text_if(member!("arguments"), row.arguments);
    text.text_if(member!("arguments_digest"), row.arguments_digest);
    text.text(member!("client"), row.client);
    text.text(member!("credential"), row.credential);
    text.text(member!("principal"), row.principal);
    text.text_if(member!("reason"), row.reason);
    text.text_if(member!("subject"), row.subject);
    text.end();
}

/// The commitment to what can be erased: SHA-256 over the salt and [`personal`].
#[must_use]
pub fn commitment(salt: &[u8], personal: &str) -> Hash {
    sha256(&[salt, personal.as_bytes()])
}

/// What cannot be erased, as canonical JSON.
#[must_use]
pub fn record(seq: i64, row: &Fields<'_>, commitment: &Hash) -> String {
    let mut text = Vec::with_capacity(TEXT_LEN);
    write_record(&mut text, seq, row, commitment);
    into_string(text)
}

fn write_record(out: &mut Vec<u8>, seq: i64, row: &Fields<'_>, commitment: &Hash) {
    let mut text = Members::begin(out);
    text.number(member!("at_us"), row.at_us);
    text.count(member!("bytes_in"), row.bytes_in);
    text.count(member!("bytes_out"), row.bytes_out);
    text.text(member!("call_id"), row.call_id);
    text.number_if(member!("code"), row.code);
    text.text_if(member!("consent"), row.consent);
    text.text(member!("decision"), row.decision);
    text.text_if(member!("definition"), row.definition);
    text.count(member!("duration_us"), row.duration_us);
    text.text_if(member!("entry"), row.entry);
    text.text(member!("method"), row.method);
    text.text(member!("outcome"), row.outcome.as_str());
    text.digits(member!("personal"), commitment);
    text.text(member!("revision"), row.revision);
    text.text_if(member!("rule"), row.rule);
    text.text_if(member!("screened"), row.screened);
    text.number(member!("seq"), seq);
    text.text_if(member!("server"), row.server);
    text.text_if(member!("trace_id"), row.trace_id);
    text.text(member!("transport"), row.transport);
    text.text_if(member!("upstream"), row.upstream);
    text.end();
}

/// The chain's value after the record whose leaf this is.
#[must_use]
pub fn link(before: &Hash, leaf: &Hash) -> Hash {
    merkle::over_two(LINK, before, leaf)
}

/// The hashes of rows, one after the other, each text in the place of the one before it.
#[derive(Debug)]
pub(super) struct Hasher(Vec<u8>);

impl Hasher {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(TEXT_LEN))
    }

    /// The same as [`commitment`] to its [`personal`].
    pub(super) fn commitment(&mut self, salt: &[u8; SALT_LEN], row: &Fields<'_>) -> Hash {
        self.0.clear();
        self.0.extend_from_slice(salt);
        write_personal(&mut self.0, row);
        sha256(&[&self.0])
    }

    /// The same as [`leaf`](merkle::leaf) of its [`record`].
    pub(super) fn leaf(&mut self, seq: i64, row: &Fields<'_>, commitment: &Hash) -> Hash {
        self.0.clear();
        self.0.push(merkle::LEAF);
        write_record(&mut self.0, seq, row, commitment);
        sha256(&[&self.0])
    }
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend_from_slice(&digits(*byte));
    }
    into_string(text)
}

fn digits(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

fn into_string(text: Vec<u8>) -> String {
    String::from_utf8(text).expect("it is made of texts")
}

/// A JSON object in the making; its members come in the order of their names.
struct Members<'a> {
    out: &'a mut Vec<u8>,
    begin: usize,
}

impl<'a> Members<'a> {
    fn begin(out: &'a mut Vec<u8>) -> Self {
        let begin = out.len();
        Self { out, begin }
    }

    fn text(&mut self, member: &str, text: &str) {
        self.out.extend_from_slice(member.as_bytes());
        string(self.out, text);
    }

    fn text_if(&mut self, member: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(member, text);
        }
    }

    fn digits(&mut self, member: &str, hash: &Hash) {
        self.out.extend_from_slice(member.as_bytes());
        self.out.push(b'"');
        self.out.extend_from_slice(hash.map(digits).as_flattened());
        self.out.push(b'"');
    }

    fn count(&mut self, member: &str, count: u64) {
        self.out.extend_from_slice(member.as_bytes());
        // Of 2^64 - 1.
        let mut digits = [b'0'; 20];
        let (mut rest, mut from) = (count, digits.len() - 1);
        for (at, digit) in digits.iter_mut().enumerate().rev() {
            *digit += u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            from = at;
            if rest == 0 {
                break;
            }
        }
        self.out
            .extend_from_slice(digits.get(from..).unwrap_or_default());
    }

    fn number(&mut self, member: &str, number: i64) {
        match u64::try_from(number) {
            Ok(count) => self.count(member, count),
            Err(_negative) => write!(self.out, "{member}{number}").expect(IN_MEMORY),
        }
    }

    fn number_if(&mut self, member: &str, number: Option<i64>) {
        if let Some(number) = number {
            self.number(member, number);
        }
    }

    fn end(self) {
        // The first member has a comma in front of it as well.
        match self.out.get_mut(self.begin) {
            Some(first) => *first = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
    }
}

/// Whether nothing in it needs an escape: nearly always, so it is looked at in pieces that a processor takes at once.
fn is_plain(text: &str) -> bool {
    let (pieces, rest) = text.as_bytes().as_chunks();
    let mut last = [b' '; PIECE];
    if let Some(last) = last.get_mut(..rest.len()) {
        last.copy_from_slice(rest);
    }
    pieces.iter().all(is_plain_piece) && is_plain_piece(&last)
}

#[inline]
fn is_plain_piece(piece: &[u8; PIECE]) -> bool {
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    !piece
        .iter()
        .fold(false, |found, byte| found | needs_escape(*byte))
}

/// A string as RFC 8785, section 3.2.2.2, spells it.
fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if is_plain(text) {
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    let (bytes, mut plain_from) = (text.as_bytes(), 0);
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            b'\t' => "\\t",
            b'\n' => "\\n",
            0x0c => "\\f",
            b'\r' => "\\r",
            0..0x20 => "",
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect(IN_MEMORY);
        } else {
            out.extend_from_slice(escape.as_bytes());
        }
    }
    out.extend_from_slice(bytes.get(plain_from..).unwrap_or_default());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `serde_json` escapes as RFC 8785 says, wherever in a text what is escaped stands.
    #[test]
    fn a_string_is_spelt_as_others_spell_it() {
        for length in 0..3 * PIECE {
            for at in 0..=length {
                for special in ["", "\"", "\\", "\0", "\u{1f}", " ", "\u{7f}", "é", "\n"] {
                    let mut text = "a".repeat(length);
                    text.insert_str(at, special);
                    let mut spelt = Vec::new();
                    string(&mut spelt, &text);
                    assert_eq!(spelt, serde_json::to_vec(&text).unwrap(), "{text:?}");
                }
            }
        }
    }
}
