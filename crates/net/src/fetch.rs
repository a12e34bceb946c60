//! One document, whole: a request whose answer is small, wanted now, and perhaps elsewhere.
//!
//! For metadata, key sets and token endpoints, whose URLs come from outside or whose answers do: https alone, redirects
//! judged anew, one deadline and one bound for it all. Who may follow where is decided in [`next`]; what an answer
//! means is the caller's. Start at [`Client::fetch`].

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::time::Instant;
use url::{Host, Position, Url};

use crate::client::TIMEOUT_MAX;
use crate::{Client, Error, Reach, Request};

#[cfg(test)]
mod tests;

/// The most redirects that are followed, whatever was asked for.
pub const REDIRECTS_MAX: usize = 3;

/// What goes along to another origin. Everything else might be a credential.
const HARMLESS: [header::HeaderName; 3] =
    [header::ACCEPT, header::ACCEPT_LANGUAGE, header::USER_AGENT];

/// What to fetch.
#[derive(Clone)]
pub struct Fetch {
    /// The method. Redirects are followed for GET and HEAD alone: nothing else is said twice.
    pub method: Method,
    /// Where: https, or http on this machine's loopback address if `reach` goes there. No user name or password.
    pub url: Url,
    /// Headers, except `host` and `content-length`, which are ours.
    pub headers: HeaderMap,
    /// The whole body; empty for none.
    pub body: Bytes,
    /// Who chose the URL. A redirect to another origin was chosen by the server, and reaches [`Reach::Public`] alone.
    pub reach: Reach,
    /// How many redirects are followed, at most [`REDIRECTS_MAX`]. The one after these is itself the answer.
    pub redirects_max: usize,
    /// The largest body taken, in bytes.
    pub body_max: usize,
    /// How long it all may take, redirects and body included.
    pub timeout: Duration,
}

/// The answer.
#[derive(Clone)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body, as it was sent: no coding is undone.
    pub body: Bytes,
    /// Where it came from, after redirects.
    pub url: Url,
}

impl Client {
    /// Fetches a document.
    ///
    /// Every address on the way is checked and the checked one connected to, redirects included. None leads from
    /// https to http, and to another origin none takes along more than what is harmless (`accept`,
    /// `accept-language`, `user-agent`).
    ///
    /// # Errors
    /// See [`Error`]; [`Error::Url`] for a URL or a redirect that is not followed, [`Error::TooLarge`] for the body.
    pub async fn fetch(&self, fetch: Fetch) -> Result<Fetched, Error> {
        let deadline = Instant::now() + fetch.timeout.min(TIMEOUT_MAX);
        let left = || deadline.saturating_duration_since(Instant::now());
        let Fetch {
            method,
            mut url,
            mut headers,
            body,
            mut reach,
            redirects_max,
            body_max,
            timeout: _,
        } = fetch;
        let follows = method == Method::GET || method == Method::HEAD;
        let mut redirects_left = if follows {
            redirects_max.min(REDIRECTS_MAX)
        } else {
            0
        };
        let mut narrowed = narrow(&url, reach)?;
        loop {
            let request = Request {
                method: method.clone(),
                url: url.clone(),
                headers: headers.clone(),
                body: body.clone(),
                reach: narrowed,
                timeout: left(),
            };
            let mut response = Box::pin(self.send(request)).await?;
            if redirects_left > 0
                && let Some(target) = redirect(response.status, &response.headers)
            {
                redirects_left -= 1;
                let to = next(&url, target)?;
                if to.origin() != url.origin() {
                    reach = Reach::Public;
                    headers = harmless(&headers);
                }
                narrowed = narrow(&to, reach)?;
                url = to;
                continue;
            }
            let body = response.body.read_to_end(body_max, left()).await?;
            return Ok(Fetched {
                status: response.status,
                headers: response.headers,
                body,
                url,
            });
        }
    }
}

/// How far a request for this URL may reach, if it may be made at all.
fn narrow(url: &Url, reach: Reach) -> Result<Reach, Error> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::Url("it holds a user name or a password"));
    }
    match (url.scheme(), reach) {
        ("https", _) => Ok(reach),
        // A name that says loopback has to be there.
        ("http", Reach::Operator | Reach::Loopback) if is_loopback(url) => Ok(Reach::Loopback),
        _ => Err(Error::Url("its scheme is not https")),
    }
}

fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| is_here(&host))
}

/// Whether that is this machine, so that nobody between reads what is sent.
#[must_use]
pub fn is_here<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => name.as_ref() == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Where a response leads instead of answering.
fn redirect(status: StatusCode, headers: &HeaderMap) -> Option<&[u8]> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = headers.get(header::LOCATION)?;
    is_redirect.then_some(location.as_bytes())
}

fn next(from: &Url, target: &[u8]) -> Result<Url, Error> {
    let target = str::from_utf8(target).ok();
    let to = target.and_then(|target| from.join(target).ok());
    let to = to.ok_or(Error::Url("it redirects to what is no URL"))?;
    if from.scheme() == "https" && to.scheme() != "https" {
        return Err(Error::Url("it redirects from https to something less"));
    }
    Ok(to)
}

fn harmless(headers: &HeaderMap) -> HeaderMap {
    HARMLESS
        .iter()
        .filter_map(|name| Some((name.clone(), headers.get(name)?.clone())))
        .collect()
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetch")
            .field("method", &self.method)
            .field("url", &&self.url[..Position::AfterPath])
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("status", &self.status)
            .field("url", &&self.url[..Position::AfterPath])
            .finish_non_exhaustive()
    }
}
