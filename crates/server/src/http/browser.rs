//! Browsers: the cookies by which they are known, and the forms that they send.
//!
//! A browser's session is `auth::accounts`'; here it is found by its cookie. A browser that nobody has signed in with
//! yet has a [`Visit`], so that no other site can send it through the sign-in of somebody else. A form counts only if
//! it comes from one of our own pages: by its `Origin`, and by the token that only those pages hold.
//!
//! Sources: RFC 6265bis sections 4.1.3 and 5.7, Fetch "Origin header", OWASP "CSRF Prevention" cheat sheet.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use ::http::header::{self, HeaderName, HeaderValue};
use ::http::{HeaderMap, Request, Response, StatusCode};
use auth::accounts::{BrowserSession, NewSession};
use auth::{Peer, Site, Vault};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Body, Edge, Facts, Inbound, host, pages, read_at_most};

/// The largest form.
const FORM_MAX: usize = 64 * 1024;
/// The most fields of a form.
const FIELDS_MAX: usize = 64;
/// The longest cookie header that is looked at.
const COOKIES_MAX: usize = 16 * 1024;
/// The cookie of a session.
const SESSION: &str = "portcullis";
/// The cookie of a visit.
const VISIT: &str = "portcullis-visit";
/// Random bytes of a visit.
const VISIT_BYTES: usize = 16;
/// The field of a form that proves where it comes from.
pub(super) const CSRF: &str = "csrf";

/// A cookie's name. With TLS no other host and no other path can set one of that name (RFC 6265bis section 4.1.3.2).
/// Without, on the loopback address, browsers share cookies between ports: each gate of a machine has names of its own.
fn cookie_name(site: &Site, name: &'static str) -> Cow<'static, str> {
    if site.is_https() {
        format!("__Host-{name}").into()
    } else {
        match site.base().rsplit_once(':') {
            Some((_, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{name}-{port}").into()
            }
            _ => name.into(),
        }
    }
}

/// The value of a cookie of ours. One that stands there twice was not set by us alone, and counts for nothing.
pub(super) fn cookie<'a>(
    site: &Site,
    headers: &'a HeaderMap,
    name: &'static str,
) -> Option<&'a str> {
    let wanted = cookie_name(site, name);
    let lines = || headers.get_all(header::COOKIE).iter();
    if lines().map(HeaderValue::len).sum::<usize>() > COOKIES_MAX {
        return None;
    }
    let mut found = lines()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == wanted)
        .map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// How long a browser keeps a cookie.
#[derive(Debug, Clone, Copy)]
pub(super) enum Age {
    /// Until it is closed.
    Browser,
    /// So long.
    Seconds(u64),
}

/// Sets a cookie of ours.
pub(super) fn set_cookie(
    site: &Site,
    response: &mut Response<Body>,
    name: &'static str,
    value: &str,
    age: Age,
) {
    let secure = if site.is_https() { "; Secure" } else { "" };
    let age = match age {
        Age::Browser => String::new(),
        Age::Seconds(seconds) => format!("; Max-Age={seconds}"),
    };
    let name = cookie_name(site, name);
    // Lax, not strict: people come from an app's authorization request, or from a provider where they signed in.
    let line = Zeroizing::new(format!(
        "{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}"
    ));
    if let Ok(mut line) = HeaderValue::try_from(line.as_str()) {
        line.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, line);
    }
}

/// Has the browser forget a cookie of ours.
pub(super) fn drop_cookie(site: &Site, response: &mut Response<Body>, name: &'static str) {
    set_cookie(site, response, name, "", Age::Seconds(0));
}

/// Has the browser hold this session from now on. What it did before it signed in is over.
pub(super) fn open(edge: &Edge, response: &mut Response<Body>, new: &NewSession) {
    let site = edge.gate.auth().site();
    let age = Age::Seconds(new.max_age.as_secs());
    set_cookie(site, response, SESSION, &new.cookie, age);
    drop_cookie(site, response, VISIT);
}

/// Has the browser forget its session.
pub(super) fn close(edge: &Edge, response: &mut Response<Body>) {
    drop_cookie(edge.gate.auth().site(), response, SESSION);
}

/// Who is signed in with this browser.
pub(super) async fn current(edge: &Edge, headers: &HeaderMap) -> Option<BrowserSession> {
    let auth = edge.gate.auth();
    let held = cookie(auth.site(), headers, SESSION)?;
    match auth.accounts().session(held).await {
        Ok(session) => session,
        Err(error) => {
            // Nobody, then: who cannot be known has not signed in.
            tracing::warn!(%error, "a browser's session cannot be looked up");
            None
        }
    }
}

/// Where a browser is, as far as that is known: for bounds on tries. Tries on this machine itself have none by address.
pub(super) fn address(facts: &Facts) -> Option<IpAddr> {
    match facts.peer {
        Peer::Remote(address) => address,
        Peer::Loopback | Peer::Stdio | Peer::InProcess => None,
    }
}

/// A browser before anybody signed in: a number that we made and signed.
pub(super) struct Visit {
    id: String,
    is_new: bool,
}

impl Visit {
    /// The one that the browser has, or a new one.
    pub(super) fn of(edge: &Edge, headers: &HeaderMap) -> Self {
        Self::known(edge, headers).unwrap_or_else(|| {
            let mut bytes = [0; VISIT_BYTES];
            // Without randomness there is a visit that nobody can come back to.
            let id = match SystemRandom::new().fill(&mut bytes) {
                Ok(()) => BASE64_URL_SAFE_NO_PAD.encode(bytes),
                Err(_unspecified) => String::new(),
            };
            Self { id, is_new: true }
        })
    }

