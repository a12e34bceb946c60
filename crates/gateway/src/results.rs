//! Keeps results that are too long for their readers, who get the beginning and a link, and reads them back.
//!
//! Whose client has links, and what "too long" is, say `call` and the config. A link is good for ten minutes, for the
//! principal whose call it was, and nobody can guess one.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use parking_lot::Mutex;
use policy::{Instant, PrincipalId};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use wire::{Span, Splice, json};

/// What the links begin with.
const URI: &str = "portcullis://results/";
/// Bytes of the part of a link that nobody can guess.
const RANDOM_LEN: usize = 16;
/// How long a link is good.
const KEPT_FOR: Duration = Duration::from_secs(10 * 60);
/// More bytes than this the gate does not keep.
pub(crate) const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the beginning, which the reader gets at once.
const BEGINNING_MAX: usize = 2 * 1024;

/// Results that are kept for their readers.
#[derive(Debug)]
pub(crate) struct Results {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_uri: HashMap<String, Whole>,
    /// Oldest first.
    order: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Whole {
    principal: PrincipalId,
    /// What `resources/read` yields.
    read: Bytes,
    until: Instant,
}

impl Results {
    /// With room for so many bytes. When it is full, the oldest make place.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// A tool's result, with a link in the place of its text if that has more than `max` bytes. All else in it stays
    /// byte for byte: `structuredContent` is for programs, which follow no links.
    pub(crate) fn shortened(
        &self,
        result: Bytes,
        max: usize,
        principal: &PrincipalId,
        tool: &str,
        now: Instant,
    ) -> Bytes {
        // The text is not longer than all of it.
        if result.len() <= max {
            return result;
        }
        let Some(long) = Long::read(&result).filter(|long| long.bytes > max) else {
            return result;
        };
        let Some(uri) = new_uri() else {
            return result;
        };
        let read = long.read_as(&uri);
        if read.len() > self.bytes_max {
            return result;
        }
        let mut splice = Splice::new(&result);
        splice.replace(long.content_at, long.link_to(&uri, tool).into_bytes());
        let short = splice.finish().into();
        let whole = Whole {
            principal: principal.clone(),
            read: read.into(),
            until: now + KEPT_FOR,
        };
        let mut kept = self.kept.lock();
        kept.add(uri, whole);
        while kept.bytes > self.bytes_max {
            kept.forget_oldest();
        }
        short
    }

    /// What is kept under that link for that principal, as the result of `resources/read`.
    pub(crate) fn read(&self, uri: &str, principal: &PrincipalId, now: Instant) -> Option<Bytes> {
        let kept = self.kept.lock();
        let whole = kept.by_uri.get(uri)?;
        (whole.principal == *principal && now < whole.until).then(|| whole.read.clone())
    }

    /// How many are kept, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.by_uri.len(), kept.bytes)
    }

    /// Forgets what nobody may read any more.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut kept = self.kept.lock();
        while kept.oldest().is_some_and(|oldest| oldest.until <= now) {
            kept.forget_oldest();
        }
    }
}

impl Kept {
    fn add(&mut self, uri: String, whole: Whole) {
        self.bytes += whole.read.len();
        self.order.push_back(uri.clone());
        self.by_uri.insert(uri, whole);
    }

    fn oldest(&self) -> Option<&Whole> {
        self.by_uri.get(self.order.front()?)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.order.pop_front();
        let whole = oldest.and_then(|uri| self.by_uri.remove(&uri));
        self.bytes -= whole.map_or(0, |whole| whole.read.len());
    }
}

/// The content of a result, taken apart.
#[derive(Debug)]
struct Long<'a> {
    content_at: Span,
    /// The blocks as they are; of texts, the text as JSON.
    blocks: Vec<(&'a RawValue, Option<&'a RawValue>)>,
    /// Of all texts together.
    bytes: usize,
}

impl<'a> Long<'a> {
    fn read(result: &'a Bytes) -> Option<Self> {
        let content = json::member(result, "content").ok()??;
        let content_at = Span::of(content.get().as_bytes(), result)?;
        let raw: Vec<&RawValue> = serde_json::from_str(content.get()).ok()?;
        let mut blocks = Vec::with_capacity(raw.len());
        let mut bytes = 0;
        for block in raw {
            let text = text_of(block);
            bytes += text.and_then(json::unquote).map_or(0, |text| text.len());
            blocks.push((block, text));
        }
        Some(Self {
            content_at,
            blocks,
            bytes,
        })
    }

    fn texts(&self) -> impl Iterator<Item = &'a RawValue> {
        self.blocks.iter().filter_map(|(_, text)| *text)
    }

    /// The texts as what is read at `uri`.
    fn read_as(&self, uri: &str) -> String {
        let (uri, kind) = (json::string(uri), json::string(self.kind()));
        let contents: Vec<String> = self
            .texts()
            .map(|text| {
                json::object([
                    ("uri", uri.as_str()),
                    ("mimeType", kind.as_str()),
                    ("text", text.get()),
                ])
            })
            .collect();
        format!("{{\"contents\":[{}]}}", contents.join(","))
    }

    /// The blocks again, with the beginning of the texts and a link in their place.
    fn link_to(&self, uri: &str, tool: &str) -> String {
        let beginning = format!(
            "{}…\n\n[The beginning of {} bytes. All of it can be read at {uri} for {} minutes.]",
            self.beginning(),
            self.bytes,
            KEPT_FOR.as_secs() / 60,
        );
        let beginning = json::string(&beginning);
        let link = json::object([
            ("type", "\"resource_link\""),
            ("uri", &json::string(uri)),
            ("name", &json::string(&format!("Result of {tool}"))),
            ("mimeType", &json::string(self.kind())),
            ("size", &self.bytes.to_string()),
        ]);
        let mut replaced = Some(format!(
            "{},{link}",
            json::object([("type", "\"text\""), ("text", &beginning)])
        ));
        let blocks: Vec<String> = self
            .blocks
            .iter()
            .filter_map(|(block, text)| match text {
                Some(_) => replaced.take(),
                None => Some(block.get().to_owned()),
            })
            .collect();
        format!("[{}]", blocks.join(","))
    }

    fn beginning(&self) -> String {
        let mut out = String::new();
        for text in self.texts() {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&json::unquote(text).unwrap_or_default());
            if out.len() > BEGINNING_MAX {
                break;
            }
        }
        out.truncate(out.floor_char_boundary(BEGINNING_MAX));
        out
    }

    fn kind(&self) -> &'static str {
        let mut texts = self.texts();
        let is_json = |text: &RawValue| {
            json::unquote(text).is_some_and(|text| {
                text.trim_start().starts_with(['{', '['])
                    && serde_json::from_str::<IgnoredAny>(&text).is_ok()
            })
        };
        match (texts.next(), texts.next()) {
            (Some(only), None) if is_json(only) => "application/json",
            _ => "text/plain",
        }
    }
}

/// The text of a content block that is one.
fn text_of(block: &RawValue) -> Option<&RawValue> {
    let block = block.get().as_bytes();
    let kind = json::text(block, "type")?;
    let text = json::member(block, "text").ok()??;
    (kind == "text" && text.get().starts_with('"')).then_some(text)
}

/// A link that nobody can guess; `None` if the system gives no random bytes.
fn new_uri() -> Option<String> {
    let mut random = [0; RANDOM_LEN];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(format!("{URI}{}", URL_SAFE_NO_PAD.encode(random)))
}

#[cfg(test)]
mod tests;
