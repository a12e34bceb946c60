//! Credentials for upstreams: the gate's own and those that principals granted it, never what a client presented.
//!
//! The gate is an OAuth client here. `discovery` finds out where tokens come from, `client` who we are there, `token`
//! asks for them, `account` holds them, `attempt` is a person's sign-in under way. Tokens are kept sealed, under issuer,
//! upstream and principal. What an upstream is told beside the credential is `upstream`'s; pages are `server`'s. A call
//! whose token is fresh waits for nothing: [`Outbound::at_hand`].

mod account;
mod attempt;
mod challenge;
mod client;
mod config;
mod discovery;
mod error;
mod token;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use policy::{Principal, PrincipalId, UpstreamId};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

pub use config::{Client as ClientSettings, Grant, Proof, Settings, SigningKey, Upstream};
pub use error::OutboundError;

pub(crate) use self::account::purpose as token_purpose;

use self::account::{Account, Held, OWN, Slot};
use self::attempt::{ATTEMPT_MAX, Attempt, Attempts};
use self::challenge::Challenge;
use self::client::{Client, Registered};
use self::discovery::{Resource, Scout, Server};
use self::token::Request;
use crate::Parts;

/// How long a call waits for a token.
const OBTAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// A token that is refused so soon after it came would be refused again.
const REFUSED_SOON: Duration = Duration::from_secs(5);
/// How long an upstream may take to say that it wants a token.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are looked at for one that lists can be asked for with.
const LISTERS_MAX: usize = 16;
/// The longest answer that a browser brings back, in bytes.
const QUERY_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Outbound {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    accounts: ArcSwap<HashMap<UpstreamId, Arc<Account>>>,
    attempts: Attempts,
    /// Another number: somebody connected or disconnected an upstream.
    changes: watch::Sender<u64>,
    /// What obtains tokens: it goes on when the call that began it goes away, since a token that is asked for twice may
    /// be lost (refresh token rotation).
    tasks: TaskTracker,
}

/// What a principal has with one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The upstream.
    pub upstream: UpstreamId,
    /// Who gave out the tokens; `None` as long as it is not connected.
    pub issuer: Option<String>,
    /// What was granted.
    pub scopes: Vec<String>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// It was connected, and must be connected anew: it no longer holds, or is not enough.
    pub is_stale: bool,
}

/// What an upstream answered to a request.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'a> {
    /// The credential that it came with, if any.
    pub used: Option<&'a HeaderValue>,
    /// 401 or 403.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: &'a HeaderMap,
}

