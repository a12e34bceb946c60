//! The upstream answers as an MCP server of either era would.

use super::answer;

fn body(message: &str) -> serde_json::Value {
    serde_json::from_str(
        &answer(message.as_bytes())
            .body
            .expect("a request has an answer"),
    )
    .expect("JSON")
}

#[test]
fn a_legacy_call_is_echoed_and_a_modern_one_says_that_it_is_complete() {
    let call = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo","arguments":{"message":"x\"","times":2}}}"#;
    let legacy = body(call);
    assert_eq!(
        (&legacy["id"], &legacy["result"]["content"][0]["text"]),
        (&"a".into(), &"x\"x\"".into())
    );
    assert!(legacy["result"].get("resultType").is_none());
    let modern = body(&call.replace(
        r#""params":{"#,
        r#""params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"},"#,
    ));
    assert_eq!(modern["result"]["resultType"], "complete");
}

#[test]
fn only_a_handshake_opens_a_session_and_a_notification_has_no_answer() {
    assert!(answer(br#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#).opens);
    let notification = answer(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!((notification.body, notification.opens), (None, false));
}

#[test]
fn what_it_does_not_know_is_an_error() {
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shout"}}"#;
    assert_eq!(body(call)["error"]["code"], -32602);
    assert_eq!(
        body(r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#)["error"]["code"],
        -32601
    );
    assert_eq!(body("{")["error"]["code"], -32700);
}
