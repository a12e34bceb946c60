//! Asking people: what is written under `[consent]`, and what it comes to.

use policy::Pattern;
use policy::config::Complaints;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use super::check::{Checker, all, span, wait};
use super::raw::{Secret, Span};

/// The shortest secret that announcements may be signed with, in bytes.
const SECRET_MIN: usize = 16;

/// When a person is asked, and how. Rules of roles ask besides (`ask`).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConsent {
    /// Whether calls of tools that their upstream calls destructive (`destructiveHint`) are asked about: `ask` or `allow`.
    pub destructive: RawDestructive,
    /// Resources with private data, which are asked about before they are read or watched, as patterns such as `mail.*`.
    pub private: Vec<String>,
    /// How long a call waits for an answer from elsewhere while its client hears that it does; `0s`: not at all.
    pub wait: Span,
    /// How long a request can be answered, and a yes to it be used.
    pub expires: Span,
    /// Requests of one principal that are open at once; beyond, nobody is asked and nothing is done.
    #[schemars(range(min = 1, max = 1000))]
    pub open_max: u32,
    /// Requests of one principal in an hour; beyond, nobody is asked and nothing is done.
    #[schemars(range(min = 1, max = 10_000))]
    pub per_hour: u32,
    /// Who is told of each request that waits for somebody else than the caller.
    pub webhook: Option<RawWebhook>,
}

/// What becomes of calls of destructive tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawDestructive {
    Ask,
    Allow,
}

/// Where requests are announced: a POST for each, signed as the Standard Webhooks specification has it, without the
/// arguments of the call.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawWebhook {
    /// Where to, as `https://chat.example.com/hooks/gate`.
    pub url: String,
    /// What the announcements are signed with: HMAC-SHA256, at least 16 bytes.
    pub secret: Secret,
    /// Sends them over the network in the clear. With an `http` `url`, which needs it but on this machine.
    #[serde(default)]
    pub danger_plaintext: bool,
}

impl Checker<'_> {
    /// What `[consent]` says.
    pub(super) fn consent(
        &self,
        raw: &RawConsent,
        complaints: &mut Complaints,
    ) -> Option<gateway::ConsentSettings> {
        let private = complaints.at("private", |complaints| {
            all(&raw.private, complaints, |text, complaints| {
                complaints.keep(Pattern::parse(text), "")
            })
        });
        let at_most = span(&raw.wait, "wait", complaints);
        let expires = wait(&raw.expires, "expires", complaints);
        // `Some(None)`: none, and nothing wrong with it.
        let webhook = match &raw.webhook {
            None => Some(None),
            Some(raw) => complaints
                .at("webhook", |complaints| self.webhook(raw, complaints))
                .map(Some),
        };
        Some(gateway::ConsentSettings {
            asks_destructive: raw.destructive == RawDestructive::Ask,
            private: private?,
            wait: at_most?,
            expires: expires?,
            open_max: raw.open_max,
            per_hour: raw.per_hour,
            webhook: webhook?,
        })
    }

    fn webhook(&self, raw: &RawWebhook, complaints: &mut Complaints) -> Option<gateway::Webhook> {
        let url = complaints.at("url", |complaints| address(raw, complaints));
        let secret = complaints.at("secret", |complaints| {
            let path = "consent.webhook.secret";
            let secret = Zeroizing::new(self.secret("secret", &raw.secret, path, complaints)?);
            if secret.len() < SECRET_MIN {
                complaints.add(
                    "is too short to sign with",
                    format!("use at least {SECRET_MIN} bytes: `openssl rand -hex 32`"),
                );
                return None;
            }
            Some(secret)
        });
        Some(gateway::Webhook {
            url: url?,
            secret: Zeroizing::new(secret?.as_bytes().to_vec()),
        })
    }
}

fn address(raw: &RawWebhook, complaints: &mut Complaints) -> Option<Url> {
    const EXAMPLE: &str = "write for example \"https://chat.example.com/hooks/gate\"";
    let url = Url::parse(&raw.url)
        .ok()
        .filter(|url| url.has_host() && matches!(url.scheme(), "https" | "http"));
    let Some(url) = url else {
        complaints.add("is no http address", EXAMPLE);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        complaints.add(
            "has a user or password in it",
            "announcements are signed instead",
        );
        return None;
    }
    let is_here = url.host().is_some_and(|host| net::is_here(&host));
    if url.scheme() == "http" && !is_here && !raw.danger_plaintext {
        complaints.add(
            "sends what people are asked over the network in the clear",
            "use https, or write danger_plaintext = true beside it",
        );
        return None;
    }
    Some(url)
}
