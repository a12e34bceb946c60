//! Results and errors between the eras: what one side must have and the other never says.

use bytes::Bytes;
use wire::{Era, Method, Revision, Splice, code, json};

/// An upstream's result for a client of era `to`. Legacy clients ignore what they do not know; a result that lacks what
/// a modern one must have is completed, whoever wrote it.
pub(crate) fn result(to: Era, method: &Method, text: Bytes) -> Bytes {
    if to == Era::Legacy {
        return text;
    }
    let text = if method.cacheable {
        private(text)
    } else {
        text
    };
    let members = json::members(&text).unwrap_or_default();
    let lacks = |name: &str| !members.iter().any(|(key, _)| key == name);
    let mut extra = String::new();
    for (name, value) in modern_members(method, 0) {
        if lacks(name) {
            if !extra.is_empty() {
                extra.push(',');
            }
            extra.push_str(&format_member(name, &value));
        }
    }
    if extra.is_empty() {
        return text;
    }
    json::with_members(&text, &extra).into()
}

/// What an upstream offers to everybody is not for everybody here: who may see it is decided call by call.
fn private(text: Bytes) -> Bytes {
    match json::member(&text, "cacheScope") {
        Ok(Some(scope)) if scope.get() != "\"private\"" => {
            let Some(at) = wire::Span::of(scope.get().as_bytes(), &text) else {
                return text;
            };
            let mut splice = Splice::new(&text);
            splice.replace(at, &b"\"private\""[..]);
            splice.finish().into()
        }
        _ => text,
    }
}

/// What every modern result carries, and what cacheable ones carry (2026-07-28, "Caching").
pub(crate) fn modern_members(method: &Method, ttl_ms: u64) -> Vec<(&'static str, String)> {
    let mut members = vec![("resultType", "\"complete\"".to_owned())];
    if method.cacheable {
        // What a list holds depends on who asks: never shared.
        members.extend([
            ("ttlMs", ttl_ms.to_string()),
            ("cacheScope", "\"private\"".to_owned()),
        ]);
    }
    members
}

/// `"name":value`.
pub(crate) fn format_member(name: &str, value: &str) -> String {
    format!("\"{name}\":{value}")
}

/// An upstream's error object for a client: the code for an unknown resource moved between the eras.
pub(crate) fn error(revision: Revision, method: &Method, error: Bytes) -> Bytes {
    if method.name != wire::method::RESOURCES_READ.name {
        return error;
    }
    let Ok(Some(raw)) = json::member(&error, "code") else {
        return error;
    };
    let is_code = |code: code::Code| raw.get() == code.to_string();
    let is_unknown = match revision.era() {
        Era::Modern => is_code(code::RESOURCE_NOT_FOUND),
        // Other parameters can be wrong as well; an unknown resource names its URI.
        Era::Legacy => is_code(code::INVALID_PARAMS) && names_uri(&error),
    };
    let at = wire::Span::of(raw.get().as_bytes(), &error).filter(|_| is_unknown);
    let Some(at) = at else {
        return error;
    };
    let mut splice = Splice::new(&error);
    splice.replace(at, revision.resource_not_found().to_string().into_bytes());
    splice.finish().into()
}

fn names_uri(error: &[u8]) -> bool {
    let data = json::member(error, "data").ok().flatten();
    data.is_some_and(|data| json::text(data.get().as_bytes(), "uri").is_some())
}

/// The HTTP status that goes with an upstream's error: what the client's request lacked shows there as well
/// (2026-07-28, "Streamable HTTP").
pub(crate) fn error_status(era: Era, error: &[u8]) -> u16 {
    let code = json::member(error, "code").ok().flatten();
    let is_missing = code.is_some_and(|code| code.get() == code::MISSING_CAPABILITY.to_string());
    if is_missing && era == Era::Modern {
        400
    } else {
        200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_calls_public_is_private_behind_the_gate() {
        let method = &wire::method::RESOURCES_READ;
        let said = Bytes::from_static(br#"{"contents":[],"cacheScope":"public","ttlMs":9}"#);
        assert_eq!(result(Era::Legacy, method, said.clone()), said);
        let told: &[u8] =
            br#"{"resultType":"complete","contents":[],"cacheScope":"private","ttlMs":9}"#;
        assert_eq!(result(Era::Modern, method, said), told);
    }
}
