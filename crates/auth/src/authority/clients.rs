//! Who the clients are: those of the config, those that registered (RFC 7591), and those whose id is the URL of their
//! own metadata (Client ID Metadata Documents, draft-ietf-oauth-client-id-metadata-document).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method as HttpMethod, StatusCode};
use net::{Fetch, Fetched, Reach};
use policy::{Clock, Scopes};
use serde_json::{Map, Value};
use store::{ClientRow, Store};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tracing::{debug, info};
use url::Url;
use zeroize::Zeroizing;

use super::assertion::Assertion;
use super::client::{Client, ConfiguredClient, Metadata, Method, Origin};
use super::limiter::Limiter;
use super::params::random;
use super::{OAuthError, Settings};
use crate::{Parts, Vault};

/// Most clients that are kept.
const CLIENTS_MAX: u32 = 10_000;
/// Largest registration, in bytes.
pub const REGISTRATION_BYTES_MAX: usize = 32 * 1024;
/// Deepest nesting of metadata.
const DEPTH_MAX: usize = 16;
/// Registrations from one address within [`WINDOW`].
const REGISTRATIONS_MAX: u32 = 30;
/// Wrong secrets for one client from one address within [`WINDOW`].
const FAILURES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_mins(5);
/// How long a client may have been of no use at all when room is needed.
const UNTRIED: Duration = Duration::from_hours(24);
/// Longest id that is a URL, in bytes.
const URL_BYTES_MAX: usize = 512;
/// Largest document, in bytes. The draft recommends five.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024;
/// How long fetching one may take.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Documents that are fetched at once.
const FETCHES_MAX: usize = 8;
/// How long a document is good if it does not say, and at least and most if it does.
const FRESH: Duration = Duration::from_hours(1);
const FRESH_MIN: Duration = Duration::from_mins(5);
const FRESH_MAX: Duration = Duration::from_hours(24);

/// What hashes of secrets are for.
const SECRET: &str = "authority/client_secret";

/// The clients of the config, by id.
pub(super) type Configured = HashMap<String, Client>;

/// Knows clients.
#[derive(Debug)]
pub(super) struct Clients {
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    http: net::Client,
    registrations: Limiter,
    failures: Limiter,
    fetches: Semaphore,
}

/// A client that registered just now.
pub struct Registered {
    document: Map<String, Value>,
    secret: Option<Zeroizing<String>>,
}

impl Registered {
    /// Its id.
    #[must_use]
    pub fn client(&self) -> &str {
        self.document
            .get("client_id")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What the client is told (RFC 7591 section 3.2.1), in JSON. Holds its secret, if it has one.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut document = self.document.clone();
        if let Some(secret) = &self.secret {
            document.insert("client_secret".to_owned(), secret.as_str().into());
            document.insert("client_secret_expires_at".to_owned(), 0.into());
        }
        Zeroizing::new(Value::Object(document).to_string())
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registered")
            .field("document", &self.document)
            .finish_non_exhaustive()
    }
}

/// What a client shows to be itself.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    pub(super) id: &'a str,
    pub(super) secret: Option<&'a str>,
}

