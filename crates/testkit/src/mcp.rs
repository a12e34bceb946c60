//! MCP as a client writes it: what a message of either era must carry, filled in where a test does not care.
//!
//! Nothing here uses `wire`: the other side of a test must not share the reader that is tested.

use serde_json::{Value, json};

/// The revision without a handshake.
pub const MODERN: &str = "2026-07-28";

const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// The name that our test client gives itself.
pub const CLIENT: &str = "testkit/1";

/// A request.
#[must_use]
pub fn request(id: impl Into<Value>, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params })
}

/// A tool call.
#[must_use]
pub fn call(id: impl Into<Value>, tool: &str, arguments: &Value) -> Value {
    request(
        id,
        "tools/call",
        &json!({ "name": tool, "arguments": arguments }),
    )
}

/// A tool call that wants to hear of its progress.
#[must_use]
pub fn call_with_progress(
    id: impl Into<Value>,
    tool: &str,
    arguments: &Value,
    token: impl Into<Value>,
) -> Value {
    let meta = json!({ "progressToken": token.into() });
    request(
        id,
        "tools/call",
        &json!({ "_meta": meta, "name": tool, "arguments": arguments }),
    )
}

/// An answer.
#[must_use]
pub fn response(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// A notification.
#[must_use]
pub fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// What opens a legacy session.
#[must_use]
pub fn initialize(revision: &str) -> Value {
    initialize_with(revision, &json!({}))
}

/// The same, from a client that can do more.
#[must_use]
pub fn initialize_with(revision: &str, capabilities: &Value) -> Value {
    let params = json!({
        "protocolVersion": revision,
        "capabilities": capabilities,
        "clientInfo": { "name": "testkit", "version": "1" },
    });
    request(0, "initialize", &params)
}

/// The message with everything in `_meta` that the modern revision demands, unless some of it is there.
#[must_use]
pub fn modern(mut message: Value) -> Value {
    let Some(envelope) = message.as_object_mut().filter(|envelope| {
        envelope.contains_key("id") && envelope.get("method").is_some_and(Value::is_string)
    }) else {
        return message;
    };
    let params = envelope.entry("params").or_insert_with(|| json!({}));
    let Some(params) = params.as_object_mut() else {
        return message;
    };
    let meta = params.entry("_meta").or_insert_with(|| json!({}));
    if let Some(meta) = meta.as_object_mut()
        && !meta
            .keys()
            .any(|key| key.starts_with("io.modelcontextprotocol/"))
    {
        meta.insert(PROTOCOL_VERSION.to_owned(), MODERN.into());
        meta.insert(
            CLIENT_INFO.to_owned(),
            json!({ "name": "testkit", "version": "1" }),
        );
        meta.insert(CLIENT_CAPABILITIES.to_owned(), json!({}));
    }
    message
}

/// A modern message of a client that can do more.
#[must_use]
pub fn modern_with(message: &Value, capabilities: &Value) -> Value {
    let mut message = modern(message.clone());
    message["params"]["_meta"][CLIENT_CAPABILITIES] = capabilities.clone();
    message
}

/// The headers with which a modern message is repeated over HTTP.
#[must_use]
pub fn headers(message: &Value) -> Vec<(&'static str, String)> {
    let params = &message["params"];
    let version = params["_meta"][PROTOCOL_VERSION].as_str().unwrap_or(MODERN);
    let mut headers = vec![("MCP-Protocol-Version", version.to_owned())];
    let Some(method) = message["method"].as_str() else {
        return headers;
    };
    headers.push(("Mcp-Method", method.to_owned()));
    let name = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    headers.extend(name.map(|name| ("Mcp-Name", name.to_owned())));
    headers
}

/// Whether a message is an answer.
#[must_use]
pub fn is_answer(message: &Value) -> bool {
    message.get("result").is_some() || message.get("error").is_some()
}
