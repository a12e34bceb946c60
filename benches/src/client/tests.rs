//! Answers are found whole, whatever the framing, and never before they are all there.

use super::parse;

fn body(bytes: &str) -> Option<&str> {
    let answer = parse(bytes.as_bytes()).expect("well formed")?;
    bytes.get(answer.body)
}

#[test]
fn an_answer_with_a_length_ends_there() {
    let answer = "HTTP/1.1 200 OK\r\nMcp-Session-Id: a b\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(body(answer), Some("{}"));
    let parsed = parse(answer.as_bytes())
        .expect("well formed")
        .expect("whole");
    assert_eq!(
        (parsed.status, parsed.session.as_deref()),
        (200, Some("a b"))
    );
    for end in 0..answer.len() {
        assert_eq!(body(answer.get(..end).expect("ASCII")), None, "{end}");
    }
}

#[test]
fn a_chunked_answer_ends_with_its_empty_chunk() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(body(answer), Some("3\r\nabc\r\n0\r\n\r\n"));
    for end in 0..answer.len() {
        assert_eq!(body(answer.get(..end).expect("ASCII")), None, "{end}");
    }
}

#[test]
fn garbage_is_an_error() {
    assert!(parse(b"HTTP\r\n\r\n").is_err());
    assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n").is_err());
}
