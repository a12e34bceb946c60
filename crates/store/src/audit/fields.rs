//! A row's values without their owners: as they stand in a row, and packed for the way to the thread that writes.

use super::{AuditRow, Outcome};

/// How many texts a row has at most.
pub(super) const TEXTS: usize = 22;
/// The length of a text that is not there.
const ABSENT: u32 = u32::MAX;
/// What stands for a character that cannot be kept everywhere.
const REPLACEMENT: &str = "\u{fffd}";
/// Most characters of a client's name and version that are kept.
const CLIENT_CHARS_MAX: usize = 120;
/// Most characters of a principal or a subject that are kept: more would not fit into PostgreSQL's index.
const PRINCIPAL_CHARS_MAX: usize = 600;
/// Most characters that are kept of a text with words of a client or an upstream in it.
const TEXT_CHARS_MAX: usize = 1_000;

/// How many characters of each text are kept, in the order of [`Fields::texts`].
const CHARS_MAX: [usize; TEXTS] = {
    const ALL: usize = usize::MAX;
    let mut chars = [ALL; TEXTS];
    chars[1] = PRINCIPAL_CHARS_MAX;
    chars[3] = CLIENT_CHARS_MAX;
    chars[8] = TEXT_CHARS_MAX;
    chars[19] = TEXT_CHARS_MAX;
    chars[20] = PRINCIPAL_CHARS_MAX;
    chars[21] = TEXT_CHARS_MAX;
    chars
};

/// A row's values, whoever has them. What they are is said at [`AuditRow`].
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "each is the row's field of the same name")]
pub struct Fields<'a> {
    pub at_us: i64,
    pub call_id: &'a str,
    pub principal: &'a str,
    pub credential: &'a str,
    pub client: &'a str,
    pub transport: &'a str,
    pub revision: &'a str,
    pub method: &'a str,
    pub upstream: Option<&'a str>,
    pub entry: Option<&'a str>,
    pub arguments_digest: Option<&'a str>,
    pub decision: &'a str,
    pub rule: Option<&'a str>,
    pub server: Option<&'a str>,
    pub definition: Option<&'a str>,
    pub consent: Option<&'a str>,
    pub screened: Option<&'a str>,
    pub trace_id: Option<&'a str>,
    pub arguments: Option<&'a str>,
    pub address: Option<&'a str>,
    pub actor: Option<&'a str>,
    pub subject: Option<&'a str>,
    pub outcome: Outcome,
    pub code: Option<i64>,
    pub reason: Option<&'a str>,
    pub duration_us: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl AuditRow {
    /// Its values.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            at_us: self.at_us,
            call_id: &self.call_id,
            principal: &self.principal,
            credential: &self.credential,
            client: &self.client,
            transport: &self.transport,
            revision: &self.revision,
            method: &self.method,
            upstream: self.upstream.as_deref(),
            entry: self.entry.as_deref(),
            arguments_digest: self.arguments_digest.as_deref(),
            decision: &self.decision,
            rule: self.rule.as_deref(),
            server: self.server.as_deref(),
            definition: self.definition.as_deref(),
            consent: self.consent.as_deref(),
            screened: self.screened.as_deref(),
            trace_id: self.trace_id.as_deref(),
            arguments: self.arguments.as_deref(),
            address: self.address.as_deref(),
            actor: self.actor.as_deref(),
            subject: self.subject.as_deref(),
            outcome: self.outcome,
            code: self.code,
            reason: self.reason.as_deref(),
            duration_us: self.duration_us,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }
}

impl<'a> Fields<'a> {
    /// The texts, in the order in which they are packed and kept.
    pub(super) fn texts(&self) -> [Option<&'a str>; TEXTS] {
        [
            Some(self.call_id),
            Some(self.principal),
            Some(self.credential),
            Some(self.client),
            Some(self.transport),
            Some(self.revision),
            Some(self.method),
            self.upstream,
            self.entry,
            self.arguments_digest,
            Some(self.decision),
            self.rule,
            self.server,
            self.definition,
            self.consent,
            self.screened,
            self.trace_id,
            self.arguments,
            self.address,
            self.actor,
            self.subject,
            self.reason,
        ]
    }

