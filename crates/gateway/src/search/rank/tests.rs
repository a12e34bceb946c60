//! Which tool comes first.

use super::*;

const TOOLS: [(&str, &str); 5] = [
    ("files.read", "Reads a file."),
    ("files.write", "Writes a file, which may then be read."),
    ("mail.send", "Sends a message to somebody."),
    ("mail.list", "Lists messages that nobody has read."),
    ("weather.forecast", "Tells how the weather will be."),
];

fn best(question: &str, among: &[(&'static str, &str)]) -> Vec<&'static str> {
    let tools: Vec<(&str, Words)> = among
        .iter()
        .map(|(name, text)| {
            let definition = format!("{{\"name\":\"{name}\",\"description\":\"{text}\"}}");
            (*name, Words::of(name, definition.as_bytes()))
        })
        .collect();
    rank(question, tools.iter().map(|(name, words)| (*name, words)))
}

#[test]
fn a_name_says_more_than_a_description() {
    let found = best("read", &TOOLS);
    assert_eq!(found.first(), Some(&"files.read"));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_rare_word_says_more_than_a_common_one() {
    assert_eq!(
        best("file forecast", &TOOLS).first(),
        Some(&"weather.forecast")
    );
}

#[test]
fn what_has_no_word_of_the_question_is_not_found() {
    assert!(best("elephant", &TOOLS).is_empty());
    assert!(best("", &TOOLS).is_empty());
    assert!(best("read", &[]).is_empty());
}

#[test]
fn ties_stay_in_the_order_of_the_list() {
    let twins = [
        ("a.same", "Same."),
        ("b.same", "Same."),
        ("c.same", "Same."),
    ];
    assert_eq!(best("same", &twins), ["a.same", "b.same", "c.same"]);
}

#[test]
fn what_is_not_ranked_changes_nothing() {
    // Ranked alone, the two stand as they do in the larger list if the rest is not counted.
    let two = [TOOLS[0], TOOLS[2]];
    assert_eq!(best("a file message", &two), best("a file message", &two));
    let hidden: Vec<(&'static str, &str)> = vec![("secret.file", "file file file"); 50];
    let with: Vec<(&'static str, &str)> = two.into_iter().chain(hidden).collect();
    let visible = |found: Vec<&'static str>| -> Vec<&'static str> {
        found
            .into_iter()
            .filter(|name| *name != "secret.file")
            .collect()
    };
    // Counted, they would make `file` a common word, and the message the better answer.
    assert_eq!(
        visible(best("file message", &with)),
        ["mail.send", "files.read"]
    );
    assert_eq!(best("file message", &two), ["files.read", "mail.send"]);
}