impl Clients {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            store: parts.store.clone(),
            vault: Arc::clone(&parts.vault),
            clock: Arc::clone(&parts.clock),
            http: parts.client.clone(),
            registrations: Limiter::new(REGISTRATIONS_MAX, WINDOW),
            failures: Limiter::new(FAILURES_MAX, WINDOW),
            fetches: Semaphore::new(FETCHES_MAX),
        }
    }

    /// The clients of the config.
    pub(super) fn configured(&self, clients: &[ConfiguredClient]) -> Configured {
        let one = |client: &ConfiguredClient| {
            let metadata = Metadata {
                name: client.name.clone(),
                redirect_uris: client.redirect_uris.clone(),
                method: match client.secret {
                    Some(_) => Method::Basic,
                    None => Method::None,
                },
                refreshes: true,
                certificate_bound: client.certificate_bound,
                dpop_bound: false,
            };
            let hash =
                |secret: &super::ClientSecret| self.vault.hash(SECRET, secret.expose().as_bytes());
            let client = Client {
                id: client.id.clone(),
                metadata,
                secret_hash: client.secret.as_ref().map(hash),
                keys: client.keys.clone(),
                scopes: client.scopes,
                machine: client.machine.clone(),
                origin: Origin::Config,
            };
            (client.id.clone(), client)
        };
        clients.iter().map(one).collect()
    }

    /// The client of this id, as far as it is known here: nothing is fetched.
    pub(super) fn known(
        &self,
        id: &str,
        configured: &Configured,
        settings: &Settings,
    ) -> Result<Option<Client>, OAuthError> {
        if let Some(client) = configured.get(id) {
            return Ok(Some(client.clone()));
        }
        let row = self.store.get_oauth_client(id)?;
        Ok(row.and_then(|row| from_row(row, settings)))
    }

    /// The client of this id; if that is a URL, by the document there.
    pub(super) async fn find(
        &self,
        id: &str,
        configured: &Configured,
        settings: &Settings,
    ) -> Result<Client, OAuthError> {
        let Some(url) = document_url(id, settings.danger_private_client_documents) else {
            let known = self.known(id, configured, settings)?;
            return known.ok_or(OAuthError::Client);
        };
        if let Some(client) = configured.get(id) {
            return Ok(client.clone());
        }
        let now = self.clock.wall();
        if let Some(row) = self.store.get_oauth_client(id)?
            && row.fresh_until.is_some_and(|until| now < until)
            && let Some(client) = from_row(row, settings)
        {
            return Ok(client);
        }
        self.fetch(id, url, settings).await
    }

    /// Who is there: the client, if what it shows is its own. Takes as long for those that do not exist.
    pub(super) fn authenticate(
        &self,
        shown: &Shown<'_>,
        address: &str,
        configured: &Configured,
        settings: &Settings,
    ) -> Result<Client, OAuthError> {
        let now = self.clock.now();
        let counted = format!("{address} {}", shown.id);
        if let Some(wait) = self.failures.wait(&counted, now) {
            return Err(OAuthError::TooMany(wait));
        }
        let client = self.known(shown.id, configured, settings)?;
        let secret = shown.secret.unwrap_or_default();
        let hash = self.vault.hash(SECRET, secret.as_bytes());
        let wanted = client.as_ref().and_then(|client| client.secret_hash);
        let is_same: bool = wanted.unwrap_or_default().ct_eq(&hash).into();
        match client {
            Some(client) if client.is_public() && shown.secret.is_none() => Ok(client),
            Some(client) if wanted.is_some() && is_same => Ok(client),
            Some(_) => {
                self.failures.count(&counted, now);
                Err(OAuthError::Client)
            }
            None => Err(OAuthError::Client),
        }
    }

    /// Who is there: the client that signed this, for one of `audiences`.
    pub(super) async fn authenticate_by(
        &self,
        assertion: &Assertion<'_>,
        audiences: [&str; 2],
        address: &str,
        configured: &Configured,
    ) -> Result<Client, OAuthError> {
        let now = self.clock.now();
        let id = assertion.client_id().ok_or(OAuthError::Client)?;
        // Only the config gives clients keys.
        let client = configured.get(id).ok_or(OAuthError::Client)?;
        let counted = format!("{address} {id}");
        if let Some(wait) = self.failures.wait(&counted, now) {
            return Err(OAuthError::TooMany(wait));
        }
        if assertion.is_of(client, audiences, self.clock.wall())
            && assertion
                .is_first(&self.store, &self.vault, &self.clock)
                .await?
        {
            return Ok(client.clone());
        }
        self.failures.count(&counted, now);
        Err(OAuthError::Client)
    }

    /// Registers a client (RFC 7591 section 3.1). `body` is what it says about itself.
    pub(super) async fn register(
        &self,
        body: &[u8],
        address: &str,
        settings: &Settings,
    ) -> Result<Registered, OAuthError> {
        if !settings.registration {
            return Err(OAuthError::Off);
        }
        self.registrations
            .take(address, self.clock.now())
            .map_err(OAuthError::TooMany)?;
        let said = object(body, REGISTRATION_BYTES_MAX).ok_or(OAuthError::Metadata(
            "Send a JSON object, of 32 KiB at most",
        ))?;
        let metadata = Metadata::read(&said, &settings.redirect_schemes, Method::Basic)?;
        let secret = match metadata.method {
            Method::None => None,
            Method::Basic | Method::Post => Some(random::<32>()?),
        };
        let now = self.clock.wall();
        let id = format!("dyn_{}", *random::<16>()?);
        let mut document = metadata.to_json();
        let row = ClientRow {
            id: id.clone(),
            metadata: Value::Object(document.clone()).to_string(),
            secret_hash: secret
                .as_ref()
                .map(|secret| self.vault.hash(SECRET, secret.as_bytes())),
            created_at: now,
            fresh_until: None,
            used_at: now,
        };
        self.keep(row, settings).await?;
        info!(client = id, "a client registered");
        document.insert("client_id".to_owned(), id.into());
        document.insert("client_id_issued_at".to_owned(), seconds(now).into());
        Ok(Registered { document, secret })
    }

    /// Notes that somebody allowed a client something.
    pub(super) async fn touch(&self, client: &Client) -> Result<(), OAuthError> {
        match client.origin {
            Origin::Config => Ok(()),
            Origin::Registered | Origin::Document => Ok(self
                .store
                .touch_oauth_client(&client.id, self.clock.wall())
                .await?),
        }
    }

    /// Keeps a client, and lets those go that nobody uses.
    async fn keep(&self, row: ClientRow, settings: &Settings) -> Result<(), OAuthError> {
        let now = row.used_at;
        let since = |long| now.checked_sub(long).unwrap_or(SystemTime::UNIX_EPOCH);
        self.store
            .prune_oauth_clients(since(settings.registration_unused), since(UNTRIED))
            .await?;
        if self.store.put_oauth_client(row, CLIENTS_MAX).await? {
            Ok(())
        } else {
            Err(OAuthError::TooMany(UNTRIED))
        }
    }

    async fn fetch(&self, id: &str, url: Url, settings: &Settings) -> Result<Client, OAuthError> {
        let _place = self
            .fetches
            .try_acquire()
            .map_err(|_full| OAuthError::TooMany(DOCUMENT_TIMEOUT))?;
        let reach = match url.host() {
            // Only with the setting that is named for its danger did it get here.
            Some(host) if net::is_here(&host) => Reach::Loopback,
            _ if settings.danger_private_client_documents => Reach::Operator,
            _ => Reach::Public,
        };
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let fetch = Fetch {
            method: HttpMethod::GET,
            url,
            headers,
            body: Bytes::new(),
            reach,
            // The document of a URL is what is at that URL.
            redirects_max: 0,
            body_max: DOCUMENT_BYTES_MAX,
            timeout: DOCUMENT_TIMEOUT,
        };
        let fetched = Box::pin(self.http.fetch(fetch)).await.map_err(|error| {
            debug!(client = id, %error, "a client's document cannot be fetched");
            OAuthError::Metadata("The client's metadata document cannot be fetched")
        })?;
        let metadata = judge(id, &fetched, &settings.redirect_schemes)?;
        let now = self.clock.wall();
        let row = ClientRow {
            id: id.to_owned(),
            metadata: Value::Object(metadata.to_json()).to_string(),
            secret_hash: None,
            created_at: now,
            fresh_until: Some(now + fresh(&fetched.headers)),
            used_at: now,
        };
        self.keep(row, settings).await?;
        Ok(client(id.to_owned(), metadata, None, Origin::Document))
    }
}

