//! What becomes of an open call when what comes for it is no message.

use super::*;

/// What the open call 1 gets when that line comes.
fn after(line: &'static [u8]) -> Result<Answer, oneshot::error::TryRecvError> {
    let inbox = Inbox::default();
    let mut ticket = inbox.open(1, None, None).expect("an open inbox");
    let line = Bytes::from_static(line);
    let fault = Frame::decode(&line).expect_err("no message");
    inbox.refuse(&line, &fault);
    ticket.reply.try_recv()
}

#[test]
fn an_answer_that_is_no_message_ends_its_call_at_once() {
    for line in [
        br#"{"jsonrpc":"1.0","id":1,"result":{}}"#.as_slice(),
        br#"{"id":1,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
        br#"{"jsonrpc":"2.0","id":1}"#,
    ] {
        let text = String::from_utf8_lossy(line);
        assert!(matches!(after(line), Ok(Err(Error::Protocol(_)))), "{text}");
    }
}

#[test]
fn what_is_no_answer_to_it_leaves_a_call_open() {
    for line in [
        br#"{"jsonrpc":"1.0","id":2,"result":{}}"#.as_slice(),
        br#"{"jsonrpc":"1.0","id":"1","result":{}}"#,
        br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        br#"{"jsonrpc":"2.0","result":{},"error":{}}"#,
        b"Listening on stdio",
    ] {
        let text = String::from_utf8_lossy(line);
        assert!(
            matches!(after(line), Err(oneshot::error::TryRecvError::Empty)),
            "{text}"
        );
    }
}
