//! The embedded authorization server (OAuth 2.1): for a laptop or a small team, where there is no other.
//!
//! What clients ask of people is in [`ask`], what they get for the answer in [`token`], who they are in [`clients`],
//! and the keys that sign in [`signing`]. Tokens are verified where every issuer's are, by [`Authority::keys`]. Pages
//! and sockets are `server`'s.

mod ask;
mod assertion;
mod client;
mod clients;
mod error;
mod limiter;
mod params;
mod redirect;
mod signing;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use policy::{Instant, PrincipalId, Scopes};
use serde_json::{Map, Value, json};
use store::GrantRow;
use zeroize::Zeroizing;

use crate::tokens::KeySet;
use crate::tokens::dpop::Proofs;
use crate::{Parts, Revoked};

pub use ask::{Asked, NoClient, Question, Visitor};
pub use client::{ClientSecret, ConfiguredClient};
pub use clients::{REGISTRATION_BYTES_MAX, Registered};
pub use error::OAuthError;
pub use redirect::is_redirect_uri;
pub(crate) use signing::purpose as signing_key_purpose;
pub use token::{ClientRequest, Issued};

/// The longest that an access token may be good.
pub const TOKEN_LIFETIME_MAX: Duration = Duration::from_hours(1);
/// How long an assertion for another server is good.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
/// The signatures that proofs of possession and clients' assertions may have.
pub const SIGNATURES: [&str; 5] = ["ES256", "EdDSA", "ES384", "PS256", "RS256"];

/// What hashes of codes and refresh tokens are for.
const CODE: &str = "authority/code";
const REFRESH: &str = "authority/refresh_token";
/// How long what ended is kept: as long as somebody may come with what hung on it.
const KEPT: Duration = Duration::from_hours(24);
/// How often what ended is looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(10);

/// What the config says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether there is one.
    pub enabled: bool,
    /// How long an access token is good; at most [`TOKEN_LIFETIME_MAX`].
    pub token_lifetime: Duration,
    /// How long a refresh token may lie unused.
    pub refresh_idle: Duration,
    /// How long a grant lasts, however often it is used.
    pub refresh_lifetime: Duration,
    /// Whether clients may register themselves.
    pub registration: bool,
    /// How long a registered client may go unused before it is forgotten.
    pub registration_unused: Duration,
    /// Private-use schemes of redirect URIs that are not a domain in reverse.
    pub redirect_schemes: Vec<String>,
    /// Whether metadata documents of clients are fetched from this machine and private networks, too.
    pub danger_private_client_documents: bool,
    /// Clients that are known beforehand.
    pub clients: Vec<ConfiguredClient>,
}

