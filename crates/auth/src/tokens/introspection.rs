//! Asking an issuer what a token is (RFC 7662): for tokens that say nothing themselves.
//!
//! What it answers passes the same checks as signed claims, is believed for [`BELIEVED_MAX`] and no longer than the
//! token lasts, and is remembered under a keyed hash, bad answers too. Start at [`Introspector::ask`].

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{Fetch, Reach};
use parking_lot::Mutex;
use policy::{Clock, Instant};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::claims::{Known, Refusal};
use crate::{AuthError, Vault};

/// How long an answer is believed.
pub const BELIEVED_MAX: Duration = Duration::from_secs(30);
/// Most answers that are remembered.
pub const ANSWERS_MAX: usize = 10_000;
/// Most questions at once. Others wait, and give up in the time that a question may take.
pub const QUESTIONS_MAX: usize = 32;
/// How long a question may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Introspection {
    /// The endpoint.
    pub url: Url,
    /// Our id there.
    pub client: String,
    /// Our secret there.
    pub secret: ClientSecret,
}

/// A secret that we share with an issuer. Cannot be printed.
#[derive(Clone)]
pub struct ClientSecret(Arc<Zeroizing<String>>);

impl ClientSecret {
    /// From its text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// Asks, and remembers what was answered.
#[derive(Debug)]
pub(crate) struct Introspector {
    client: net::Client,
    clock: Arc<dyn Clock>,
    vault: Arc<Vault>,
    answers: Mutex<HashMap<[u8; 32], Answer>>,
    questions: Semaphore,
}

#[derive(Debug, Clone)]
struct Answer {
    outcome: Result<Arc<Known>, Refusal>,
    until: Instant,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the issuer cannot be asked: {0}")]
    Net(#[from] net::Error),
    #[error("the issuer answered {0}")]
    Status(StatusCode),
    #[error("the issuer's answer is malformed")]
    Malformed,
    #[error("too many tokens are being asked about")]
    Busy,
}

impl Introspector {
    pub(crate) fn new(client: net::Client, clock: Arc<dyn Clock>, vault: Arc<Vault>) -> Self {
        Self {
            client,
            clock,
            vault,
            answers: Mutex::default(),
            questions: Semaphore::new(QUESTIONS_MAX),
        }
    }

    /// Whom the issuer says the token stands for. `read` judges what an active token's claims come to.
    pub(crate) async fn ask(
        &self,
        place: &Introspection,
        token: &str,
        read: impl Fn(&Map<String, Value>) -> Result<Known, Refusal>,
    ) -> Result<Arc<Known>, AuthError> {
        let purpose = format!("introspection/{}", place.url);
        let id = self.vault.hash(&purpose, token.as_bytes());
        if let Some(outcome) = self.remembered(&id) {
            return outcome.map_err(AuthError::from);
        }
        let busy = |_elapsed| AuthError::unavailable(AskError::Busy);
        let _turn = timeout(TIMEOUT, self.questions.acquire())
            .await
            .map_err(busy)?
            .map_err(AuthError::unavailable)?;
        // Somebody with the same token may have asked meanwhile.
        if let Some(outcome) = self.remembered(&id) {
            return outcome.map_err(AuthError::from);
        }
        let reply = self
            .send(place, token)
            .await
            .map_err(AuthError::unavailable)?;
        let outcome = match reply.get("active") {
            Some(Value::Bool(true)) => read(&reply).map(Arc::new),
            Some(Value::Bool(false)) => Err(Refusal::Invalid("its issuer knows no such token")),
            _ => return Err(AuthError::unavailable(AskError::Malformed)),
        };
        self.remember(id, &outcome);
        outcome.map_err(AuthError::from)
    }

    fn remembered(&self, id: &[u8; 32]) -> Option<Result<Arc<Known>, Refusal>> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let answers = self.answers.lock();
        let answer = answers.get(id).filter(|answer| now < answer.until)?;
        match &answer.outcome {
            Ok(known) if known.expires_at <= wall => Some(Err(Refusal::Expired)),
            outcome => Some(outcome.clone()),
        }
    }

    fn remember(&self, id: [u8; 32], outcome: &Result<Arc<Known>, Refusal>) {
        let now = self.clock.now();
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, answer| now < answer.until);
            if answers.len() >= ANSWERS_MAX {
                // More tokens in half a minute than fit: asking for all of them again is fair and simple.
                answers.clear();
            }
        }
        let answer = Answer {
            outcome: outcome.clone(),
            until: now + BELIEVED_MAX,
        };
        answers.insert(id, answer);
    }

    async fn send(
        &self,
        place: &Introspection,
        token: &str,
    ) -> Result<Map<String, Value>, AskError> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token)
            .append_pair("token_type_hint", "access_token")
            .finish();
        let mut headers = HeaderMap::from_iter([
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            ),
        ]);
        headers.insert(header::AUTHORIZATION, place.basic()?);
        let fetch = Fetch {
            method: Method::POST,
            url: place.url.clone(),
            headers,
            body: Bytes::from(body),
            reach: Reach::Operator,
            redirects_max: 0,
            body_max: ANSWER_BYTES_MAX,
            timeout: TIMEOUT,
        };
        let fetched = Box::pin(self.client.fetch(fetch)).await?;
        if fetched.status != StatusCode::OK {
            return Err(AskError::Status(fetched.status));
        }
        match wire::json::strict_value(&fetched.body) {
            Ok(Value::Object(members)) => Ok(members),
            Ok(_) | Err(_) => Err(AskError::Malformed),
        }
    }
}

impl Introspection {
    /// RFC 6749 section 2.3.1: both parts are form-encoded before they are joined.
    fn basic(&self) -> Result<HeaderValue, AskError> {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let pair = Zeroizing::new(format!(
            "{}:{}",
            encode(&self.client),
            encode(&self.secret.0)
        ));
        let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::try_from(text.as_str()).map_err(|_bad| AskError::Malformed)?;
        value.set_sensitive(true);
        Ok(value)
    }
}
