//! What a secret looks like: by how its issuer writes it, or by the name beside it and how random it is.
//!
//! Every search is bounded by a constant or ends in what it found, so all of it together is linear in the text.

use std::ops::Range;

use super::grams::{Anchor, Form as Found};
use super::{Kind, follows_escape, text_at};

/// Bytes of a value beside a telling name, at most; what is longer is a text.
const VALUE_MAX: usize = 512;
/// Bytes of a name, at most.
const NAME_MAX: usize = 64;
/// Bytes between `-----BEGIN` and `PRIVATE KEY`.
const PEM_LABEL_MAX: usize = 40;

/// How secrets of one issuer look.
#[derive(Debug)]
pub(super) struct Form {
    kind: Kind,
    word: &'static str,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// At least so many characters of a class behind the word.
    Run(Class, usize),
    /// The same, and the word begins a word: it is too short to be sure otherwise.
    Bounded(Class, usize),
    /// Exactly so many, and neither is part of something longer.
    Exactly(Class, usize),
    /// Three to five parts with dots between (RFC 7515, 7516).
    Jwt,
    /// `-----BEGIN … PRIVATE KEY-----` to its end (RFC 7468).
    Pem,
    /// `user:password@` behind `://`.
    Url,
    /// `name = value`.
    Named,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A-Z, 0-9.
    Upper,
    /// A-Z, a-z, 0-9.
    Alnum,
    /// And `-`, `_`.
    Url64,
    /// And `.`.
    Dotted,
    /// Base64: A-Z, a-z, 0-9, `+`, `/`, `=`.
    Base64,
    /// A path: A-Z, a-z, 0-9, `/`.
    Path,
}

use Class::{Alnum, Base64, Dotted, Path, Upper, Url64};
use Kind::{
    AnthropicKey, AwsKey, GithubToken, GitlabToken, GoogleKey, Jwt, NamedSecret, OpenaiKey,
    PrivateKey, ServiceToken, SlackToken, StripeKey, UrlPassword,
};
use Shape::{Bounded, Exactly, Run};

const fn form(kind: Kind, word: &'static str, shape: Shape) -> Form {
    Form { kind, word, shape }
}