    /// Of texts that come in the order of [`texts`](Self::texts).
    pub(super) fn of(numbers: &Numbers, mut next: impl FnMut() -> Option<&'a str>) -> Self {
        Self {
            at_us: numbers.at_us,
            call_id: next().unwrap_or_default(),
            principal: next().unwrap_or_default(),
            credential: next().unwrap_or_default(),
            client: next().unwrap_or_default(),
            transport: next().unwrap_or_default(),
            revision: next().unwrap_or_default(),
            method: next().unwrap_or_default(),
            upstream: next(),
            entry: next(),
            arguments_digest: next(),
            decision: next().unwrap_or_default(),
            rule: next(),
            server: next(),
            definition: next(),
            consent: next(),
            screened: next(),
            trace_id: next(),
            arguments: next(),
            address: next(),
            actor: next(),
            subject: next(),
            reason: next(),
            outcome: numbers.outcome,
            code: numbers.code,
            duration_us: numbers.duration_us,
            bytes_in: numbers.bytes_in,
            bytes_out: numbers.bytes_out,
        }
    }

    /// What is no text.
    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            at_us: self.at_us,
            outcome: self.outcome,
            code: self.code,
            duration_us: self.duration_us,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }

    /// It is one of this principal's, or about it.
    pub(super) fn is_about(&self, name: &str) -> bool {
        self.principal == name || self.subject == Some(name)
    }

    /// With owners.
    pub(super) fn to_row(self) -> AuditRow {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        AuditRow {
            at_us: self.at_us,
            call_id: self.call_id.to_owned(),
            principal: self.principal.to_owned(),
            credential: self.credential.to_owned(),
            client: self.client.to_owned(),
            transport: self.transport.to_owned().into(),
            revision: self.revision.to_owned().into(),
            method: self.method.to_owned().into(),
            upstream: owned(self.upstream),
            entry: owned(self.entry),
            arguments_digest: owned(self.arguments_digest),
            decision: self.decision.to_owned().into(),
            rule: owned(self.rule),
            server: owned(self.server),
            definition: owned(self.definition),
            consent: owned(self.consent),
            screened: owned(self.screened),
            trace_id: owned(self.trace_id),
            arguments: owned(self.arguments),
            address: owned(self.address),
            actor: owned(self.actor),
            subject: owned(self.subject),
            outcome: self.outcome,
            code: self.code,
            reason: owned(self.reason),
            duration_us: self.duration_us,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
        }
    }
}

/// What of a row is no text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbers {
    pub(super) at_us: i64,
    pub(super) outcome: Outcome,
    pub(super) code: Option<i64>,
    pub(super) duration_us: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// A row on its way to the thread that writes: what thousands of waiting rows may take is bounded, and what is hashed is
/// what is kept.
///
/// In one piece, and as the journal has it: each piece that one thread allocates and another frees costs both of them more
/// than copying it. Numbers and lengths come first, little endian, then the texts.
#[derive(Debug)]
pub(crate) struct Packed(Box<[u8]>);

/// Where the outcome stands: behind the other numbers, and whether there is a code.
const OUTCOME_AT: usize = 5 * size_of::<u64>() + 1;
/// Bytes in front of the texts: how long each of them is stands behind the outcome.
const HEAD_LEN: usize = OUTCOME_AT + 1 + TEXTS * size_of::<u32>();

impl Packed {
    pub(crate) fn new(row: &Fields<'_>) -> Self {
        let mut texts = row.texts();
        for (text, chars_max) in texts.iter_mut().zip(&CHARS_MAX) {
            if let Some(text) = text
                && text.len() > *chars_max
            {
                *text = cut(text, *chars_max);
            }
        }
        let packed = Self::of(&row.numbers(), &texts);
        if !packed.has_nul() {
            return packed;
        }
        // A text can hold a character that PostgreSQL has no place for.
        let clean = texts.map(|text| text.map(|text| text.replace('\0', REPLACEMENT)));
        let texts = clean.each_ref().map(Option::as_deref);
        Self::of(&row.numbers(), &texts)
    }

