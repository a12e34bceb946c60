//! Which bytes are messages, and what is refused how.

use super::*;

fn decode(text: &str) -> Result<Frame, Fault> {
    Frame::decode(&Bytes::copy_from_slice(text.as_bytes()))
}

fn refused(text: &str, code: Code, id: Option<&str>) {
    let fault = decode(text).expect_err(text);
    assert_eq!(
        (fault.code, fault.id.as_deref()),
        (code, id.map(str::as_bytes)),
        "{text}: {fault}"
    );
}

#[test]
fn ids_stay_as_they_were_written() {
    for id in ["1", "1.0", "\"1\"", "-7", "9007199254740993", "\"\\u00e4\""] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        let Ok(Frame::Request(request)) = decode(&text) else {
            panic!("{text}")
        };
        assert_eq!(request.id(), id);
    }
}

#[test]
fn what_json_rpc_and_mcp_forbid_is_refused() {
    refused("{", code::PARSE_ERROR, None);
    refused("nonsense", code::PARSE_ERROR, None);
    refused("\"text\"", code::INVALID_REQUEST, None);
    refused(
        r#"{"id":1,"method":"ping"}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        code::INVALID_REQUEST,
        None,
    );
    refused(
        r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
        code::INVALID_REQUEST,
        None,
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        code::INVALID_REQUEST,
        None,
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        r#"{"jsonrpc":"2.0","id":1}"#,
        code::INVALID_REQUEST,
        Some("1"),
    );
    refused(
        &format!("{}{}", "[".repeat(80), "]".repeat(80)),
        code::INVALID_REQUEST,
        None,
    );
}

#[test]
fn an_array_is_no_message_whatever_stands_in_it() {
    refused(r#"["2.0",1,"ping",{}]"#, code::INVALID_REQUEST, None);
    let inside = Bytes::from_static(br#"[["2.0",1,"ping",{}]]"#);
    let Ok(Body::Batch(items)) = Body::decode(&inside) else {
        panic!("a batch of one")
    };
    assert_eq!(items[0].as_ref().unwrap_err().code, code::INVALID_REQUEST);
}

#[test]
fn an_id_that_no_answer_could_name_is_refused() {
    for id in [
        "1.5",
        "-0.25",
        "1e-3",
        "1e999",
        r#""\ud800""#,
        "true",
        "[1]",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        refused(&text, code::INVALID_REQUEST, None);
    }
}

#[test]
fn what_is_nested_too_deep_is_refused_by_its_id() {
    let deep = "[".repeat(70) + &"]".repeat(70);
    for rest in [r#""method":"ping","params":{"x":"#, r#""result":{"x":"#] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":"a",{rest}{deep}}}}}"#);
        refused(&text, code::INVALID_REQUEST, Some("\"a\""));
    }
    refused(&"[".repeat(1_000_000), code::PARSE_ERROR, None);
    refused(&r#"{"x":"#.repeat(1_000_000), code::PARSE_ERROR, None);
}

#[test]
fn kinds_are_told_apart() {
    assert!(matches!(
        decode(r#"{"jsonrpc":"2.0","method":"x"}"#),
        Ok(Frame::Notification(_))
    ));
    assert!(matches!(
        decode(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        Ok(Frame::Response(_))
    ));
    let Ok(Frame::Request(request)) =
        decode(r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"tools\/call"}"#)
    else {
        panic!("an escaped spelling is the same name")
    };
    assert_eq!(request.method, MethodName::Known(&method::METHODS[0]));
}

#[test]
fn a_batch_judges_each_member_alone() {
    let bytes = Bytes::from_static(
        br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},1,{"jsonrpc":"2.0","method":"n"}]"#,
    );
    let Ok(Body::Batch(items)) = Body::decode(&bytes) else {
        panic!()
    };
    assert!(matches!(items[0], Ok(Frame::Request(_))));
    assert_eq!(items[1].as_ref().unwrap_err().code, code::INVALID_REQUEST);
    assert!(matches!(items[2], Ok(Frame::Notification(_))));
    assert_eq!(
        Body::decode(&Bytes::from_static(b" [] ")).unwrap_err().code,
        code::INVALID_REQUEST
    );
    assert_eq!(
        Body::decode(&Bytes::from_static(b"[1,")).unwrap_err().code,
        code::PARSE_ERROR
    );
    let many = format!("[{}1]", "1,".repeat(BATCH_MAX));
    assert_eq!(
        Body::decode(&Bytes::from(many)).unwrap_err().code,
        code::INVALID_REQUEST
    );
}

proptest::proptest! {
    #[test]
    fn no_bytes_whatever_make_it_panic(bytes: Vec<u8>) {
        let bytes = Bytes::from(bytes);
        if let Ok(Body::One(Ok(Frame::Request(request)))) = Body::decode(&bytes) {
            drop(request.read_params());
        }
    }

    #[test]
    fn no_text_like_a_message_makes_it_panic(text in r#"\{("(id|method|params|jsonrpc|result)":(1|"2.0"|"tools/call"|\{("name"|"_meta"|"ref"):.{0,8}\}),?){0,6}\}"#) {
        let bytes = Bytes::from(text);
        if let Ok(Frame::Request(request)) = Frame::decode(&bytes) {
            drop(request.read_params());
        }
    }
}
