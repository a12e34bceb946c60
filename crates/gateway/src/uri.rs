//! What a URI can mean to whoever opens it. Rules speak of a URI as it is written; servers decode and resolve it.
//!
//! Which readings a rule is asked about is `call`'s; which URIs are held against templates is `catalog`'s.

/// So often may somebody on the way decode once more.
const DECODINGS_MAX: usize = 3;

/// The other readings of a URI: decoded once, twice, thrice, as far as there is something to decode.
pub(crate) fn readings(uri: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    while out.len() < DECODINGS_MAX {
        let last = out.last().map_or(uri, String::as_str);
        let Some(next) = decode(last) else { break };
        out.push(next);
    }
    out
}

/// Whether a URI can be another for whoever resolves it, in any reading: it has `.` or `..` among its segments, or an empty
/// one between others, or signs that many leave out before they look. Rules speak of URIs as they are written.
pub(crate) fn wanders(uri: &str) -> bool {
    let strays = |reading: &str| has_dots(reading) || has_gap(reading);
    uri.contains(char::is_control) || strays(uri) || readings(uri).iter().any(|one| strays(one))
}

fn has_dots(reading: &str) -> bool {
    reading
        .split(['/', '\\', '?', '#', ':'])
        .any(|segment| matches!(segment, "." | ".."))
}

/// Whether there is an empty segment behind the authority that is not the last. A URL of the web within the path is none.
fn has_gap(reading: &str) -> bool {
    let reading = reading.replace('\\', "/");
    let hier = reading.split_once(':').map_or(&*reading, |(_, rest)| rest);
    let hier = hier.split(['?', '#']).next().unwrap_or_default();
    let path = match hier.strip_prefix("//") {
        Some(rest) => rest.split_once('/').map_or("", |(_, path)| path),
        None => hier.strip_prefix('/').unwrap_or(hier),
    };
    let segments: Vec<&str> = path.split('/').collect();
    let (_, inner) = segments.split_last().unwrap_or((&"", &[]));
    let mut before = "";
    inner.iter().any(|segment| {
        let is_gap = segment.is_empty() && !matches!(before, "http:" | "https:");
        before = segment;
        is_gap
    })
}

/// The text with its `%XX` decoded; `None` if it has none.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let mut found = false;
    while let Some((first, tail)) = rest.split_first() {
        let hex = |at: usize| {
            let digit = char::from(*tail.get(at)?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                found = true;
                out.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    found.then(|| String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_that_wanders_is_known_however_it_is_spelt() {
        for uri in [
            "file:///docs/../secret",
            "file:///docs/%2e%2E/secret",
            "file:///docs/..%2fsecret",
            "file:///docs/%252e%252e/secret",
            "file:..\\secret",
            "x://..",
            "file:///srv/./secret/x",
            "file:///srv/%2e/secret/x",
            "file:///srv//secret/x",
            "file:////srv/secret/x",
            "file:///srv/%2Fsecret/x",
            "file:///srv/%252fsecret/x",
            "file:///srv/\\secret/x",
            "file:///srv/secret//",
            "file:///srv/sec\tret/x",
            "memo:a//b",
            "x://page/https:///b",
        ] {
            assert!(wanders(uri), "{uri}");
        }
        for uri in [
            "file:///docs/a..b",
            "file:///.../x",
            "file:///docs/.x",
            "x://a?v=1..2",
            "x://100%",
            "file:///docs/",
            "x://host",
            "x://host/",
            "x:///",
            "memo:a/b",
            "x://page/https://a.example/b",
            "x://page/https%3A%2F%2Fa.example%2Fb",
            "x://a/b?path=c//d",
        ] {
            assert!(!wanders(uri), "{uri}");
        }
    }

    #[test]
    fn readings_end_where_nothing_is_left_to_decode() {
        assert_eq!(readings("x://%73ecret"), ["x://secret"]);
        assert_eq!(readings("%2573"), ["%73", "s"]);
        assert_eq!(readings("100%, %zz, %4"), Vec::<String>::new());
        assert_eq!(readings("%252525252541").len(), DECODINGS_MAX);
    }
}
