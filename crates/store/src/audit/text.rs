//! A record as the bytes that are hashed: canonical JSON (RFC 8785), written by hand because every call pays for it.
//!
//! What a person may have erased is not in these bytes; a salted hash over it is, so that the chain holds without it.

use std::fmt::Write as _;

use super::merkle::{Hash, sha256};
use super::{Fields, HASH_LEN};

/// Random bytes in front of what is committed to: without them a name could be guessed from its hash.
pub const SALT_LEN: usize = 16;

/// What is hashed in front of a link of the chain; leaves and nodes of the tree have 0 and 1.
const LINK: u8 = 2;

/// What of a row can be erased, as canonical JSON.
#[must_use]
pub fn personal(row: &Fields<'_>) -> String {
    let mut text = Members::new(256);
    text.text_if("actor", row.actor);
    text.text_if("address", row.address);
    text.text_if("arguments", row.arguments);
    text.text_if("arguments_digest", row.arguments_digest);
    text.text("client", row.client);
    text.text("credential", row.credential);
    text.text("principal", row.principal);
    text.text_if("reason", row.reason);
    text.text_if("subject", row.subject);
    text.end()
}

/// The commitment to what can be erased: SHA-256 over the salt and [`personal`].
#[must_use]
pub fn commitment(salt: &[u8], personal: &str) -> Hash {
    sha256(&[salt, personal.as_bytes()])
}

/// What cannot be erased, as canonical JSON.
#[must_use]
pub fn record(seq: i64, row: &Fields<'_>, commitment: &Hash) -> String {
    let mut text = Members::new(640);
    text.number("at_us", row.at_us);
    text.number("bytes_in", row.bytes_in);
    text.number("bytes_out", row.bytes_out);
    text.text("call_id", row.call_id);
    text.number_if("code", row.code);
    text.text_if("consent", row.consent);
    text.text("decision", row.decision);
    text.text_if("definition", row.definition);
    text.number("duration_us", row.duration_us);
    text.text_if("entry", row.entry);
    text.text("method", row.method);
    text.text("outcome", row.outcome.as_str());
    text.text("personal", &hex(commitment));
    text.text("revision", row.revision);
    text.text_if("rule", row.rule);
    text.text_if("screened", row.screened);
    text.number("seq", seq);
    text.text_if("server", row.server);
    text.text_if("trace_id", row.trace_id);
    text.text("transport", row.transport);
    text.text_if("upstream", row.upstream);
    text.end()
}

/// The chain's value after the record whose leaf this is.
#[must_use]
pub fn link(before: &Hash, leaf: &Hash) -> Hash {
    sha256(&[&[LINK], before, leaf])
}

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0'));
    let mut text = String::with_capacity(2 * HASH_LEN);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// A JSON object in the making; its members come in the order of their names.
struct Members(String);

impl Members {
    fn new(capacity: usize) -> Self {
        Self(String::with_capacity(capacity))
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        string(&mut self.0, text);
    }

    fn text_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn number(&mut self, name: &str, number: impl std::fmt::Display) {
        self.name(name);
        write!(self.0, "{number}").expect("writing to a String cannot fail");
    }

    fn number_if(&mut self, name: &str, number: Option<impl std::fmt::Display>) {
        if let Some(number) = number {
            self.number(name, number);
        }
    }

    fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

/// Whether nothing in it needs an escape: nearly always, so all of it is looked at in one go.
fn is_plain(text: &str) -> bool {
    let needs_escape = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    !text
        .bytes()
        .fold(false, |found, byte| found | needs_escape(byte))
}

/// A string as RFC 8785, section 3.2.2.2, spells it.
fn string(out: &mut String, text: &str) {
    out.push('"');
    if is_plain(text) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut plain_from = 0;
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
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        if escape.is_empty() {
            write!(out, "\\u{byte:04x}").expect("writing to a String cannot fail");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(text.get(plain_from..).unwrap_or_default());
    out.push('"');
}
