//! Events survive every line end and every cut.

use super::*;

fn events(chunks: &[&[u8]]) -> Vec<Event> {
    let mut decoder = Decoder::new(1024);
    let mut out = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(event) = decoder.next_event().unwrap() {
            out.push(event);
        }
    }
    out
}

#[test]
fn every_line_end_and_every_cut_gives_the_same_events() {
    let text = b"\xef\xbb\xbf: hi\r\nevent: x\r\ndata: a\r\ndata:b\r\nid: 7\r\n\r\ndata\n\ndata: c\r\revent: y\n\n";
    let whole = events(&[text]);
    assert_eq!(whole.len(), 3);
    assert_eq!(
        (whole[0].kind.as_str(), &whole[0].data[..]),
        ("x", &b"a\nb"[..])
    );
    assert_eq!(whole[0].id.as_deref(), Some("7"));
    assert_eq!(&whole[1].data[..], b"");
    assert_eq!(&whole[2].data[..], b"c");
    let bytewise: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(events(&bytewise), whole);
}

#[test]
fn a_message_survives_encoding_even_over_several_lines() {
    let got = events(&[&message(b"{\n \"a\":1}"), KEEP_ALIVE, &message(b"{}")]);
    assert_eq!(
        got.iter().map(|e| &e.data[..]).collect::<Vec<_>>(),
        [&b"{\n \"a\":1}"[..], b"{}"]
    );
}

#[test]
fn an_event_without_end_is_refused_at_the_bound() {
    let mut decoder = Decoder::new(64);
    decoder.push(&[b'x'; 65]);
    assert!(decoder.next_event().is_err());
    let mut decoder = Decoder::new(64);
    for _ in 0..10 {
        decoder.push(b"data: 0123456789\n");
        if decoder.next_event().is_err() {
            return;
        }
    }
    panic!("ten lines of ten bytes are more than 64");
}