/// The known forms, after the documentation of those who issue them.
static FORMS: &[Form] = &[
    form(AwsKey, "AKIA", Exactly(Upper, 16)),
    form(AwsKey, "ASIA", Exactly(Upper, 16)),
    form(AwsKey, "ABIA", Exactly(Upper, 16)),
    form(AwsKey, "ACCA", Exactly(Upper, 16)),
    form(GoogleKey, "AIza", Exactly(Url64, 35)),
    form(GoogleKey, "ya29.", Run(Url64, 20)),
    form(GoogleKey, "GOCSPX-", Run(Url64, 24)),
    form(GithubToken, "ghp_", Run(Alnum, 30)),
    form(GithubToken, "gho_", Run(Alnum, 30)),
    form(GithubToken, "ghu_", Run(Alnum, 30)),
    form(GithubToken, "ghs_", Run(Alnum, 30)),
    form(GithubToken, "ghr_", Run(Alnum, 30)),
    form(GithubToken, "github_pat_", Run(Url64, 40)),
    form(GitlabToken, "glpat-", Run(Url64, 20)),
    form(GitlabToken, "gldt-", Run(Url64, 20)),
    form(GitlabToken, "glrt-", Run(Url64, 20)),
    form(GitlabToken, "glcbt-", Run(Url64, 20)),
    form(GitlabToken, "glptt-", Run(Url64, 20)),
    form(GitlabToken, "gloas-", Run(Url64, 20)),
    form(SlackToken, "xoxa-", Run(Url64, 10)),
    form(SlackToken, "xoxb-", Run(Url64, 10)),
    form(SlackToken, "xoxc-", Run(Url64, 10)),
    form(SlackToken, "xoxd-", Run(Url64, 10)),
    form(SlackToken, "xoxe-", Run(Url64, 10)),
    form(SlackToken, "xoxe.xoxp-", Run(Url64, 10)),
    form(SlackToken, "xoxp-", Run(Url64, 10)),
    form(SlackToken, "xoxr-", Run(Url64, 10)),
    form(SlackToken, "xoxs-", Run(Url64, 10)),
    form(SlackToken, "xapp-", Run(Url64, 10)),
    form(SlackToken, "hooks.slack.com", Run(Path, 30)),
    form(StripeKey, "sk_live_", Run(Alnum, 16)),
    form(StripeKey, "sk_test_", Run(Alnum, 16)),
    form(StripeKey, "rk_live_", Run(Alnum, 16)),
    form(StripeKey, "rk_test_", Run(Alnum, 16)),
    form(StripeKey, "whsec_", Run(Base64, 24)),
    form(AnthropicKey, "sk-ant-", Run(Url64, 20)),
    form(OpenaiKey, "sk-proj-", Run(Url64, 20)),
    form(OpenaiKey, "sk-svcacct-", Run(Url64, 20)),
    form(OpenaiKey, "sk-admin-", Run(Url64, 20)),
    form(OpenaiKey, "sk-", Bounded(Alnum, 32)),
    form(ServiceToken, "npm_", Run(Alnum, 36)),
    form(ServiceToken, "pypi-AgE", Run(Url64, 50)),
    form(ServiceToken, "hf_", Bounded(Alnum, 30)),
    form(ServiceToken, "gsk_", Run(Alnum, 40)),
    form(ServiceToken, "xai-", Bounded(Alnum, 60)),
    form(ServiceToken, "r8_", Bounded(Alnum, 36)),
    form(ServiceToken, "pplx-", Run(Alnum, 40)),
    form(ServiceToken, "SG.", Bounded(Dotted, 60)),
    form(ServiceToken, "dop_v1_", Run(Alnum, 60)),
    form(ServiceToken, "doo_v1_", Run(Alnum, 60)),
    form(ServiceToken, "shpat_", Run(Alnum, 32)),
    form(ServiceToken, "shpca_", Run(Alnum, 32)),
    form(ServiceToken, "shppa_", Run(Alnum, 32)),
    form(ServiceToken, "shpss_", Run(Alnum, 32)),
    form(ServiceToken, "dapi", Exactly(Alnum, 32)),
    form(ServiceToken, "hvs.", Run(Url64, 24)),
    form(ServiceToken, "hvb.", Run(Url64, 24)),
    form(ServiceToken, "lin_api_", Run(Alnum, 32)),
    form(ServiceToken, "ntn_", Bounded(Alnum, 40)),
    form(ServiceToken, "glsa_", Run(Url64, 32)),
    form(ServiceToken, "sntrys_", Run(Base64, 40)),
    form(ServiceToken, "PMAK-", Run(Url64, 50)),
    form(ServiceToken, "dp.pt.", Run(Alnum, 40)),
    form(ServiceToken, "pscale_tkn_", Run(Url64, 32)),
    form(ServiceToken, "AGE-SECRET-KEY-1", Run(Upper, 50)),
    form(ServiceToken, "AccountKey=", Run(Base64, 40)),
    form(PrivateKey, "PRIVATE KEY", Shape::Pem),
    form(Jwt, "eyJ", Shape::Jwt),
    form(UrlPassword, "://", Shape::Url),
    form(UrlPassword, ":\\/\\/", Shape::Url),
    form(NamedSecret, "password", Shape::Named),
    form(NamedSecret, "passwd", Shape::Named),
    form(NamedSecret, "passphrase", Shape::Named),
    form(NamedSecret, "pwd=", Shape::Named),
    form(NamedSecret, "secret", Shape::Named),
    form(NamedSecret, "token", Shape::Named),
    form(NamedSecret, "api_key", Shape::Named),
    form(NamedSecret, "api-key", Shape::Named),
    form(NamedSecret, "apikey", Shape::Named),
    form(NamedSecret, "access_key", Shape::Named),
    form(NamedSecret, "access-key", Shape::Named),
    form(NamedSecret, "accesskey", Shape::Named),
    form(NamedSecret, "account_key", Shape::Named),
    form(NamedSecret, "private_key", Shape::Named),
    form(NamedSecret, "privatekey", Shape::Named),
    form(NamedSecret, "credential", Shape::Named),
    form(NamedSecret, "authorization", Shape::Named),
    form(NamedSecret, "bearer", Shape::Named),
];

/// Parts of names whose value is no secret, though another part says so: `next_page_token`, `token_endpoint`.
const NOT_SECRET: &[&str] = &[
    "page", "next", "prev", "continu", "progress", "cursor", "cancel", "sync", "count", "total",
    "max", "min", "usage", "limit", "budget", "type", "endpoint", "url", "uri", "name", "hint",
    "expir", "length", "policy", "public",
];

/// Parts of values that stand for a secret and are none.
const PLACEHOLDERS: &[&str] = &[
    "xxxx",
    "****",
    "....",
    "example",
    "placeholder",
    "your",
    "redacted",
    "undefined",
    "://",
    "(",
];

/// The words by which forms are found.
pub(super) fn anchors() -> impl Iterator<Item = Anchor> {
    FORMS.iter().map(|form| Anchor {
        word: form.word,
        is_exact: form.shape != Shape::Named,
        kind: form.kind,
        form: Found::Secret(form),
    })
}