impl Outbound {
    pub(crate) fn new(parts: &Parts, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            parts: parts.clone(),
            accounts: ArcSwap::default(),
            attempts: Attempts::default(),
            changes: watch::channel(0).0,
            tasks: TaskTracker::new(),
        });
        shared.reload(settings);
        Self { shared }
    }

    /// Takes over another config. What did not change keeps its tokens.
    pub(crate) fn reload(&self, settings: Settings) {
        self.shared.reload(settings);
    }

    /// Waits for tokens that are being obtained, and obtains no more.
    pub async fn end(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// The page on which a principal connects an upstream.
    #[must_use]
    pub fn page(&self, upstream: &UpstreamId) -> String {
        format!("{}/console/connect/{upstream}", self.shared.parts.site.base())
    }

    /// Tells of each connection that comes or goes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// `Authorization` for an upstream, if it is at hand and fresh: neither I/O nor waiting. `principal` is whose call
    /// it is; `None` for the gate's own requests.
    #[must_use]
    pub fn at_hand(&self, upstream: &UpstreamId, principal: Option<&str>) -> Option<HeaderValue> {
        let accounts = self.shared.accounts.load();
        let account = accounts.get(upstream)?;
        let slot = account.known(account.whose(principal)?)?;
        slot.fresh(self.shared.parts.clock.wall())
    }

    /// `Authorization` for an upstream, obtained if need be. `None`: a request of our own to an upstream that
    /// principals connect goes without, and is told what is wanted.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn obtain(
        &self,
        upstream: &UpstreamId,
        principal: Option<&str>,
    ) -> Result<Option<HeaderValue>, OutboundError> {
        let account = self.shared.account(upstream)?;
        let Some(whose) = account.whose(principal) else {
            return Ok(None);
        };
        self.shared.obtain(&account, whose, None).await.map(Some)
    }

    /// What to do about a refused request: the `Authorization` to try once more with.
    ///
    /// # Errors
    /// Why there is no better one; [`OutboundError::NotConnected`] if the principal can do something about it.
    pub async fn refused(
        &self,
        upstream: &UpstreamId,
        principal: Option<&str>,
        refusal: Refusal<'_>,
    ) -> Result<HeaderValue, OutboundError> {
        let account = self.shared.account(upstream)?;
        self.shared.refused(&account, principal, refusal).await
    }

    /// Under whose connection the lists of an upstream are asked for: that of the principal who connected it first.
    #[must_use]
    pub fn lister(&self, upstream: &UpstreamId) -> Option<String> {
        let account = self.shared.account(upstream).ok()?;
        self.shared.lister(&account)
    }

    /// Whether a principal has a connection that holds.
    #[must_use]
    pub fn is_connected(&self, upstream: &UpstreamId, principal: &str) -> bool {
        let Ok(account) = self.shared.account(upstream) else {
            return false;
        };
        matches!(self.shared.held(&account, principal), Ok(Some(_)))
    }

    /// Every upstream that principals connect for themselves, and what this one has with it.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn connections(&self, principal: &PrincipalId) -> Result<Vec<Connection>, OutboundError> {
        let accounts = self.shared.accounts.load();
        let mut accounts: Vec<_> = accounts.values().filter(|one| one.is_personal()).collect();
        accounts.sort_by(|one, other| one.settings.id.cmp(&other.settings.id));
        accounts
            .into_iter()
            .map(|account| self.shared.connection(account, principal))
            .collect()
    }

    /// Where to send the principal's browser so that it grants us access to the upstream.
    ///
    /// # Errors
    /// If the upstream or its authorization server cannot be used.
    pub async fn begin(
        &self,
        upstream: &UpstreamId,
        principal: &Principal,
    ) -> Result<Url, OutboundError> {
        let account = self.shared.account(upstream)?;
        if !account.is_personal() {
            return Err(OutboundError::Unknown(upstream.to_string()));
        }
        self.shared.begin(&account, &principal.id).await
    }

    /// Takes what the browser brought back to `/oauth/callback` (the query, without `?`), from the principal who began.
    /// The upstream is connected then.
    ///
    /// # Errors
    /// If it is not to be trusted or nothing came of it.
    pub async fn finish(
        &self,
        principal: &Principal,
        query: &str,
    ) -> Result<UpstreamId, OutboundError> {
        self.shared.finish(&principal.id, query).await
    }

    /// Forgets what this principal granted. Whether there was something.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn disconnect(
        &self,
        upstream: &UpstreamId,
        principal: &PrincipalId,
    ) -> Result<bool, OutboundError> {
        self.shared.forget(principal, Some(upstream)).await
    }

    /// Forgets all that this principal granted: it is no more.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub async fn forget(&self, principal: &PrincipalId) -> Result<(), OutboundError> {
        self.shared.forget(principal, None).await.map(drop)
    }

    /// `/oauth/client.json`: what we are as a client, for authorization servers that read it (OAuth Client ID Metadata
    /// Documents). JSON text.
    #[must_use]
    pub fn client_metadata(&self) -> String {
        let site = &self.shared.parts.site;
        let mut metadata = client::metadata(site, "none");
        let id = format!("{}/oauth/client.json", site.base());
        metadata["client_id"] = client::document_url(site).unwrap_or(id).into();
        metadata.to_string()
    }
}

