//! Bytes of a connection, cut into what was asked and what was answered: HTTP/1.1, events, WebSocket frames.
//!
//! After the fact and in one piece, so it is simple; what it cannot read it leaves out. Nothing here uses `wire`.

/// A request and its answer; either may be cut short.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    pub(super) ask: Part,
    pub(super) answer: Part,
}

/// Head and body.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// The first line.
    pub(super) first: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// Whether the whole body is there.
    pub(super) is_whole: bool,
}

impl Part {
    /// A header, its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let header = self.headers.iter().find(|(found, _)| found == name);
        header.map(|(_, value)| value.as_str())
    }

    /// The second word of the first line: the target of a request, the status of an answer.
    pub(super) fn word(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    fn has_no_body(&self) -> bool {
        matches!(self.word(), "101" | "202" | "204" | "304") && self.first.starts_with("HTTP/")
    }
}

/// Text messages of the client and of the gate.
type Frames = [Vec<Vec<u8>>; 2];

/// What was exchanged; and, after an upgrade, the messages in frames of both directions.
pub(super) fn cut(sent: &[u8], came: &[u8]) -> (Vec<Exchange>, Option<Frames>) {
    let (asks, frames_sent) = parts(sent);
    let (answers, frames_came) = parts(came);
    let is_upgraded = answers.last().is_some_and(|last| last.word() == "101");
    let mut asks = asks.into_iter();
    let exchanges = answers
        .into_iter()
        .map(|answer| Exchange {
            ask: asks.next().unwrap_or_default(),
            answer,
        })
        .collect();
    let frames = is_upgraded.then(|| [texts(frames_sent), texts(frames_came)]);
    (exchanges, frames)
}

/// The messages of one direction, and what follows an upgrade.
fn parts(mut bytes: &[u8]) -> (Vec<Part>, &[u8]) {
    let mut parts = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let (head, rest) = bytes.split_at(end + 4);
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut part = Part {
            first: lines.next().unwrap_or_default().to_owned(),
            headers: lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            ..Part::default()
        };
        if part.header("upgrade").is_some() && !part.first.starts_with("HTTP/1.1 4") {
            parts.push(part);
            return (parts, rest);
        }
        let length = part.header("content-length").map(str::parse);
        bytes = match (part.header("transfer-encoding"), length) {
            (Some(_), _) => chunks(rest, &mut part),
            (None, Some(Ok(length))) => {
                let length: usize = length;
                part.is_whole = rest.len() >= length;
                let (body, rest) = rest.split_at(length.min(rest.len()));
                part.body = body.to_vec();
                rest
            }
            (None, None) if part.has_no_body() || !part.first.starts_with("HTTP/") => {
                part.is_whole = true;
                rest
            }
            (None, _) => {
                part.body = rest.to_vec();
                &[]
            }
        };
        if !part.first.starts_with("HTTP/1.1 100") {
            parts.push(part);
        }
    }
    (parts, bytes)
}

/// Reads a body in chunks; gives what follows it.
fn chunks<'a>(mut bytes: &'a [u8], part: &mut Part) -> &'a [u8] {
    while let Some(end) = find(bytes, b"\r\n") {
        let (line, rest) = bytes.split_at(end + 2);
        let size = String::from_utf8_lossy(line);
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else {
            return &[];
        };
        let (chunk, rest) = rest.split_at(size.min(rest.len()));
        part.body.extend_from_slice(chunk);
        bytes = rest.get(2..).unwrap_or_default();
        if size == 0 {
            part.is_whole = true;
            return bytes;
        }
    }
    &[]
}

/// The data of the whole events of a stream, by kind; what carries none is left out.
pub(super) fn events(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let Some((whole, _)) = text.rsplit_once("\n\n") else {
        return Vec::new();
    };
    let event = |event: &str| {
        let field = |name: &str| -> Vec<String> {
            let lines = event.lines().filter_map(|line| line.strip_prefix(name));
            lines.map(|value| value.trim_start().to_owned()).collect()
        };
        let kind = field("event:").pop();
        (
            kind.unwrap_or_else(|| "message".to_owned()),
            field("data:").join("\n"),
        )
    };
    let events = whole.split("\n\n").map(event);
    events.filter(|(_, data)| !data.is_empty()).collect()
}

/// The text messages in WebSocket frames.
fn texts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    while let Some((first, payload, rest)) = frame(bytes) {
        bytes = rest;
        match (first & 0x0f, &mut open) {
            (1, _) => open = Some(payload),
            (0, Some(open)) => open.extend(payload),
            _ => continue,
        }
        if first & 0x80 != 0 {
            texts.extend(open.take());
        }
    }
    texts
}

/// The first byte of a frame, its payload, and what follows.
fn frame(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let [first, second, rest @ ..] = bytes else {
        return None;
    };
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    let (mask, rest) = if second & 0x80 == 0 {
        ([0; 4], rest)
    } else {
        let (mask, rest) = rest.split_first_chunk::<4>()?;
        (*mask, rest)
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let payload = payload.iter().zip(mask.iter().cycle());
    Some((
        *first,
        payload.map(|(byte, mask)| byte ^ mask).collect(),
        rest,
    ))
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|window| window == mark)
}
