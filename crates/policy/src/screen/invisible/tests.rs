//! What nobody sees, and what stays.

use proptest::prelude::*;

use super::*;

/// What is left, and what was taken out.
fn cleaned(text: &str) -> (String, Vec<Kind>) {
    let mut left = text.to_owned();
    let found = find(text);
    for (at, _) in found.iter().rev() {
        left.replace_range(at.clone(), "");
    }
    (left, found.into_iter().map(|(_, kind)| kind).collect())
}

fn check(text: &str, left: &str, kinds: &[Kind]) {
    assert_eq!(cleaned(text), (left.to_owned(), kinds.to_vec()), "{text:?}");
}

#[test]
fn what_nobody_sees_is_found() {
    check("a\u{202e}b\u{2066}c", "abc", &[Kind::Bidi; 2]);
    check(
        "pass\u{200b}word\u{2060}",
        "password",
        &[Kind::ZeroWidth; 2],
    );
    check("hi\u{e0069}\u{e0067}", "hi", &[Kind::Tag; 2]);
    check("x\u{e000}\u{f8ff}\u{10fffd}", "x", &[Kind::PrivateUse; 3]);
    check("a\u{8}\u{0}\u{7f}\u{85}b", "ab", &[Kind::Control; 4]);
    check("a\u{fe00}\u{e0101}", "a", &[Kind::Variation; 2]);
    check("\u{feff}start\u{ad}", "start", &[Kind::ZeroWidth; 2]);
}

#[test]
fn tabs_and_line_ends_stay() {
    check("a\tb\r\nc", "a\tb\r\nc", &[]);
}

#[test]
fn a_terminals_sequence_goes_with_all_that_belongs_to_it() {
    check("\u{1b}[1;31mred\u{1b}[0m", "red", &[Kind::Ansi; 2]);
    check("\u{9b}2Jx", "x", &[Kind::Ansi]);
    check(
        "\u{1b}]8;;http://e.com\u{7}link\u{1b}]8;;\u{1b}\\!",
        "link!",
        &[Kind::Ansi; 2],
    );
    check("\u{1b}(Bx\u{1b}cy", "xy", &[Kind::Ansi; 2]);
    check("\u{1b}", "", &[Kind::Ansi]);
    // A string without an end takes nothing of the text along.
    check("\u{1b}]never ends", "never ends", &[Kind::Ansi]);
}

#[test]
fn what_a_script_or_an_emoji_needs_stays() {
    for text in [
        "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}", // Persian: mi-khaham
        "\u{915}\u{94d}\u{200d}\u{937}",                             // Devanagari
        "\u{2764}\u{fe0f}",                                          // red heart
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",               // family
        "\u{2764}\u{fe0f}\u{200d}\u{1f525}",                         // heart on fire
        "1\u{fe0f}\u{20e3}",                                         // key cap
        FLAGS[1],
    ] {
        check(text, text, &[]);
    }
}

#[test]
fn the_same_in_a_row_or_elsewhere_does_not() {
    check("a\u{200d}b", "ab", &[Kind::ZeroWidth]);
    check(
        "\u{645}\u{200c}\u{200c}\u{645}",
        "\u{645}\u{200c}\u{645}",
        &[Kind::ZeroWidth],
    );
    check("1\u{fe0f}2", "12", &[Kind::Variation]);
    check(
        "\u{2764}\u{fe0f}\u{fe0f}",
        "\u{2764}\u{fe0f}",
        &[Kind::Variation],
    );
    check("\u{1f3f4}\u{e0061}\u{e007f}", "\u{1f3f4}", &[Kind::Tag; 2]);
}

#[test]
fn many_strings_without_an_end_cost_no_more_than_one() {
    // Each looking through all the rest would take minutes.
    let text = "\u{1b}]".repeat(500_000);
    assert_eq!(find(&text).len(), 500_000);
}

#[test]
fn escapes_are_seen_through_and_escaped_backslashes_are_not_escapes() {
    let odd = |json: &str| suspects(json.as_bytes(), 0..json.len(), false);
    for json in [
        r#"["\u001b[0m"]"#,
        r#"["\u202E"]"#,
        r#"["\b"]"#,
        r#"["\\\f"]"#,
        r#"["\udb40\udc41"]"#,
        r#"["AK\u0049A"]"#,
        "[\"\u{200b}\"]",
        "[\"\u{7f}\"]",
    ] {
        assert!(odd(json), "{json:?}");
        // Wherever it stands in a block, and at the end of one.
        for before in 0..200 {
            let json = format!("{}{json}", " ".repeat(before));
            assert!(odd(&json), "{json:?}");
        }
    }
    for json in [
        r#"["\\b \\\\u001b C:\\fonts"]"#,
        r#"["\u00e9\u4e2d\ud83d\ude00\n\t\r"]"#,
        "[\"caf\u{e9} \u{201c}x\u{201d} \u{4e2d}\u{6587} \u{1f600}\"]\n\t\r",
    ] {
        assert!(!odd(json), "{json:?}");
    }
}

proptest! {
    /// The fast answer "nothing" is never wrong.
    #[test]
    fn what_is_found_is_suspected(text in "\\PC{0,90}[\\u{0}-\\u{10ffff}]{0,3}\\PC{0,90}") {
        let is_escaped_too = serde_json::to_string(&text).unwrap();
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        if !find(&text).is_empty() {
            prop_assert!(suspects(text.as_bytes(), 0..text.len(), false));
            prop_assert!(suspects(is_escaped_too.as_bytes(), 0..is_escaped_too.len(), false));
            prop_assert!(suspects(escaped.as_bytes(), 0..escaped.len(), false));
        }
    }

    #[test]
    fn what_is_clean_stays_clean(text in "[\\u{0}-\\u{10ffff}]{0,60}") {
        let (left, _) = cleaned(&text);
        prop_assert_eq!(find(&left), []);
    }
}

/// The fast search takes in whole blocks, and a character may begin in one and end in the next.
#[test]
fn the_fast_search_lets_through_what_is_visible_and_nothing_else() {
    let (before, after) = (format!("x{}", "ж".repeat(31)), "い".repeat(BLOCK));
    assert_eq!(before.len(), BLOCK - 1);
    let all = '\0'..=char::MAX;
    // All that stand in blocks with something invisible, and some of the rest.
    let near = |character: &char| match u32::from(*character) {
        0..0x3200 | 0xe000..0x1_0000 => true,
        0x1_bc00..0x1_bd00 | 0x1_d100..0x1_d200 | 0xe_0000..0xe_1000 => true,
        other => other % 101 == 0,
    };
    for character in all.filter(near).filter(|character| *character != '\\') {
        let text = format!("{before}{character}{after}");
        let suspects = suspects(text.as_bytes(), 0..text.len(), false);
        assert_eq!(suspects, kind_of(character).is_some(), "{character:?}");
    }
}
