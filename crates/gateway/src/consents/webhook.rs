//! Announces requests that wait for a person to whom the config names, signed as the Standard Webhooks specification
//! (1.0) has it. Whom, how and when; never with which arguments.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use policy::Clock;
use serde_json::json;
use store::ConsentRequestRow;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::shown;
use crate::settings::Webhook;

/// Announcements that wait to be sent; more are lost, and logged.
pub(super) const OUTBOX_MAX: usize = 256;
/// How long to wait before each further try of one. There is no other try after the last.
pub(super) const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
];
/// How long the receiver may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// One announcement, and where it goes.
#[derive(Debug)]
pub(super) struct Announcement {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) to: Webhook,
}

impl Announcement {
    pub(super) fn new(request: &ConsentRequestRow, console: &str, to: &Webhook) -> Self {
        let subject = &request.subject;
        let body = json!({
            "type": "consent.requested",
            "timestamp": seconds(request.created_at),
            "data": {
                "id": request.id,
                "principal": subject.principal,
                "client": shown::name(&request.client),
                "method": subject.method,
                "upstream": subject.upstream,
                "entry": shown::name(&subject.entry),
                "digest": request.digest,
                "rule": subject.rule,
                "approvers": request.approvers,
                "other_person": request.other_person,
                "expires_at": seconds(request.expires_at),
                "page": format!("{console}/console/consents"),
            },
        });
        Self {
            id: request.id.clone(),
            body: body.to_string(),
            to: to.clone(),
        }
    }
}

/// Sends what comes, one after another, until `stop`. What its receiver does not take is tried again after each pause.
pub(super) async fn send_all(
    outbox: &mut mpsc::Receiver<Announcement>,
    client: &net::Client,
    clock: &dyn Clock,
    pauses: &[Duration],
    stop: &CancellationToken,
) {
    while let Some(Some(announcement)) = stop.run_until_cancelled(outbox.recv()).await {
        let mut pauses = pauses.iter();
        loop {
            let sent = stop.run_until_cancelled(send(&announcement, client, clock.wall()));
            let why = match sent.await {
                None => return,
                Some(Ok(())) => break,
                Some(Err(why)) => why,
            };
            let Some(pause) = pauses.next() else {
                tracing::warn!(
                    request = announcement.id,
                    why,
                    "a request for consent could not be announced"
                );
                break;
            };
            let _stopped = tokio::time::timeout(*pause, stop.cancelled()).await;
        }
    }
}

async fn send(
    announcement: &Announcement,
    client: &net::Client,
    now: SystemTime,
) -> Result<(), String> {
    let request = net::Request {
        method: Method::POST,
        url: announcement.to.url.clone(),
        headers: headers(announcement, now).map_err(|error| error.to_string())?,
        body: announcement.body.clone().into(),
        reach: net::Reach::Operator,
        timeout: SEND_TIMEOUT,
    };
    let response = client
        .send(request)
        .await
        .map_err(|error| error.to_string())?;
    if response.status.is_success() {
        return Ok(());
    }
    Err(format!("status {}", response.status.as_u16()))
}

fn headers(
    announcement: &Announcement,
    now: SystemTime,
) -> Result<HeaderMap, header::InvalidHeaderValue> {
    let at = seconds(now).to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &announcement.to.secret);
    let signed = format!("{}.{at}.{}", announcement.id, announcement.body);
    let tag = BASE64_STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    for (name, value) in [
        ("webhook-id", announcement.id.as_str()),
        ("webhook-timestamp", &at),
        ("webhook-signature", &format!("v1,{tag}")),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
    }
    Ok(headers)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
