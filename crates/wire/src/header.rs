//! HTTP headers of MCP, and how a value that is not safe in a header is carried (2026-07-28, Streamable HTTP).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The revision.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// The legacy session.
pub const SESSION_ID: &str = "mcp-session-id";
/// The last event of a stream that is to go on.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// Repeats `method`.
pub const METHOD: &str = "mcp-method";
/// Repeats `params.name` or `params.uri`.
pub const NAME: &str = "mcp-name";

/// Starts the headers that repeat arguments which a tool's schema marks with `x-mcp-header`.
pub const PARAM_PREFIX: &str = "mcp-param-";

const PREFIX: &str = "=?base64?";
const SUFFIX: &str = "?=";

/// The value in a form that survives a header: as it is if safe, else `=?base64?…?=`.
#[must_use]
pub fn encode(value: &str) -> Cow<'_, str> {
    let is_printable = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let has_edges = value.starts_with(' ') || value.ends_with(' ');
    let looks_encoded = value.starts_with(PREFIX) && value.ends_with(SUFFIX);
    if is_printable && !has_edges && !looks_encoded {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("{PREFIX}{}{SUFFIX}", STANDARD.encode(value)))
    }
}

/// The value that a header carries; `None` if it looks encoded and is not.
#[must_use]
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
    else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(inner).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
