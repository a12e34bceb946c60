//! Trace context: to which trace a message belongs, and what travels with it.
//!
//! It stands in HTTP headers and in `_meta`, under the same three names (MCP 2026-07-28, "OpenTelemetry trace context";
//! SEP-414). Strict and bounded: a value that is not as its standard has it is not there, and no reason to refuse a
//! call. Sources: W3C Trace Context level 2, W3C Baggage. What is done with a trace is `observe`'s.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::{Request, json};

/// The header, and the key in `_meta`, that names the trace and the span that is above.
pub const TRACEPARENT: &str = "traceparent";
/// The one for what tracing systems tell each other.
pub const TRACESTATE: &str = "tracestate";
/// The one for what applications tell each other.
pub const BAGGAGE: &str = "baggage";
/// All three.
pub const NAMES: [&str; 3] = [TRACEPARENT, TRACESTATE, BAGGAGE];

/// Bytes of a `tracestate`: as many as everybody has to pass on, and no more.
const STATE_MAX: usize = 512;
/// Members of a `tracestate`.
const STATE_MEMBERS_MAX: usize = 32;
/// Bytes of a `baggage`.
const BAGGAGE_MAX: usize = 8192;
/// Members of a `baggage`.
const BAGGAGE_MEMBERS_MAX: usize = 64;
/// Bytes of a key in a `tracestate`, and of a value.
const STATE_PART_MAX: usize = 256;

/// Bytes of a `traceparent` as a JSON string.
const SPELT: usize = 57;

/// Space that may stand around members.
const OWS: [char; 2] = [' ', '\t'];

/// Whether the trace is kept by who is above.
const SAMPLED: u8 = 0b01;
/// Whether the last seven bytes of the trace's id are random.
const RANDOM: u8 = 0b10;

/// The id of a trace; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span; never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl TraceId {
    /// `None` for zeros, which mean "none".
    #[must_use]
    pub fn new(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// As it is sent in protobuf.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The 56 bits that sampling goes by (level 2, "Random trace-id flag").
    #[must_use]
    pub fn randomness(self) -> u64 {
        let [.., a, b, c, d, e, f, g] = self.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g])
    }
}

impl SpanId {
    /// `None` for zeros, which mean "none".
    #[must_use]
    pub fn new(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// As it is sent in protobuf.
    #[must_use]
    pub fn bytes(self) -> [u8; 8] {
        self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        spell(&mut text, &self.0);
        write_ascii(f, &text)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 16];
        spell(&mut text, &self.0);
        write_ascii(f, &text)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A `traceparent`: the trace, the span that is above, and what was decided there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// The trace.
    pub trace: TraceId,
    /// The span above.
    pub span: SpanId,
    /// Whether the trace is kept there.
    pub is_sampled: bool,
    /// Whether the last seven bytes of the trace's id are random.
    pub is_random: bool,
}

impl Parent {
    /// Reads a `traceparent`: version 00 as it is, a later one as far as it is the same.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        let (head, rest) = text.split_at_checked(55)?;
        let &[v0, v1, b'-', ref trace @ .., b'-', f0, f1] = head else {
            return None;
        };
        let (trace, span) = trace.split_at_checked(32)?;
        let [b'-', span @ ..] = span else {
            return None;
        };
        let version = hex_byte(v0, v1)?;
        // 255 is not allowed; 0 ends here, and a later one goes on behind a hyphen.
        let is_whole = rest.is_empty() || (version > 0 && rest.first() == Some(&b'-'));
        if version == u8::MAX || !is_whole {
            return None;
        }
        let flags = hex_byte(f0, f1)?;
        Some(Self {
            trace: TraceId::new(hex(trace)?)?,
            span: SpanId::new(hex(span)?)?,
            is_sampled: flags & SAMPLED != 0,
            is_random: flags & RANDOM != 0,
        })
    }
}

