//! What a pattern matches, and which texts are none.

use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, upstream: &str, name: &str) -> bool {
    Pattern::parse(pattern)
        .unwrap()
        .matches(&UpstreamId::parse(upstream).unwrap(), name)
}

#[test]
fn a_pattern_is_held_against_the_pair() {
    assert!(matches("files.read_*", "files", "read_text"));
    assert!(matches("files.read_*", "files", "read_"));
    assert!(!matches("files.read_*", "files", "write"));
    assert!(!matches("files.read_*", "files2", "read_text"));
    assert!(matches("*.search", "web", "search"));
    assert!(matches("f?les.*", "files", "anything.with.dots"));
    assert!(matches("*", "files", "file:///srv/ä.txt"));
    assert!(matches(
        "files.file:///srv/*",
        "files",
        "file:///srv/a/b?c=d"
    ));
}

#[test]
fn an_upstream_cannot_slip_under_anothers_rule() {
    // Joined with dots these would read the same.
    assert!(matches("a.b.c", "a", "b.c"));
    assert!(!matches("a.b*", "ab", "x"));
    assert!(!matches("files.*", "files-evil", "read"));
}

#[test]
fn half_a_pair_is_refused_with_a_hint() {
    let error = Pattern::parse("files").unwrap_err();
    assert_eq!(error, PatternError::NoEntry("files".into()));
    assert!(error.to_string().contains("`files.*`"), "{error}");
    assert_eq!(
        Pattern::parse("files."),
        Err(PatternError::NoEntry("files".into()))
    );
    assert!(
        Pattern::parse(".read")
            .unwrap_err()
            .to_string()
            .contains("`*.read`")
    );
    assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
    assert_eq!(Pattern::parse("a/b.c"), Err(PatternError::Character('/')));
    assert_eq!(
        Pattern::parse(&format!("a.{}", "x".repeat(600))),
        Err(PatternError::Long)
    );
}

#[test]
fn a_pattern_prints_as_it_was_written() {
    for text in ["*", "files.read_*", "*.search", "a.b.c"] {
        assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
    }
}

/// The definition, exponential and obvious.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..]))
        }
        (['?', p @ ..], [_, t @ ..]) => naive(p, t),
        ([want, p @ ..], [found, t @ ..]) => want == found && naive(p, t),
        _ => false,
    }
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_its_definition(pattern in "[abä?*]{0,8}", text in "[abä]{0,10}") {
        let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        prop_assert_eq!(glob(&pattern, &text), naive(&p, &t));
    }
}
