//! The same definition in other words has the same digest, and nothing else has.

use super::*;

#[test]
fn order_and_spelling_make_no_difference_and_every_member_does() {
    let plain = br#"{"name":"read","description":"Reads.","x":1.0}"#;
    let spelled = br#"{ "x": 1e0, "description": "\u0052eads.", "name": "read" }"#;
    assert_eq!(digest(plain), digest(spelled));
    for other in [
        &br#"{"name":"read","description":"Reads. ","x":1.0}"#[..],
        br#"{"name":"read","description":"Reads.","x":1.0,"_meta":{}}"#,
        br#"{"name":"Read","description":"Reads.","x":1.0}"#,
        br#"{"name":"read","description":"Reads.","x":"1"}"#,
    ] {
        assert_ne!(digest(plain), digest(other));
    }
}

#[test]
fn what_two_readers_could_understand_differently_is_held_to_the_letter() {
    let twice = br#"{"name":"read","description":"a","description":"b"}"#;
    let turned = br#"{"name":"read","description":"b","description":"a"}"#;
    let last = br#"{"name":"read","description":"b"}"#;
    assert_eq!(digest(twice), digest(twice));
    assert_ne!(digest(twice), digest(turned));
    assert_ne!(digest(twice), digest(last));
}

#[test]
fn instructions_and_the_servers_name_are_definitions_of_their_own() {
    let listing = Listing {
        identity: Some(r#"{"name":"files","title":null}"#.to_owned()),
        instructions: Some("  Read first. ".to_owned()),
        ..Listing::default()
    };
    let told: Vec<_> = offered(&listing)
        .map(|(kind, name, text)| (kind, name.to_owned(), value(&text)))
        .collect();
    let expected = [
        (
            PinKind::Server,
            String::new(),
            serde_json::json!({ "name": "files", "title": null }),
        ),
        (
            PinKind::Instructions,
            String::new(),
            serde_json::json!("Read first."),
        ),
    ];
    assert_eq!(told, expected);
    let silent = Listing {
        instructions: Some(" \n".to_owned()),
        ..Listing::default()
    };
    assert_eq!(offered(&silent).count(), 0);
}
