//! What people and clients hold for longer than a request: browser sessions, and grants of the embedded server. For
//! those who may see and end them all.
//!
//! Works on the store alone, so that the command line can do it beside a running gate, which notices within a second.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use policy::{Credential, Principal, PrincipalId, Scopes, Token};
use store::Store;

use crate::revocation::Snapshot;
use crate::tokens::EMBEDDED;
use crate::{Revocations, Revoked};

/// How long after a grant's end a token that it gave may still be good, at most.
const TOKEN_REST: Duration = Duration::from_secs(24 * 60 * 60);

/// What kind of session it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A browser that signed in.
    Browser,
    /// What somebody allowed an OAuth client.
    Grant,
}

impl SessionKind {
    /// A word for lists, and for ids: `browser:…`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Grant => "grant",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Browser, Self::Grant]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSession {
    /// Its kind.
    pub kind: SessionKind,
    /// Its id among those of its kind; public.
    pub id: String,
    /// Whose it is.
    pub principal: String,
    /// The OAuth client that acts under it.
    pub client: Option<String>,
    /// When it began.
    pub created_at: SystemTime,
    /// When it was last used.
    pub used_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: SystemTime,
}

/// All that hold at `now`, the newest first. What a revocation made void is not among them, though its row may be there.
///
/// # Errors
/// If the store cannot be read.
pub fn list(store: &Store, now: SystemTime) -> Result<Vec<HeldSession>, store::Error> {
    let browsers = store.list_browser_sessions()?.into_iter();
    let browsers = browsers
        .filter(|row| row.expires_at > now)
        .map(|row| HeldSession {
            kind: SessionKind::Browser,
            id: row.id,
            principal: row.principal,
            client: None,
            created_at: row.created_at,
            used_at: row.seen_at,
            expires_at: row.expires_at,
        });
    let grants = store.list_grants(None, now)?.into_iter();
    let grants = grants.map(|row| HeldSession {
        kind: SessionKind::Grant,
        id: row.id,
        principal: row.principal,
        client: Some(row.client_id),
        created_at: row.created_at,
        used_at: row.used_at,
        expires_at: row.expires_at,
    });
    let revoked = Snapshot::of(store.list_revocations()?);
    let held = browsers.chain(grants);
    let mut all: Vec<HeldSession> = held.filter(|held| !is_void(held, &revoked)).collect();
    all.sort_by(|one, other| (other.created_at, &one.id).cmp(&(one.created_at, &other.id)));
    Ok(all)
}

/// Whether a revocation ended it: then neither the cookie nor a refresh token is taken any more.
fn is_void(held: &HeldSession, revoked: &Snapshot) -> bool {
    let Ok(id) = PrincipalId::new(&held.principal) else {
        return true;
    };
    let credential = match held.kind {
        SessionKind::Browser => Credential::Session(held.id.as_str().into()),
        SessionKind::Grant => Credential::Token(Token {
            issuer: EMBEDDED.into(),
            id: None,
            key: None,
            grant: Some(held.id.as_str().into()),
            issued_at: Some(held.created_at),
        }),
    };
    let is_old = revoked
        .valid_since(&id)
        .is_some_and(|since| held.created_at < since);
    is_old
        || revoked.hits(&Principal {
            id,
            roles: BTreeSet::new(),
            credential,
            client: held.client.as_deref().map(Into::into),
            scopes: Scopes::NONE,
            expires_at: None,
            claims: Default::default(),
        })
}

/// Ends one, with all that hangs on it; `false` if there is none.
///
/// # Errors
/// If it cannot be written.
pub async fn end(
    store: &Store,
    revocations: &Revocations,
    session: (SessionKind, &str),
    now: SystemTime,
    by: &str,
    reason: &str,
) -> Result<bool, store::Error> {
    match session {
        (SessionKind::Browser, id) => {
            let Some(expires_at) = store.delete_browser_session(id).await? else {
                return Ok(false);
            };
            let session = Revoked::Session(id);
            revocations
                .revoke(session, Some(expires_at), by, reason)
                .await?;
        }
        (SessionKind::Grant, id) => {
            let Some(grant) = store.get_grant(id)? else {
                return Ok(false);
            };
            if !store.revoke_grant(id, now).await? {
                return Ok(false);
            }
            // Who takes something back wants to be asked again.
            store
                .delete_consents(&grant.principal, &grant.client_id)
                .await?;
            let until = grant.expires_at.checked_add(TOKEN_REST);
            let grant = Revoked::Grant(id);
            revocations.revoke(grant, until, by, reason).await?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
