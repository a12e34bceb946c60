//! Links that work once: to make the first account, to set a password. Of the secret in one only a keyed hash is kept.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use policy::{PrincipalId, RoleName, Rules};
use store::{AccountDraft, LinkRow};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::sessions::NewSession;
use super::{AccountError, Accounts, account_name, random, vet_email};
use crate::Parts;

/// How long a link is good that an owner makes, or the first start.
const OWNERS_LINK_GOOD_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a link is good that was sent by mail.
const MAILED_LINK_GOOD_FOR: Duration = Duration::from_secs(30 * 60);
/// How often at most an account gets a mail.
const MAIL_EVERY: Duration = Duration::from_secs(5 * 60);
/// Longest name or address that is looked for.
const ASKED_BYTES_MAX: usize = 254;

/// A link that works once.
#[derive(Debug, Clone)]
pub struct Link {
    /// The secret in it.
    pub token: Zeroizing<String>,
    /// The whole link.
    pub url: Zeroizing<String>,
    /// Until when it works.
    pub expires_at: SystemTime,
}

impl Accounts {
    /// As long as there is no account: a link to make the first one, good for a day. Each replaces the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn first_link(&self) -> Result<Option<Link>, AccountError> {
        if self.parts.store.has_accounts()? {
            return Ok(None);
        }
        make(&self.parts, None, OWNERS_LINK_GOOD_FOR).await
    }

    /// Makes the first account, an owner, and signs it in. The link's token works once, and only while there is none.
    ///
    /// # Errors
    /// What is wrong with token, name, address or password.
    pub async fn set_up(
        &self,
        token: &str,
        name: &str,
        email: Option<&str>,
        password: &str,
    ) -> Result<NewSession, AccountError> {
        let (store, now) = (&self.parts.store, self.parts.clock.wall());
        let hash = hash(&self.parts, token);
        let link = store.get_link(hash, now)?.ok_or(AccountError::Link)?;
        if link.account.is_some() || store.has_accounts()? {
            return Err(AccountError::Link);
        }
        let id = account_name(name)?;
        vet_email(email)?;
        let own = [id.as_str(), email.unwrap_or_default()];
        self.vet(password, &own).await?;
        let draft = AccountDraft {
            name: id.to_string(),
            email: email.map(str::to_owned),
            roles: vec![Rules::OWNER.to_owned()],
            password: Some(self.passwords.hash(password).await?),
            created_at: now,
        };
        if !store.put_first_account(draft, hash, now).await? {
            return Err(AccountError::Link);
        }
        self.forget_any();
        info!(account = %id, "the first account was made");
        let owner = RoleName::new(Rules::OWNER).map_err(AccountError::unavailable)?;
        self.open(&id, Some(id.as_str()), [owner].into(), now).await
    }

    /// A link for an account's holder to set a password by, good for a day. For owners.
    ///
    /// # Errors
    /// If there is no such account, or it cannot be written.
    pub async fn link_for(&self, name: &str) -> Result<Link, AccountError> {
        let row = self.parts.store.get_account(name)?;
        let row = row.ok_or(AccountError::Unknown)?;
        make(&self.parts, Some(&row.name), OWNERS_LINK_GOOD_FOR)
            .await?
            .ok_or(AccountError::Unknown)
    }

    /// Sets a password by a link; the account's sessions, tokens and other links end. Nobody is signed in by it, and a
    /// one-time password is asked for as before.
    ///
    /// # Errors
    /// What is wrong with token or password.
    pub async fn reset(&self, token: &str, password: &str) -> Result<PrincipalId, AccountError> {
        let (store, now) = (&self.parts.store, self.parts.clock.wall());
        let hash = hash(&self.parts, token);
        let link = store.get_link(hash, now)?.ok_or(AccountError::Link)?;
        let name = link.account.ok_or(AccountError::Link)?;
        let row = store.get_account(&name)?.ok_or(AccountError::Link)?;
        let own = [row.name.as_str(), row.email.as_deref().unwrap_or_default()];
        self.vet(password, &own).await?;
        let kept = self.passwords.hash(password).await?;
        let id = PrincipalId::new(&row.name).map_err(AccountError::unavailable)?;
        // First, too: a gate that dies in between has shut out rather than left in.
        self.end_sessions(&id, "password reset").await?;
        store
            .set_password_by_link(hash, kept, now)
            .await?
            .ok_or(AccountError::Link)?;
        self.lockout.clear_account(self.lockout_name(&row.name));
        info!(account = %id, "a password was set by a link");
        self.end_sessions(&id, "password reset").await?;
        Ok(id)
    }

    /// Whether a link's token would work now, and for which account; for a page that asks for the new password.
    ///
    /// # Errors
    /// If the store cannot be read, or the token does not work.
    pub fn look_at(&self, token: &str) -> Result<LinkFor, AccountError> {
        let now = self.parts.clock.wall();
        let link = self.parts.store.get_link(hash(&self.parts, token), now)?;
        match link.ok_or(AccountError::Link)?.account {
            Some(name) => Ok(LinkFor::Account(
                PrincipalId::new(&name).map_err(AccountError::unavailable)?,
            )),
            None if self.parts.store.has_accounts()? => Err(AccountError::Link),
            None => Ok(LinkFor::FirstAccount),
        }
    }
}

