//! What must hold for any bytes whatever. Run on random input by the tests, and for hours by `cargo xtask fuzz`.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::Value;

use crate::method::Subject;
use crate::{Body, Frame, Lines, Outcome, Request, Rewrite, Template, encode, header, sse, trace};

/// Messages: never a panic, and what is spliced together from a request is JSON again and says the same.
///
/// # Panics
/// If it does not hold.
pub fn frame(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let frames = match Body::decode(&bytes) {
        Ok(Body::One(frame)) => vec![frame],
        Ok(Body::Batch(frames)) => frames,
        Err(_) => return,
    };
    for frame in frames.into_iter().flatten() {
        match frame {
            Frame::Request(asked) => request(&asked),
            Frame::Notification(note) => {
                let again = Bytes::from(encode::notification(&note.method, &note.params()));
                assert!(
                    matches!(Frame::decode(&again), Ok(Frame::Notification(same)) if same.method == note.method)
                );
            }
            Frame::Response(response) => {
                let (Some(id), Outcome::Result(result)) = (response.id(), response.outcome())
                else {
                    continue;
                };
                let mut line = encode::response(id, &result);
                encode::onto_one_line(&mut line);
                assert!(!line.contains(&b'\n'));
                assert!(
                    matches!(Frame::decode(&Bytes::from(line)), Ok(Frame::Response(same)) if same.id() == Some(id))
                );
            }
        }
    }
}

fn request(asked: &Request) {
    let Ok(params) = asked.read_params() else {
        return;
    };
    let meta = params
        .meta()
        .ok()
        .and_then(|meta| meta.rewrite(Some("7"), &[("k", "1")], &trace::Context::of(asked)));
    let again = params.rewrite(Subject::Tool, Rewrite::named("other"), meta.as_deref());
    let message = Bytes::from(encode::request(asked.id(), asked.method.as_str(), &again));
    let decoded = Frame::decode(&message);
    assert!(
        matches!(decoded, Ok(Frame::Request(_))),
        "a rewritten request is a request"
    );
    let Ok(Frame::Request(same)) = decoded else {
        return;
    };
    assert_eq!((same.id(), &same.method), (asked.id(), &asked.method));
    let read = same
        .read_params()
        .expect("rewritten parameters can be read");
    assert_eq!(read.arguments(), params.arguments());
    assert_eq!(read.uri, params.uri);
    if params.name.is_some() {
        assert_eq!(read.name.as_deref(), Some("other"));
    }
}

/// Events: the same however the bytes were cut, and a message survives being framed.
///
/// # Panics
/// If it does not hold.
pub fn events(data: &[u8]) {
    let read = |chunk: usize| {
        let mut decoder = sse::Decoder::new(1 << 20);
        let mut events = Vec::new();
        for part in data.chunks(chunk) {
            decoder.push(part);
            while let Ok(Some(event)) = decoder.next_event() {
                events.push(event);
            }
        }
        events
    };
    assert_eq!(read(1), read(data.len().max(1)));
    if let Ok(text) = std::str::from_utf8(data)
        && serde_json::from_str::<Value>(text).is_ok()
    {
        let mut decoder = sse::Decoder::new(1 << 24);
        decoder.push(&sse::message(data));
        let event = decoder.next_event().ok().flatten().expect("one event");
        let same = serde_json::from_slice::<Value>(&event.data).expect("still JSON");
        assert_eq!(Some(same), serde_json::from_str(text).ok());
    }
}

/// Lines: the same however the bytes were cut.
///
/// # Panics
/// If it does not hold.
pub fn lines(data: &[u8]) {
    let read = |chunk: usize| {
        let mut lines = Lines::new(64);
        let mut found = Vec::new();
        for part in data.chunks(chunk) {
            lines.buffer().extend_from_slice(part);
            while let Some(line) = lines.next_line() {
                found.push(line);
            }
        }
        found
    };
    // What is too long is told once, early or late; the lines that are not are the same.
    let kept = |chunk| {
        read(chunk)
            .into_iter()
            .filter_map(Result::ok)
            .collect::<Vec<_>>()
    };
    assert_eq!(kept(1), kept(data.len().max(1)));
}

