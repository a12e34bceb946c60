//! Results and errors between the eras: what one side must have and the other never says.

use bytes::Bytes;
use wire::{Era, Method, Revision, Splice, code, json};

/// A result of an upstream of era `from` for a client of era `to`. Legacy clients ignore what they do not know.
pub(crate) fn result(to: Era, method: &Method, text: Bytes, from: Era) -> Bytes {
    if to == Era::Legacy {
        return text;
    }
    let text = if method.cacheable {
        private(text)
    } else {
        text
    };
    if from == Era::Modern {
        return text;
    }
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
    if method.name != wire::method::RESOURCES_READ.name || revision.era() == Era::Legacy {
        return error;
    }
    let Ok(Some(raw)) = json::member(&error, "code") else {
        return error;
    };
    if raw.get() != code::RESOURCE_NOT_FOUND.to_string() {
        return error;
    }
    let Some(at) = wire::Span::of(raw.get().as_bytes(), &error) else {
        return error;
    };
    let mut splice = Splice::new(&error);
    splice.replace(at, code::INVALID_PARAMS.to_string().into_bytes());
    splice.finish().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_calls_public_is_private_behind_the_gate() {
        let method = &wire::method::RESOURCES_READ;
        let said = Bytes::from_static(br#"{"contents":[],"cacheScope":"public","ttlMs":9}"#);
        let told: &[u8] = br#"{"contents":[],"cacheScope":"private","ttlMs":9}"#;
        assert_eq!(result(Era::Modern, method, said.clone(), Era::Modern), told);
        assert_eq!(result(Era::Legacy, method, said.clone(), Era::Modern), said);
        let told: &[u8] =
            br#"{"resultType":"complete","contents":[],"cacheScope":"private","ttlMs":9}"#;
        assert_eq!(result(Era::Modern, method, said, Era::Legacy), told);
    }
}
