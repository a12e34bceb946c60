//! Parameters are read, renamed and left alone.

use super::*;
use crate::trace::{Context, TRACEPARENT};

fn read(text: &'static str) -> Params {
    Params::read(Bytes::from_static(text.as_bytes())).unwrap()
}

#[test]
fn a_new_name_and_meta_leave_the_rest_alone() {
    let params = read(
        r#"{ "name":"files.read","arguments":{"n":1.0},"x":[ ] ,"_meta":{"progressToken":7,"a/b":1}}"#,
    );
    let meta = params.meta().unwrap();
    let meta = meta.rewrite(Some("42"), &[], &Context::default()).unwrap();
    let text = params.rewrite(Subject::Tool, Rewrite::named("read"), Some(&meta));
    assert_eq!(
        text,
        r#"{ "name":"read","arguments":{"n":1.0},"x":[ ] ,"_meta":{"progressToken":42,"a/b":1}}"#
    );
}

#[test]
fn modern_keys_are_replaced_or_dropped() {
    let params = read(r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"x","a/b":"t"}}"#);
    let meta = params.meta().unwrap();
    let none = Context::default();
    assert_eq!(meta.rewrite(None, &[], &none).unwrap(), r#"{"a/b":"t"}"#);
    let modern = [(crate::meta::PROTOCOL_VERSION, "\"2026-07-28\"")];
    assert_eq!(
        meta.rewrite(None, &modern, &none).unwrap(),
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","a/b":"t"}"#
    );
}

#[test]
fn what_is_said_of_traces_is_ours_and_stays_where_it_was() {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let said = |name| (name == TRACEPARENT).then(|| parent.into());
    let trace = Context::read(said);
    let text = |meta: &'static str| {
        let params = read(meta);
        params.meta().unwrap().rewrite(None, &[], &trace)
    };
    let ours = format!(r#"{{"a":1,"traceparent":"{parent}","b":2}}"#);
    assert_eq!(
        text(r#"{"_meta":{"a":1,"traceparent":"x","baggage":"y","b":2}}"#).unwrap(),
        ours
    );
    let added = format!(r#"{{"a":1,"traceparent":"{parent}"}}"#);
    assert_eq!(text(r#"{"_meta":{"a":1}}"#).unwrap(), added);
    let alone = format!(r#"{{"traceparent":"{parent}"}}"#);
    assert_eq!(text("{}").unwrap(), alone);
}

#[test]
fn meta_is_added_where_there_was_none() {
    assert_eq!(
        read(r#"{"uri":"a:b"}"#).rewrite(Subject::Resource, Rewrite::default(), Some("{\"k\":1}")),
        r#"{"_meta":{"k":1},"uri":"a:b"}"#
    );
    assert_eq!(
        read("{}").rewrite(Subject::Resource, Rewrite::default(), Some("{\"k\":1}")),
        r#"{"_meta":{"k":1}}"#
    );
    assert_eq!(
        read("{}").rewrite(Subject::Resource, Rewrite::default(), None),
        "{}"
    );
}

#[test]
fn a_completion_names_a_prompt_or_a_template() {
    let params = read(
        r#"{"ref":{"type":"ref/prompt","name":"up.greet"},"argument":{"name":"who","value":"a"}}"#,
    );
    assert_eq!(params.reference, Some(Reference::Prompt("up.greet".into())));
    assert_eq!(
        params.rewrite(Subject::Reference, Rewrite::named("greet"), None),
        r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"a"}}"#
    );
}

#[test]
fn what_was_authorized_is_renamed_whatever_stands_beside_it() {
    let params = read(r#"{"name":"x","ref":{"type":"ref/prompt","name":"up.greet"}}"#);
    assert_eq!(
        params.rewrite(Subject::Reference, Rewrite::named("greet"), None),
        r#"{"name":"x","ref":{"type":"ref/prompt","name":"greet"}}"#
    );
    assert_eq!(
        params.rewrite(Subject::Tool, Rewrite::named("y"), None),
        r#"{"name":"y","ref":{"type":"ref/prompt","name":"up.greet"}}"#
    );
}

#[test]
fn wrong_types_are_told_by_name() {
    for (text, expect) in [
        (r#"{"name":1}"#, "`name` must be a string"),
        (r#"{"arguments":[]}"#, "`arguments` must be an object"),
        (r#"{"ref":{"type":"x"}}"#, "`ref.type` must be"),
        (r#"{"name":"a","name":"b"}"#, "stands twice"),
        (r#"{"name":"a","Name":"b"}"#, "otherwise than `name`"),
        (r#"{"argument\u017f":{}}"#, "otherwise than `arguments`"),
    ] {
        let error = Params::read(Bytes::from_static(text.as_bytes())).unwrap_err();
        assert!(error.contains(expect), "{error}");
    }
}

#[test]
fn other_arguments_change_nothing_else() {
    for (text, expect) in [
        (
            r#"{"name":"x", "arguments":{"a" : 1},"_meta":{"k":1.50}}"#,
            r#"{"name":"x", "arguments":{"b":2},"_meta":{"k":1.50}}"#,
        ),
        (r#"{"name":"x"}"#, r#"{"name":"x","arguments":{"b":2}}"#),
        (
            r#"{"name":"x","arguments":null}"#,
            r#"{"name":"x","arguments":{"b":2}}"#,
        ),
    ] {
        let changed = read(text).with_arguments(br#"{"b":2}"#).unwrap();
        assert_eq!(changed.text(), expect);
        assert_eq!(changed.arguments().unwrap(), r#"{"b":2}"#);
        assert_eq!(changed.name.as_deref(), Some("x"));
    }
    assert!(read("{}").with_arguments(b"[]").is_err());
}

#[test]
fn what_is_known_to_a_completion_can_be_given() {
    for (text, expect) in [
        (
            r#"{"ref":{"type":"ref/prompt","name":"x"}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"x"},"context":{"arguments":{"b":2}}}"#,
        ),
        (
            r#"{"context":{"arguments":{"a":1},"k":1.50},"n":1.0}"#,
            r#"{"n":1.0,"context":{"k":1.50,"arguments":{"b":2}}}"#,
        ),
    ] {
        assert_eq!(
            read(text).with_completed(br#"{"b":2}"#).unwrap().text(),
            expect
        );
    }
    assert!(read(r#"{"context":[]}"#).with_completed(b"{}").is_err());
}