    fn of(numbers: &Numbers, texts: &[Option<&str>; TEXTS]) -> Self {
        let mut lengths = [ABSENT.to_le_bytes(); TEXTS];
        let mut size = HEAD_LEN;
        for (length, text) in lengths.iter_mut().zip(texts) {
            if let Some(text) = text {
                // No text gets near that: all of a call's are together no longer than its body.
                *length = u32::try_from(text.len()).unwrap_or(ABSENT).to_le_bytes();
                size += text.len();
            }
        }
        let mut packed = Vec::with_capacity(size);
        let whole = [
            numbers.at_us.to_le_bytes(),
            numbers.duration_us.to_le_bytes(),
            numbers.bytes_in.to_le_bytes(),
            numbers.bytes_out.to_le_bytes(),
            numbers.code.unwrap_or_default().to_le_bytes(),
        ];
        packed.extend_from_slice(whole.as_flattened());
        packed.push(u8::from(numbers.code.is_some()));
        packed.push(numbers.outcome.number());
        packed.extend_from_slice(lengths.as_flattened());
        for text in texts.iter().flatten() {
            packed.extend_from_slice(text.as_bytes());
        }
        Self(packed.into())
    }

    fn has_nul(&self) -> bool {
        let texts = self.0.get(HEAD_LEN..).unwrap_or_default();
        memchr::memchr(0, texts).is_some()
    }

    /// It ends a call of a gate that is gone: written where all gates look, before another looks.
    pub(crate) fn ends_what_was_left(&self) -> bool {
        self.0.get(OUTCOME_AT) == Some(&Outcome::Unknown.number())
    }

    /// How many bytes it takes.
    pub(crate) fn length(&self) -> usize {
        self.0.len()
    }

    /// As [`decode`](Self::decode) reads it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Takes one off the front; `None` if there is none.
    pub(crate) fn decode(from: &mut &[u8]) -> Option<Self> {
        let (_numbers, lengths) = head(from)?;
        let mut size = HEAD_LEN;
        for length in lengths.iter().filter_map(length) {
            size = size.checked_add(length)?;
        }
        let (packed, rest) = from.split_at_checked(size)?;
        str::from_utf8(packed.get(HEAD_LEN..)?).ok()?;
        *from = rest;
        Some(Self(packed.into()))
    }

    /// What was packed.
    pub(crate) fn fields(&self) -> Fields<'_> {
        // Both ways to make one see to it that this is so.
        let (numbers, lengths) = head(&self.0).expect("it has a head");
        let texts = self.0.get(HEAD_LEN..).unwrap_or_default();
        let mut rest = str::from_utf8(texts).expect("it is made of texts");
        let mut lengths = lengths.iter();
        let next = || {
            let (text, behind) = rest.split_at_checked(lengths.next().and_then(length)?)?;
            rest = behind;
            Some(text)
        };
        Fields::of(&numbers, next)
    }
}

/// What stands in front of the texts: the numbers, and how long each text is.
fn head(mut from: &[u8]) -> Option<(Numbers, &[[u8; 4]])> {
    let from = &mut from;
    let at_us = i64::from_le_bytes(taken(from)?);
    let duration_us = u64::from_le_bytes(taken(from)?);
    let bytes_in = u64::from_le_bytes(taken(from)?);
    let bytes_out = u64::from_le_bytes(taken(from)?);
    let code = i64::from_le_bytes(taken(from)?);
    let [has_code, outcome] = taken(from)?;
    let numbers = Numbers {
        at_us,
        outcome: Outcome::of_number(outcome)?,
        code: (has_code != 0).then_some(code),
        duration_us,
        bytes_in,
        bytes_out,
    };
    let (lengths, _rest) = from.get(..TEXTS * size_of::<u32>())?.as_chunks();
    Some((numbers, lengths))
}

fn taken<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

/// Of a text that is there.
fn length(bytes: &[u8; 4]) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes);
    usize::try_from(length).ok().filter(|_| length != ABSENT)
}

