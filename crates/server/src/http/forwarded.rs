//! What proxies say about where a request comes from, as far as they are believed.
//!
//! Pure. A header is read from its right end, where the last proxy wrote, and only as far to the left as each entry is a
//! trusted proxy's own address: whoever is not trusted may have written what stands further left. What cannot be read
//! ends the walk, too. Then the last address that was vouched for stands for the client, so that nobody who hides behind
//! a proxy is counted as nobody.
//!
//! Sources: RFC 7239 sections 4 to 6, RFC 9110 section 5.6, docs/decisions/0034.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ::http::HeaderMap;

use crate::config::{ForwardedHeader, Proxies};

/// Entries that are looked at.
const ENTRIES_MAX: usize = 32;
/// The longest entry that is looked at, in bytes.
const ENTRY_MAX: usize = 1024;
/// White space in a list (RFC 9110 section 5.6.3).
const BLANK: [char; 2] = [' ', '\t'];

/// Who sent a request that came from the proxy at `from`: the first address on the way back that is no trusted proxy's,
/// or else the farthest one that is. Never a loopback address, unless that is where the proxy itself is.
pub(super) fn client(from: IpAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let name = match proxies.header {
        ForwardedHeader::XForwardedFor => "x-forwarded-for",
        ForwardedHeader::Forwarded => "forwarded",
    };
    let lines = headers.get_all(name).iter().rev();
    let entries = lines.flat_map(|line| Backwards {
        line: Some(line.as_bytes()),
        header: proxies.header,
    });
    let mut farthest = from;
    for entry in entries.take(ENTRIES_MAX) {
        let Some(address) = entry.and_then(|entry| read(entry, proxies.header)) else {
            break;
        };
        let is_trusted = proxies.trust(address);
        // Each machine has that address, and which one is meant here nobody can say.
        if !address.is_loopback() {
            farthest = address;
        }
        if !is_trusted {
            break;
        }
    }
    farthest
}

/// The entries of one line, from its end; `None` is one that is too long, and the last.
struct Backwards<'a> {
    line: Option<&'a [u8]>,
    header: ForwardedHeader,
}

impl<'a> Iterator for Backwards<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.line.take()?;
        let start = line.len().saturating_sub(ENTRY_MAX);
        let mut is_quoted = false;
        for at in (start..line.len()).rev() {
            match (line[at], self.header) {
                // What stands to the left cannot change what this is: at its right end an entry is outside of quotes.
                (b'"', ForwardedHeader::Forwarded) if !is_escaped(line, at) => {
                    is_quoted = !is_quoted;
                }
                (b',', _) if !is_quoted => {
                    self.line = Some(&line[..at]);
                    return Some(Some(&line[at + 1..]));
                }
                _ => {}
            }
        }
        Some((start == 0).then_some(line))
    }
}

/// Whether an odd number of backslashes stands before it.
fn is_escaped(line: &[u8], at: usize) -> bool {
    let before = line[..at].iter().rev();
    before.take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The address in an entry, if one can be read out of it.
fn read(entry: &[u8], header: ForwardedHeader) -> Option<IpAddr> {
    let entry = std::str::from_utf8(entry).ok()?.trim_matches(BLANK);
    let address = match header {
        ForwardedHeader::XForwardedFor => match entry.parse::<Ipv6Addr>() {
            Ok(address) => address.into(),
            Err(_) => node(entry)?,
        },
        ForwardedHeader::Forwarded => node(&value_of_for(entry)?)?,
    };
    Some(address.to_canonical()).filter(|address| !address.is_unspecified())
}

/// `192.0.2.1`, `192.0.2.1:80`, `[2001:db8::1]` or `[2001:db8::1]:80` (RFC 7239 section 6); not `unknown`, nor a name that
/// hides an address.
fn node(text: &str) -> Option<IpAddr> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return match text.split_once(':') {
            Some((address, port)) if is_port(port) => {
                Some(address.parse::<Ipv4Addr>().ok()?.into())
            }
            Some(_) => None,
            None => Some(text.parse::<Ipv4Addr>().ok()?.into()),
        };
    };
    let (address, rest) = bracketed.split_once(']')?;
    let is_whole = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    let address = address.parse::<Ipv6Addr>().ok()?;
    is_whole.then_some(address.into())
}

/// A number, or a name that hides one.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// What the parameter `for` of an entry is (RFC 7239 section 4); it must be there once.
fn value_of_for(entry: &str) -> Option<String> {
    let mut found = None;
    let mut rest = entry;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind)?;
        let behind = behind.trim_start_matches(BLANK);
        let is_for = name.eq_ignore_ascii_case("for");
        let is_name = !name.is_empty() && name.bytes().all(is_token);
        if !is_name || (is_for && found.is_some()) {
            return None;
        }
        if is_for {
            found = Some(value);
        }
        rest = match behind.strip_prefix(';') {
            Some(next) => next.trim_start_matches(BLANK),
            None if behind.is_empty() => behind,
            None => return None,
        };
    }
    found
}

/// A token or a quoted string, without its quotes, and what stands behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.bytes().position(|byte| !is_token(byte));
        let (token, behind) = text.split_at(end.unwrap_or(text.len()));
        return (!token.is_empty()).then(|| (token.to_owned(), behind));
    };
    let mut value = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\\' => value.push(rest.next()?),
            other => value.push(other),
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
