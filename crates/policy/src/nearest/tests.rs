//! Near names are found, far ones are not.

use super::*;

const KNOWN: [&str; 5] = ["path", "limit", "max_results", "recursive", "q"];

#[test]
fn a_slip_finds_the_name_that_was_meant() {
    for (slip, meant) in [
        ("pth", "path"),
        ("Path", "path"),
        ("file_path", "path"),
        ("maxResults", "max_results"),
        ("recursve", "recursive"),
    ] {
        assert_eq!(nearest(slip, KNOWN), Some(meant), "{slip}");
    }
}

#[test]
fn another_word_finds_nothing() {
    for word in ["colour", "", "__", "zebra"] {
        assert_eq!(nearest(word, KNOWN), None, "{word}");
    }
    assert_eq!(nearest(&"path".repeat(1_000), KNOWN), None);
}
