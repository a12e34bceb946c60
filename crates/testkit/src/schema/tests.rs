//! Messages that fit their revision's schema and messages that do not, and conversations found in traffic.

use serde_json::{Value, json};

use super::traffic::{Conversation, conversations};
use super::{REVISIONS, Schemas};
use crate::mcp::{MODERN, call, initialize, modern, notification, request};

fn schemas() -> Schemas {
    Schemas::locate().expect("the schemas are installed")
}

/// What is wrong with a conversation on a pipe.
fn wrong(sent: &[Value], came: &[Value]) -> Option<String> {
    let bytes = |messages: &[Value]| -> Vec<Vec<u8>> {
        let texts = messages.iter().map(Value::to_string);
        texts.map(String::into_bytes).collect()
    };
    let conversation = Conversation::on_pipe(&bytes(sent), &bytes(came)).expect("JSON");
    let judged = conversation.judge(&mut schemas());
    judged.err().map(|error| error.to_string())
}

fn hello(revision: &str) -> (Value, Value) {
    let result = json!({ "protocolVersion": revision, "capabilities": {}, "serverInfo": { "name": "s", "version": "1" } });
    (
        initialize(revision),
        json!({ "jsonrpc": "2.0", "id": 0, "result": result }),
    )
}

fn result(result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "result": result })
}

#[test]
fn a_result_is_held_against_the_method_that_it_answers() {
    for revision in REVISIONS.into_iter().filter(|revision| *revision < MODERN) {
        let (ask, answer) = hello(revision);
        let asks = [ask, call(1, "t", &json!({}))];
        let fits = result(&json!({ "content": [{ "type": "text", "text": "x" }] }));
        assert_eq!(wrong(&asks, &[answer.clone(), fits]), None, "{revision}");
        for unfit in [json!({}), json!({ "content": [{ "type": "text" }] })] {
            let told = wrong(&asks, &[answer.clone(), result(&unfit)]).expect("told");
            assert!(told.contains("CallToolResult"), "{revision}: {told}");
        }
    }
}

#[test]
fn what_a_revision_does_not_have_is_told() {
    let link = json!({ "content": [{ "type": "resource_link", "uri": "a:b", "name": "n" }] });
    let steps = |revision: &str| {
        let (ask, answer) = hello(revision);
        wrong(&[ask, call(1, "t", &json!({}))], &[answer, result(&link)])
    };
    assert!(steps("2025-03-26").is_some());
    assert_eq!(steps("2025-06-18"), None);
    let batch = |revision: &str| {
        let (ask, answer) = hello(revision);
        let pong = result(&json!({}));
        wrong(
            &[ask, request(1, "ping", &json!({}))],
            &[answer, json!([pong])],
        )
    };
    assert_eq!(batch("2025-03-26"), None);
    assert!(batch("2025-06-18").is_some());
    let question = request(5, "roots/list", &json!({}));
    let (ask, answer) = hello("2025-11-25");
    assert_eq!(wrong(&[ask], &[answer, question.clone()]), None);
    let asked = modern(call(1, "t", &json!({})));
    assert!(wrong(&[asked], &[question]).is_some());
}

#[test]
fn a_modern_result_has_a_type_and_asks_only_where_it_may() {
    let call = modern(call(1, "t", &json!({})));
    let list = modern(request(1, "tools/list", &json!({})));
    let asks = result(&json!({ "resultType": "input_required", "requestState": "s" }));
    assert_eq!(
        wrong(std::slice::from_ref(&call), std::slice::from_ref(&asks)),
        None
    );
    assert!(wrong(&[list], &[asks]).is_some());
    assert!(
        wrong(
            std::slice::from_ref(&call),
            &[result(&json!({ "content": [] }))]
        )
        .is_some()
    );
    let nothing = result(&json!({ "resultType": "input_required" }));
    assert!(wrong(&[call], &[nothing]).is_some());
}

#[test]
fn an_error_that_belongs_to_nothing_has_the_id_of_its_revision() {
    let error = |id: Option<Value>| {
        let mut error = json!({ "jsonrpc": "2.0", "error": { "code": -32700, "message": "m" } });
        if let Some(id) = id {
            error["id"] = id;
        }
        error
    };
    let (ask, answer) = hello("2025-06-18");
    assert_eq!(wrong(&[ask], &[answer, error(Some(Value::Null))]), None);
    let (ask, answer) = hello("2025-11-25");
    assert_eq!(
        wrong(std::slice::from_ref(&ask), &[answer.clone(), error(None)]),
        None
    );
    assert!(wrong(&[ask], &[answer, error(Some(Value::Null))]).is_some());
}

#[test]
fn what_nobody_asked_and_nobody_says_is_told() {
    let (ask, answer) = hello("2025-11-25");
    for odd in [
        result(&json!({})),
        notification("notifications/odd", &json!({})),
        notification("notifications/progress", &json!({ "progress": 1 })),
    ] {
        let told = wrong(std::slice::from_ref(&ask), &[answer.clone(), odd]);
        assert!(told.is_some());
    }
}

#[test]
fn bytes_of_connections_become_conversations() {
    let list = request(1, "tools/list", &json!({}));
    let post = |headers: &str, body: &str| {
        format!(
            "POST /mcp HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = |headers: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let (ask, answer) = hello("2025-06-18");
    let opened = (
        post("", &ask.to_string()),
        json("Mcp-Session-Id: s\r\n", &answer.to_string()),
    );
    let told = |tools: &Value| {
        let event = format!("event: message\ndata: {}\n\n", result(tools));
        let (first, second) = event.split_at(9);
        let chunks = format!(
            "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        let twice = [
            post("Mcp-Session-Id: s\r\n", &list.to_string()),
            post("", "{"),
        ]
        .concat();
        let error = json(
            "",
            &json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32700, "message": "" } })
                .to_string(),
        );
        (twice, [head, &chunks, &error].concat())
    };
    let judge = |tools: &Value| {
        let (sent, came) = told(tools);
        let connections = [(sent, came), opened.clone()];
        let bytes = connections
            .iter()
            .map(|(sent, came)| (sent.as_bytes(), came.as_bytes()));
        let found = conversations(bytes).expect("JSON");
        let mut schemas = schemas();
        found.iter().try_for_each(|one| one.judge(&mut schemas))
    };
    judge(&json!({ "tools": [] })).expect("fits");
    let error = judge(&json!({ "tools": [{ "name": "n" }] })).expect_err("a tool without a schema");
    assert!(
        error.to_string().contains("2025-06-18 ListToolsResult"),
        "{error}"
    );
}

#[test]
fn the_text_of_frames_is_found() {
    let ping = request(1, "ping", &json!({})).to_string();
    let size = u8::try_from(ping.len()).expect("a short message");
    let mut sent = b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
    sent.extend([0x81, 0x80 | size, 1, 2, 3, 4]);
    sent.extend(
        ping.bytes()
            .zip([1, 2, 3, 4].into_iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    let answer = result(&json!([])).to_string();
    let (first, second) = answer.split_at(5);
    let mut came = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n".to_vec();
    came.extend([0x01, 5]);
    came.extend(first.bytes());
    came.extend([0x89, 0]);
    came.extend([0x80, u8::try_from(second.len()).expect("short")]);
    came.extend(second.bytes());
    let found = conversations([(sent.as_slice(), came.as_slice())]).expect("JSON");
    let mut schemas = schemas();
    let judged = found.iter().try_for_each(|one| one.judge(&mut schemas));
    let error = judged.expect_err("an array is no result").to_string();
    assert!(error.contains("JSONRPCResponse"), "{error}");
}
