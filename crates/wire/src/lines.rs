//! Newline-delimited messages out of a stream of bytes (the stdio transport), with a bound on a line.

use bytes::{Buf as _, Bytes, BytesMut};

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Lines {
    buffer: BytesMut,
    /// Up to here the buffer is known to hold no line feed.
    searched: usize,
    max: usize,
    /// Inside a line that was too long: skip up to its end.
    skipping: bool,
}

/// A line over the bound. It was dropped whole; the lines after it are fine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {max} bytes")]
pub struct LineTooLong {
    /// The bound, in bytes.
    pub max: usize,
}

impl Lines {
    /// Lines of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            max,
            skipping: false,
        }
    }

    /// Where to read more bytes into.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.buffer.reserve(8 * 1024);
        &mut self.buffer
    }

    /// The next whole line without its end (LF or CRLF); empty lines are passed over. `None`: read more.
    pub fn next_line(&mut self) -> Option<Result<Bytes, LineTooLong>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr::memchr(b'\n', unsearched) else {
                self.searched = self.buffer.len();
                if self.skipping {
                    self.buffer.clear();
                    self.searched = 0;
                } else if self.buffer.len() > self.max {
                    self.buffer.clear();
                    (self.searched, self.skipping) = (0, true);
                    return Some(Err(LineTooLong { max: self.max }));
                }
                return None;
            };
            let end = self.searched + found;
            let mut line = self.buffer.split_to(end);
            self.buffer.advance(1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.max {
                return Some(Err(LineTooLong { max: self.max }));
            }
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Some(Ok(line.freeze()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