fn cut(text: &str, chars_max: usize) -> &str {
    if text.len() <= chars_max {
        return text;
    }
    let end = text.char_indices().nth(chars_max);
    end.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::row;

    #[test]
    fn what_is_packed_comes_out_as_it_was_but_for_what_cannot_be_kept() {
        let named = |name: &str| Some(name.to_owned());
        let given = AuditRow {
            principal: "é".repeat(PRINCIPAL_CHARS_MAX + 1),
            client: String::new(),
            rule: named("one\0two\0"),
            server: named("server"),
            definition: named("definition"),
            consent: named("consent"),
            screened: named(""),
            arguments: named("arguments"),
            address: named("address"),
            actor: named("actor"),
            subject: named("subject"),
            reason: named("reason"),
            code: Some(-1),
            ..row("a")
        };
        assert_eq!(given.trace_id, None);
        let kept = AuditRow {
            principal: "é".repeat(PRINCIPAL_CHARS_MAX),
            rule: named("one\u{fffd}two\u{fffd}"),
            ..given.clone()
        };
        let packed = Packed::new(&given.fields());
        let told = |packed: &Packed| format!("{:?}", packed.fields());
        assert_eq!(told(&packed), format!("{:?}", kept.fields()));

        let whole = packed.length();
        let bytes = packed.bytes().repeat(2);
        let mut rest = bytes.as_slice();
        assert_eq!(told(&Packed::decode(&mut rest).unwrap()), told(&packed));
        assert_eq!(rest.len(), whole);
        for cut in 0..whole {
            assert!(Packed::decode(&mut &bytes[..cut]).is_none());
        }
    }

    /// Numbers, how long each of twenty-two texts is, and the texts.
    fn in_a_journal(outcome: u8, lengths: [u32; TEXTS], texts: &[u8]) -> Vec<u8> {
        let numbers = [1_i64, 2, 3, 4, -32_601].map(i64::to_le_bytes);
        let lengths = lengths.map(u32::to_le_bytes);
        let parts = [
            numbers.as_flattened(),
            &[1, outcome],
            lengths.as_flattened(),
            texts,
        ];
        parts.concat()
    }

    #[test]
    fn a_journal_that_another_version_left_is_read() {
        let bytes = in_a_journal(5, [1; TEXTS], b"abcdefghijklmnopqrstuv");
        let named = |name: &str| Some(name.to_owned());
        let row = AuditRow {
            at_us: 1,
            duration_us: 2,
            bytes_in: 3,
            bytes_out: 4,
            code: Some(-32_601),
            outcome: Outcome::Pending,
            call_id: "a".to_owned(),
            principal: "b".to_owned(),
            credential: "c".to_owned(),
            client: "d".to_owned(),
            transport: "e".into(),
            revision: "f".into(),
            method: "g".into(),
            upstream: named("h"),
            entry: named("i"),
            arguments_digest: named("j"),
            decision: "k".into(),
            rule: named("l"),
            server: named("m"),
            definition: named("n"),
            consent: named("o"),
            screened: named("p"),
            trace_id: named("q"),
            arguments: named("r"),
            address: named("s"),
            actor: named("t"),
            subject: named("u"),
            reason: named("v"),
        };
        assert_eq!(Packed::new(&row.fields()).bytes(), bytes);
        let read = Packed::decode(&mut bytes.as_slice()).unwrap();
        assert_eq!(read.fields().to_row(), row);
    }

    #[test]
    fn a_journal_that_is_damaged_panics_nobody() {
        let mut two = [ABSENT; TEXTS];
        two[..2].fill(1);
        let decode = |bytes: &[u8]| Packed::decode(&mut &*bytes);
        assert!(decode(&in_a_journal(7, two, b"ab")).is_none(), "no outcome");
        assert!(decode(&in_a_journal(0, two, b"a\xff")).is_none(), "no text");
        assert!(decode(&in_a_journal(0, [u32::MAX - 1; TEXTS], b"ab")).is_none());
        // A character in two texts: neither has it.
        let split = decode(&in_a_journal(0, two, "é".as_bytes())).unwrap();
        assert_eq!((split.fields().call_id, split.fields().principal), ("", ""));
    }
}