/// The URL of a client's own document, if its id is one: in the one form that a URL has, so that two ids are never one
/// document, and with a path of its own.
pub(super) fn document_url(id: &str, danger_private: bool) -> Option<Url> {
    if id.len() > URL_BYTES_MAX {
        return None;
    }
    let url = Url::parse(id).ok()?;
    let is_plain = url.as_str() == id
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.path() != "/";
    let host = url.host()?;
    let is_secure = match url.scheme() {
        "https" => danger_private || !net::is_here(&host),
        "http" => danger_private && net::is_here(&host),
        _ => false,
    };
    (is_plain && is_secure).then_some(url)
}

/// What a document says, if it is the document of this id.
fn judge(id: &str, fetched: &Fetched, schemes: &[String]) -> Result<Metadata, OAuthError> {
    let bad = |why| Err(OAuthError::Metadata(why));
    if fetched.status != StatusCode::OK {
        return bad("The client's metadata document is not there");
    }
    let kind = fetched.headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_json = kind.eq_ignore_ascii_case("application/json")
        || (kind.starts_with("application/") && kind.ends_with("+json"));
    let Some(document) = object(&fetched.body, DOCUMENT_BYTES_MAX).filter(|_| is_json) else {
        return bad("The client's metadata document is not a JSON object");
    };
    if document.get("client_id").and_then(Value::as_str) != Some(id) {
        return bad("The client's metadata document is another client's");
    }
    // A secret that stands at a public URL is none.
    if document.contains_key("client_secret") {
        return bad("The client's metadata document holds a secret");
    }
    let metadata = Metadata::read(&document, schemes, Method::None)?;
    if metadata.method != Method::None {
        return bad("A client with a metadata document has token_endpoint_auth_method none");
    }
    Ok(metadata)
}