/// What a link is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkFor {
    /// Making the first account.
    FirstAccount,
    /// Setting the password of an account.
    Account(PrincipalId),
}

/// Sends a link to whoever forgot a password, if there is such an account, and it has an address, and it got none a
/// moment ago. What came of it is for the log alone.
pub(super) async fn mail(parts: Parts, mailer: std::sync::Arc<net::mail::Mailer>, asked: String) {
    match try_mail(&parts, &mailer, &asked).await {
        Ok(Some(account)) => info!(account, "a link to set a password was mailed"),
        Ok(None) => {}
        Err(error) => warn!(error, "a link to set a password could not be mailed"),
    }
}

async fn try_mail(
    parts: &Parts,
    mailer: &net::mail::Mailer,
    asked: &str,
) -> Result<Option<String>, String> {
    let chain = |error: &dyn std::error::Error| match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    if asked.len() > ASKED_BYTES_MAX {
        return Ok(None);
    }
    let store = &parts.store;
    let row = store.find_account(asked).map_err(|error| chain(&error))?;
    let Some((name, email)) = row.and_then(|row| Some((row.name, row.email?))) else {
        return Ok(None);
    };
    let now = parts.clock.wall();
    let last = store.last_link_at(&name).map_err(|error| chain(&error))?;
    let is_recent = |at: SystemTime| now.duration_since(at).unwrap_or_default() < MAIL_EVERY;
    let is_disabled = PrincipalId::new(&name).map_or(true, |id| parts.revocations.is_disabled(&id));
    if is_disabled || last.is_some_and(is_recent) {
        return Ok(None);
    }
    let link = make(parts, Some(&name), MAILED_LINK_GOOD_FOR)
        .await
        .map_err(|error| chain(&error))?
        .ok_or("the account is gone")?;
    let text = format!(
        "Somebody, probably you, asked for a new password for the account {name} at {}.\n\n\
         Open this link within {} minutes to set one. It works once:\n\n{}\n\n\
         If it was not you, do nothing: your password stays as it is.\n",
        parts.site.base(),
        MAILED_LINK_GOOD_FOR.as_secs() / 60,
        *link.url,
    );
    mailer
        .send(&email, "Set a new password for Portcullis", text, now)
        .await
        .map_err(|error| chain(&error))?;
    Ok(Some(name))
}

/// Makes and keeps a link; `None` if it would be for the first account, and there is one.
async fn make(
    parts: &Parts,
    account: Option<&str>,
    good_for: Duration,
) -> Result<Option<Link>, AccountError> {
    let secret: Zeroizing<[u8; 32]> = random()?;
    let token = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&secret[..]));
    let now = parts.clock.wall();
    let expires_at = now + good_for;
    let row = LinkRow {
        hash: hash(parts, &token),
        account: account.map(str::to_owned),
        created_at: now,
        expires_at,
    };
    if !parts.store.put_link(row).await? {
        return Ok(None);
    }
    let page = match account {
        Some(_) => "reset",
        None => "setup",
    };
    let url = format!("{}/console/{page}?token={}", parts.site.base(), &*token);
    Ok(Some(Link {
        token,
        url: Zeroizing::new(url),
        expires_at,
    }))
}

fn hash(parts: &Parts, token: &str) -> [u8; 32] {
    parts.vault.hash("accounts/link", token.as_bytes())
}
