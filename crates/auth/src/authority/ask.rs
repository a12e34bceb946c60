//! The authorization endpoint: what a client asks a person for, and what becomes of the answer.
//!
//! Client and redirect URI come first: before they are known to belong together nothing is sent anywhere. A request
//! that waits for its person is kept here, for one browser session, one answer and a few minutes; what was answered is
//! in the store. Sources: OAuth 2.1 section 4.1, RFC 7636, RFC 8707, RFC 9207.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use policy::{Instant, Principal, RoleName, Scope, Scopes};
use store::{CodeRow, GrantRow};
use tracing::info;
use url::Url;

use super::client::{Client, Origin};
use super::clients::document_url;
use super::params::{Params, random};
use super::redirect::{self, Leads};
use super::{Authority, CODE, Now, OAuthError};
use crate::tokens::Thumbprint;

/// Most requests that wait for an answer, of everybody and in one session. When there are more, the oldest goes.
const PENDING_MAX: usize = 1024;
const PENDING_PER_SESSION_MAX: usize = 16;
/// How long one waits.
const PENDING_AGE: Duration = Duration::from_mins(10);
/// How long a code is good.
const CODE_AGE: Duration = Duration::from_secs(60);
/// How long a consent is remembered.
const CONSENT_AGE: Duration = Duration::from_hours(24 * 90);
/// Longest `state`, in bytes. It is kept while the request waits.
const STATE_BYTES_MAX: usize = 4096;
/// A challenge is a SHA-256 in base64url (RFC 7636 section 4.2).
const CHALLENGE_CHARS: usize = 43;

/// A person with a browser that is signed in.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// The public id of the browser's session.
    pub session: &'a str,
    /// Who signed in.
    pub principal: &'a Principal,
    /// The roles that tokens carry: those of the account, without those that the config gives, which are looked up when
    /// a token is used.
    pub roles: &'a BTreeSet<RoleName>,
    /// From before session and roles were looked up. What the visitor allows counts as allowed then, so that whatever
    /// ended the session meanwhile ends it, too.
    pub since: SystemTime,
}

/// What becomes of a client's request.
#[derive(Debug)]
pub enum Asked {
    /// The person is to be asked.
    Person(Question),
    /// The browser takes this answer to the client.
    Answer(Url),
}

/// What a person is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Names the request in the answer. Good once.
    pub request: String,
    /// What the client calls itself; not proved, and perhaps empty.
    pub client_name: String,
    /// Its id.
    pub client_id: String,
    /// The host that vouches for a client with a metadata document.
    pub client_host: Option<String>,
    /// Where the browser goes with the answer.
    pub redirect_uri: String,
    /// What is asked for.
    pub scopes: Scopes,
}

