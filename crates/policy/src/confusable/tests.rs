//! Names that look alike, and such that do not.

use super::*;

fn look_alike(one: &str, other: &str) -> bool {
    skeleton(one) == skeleton(other)
}

#[test]
fn letters_of_other_scripts_pass_for_latin_ones() {
    assert!(look_alike("read_file", "r\u{435}ad_file"));
    assert!(look_alike("scope", "\u{455}\u{441}\u{43e}\u{440}\u{435}"));
    assert!(look_alike("\u{ff52}ead", "read"));
}

#[test]
fn digits_and_pairs_of_letters_pass_for_letters() {
    assert!(look_alike("files", "fi1es"));
    assert!(look_alike("modern", "modem"));
    assert!(look_alike("O365", "0365"));
}

#[test]
fn what_cannot_be_seen_makes_no_difference() {
    assert!(look_alike("read", "re\u{200b}ad"));
    assert!(look_alike("read", "read\u{fe0f}"));
}

#[test]
fn ordinary_names_are_apart() {
    for (one, other) in [
        ("read", "write"),
        ("Read", "read"),
        ("read_file", "read_files"),
        ("read-file", "read_file"),
        ("tool2", "tool3"),
    ] {
        assert!(!look_alike(one, other), "{one} {other}");
    }
}

#[test]
fn the_first_pair_is_named_in_its_order() {
    assert_eq!(
        first_pair(["a", "fi1es", "b", "files"]),
        Some(("fi1es", "files"))
    );
    assert_eq!(first_pair(["a", "a", "b"]), None);
}
