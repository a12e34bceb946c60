//! What is taken of a trace context, and what is not.

use super::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn read(parent: &str, state: &str, baggage: &str) -> Context {
    let said = [parent, state, baggage];
    Context::read(|name| {
        let at = NAMES.iter().position(|one| *one == name).unwrap();
        Some(said[at].into()).filter(|text: &Cow<'_, str>| !text.is_empty())
    })
}

#[test]
fn a_traceparent_is_read_and_written_as_it_was() {
    let parent = Parent::parse(PARENT).unwrap();
    assert_eq!(parent.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(parent.span.to_string(), "00f067aa0ba902b7");
    assert!(parent.is_sampled);
    assert_eq!(parent.to_string(), PARENT);
    assert_eq!(parent.trace.randomness(), 0x00ce_929d_0e0e_4736);
}

#[test]
fn a_later_version_is_read_as_far_as_it_is_known() {
    let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-what-will-be";
    let parent = Parent::parse(later).unwrap();
    assert_eq!(
        parent.to_string(),
        PARENT.replace("-01", "-03"),
        "and is written as what we know"
    );
}

#[test]
fn what_is_no_traceparent_is_none() {
    for text in [
        "",
        "00",
        "00-0-0-00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        "00-4bf92f3577b34da6a3ce929d0e0e4736+00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473\u{e9}-00f067aa0ba902b7-01",
    ] {
        assert_eq!(Parent::parse(text), None, "{text}");
        assert!(read(text, "a=1", "").is_empty(), "{text}");
    }
}

#[test]
fn a_state_without_a_parent_says_nothing() {
    assert_eq!(read("", "a=1", ""), Context::default());
    assert_eq!(read(PARENT, "a=1", "").state(), Some("a=1"));
}

#[test]
fn what_is_no_tracestate_is_none_and_the_parent_stays() {
    let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
    for (state, fits) in [
        ("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", true),
        ("a=1, ,b=2,", true),
        ("t@v=x y!", true),
        (",", false),
        ("a", false),
        ("a=", false),
        ("a=1,a=2", false),
        ("A=1", false),
        ("a=1=2", false),
        ("a=\u{e9}", false),
        ("a=1\r\nx: y", false),
        (many[..32].join(",").as_str(), true),
        (many.join(",").as_str(), false),
        (format!("a={}", "x".repeat(257)).as_str(), false),
        (
            format!("a={0},b={0},c={0}", "x".repeat(200)).as_str(),
            false,
        ),
    ] {
        let context = read(PARENT, state, "");
        assert_eq!(context.state().is_some(), fits, "{state}");
        assert!(context.parent().is_some(), "{state}");
    }
}

#[test]
fn what_is_no_baggage_is_none() {
    let many = vec!["k=v"; 65].join(",");
    for (baggage, fits) in [
        ("userId=alice,serverNode=DF%2028,isProduction=false", true),
        ("a = 1 ; p ; q = 2 , b=", true),
        ("a", false),
        ("a=1,", false),
        ("=1", false),
        ("a b=1", false),
        ("a=1 2", false),
        ("a=\"1\"", false),
        ("a=1;", false),
        ("a=\u{e9}", false),
        ("a=1\nb=2", false),
        (many.as_str(), false),
        (format!("a={}", "x".repeat(8192)).as_str(), false),
    ] {
        let context = read("", "", baggage);
        assert_eq!(!context.is_empty(), fits, "{baggage}");
    }
}

#[test]
fn parent_and_state_are_of_one_message() {
    let message = read(PARENT, "", "");
    let other = PARENT.replace("4bf9", "5bf9");
    let carrier = read(&other, "a=1", "k=v");
    let both = message.clone().or(carrier.clone());
    assert_eq!(both.parent(), message.parent());
    assert_eq!(both.state(), None, "the carrier's is of another trace");
    let told: Vec<&str> = both.members().map(|(name, _)| name).collect();
    assert_eq!(told, [TRACEPARENT, BAGGAGE]);
    assert_eq!(Context::default().or(carrier.clone()), carrier);
}

#[test]
fn what_others_say_is_not_printed() {
    let context = read(PARENT, "a=CANARY1", "b=CANARY2");
    assert!(!format!("{context:?}").contains("CANARY"), "{context:?}");
}