impl Account {
    fn is_personal(&self) -> bool {
        self.settings.grant == Grant::PerUser
    }

    /// Whose slot serves a request; `None` for a request of our own to an upstream that principals connect.
    fn whose<'a>(&self, principal: Option<&'a str>) -> Option<&'a str> {
        match self.settings.grant {
            Grant::ClientCredentials => Some(OWN),
            Grant::PerUser => principal,
        }
    }

    fn scout<'a>(&'a self, parts: &'a Parts) -> Scout<'a> {
        Scout {
            client: &parts.client,
            upstream: &self.settings.url,
            issuer: self.settings.issuer.as_deref(),
        }
    }

    fn not_connected(&self, more: bool) -> OutboundError {
        let upstream = self.settings.id.clone();
        OutboundError::NotConnected { upstream, more }
    }
}

impl Shared {
    fn reload(&self, settings: Settings) {
        let old = self.accounts.load();
        let account = |settings: Upstream| {
            let id = settings.id.clone();
            let kept = old.get(&id).filter(|old| old.settings == settings);
            let account = kept.map_or_else(|| Arc::new(Account::new(settings)), Arc::clone);
            (id, account)
        };
        let next = settings.upstreams.into_iter().map(account).collect();
        self.accounts.store(Arc::new(next));
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    fn account(&self, upstream: &UpstreamId) -> Result<Arc<Account>, OutboundError> {
        let accounts = self.accounts.load();
        let unknown = || OutboundError::Unknown(upstream.to_string());
        accounts.get(upstream).cloned().ok_or_else(unknown)
    }

    /// What is held for a principal, from memory or from the store.
    fn held(&self, account: &Account, principal: &str) -> Result<Option<Arc<Held>>, OutboundError> {
        let slot = account.slot(principal);
        if let Some(held) = slot.held.load_full() {
            return Ok(Some(held));
        }
        if !account.is_personal() {
            return Ok(None);
        }
        let row = self
            .parts
            .store
            .get_upstream_token(account.settings.id.as_str(), principal)
            .map_err(|error| OutboundError::unavailable("a connection", error))?;
        let held = row
            .filter(|row| !row.is_stale)
            .and_then(|row| account.open(&self.parts.vault, &row))
            .map(Arc::new);
        slot.held.store(held.clone());
        Ok(held)
    }

    fn lister(&self, account: &Account) -> Option<String> {
        let id = account.settings.id.as_str();
        let rows = self.parts.store.list_upstream_tokens(id, LISTERS_MAX).ok()?;
        let can = |row: &store::UpstreamTokenRow| account.open(&self.parts.vault, row).is_some();
        rows.into_iter().find(can).map(|row| row.principal)
    }

    fn connection(
        &self,
        account: &Account,
        principal: &PrincipalId,
    ) -> Result<Connection, OutboundError> {
        let (id, principal) = (&account.settings.id, principal.as_str());
        let row = self
            .parts
            .store
            .get_upstream_token(id.as_str(), principal)
            .map_err(|error| OutboundError::unavailable("a connection", error))?;
        let held = row
            .as_ref()
            .and_then(|row| account.open(&self.parts.vault, row));
        let wants_more = || {
            let slot = account.known(principal);
            slot.is_some_and(|slot| slot.more.lock().is_some())
        };
        Ok(Connection {
            upstream: id.clone(),
            is_stale: row.as_ref().is_some_and(|row| {
                row.is_stale || held.is_none() || wants_more()
            }),
            issuer: row.as_ref().map(|row| row.issuer.clone()),
            scopes: held.map(|held| held.tokens.granted).unwrap_or_default(),
            since: row.map(|row| row.since),
        })
    }

    /// A token for a principal (or [`OWN`]): the one at hand if it is fresh, or else another. `not` is one that the
    /// upstream refuses.
    async fn obtain(
        self: &Arc<Self>,
        account: &Arc<Account>,
        whose: &str,
        not: Option<HeaderValue>,
    ) -> Result<HeaderValue, OutboundError> {
        self.held(account, whose)?;
        let slot = account.slot(whose);
        if not.is_none()
            && let Some(header) = slot.fresh(self.parts.clock.wall())
        {
            return Ok(header);
        }
        if self.tasks.is_closed() {
            return Err(OutboundError::unavailable("a token", "the gate ends"));
        }
        let (shared, account, whose) = (Arc::clone(self), Arc::clone(account), whose.to_owned());
        let task = self.tasks.spawn(async move {
            let _turn = slot.turn.lock().await;
            shared.renew(&account, &slot, &whose, not.as_ref()).await
        });
        match tokio::time::timeout(OBTAIN_TIMEOUT, task).await {
            Ok(Ok(header)) => header,
            Ok(Err(error)) => Err(OutboundError::unavailable("a token", error)),
            Err(error) => Err(OutboundError::unavailable("a token", error)),
        }
    }

    /// As [`Shared::obtain`], for whoever's turn it is.
    async fn renew(
        &self,
        account: &Account,
        slot: &Slot,
        whose: &str,
        not: Option<&HeaderValue>,
    ) -> Result<HeaderValue, OutboundError> {
        let now = self.parts.clock.wall();
        let held = slot.held.load_full();
        if let Some(held) = &held
            && held.is_fresh(now)
            && not.is_none_or(|not| *not != held.header)
        {
            return Ok(held.header.clone());
        }
        if let Some(error) = slot.failure(self.parts.clock.now()) {
            return Err(error);
        }
        let renewed = match account.settings.grant {
            Grant::ClientCredentials => self.own(account, slot, held.as_deref()).await,
            Grant::PerUser => self.refresh(account, whose, held.as_deref()).await,
        };
        match renewed {
            Ok(renewed) => {
                let header = renewed.header.clone();
                slot.held.store(Some(Arc::new(renewed)));
                *slot.failed.lock() = None;
                Ok(header)
            }
            // It is refreshed ahead of its end, so that there is time for the authorization server to come back.
            Err(OutboundError::Unavailable { .. })
                if not.is_none() && held.as_ref().is_some_and(|held| held.is_good(now)) =>
            {
                held.map(|held| held.header.clone())
                    .ok_or_else(|| account.not_connected(false))
            }
            Err(error @ OutboundError::Unavailable { .. }) => {
                *slot.failed.lock() = Some((self.parts.clock.now(), error.clone()));
                Err(error)
            }
            Err(error) if account.is_personal() => {
                tracing::info!(upstream = %account.settings.id, principal = whose, %error, "a connection no longer holds");
                self.stale(account, slot, whose, held.as_deref()).await;
                Err(account.not_connected(false))
            }
            Err(error) => {
                *slot.failed.lock() = Some((self.parts.clock.now(), error.clone()));
                Err(error)
            }
        }
    }

    /// The principal has to connect anew.
    async fn stale(&self, account: &Account, slot: &Slot, whose: &str, held: Option<&Held>) {
        slot.held.store(None);
        let Some(held) = held else { return };
        let id = account.settings.id.as_str();
        let noted = self.parts.store.stale_upstream_token(id, whose, held.since);
        if let Err(error) = noted.await {
            tracing::warn!(upstream = id, %error, "that a connection no longer holds could not be kept");
        }
        self.changed();
    }

    /// A token of our own (RFC 6749 section 4.4).
    async fn own(
        &self,
        account: &Account,
        slot: &Slot,
        held: Option<&Held>,
    ) -> Result<Held, OutboundError> {
        let scout = account.scout(&self.parts);
        let more = slot.more.lock().clone();
        let challenge = match more {
            Some(challenge) => Some(challenge),
            None => self.challenge(account).await,
        };
        let resource = scout.resource(challenge.as_ref()).await?;
        let server = scout.server(&resource).await?;
        let client = self.client(account, &server).await?;
        let before = held.map(|held| held.tokens.asked.as_slice());
        let asked = wanted_scopes(account, challenge.as_ref(), &resource, before);
        let now = self.parts.clock.wall();
        let request = Request {
            scout,
            server: &server,
            client: &client,
            resource: &resource.id,
            now,
        };
        let tokens = request.own(&asked).await?;
        *slot.more.lock() = None;
        Held::new(tokens, resource, now)
    }

    /// Fresh tokens of a principal's.
    async fn refresh(
        &self,
        account: &Account,
        whose: &str,
        held: Option<&Held>,
    ) -> Result<Held, OutboundError> {
        let held = held.ok_or_else(|| account.not_connected(false))?;
        if held.tokens.refresh.is_none() {
            return Err(account.not_connected(false));
        }
        let scout = account.scout(&self.parts);
        let server = scout.server(&held.resource).await?;
        let client = self.client(account, &server).await?;
        let request = Request {
            scout,
            server: &server,
            client: &client,
            resource: &held.resource.id,
            now: self.parts.clock.wall(),
        };
        let tokens = request.refresh(&held.tokens).await?;
        let fresh = Held::new(tokens, held.resource.clone(), held.since)?;
        let row = account.seal(&self.parts.vault, &fresh, whose)?;
        let sealed = row.sealed.clone();
        match self.parts.store.refresh_upstream_token(row, sealed).await {
            Ok(true) => Ok(fresh),
            // Disconnected, or connected anew, meanwhile.
            Ok(false) => Err(account.not_connected(false)),
            // The old ones may be good for nothing now; these hold until the gate ends.
            Err(error) => {
                tracing::error!(upstream = %account.settings.id, %error, "refreshed tokens could not be kept");
                Ok(fresh)
            }
        }
    }

    /// What the upstream says to one who comes without a token; asked for if it was not heard so far.
    async fn challenge(&self, account: &Account) -> Option<Challenge> {
        let known = account.challenge.lock().clone();
        if known.is_some() {
            return known;
        }
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accept);
        let request = net::Request {
            method: Method::POST,
            url: account.settings.url.clone(),
            headers,
            body: Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#),
            reach: net::Reach::Operator,
            timeout: PROBE_TIMEOUT,
        };
        let answer = self.parts.client.send(request).await.ok()?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return None;
        }
        let challenge = read_challenge(&answer.headers);
        account.challenge.lock().clone_from(&challenge);
        challenge
    }

    /// Who we are to the authorization server of an upstream.
    async fn client(&self, account: &Account, server: &Server) -> Result<Client, OutboundError> {
        if let Some(client) = &account.settings.client {
            return Client::configured(client, server);
        }
        let site = &self.parts.site;
        if let Some(url) = client::document_url(site).filter(|_| server.reads_documents) {
            return Ok(Client::published(url));
        }
        let _joining = account.joining.lock().await;
        let upstream = account.settings.id.as_str();
        let purpose = client_purpose(&server.issuer, upstream);
        let now = self.parts.clock.wall();
        let failed = |error| OutboundError::unavailable("our registration", error);
        let kept = self
            .parts
            .store
            .get_upstream_client(&server.issuer, upstream)
            .map_err(failed)?
            .and_then(|sealed| self.parts.vault.open(&purpose, &sealed).ok())
            .and_then(|text| serde_json::from_slice::<Registered>(&text).ok())
            .filter(|kept| kept.holds(site, now));
        if let Some(kept) = kept {
            return Ok(kept.client());
        }
        let scout = account.scout(&self.parts);
        let registered = client::register(&scout, server, site).await?;
        let text = serde_json::to_vec(&registered)
            .map(Zeroizing::new)
            .map_err(|error| OutboundError::unavailable("a seal", error))?;
        let sealed = self
            .parts
            .vault
            .seal(&purpose, &text)
            .map_err(|error| OutboundError::unavailable("a seal", error))?;
        self.parts
            .store
            .put_upstream_client(&server.issuer, upstream, sealed, now)
            .await
            .map_err(failed)?;
        Ok(registered.client())
    }

    async fn refused(
        self: &Arc<Self>,
        account: &Arc<Account>,
        principal: Option<&str>,
        refusal: Refusal<'_>,
    ) -> Result<HeaderValue, OutboundError> {
        let challenge = read_challenge(refusal.headers);
        let useless = |why: &str| OutboundError::Useless(why.to_owned());
        let (Some(whose), Some(used)) = (account.whose(principal), refusal.used) else {
            *account.challenge.lock() = challenge;
            return Err(account.not_connected(false));
        };
        let slot = account.slot(whose);
        let held = self.held(account, whose)?;
        let Some(held) = held else {
            return Err(account.not_connected(false));
        };
        if held.header != *used {
            return Ok(held.header.clone());
        }
        if refusal.status == StatusCode::FORBIDDEN {
            let challenge = challenge.filter(Challenge::wants_more);
            let challenge = challenge.ok_or_else(|| useless("HTTP 403"))?;
            let has = |scope: &String| {
                held.tokens.asked.contains(scope) || held.tokens.granted.contains(scope)
            };
            if challenge.scopes.iter().all(has) {
                return Err(useless("it wants what the token has"));
            }
            *slot.more.lock() = Some(challenge);
            if account.is_personal() {
                return Err(account.not_connected(true));
            }
            return self.obtain(account, whose, Some(used.clone())).await;
        }
        if challenge.is_some() {
            *account.challenge.lock() = challenge;
        }
        let age = self.parts.clock.wall().duration_since(held.obtained());
        let is_new = age.is_ok_and(|age| age < REFUSED_SOON);
        match (account.is_personal(), is_new) {
            (false, true) => Err(useless("HTTP 401")),
            (true, true) => {
                // Nothing that a refresh would change.
                self.stale(account, &slot, whose, Some(&held)).await;
                Err(account.not_connected(false))
            }
            (_, false) => self.obtain(account, whose, Some(used.clone())).await,
        }
    }

    async fn begin(
        &self,
        account: &Account,
        principal: &PrincipalId,
    ) -> Result<Url, OutboundError> {
        let parts = &self.parts;
        let held = self.held(account, principal.as_str())?;
        let slot = account.slot(principal.as_str());
        let more = slot.more.lock().clone();
        let challenge = match more {
            Some(challenge) => Some(challenge),
            None => self.challenge(account).await,
        };
        let scout = account.scout(parts);
        let resource = scout.resource(challenge.as_ref()).await?;
        let server = scout.server(&resource).await?;
        let unfit = |why: &str| OutboundError::untrusted("the authorization server", why);
        if !server.has_s256 {
            return Err(unfit("it does not say that it takes PKCE with S256"));
        }
        let endpoint = server.authorization_endpoint.clone();
        let mut url = endpoint.ok_or_else(|| unfit("it lets nobody sign in"))?;
        let client = self.client(account, &server).await?;
        let before = held.filter(|held| held.resource.issuer == resource.issuer);
        let before = before.as_ref().map(|held| held.tokens.asked.as_slice());
        let mut asked = wanted_scopes(account, challenge.as_ref(), &resource, before);
        let offline = "offline_access";
        if account.settings.scopes.is_none()
            && server.scopes.iter().any(|scope| scope == offline)
            && !asked.iter().any(|scope| scope == offline)
        {
            asked.push(offline.to_owned());
        }
        let (state, verifier) = (random_text()?, random_text()?);
        let pkce = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &client.id)
                .append_pair("redirect_uri", &client::redirect_uri(&parts.site))
                .append_pair("state", &state)
                .append_pair("code_challenge", &pkce)
                .append_pair("code_challenge_method", "S256")
                .append_pair("resource", &resource.id);
            if !asked.is_empty() {
                query.append_pair("scope", &asked.join(" "));
            }
        }
        let now = parts.clock.now();
        let attempt = Attempt {
            upstream: account.settings.id.clone(),
            url: account.settings.url.clone(),
            principal: principal.clone(),
            resource,
            server,
            client,
            verifier,
            asked,
            until: now + ATTEMPT_MAX,
        };
        self.attempts.keep(self.state_hash(&state), attempt, now)?;
        Ok(url)
    }

    fn state_hash(&self, state: &str) -> [u8; 32] {
        self.parts.vault.hash("upstream sign-in", state.as_bytes())
    }

    async fn finish(
        self: &Arc<Self>,
        principal: &PrincipalId,
        query: &str,
    ) -> Result<UpstreamId, OutboundError> {
        let answer = Answer::read(query)?;
        let now = self.parts.clock.now();
        let state = self.state_hash(&answer.state);
        let attempt = self.attempts.take(&state, principal, now)?;
        let code = answer.code_from(&attempt.server)?;
        let account = self.account(&attempt.upstream)?;
        if account.settings.url != attempt.url || !account.is_personal() {
            return Err(OutboundError::Stranger);
        }
        if self.tasks.is_closed() {
            return Err(OutboundError::unavailable("a token", "the gate ends"));
        }
        let shared = Arc::clone(self);
        // A code can be redeemed once, so it goes on if the browser goes away.
        let task = self.tasks.spawn(async move {
            let upstream = attempt.upstream.clone();
            shared.redeem(&account, attempt, &code).await?;
            Ok(upstream)
        });
        match tokio::time::timeout(OBTAIN_TIMEOUT, task).await {
            Ok(Ok(finished)) => finished,
            Ok(Err(error)) => Err(OutboundError::unavailable("a token", error)),
            Err(error) => Err(OutboundError::unavailable("a token", error)),
        }
    }

    async fn redeem(
        &self,
        account: &Account,
        attempt: Attempt,
        code: &str,
    ) -> Result<(), OutboundError> {
        let whose = attempt.principal.as_str();
        let slot = account.slot(whose);
        let now = self.parts.clock.wall();
        let request = Request {
            scout: account.scout(&self.parts),
            server: &attempt.server,
            client: &attempt.client,
            resource: &attempt.resource.id,
            now,
        };
        let redirect_uri = client::redirect_uri(&self.parts.site);
        let redeemed = request
            .redeem(code, &attempt.verifier, &redirect_uri, &attempt.asked)
            .await;
        if let Err(OutboundError::Refused(code)) = &redeemed
            && code == "invalid_client"
        {
            // It no longer knows us: the next sign-in registers anew.
            let (issuer, upstream) = (&attempt.server.issuer, account.settings.id.as_str());
            let forgotten = self.parts.store.delete_upstream_client(issuer, upstream);
            drop(forgotten.await);
        }
        let held = Held::new(redeemed?, attempt.resource, now)?;
        let row = account.seal(&self.parts.vault, &held, whose)?;
        // Nobody refreshes what was there before into the place of this.
        let _turn = slot.turn.lock().await;
        self.parts
            .store
            .put_upstream_token(row)
            .await
            .map_err(|error| OutboundError::unavailable("a place to keep it", error))?;
        slot.held.store(Some(Arc::new(held)));
        *slot.more.lock() = None;
        *slot.failed.lock() = None;
        tracing::info!(upstream = %account.settings.id, principal = whose, "connected");
        self.changed();
        Ok(())
    }

    async fn forget(
        &self,
        principal: &PrincipalId,
        upstream: Option<&UpstreamId>,
    ) -> Result<bool, OutboundError> {
        self.attempts.forget(principal, upstream);
        let id = upstream.map(UpstreamId::as_str);
        let deleted = self
            .parts
            .store
            .delete_upstream_tokens(principal.as_str(), id)
            .await
            .map_err(|error| OutboundError::unavailable("the store", error))?;
        for (id, account) in self.accounts.load().iter() {
            if upstream.is_none_or(|upstream| upstream == id) {
                account.forget(principal.as_str());
            }
        }
        self.changed();
        Ok(deleted > 0)
    }
}

