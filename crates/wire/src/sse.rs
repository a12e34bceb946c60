//! Server-sent events: framing in both directions (WHATWG HTML, "Server-sent events").

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

/// A comment line: keeps a stream alive through proxies.
pub const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// One event that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` if none was given.
    pub kind: String,
    /// Its data, lines joined by LF.
    pub data: Bytes,
    /// The last id the stream gave.
    pub id: Option<String>,
}

/// An event over the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {max} bytes")]
pub struct EventTooLarge {
    /// The bound, in bytes.
    pub max: usize,
}

/// Writes one message as an event of type `message`.
#[must_use]
pub fn message(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 24);
    put_data(&mut out, data);
    out.freeze()
}

/// Writes one message with the id by which a reader who lost the stream has the rest.
pub fn put_message(out: &mut BytesMut, id: &str, data: &[u8]) {
    out.reserve(id.len() + data.len() + 32);
    put_id(out, id);
    put_data(out, data);
}

/// Writes an event that says nothing but its id, and how long to wait before asking for the rest.
pub fn put_prime(out: &mut BytesMut, id: &str, retry: Duration) {
    put_id(out, id);
    let retry = format!("retry: {}\ndata:\n\n", retry.as_millis());
    out.put_slice(retry.as_bytes());
}

/// The last word on a stream that goes on later: how long to wait before asking for the rest.
#[must_use]
pub fn retry(after: Duration) -> Bytes {
    format!("retry: {}\n\n", after.as_millis()).into()
}

fn put_id(out: &mut BytesMut, id: &str) {
    out.put_slice(b"id: ");
    out.put_slice(id.as_bytes());
    out.put_u8(b'\n');
}

fn put_data(out: &mut BytesMut, data: &[u8]) {
    out.put_slice(b"event: message\n");
    // A line break inside the data would end it: each line is a field of its own, the reader joins them again.
    for line in data.split(|byte| *byte == b'\n' || *byte == b'\r') {
        out.put_slice(b"data: ");
        out.put_slice(line);
        out.put_u8(b'\n');
    }
    out.put_u8(b'\n');
}

/// Reads events out of a stream of bytes: LF, CR and CRLF, a byte order mark, comments, fields of several lines.
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    /// Up to here the buffer is known to hold no line end.
    searched: usize,
    data: BytesMut,
    has_data: bool,
    kind: String,
    id: Option<String>,
    retry_ms: Option<u64>,
    max: usize,
    at_start: bool,
    after_cr: bool,
}

impl Decoder {
    /// Events of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            data: BytesMut::new(),
            has_data: false,
            kind: String::new(),
            id: None,
            retry_ms: None,
            max,
            at_start: true,
            after_cr: false,
        }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole event; `None`: push more.
    ///
    /// # Errors
    /// If an event or a line grows over the bound. The stream cannot be read on.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(line) = self.next_line() {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            self.field(&line);
            if self.data.len() > self.max {
                return Err(EventTooLarge { max: self.max });
            }
        }
        if self.buffer.len() > self.max {
            Err(EventTooLarge { max: self.max })
        } else {
            Ok(None)
        }
    }

    /// The id that a reader who lost the stream names to have the rest; events without data count.
    #[must_use]
    pub fn last_id(&self) -> Option<&str> {
        self.id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long such a reader is to wait first, in milliseconds, if the stream said so.
    #[must_use]
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    fn next_line(&mut self) -> Option<BytesMut> {
        if self.after_cr && !self.buffer.is_empty() {
            // CRLF is one line end, also when it came in two reads.
            if self.buffer.first() == Some(&b'\n') {
                bytes::Buf::advance(&mut self.buffer, 1);
            }
            self.after_cr = false;
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(found) = memchr::memchr2(b'\n', b'\r', unsearched) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = std::mem::take(&mut self.searched) + found;
        let mut line = self.buffer.split_to(end);
        self.after_cr = self.buffer.first() == Some(&b'\r');
        bytes::Buf::advance(&mut self.buffer, 1);
        if std::mem::take(&mut self.at_start) && line.starts_with(b"\xef\xbb\xbf") {
            bytes::Buf::advance(&mut line, 3);
        }
        Some(line)
    }

    fn field(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(0) => return,
            Some(at) => {
                let value = line.get(at + 1..).unwrap_or_default();
                (
                    line.get(..at).unwrap_or_default(),
                    value.strip_prefix(b" ").unwrap_or(value),
                )
            }
            None => (line, &[][..]),
        };
        match name {
            b"data" => {
                if self.has_data {
                    self.data.put_u8(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => {
                self.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" => {
                let digits = str::from_utf8(value).ok();
                self.retry_ms = digits
                    .and_then(|digits| digits.parse().ok())
                    .or(self.retry_ms);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let data = self.data.split().freeze();
        if !std::mem::take(&mut self.has_data) {
            return None;
        }
        let kind = if kind.is_empty() {
            "message".to_owned()
        } else {
            kind
        };
        Some(Event {
            kind,
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
