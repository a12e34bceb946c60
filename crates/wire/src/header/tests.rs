//! Header values come back as they were.

use super::*;

#[test]
fn values_survive_the_header() {
    for value in [
        "plain",
        "with space",
        " edge",
        "\u{e4}\u{1f600}",
        "a\nb",
        "=?base64?eA==?=",
        "",
    ] {
        let encoded = encode(value);
        assert!(
            encoded.bytes().all(|b| (0x20..0x7f).contains(&b)),
            "{encoded}"
        );
        assert_eq!(decode(&encoded).as_deref(), Some(value));
    }
    assert_eq!(encode("plain"), "plain");
    assert_eq!(encode("\u{e4}"), "=?base64?w6Q=?=");
}

#[test]
fn what_looks_encoded_and_is_not_is_refused() {
    assert_eq!(decode("=?base64?***?="), None);
    assert_eq!(decode("=?base64?/w==?="), None, "not UTF-8");
}