/// How long a document is good (RFC 9111 section 5.2.2), within our bounds.
fn fresh(headers: &HeaderMap) -> Duration {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_ascii_lowercase());
    let mut fresh = FRESH;
    for directive in directives {
        match directive.strip_prefix("max-age=").map(str::parse) {
            Some(Ok(seconds)) => fresh = Duration::from_secs(seconds),
            Some(Err(_)) => {}
            None if matches!(directive.as_str(), "no-store" | "no-cache") => return FRESH_MIN,
            None => {}
        }
    }
    fresh.clamp(FRESH_MIN, FRESH_MAX)
}

fn object(text: &[u8], bytes_max: usize) -> Option<Map<String, Value>> {
    if text.len() > bytes_max || !wire::json::depth_within(text, DEPTH_MAX) {
        return None;
    }
    match wire::json::strict_value(text) {
        Ok(Value::Object(document)) => Some(document),
        Ok(_) | Err(_) => None,
    }
}

/// What we kept, held against the rules of today.
fn from_row(row: ClientRow, settings: &Settings) -> Option<Client> {
    let document = object(row.metadata.as_bytes(), REGISTRATION_BYTES_MAX)?;
    let metadata = Metadata::read(&document, &settings.redirect_schemes, Method::Basic).ok()?;
    let origin = match row.fresh_until {
        Some(_) => Origin::Document,
        None => Origin::Registered,
    };
    Some(client(row.id, metadata, row.secret_hash, origin))
}

fn client(id: String, metadata: Metadata, secret_hash: Option<[u8; 32]>, origin: Origin) -> Client {
    Client {
        id,
        metadata,
        secret_hash,
        keys: Vec::new(),
        scopes: Scopes::EVERY,
        machine: None,
        origin,
    }
}

/// Whole seconds since 1970.
pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(status: u16, kind: &'static str, body: &str) -> Fetched {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Fetched {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::copy_from_slice(body.as_bytes()),
            url: Url::parse("https://app.example/client").unwrap(),
        }
    }

    #[test]
    fn a_document_speaks_for_the_url_that_it_names_and_is_at() {
        let id = "https://app.example/client";
        let of = |more: &str| {
            format!(r#"{{"client_id":"{id}","redirect_uris":["http://localhost/cb"]{more}}}"#)
        };
        let judged = |fetched: &Fetched| judge(id, fetched, &[]);
        let good = fetched(200, "application/json; charset=utf-8", &of(""));
        assert_eq!(judged(&good).unwrap().method, Method::None);
        let other = of("").replace("/client\"", "/client/\"");
        let upper = of("").replace("app.example/client", "APP.example/client");
        for (status, kind, body) in [
            (404, "application/json", of("")),
            (302, "application/json", of("")),
            (200, "text/html", of("")),
            (200, "application/json", "[]".to_owned()),
            (200, "application/json", other),
            (200, "application/json", upper),
            (200, "application/json", of(r#","client_id":"x""#)),
            (200, "application/json", of(r#","client_secret":"x""#)),
            (
                200,
                "application/json",
                of(r#","token_endpoint_auth_method":"client_secret_post""#),
            ),
        ] {
            assert!(judged(&fetched(status, kind, &body)).is_err(), "{body}");
        }
    }

    #[test]
    fn only_a_plain_https_url_with_a_path_names_a_document() {
        for id in ["https://app.example/client.json", "https://a.example/x?y=1"] {
            assert!(document_url(id, false).is_some(), "{id}");
        }
        for id in [
            "https://app.example",
            "https://app.example/",
            "http://app.example/client",
            "https://app.example/a/../client",
            "https://app.example/client#x",
            "https://user@app.example/client",
            "https://APP.example/client",
            "https://app.example:443/client",
            "https://localhost/client",
            "https://127.0.0.1/client",
            "https://[::1]/client",
            "https://127.1/client",
            "app",
        ] {
            assert!(document_url(id, false).is_none(), "{id}");
        }
        assert!(document_url("http://127.0.0.1:9/client", true).is_some());
        assert!(document_url("http://10.0.0.1/client", true).is_none());
    }

    #[test]
    fn how_long_a_document_is_good_is_for_it_to_say_within_bounds() {
        let said = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(text));
            fresh(&headers)
        };
        assert_eq!(fresh(&HeaderMap::new()), FRESH);
        assert_eq!(said("public, max-age=600"), Duration::from_mins(10));
        assert_eq!(said("max-age=1"), FRESH_MIN);
        assert_eq!(said("max-age=99999999"), FRESH_MAX);
        assert_eq!(said("max-age=7200, no-cache"), FRESH_MIN);
    }
}
