//! The strings and numbers of a JSON text, where they stand, and what they say.
//!
//! Not a parser: whoever calls has one, and knows that the text is JSON. What is in a string is for the others.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memchr2;

/// A string or a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// Where it stands, quotes included.
    pub(super) at: Range<usize>,
    /// What stands there, without quotes.
    pub(super) raw: &'a str,
    pub(super) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The name of a member.
    Key,
    /// A string that is a value.
    Text,
    Number,
}

/// The text is not JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The tokens of a JSON text, in their order.
pub(super) fn tokens(json: &[u8]) -> impl Iterator<Item = Result<Token<'_>, Malformed>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let is_start = |byte: &u8| matches!(byte, b'"' | b'-' | b'0'..=b'9');
        let start = at + json.get(at..)?.iter().position(is_start)?;
        let token = if json.get(start) == Some(&b'"') {
            string(json, start)
        } else {
            number(json, start)
        };
        at = token.as_ref().map_or(json.len(), |token| token.at.end);
        Some(token)
    })
}

fn string(json: &[u8], start: usize) -> Result<Token<'_>, Malformed> {
    let mut at = start + 1;
    loop {
        let rest = json.get(at..).ok_or(Malformed)?;
        let hit = at + memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
        if json.get(hit) == Some(&b'"') {
            at = hit;
            break;
        }
        at = hit + 2;
    }
    let after = json.get(at + 1..).unwrap_or_default();
    let is_key = after.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
    Ok(Token {
        at: start..at + 1,
        raw: text(json, start + 1..at)?,
        role: if is_key { Role::Key } else { Role::Text },
    })
}

fn number(json: &[u8], start: usize) -> Result<Token<'_>, Malformed> {
    let rest = json.get(start..).unwrap_or_default();
    let is_part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
    let len = rest.iter().take_while(|byte| is_part(byte)).count();
    let at = start..start + len;
    Ok(Token {
        raw: text(json, at.clone())?,
        at,
        role: Role::Number,
    })
}

fn text(json: &[u8], at: Range<usize>) -> Result<&str, Malformed> {
    std::str::from_utf8(json.get(at).ok_or(Malformed)?).map_err(|_not_utf8| Malformed)
}

/// What a string says. Half of a surrogate pair, which some writers leave when they cut a text, becomes U+FFFD.
pub(super) fn unescape(raw: &str) -> Cow<'_, str> {
    let Some((head, mut rest)) = raw.split_once('\\') else {
        return Cow::Borrowed(raw);
    };
    let mut out = String::with_capacity(raw.len());
    out.push_str(head);
    loop {
        let mut escape = rest.chars();
        match escape.next() {
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('u') => {
                let (character, after) = code_point(escape.as_str());
                out.push(character);
                escape = after.chars();
            }
            // `\"`, `\\`, `\/`; JSON has no other.
            Some(itself) => out.push(itself),
            None => return Cow::Owned(out),
        }
        match escape.as_str().split_once('\\') {
            Some((between, next)) => {
                out.push_str(between);
                rest = next;
            }
            None => {
                out.push_str(escape.as_str());
                return Cow::Owned(out);
            }
        }
    }
}

/// The character of `XXXX` or `XXXX\uXXXX`, and what follows it.
fn code_point(text: &str) -> (char, &str) {
    let lost = char::REPLACEMENT_CHARACTER;
    let Some((first, after)) = unit(text) else {
        return (lost, text);
    };
    let second = after.strip_prefix("\\u").and_then(unit);
    match (first, second) {
        (0xd800..=0xdbff, Some((second @ 0xdc00..=0xdfff, after))) => {
            let code = 0x1_0000 + ((u32::from(first) - 0xd800) << 10) + u32::from(second) - 0xdc00;
            (char::from_u32(code).unwrap_or(lost), after)
        }
        _alone => (char::from_u32(first.into()).unwrap_or(lost), after),
    }
}

/// Four hexadecimal digits, and what follows them.
fn unit(text: &str) -> Option<(u16, &str)> {
    let (digits, after) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_know_where_they_stand_and_what_they_are() {
        let json = r#"{"a\"b" : ["x\\", -1.5e3, true], "c":""}"#;
        let tokens: Vec<_> = tokens(json.as_bytes()).map(Result::unwrap).collect();
        let seen: Vec<_> = tokens.iter().map(|t| (t.raw, t.role)).collect();
        assert_eq!(
            seen,
            [
                (r#"a\"b"#, Role::Key),
                (r"x\\", Role::Text),
                ("-1.5e3", Role::Number),
                ("c", Role::Key),
                ("", Role::Text),
            ]
        );
        for token in &tokens {
            let whole = json.get(token.at.clone()).unwrap();
            assert_eq!(whole.trim_matches('"'), token.raw.trim_matches('"'));
        }
    }

    #[test]
    fn a_text_that_ends_within_a_string_is_malformed() {
        for json in [r#"{"a"#, r#"["a\"]"#, r#"["\"#] {
            assert_eq!(
                tokens(json.as_bytes()).find(Result::is_err),
                Some(Err(Malformed)),
                "{json}"
            );
        }
    }

    #[test]
    fn a_string_is_read_as_serde_reads_it() {
        for raw in [
            r"plain",
            r#"\" \\ \/ \b \f \n \r \t"#,
            r"\u0041\u00e9\u202e",
            r"\udb40\udc41",
            "a\u{e9}\\u0062",
            r"end\\",
        ] {
            let expected: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(unescape(raw), expected, "{raw}");
        }
        assert_eq!(unescape(r"cut \ud83d here"), "cut \u{fffd} here");
        assert_eq!(unescape(r"\udc00\ud83d\u0041"), "\u{fffd}\u{fffd}A");
    }
}