impl Form {
    /// The secret whose word stands at `at`. `is_raw` is for JSON text whose escapes are not undone: there it may see
    /// one that is none, and sees each that is one.
    pub(super) fn find(&self, text: &[u8], at: usize, is_raw: bool) -> Option<Range<usize>> {
        let behind = at + self.word.len();
        match self.shape {
            Run(class, min) => {
                let len = class.run(text, behind, is_raw);
                (len >= min).then_some(at..behind + len)
            }
            Bounded(class, min) => {
                if !begins_word(text, at, is_raw) {
                    return None;
                }
                let len = class.run(text, behind, is_raw);
                (len >= min).then_some(at..behind + len)
            }
            Exactly(class, len) => {
                if !begins_word(text, at, is_raw) {
                    return None;
                }
                let rest = text_at(text, behind..behind + len + 1);
                let found = rest.iter().take_while(|byte| class.has(**byte)).count();
                (found == len).then_some(at..behind + len)
            }
            Shape::Jwt => begins_word(text, at, is_raw).then(|| jwt(text, at))?,
            Shape::Pem => pem(text, at, behind),
            Shape::Url => url_password(text, behind),
            Shape::Named => named(text, at, is_raw),
        }
    }

    /// Whether it is a name beside which a secret stands.
    pub(super) fn is_name(&self) -> bool {
        self.shape == Shape::Named
    }
}

impl Class {
    fn has(self, byte: u8) -> bool {
        match self {
            Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Alnum => byte.is_ascii_alphanumeric(),
            Url64 => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'),
            Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Path => byte.is_ascii_alphanumeric() || byte == b'/',
        }
    }

    /// How many bytes from `at` on are of it. In raw text `/` may be written `\/`.
    fn run(self, text: &[u8], at: usize, is_raw: bool) -> usize {
        let rest = text.get(at..).unwrap_or_default();
        let is_part = |byte: &&u8| self.has(**byte) || (is_raw && **byte == b'\\');
        rest.iter().take_while(is_part).count()
    }
}

/// Whether no word goes on at `at`.
fn begins_word(text: &[u8], at: usize, is_raw: bool) -> bool {
    let before = at.checked_sub(1).and_then(|before| text.get(before));
    !before.is_some_and(|before| Url64.has(*before)) || (is_raw && follows_escape(text, at))
}

fn jwt(text: &[u8], at: usize) -> Option<Range<usize>> {
    const PART_MIN: usize = 8;
    let mut end = at;
    for part in 0..5 {
        let len = Url64.run(text, end, false);
        // The third may be short or empty: a token that nobody signed, or one that is encrypted directly.
        if part < 2 && len < PART_MIN {
            return None;
        }
        end += len;
        if part == 4 || text.get(end) != Some(&b'.') {
            return (part >= 2).then_some(at..end);
        }
        end += 1;
    }
    None
}

fn pem(text: &[u8], at: usize, behind: usize) -> Option<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    const END: &[u8] = b"-----END ";
    let label_from = at.saturating_sub(PEM_LABEL_MAX);
    let before = text_at(text, label_from..at);
    let start = label_from + memchr::memmem::rfind(before, BEGIN)?;
    let rest = text.get(behind..).unwrap_or_default();
    let end = memchr::memmem::find(rest, END).map_or(text.len(), |end| {
        let line = text_at(
            text,
            behind + end..behind + end + END.len() + PEM_LABEL_MAX + 16,
        );
        let close = memchr::memmem::find(line.get(END.len()..).unwrap_or_default(), b"-----");
        behind + end + close.map_or(line.len(), |close| END.len() + close + 5)
    });
    Some(start..end.min(text.len()))
}

/// The password between `://user:` and `@`.
fn url_password(text: &[u8], behind: usize) -> Option<Range<usize>> {
    let rest = text_at(text, behind..behind + VALUE_MAX);
    let is_part = |byte: &&u8| {
        byte.is_ascii_graphic()
            && !matches!(
                **byte,
                b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>' | b'`'
            )
    };
    let authority = rest.iter().take_while(is_part).count();
    let authority = rest.get(..authority)?;
    let at = authority.iter().rposition(|byte| *byte == b'@')?;
    let colon = authority.iter().position(|byte| *byte == b':')?;
    let password = authority.get(colon + 1..at)?;
    let is_told = matches!(password.first()?, b'$' | b'{' | b'[' | b'*');
    (!is_told).then_some(behind + colon + 1..behind + at)
}

/// The value of `name = value`, the name found at `at`.
fn named(text: &[u8], at: usize, is_raw: bool) -> Option<Range<usize>> {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let before = text_at(text, at.saturating_sub(NAME_MAX)..at);
    let mut start = at - before.iter().rev().take_while(|byte| is_name(byte)).count();
    let is_escape = start.checked_sub(1).and_then(|before| text.get(before)) == Some(&b'\\');
    if is_raw && is_escape && start < at {
        start += 1;
    }
    let after = text_at(text, at..at + NAME_MAX);
    let end = at + after.iter().take_while(|byte| is_name(byte)).count();
    // Most often it is just a word of a sentence.
    let name = text_at(text, start..end);
    let value = value_at(text, end, name.eq_ignore_ascii_case(b"bearer"))?;
    let name = Name::read(name)?;
    if is_raw {
        return Some(value..value + 1);
    }
    let rest = text_at(text, value..value + VALUE_MAX + 1);
    let is_part = |byte: &&u8| byte.is_ascii_graphic() && !b"\"'`,;)}]<&".contains(byte);
    let len = rest.iter().take_while(is_part).count();
    let fits = name.fits(rest.get(..len)?);
    fits.then_some(value..value + len)
}

