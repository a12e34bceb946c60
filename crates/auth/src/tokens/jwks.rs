//! Keys of an issuer that are fetched: kept for a while, fetched again before they are old, and only so often.
//!
//! One fetch at a time, whoever waits for it; a token with an unknown `kid` costs one fetch per [`INTERVAL`] however
//! many come. While an issuer does not answer, its old keys go on for a stated time and then no longer. A set lives
//! as long as the gate, so that a reload fetches nothing. Start at [`Remote::keys`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use net::{Fetch, Fetched, Reach};
use parking_lot::Mutex;
use policy::{Clock, Instant};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};
use url::Url;

use super::issuer::{Freshness, Place};
use super::keys::{self, Algorithm, KeyError, KeySet, Published};
use crate::AuthError;

/// Between two fetches of one set, at least so long.
pub const INTERVAL: Duration = Duration::from_secs(30);
/// The same after one that failed.
pub const INTERVAL_FAILED: Duration = Duration::from_secs(5);
/// How long one document may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest document, in bytes.
const DOCUMENT_BYTES_MAX: usize = 256 * 1024;
/// How long a request waits for a fetch: metadata by both its names, and the keys.
const WAIT_MAX: Duration = Duration::from_secs(16);

/// A set of keys somewhere else.
#[derive(Debug)]
pub(crate) struct Remote {
    source: Arc<Source>,
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    /// Ends what is under way when this goes.
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct Source {
    place: Place,
    rsa: Algorithm,
    client: net::Client,
    set: KeySet,
}

#[derive(Debug, Default)]
struct State {
    /// When the keys that are there came.
    fetched_at: Option<Instant>,
    tried: Option<Tried>,
    /// How many fetches brought keys, and how many did not.
    fetches: u64,
    failures: u64,
    /// Closed when the fetch that is under way ends.
    flight: Option<watch::Receiver<()>>,
}

/// The last try.
#[derive(Debug, Clone)]
struct Tried {
    at: Instant,
    took: Duration,
    /// Why it brought nothing, if so.
    failed: Option<String>,
}

/// How the keys of an issuer are, as of the last time that they were fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysStatus {
    /// The issuer's name in the config.
    pub name: String,
    /// Where they come from.
    pub place: String,
    /// Whether there are keys that still count.
    pub has_keys: bool,
    /// Why the last fetch brought nothing, if so.
    pub failed: Option<String>,
    /// How long the last fetch took.
    pub took: Option<Duration>,
    /// How many fetches brought keys.
    pub fetches: u64,
    /// How many did not.
    pub failures: u64,
}

/// Keys, and when to look at them again.
pub(crate) struct Keys {
    pub(crate) published: Arc<Published>,
    /// How long until they should be fetched again.
    pub(crate) fresh_for: Duration,
}

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the issuer's keys cannot be fetched")]
struct Unreachable;

/// Why a fetch brought nothing.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Net(#[from] net::Error),
    #[error("it answered {0}")]
    Status(StatusCode),
    #[error("its metadata is of another issuer, or malformed")]
    Metadata,
    #[error("its metadata names a place that keys are not fetched from")]
    Place,
    #[error("of its keys none is of use: {0}")]
    Keys(#[from] KeyError),
}

impl Remote {
    pub(crate) fn new(
        place: Place,
        rsa: Algorithm,
        client: net::Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            source: Arc::new(Source {
                place,
                rsa,
                client,
                set: KeySet::default(),
            }),
            state: Arc::default(),
            clock,
            tasks: Mutex::default(),
        }
    }

    /// The keys as they are, without asking for newer ones.
    pub(crate) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.source.set.load())
    }

    /// Which generation of keys that is.
    pub(crate) fn generation(&self) -> u64 {
        self.source.set.load().generation
    }

    /// The keys to look for `id` in.
    pub(crate) async fn keys(
        &self,
        freshness: Freshness,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Keys, AuthError> {
        let age = self.age();
        if age.is_none_or(|age| age >= freshness.stale_max) {
            self.fetched().await;
            if self.age().is_none_or(|age| age >= freshness.stale_max) {
                return Err(AuthError::unavailable(Unreachable));
            }
        } else if age.is_some_and(|age| age >= freshness.refresh) {
            // Nobody waits for this one.
            drop(self.fetch());
        }
        let has = |published: &Published| published.fitting(id, algorithm).next().is_some();
        if !has(&self.published()) {
            // A new key, perhaps. Without an answer it cannot be said that there is none.
            self.fetched().await;
            if !has(&self.published()) && self.has_failed() {
                return Err(AuthError::unavailable(Unreachable));
            }
        }
        let age = self.age().unwrap_or_default();
        Ok(Keys {
            published: self.published(),
            fresh_for: freshness.refresh.saturating_sub(age).max(INTERVAL_FAILED),
        })
    }

    /// How the keys are, for the issuer of this name.
    pub(crate) fn status(&self, name: &str, freshness: Freshness) -> KeysStatus {
        let age = self.age();
        let state = self.state.lock();
        KeysStatus {
            name: name.to_owned(),
            place: self.source.place.to_string(),
            has_keys: age.is_some_and(|age| age < freshness.stale_max),
            failed: state.tried.as_ref().and_then(|tried| tried.failed.clone()),
            took: state.tried.as_ref().map(|tried| tried.took),
            fetches: state.fetches,
            failures: state.failures,
        }
    }

    /// Fetches the keys now, unless that was done a moment ago.
    pub(crate) async fn try_now(&self) {
        self.fetched().await;
    }

    fn age(&self) -> Option<Duration> {
        let fetched_at = self.state.lock().fetched_at?;
        Some(self.clock.now().since(fetched_at))
    }

    fn has_failed(&self) -> bool {
        let state = self.state.lock();
        state
            .tried
            .as_ref()
            .is_some_and(|tried| tried.failed.is_some())
    }

    /// Waits for the fetch that is under way, or for a new one if it is time for one.
    async fn fetched(&self) {
        let Some(mut flight) = self.fetch() else {
            return;
        };
        // It ends by closing, in time or not.
        if timeout(WAIT_MAX, flight.changed()).await.is_err() {
            debug!("gave up waiting for an issuer's keys");
        }
    }

    /// The fetch that is under way, or a new one; `None` if it is too soon after the last.
    fn fetch(&self) -> Option<watch::Receiver<()>> {
        let mut state = self.state.lock();
        if let Some(flight) = &state.flight {
            return Some(flight.clone());
        }
        let now = self.clock.now();
        let is_soon = state.tried.as_ref().is_some_and(|tried| {
            let interval = if tried.failed.is_some() {
                INTERVAL_FAILED
            } else {
                INTERVAL
            };
            now.since(tried.at) < interval
        });
        if is_soon {
            return None;
        }
        let (done, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let landing = Landing {
            state: Arc::clone(&self.state),
            clock: Arc::clone(&self.clock),
            started: now,
            fetched: Err("it was given up".to_owned()),
            _done: done,
        };
        // A runtime that is ending drops the task at once, and `Landing` takes the lock.
        drop(state);
        let source = Arc::clone(&self.source);
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let mut landing = landing;
            landing.fetched = source.refresh().await;
        });
        Some(flight)
    }
}