/// Why nothing is sent to the client: the person is told instead.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// No such client, or not one of this redirect URI.
    #[error("{0}")]
    Unknown(&'static str),
    /// The request is answered, too old, or of another session.
    #[error("the request has been answered, or waited too long")]
    Gone,
    /// It cannot be known now.
    #[error("it cannot be done now")]
    Unavailable(#[source] OAuthError),
}

/// Requests that wait for an answer.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Pending>>);

#[derive(Debug, Clone)]
struct Pending {
    wish: Wish,
    session: String,
    principal: String,
    since: Instant,
}

/// What a client asks for, checked.
#[derive(Debug, Clone)]
struct Wish {
    client: Client,
    leads: Leads,
    redirect_uri: String,
    state: Option<String>,
    challenge: String,
    resource: String,
    scopes: Scopes,
    jkt: Option<String>,
    /// The client wants the person to be asked, whatever was answered before.
    anew: bool,
}

impl Authority {
    /// A client's request, as the query of the authorization endpoint.
    ///
    /// # Errors
    /// What the person has to be told, because nobody knows where the answer could go.
    pub async fn ask(&self, query: &str, visitor: Visitor<'_>) -> Result<Asked, NoClient> {
        let now = self.on().map_err(NoClient::Unavailable)?;
        let unread = |_error| {
            NoClient::Unknown("The app's request cannot be read: a part stands there twice.")
        };
        let params = Params::read(query.as_bytes()).map_err(unread)?;
        let (client, redirect_uri, leads) = self.client_of(&params, &now).await?;
        let state = params.get("state").map(str::to_owned);
        let answer = |error: &OAuthError| {
            self.refusal(&redirect_uri, state.as_deref(), error)
                .map(Asked::Answer)
        };
        let wish = match self.wish(&params, client, leads, &redirect_uri, visitor.principal) {
            Ok(wish) => wish,
            Err(error) => return answer(&error),
        };
        if !wish.anew && self.is_remembered(&wish, visitor.principal) {
            return match self.allow(&wish, visitor).await {
                Ok(url) => Ok(Asked::Answer(url)),
                Err(error) => answer(&error),
            };
        }
        if params.get("prompt") == Some("none") {
            return answer(&OAuthError::Request("The person has to be asked"));
        }
        let request = random::<16>().map_err(NoClient::Unavailable)?.to_string();
        let question = Question {
            request: request.clone(),
            client_name: wish.client.metadata.name.clone(),
            client_id: wish.client.id.clone(),
            client_host: match wish.client.origin {
                Origin::Document => document_url(&wish.client.id, true)
                    .and_then(|url| url.host_str().map(str::to_owned)),
                Origin::Config | Origin::Registered => None,
            },
            redirect_uri: wish.redirect_uri.clone(),
            scopes: wish.scopes,
        };
        let pending = Pending {
            wish,
            session: visitor.session.to_owned(),
            principal: visitor.principal.id.to_string(),
            since: self.parts.clock.now(),
        };
        self.waiting.put(request, pending);
        Ok(Asked::Person(question))
    }

    /// The client whose request waits for an answer under that name.
    #[must_use]
    pub fn asking(&self, request: &str) -> Option<String> {
        let waiting = self.waiting.0.lock();
        waiting
            .get(request)
            .map(|pending| pending.wish.client.id.clone())
    }

    /// What the person answered to the question of that [`Question::request`]: where the browser goes.
    ///
    /// # Errors
    /// If there is no such question for this visitor any more.
    pub async fn answer(
        &self,
        request: &str,
        visitor: Visitor<'_>,
        allows: bool,
    ) -> Result<Url, NoClient> {
        self.on().map_err(NoClient::Unavailable)?;
        if self.parts.revocations.is_revoked(visitor.principal) {
            return Err(NoClient::Gone);
        }
        let wish = self
            .waiting
            .take(request, visitor, self.parts.clock.now())
            .ok_or(NoClient::Gone)?;
        let allowed = if allows {
            self.allow(&wish, visitor).await
        } else {
            info!(client = wish.client.id, principal = %visitor.principal.id, "a client was denied");
            Err(OAuthError::Denied)
        };
        match allowed {
            Ok(url) => Ok(url),
            Err(error) => self.refusal(&wish.redirect_uri, wish.state.as_deref(), &error),
        }
    }

    async fn client_of(
        &self,
        params: &Params,
        now: &Now,
    ) -> Result<(Client, String, Leads), NoClient> {
        let id = params.get("client_id").ok_or(NoClient::Unknown(
            "The app's request does not say which app it is.",
        ))?;
        let client = self
            .clients
            .find(id, &now.configured, &now.settings)
            .await
            .map_err(|error| match error {
                OAuthError::Client => NoClient::Unknown("The app is not known here."),
                OAuthError::Metadata(why) | OAuthError::RedirectUri(why) => NoClient::Unknown(why),
                error => NoClient::Unavailable(error),
            })?;
        let asked = match (params.get("redirect_uri"), &*client.metadata.redirect_uris) {
            (Some(asked), _) if client.is_redirect(asked) => asked,
            (None, [only]) => only,
            _ => {
                return Err(NoClient::Unknown(
                    "The address that the app wants the answer at is not one of its own.",
                ));
            }
        };
        let leads = redirect::leads(asked, &now.settings.redirect_schemes).map_err(|_error| {
            NoClient::Unknown("The address that the app wants the answer at is not allowed.")
        })?;
        let asked = asked.to_owned();
        Ok((client, asked, leads))
    }

    fn wish(
        &self,
        params: &Params,
        client: Client,
        leads: Leads,
        redirect_uri: &str,
        principal: &Principal,
    ) -> Result<Wish, OAuthError> {
        const CHALLENGE: &str = "Send a code_challenge, with code_challenge_method=S256";
        if params.get("request").is_some() || params.get("request_uri").is_some() {
            return Err(OAuthError::Request("Request objects are not taken"));
        }
        if params.need("response_type", "Send response_type=code")? != "code" {
            return Err(OAuthError::ResponseType);
        }
        if params
            .get("response_mode")
            .is_some_and(|mode| mode != "query")
        {
            return Err(OAuthError::Request("The response mode is query"));
        }
        let challenge = params.need("code_challenge", CHALLENGE)?;
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if params.get("code_challenge_method") != Some("S256")
            || challenge.len() != CHALLENGE_CHARS
            || !challenge.bytes().all(is_base64)
        {
            return Err(OAuthError::Request(CHALLENGE));
        }
        let state = params.get("state");
        if state.is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(OAuthError::Request("The state is too long"));
        }
        let resource = match params.resource()? {
            None => self.parts.site.base(),
            Some(resource) if self.parts.site.is_resource(resource) => resource,
            Some(_) => return Err(OAuthError::Target("The resource is not of this gate")),
        };
        let jkt = params.get("dpop_jkt");
        if jkt.is_some_and(|jkt| Thumbprint::parse(jkt).is_none()) {
            return Err(OAuthError::Request("dpop_jkt is no thumbprint"));
        }
        let scopes = scopes(params.get("scope"), client.scopes, principal.is_owner())?;
        Ok(Wish {
            client,
            leads,
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
            challenge: challenge.to_owned(),
            resource: resource.trim_end_matches('/').to_owned(),
            scopes,
            jkt: jkt.map(str::to_owned),
            anew: params
                .get("prompt")
                .is_some_and(|prompt| prompt.split(' ').any(|word| word == "consent")),
        })
    }

    /// Whether the person allowed this very thing before, and it can only have been this very client that asks now: a
    /// program on the person's machine may be any program (RFC 8252 section 8.6), and is never let through unasked.
    fn is_remembered(&self, wish: &Wish, principal: &Principal) -> bool {
        let is_certain = wish.leads == Leads::Site || !wish.client.is_public();
        let wall = self.parts.clock.wall();
        let since = wall
            .checked_sub(CONSENT_AGE)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        // What ended everything that somebody had ended this, too: it was perhaps somebody else who allowed it.
        let ended_at = self.parts.revocations.valid_since(&principal.id);
        let since = ended_at.map_or(since, |at| at.max(since));
        let (principal, client) = (principal.id.as_str(), wish.client.id.as_str());
        let allowed = || {
            let found = self
                .parts
                .store
                .get_consent(principal, client, &wish.redirect_uri, since);
            found.ok().flatten().map(|scopes| Scopes::parse(&scopes))
        };
        is_certain
            && allowed().is_some_and(|allowed| allowed.intersection(wish.scopes) == wish.scopes)
    }

    /// The person allows it: a grant, and the code for it on its way to the client.
    async fn allow(&self, wish: &Wish, visitor: Visitor<'_>) -> Result<Url, OAuthError> {
        let wall = self.parts.clock.wall();
        self.sweep(wall).await?;
        let code = random::<32>()?;
        let grant = GrantRow {
            id: format!("grant_{}", *random::<16>()?),
            principal: visitor.principal.id.to_string(),
            roles: visitor.roles.iter().map(ToString::to_string).collect(),
            client_id: wish.client.id.clone(),
            client_name: wish.client.metadata.name.clone(),
            redirect_uri: wish.redirect_uri.clone(),
            scopes: wish.scopes.to_string(),
            resource: wish.resource.clone(),
            jkt: wish.jkt.clone(),
            certificate: None,
            created_at: visitor.since,
            used_at: wall,
            // Until the client has come for it.
            expires_at: wall + CODE_AGE,
            revoked_at: None,
        };
        let row = CodeRow {
            hash: self.parts.vault.hash(CODE, code.as_bytes()),
            challenge: wish.challenge.clone(),
            expires_at: wall + CODE_AGE,
        };
        self.clients.touch(&wish.client).await?;
        self.parts.store.put_consent(&grant).await?;
        self.parts.store.put_grant(grant.clone(), row).await?;
        info!(
            client = grant.client_id,
            principal = grant.principal,
            grant = grant.id,
            scopes = grant.scopes,
            "a client was allowed to act for somebody"
        );
        let mut params = vec![("code", code.as_str())];
        params.extend(wish.state.as_deref().map(|state| ("state", state)));
        params.push(("iss", self.parts.site.base()));
        redirect::with(&wish.redirect_uri, &params)
    }

    /// An error, on its way to the client (RFC 6749 section 4.1.2.1).
    fn refusal(
        &self,
        redirect_uri: &str,
        state: Option<&str>,
        error: &OAuthError,
    ) -> Result<Url, NoClient> {
        let description = error.description();
        let mut params = vec![
            ("error", error.code()),
            ("error_description", &*description),
        ];
        params.extend(state.map(|state| ("state", state)));
        params.push(("iss", self.parts.site.base()));
        redirect::with(redirect_uri, &params).map_err(NoClient::Unavailable)
    }
}

