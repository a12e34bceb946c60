//! Browsers that signed in: begun, found by their cookie, ended.
//!
//! The cookie's value is a secret of 256 bits of which only a keyed hash is kept. A new one is made at every sign-in
//! and change of password; nothing that was presented before is ever promoted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy::{Credential, Principal, PrincipalId, RoleName};
use store::BrowserSessionRow;
use tracing::info;
use zeroize::Zeroizing;

use super::{AccountError, Accounts, random, role_names};
use crate::Revoked;
use crate::auth::principal;

/// Most sessions of one principal; the oldest go first.
const SESSIONS_MAX: u32 = 32;
/// Characters of a cookie's value: 32 bytes in base64url.
const COOKIE_CHARS: usize = 43;
/// How often at most it is written down that a session was used.
const TOUCHED_EVERY: Duration = Duration::from_secs(60);

/// A browser that signed in.
#[derive(Debug, Clone)]
pub struct BrowserSession {
    /// Its public id.
    pub id: String,
    /// Who signed in; the credential is [`policy::Credential::Session`] with the id.
    pub principal: Arc<Principal>,
    /// The roles that account or provider give, without those that the config adds to the principal's.
    pub roles: BTreeSet<RoleName>,
    /// Whether a local account stands behind it; otherwise an external provider vouched for it.
    pub is_local: bool,
    /// What every form of this session must send along; follows from the cookie and is kept nowhere.
    pub csrf: String,
    /// When the password was given.
    pub signed_in_at: SystemTime,
}

/// A session that has just begun.
#[derive(Debug)]
pub struct NewSession {
    /// The session.
    pub session: BrowserSession,
    /// The cookie's value; only a keyed hash of it is kept.
    pub cookie: Zeroizing<String>,
    /// For how long the browser may keep the cookie.
    pub max_age: Duration,
}

impl Accounts {
    /// The session of the browser that sends this cookie, if it still holds.
    ///
    /// # Errors
    /// If it cannot be known.
    pub async fn session(&self, cookie: &str) -> Result<Option<BrowserSession>, AccountError> {
        if cookie.len() != COOKIE_CHARS {
            return Ok(None);
        }
        let store = &self.parts.store;
        let Some(row) = store.get_browser_session(self.cookie_hash(cookie))? else {
            return Ok(None);
        };
        let now = self.parts.clock.wall();
        let unused = now.duration_since(row.seen_at).unwrap_or_default();
        if row.expires_at <= now || unused >= self.now.load().settings.session_idle {
            return Ok(None);
        }
        let roles = match &row.account {
            None => role_names(&row.roles),
            Some(name) => match store.get_account(name)? {
                Some(account) => role_names(&account.roles),
                None => return Ok(None),
            },
        };
        let session = self.opened(&row, roles, cookie)?;
        let revocations = &self.parts.revocations;
        revocations
            .ensure_fresh()
            .map_err(AccountError::unavailable)?;
        let is_old = revocations
            .valid_since(&session.principal.id)
            .is_some_and(|since| row.created_at < since);
        if is_old || revocations.is_revoked(&session.principal) {
            return Ok(None);
        }
        if unused >= TOUCHED_EVERY {
            store.touch_browser_session(&row.id, now).await?;
        }
        Ok(Some(session))
    }

    /// Ends one session, by its public id; `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn sign_out(&self, id: &str) -> Result<bool, AccountError> {
        let Some(until) = self.parts.store.delete_browser_session(id).await? else {
            return Ok(false);
        };
        let session = Revoked::Session(id);
        self.parts
            .revocations
            .revoke(session, Some(until), "", "signed out")
            .await?;
        Ok(true)
    }

    /// Ends all sessions of a principal, and what was granted to clients in its name; they ask anew.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn end_sessions(
        &self,
        principal: &PrincipalId,
        reason: &str,
    ) -> Result<(), AccountError> {
        self.parts
            .store
            .delete_browser_sessions(principal.as_str())
            .await?;
        let user = Revoked::User(principal);
        self.parts
            .revocations
            .revoke(user, None, "", reason)
            .await?;
        Ok(())
    }

    /// Begins a session for somebody whom an external provider vouched for. Its id has a `/`, so it is nobody's here.
    ///
    /// # Errors
    /// If the id could be an account's, the principal is disabled, or it cannot be written.
    pub async fn open_external(
        &self,
        id: PrincipalId,
        roles: BTreeSet<RoleName>,
    ) -> Result<NewSession, AccountError> {
        if !id.as_str().contains('/') {
            return Err(AccountError::Name(format!(
                "`{id}` is not a name of somebody from outside: it has no `/`"
            )));
        }
        if self.parts.revocations.is_disabled(&id) {
            return Err(AccountError::Disabled);
        }
        let now = self.parts.clock.wall();
        self.open(&id, None, roles, now).await
    }

    /// Begins a session. `since` is from before it was looked up who that is: what ended everything of a principal
    /// meanwhile ends this, too.
    pub(super) async fn open(
        &self,
        id: &PrincipalId,
        account: Option<&str>,
        roles: BTreeSet<RoleName>,
        since: SystemTime,
    ) -> Result<NewSession, AccountError> {
        let settings = self.now.load().settings.clone();
        let secret: Zeroizing<[u8; 32]> = random()?;
        let cookie = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&secret[..]));
        let public: Zeroizing<[u8; 8]> = random()?;
        let now = self.parts.clock.wall();
        let kept = match account {
            Some(_) => Vec::new(),
            None => roles.iter().map(ToString::to_string).collect(),
        };
        let row = BrowserSessionRow {
            id: format!("{:016x}", u64::from_be_bytes(*public)),
            hash: self.cookie_hash(&cookie),
            principal: id.to_string(),
            account: account.map(str::to_owned),
            roles: kept,
            created_at: since,
            seen_at: now,
            expires_at: since + settings.session_max,
        };
        let session = self.opened(&row, roles, &cookie)?;
        let idle_since = now.checked_sub(settings.session_idle).unwrap_or(now);
        self.parts
            .store
            .put_browser_session(row, SESSIONS_MAX, idle_since)
            .await?;
        info!(principal = %id, session = session.id, "signed in");
        Ok(NewSession {
            session,
            cookie,
            max_age: settings.session_max,
        })
    }

    fn opened(
        &self,
        row: &BrowserSessionRow,
        roles: BTreeSet<RoleName>,
        cookie: &str,
    ) -> Result<BrowserSession, AccountError> {
        let id = PrincipalId::new(&row.principal).map_err(AccountError::unavailable)?;
        let now = self.now.load();
        let credential = Credential::Session(row.id.clone());
        let principal = Principal {
            expires_at: Some(row.expires_at),
            ..principal(id, roles.clone(), &now.members, credential)
        };
        let csrf = self.parts.vault.hash("accounts/csrf", cookie.as_bytes());
        Ok(BrowserSession {
            id: row.id.clone(),
            principal: Arc::new(principal),
            roles,
            is_local: row.account.is_some(),
            csrf: BASE64_URL_SAFE_NO_PAD.encode(csrf),
            signed_in_at: row.created_at,
        })
    }

    fn cookie_hash(&self, cookie: &str) -> [u8; 32] {
        self.parts.vault.hash("accounts/session", cookie.as_bytes())
    }
}