/// Whether a member of an object is a secret, by its name and value.
pub(super) fn is_secret_member(name: &str, value: &str) -> bool {
    let value = value.strip_prefix("Bearer ").unwrap_or(value);
    Name::read(name.as_bytes()).is_some_and(|name| name.fits(value.as_bytes()))
}

/// Where the value behind a name begins: `: "value"`, `=value`, `=> 'value'`, `>value<`; for `Bearer` after a space.
fn value_at(text: &[u8], mut at: usize, is_bearer: bool) -> Option<usize> {
    let skip = |at: usize, what: fn(&u8) -> bool| {
        let rest = text.get(at..).unwrap_or_default();
        at + rest.iter().take_while(|byte| what(byte)).count()
    };
    let is_quote = |byte: &u8| matches!(byte, b'"' | b'\'' | b'`' | b'\\');
    at = skip(skip(at, is_quote), u8::is_ascii_whitespace);
    let behind_sign = skip(at, |byte| matches!(byte, b':' | b'=' | b'>'));
    if behind_sign == at && !is_bearer {
        return None;
    }
    at = skip(skip(behind_sign, u8::is_ascii_whitespace), is_quote);
    let schemes = [&b"Bearer "[..], b"bearer ", b"Basic ", b"token "];
    let scheme = schemes
        .iter()
        .find(|scheme| text_at(text, at..at + scheme.len()) == **scheme);
    at += scheme.map_or(0, |scheme| scheme.len());
    (at < text.len()).then_some(at)
}

/// A name whose value is secret.
struct Name {
    /// A person may have chosen the value, so it may be short.
    is_password: bool,
}

impl Name {
    /// Bytes of a password, and of what a machine has made.
    const PASSWORD_MIN: usize = 8;
    const TOKEN_MIN: usize = 16;

    fn read(name: &[u8]) -> Option<Self> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        let is_telling = FORMS
            .iter()
            .any(|form| form.is_name() && name.contains(form.word.trim_end_matches('=')));
        if !is_telling || NOT_SECRET.iter().any(|part| name.contains(part)) {
            return None;
        }
        Some(Self {
            is_password: ["passw", "passphrase", "pwd"]
                .iter()
                .any(|part| name.contains(part)),
        })
    }

    /// Whether the value is what the name says, and no word, placeholder or text.
    fn fits(&self, value: &[u8]) -> bool {
        if value.len() > VALUE_MAX || !value.iter().all(u8::is_ascii_graphic) {
            return false;
        }
        let starts_as_reference = matches!(value.first(), Some(b'$' | b'<' | b'{' | b'%' | b'['));
        let lower = value.to_ascii_lowercase();
        let is_placeholder = PLACEHOLDERS
            .iter()
            .any(|part| memchr::memmem::find(&lower, part.as_bytes()).is_some());
        if starts_as_reference || is_placeholder {
            return false;
        }
        let has = |what: fn(&u8) -> bool| value.iter().any(what);
        let has_letter = has(u8::is_ascii_alphabetic);
        let has_other = has(|byte| !byte.is_ascii_alphabetic() && !b"._-".contains(byte));
        if self.is_password {
            value.len() >= Self::PASSWORD_MIN && has_letter && has_other && entropy(value) >= 2.5
        } else {
            value.len() >= Self::TOKEN_MIN
                && has_letter
                && has(u8::is_ascii_digit)
                && entropy(value) >= 3.0
        }
    }
}

/// Shannon's entropy of the bytes, in bits for each.
fn entropy(value: &[u8]) -> f64 {
    let mut counts = [0_u16; 256];
    for byte in value {
        counts[usize::from(*byte)] += 1;
    }
    let len = value.iter().map(|_| 1.0).sum::<f64>();
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / len;
            -share * share.log2()
        })
        .sum()
}

#[cfg(test)]
mod tests;
