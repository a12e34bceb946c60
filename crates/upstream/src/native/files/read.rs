//! `read` and `stat`: one file's content, one path's facts.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use nix::fcntl::OFlag;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::reply::Failure;
use super::Kind;
use super::root::{Place, Roots};

/// Most bytes of a file that one answer holds.
const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Most bytes that are passed over to get to the first line.
const SKIP_BYTES_MAX: u64 = 256 << 20;
const LINES_DEFAULT: u64 = 2000;
const LINES_MAX: u64 = 100_000;
/// How much of a file tells whether it is text.
const SNIFF_BYTES: usize = 8 * 1024;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    /// The file: a root's name, then the path inside it, such as `docs/guide/start.md`.
    path: String,
    /// How many lines to pass over first; 0 unless said. Only for text.
    offset: Option<u64>,
    /// How many lines to return at most; 2000 unless said. Only for text.
    #[schemars(range(min = 1, max = 100_000))]
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Content {
    path: String,
    /// What the file seems to hold, by its name.
    mime_type: &'static str,
    encoding: Encoding,
    /// The text, or the bytes in base64.
    content: String,
    /// Size of the whole file in bytes.
    size: u64,
    /// Where to go on: the `offset` for the next call. Absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_offset: Option<u64>,
    /// What is not as in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
enum Encoding {
    #[serde(rename = "utf-8")]
    Text,
    #[serde(rename = "base64")]
    Base64,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Facts {
    path: String,
    kind: Kind,
    /// Size in bytes; of a file only.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// When the content last changed, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<String>,
    /// What a file seems to hold, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    mime_type: Option<&'static str>,
}

pub(super) fn read(roots: &Roots, ask: &Read) -> Result<Content, Failure> {
    let place = roots.find(&ask.path)?;
    let (mut file, facts) = place.open_file(OFlag::O_RDONLY)?;
    let content = match is_text(&mut file) {
        Ok(true) => text(&place, file, &facts, ask),
        Ok(false) => return binary(&place, file, &facts, &ask.path),
        Err(error) => Err(error),
    };
    content.map_err(|error| place.broken(&error))
}

pub(super) fn stat(roots: &Roots, path: &str) -> Result<Facts, Failure> {
    let place = roots.find(path)?;
    let facts = File::from(place.open(OFlag::O_PATH)?)
        .metadata()
        .map_err(|error| place.broken(&error))?;
    let kind = match facts.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Folder,
        kind if kind.is_symlink() => Kind::Link,
        _ => Kind::Special,
    };
    Ok(Facts {
        path: path.to_owned(),
        kind,
        size: facts.is_file().then_some(facts.len()),
        modified_at: facts
            .modified()
            .ok()
            .and_then(|time| Timestamp::try_from(time).ok())
            .map(|time| time.to_string()),
        mime_type: facts.is_file().then(|| mime_type(path, None)),
    })
}

/// Whether the file begins like text: UTF-8 without a null byte.
fn is_text(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::with_capacity(SNIFF_BYTES);
    (&*file).take(SNIFF_BYTES as u64).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(looks_like_text(&head))
}

pub(super) fn looks_like_text(head: &[u8]) -> bool {
    let utf8 = match std::str::from_utf8(head) {
        Ok(_) => true,
        // The cut may go through a character.
        Err(error) => error.error_len().is_none(),
    };
    utf8 && !head.contains(&0)
}

fn text(place: &Place<'_>, file: File, facts: &Metadata, ask: &Read) -> io::Result<Content> {
    let (offset, limit) = (
        ask.offset.unwrap_or(0),
        ask.limit.unwrap_or(LINES_DEFAULT).clamp(1, LINES_MAX),
    );
    let mut reader = BufReader::new(file);
    let mut content = Vec::new();
    let mut note = None;
    let mut next = offset;
    let mut skipped = 0;
    for _ in 0..offset {
        if skipped > SKIP_BYTES_MAX {
            note = Some("`offset` is too far into the file to be reached.");
            break;
        }
        match skip_line(&mut reader)? {
            0 => break,
            bytes => skipped += bytes,
        }
    }
    let mut more = note.is_none() && !reader.fill_buf()?.is_empty();
    while more && next < offset.saturating_add(limit) {
        let mut line = Vec::new();
        let room = CONTENT_BYTES_MAX - content.len();
        let bytes = reader
            .by_ref()
            .take(CONTENT_BYTES_MAX as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if bytes > room && !content.is_empty() {
            // It will be the first one of the next page.
            break;
        }
        if bytes > room {
            line.truncate(room);
            skip_line(&mut reader)?;
            note = Some("A line longer than 1 MiB was cut.");
        }
        more = bytes > 0;
        next += u64::from(more);
        content.append(&mut line);
        more = more && !reader.fill_buf()?.is_empty();
    }
    let content = String::from_utf8(content).unwrap_or_else(|error| {
        note = Some("Bytes that are not UTF-8 were replaced.");
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    });
    Ok(Content {
        path: ask.path.clone(),
        mime_type: mime_type(&place.quote(), Some(Encoding::Text)),
        encoding: Encoding::Text,
        content,
        size: facts.len(),
        next_offset: more.then_some(next),
        note,
    })
}

/// Passes over the rest of a line in little memory; says how many bytes that were.
fn skip_line(reader: &mut impl BufRead) -> io::Result<u64> {
    let mut skipped = 0;
    while skipped <= SKIP_BYTES_MAX {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(count);
        skipped += count as u64;
        if end.is_some() || count == 0 {
            break;
        }
    }
    Ok(skipped)
}

fn binary(place: &Place<'_>, file: File, facts: &Metadata, path: &str) -> Result<Content, Failure> {
    let mut bytes = Vec::new();
    file.take(CONTENT_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| place.broken(&error))?;
    if bytes.len() > CONTENT_BYTES_MAX {
        return Err(Failure(format!(
            "`{}` is binary and has {} bytes, more than the {CONTENT_BYTES_MAX} that can be returned.",
            place.quote(),
            facts.len()
        )));
    }
    Ok(Content {
        path: path.to_owned(),
        mime_type: mime_type(path, Some(Encoding::Base64)),
        encoding: Encoding::Base64,
        content: STANDARD.encode(bytes),
        size: facts.len(),
        next_offset: None,
        note: None,
    })
}

/// By the name's ending; failing that, by what was found inside.
fn mime_type(path: &str, found: Option<Encoding>) -> &'static str {
    let ending = Path::new(path)
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "md" | "markdown" => "text/markdown",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "toml" => "application/toml",
        "yaml" | "yml" => "application/yaml",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "gz" => "application/gzip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => match found {
            Some(Encoding::Text) => "text/plain",
            Some(Encoding::Base64) | None => "application/octet-stream",
        },
    }
}
