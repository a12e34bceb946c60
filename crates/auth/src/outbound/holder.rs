//! Obtains tokens and holds them: the gate's own, and those that principals granted, refreshed ahead of their end.
//!
//! Who obtains one does so for all that wait for it. Sign-ins are `sign_in`'s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use policy::{PrincipalId, UpstreamId};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use super::account::{Account, Held, OWN, Slot};
use super::attempt::Attempts;
use super::challenge::Challenge;
use super::client::{self, Client, Registered};
use super::config::{Grant, Settings, Upstream};
use super::discovery::{Resource, Scout, Server};
use super::exchange;
use super::token::{Request, Tokens};
use super::{Connection, OutboundError, Refusal, client_purpose};
use crate::Parts;
use crate::authority::Authority;

/// How long a call waits for a token.
pub(super) const OBTAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// A token that is refused so soon after it came would be refused again.
const REFUSED_SOON: Duration = Duration::from_secs(5);
/// How long an upstream may take to say that it wants a token.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that are looked at for one that lists can be asked for with.
const LISTERS_MAX: usize = 16;

/// What [`Outbound`](super::Outbound) and the tasks that it began share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: Parts,
    /// Vouches for principals.
    pub(super) authority: Arc<Authority>,
    pub(super) accounts: ArcSwap<HashMap<UpstreamId, Arc<Account>>>,
    pub(super) attempts: Attempts,
    /// The revocations that were heeded, by their number.
    pub(super) heeded: AtomicU64,
    pub(super) revoked: watch::Receiver<u64>,
    /// Another number: somebody connected or disconnected an upstream.
    pub(super) changes: watch::Sender<u64>,
    /// What obtains tokens: it goes on when the call that began it goes away, since a token that is asked for twice may
    /// be lost (refresh token rotation).
    pub(super) tasks: TaskTracker,
}

impl Account {
    pub(super) fn is_personal(&self) -> bool {
        self.settings.grant == Grant::PerUser
    }

    /// Whether each principal has its own, however it comes by it.
    pub(super) fn is_each_ones(&self) -> bool {
        !matches!(self.settings.grant, Grant::ClientCredentials)
    }

    /// Whose slot serves a request; `None` for a request of our own to an upstream that principals connect.
    pub(super) fn whose<'a>(&self, principal: Option<&'a str>) -> Option<&'a str> {
        match self.settings.grant {
            Grant::ClientCredentials => Some(OWN),
            Grant::PerUser => principal,
            Grant::TokenExchange(_) => Some(principal.unwrap_or(OWN)),
        }
    }

    pub(super) fn scout<'a>(&'a self, parts: &'a Parts) -> Scout<'a> {
        Scout {
            client: &parts.client,
            upstream: &self.settings.url,
            issuer: self.settings.issuer.as_deref(),
        }
    }

    pub(super) fn not_connected(&self, more: bool) -> OutboundError {
        let upstream = self.settings.id.clone();
        OutboundError::NotConnected { upstream, more }
    }
}

impl Shared {
    pub(super) fn reload(&self, settings: Settings) {
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

    /// After a revocation nothing counts that is only remembered: whose it is may be gone, by another process too.
    pub(super) fn heed(&self) {
        let now = *self.revoked.borrow();
        if self.heeded.swap(now, Ordering::Relaxed) != now {
            let accounts = self.accounts.load();
            accounts
                .values()
                .filter(|account| account.is_each_ones())
                .for_each(|account| account.doubt());
            self.changed();
        }
    }

    pub(super) fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    pub(super) fn account(&self, upstream: &UpstreamId) -> Result<Arc<Account>, OutboundError> {
        let accounts = self.accounts.load();
        let unknown = || OutboundError::Unknown(upstream.to_string());
        accounts.get(upstream).cloned().ok_or_else(unknown)
    }

    /// What is held for a principal, from memory or from the store.
    pub(super) fn held(
        &self,
        account: &Account,
        principal: &str,
    ) -> Result<Option<Arc<Held>>, OutboundError> {
        self.heed();
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

    pub(super) fn lister(&self, account: &Account) -> Option<String> {
        let id = account.settings.id.as_str();
        let rows = self
            .parts
            .store
            .list_upstream_tokens(id, LISTERS_MAX)
            .ok()?;
        let can = |row: &store::UpstreamTokenRow| account.open(&self.parts.vault, row).is_some();
        rows.into_iter().find(can).map(|row| row.principal)
    }

    pub(super) fn connection(
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
            is_stale: row
                .as_ref()
                .is_some_and(|row| row.is_stale || held.is_none() || wants_more()),
            issuer: row.as_ref().map(|row| row.issuer.clone()),
            scopes: held.map(|held| held.tokens.granted).unwrap_or_default(),
            since: row.map(|row| row.since),
        })
    }

