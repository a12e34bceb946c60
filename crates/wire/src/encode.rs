//! Messages from parts. Every `&str` argument named `raw_*` is JSON text and goes in as it is.

use crate::code::Code;
use crate::json;

/// A successful reply.
#[must_use]
pub fn response(raw_id: &str, raw_result: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw_id.len() + raw_result.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(raw_id.as_bytes());
    out.extend_from_slice(b",\"result\":");
    out.extend_from_slice(raw_result);
    out.push(b'}');
    out
}

/// A failed reply around an error object that is there already (an upstream's).
#[must_use]
pub fn error_object(raw_id: &str, raw_error: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw_id.len() + raw_error.len() + 40);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(raw_id.as_bytes());
    out.extend_from_slice(b",\"error\":");
    out.extend_from_slice(raw_error);
    out.push(b'}');
    out
}

/// A failed reply. Without an id it answers a request whose id could not be read: `"id":null`.
#[must_use]
pub fn error(raw_id: Option<&str>, code: Code, message: &str, raw_data: Option<&str>) -> Vec<u8> {
    let object = error_text(code, message, raw_data);
    error_object(raw_id.unwrap_or("null"), object.as_bytes())
}

/// A failed reply to a request whose id could not be read, in revisions where it then has none (from 2025-11-25 on).
#[must_use]
pub fn error_without_id(code: Code, message: &str, raw_data: Option<&str>) -> Vec<u8> {
    let object = error_text(code, message, raw_data);
    format!("{{\"jsonrpc\":\"2.0\",\"error\":{object}}}").into_bytes()
}

fn error_text(code: Code, message: &str, raw_data: Option<&str>) -> String {
    let mut object = format!("{{\"code\":{code},\"message\":{}", json::string(message));
    if let Some(data) = raw_data {
        object.push_str(",\"data\":");
        object.push_str(data);
    }
    object.push('}');
    object
}

/// A request.
#[must_use]
pub fn request(raw_id: &str, method: &str, raw_params: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw_id.len() + method.len() + raw_params.len() + 56);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(raw_id.as_bytes());
    out.extend_from_slice(b",\"method\":");
    out.extend_from_slice(json::string(method).as_bytes());
    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(raw_params);
    out.push(b'}');
    out
}

/// A notification.
#[must_use]
pub fn notification(method: &str, raw_params: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(method.len() + raw_params.len() + 48);
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":");
    out.extend_from_slice(json::string(method).as_bytes());
    out.extend_from_slice(b",\"params\":");
    out.extend_from_slice(raw_params);
    out.push(b'}');
    out
}

/// Makes a message fit for one line: in valid JSON a line break can only stand between tokens.
pub fn onto_one_line(message: &mut [u8]) {
    for byte in message {
        if *byte == b'\n' || *byte == b'\r' {
            *byte = b' ';
        }
    }
}