/// Header values and URI templates: never a panic, and a value comes back as it was.
///
/// # Panics
/// If it does not hold.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    assert_eq!(header::decode(&header::encode(text)).as_deref(), Some(text));
    let _decoded = header::decode(text);
    traces(text);
    let (template, uri) = text.split_once('\n').unwrap_or((text, text));
    let fits = Template::new(template).matches(uri);
    if !template.contains('{') {
        assert_eq!(fits, template == uri);
    }
}

/// What is taken of trace contexts is safe in a header and in JSON, and is taken again when it comes back.
fn traces(text: &str) {
    let mut lines = text.split('\n').map(Cow::Borrowed);
    let said: Vec<Option<Cow<'_, str>>> = trace::NAMES.map(|_| lines.next()).into();
    let at = |name| trace::NAMES.iter().position(|one| *one == name);
    let context = trace::Context::read(|name| said.get(at(name)?)?.clone());
    for (_, value) in context.members() {
        let is_there = value.json().parse::<Value>();
        assert_eq!(
            is_there.ok().as_ref().and_then(Value::as_str),
            Some(value.text())
        );
        assert!(
            value
                .text()
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte))
        );
    }
    let told: Vec<_> = context.members().collect();
    let find = |name| told.iter().find(|(one, _)| *one == name);
    let again = trace::Context::read(|name| Some(Cow::Borrowed(find(name)?.1.text())));
    assert_eq!(context, again);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Text that is likely to get past the first check.
    fn like_messages() -> impl Strategy<Value = Vec<u8>> {
        let id = prop_oneof!["[0-9]{1,20}", "\"[a-z]{0,4}\"", "-?[0-9]\\.[0-9]", "null"];
        let member = prop_oneof![
            "\"name\":\"[a-z.]{0,8}\"",
            "\"uri\":\"[a-z:/]{0,8}\"",
            "\"arguments\":\\{(\"a\":[0-9]{1,3})?\\}",
            "\"_meta\":\\{(\"progressToken\":[0-9]{1,3})?\\}",
            "\"x\":\\[\\]",
            "\"cursor\":\"[a-z]{0,3}\"",
            "\"_meta\":\\{\"baggage\":\"[a-c=,; ]{0,9}\"(,\"traceparent\":\"00-0{31}[0-9a-f]-0{15}[0-9a-f]-0[0-3]\")?\\}",
        ];
        let members = prop::collection::vec(member, 0..5).prop_map(|members| members.join(" ,\n"));
        (id, members, prop::bool::ANY).prop_map(|(id, members, batch)| {
            let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{{members}}}}}");
            if batch { format!("[{text},{text}]").into_bytes() } else { text.into_bytes() }
        })
    }

    proptest! {
        #[test]
        fn messages_hold(data in prop_oneof![like_messages(), prop::collection::vec(any::<u8>(), 0..64)]) {
            super::frame(&data);
        }

        #[test]
        fn events_hold(data in prop_oneof!["(data|event|id)?:? ?[a-z\\{\\}\r\n]{0,12}(\n|\r|\r\n){0,3}", "\\{\"a\": ?[0-9]\n\\}"]) {
            super::events(data.as_bytes());
        }

        #[test]
        fn lines_hold(data in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300)) {
            super::lines(&data);
        }

        #[test]
        fn texts_hold(data in "(=\\?base64\\?)?[a-zA-Z{}/+?\\PC\n]{0,24}(\\?=)?") {
            super::text(data.as_bytes());
        }

        #[test]
        fn traces_hold(data in "(0[01]-0{31}[0-9a-f]-0{15}[0-9a-f]-0[0-3](-x)?)?\n([a-b@=, ]{0,9}|a@b=c ?d,,b=1)\n([a-c]=[ -~];? ?[a-c=]{0,4},?){0,3}") {
            super::text(data.as_bytes());
        }
    }
}