/// What to ask for: what the operator says, or else what the upstream wants now, or else what it names, and what was
/// asked for before (MCP 2026-07-28, "Scope Selection Strategy" and "Step-Up Authorization Flow").
fn wanted_scopes(
    account: &Account,
    challenge: Option<&Challenge>,
    resource: &Resource,
    before: Option<&[String]>,
) -> Vec<String> {
    let challenged = challenge.map_or(&[][..], |challenge| &challenge.scopes);
    let mut wanted = match &account.settings.scopes {
        Some(scopes) => scopes.clone(),
        None if challenged.is_empty() => resource.scopes.clone(),
        None => challenged.to_vec(),
    };
    let is_step_up = challenge.is_some_and(Challenge::wants_more);
    let further = if is_step_up { challenged } else { &[] };
    let before = if is_step_up { before.unwrap_or_default() } else { &[] };
    for scope in before.iter().chain(further) {
        if !wanted.contains(scope) {
            wanted.push(scope.clone());
        }
    }
    wanted
}

fn read_challenge(headers: &HeaderMap) -> Option<Challenge> {
    let values = headers.get_all(header::WWW_AUTHENTICATE);
    Challenge::read(values.iter().filter_map(|value| value.to_str().ok()))
}

/// What a browser brought back (RFC 6749 section 4.1.2, RFC 9207).
struct Answer {
    state: Zeroizing<String>,
    code: Option<Zeroizing<String>>,
    issuer: Option<String>,
    error: Option<String>,
}

