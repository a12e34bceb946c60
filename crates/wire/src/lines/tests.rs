//! Lines out of a stream, within their bound.

use super::*;

#[test]
fn lines_come_whole_however_they_were_read() {
    let mut lines = Lines::new(16);
    for byte in b"{\"a\":1}\r\n\n  \n{}\nrest" {
        lines.buffer().extend_from_slice(&[*byte]);
    }
    assert_eq!(
        lines.next_line(),
        Some(Ok(Bytes::from_static(b"{\"a\":1}")))
    );
    assert_eq!(lines.next_line(), Some(Ok(Bytes::from_static(b"{}"))));
    assert_eq!(lines.next_line(), None);
}

#[test]
fn a_line_over_the_bound_is_dropped_and_the_next_one_is_fine() {
    let mut lines = Lines::new(8);
    lines.buffer().extend_from_slice(b"0123456789");
    assert_eq!(lines.next_line(), Some(Err(LineTooLong { max: 8 })));
    lines.buffer().extend_from_slice(&[b'x'; 4096]);
    assert_eq!(lines.next_line(), None);
    assert!(lines.buffer.is_empty(), "what is skipped is not kept");
    lines.buffer().extend_from_slice(b"end\nok\n");
    assert_eq!(lines.next_line(), Some(Ok(Bytes::from_static(b"ok"))));
}
