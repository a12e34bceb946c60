//! How names and texts fall into words.

use super::*;

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    each(text, |word| words.push(word.to_owned()));
    words
}

#[test]
fn names_fall_apart_where_their_writers_meant_it() {
    for (text, expected) in [
        ("readFile", "read file"),
        ("read_file", "read file"),
        ("Read-Files!", "read file"),
        ("HTTPServer", "http server"),
        ("getHTTPStatus", "get http status"),
        ("s3.listBuckets", "s3 list bucket"),
        ("status class this", "status class this"),
        (
            "\u{c4}rzte f\u{fc}r Caf\u{e9}s",
            "\u{e4}rzte f\u{fc}r caf\u{e9}",
        ),
        ("\u{5929}\u{6c17} api", "\u{5929} \u{6c17} api"),
        ("", ""),
        ("--", ""),
    ] {
        assert_eq!(words(text).join(" "), expected, "{text}");
    }
}

#[test]
fn a_word_counts_where_it_stands() {
    let definition = br#"{"name":"x","title":"Weather","description":"Rain or sun","inputSchema":{
        "type":"object","description":"nothing","properties":{"city":{"type":"string","description":"Where"},
        "days":{"type":"array","items":{"type":"object","properties":{"hour":{}}}}}}}"#;
    let words = Words::of("forecast.get", definition);
    let weight = |word: &str| words.weight(hash(word));
    assert!(weight("forecast") > weight("weather"));
    assert!(weight("weather") > weight("rain"));
    assert!(weight("city") > weight("where"));
    assert!(weight("hour") > 0.0);
    assert!(weight("nothing").abs() < f32::EPSILON);
    assert!(
        weight("x").abs() < f32::EPSILON,
        "the upstream's own name is not the public one"
    );
}

#[test]
fn what_is_asked_is_bounded_and_each_word_once() {
    assert_eq!(asked("a b a B c", 2).len(), 2);
    assert_eq!(asked("a b a B c", 9).len(), 3);
}