impl Answer {
    fn read(query: &str) -> Result<Self, OutboundError> {
        if query.len() > QUERY_MAX {
            return Err(OutboundError::Stranger);
        }
        let mut found: HashMap<String, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let is_ours = matches!(&*name, "state" | "code" | "iss" | "error");
            if is_ours && found.insert(name.into_owned(), value.into_owned()).is_some() {
                // Two readers could choose differently.
                return Err(OutboundError::Stranger);
            }
        }
        let state = found.remove("state").ok_or(OutboundError::Stranger)?;
        Ok(Self {
            state: Zeroizing::new(state),
            code: found.remove("code").map(Zeroizing::new),
            issuer: found.remove("iss"),
            error: found.remove("error"),
        })
    }

    /// The code, if it is from this server: whoever names an issuer must name this one, letter by letter, and who says
    /// that it does must do so (RFC 9207 section 2.4).
    fn code_from(self, server: &Server) -> Result<Zeroizing<String>, OutboundError> {
        let foreign = |why: &str| Err(OutboundError::untrusted("the answer to the sign-in", why));
        match &self.issuer {
            Some(issuer) if *issuer != server.issuer => return foreign("it is another issuer's"),
            None if server.says_issuer => return foreign("it does not say whose it is"),
            Some(_) | None => {}
        }
        if let Some(error) = self.error {
            let code = token::error_code(&serde_json::json!({ "error": error }));
            return Err(OutboundError::Denied(code.unwrap_or_default()));
        }
        match self.code {
            Some(code) => Ok(code),
            None => foreign("it holds no code"),
        }
    }
}

/// 256 random bits as a text.
fn random_text() -> Result<Zeroizing<String>, OutboundError> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|error| OutboundError::unavailable("randomness", error))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// What a row of `upstream_clients` is sealed for. No part of it can hold a line break.
pub(crate) fn client_purpose(issuer: &str, upstream: &str) -> String {
    format!("upstream_clients/sealed\n{issuer}\n{upstream}")
}

#[cfg(test)]
mod tests;