impl Default for Settings {
    fn default() -> Self {
        let days = |days: u64| Duration::from_hours(24 * days);
        Self {
            enabled: true,
            token_lifetime: Duration::from_mins(10),
            refresh_idle: days(14),
            refresh_lifetime: days(90),
            registration: true,
            registration_unused: days(90),
            redirect_schemes: vec!["cursor".to_owned()],
            danger_private_client_documents: false,
            clients: Vec::new(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Authority {
    parts: Parts,
    now: ArcSwap<Now>,
    clients: clients::Clients,
    keys: signing::SigningKeys,
    proofs: Proofs,
    waiting: ask::Waiting,
    swept_at: parking_lot::Mutex<Option<Instant>>,
}

/// What a config comes to.
#[derive(Debug)]
struct Now {
    settings: Settings,
    configured: clients::Configured,
}

impl Authority {
    pub(crate) fn new(parts: &Parts, settings: Settings) -> Self {
        let clients = clients::Clients::new(parts);
        let keys = signing::SigningKeys::new(parts);
        keys.publish_if(settings.enabled);
        Self {
            parts: parts.clone(),
            now: ArcSwap::from_pointee(Now {
                configured: clients.configured(&settings.clients),
                settings,
            }),
            clients,
            keys,
            proofs: Proofs::new(parts),
            waiting: ask::Waiting::default(),
            swept_at: parking_lot::Mutex::default(),
        }
    }

    pub(crate) fn reload(&self, settings: Settings) {
        self.keys.publish_if(settings.enabled);
        self.now.store(Arc::new(Now {
            configured: self.clients.configured(&settings.clients),
            settings,
        }));
    }

    /// What the config says, if there is such a server.
    fn on(&self) -> Result<Arc<Now>, OAuthError> {
        let now = self.now.load_full();
        if now.settings.enabled {
            Ok(now)
        } else {
            Err(OAuthError::Off)
        }
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.now.load().settings.enabled
    }

    /// The keys by which its tokens are verified; replaced ones too, as long as their tokens hold.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeySet> {
        self.keys.set()
    }

    /// Its metadata (RFC 8414 section 2).
    #[must_use]
    pub fn metadata(&self) -> Value {
        let base = self.parts.site.base();
        let at = |path: &str| format!("{base}{path}");
        let mut metadata = json!({
            "issuer": base,
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "revocation_endpoint": at("/oauth/revoke"),
            "jwks_uri": at("/oauth/jwks"),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": AUTH_METHODS,
            "token_endpoint_auth_signing_alg_values_supported": SIGNATURES,
            "revocation_endpoint_auth_methods_supported": AUTH_METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": SIGNATURES,
            "scopes_supported": scopes_supported(),
            "authorization_response_iss_parameter_supported": true,
            "client_id_metadata_document_supported": true,
            "dpop_signing_alg_values_supported": SIGNATURES,
        });
        if let Some(metadata) = metadata.as_object_mut()
            && self.now.load().settings.registration
        {
            let name = "registration_endpoint";
            metadata.insert(name.to_owned(), at("/oauth/register").into());
        }
        metadata
    }

    /// The public keys that sign its tokens (RFC 7517 section 5); made if there are none.
    ///
    /// # Errors
    /// If they cannot be read or kept.
    pub async fn jwks(&self) -> Result<Value, OAuthError> {
        self.on()?;
        Ok(self.keys.current().await?.jwks())
    }

    /// Tells another authorization server, named by its issuer, that `principal` is here: a JWT for an exchange (RFC 8693
    /// section 2.1) that anybody can verify by [`Authority::jwks`]. It is no access token: its type is another, it is for
    /// that server alone, and it ends soon.
    ///
    /// # Errors
    /// If there is no such server here, or its key cannot be had.
    pub(crate) async fn assertion(
        &self,
        principal: &str,
        audience: &str,
    ) -> Result<Zeroizing<String>, OAuthError> {
        self.on()?;
        let issued_at = clients::seconds(self.parts.clock.wall());
        let claims = Map::from_iter([
            ("iss".to_owned(), self.parts.site.base().into()),
            ("sub".to_owned(), principal.into()),
            ("aud".to_owned(), audience.into()),
            ("iat".to_owned(), issued_at.into()),
            (
                "exp".to_owned(),
                (issued_at + ASSERTION_LIFETIME.as_secs()).into(),
            ),
            ("jti".to_owned(), params::random::<16>()?.as_str().into()),
        ]);
        let keys = self.keys.current().await?;
        keys.sign_as("JWT", &claims).map(Zeroizing::new)
    }

    /// Has tokens signed with a new key from now on; gives back its id. What the old one signed stays good.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub async fn rotate_signing_key(&self) -> Result<String, OAuthError> {
        let kid = self.keys.rotate().await?;
        self.keys.publish_if(self.is_enabled());
        Ok(kid)
    }

    /// Registers a client that describes itself in `body` (RFC 7591 section 3.1).
    ///
    /// # Errors
    /// Why it is not registered.
    pub async fn register(
        &self,
        body: &[u8],
        address: Option<std::net::IpAddr>,
    ) -> Result<Registered, OAuthError> {
        let now = self.on()?;
        let address = address.map(token::network).unwrap_or_default();
        self.clients.register(body, &address, &now.settings).await
    }

    /// What clients are allowed to do at the moment, newest first: for one principal, or for everybody.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn grants(&self, principal: Option<&PrincipalId>) -> Result<Vec<GrantRow>, store::Error> {
        let principal = principal.map(PrincipalId::as_str);
        self.parts
            .store
            .list_grants(principal, self.parts.clock.wall())
    }

    /// Ends a grant, its tokens and what runs under them; `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn revoke_grant(&self, id: &str, by: &str) -> Result<bool, store::Error> {
        let Some(grant) = self.parts.store.get_grant(id)? else {
            return Ok(false);
        };
        self.end(&grant, by, "revoked").await?;
        // Who takes something back wants to be asked again.
        self.parts
            .store
            .delete_consents(&grant.principal, &grant.client_id)
            .await?;
        Ok(true)
    }

    /// Ends a grant, and the access tokens under it.
    async fn end(&self, grant: &GrantRow, by: &str, reason: &str) -> Result<(), store::Error> {
        let wall = self.parts.clock.wall();
        // The refresh tokens first: nothing new may come while the rest is ended.
        self.parts.store.revoke_grant(&grant.id, wall).await?;
        let until = wall + TOKEN_LIFETIME_MAX * 2;
        self.parts
            .revocations
            .revoke(Revoked::Grant(&grant.id), Some(until), by, reason)
            .await
    }

    /// Deletes what ended long ago, now and then.
    async fn sweep(&self, wall: SystemTime) -> Result<(), store::Error> {
        let now = self.parts.clock.now();
        {
            let mut swept_at = self.swept_at.lock();
            if swept_at.is_some_and(|at| now.since(at) < SWEEP_EVERY) {
                return Ok(());
            }
            *swept_at = Some(now);
        }
        let ended = wall.checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH);
        self.parts.store.prune_grants(ended).await?;
        Ok(())
    }
}

/// How clients may authenticate.
const AUTH_METHODS: [&str; 4] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];

fn scopes_supported() -> Vec<String> {
    let mut scopes: Vec<String> = Scopes::EVERY
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect();
    scopes.push("offline_access".to_owned());
    scopes
}

#[cfg(test)]
mod tests;