impl Parent {
    /// As a JSON string: within the quotes it is what stands in a header.
    fn spelt(self) -> [u8; SPELT] {
        let flags = (u8::from(self.is_sampled) * SAMPLED) | (u8::from(self.is_random) * RANDOM);
        let mut text = *b"\"00-00000000000000000000000000000000-0000000000000000-00\"";
        if let [_, _, _, _, of_trace @ ..] = &mut text
            && let (of_trace, [_, of_span @ ..]) = of_trace.split_at_mut(32)
            && let (of_span, [_, of_flags @ ..]) = of_span.split_at_mut(16)
        {
            spell(of_trace, &self.trace.0);
            spell(of_span, &self.span.0);
            spell(of_flags, &[flags]);
        }
        text
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Value::Parent(self.spelt()).text())
    }
}

/// Spells bytes as digits, two each. Every call has one, and formatting them as numbers takes ten times as long.
fn spell(text: &mut [u8], bytes: &[u8]) {
    let (pairs, _rest) = text.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        let digit = |nibble: u8| match nibble {
            0..10 => b'0' + nibble,
            _ => b'a' - 10 + nibble,
        };
        *pair = [digit(byte >> 4), digit(byte & 0xf)];
    }
}

fn write_ascii(f: &mut fmt::Formatter<'_>, text: &[u8]) -> fmt::Result {
    f.write_str(str::from_utf8(text).map_err(|_not_ascii| fmt::Error)?)
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = hex_byte(high, low)?;
    }
    Some(bytes)
}

/// Digits in lower case alone, as the standard has them.
fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    Some((digit(high)? << 4) | digit(low)?)
}

/// What a message says of traces, as far as it is well said.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Context {
    parent: Option<Parent>,
    state: Option<String>,
    baggage: Option<String>,
}

impl Context {
    /// Reads what `get` has under each of the [`NAMES`]. A `tracestate` says nothing without a `traceparent`.
    #[must_use]
    pub fn read<'a>(get: impl Fn(&'static str) -> Option<Cow<'a, str>>) -> Self {
        let parent = get(TRACEPARENT).and_then(|text| Parent::parse(text.trim_matches(OWS)));
        let state = parent.and_then(|_| get(TRACESTATE));
        Self {
            parent,
            state: state.and_then(fit(is_state)),
            baggage: get(BAGGAGE).and_then(fit(is_baggage)),
        }
    }

    /// What a request has in its `_meta`.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        // Most have nothing, and a look for two words is cheaper than reading `_meta`. A key that is spelled with
        // escapes is not found, and not passed on either.
        static PARENT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(TRACEPARENT));
        static OTHERS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(BAGGAGE));
        let says = |word: &Finder<'_>| word.find(request.bytes()).is_some();
        if !says(&PARENT) && !says(&OTHERS) {
            return Self::default();
        }
        let params = request.read_params().ok();
        let meta = params.and_then(|params| params.meta().ok());
        meta.map_or_else(Self::default, |meta| Self::read(|name| meta.text(name)))
    }

    /// The same trace below `parent`.
    #[must_use]
    pub fn below(self, parent: Parent) -> Self {
        Self {
            parent: Some(parent),
            ..self
        }
    }

    /// Without what applications tell each other.
    #[must_use]
    pub fn without_baggage(self) -> Self {
        Self {
            baggage: None,
            ..self
        }
    }

    /// Only the trace and the span.
    #[must_use]
    pub fn bare(parent: Parent) -> Self {
        Self::default().below(parent)
    }

    /// This where it says something, `other` where it does not. State and parent are of one.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let (parent, state) = match self.parent {
            Some(_) => (self.parent, self.state),
            None => (other.parent, other.state),
        };
        Self {
            parent,
            state,
            baggage: self.baggage.or(other.baggage),
        }
    }

    /// The trace and the span above.
    #[must_use]
    pub fn parent(&self) -> Option<Parent> {
        self.parent
    }

    /// What tracing systems tell each other.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parent.is_none() && self.baggage.is_none()
    }

    /// Names and values, for headers and `_meta`.
    pub fn members(&self) -> impl Iterator<Item = (&'static str, Value<'_>)> {
        self.each()
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
    }

    /// For each name what is said.
    pub(crate) fn each(&self) -> [(&'static str, Option<Value<'_>>); 3] {
        [
            (
                TRACEPARENT,
                self.parent.map(|parent| Value::Parent(parent.spelt())),
            ),
            (TRACESTATE, self.state.as_deref().map(Value::Said)),
            (BAGGAGE, self.baggage.as_deref().map(Value::Said)),
        ]
    }
}