/// What somebody gets who asks for `asked`: of unknown words nothing, of none the usual; administration only as an owner.
fn scopes(asked: Option<&str>, most: Scopes, is_owner: bool) -> Result<Scopes, OAuthError> {
    let known = Scopes::parse(asked.unwrap_or_default());
    let wanted = if known.is_empty() {
        Scopes::CALLS
    } else {
        known
    };
    let scopes = most.intersection(match is_owner {
        true => wanted,
        false => wanted
            .iter()
            .filter(|scope| *scope != Scope::Admin)
            .collect(),
    });
    if scopes.is_empty() {
        return Err(OAuthError::Scope);
    }
    Ok(scopes)
}

impl Waiting {
    fn put(&self, request: String, pending: Pending) {
        let mut waiting = self.0.lock();
        let now = pending.since;
        waiting.retain(|_, other| now.since(other.since) < PENDING_AGE);
        let session = pending.session.clone();
        drop_oldest(&mut waiting, PENDING_PER_SESSION_MAX, |other| {
            other.session == session
        });
        drop_oldest(&mut waiting, PENDING_MAX, |_| true);
        waiting.insert(request, pending);
    }

    /// The request, for the one session and principal that it was made in; nobody else can use it up.
    fn take(&self, request: &str, visitor: Visitor<'_>, now: Instant) -> Option<Wish> {
        let mut waiting = self.0.lock();
        let pending = waiting.get(request)?;
        let is_theirs = pending.session == visitor.session
            && pending.principal == visitor.principal.id.as_str();
        if !is_theirs {
            return None;
        }
        let pending = waiting.remove(request)?;
        (now.since(pending.since) < PENDING_AGE).then_some(pending.wish)
    }
}

/// Makes room for one more among those that `count`.
fn drop_oldest(
    waiting: &mut HashMap<String, Pending>,
    max: usize,
    counts: impl Fn(&Pending) -> bool,
) {
    let counted = || waiting.iter().filter(|(_, pending)| counts(pending));
    if counted().count() < max {
        return;
    }
    let oldest = counted()
        .min_by_key(|(_, pending)| pending.since)
        .map(|(request, _)| request.clone());
    if let Some(oldest) = oldest {
        waiting.remove(&oldest);
    }
}
