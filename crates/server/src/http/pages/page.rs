//! What every page has in common: its headers, its stylesheet, and how it is written out.
//!
//! There is no script and no markup that comes from outside: templates escape what they are given, and the policy
//! below would stop what slipped through. Headers: CSP level 3, OWASP "HTTP Headers" cheat sheet.

use std::fmt::Write as _;
use std::sync::LazyLock;

use ::http::header::{self, HeaderValue};
use ::http::{Response, StatusCode};
use askama::Template;
use aws_lc_rs::digest;
use http_body_util::{Either, Full};

use crate::http::Body;

const STYLE: &str = include_str!("../../../assets/console.css");
/// Digits of the stylesheet's hash that stand in its name.
const HASH_DIGITS: usize = 16;

/// Where the stylesheet is. Its name changes with its content, so browsers may keep it for good.
static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash = digest::digest(&digest::SHA256, STYLE.as_bytes());
    let mut path = "/console/assets/console.".to_owned();
    for byte in hash.as_ref().iter().take(HASH_DIGITS / 2) {
        write!(path, "{byte:02x}").expect("writing to a String cannot fail");
    }
    path + ".css"
});

/// Where the stylesheet is; for the templates.
pub(super) fn style() -> &'static str {
    &STYLE_PATH
}

/// The file of this path, if it is one of ours.
pub(super) fn asset(path: &str) -> Response<Body> {
    if path != style() {
        return error(
            StatusCode::NOT_FOUND,
            "Not here",
            "There is no such file. Reload the page that asked for it.",
        );
    }
    let mut response = Response::new(Either::Left(Full::new(STYLE.into())));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/css; charset=utf-8"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=31536000, immutable"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// A page that sends its forms to us alone.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response<Body> {
    page_to(status, template, None)
}

/// The same, and no window of another site keeps hold of it, or of what it opens.
///
/// Not for what stands between an app's request and its answer: web apps ask in a window of their own, which must
/// still know who opened it when it comes back to them.
pub(super) fn page_apart(status: StatusCode, template: &impl Template) -> Response<Body> {
    let mut response = page(status, template);
    response.headers_mut().insert(
        "cross-origin-opener-policy",
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// A page whose form may lead to `target` too: Chromium holds redirects after a form against the page's policy.
pub(super) fn page_to(
    status: StatusCode,
    template: &impl Template,
    target: Option<&str>,
) -> Response<Body> {
    let (status, text) = match template.render() {
        Ok(text) => (status, text),
        Err(error) => {
            tracing::error!(%error, "a page could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    };
    let mut response = Response::new(Either::Left(Full::new(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, policy(target));
    protect(headers);
    response
}

/// What every answer to a browser carries, pages and redirects.
fn protect(headers: &mut ::http::HeaderMap) {
    for (name, value) in [
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("same-origin"),
    );
}

fn policy(target: Option<&str>) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'{}; \
         frame-ancestors 'none'; base-uri 'none'",
        target
            .map(|source| format!(" {source}"))
            .unwrap_or_default()
    );
    // A target is written by `form_target`, in characters that a header takes.
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// How a content security policy names the place that `redirect_uri` leads to: an origin, or for an app's own scheme
/// the scheme.
pub(super) fn form_target(redirect_uri: &str) -> Option<String> {
    let url = url::Url::parse(redirect_uri).ok()?;
    match url.scheme() {
        "http" | "https" => Some(url.origin().ascii_serialization()),
        // What a browser would run or show itself is no place to be led to.
        "javascript" | "data" | "blob" | "file" | "about" | "vbscript" => None,
        scheme => Some(format!("{scheme}:")),
    }
}

/// Go there, with GET. `path` is one of ours or was checked.
pub(super) fn see_other(path: &str) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    protect(headers);
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/console"));
    headers.insert(header::LOCATION, location);
    response
}

/// Go on there, as a step of its own: what follows is no longer the consequence of a form, on whatever site, so no
/// page's `form-action` has a say in where it may lead. Also, a browser that comes back from another site sends its
/// cookies again.
pub(super) fn go_on(path: &str) -> Response<Body> {
    page(StatusCode::OK, &GoOn { path })
}

#[derive(Template)]
#[template(path = "go_on.html")]
struct GoOn<'a> {
    path: &'a str,
}

/// What went wrong, in two lines.
pub(in crate::http) fn error(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    page(status, &Trouble { title, text })
}

#[derive(Template)]
#[template(path = "error.html")]
struct Trouble<'a> {
    title: &'a str,
    text: &'a str,
}