/// What is said under one of the [`NAMES`]: printable ASCII. Every call says who is above, without memory of its own for it.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A `traceparent`, within its quotes.
    Parent([u8; SPELT]),
    /// Another's text.
    Said(&'a str),
}

impl Value<'_> {
    /// As it stands in a header.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Parent(_) => self.spelt().trim_matches('"'),
            Self::Said(text) => text,
        }
    }

    /// As a JSON string.
    #[must_use]
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            Self::Parent(_) => self.spelt().into(),
            Self::Said(text) => json::string(text).into(),
        }
    }

    fn spelt(&self) -> &str {
        match self {
            // It is made of ASCII.
            Self::Parent(text) => str::from_utf8(text).unwrap_or_default(),
            Self::Said(text) => text,
        }
    }
}

// What others tell each other is theirs, and no log's.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("parent", &self.parent)
            .finish_non_exhaustive()
    }
}

/// The text itself if it is well formed and says something.
fn fit(is_fit: fn(&str) -> bool) -> impl Fn(Cow<'_, str>) -> Option<String> {
    move |text| {
        let text = text.trim_matches(OWS);
        (!text.is_empty() && is_fit(text)).then(|| text.to_owned())
    }
}

/// W3C Trace Context, "tracestate Header Field Values".
fn is_state(text: &str) -> bool {
    if text.len() > STATE_MAX {
        return false;
    }
    let mut keys: Vec<&str> = Vec::new();
    for member in text.split(',').map(|member| member.trim_matches(OWS)) {
        // Empty ones are allowed: some who take a member out leave the comma.
        if member.is_empty() {
            continue;
        }
        let Some((key, value)) = member.split_once('=') else {
            return false;
        };
        if keys.len() == STATE_MEMBERS_MAX
            || keys.contains(&key)
            || !is_state_key(key)
            || !is_state_value(value)
        {
            return false;
        }
        keys.push(key);
    }
    !keys.is_empty()
}

fn is_state_key(key: &str) -> bool {
    let of_key = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &str| {
        let starts_well =
            name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit());
        starts_well && name.bytes().all(of_key)
    };
    key.len() <= STATE_PART_MAX
        && match key.split_once('@') {
            None => is_name(key),
            Some((tenant, system)) => is_name(tenant) && is_name(system),
        }
}

fn is_state_value(value: &str) -> bool {
    let of_value = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'=' && byte != b',';
    !value.is_empty() && value.len() <= STATE_PART_MAX && value.bytes().all(of_value)
}

/// W3C Baggage, "Baggage HTTP Header Format".
fn is_baggage(text: &str) -> bool {
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(of_token);
    let is_value = |text: &str| text.bytes().all(of_baggage_value);
    let pair = |text: &str| {
        let (key, value) = text.split_once('=')?;
        Some(is_token(key.trim_matches(OWS)) && is_value(value.trim_matches(OWS)))
    };
    let is_member = |member: &str| {
        let mut parts = member.split(';');
        let is_first = parts.next().and_then(pair).unwrap_or(false);
        // A property is a pair as well, or a key alone.
        let is_property =
            |text: &str| pair(text).unwrap_or_else(|| is_token(text.trim_matches(OWS)));
        is_first && parts.all(is_property)
    };
    let members = text.split(',');
    text.len() <= BAGGAGE_MAX
        && members.clone().count() <= BAGGAGE_MEMBERS_MAX
        && members.clone().all(is_member)
}

/// RFC 9110, "token".
fn of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn of_baggage_value(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

#[cfg(test)]
mod tests;
