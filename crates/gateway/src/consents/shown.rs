//! What a person is shown of a call: all that matters, in characters that cannot deceive, without what looks secret.

use policy::canonical;
use serde_json::Value;

/// Characters of arguments that are shown.
const SHOWN_MAX: usize = 2_000;
/// Characters of a name.
const NAME_MAX: usize = 200;
/// What stands in the place of a secret.
const HIDDEN: &str = "(hidden)";
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

/// What would be sent, for people.
pub(super) fn shown(sent: &Value) -> String {
    let mut sent = sent.clone();
    hide(&mut sent);
    plain(&canonical::canonical(&sent), SHOWN_MAX)
}

/// A name that somebody else gave, for people.
pub(super) fn name(text: &str) -> String {
    plain(text, NAME_MAX)
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if !text.is_empty() && is_secret(name) => {
                        HIDDEN.clone_into(text);
                    }
                    value => hide(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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
        .map(|c| if is_plain(c) { c } else { '\u{fffd}' })
        .collect();
    let rest = text.chars().count().saturating_sub(max);
    if rest > 0 {
        out.push_str("… (");
        out.push_str(&rest.to_string());
        out.push_str(" more characters)");
    }
    out
}

fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
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
        assert_eq!(
            text,
            "{\"a\u{fffd}b\":\"x\u{fffd}\\n\\u001b[31m\",\
             \"nested\":[{\"Authorization\":\"(hidden)\",\"api_key\":\"(hidden)\",\"max_tokens\":7}]}"
        );
    }

    #[test]
    fn what_is_long_says_how_much_is_left_out() {
        let text = shown(&json!({ "text": "é".repeat(5_000) }));
        assert_eq!(text.chars().filter(|c| *c == 'é').count(), SHOWN_MAX - 9);
        assert!(text.ends_with("… (3011 more characters)"), "{text}");
    }
}
