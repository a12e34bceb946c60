//! Local accounts: passwords, one-time passwords, browser sessions, first start, reset.
//!
//! What is asked at a sign-in, and in which order, is here. How passwords are kept is `password`'s, one-time passwords
//! are `totp`'s, back-off is `lockout`'s, one-time links are `links`', what a browser holds is `sessions`'. Pages and
//! cookies are `server`'s; what was ended and must bite everywhere is told to [`crate::Revocations`].

mod error;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy::{Principal, PrincipalId, RoleName};
use zeroize::Zeroizing;

use crate::Parts;
pub use error::{AccountError, SignInError};

/// What the config says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A session that nobody used for so long ends.
    pub session_idle: Duration,
    /// A session ends so long after the sign-in.
    pub session_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_idle: Duration::from_secs(8 * 60 * 60),
            session_max: Duration::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What is known of an account, but nothing secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name, which is its principal's id.
    pub name: PrincipalId,
    /// Where its holder gets mail.
    pub email: Option<String>,
    /// The roles it brings, besides those that the config gives its principal.
    pub roles: BTreeSet<RoleName>,
    /// Whether a password was set yet.
    pub has_password: bool,
    /// Whether a one-time password is asked for.
    pub has_totp: bool,
    /// How many recovery codes are left.
    pub recovery_codes: u32,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it last signed in.
    pub signed_in_at: Option<SystemTime>,
    /// Since when it cannot be used.
    pub disabled_at: Option<SystemTime>,
}

/// A new account.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// Where its holder gets mail.
    pub email: Option<String>,
    /// The roles it brings.
    pub roles: BTreeSet<RoleName>,
}

/// A browser that signed in.
#[derive(Debug, Clone)]
pub struct BrowserSession {
    /// Its public id.
    pub id: String,
    /// Who signed in; the credential is [`policy::Credential::Session`] with the id.
    pub principal: Arc<Principal>,
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

/// What somebody asked for who forgot the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// If there is such an account and it has an address, a mail is under way.
    Queued,
    /// This gate sends no mail: an owner makes a link with `portcullis user reset-link NAME`.
    NoMail,
}

/// A secret for one-time passwords, not in force until a first code confirms it.
#[derive(Debug)]
pub struct NewTotp {
    /// The secret in base32, to be typed.
    pub secret: Zeroizing<String>,
    /// The secret as an `otpauth:` URI.
    pub uri: Zeroizing<String>,
    /// The URI as a QR code: an `<svg>` element without styles and scripts.
    pub svg: Zeroizing<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Accounts {
    parts: Parts,
}

impl Accounts {
    pub(crate) fn new(
        parts: &Parts,
        _settings: Settings,
        _members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) -> Self {
        Self {
            parts: parts.clone(),
        }
    }

    pub(crate) fn reload(
        &self,
        _settings: Settings,
        _members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) {
        let _ = &self.parts;
    }

    /// Whether there is any account; asked at most once a second.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn any(&self) -> Result<bool, AccountError> {
        Err(AccountError::Unready)
    }

    /// Signs in with name and password, and a one-time or recovery code if the account asks for one.
    ///
    /// # Errors
    /// Why not, in words that tell a stranger nothing about accounts.
    pub async fn sign_in(
        &self,
        _name: &str,
        _password: &str,
        _code: Option<&str>,
        _from: Option<IpAddr>,
    ) -> Result<NewSession, SignInError> {
        Err(SignInError::Wrong)
    }

    /// The session of the browser that sends this cookie, if it still holds.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn session(&self, _cookie: &str) -> Result<Option<BrowserSession>, AccountError> {
        Err(AccountError::Unready)
    }

    /// Ends one session, by its public id; `false` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn sign_out(&self, _id: &str) -> Result<bool, AccountError> {
        Err(AccountError::Unready)
    }

    /// Begins a session for somebody whom an external provider vouched for. Its id has a `/`, so it is nobody's here.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn open_external(
        &self,
        _id: PrincipalId,
        _roles: BTreeSet<RoleName>,
    ) -> Result<NewSession, AccountError> {
        Err(AccountError::Unready)
    }

    /// As long as there is no account: a link to make the first one, good for a day. Each replaces the one before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn first_link(&self) -> Result<Option<Link>, AccountError> {
        Err(AccountError::Unready)
    }

    /// Makes the first account, an owner, and signs it in. The link's token works once, and only while there is none.
    ///
    /// # Errors
    /// What is wrong with token, name or password.
    pub async fn set_up(
        &self,
        _token: &str,
        _name: &str,
        _password: &str,
    ) -> Result<NewSession, AccountError> {
        Err(AccountError::Unready)
    }

    /// Somebody forgot a password. Says the same, and as fast, whether the account exists or not.
    pub fn begin_reset(&self, _name_or_email: &str, _from: Option<IpAddr>) -> Reset {
        Reset::NoMail
    }

    /// Sets a password by a link; the account's sessions, tokens and other links end. Nobody is signed in by it.
    ///
    /// # Errors
    /// What is wrong with token or password.
    pub async fn reset(&self, _token: &str, _password: &str) -> Result<PrincipalId, AccountError> {
        Err(AccountError::Unready)
    }

    /// Sets another password; every session and token of the account ends, and this browser gets a new session.
    ///
    /// # Errors
    /// What is wrong with either password, or that the session has no local account.
    pub async fn change_password(
        &self,
        _session: &BrowserSession,
        _current: &str,
        _new: &str,
    ) -> Result<NewSession, AccountError> {
        Err(AccountError::Unready)
    }

    /// A new secret for one-time passwords; in force once [`Self::confirm_totp`] saw a code of it.
    ///
    /// # Errors
    /// If one is in force, or there is no such account.
    pub async fn begin_totp(&self, _account: &PrincipalId) -> Result<NewTotp, AccountError> {
        Err(AccountError::Unready)
    }

    /// From now on a code is asked for at sign-in. Returns ten recovery codes, shown once.
    ///
    /// # Errors
    /// If the code is wrong.
    pub async fn confirm_totp(
        &self,
        _account: &PrincipalId,
        _code: &str,
    ) -> Result<Vec<Zeroizing<String>>, AccountError> {
        Err(AccountError::Unready)
    }

    /// No code is asked for any more. The code may be a recovery code.
    ///
    /// # Errors
    /// If the code is wrong, or too many were.
    pub async fn disable_totp(
        &self,
        _account: &PrincipalId,
        _code: &str,
    ) -> Result<(), AccountError> {
        Err(AccountError::Unready)
    }

    /// An account by its name, which is found in any case of its letters.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, _name: &str) -> Result<Option<Account>, AccountError> {
        Err(AccountError::Unready)
    }
}
