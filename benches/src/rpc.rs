//! The upstream's side of MCP: one message in, at most one out. No I/O.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The legacy revision that is spoken here.
pub(crate) const LEGACY: &str = "2025-11-25";
/// The modern one.
pub(crate) const MODERN: &str = "2026-07-28";

const TOOLS: &str = r#""tools":[{"name":"echo","title":"Echo","description":"Says a message back, as often as asked.","inputSchema":{"type":"object","properties":{"message":{"type":"string","minLength":1,"maxLength":4096,"description":"What to say"},"times":{"type":"integer","minimum":1,"maximum":8,"default":1}},"required":["message"],"additionalProperties":false},"annotations":{"readOnlyHint":true,"idempotentHint":true,"openWorldHint":false}},{"name":"note","title":"Note","description":"Says a message back, and does not say that this is all it does.","inputSchema":{"type":"object","properties":{"message":{"type":"string","minLength":1,"maxLength":4096,"description":"What to say"}},"required":["message"],"additionalProperties":false}}]"#;
const SERVER: &str = r#"{"name":"bench-upstream","version":"1"}"#;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Params {
    #[serde(rename = "_meta", default)]
    meta: Meta,
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Arguments,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    revision: Option<String>,
}

#[derive(Deserialize, Default)]
struct Arguments {
    #[serde(default)]
    message: String,
    times: Option<usize>,
}

/// What goes back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The message; `None` for a notification.
    pub(crate) body: Option<String>,
    /// Whether it opens a legacy session.
    pub(crate) opens: bool,
}

/// Answers one message.
pub(crate) fn answer(message: &[u8]) -> Reply {
    let Ok(Message { id, method, params }) = serde_json::from_slice::<Message<'_>>(message) else {
        let body = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}"#;
        return Reply {
            body: Some(body.to_owned()),
            opens: false,
        };
    };
    let Some(id) = id else {
        return Reply {
            body: None,
            opens: false,
        };
    };
    let params: Params = params
        .and_then(|params| serde_json::from_str(params.get()).ok())
        .unwrap_or_default();
    let complete = if params.meta.revision.is_some() {
        r#","resultType":"complete""#
    } else {
        ""
    };
    let cached = if params.meta.revision.is_some() {
        r#","ttlMs":60000,"cacheScope":"public""#
    } else {
        ""
    };
    let result = match method.as_str() {
        "initialize" => {
            format!(
                r#"{{"protocolVersion":"{LEGACY}","capabilities":{{"tools":{{}}}},"serverInfo":{SERVER}}}"#
            )
        }
        "server/discover" => format!(
            r#"{{"supportedVersions":["{MODERN}"],"capabilities":{{"tools":{{}}}},"_meta":{{"io.modelcontextprotocol/serverInfo":{SERVER}}}{complete}{cached}}}"#
        ),
        "ping" => "{}".to_owned(),
        "tools/list" => format!("{{{TOOLS}{complete}{cached}}}"),
        "tools/call" if matches!(params.name.as_str(), "echo" | "note") => {
            let text = params
                .arguments
                .message
                .repeat(params.arguments.times.unwrap_or(1).min(8));
            let text = serde_json::Value::from(text);
            format!(r#"{{"content":[{{"type":"text","text":{text}}}]{complete}}}"#)
        }
        "tools/call" => return failure(id, -32602, "Unknown tool"),
        _ => return failure(id, -32601, "Method not found"),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    Reply {
        body: Some(body),
        opens: method == "initialize",
    }
}

fn failure(id: &RawValue, code: i32, message: &str) -> Reply {
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
    Reply {
        body: Some(body),
        opens: false,
    }
}

#[cfg(test)]
mod tests;
