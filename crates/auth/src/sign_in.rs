//! Signing in at the gate with an account of an OpenID Connect provider: we are the relying party.
//!
//! Nothing is kept of somebody who has only set out: state, nonce and PKCE verifier travel sealed in a cookie of the
//! browser, and what came back is remembered so that it counts once. What a provider says of itself is `provider`'s,
//! what an ID token proves is `id_token`'s. The session that follows is [`crate::accounts`]', cookies are `server`'s.
//!
//! Sources: OpenID Connect Core 1.0 sections 3.1 and 16, RFC 9700 sections 2.1 and 4.4, RFC 7636, RFC 9207.

mod error;
mod id_token;
mod provider;
mod ticket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use policy::{PrincipalId, RoleName};
use subtle::ConstantTimeEq as _;
use url::Url;
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::Parts;
use crate::tokens::ClaimPath;
use id_token::Expected;
use provider::Remote;
use ticket::Ticket;

pub use error::ProviderError;

/// How long somebody may take at the provider.
pub const TICKET_AGE: Duration = Duration::from_mins(10);
/// The longest path that is gone on to: it travels in a cookie.
pub const NEXT_MAX: usize = 2048;
/// Most sign-ins remembered as used. Beyond, the oldest is forgotten; the provider's codes count once, too.
const SPENT_MAX: usize = 4096;
/// The longest answer of a browser that is looked at.
const QUERY_MAX: usize = 16 * 1024;

/// A provider, as the config describes it.
#[derive(Clone)]
pub struct Provider {
    /// The config's name for it, and the first part of its principals' ids.
    pub name: String,
    /// What people are shown.
    pub title: String,
    /// Its issuer identifier, byte for byte.
    pub issuer: String,
    /// What we are there.
    pub client_id: String,
    /// What proves it; without it we are a public client.
    pub client_secret: Option<Zeroizing<String>>,
    /// What is asked for; `openid` is among it.
    pub scopes: Vec<String>,
    /// The claim that names the principal.
    pub principal: ClaimPath,
    /// The claim with groups or roles, and which roles of ours each of its words stands for.
    pub roles: Option<(ClaimPath, BTreeMap<String, BTreeSet<RoleName>>)>,
    /// Roles of everybody who signs in there.
    pub everybody: BTreeSet<RoleName>,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// Somebody set out.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: Url,
    /// What the browser must bring back, in a cookie.
    pub ticket: Zeroizing<String>,
}

/// Somebody came back.
#[derive(Debug)]
pub struct Finished {
    /// Who it is.
    pub principal: PrincipalId,
    /// The roles it brings, without those that the config gives its principal.
    pub roles: BTreeSet<RoleName>,
    /// Where it was on its way to.
    pub next: String,
}

/// Signs people in with accounts that they have elsewhere.
#[derive(Debug)]
pub struct SignIn {
    parts: Parts,
    now: ArcSwap<Now>,
    spent: Mutex<BTreeMap<[u8; 32], SystemTime>>,
}

#[derive(Debug)]
struct Now {
    providers: Vec<Remote>,
    members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
}

impl Now {
    fn new(
        providers: Vec<Provider>,
        members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) -> Arc<Self> {
        let providers = providers.into_iter().map(Remote::new).collect();
        Arc::new(Self { providers, members })
    }

    fn find(&self, name: &str) -> Result<&Remote, ProviderError> {
        self.providers
            .iter()
            .find(|remote| remote.provider.name == name)
            .ok_or(ProviderError::Unknown)
    }
}

impl SignIn {
    pub(crate) fn new(
        parts: &Parts,
        providers: Vec<Provider>,
        members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) -> Self {
        Self {
            parts: parts.clone(),
            now: ArcSwap::new(Now::new(providers, members)),
            spent: Mutex::default(),
        }
    }

    pub(crate) fn reload(
        &self,
        providers: Vec<Provider>,
        members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) {
        self.now.store(Now::new(providers, members));
    }

    /// Name and title of each provider, in the order of their names.
    #[must_use]
    pub fn providers(&self) -> Vec<(String, String)> {
        let now = self.now.load();
        let one = |remote: &Remote| (remote.provider.name.clone(), remote.provider.title.clone());
        now.providers.iter().map(one).collect()
    }

    /// Asks a provider for its metadata, as somebody's sign-in would.
    ///
    /// # Errors
    /// If there is no such provider, or it cannot be used.
    pub async fn try_provider(&self, name: &str) -> Result<(), ProviderError> {
        let now = self.now.load_full();
        now.find(name)?.metadata(&self.parts).await?;
        Ok(())
    }

