//! The RFC's own examples, and what must not fall together.

use super::*;

fn of(text: &str) -> String {
    canonical(&serde_json::from_str(text).unwrap())
}

#[test]
fn the_examples_of_the_rfc_come_out_as_printed() {
    // Section 3.2.2 and its result in 3.2.3.
    let given = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
    let wanted = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                  \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(of(given), wanted);
    // Section 3.2.3: by UTF-16 units, not by code points.
    let given = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let order = [
        "Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew",
    ];
    let text = of(given);
    let places: Vec<usize> = order.iter().map(|word| text.find(word).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn the_same_in_other_words_has_the_same_digest() {
    let parse = |text: &str| serde_json::from_str(text).unwrap();
    let one = digest(&parse(r#"{"a":1.0,"b":"\u0041"}"#));
    assert_eq!(one, digest(&parse("{ \"b\" : \"A\", \"a\" : 1e0 }")));
    assert_ne!(one, digest(&parse(r#"{"a":1,"b":"B"}"#)));
    assert_eq!(one.len(), 64);
}

#[test]
fn neighbours_that_a_double_cannot_tell_apart_stay_apart() {
    assert_ne!(of("9007199254740993"), of("9007199254740992"));
    assert_eq!(of("-0.0"), "0");
}
