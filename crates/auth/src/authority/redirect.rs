//! Redirect URIs: which may be registered, and which of them a request names.
//!
//! Exactly, character by character; but for the port on the loopback address, which a program picks when it runs.
//! Sources: OAuth 2.1 section 2.3, RFC 8252 sections 7 and 8.

use std::borrow::Cow;

use url::Url;

use super::OAuthError;

/// Longest redirect URI, in bytes.
const BYTES_MAX: usize = 2048;
/// Origins on this machine. Its names are three, and a URI keeps to its own.
const LOOPBACKS: [&str; 3] = ["http://127.0.0.1", "http://[::1]", "http://localhost"];

/// What a redirect URI leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// A web site, which its certificate proves to be the one.
    Site,
    /// Whatever program listens there, on the browser's machine.
    Loopback,
    /// Whatever app claims the scheme, on the browser's machine.
    App,
}

/// Where a redirect URI leads, if it is one that may be registered. `schemes` are allowed besides those in
/// reverse-domain form.
pub(super) fn leads(uri: &str, schemes: &[String]) -> Result<Leads, OAuthError> {
    let bad = |why| Err(OAuthError::RedirectUri(why));
    if uri.len() > BYTES_MAX || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
        return bad("A redirect URI is at most 2048 printable ASCII characters");
    }
    if uri.contains(['\\', '#', '"', '<', '>']) {
        return bad("A redirect URI has no fragment and no character that is not one of a URI's");
    }
    let Ok(url) = Url::parse(uri) else {
        return bad("A redirect URI is an absolute URI");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return bad("A redirect URI has no user name");
    }
    match url.scheme() {
        // Browsers find a host behind any number of slashes; here it stands where RFC 3986 has it.
        "https" if has_authority(uri) => Ok(Leads::Site),
        "http" if loopback(uri).is_some() => Ok(Leads::Loopback),
        "http" => bad("Use https, or http on the loopback address"),
        scheme
            if is_reverse_domain(scheme)
                || schemes.iter().any(|own| own.eq_ignore_ascii_case(scheme)) =>
        {
            Ok(Leads::App)
        }
        _ => bad("A private-use scheme is a domain in reverse, as com.example.app"),
    }
}

fn has_authority(uri: &str) -> bool {
    uri.strip_prefix("https://")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
}

/// Whether a client may have this redirect URI; `schemes` are allowed besides those in reverse-domain form.
///
/// # Errors
/// Why it may not.
pub fn is_redirect_uri(uri: &str, schemes: &[String]) -> Result<(), Cow<'static, str>> {
    match leads(uri, schemes) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.description()),
    }
}

/// RFC 8252 section 7.1.
fn is_reverse_domain(scheme: &str) -> bool {
    let mut labels = scheme.split('.');
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    scheme.contains('.') && labels.all(is_label)
}

/// Whether a request for `asked` is one for `registered`.
pub(super) fn is_same(registered: &str, asked: &str) -> bool {
    registered == asked
        || match (loopback(registered), loopback(asked)) {
            (Some(registered), Some(asked)) => registered == asked,
            (None, _) | (_, None) => false,
        }
}

/// Host and rest of a URI on this machine, without the port between them (RFC 8252 section 7.3).
fn loopback(uri: &str) -> Option<(&str, &str)> {
    let host = LOOPBACKS
        .into_iter()
        .find(|host| uri.strip_prefix(host).is_some_and(starts_after_host))?;
    let rest = uri.strip_prefix(host)?;
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let rest = port.trim_start_matches(|c: char| c.is_ascii_digit());
            let digits = port.strip_suffix(rest)?;
            digits.parse::<u16>().ok()?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

fn starts_after_host(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([':', '/', '?'])
}

/// The address with these parameters added.
pub(super) fn with(uri: &str, params: &[(&str, &str)]) -> Result<Url, OAuthError> {
    let mut url =
        Url::parse(uri).map_err(|_bad| OAuthError::RedirectUri("It cannot be redirected to"))?;
    url.query_pairs_mut().extend_pairs(params);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(uri: &str) -> Option<Leads> {
        leads(uri, &["cursor".to_owned()]).ok()
    }

    #[test]
    fn only_addresses_that_reach_the_client_can_be_registered() {
        for (uri, leads) in [
            ("https://app.example/cb?x=1", Leads::Site),
            ("http://127.0.0.1:5000/cb", Leads::Loopback),
            ("http://[::1]/cb", Leads::Loopback),
            ("http://localhost", Leads::Loopback),
            ("com.example.app:/oauth", Leads::App),
            ("cursor://anysphere.cursor-retrieval/oauth", Leads::App),
        ] {
            assert_eq!(verdict(uri), Some(leads), "{uri}");
        }
        for uri in [
            "http://app.example/cb",
            "http://localhost.evil.example/cb",
            "http://localhost@evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://127.0.0.1:99999/cb",
            "http://127.1/cb",
            "https://app.example/cb#x",
            "https://user@app.example/cb",
            "https://app.example\\@evil.example/",
            "https:///cb",
            "https:/app.example/cb",
            "https:app.example/cb",
            "HTTPS://app.example/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "myapp://cb",
            ".app:/cb",
            "//app.example/cb",
            "/cb",
            "https://app.example/c b",
            "",
        ] {
            assert_eq!(verdict(uri), None, "{uri}");
        }
    }

    #[test]
    fn an_address_fits_exactly_but_for_the_port_on_this_machine() {
        for (registered, asked) in [
            ("https://a.example/cb", "https://a.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:51234/cb"),
            ("http://127.0.0.1:1/cb", "http://127.0.0.1:2/cb"),
            ("http://localhost:1/cb", "http://localhost:2/cb"),
            ("http://[::1]:1/cb?x", "http://[::1]:2/cb?x"),
        ] {
            assert!(is_same(registered, asked), "{registered} {asked}");
        }
        for (registered, asked) in [
            ("https://a.example/cb", "https://a.example:8443/cb"),
            ("https://a.example/cb", "https://a.example/cb/"),
            ("https://a.example/cb", "https://a.example/cb?x=1"),
            ("https://a.example/cb", "https://A.example/cb"),
            ("http://127.0.0.1/cb", "http://localhost/cb"),
            ("http://localhost/cb", "http://127.0.0.1/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1/cb/../x"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb"),
            ("http://127.0.0.1/cb", "http://127.0.0.1:/cb@evil.example"),
            ("http://127.0.0.1", "http://127.0.0.1.evil.example"),
            ("http://127.0.0.1/cb", "https://127.0.0.1/cb"),
            ("com.example:/cb", "com.example:/other"),
        ] {
            assert!(!is_same(registered, asked), "{registered} {asked}");
        }
    }

    #[test]
    fn what_is_added_leaves_what_is_there() {
        let url = with("https://a.example/cb?x=1", &[("code", "a b"), ("iss", "i")]).unwrap();
        assert_eq!(url.as_str(), "https://a.example/cb?x=1&code=a+b&iss=i");
        let url = with("com.example:/cb", &[("code", "c")]).unwrap();
        assert_eq!(url.as_str(), "com.example:/cb?code=c");
    }
}