    /// The one that the browser has.
    pub(super) fn known(edge: &Edge, headers: &HeaderMap) -> Option<Self> {
        let auth = edge.gate.auth();
        let (id, tag) = cookie(auth.site(), headers, VISIT)?.split_once('.')?;
        let is_ours =
            !id.is_empty() && is_same(tag, &tag_of(&auth.parts().vault, "browser/visit", id));
        is_ours.then(|| Self {
            id: id.to_owned(),
            is_new: false,
        })
    }

    /// What our forms carry.
    pub(super) fn csrf(&self, edge: &Edge) -> String {
        tag_of(&edge.gate.auth().parts().vault, "browser/csrf", &self.id)
    }

    /// What names this visit to others without giving it away.
    pub(super) fn fingerprint(&self, edge: &Edge) -> String {
        tag_of(
            &edge.gate.auth().parts().vault,
            "browser/fingerprint",
            &self.id,
        )
    }

    /// Has the browser come back with it.
    pub(super) fn keep(&self, edge: &Edge, response: &mut Response<Body>) {
        if self.is_new && !self.id.is_empty() {
            let auth = edge.gate.auth();
            let tag = tag_of(&auth.parts().vault, "browser/visit", &self.id);
            let value = format!("{}.{tag}", self.id);
            set_cookie(auth.site(), response, VISIT, &value, Age::Browser);
        }
    }
}

fn tag_of(vault: &Vault, purpose: &str, id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(vault.hash(purpose, id.as_bytes()))
}

/// In constant time.
fn is_same(found: &str, wanted: &str) -> bool {
    !wanted.is_empty() && found.as_bytes().ct_eq(wanted.as_bytes()).into()
}

/// The fields of a form from one of our own pages. Shows no values.
pub(super) struct Form {
    fields: Vec<(String, Zeroizing<String>)>,
}

impl Form {
    /// A field's text; empty if it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields
            .iter()
            .find(|(found, _)| found == name)
            .map_or("", |(_, value)| value.as_str())
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.fields.iter().map(|(name, _)| name))
            .finish()
    }
}

/// Reads a form that one of our own pages sent: for `session` if there is one, or else for the browser's visit.
///
/// # Errors
/// The page that says why it does not count.
pub(super) async fn form(
    edge: &Edge,
    session: Option<&BrowserSession>,
    request: Request<Inbound>,
) -> Result<Form, Response<Body>> {
    let site = edge.gate.auth().site();
    let is_own = is_same_origin(site, host(&request), request.headers());
    let csrf = match session {
        Some(session) => Some(session.csrf.clone()),
        None => Visit::known(edge, request.headers()).map(|visit| visit.csrf(edge)),
    };
    let settings = edge.settings.load();
    let form = read_form(request, settings.body_timeout).await?;
    let is_ours = csrf.is_some_and(|csrf| is_same(form.text(CSRF), &csrf));
    if is_own && is_ours {
        Ok(form)
    } else {
        Err(pages::error(
            StatusCode::FORBIDDEN,
            "That form has expired",
            "It was not sent from a page that this browser has open here. Go back, reload the page and try again; \
             cookies must be allowed.",
        ))
    }
}

/// Whether a request was sent by a page of this very origin.
fn is_same_origin(site: &Site, host: &str, headers: &HeaderMap) -> bool {
    let one = |name: HeaderName| {
        let mut values = headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap_or("?"));
        // Twice is not ours.
        if values.next().is_some() {
            Some("?")
        } else {
            value
        }
    };
    let scheme = if site.is_https() { "https" } else { "http" };
    let fetched = one(HeaderName::from_static("sec-fetch-site"));
    match one(header::ORIGIN) {
        Some(origin) => {
            let is_ours = origin
                .split_once("://")
                .is_some_and(|(found, at)| found == scheme && at.eq_ignore_ascii_case(host));
            is_ours && fetched.is_none_or(|site| site == "same-origin")
        }
        None => fetched == Some("same-origin"),
    }
}

async fn read_form(
    request: Request<Inbound>,
    within: std::time::Duration,
) -> Result<Form, Response<Body>> {
    let bad = |status, text| pages::error(status, "That form cannot be read", text);
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(bad(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "It is not of the type that forms have.",
        ));
    }
    let body = read_at_most(request.into_body(), FORM_MAX, within)
        .await
        .map_err(|_rejection| {
            bad(
                StatusCode::BAD_REQUEST,
                "It is too large, or took too long to arrive.",
            )
        })?;
    parse(&body).ok_or_else(|| bad(StatusCode::BAD_REQUEST, "Reload the page and try again."))
}

/// The fields, each once, in UTF-8.
fn parse(body: &[u8]) -> Option<Form> {
    let mut fields: Vec<(String, Zeroizing<String>)> = Vec::new();
    for pair in body
        .split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
    {
        let at = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = match at {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &pair[..0]),
        };
        let (name, value) = (decode(name)?, decode(value)?);
        if fields.len() == FIELDS_MAX || fields.iter().any(|(found, _)| *found == *name) {
            return None;
        }
        fields.push((name.to_string(), value));
    }
    Some(Form { fields })
}

/// One name or value (WHATWG URL section 5.1), in a buffer that forgets.
fn decode(text: &[u8]) -> Option<Zeroizing<String>> {
    // Never longer than it came, so that no part is left behind by a buffer that grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            byte => *byte,
        });
    }
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests;