    /// Sends somebody to a provider. `browser` names the browser, which must come back; `next` is a path of ours.
    ///
    /// # Errors
    /// If there is no such provider, or it cannot be used.
    pub async fn begin(
        &self,
        name: &str,
        browser: &str,
        next: &str,
    ) -> Result<Begun, ProviderError> {
        if next.len() > NEXT_MAX {
            return Err(ProviderError::Long);
        }
        let now = self.now.load_full();
        let remote = now.find(name)?;
        let metadata = remote.metadata(&self.parts).await?;
        let ticket = Ticket {
            state: random()?,
            nonce: random()?,
            verifier: Zeroizing::new(random()?),
            issuer: metadata.issuer.clone(),
            next: next.to_owned(),
            until: self.parts.clock.wall() + TICKET_AGE,
        };
        let challenge = digest::digest(&digest::SHA256, ticket.verifier.as_bytes());
        let mut url = metadata.authorization_endpoint.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &remote.provider.client_id)
            .append_pair("redirect_uri", &self.redirect_uri(name))
            .append_pair("scope", &remote.provider.scopes.join(" "))
            .append_pair("state", &ticket.state)
            .append_pair("nonce", &ticket.nonce)
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        let ticket = ticket.seal(&self.parts.vault, &purpose(name, browser))?;
        Ok(Begun { url, ticket })
    }

    /// Takes what somebody brought back: the query of the callback, without `?`, and the cookie.
    ///
    /// # Errors
    /// Why nobody is signed in by it.
    pub async fn finish(
        &self,
        name: &str,
        browser: &str,
        ticket: &str,
        query: &str,
    ) -> Result<Finished, ProviderError> {
        let now = self.now.load_full();
        let remote = now.find(name)?;
        let purpose = purpose(name, browser);
        let ticket = Ticket::open(&self.parts.vault, &purpose, ticket)
            .filter(|ticket| self.parts.clock.wall() < ticket.until)
            .ok_or(ProviderError::Stranger)?;
        let answer = Answer::read(query).ok_or(ProviderError::Stranger)?;
        if !is_same(&answer.state, &ticket.state) || !self.spend(&ticket) {
            return Err(ProviderError::Stranger);
        }
        let metadata = remote.metadata(&self.parts).await?;
        // The issuer that somebody was sent to is the one that answers, in every byte (RFC 9207 section 2.4).
        let said = match &answer.issuer {
            Some(said) => *said == ticket.issuer,
            None => !metadata.names_itself,
        };
        if !said || metadata.issuer != ticket.issuer {
            return Err(ProviderError::Untrusted("another issuer answered"));
        }
        let code = match (answer.code, answer.error) {
            (Some(code), None) => code,
            (_, Some(error)) => return Err(ProviderError::Denied(error)),
            (None, None) => return Err(ProviderError::Stranger),
        };
        let redirect_uri = self.redirect_uri(name);
        let exchanged = remote
            .exchange(
                &self.parts,
                &metadata,
                &code,
                &ticket.verifier,
                &redirect_uri,
            )
            .await?;
        let expected = Expected {
            issuer: &metadata.issuer,
            client_id: &remote.provider.client_id,
            nonce: &ticket.nonce,
            now: self.parts.clock.wall(),
        };
        let claims = remote
            .verify(&self.parts, &metadata, &exchanged.id_token, &expected)
            .await?;
        let claims = remote
            .complete(&self.parts, &metadata, claims, &exchanged)
            .await?;
        let principal = id_token::principal(&remote.provider, &claims)?;
        let roles = id_token::roles(&remote.provider, &claims);
        // Whoever has an account with the provider may come; only those who are somebody here come in.
        if roles.is_empty() && !now.members.contains_key(&principal) {
            return Err(ProviderError::Nobody(principal));
        }
        Ok(Finished {
            principal,
            roles,
            next: ticket.next.clone(),
        })
    }

    fn redirect_uri(&self, name: &str) -> String {
        format!("{}/console/sign-in/{name}/callback", self.parts.site.base())
    }

    /// Whether this ticket was not used before. From now on it was.
    fn spend(&self, ticket: &Ticket) -> bool {
        let now = self.parts.clock.wall();
        let key = self
            .parts
            .vault
            .hash("sign-in/spent", ticket.state.as_bytes());
        let mut spent = self.spent.lock();
        spent.retain(|_, until| *until > now);
        if spent.len() >= SPENT_MAX {
            let oldest = spent.iter().min_by_key(|(_, until)| **until);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                spent.remove(&oldest);
            }
        }
        spent.insert(key, ticket.until).is_none()
    }
}

/// What an authorization response says (RFC 6749 sections 4.1.2 and 4.1.2.1), each thing once.
#[derive(Default)]
struct Answer {
    state: String,
    code: Option<Zeroizing<String>>,
    error: Option<String>,
    issuer: Option<String>,
}

impl Answer {
    fn read(query: &str) -> Option<Self> {
        if query.len() > QUERY_MAX {
            return None;
        }
        let mut answer = Self::default();
        let mut seen = BTreeSet::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "state" => answer.state = value,
                "code" => answer.code = Some(Zeroizing::new(value)),
                "error" => answer.error = Some(error_code(&value)),
                "iss" => answer.issuer = Some(value),
                _ => continue,
            }
            if !seen.insert(name.into_owned()) {
                return None;
            }
        }
        Some(answer)
    }
}

/// An error code for the log: only what RFC 6749 allows in one, and not much of it.
fn error_code(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c))
        .take(64)
        .collect()
}

fn purpose(name: &str, browser: &str) -> String {
    format!("sign-in/{name}/{browser}")
}

/// 256 random bits.
fn random() -> Result<String, ProviderError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_unspecified| ProviderError::unavailable("randomness", "the system gave none"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(*bytes))
}

fn is_same(found: &str, wanted: &str) -> bool {
    !wanted.is_empty() && found.as_bytes().ct_eq(wanted.as_bytes()).into()
}

#[cfg(test)]
mod tests;
