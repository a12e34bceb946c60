//! A principal's sign-in at an upstream's authorization server: where its browser goes, and what it brings back.
//!
//! Authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), for one resource (RFC 8707).

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policy::{PrincipalId, UpstreamId};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::account::{Account, Held};
use super::attempt::{ATTEMPT_MAX, Attempt};
use super::discovery::Server;
use super::holder::{OBTAIN_TIMEOUT, Shared, wanted_scopes};
use super::token::{self, Request};
use super::{OutboundError, client, random_text};

/// The longest answer that a browser brings back, in bytes.
const QUERY_MAX: usize = 16 * 1024;

impl Shared {
    pub(super) async fn begin(
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

    pub(super) async fn finish(
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
            if is_ours
                && found
                    .insert(name.into_owned(), value.into_owned())
                    .is_some()
            {
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
