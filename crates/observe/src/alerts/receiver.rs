//! Who is told, and how: a webhook, an Alertmanager, a mailbox. One try of one message; when to try is [`super::ledger`]'s.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use net::mail::Mailer;
use url::Url;
use zeroize::Zeroizing;

use super::message::{self, Message};
use super::rule::Severity;

/// How long a receiver may take; mail has a time of its own, in `net`.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Somebody who is told of alerts.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Its name in the config.
    pub name: String,
    /// Of nothing less urgent it is told.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
}

/// Where a receiver is.
#[derive(Clone)]
pub enum Place {
    /// Something that takes what Alertmanager sends to webhooks, version 4, signed as Standard Webhooks 1.0 has it.
    Webhook {
        /// Where to.
        url: Url,
        /// What it is signed with: HMAC-SHA256.
        secret: Zeroizing<Vec<u8>>,
        /// Whom its certificate may be from, in place of those that the operating system trusts.
        tls: Option<net::Tls>,
    },
    /// An Alertmanager, which groups, repeats and passes on as it is told to.
    Alertmanager {
        /// Where it is, without `/api/v2/alerts`.
        url: Url,
        /// As of a webhook.
        tls: Option<net::Tls>,
    },
    /// One mailbox.
    Mail {
        /// How mail leaves.
        mailer: Arc<Mailer>,
        /// Whose.
        to: String,
    },
}

impl Place {
    /// By which one is told from another, over reloads too.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Webhook { url, .. } => format!("webhook {url}"),
            Self::Alertmanager { url, .. } => format!("alertmanager {url}"),
            Self::Mail { to, .. } => format!("mail {to}"),
        }
    }

    /// Whether it wants to hear again and again that an alert fires: an Alertmanager takes silence for an end.
    pub(super) fn wants_repeats(&self) -> bool {
        matches!(self, Self::Alertmanager { .. })
    }
}

// The path of a webhook is often as good as a password.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook { url, .. } => f.debug_tuple("Webhook").field(&url.host_str()).finish(),
            Self::Alertmanager { url, .. } => f
                .debug_tuple("Alertmanager")
                .field(&url.host_str())
                .finish(),
            Self::Mail { to, .. } => f.debug_tuple("Mail").field(to).finish(),
        }
    }
}

/// Says it once.
///
/// # Errors
/// Why it was not taken, for owners: it may name a host.
pub(super) async fn send(
    receiver: &Receiver,
    message: &Message,
    client: &net::Client,
    now: SystemTime,
) -> Result<(), String> {
    match &receiver.place {
        Place::Webhook { url, secret, tls } => {
            let body = message::webhook(message, &receiver.name).to_string();
            let mut headers = json_headers();
            sign(&mut headers, &message.id, &body, secret, now)?;
            post(url.clone(), headers, body, tls.as_ref(), client).await
        }
        Place::Alertmanager { url, tls } => {
            let body = message::alertmanager(message, now).to_string();
            let mut url = url.clone();
            let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
            url.set_path(&path);
            post(url, json_headers(), body, tls.as_ref(), client).await
        }
        Place::Mail { mailer, to } => {
            let (subject, text) = message::mail(message);
            let sent = mailer.send(to, &subject, text, now).await;
            sent.map_err(|error| chain(&error))
        }
    }
}

async fn post(
    url: Url,
    headers: HeaderMap,
    body: String,
    tls: Option<&net::Tls>,
    client: &net::Client,
) -> Result<(), String> {
    let request = net::Request {
        method: Method::POST,
        url,
        headers,
        body: body.into(),
        reach: net::Reach::Operator,
        timeout: SEND_TIMEOUT,
    };
    let sent = match tls {
        Some(tls) => client.with_tls(tls.clone()).send(request).await,
        None => client.send(request).await,
    };
    let status = sent.map_err(|error| chain(&error))?.status;
    if status.is_success() {
        return Ok(());
    }
    Err(format!("status {}", status.as_u16()))
}

fn json_headers() -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    HeaderMap::from_iter([(header::CONTENT_TYPE, json)])
}

/// Standard Webhooks 1.0, as announcements of requests for consent are signed.
fn sign(
    headers: &mut HeaderMap,
    id: &str,
    body: &str,
    secret: &[u8],
    now: SystemTime,
) -> Result<(), String> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = since.as_secs().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, format!("{id}.{at}.{body}").as_bytes());
    let tag = format!("v1,{}", BASE64_STANDARD.encode(tag));
    for (name, value) in [
        ("webhook-id", id),
        ("webhook-timestamp", &at),
        ("webhook-signature", &tag),
    ] {
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(())
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