/// Ends a fetch, however it ends: the next may begin, and those who wait go on.
struct Landing {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    started: Instant,
    fetched: Result<(), String>,
    _done: watch::Sender<()>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.flight = None;
        let fetched = std::mem::replace(&mut self.fetched, Ok(()));
        if fetched.is_ok() {
            state.fetched_at = Some(now);
            state.fetches += 1;
        } else {
            state.failures += 1;
        }
        state.tried = Some(Tried {
            at: now,
            took: now.since(self.started),
            failed: fetched.err(),
        });
    }
}

impl Source {
    /// Has newer keys now, or says why not.
    async fn refresh(&self) -> Result<(), String> {
        match self.fetch().await {
            Ok(keys) => {
                debug!(place = %self.place, keys = keys.len(), "fetched an issuer's keys");
                self.set.publish(keys);
                Ok(())
            }
            Err(error) => {
                warn!(place = %self.place, %error, "an issuer's keys could not be fetched");
                Err(error.to_string())
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<keys::VerifyingKey>, FetchError> {
        let (url, reach) = match &self.place {
            Place::Jwks(url) => (url.clone(), Reach::Operator),
            Place::Discovery { issuer, url } => self.discover(issuer, url).await?,
        };
        let fetched = self.get(url, reach).await?;
        Ok(keys::from_jwks(&fetched.body, self.rsa)?)
    }

    /// Where the metadata say that the keys are.
    async fn discover(&self, issuer: &str, url: &Url) -> Result<(Url, Reach), FetchError> {
        let [first, second] = well_known(url);
        let fetched = match self.get(first, Reach::Operator).await {
            Ok(fetched) => fetched,
            Err(FetchError::Status(_)) => self.get(second, Reach::Operator).await?,
            Err(error) => return Err(error),
        };
        let metadata =
            wire::json::strict_value(&fetched.body).map_err(|_json| FetchError::Metadata)?;
        // RFC 8414 section 3.3: without this, one issuer's metadata could stand in for another's.
        if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(FetchError::Metadata);
        }
        let place = metadata
            .get("jwks_uri")
            .and_then(Value::as_str)
            .and_then(|text| Url::parse(text).ok())
            .ok_or(FetchError::Metadata)?;
        if !is_safe(&place) {
            return Err(FetchError::Place);
        }
        // The operator chose the issuer's own machine, and no other.
        let reach = if place.host() == url.host() {
            Reach::Operator
        } else {
            Reach::Public
        };
        Ok((place, reach))
    }

    async fn get(&self, url: Url, reach: Reach) -> Result<Fetched, FetchError> {
        let json = HeaderValue::from_static("application/jwk-set+json, application/json");
        let fetch = Fetch {
            method: Method::GET,
            url,
            headers: HeaderMap::from_iter([(header::ACCEPT, json)]),
            body: Bytes::new(),
            reach,
            redirects_max: 2,
            body_max: DOCUMENT_BYTES_MAX,
            timeout: FETCH_TIMEOUT,
        };
        let fetched = Box::pin(self.client.fetch(fetch)).await?;
        if fetched.status == StatusCode::OK {
            Ok(fetched)
        } else {
            Err(FetchError::Status(fetched.status))
        }
    }
}

/// Whether what is fetched from there can be believed: over TLS, or from this machine.
#[must_use]
pub fn is_safe(url: &Url) -> bool {
    let is_here = url.host().is_some_and(|host| net::is_here(&host));
    url.scheme() == "https" || url.scheme() == "http" && is_here
}

/// Where an issuer's metadata are: RFC 8414 section 3.1 puts the path behind, OpenID Connect Discovery section 4 in front.
fn well_known(issuer: &Url) -> [Url; 2] {
    let path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url.set_query(None);
        url.set_fragment(None);
        url
    };
    [
        at(format!("/.well-known/oauth-authorization-server{path}")),
        at(format!("{path}/.well-known/openid-configuration")),
    ]
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Jwks(url) | Self::Discovery { url, .. } => f.write_str(url.as_str()),
        }
    }
}
