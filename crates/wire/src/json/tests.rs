//! Parts of JSON text and what is spliced from them.

use super::*;

#[test]
fn a_splice_leaves_the_rest_byte_for_byte() {
    let whole = br#"{ "id" : 1.0 , "x":9007199254740993, "name":"a" }"#;
    let found = members(whole).unwrap();
    let mut splice = Splice::new(whole);
    splice.replace(
        Span::of(found[2].1.get().as_bytes(), whole).unwrap(),
        &b"\"bb\""[..],
    );
    splice.replace(
        Span::of(found[0].1.get().as_bytes(), whole).unwrap(),
        &b"7"[..],
    );
    assert_eq!(
        splice.finish(),
        br#"{ "id" : 7 , "x":9007199254740993, "name":"bb" }"#
    );
}

#[test]
fn a_member_that_stands_twice_is_refused_at_every_depth() {
    assert!(members(br#"{"a":1,"\u0061":2}"#).is_err());
    assert!(strict_value(br#"{"a":[{"b":1,"b":2}]}"#).is_err());
    assert_eq!(
        strict_value(br#"{"a":[{"b":1}],"c":null}"#).unwrap(),
        serde_json::json!({"a":[{"b":1}],"c":null})
    );
}

#[test]
fn a_great_many_members_cost_no_more_than_their_number() {
    let mut text = String::from("{");
    for number in 0..300_000 {
        text.push_str(&string(&number.to_string()));
        text.push_str(":0,");
    }
    let once = format!("{text}\"last\":0}}");
    assert_eq!(members(once.as_bytes()).unwrap().len(), 300_001);
    for twice in ["7", "33", "299999"] {
        let text = format!("{text}\"{twice}\":0}}");
        assert!(members(text.as_bytes()).is_err(), "{twice}");
    }
}

#[test]
fn lone_surrogates_and_broken_utf8_are_refused() {
    assert!(strict_value(br#""\ud800""#).is_err());
    assert!(strict_value(b"\"\xff\"").is_err());
}

#[test]
fn a_name_with_nul_is_refused_at_every_depth() {
    for text in [
        r#"{"path\u0000":1}"#,
        r#"{"a":[{"\u0000":1}]}"#,
        r#"{"a":{"b\u0000c":{}}}"#,
    ] {
        assert!(strict_value(text.as_bytes()).is_err(), "{text}");
    }
    assert!(members(br#"{"path\u0000":1}"#).is_err());
    assert!(members(b"{\"path\0\":1}").is_err());
    // In a value it says nothing different to anybody.
    assert_eq!(strict_value(br#"{"a":"\u0000"}"#).unwrap()["a"], "\0");
}

#[test]
fn surrogates_stand_in_pairs() {
    for text in [
        r#""\udc00""#,
        r#""\ud800\ud800""#,
        r#""\ud800x""#,
        r#"{"\ud800":1}"#,
        r#"["\udc00\ud800"]"#,
    ] {
        assert!(strict_value(text.as_bytes()).is_err(), "{text}");
    }
    assert_eq!(strict_value(br#""\ud83e\udd80""#).unwrap(), "🦀");
}

#[test]
fn numbers_are_those_that_everybody_can_hold() {
    for text in [
        "1e999", "-1e999", "01", "+1", ".5", "1.", "NaN", "Infinity", "0x1", "1_000", "--1",
    ] {
        assert!(strict_value(text.as_bytes()).is_err(), "{text}");
    }
    let most = format!("[{},{},0.1,1e308]", u64::MAX, i64::MIN);
    assert_eq!(
        strict_value(most.as_bytes()).unwrap().to_string(),
        "[18446744073709551615,-9223372036854775808,0.1,1e+308]"
    );
}

#[test]
fn what_is_deeper_than_any_reader_goes_is_refused_without_recursing() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(strict_value(deep(DEPTH_MAX).as_bytes()).is_ok());
    assert!(strict_value(deep(100_000).as_bytes()).is_err());
    assert!(!depth_within(deep(DEPTH_MAX + 1).as_bytes(), DEPTH_MAX));
}

#[test]
fn nothing_may_stand_behind_the_value() {
    for text in ["{} {}", "{}x", "1,", "[1]]", "", "\u{feff}{}"] {
        assert!(strict_value(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn members_go_in_front_of_what_is_there() {
    assert_eq!(with_members(b"{ }", "\"a\":1"), b"{\"a\":1 }");
    assert_eq!(with_members(b"{\"b\":2}", "\"a\":1"), b"{\"a\":1,\"b\":2}");
}

#[test]
fn depth_counts_brackets_outside_strings_only() {
    assert!(depth_within(br#"["[[[[","\"[[["]"#, 1));
    assert!(!depth_within(b"[[]]", 1));
}

#[test]
fn members_behind_come_last() {
    let behind = |text: &[u8]| String::from_utf8(with_members_behind(text, "\"a\":1")).unwrap();
    assert_eq!(behind(b"{ }"), "{ \"a\":1}");
    assert_eq!(behind(b"{\"b\":{} } "), "{\"b\":{} ,\"a\":1} ");
    assert_eq!(with_members_behind(b"{\"b\":2}", ""), b"{\"b\":2}");
}

#[test]
fn names_that_differ_in_case_alone_are_known() {
    for (one, other) in [
        ("path", "Path"),
        ("task", "ta\u{17f}k"),
        ("key", "\u{212a}EY"),
        ("\u{3c3}", "\u{3c2}"),
    ] {
        assert!(is_same_but_for_case(one, other), "{one} {other}");
    }
    for (one, other) in [("path", "path"), ("path", "paths"), ("a_b", "aB")] {
        assert!(!is_same_but_for_case(one, other), "{one} {other}");
    }
}
