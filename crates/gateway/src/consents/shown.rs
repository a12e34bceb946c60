//! What a person is shown of a call: all that matters, in characters that cannot deceive, without what looks secret.

use aws_lc_rs::digest::{SHA256, digest};
use policy::canonical;
use policy::screen::shows_as_itself;
use serde_json::Value;
use store::audit::text::hex;

/// Characters of one value that are shown, and of a member's name.
const VALUE_MAX: usize = 500;
/// The same where there are many.
const VALUE_SHORT: usize = 80;
/// Above so many characters in all, values are shown shorter.
const SHOWN_LONG: usize = 4_000;
/// Characters that are shown in all.
const SHOWN_MAX: usize = 12_000;
/// Characters of a name.
const NAME_MAX: usize = 200;
/// How what is not shown whole begins. What is shown whole is JSON, which begins in no such way.
const NOT_ALL: &str = "NOT ALL OF IT CAN BE SHOWN: ";
/// Characters of a digest.
const DIGEST_LEN: usize = 16;
/// Members of such names hold secrets, most likely.
const SECRETS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
];

/// What would be sent, for people. Every member's name is there; what is cut says how long it is and what its digest is.
pub(super) fn shown(sent: &Value) -> String {
    let mut text = String::new();
    let mut is_cut = false;
    for value_max in [VALUE_MAX, VALUE_SHORT] {
        let mut cut = Cut {
            value_max,
            is_cut: false,
        };
        text = canonical::canonical(&cut.value(sent));
        is_cut = cut.is_cut;
        if text.chars().count() <= SHOWN_LONG {
            break;
        }
    }
    is_cut |= text.chars().count() > SHOWN_MAX;
    let begin = if is_cut { NOT_ALL } else { "" };
    format!("{begin}{}", plain(&text, SHOWN_MAX))
}

/// Whether what is shown is not all of it.
pub(super) fn is_cut(shown: &str) -> bool {
    shown.starts_with(NOT_ALL)
}

/// A name that somebody else gave, for people.
pub(super) fn name(text: &str) -> String {
    plain(text, NAME_MAX)
}

/// Shortens what is long, and hides what looks secret.
struct Cut {
    value_max: usize,
    is_cut: bool,
}

impl Cut {
    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut shown = serde_json::Map::new();
                for (name, value) in members {
                    let value = match value {
                        Value::String(text) if !text.is_empty() && is_secret(name) => {
                            self.is_cut |= text.chars().count() > self.value_max;
                            Value::String(format!("(hidden: {})", measure(text)))
                        }
                        value => self.value(value),
                    };
                    shown.insert(self.text(name), value);
                }
                Value::Object(shown)
            }
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::String(text) => Value::String(self.text(text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        let Some((end, _)) = text.char_indices().nth(self.value_max) else {
            return text.to_owned();
        };
        self.is_cut = true;
        let (start, _) = text.split_at(end);
        format!("{start}… ({})", measure(text))
    }
}

/// How long a text is, and which.
fn measure(text: &str) -> String {
    let digest = hex(digest(&SHA256, text.as_bytes()).as_ref());
    let digest: String = digest.chars().take(DIGEST_LEN).collect();
    format!("{} characters, SHA-256 {digest}…", text.chars().count())
}

fn is_secret(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRETS.iter().any(|word| plain.contains(word))
}

/// At most so many characters, none of which turns the text around, hides in it, or ends its line.
fn plain(text: &str, max: usize) -> String {
    let mut out: String = text
        .chars()
        .take(max)
        .map(|c| if shows_as_itself(c) { c } else { '\u{fffd}' })
        .collect();
    let rest = text.chars().count().saturating_sub(max);
    if rest > 0 {
        out.push_str("… (");
        out.push_str(&rest.to_string());
        out.push_str(" more characters)");
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_that_is_shown_deceives_or_gives_a_secret_away() {
        let sent = json!({
            "a\u{202e}b": "x\u{200b}\n\u{1b}[31m",
            "nested": [{ "api_key": "k1", "Authorization": "Bearer b", "max_tokens": 7 }],
        });
        let text = shown(&sent);
        assert!(
            text.starts_with("{\"a\u{fffd}b\":\"x\u{fffd}\\n\\u001b[31m\","),
            "{text}"
        );
        for part in [
            "\"Authorization\":\"(hidden: 8 characters, SHA-256 ",
            "\"api_key\":\"(hidden: 2 characters, SHA-256 ",
            "\"max_tokens\":7",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("k1") && !text.contains("Bearer"), "{text}");
        assert!(!is_cut(&text));
    }

    #[test]
    fn padding_hides_no_member_and_what_is_cut_says_so() {
        let sent = json!({ "a": "é".repeat(5_000), "z": "delete everything" });
        let text = shown(&sent);
        assert!(is_cut(&text));
        assert!(text.contains("… (5000 characters, SHA-256 "), "{text}");
        assert!(text.contains("\"z\":\"delete everything\""), "{text}");
        let other = shown(&json!({ "a": "é".repeat(4_999) + "e", "z": "delete everything" }));
        assert_ne!(text, other);
        let many: Value = (0..10_000).map(|at| (at.to_string(), json!(at))).collect();
        assert!(is_cut(&shown(&many)));
        assert!(is_cut(&shown(&json!({ "token": "x".repeat(5_000) }))));
        assert!(!is_cut(&shown(&json!(NOT_ALL))));
    }
}