    /// A token for a principal (or [`OWN`]): the one at hand if it is fresh, or else another. `not` is one that the
    /// upstream refuses.
    pub(super) async fn obtain(
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
            Grant::ClientCredentials | Grant::TokenExchange(_) => {
                self.own(account, slot, whose, held.as_deref()).await
            }
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

    /// A token of our own (RFC 6749 section 4.4), or one for a principal for whom we vouch (RFC 8693).
    async fn own(
        &self,
        account: &Account,
        slot: &Slot,
        whose: &str,
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
        let tokens = if whose == OWN {
            request.own(&asked).await?
        } else {
            self.exchange(account, whose, &request, &asked).await?
        };
        *slot.more.lock() = None;
        Held::new(tokens, resource, now)
    }

    /// What the authorization server gives for our word that this principal calls.
    async fn exchange(
        &self,
        account: &Account,
        whose: &str,
        request: &Request<'_>,
        asked: &[String],
    ) -> Result<Tokens, OutboundError> {
        let Grant::TokenExchange(exchange) = &account.settings.grant else {
            return Err(account.not_connected(false));
        };
        let wrong = |what, why: &str| OutboundError::untrusted(what, why);
        let (issuer, site) = (&request.server.issuer, &self.parts.site);
        if exchange::is_own(issuer, site) {
            return Err(wrong("the authorization server", "it is this gate"));
        }
        let assertion = self
            .authority
            .assertion(whose, issuer)
            .await
            .map_err(|error| OutboundError::unavailable("an assertion", error))?;
        let exchanged = request.exchange(&assertion, exchange, asked, site).await?;
        if let Some(subject) = &exchanged.subject
            && !account.is_named(whose, subject)
        {
            return Err(wrong("an exchanged token", "it is another principal's"));
        }
        Ok(exchanged.tokens)
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
    pub(super) async fn challenge(&self, account: &Account) -> Option<Challenge> {
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
    pub(super) async fn client(
        &self,
        account: &Account,
        server: &Server,
    ) -> Result<Client, OutboundError> {
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

    pub(super) async fn refused(
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
            return match account.settings.grant {
                // Dropped meanwhile; another is no trouble to get.
                Grant::TokenExchange(_) => self.obtain(account, whose, None).await,
                Grant::ClientCredentials | Grant::PerUser => Err(account.not_connected(false)),
            };
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

    pub(super) async fn forget(
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
        let accounts = self.accounts.load();
        let concerned = |account: &&Arc<Account>| {
            upstream.is_none_or(|upstream| *upstream == account.settings.id)
        };
        accounts
            .values()
            .filter(concerned)
            .for_each(|account| account.forget(principal.as_str()));
        self.changed();
        Ok(deleted > 0)
    }
}

/// What to ask for: what the operator says, or else what the upstream wants now, or else what it names, and what was
/// asked for before (MCP 2026-07-28, "Scope Selection Strategy" and "Step-Up Authorization Flow").
pub(super) fn wanted_scopes(
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
    let before = if is_step_up {
        before.unwrap_or_default()
    } else {
        &[]
    };
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
