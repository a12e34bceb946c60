//! Local accounts: passwords, one-time passwords, browser sessions, first start, reset.
//!
//! What is asked at a sign-in, and in which order, is here, and so are accounts themselves. How passwords are kept is
//! `password`'s, one-time passwords are `totp`'s, back-off is `lockout`'s, one-time links are `links`', what a browser
//! holds is `sessions`'. Pages and cookies are `server`'s; what was ended is told to [`crate::Revocations`].

mod error;
mod links;
mod lockout;
mod password;
mod sessions;
mod totp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use net::mail::Mailer;
use parking_lot::Mutex;
use policy::{Instant, PrincipalId, RoleName};
use store::{AccountDraft, AccountRow};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use zeroize::Zeroizing;

use crate::cache::FRESH;
use crate::key::NoRandomness;
use crate::{Parts, Revoked};
pub use error::{AccountError, SignInError};
pub use links::{Link, LinkFor};
use lockout::{Lockout, Remembered};
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use password::{Passwords, Undone};
pub use sessions::{BrowserSession, NewSession};

/// The principal at the keyboard has this name, so that no account may.
const RESERVED: &str = "local";
/// Longest address of an account (RFC 5321 section 4.5.3.1.3, without its brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// Most mails on their way at once; what is asked for beyond is dropped.
const MAILS_MAX: usize = 16;
/// How long the last mails may take once the gate stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// What the config says.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A session that nobody used for so long ends.
    pub session_idle: Duration,
    /// A session ends so long after the sign-in.
    pub session_max: Duration,
    /// What sends mail; without it, nobody can reset a password alone.
    pub mailer: Option<Arc<Mailer>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            session_idle: Duration::from_secs(8 * 60 * 60),
            session_max: Duration::from_secs(7 * 24 * 60 * 60),
            mailer: None,
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
    /// Whether it, and whatever else its principal has, is shut out.
    pub is_disabled: bool,
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its holder gets mail.
    pub email: Option<&'a str>,
    /// The roles it brings.
    pub roles: BTreeSet<RoleName>,
    /// Its password; without one, it is set by a link.
    pub password: Option<&'a str>,
}

/// What somebody hears who forgot the password.
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
    now: ArcSwap<Now>,
    passwords: Passwords,
    lockout: Lockout,
    /// What the store said of there being accounts, and when.
    any: Mutex<Option<(bool, Instant)>>,
    mails: Mutex<JoinSet<()>>,
}

/// What a config comes to.
#[derive(Debug)]
struct Now {
    settings: Settings,
    members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
}

impl Accounts {
    /// Accounts of the store; roles of `members` come on top of those that an account has.
    #[must_use]
    pub fn new(
        parts: &Parts,
        settings: Settings,
        members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) -> Self {
        Self {
            passwords: Passwords::new(&parts.vault),
            now: ArcSwap::from_pointee(Now { settings, members }),
            lockout: Lockout::default(),
            any: Mutex::default(),
            mails: Mutex::default(),
            parts: parts.clone(),
        }
    }

    pub(crate) fn reload(
        &self,
        settings: Settings,
        members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    ) {
        self.now.store(Arc::new(Now { settings, members }));
    }

    /// Gives mails that are on their way a moment, and drops the others.
    pub async fn stop(&self) {
        let mut mails = std::mem::take(&mut *self.mails.lock());
        let joined = async { while mails.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, joined).await.is_err() {
            warn!(left = mails.len(), "mails were given up");
        }
        mails.shutdown().await;
    }

    /// Whether there is any account; asked at most once a second.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn any(&self) -> Result<bool, AccountError> {
        let now = self.parts.clock.now();
        if let Some((any, asked_at)) = *self.any.lock()
            && now.since(asked_at) < FRESH
        {
            return Ok(any);
        }
        let any = self.parts.store.has_accounts()?;
        *self.any.lock() = Some((any, now));
        Ok(any)
    }

    fn forget_any(&self) {
        *self.any.lock() = None;
    }

    /// Signs in with the account's name or address and its password, and a one-time or recovery code if it asks for
    /// one.
    ///
    /// # Errors
    /// Why not, in words that tell a stranger nothing about accounts; and so does the time it takes.
    pub async fn sign_in(
        &self,
        name: &str,
        password: &str,
        code: Option<&str>,
        from: Option<IpAddr>,
    ) -> Result<NewSession, SignInError> {
        let clock = &self.parts.clock;
        self.lockout
            .charge_address(from, clock.now())
            .map_err(|after| SignInError::Later { after })?;
        let since = clock.wall();
        let row = self.parts.store.find_account(name)?;
        let tried = row.as_ref().map_or(name, |row| &row.name).to_owned();
        let charged = self.charge(&tried, row.as_ref());
        let kept = row.as_ref().and_then(|row| row.password.as_deref());
        let checked = self.passwords.check(password, kept).await?;
        let known = row.filter(|row| checked.matches && !self.is_disabled(&row.name));
        let (Some(row), Some(tries)) = (known, charged) else {
            debug!(?from, "sign-in refused");
            self.note_failure(&tried, charged).await?;
            return Err(SignInError::Wrong);
        };
        let locked = self.lockout_name(&row.name);
        if row.totp.is_some() {
            let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
                self.lockout.refund_account(locked, clock.now());
                self.lockout.refund_address(from, clock.now());
                return Err(SignInError::CodeNeeded);
            };
            if !self.takes_code(&row, code).await? {
                debug!(?from, "sign-in refused: the code");
                self.note_failure(&row.name, Some(tries)).await?;
                return Err(SignInError::Wrong);
            }
        }
        self.lockout.clear_account(locked);
        self.lockout.refund_address(from, clock.now());
        self.parts
            .store
            .note_sign_in(&row.name, clock.wall())
            .await?;
        if let Some(old) = row.password.filter(|_| checked.is_outdated) {
            // For the next time: that it cannot be done now keeps nobody out.
            if let Ok(new) = self.passwords.hash(password).await {
                let store = &self.parts.store;
                store.rehash_password(&row.name, old, new).await?;
            }
        }
        let id = PrincipalId::new(&row.name).map_err(AccountError::unavailable)?;
        let roles = role_names(&row.roles);
        Ok(self.open(&id, Some(&row.name), roles, since).await?)
    }

    /// Somebody forgot a password. Says the same, and as fast, whether the account exists or not; asking counts like a
    /// wrong try of the address. Within a runtime.
    pub fn begin_reset(&self, name_or_email: &str, from: Option<IpAddr>) -> Reset {
        let Some(mailer) = self.now.load().settings.mailer.clone() else {
            return Reset::NoMail;
        };
        if self
            .lockout
            .charge_address(from, self.parts.clock.now())
            .is_err()
        {
            return Reset::Queued;
        }
        let mut mails = self.mails.lock();
        while mails.try_join_next().is_some() {}
        if mails.len() >= MAILS_MAX {
            warn!("too many mails at once; a request for a new password was dropped");
            return Reset::Queued;
        }
        mails.spawn(links::mail(
            self.parts.clone(),
            mailer,
            name_or_email.trim().to_owned(),
        ));
        Reset::Queued
    }

    /// Sets another password; every session and token of the account ends, and this browser gets a new session.
    ///
    /// # Errors
    /// What is wrong with either password, or that the session has no local account.
    pub async fn change_password(
        &self,
        session: &BrowserSession,
        current: &str,
        new: &str,
    ) -> Result<NewSession, AccountError> {
        if !session.is_local {
            return Err(AccountError::Unknown);
        }
        let id = &session.principal.id;
        let row = self.row(id)?;
        let charged = self.charge(&row.name, Some(&row));
        let kept = row.password.as_deref();
        let checked = self.passwords.check(current, kept).await?;
        if !checked.matches || charged.is_none() {
            self.note_failure(&row.name, charged).await?;
            return Err(AccountError::Wrong);
        }
        let locked = self.lockout_name(&row.name);
        self.lockout.refund_account(locked, self.parts.clock.now());
        let own = [row.name.as_str(), row.email.as_deref().unwrap_or_default()];
        self.vet(new, &own).await?;
        let hash = self.passwords.hash(new).await?;
        // First, too: a gate that dies in between has shut out rather than left in.
        self.end_sessions(id, "password changed").await?;
        let from = row.password.clone().unwrap_or_default();
        let store = &self.parts.store;
        if !store.change_password(&row.name, from, hash).await? {
            return Err(AccountError::Wrong);
        }
        self.lockout.clear_account(locked);
        info!(account = %id, "a password was changed");
        self.end_sessions(id, "password changed").await?;
        let (roles, now) = (role_names(&row.roles), self.parts.clock.wall());
        self.open(id, Some(&row.name), roles, now).await
    }

    /// A new secret for one-time passwords; in force once [`Self::confirm_totp`] saw a code of it.
    ///
    /// # Errors
    /// If one is in force, or there is no such account.
    pub async fn begin_totp(&self, account: &PrincipalId) -> Result<NewTotp, AccountError> {
        let row = self.row(account)?;
        let secret: Zeroizing<[u8; totp::SECRET_LEN]> = random()?;
        let sealed = self
            .parts
            .vault
            .seal(&totp_purpose(&row.name), &secret[..])
            .map_err(AccountError::unavailable)?;
        if !self.parts.store.draft_totp(&row.name, sealed).await? {
            return Err(AccountError::TotpOn);
        }
        let uri = totp::uri(&row.name, &secret[..]);
        Ok(NewTotp {
            secret: totp::base32(&secret[..]),
            svg: totp::qr(&uri).unwrap_or_default(),
            uri,
        })
    }

    /// From now on a code is asked for at sign-in. Returns ten recovery codes, shown once.
    ///
    /// # Errors
    /// If the code is wrong, or nothing was begun.
    pub async fn confirm_totp(
        &self,
        account: &PrincipalId,
        code: &str,
    ) -> Result<Vec<Zeroizing<String>>, AccountError> {
        let row = self.row(account)?;
        if row.totp.is_some() {
            return Err(AccountError::TotpOn);
        }
        let sealed = row.totp_draft.as_deref().ok_or(AccountError::TotpOff)?;
        let secret = self.open_totp(&row.name, sealed)?;
        let step = totp::step_of(code, &secret, self.parts.clock.wall());
        let step = step.ok_or(AccountError::Wrong)?;
        let codes = totp::recovery_codes()?;
        let hashes = codes.iter().map(|code| self.recovery_hash(&row.name, code));
        let (hashes, sealed) = (hashes.collect(), sealed.to_vec());
        let store = &self.parts.store;
        if !store.confirm_totp(&row.name, sealed, step, hashes).await? {
            return Err(AccountError::TotpOff);
        }
        info!(%account, "one-time passwords are on");
        Ok(codes)
    }

    /// No code is asked for any more. The code may be a recovery code.
    ///
    /// # Errors
    /// If the code is wrong, or too many were.
    pub async fn disable_totp(
        &self,
        account: &PrincipalId,
        code: &str,
    ) -> Result<(), AccountError> {
        let row = self.row(account)?;
        if row.totp.is_none() {
            return Err(AccountError::TotpOff);
        }
        let charged = self.charge(&row.name, Some(&row));
        if charged.is_none() || !self.takes_code(&row, code).await? {
            self.note_failure(&row.name, charged).await?;
            return Err(AccountError::Wrong);
        }
        let locked = self.lockout_name(&row.name);
        self.lockout.refund_account(locked, self.parts.clock.now());
        self.clear_totp(&row.name).await
    }

    /// No code is asked for any more: for owners, when somebody lost the device.
    ///
    /// # Errors
    /// If there is no such account, or it cannot be written.
    pub async fn clear_totp(&self, name: &str) -> Result<(), AccountError> {
        if !self.parts.store.clear_totp(name).await? {
            return Err(AccountError::Unknown);
        }
        info!(account = name, "one-time passwords are off");
        Ok(())
    }

    /// An account by its name, which is found in any case of its letters.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Account>, AccountError> {
        let row = self.parts.store.get_account(name)?;
        row.map(|row| self.account(row)).transpose()
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        let rows = self.parts.store.list_accounts()?;
        rows.into_iter().map(|row| self.account(row)).collect()
    }

    /// Makes an account.
    ///
    /// # Errors
    /// What is wrong with name, address or password, or that there is one already.
    pub async fn add(&self, new: NewAccount<'_>) -> Result<PrincipalId, AccountError> {
        let id = account_name(new.name)?;
        vet_email(new.email)?;
        let password = match new.password {
            Some(password) => {
                let own = [id.as_str(), new.email.unwrap_or_default()];
                self.vet(password, &own).await?;
                Some(self.passwords.hash(password).await?)
            }
            None => None,
        };
        let draft = AccountDraft {
            name: id.to_string(),
            email: new.email.map(str::to_owned),
            roles: new.roles.iter().map(ToString::to_string).collect(),
            password,
            created_at: self.parts.clock.wall(),
        };
        if !self.parts.store.put_account(draft).await? {
            return Err(AccountError::Taken);
        }
        self.forget_any();
        info!(account = %id, "an account was made");
        Ok(id)
    }

    /// Gives an account another e-mail address, or none. For owners: with it goes the power to reset the password.
    ///
    /// # Errors
    /// If there is no such account, the address is none or another's, or it cannot be written.
    pub async fn set_email(&self, name: &str, email: Option<&str>) -> Result<(), AccountError> {
        let id = self.id(name)?;
        vet_email(email)?;
        if !self.parts.store.set_account_email(name, email).await? {
            return Err(AccountError::Taken);
        }
        info!(account = %id, "an account has another e-mail address");
        Ok(())
    }

    /// Gives an account other roles; its sessions and tokens end, since they have the old ones.
    ///
    /// # Errors
    /// If there is no such account, or it cannot be written.
    pub async fn set_roles(
        &self,
        name: &str,
        roles: &BTreeSet<RoleName>,
    ) -> Result<(), AccountError> {
        let id = self.id(name)?;
        let roles: Vec<String> = roles.iter().map(ToString::to_string).collect();
        // First, too: a gate that dies in between has shut out rather than left in.
        self.end_sessions(&id, "roles changed").await?;
        if !self.parts.store.set_account_roles(name, &roles).await? {
            return Err(AccountError::Unknown);
        }
        info!(account = %id, ?roles, "an account has other roles");
        self.end_sessions(&id, "roles changed").await
    }

    /// Shuts an account out, with all that its principal has: sessions, tokens, keys.
    ///
    /// # Errors
    /// If there is no such account, or it cannot be written.
    pub async fn disable(&self, name: &str, by: &str) -> Result<(), AccountError> {
        let id = self.id(name)?;
        let disabled = Revoked::Disabled(&id);
        self.parts
            .revocations
            .revoke(disabled, None, by, "account disabled")
            .await?;
        // What it had until now stays ended when it is let in again.
        self.end_sessions(&id, "account disabled").await
    }

    /// Lets an account in again; `false` if it was not shut out.
    ///
    /// # Errors
    /// If there is no such account, or it cannot be written.
    pub async fn enable(&self, name: &str, by: &str) -> Result<bool, AccountError> {
        let id = self.id(name)?;
        Ok(self
            .parts
            .revocations
            .lift(Revoked::Disabled(&id), by)
            .await?)
    }

    /// Deletes an account; its sessions and tokens end. A principal that was shut out stays so.
    ///
    /// # Errors
    /// If there is none, or it cannot be written.
    pub async fn delete(&self, name: &str) -> Result<(), AccountError> {
        let id = self.id(name)?;
        // First, too: a gate that dies in between has shut out rather than left in.
        self.end_sessions(&id, "account deleted").await?;
        // What it granted the gate for upstreams goes first: nobody who gets the name later is to find it.
        let store = &self.parts.store;
        store.delete_upstream_tokens(id.as_str(), None).await?;
        if !store.delete_account(name).await? {
            return Err(AccountError::Unknown);
        }
        self.forget_any();
        info!(account = %id, "an account was deleted");
        self.end_sessions(&id, "account deleted").await
    }

    fn account(&self, row: AccountRow) -> Result<Account, AccountError> {
        let name = PrincipalId::new(&row.name).map_err(AccountError::unavailable)?;
        Ok(Account {
            is_disabled: self.parts.revocations.is_disabled(&name),
            name,
            email: row.email,
            roles: role_names(&row.roles),
            has_password: row.password.is_some(),
            has_totp: row.totp.is_some(),
            recovery_codes: row.recovery_codes,
            created_at: row.created_at,
            signed_in_at: row.signed_in_at,
        })
    }

    fn row(&self, account: &PrincipalId) -> Result<AccountRow, AccountError> {
        let row = self.parts.store.get_account(account.as_str())?;
        row.ok_or(AccountError::Unknown)
    }

    /// The id as it is kept, whatever the case of its letters in `name`.
    fn id(&self, name: &str) -> Result<PrincipalId, AccountError> {
        let row = self.parts.store.get_account(name)?;
        let row = row.ok_or(AccountError::Unknown)?;
        PrincipalId::new(&row.name).map_err(AccountError::unavailable)
    }

    fn is_disabled(&self, name: &str) -> bool {
        PrincipalId::new(name).map_or(true, |id| self.parts.revocations.is_disabled(&id))
    }

    /// Charges an account, or a name that is none's, for a try; `None` if it is closed.
    fn charge(&self, name: &str, row: Option<&AccountRow>) -> Option<u32> {
        let wall = self.parts.clock.wall();
        let remembered = row
            .and_then(|row| {
                let ago = wall.duration_since(row.failed_at?).unwrap_or_default();
                let count = row.failures;
                Some(Remembered { count, ago })
            })
            .unwrap_or_default();
        let now = self.parts.clock.now();
        self.lockout
            .charge_account(self.lockout_name(name), remembered, now)
    }

    /// Keeps the count of wrong tries beyond a restart. The same work for a name that is nobody's.
    async fn note_failure(&self, name: &str, charged: Option<u32>) -> Result<(), AccountError> {
        if let Some(count) = charged {
            let at = self.parts.clock.wall();
            self.parts.store.note_failures(name, count, at).await?;
        }
        Ok(())
    }

    fn lockout_name(&self, name: &str) -> lockout::Name {
        let folded = name.to_ascii_lowercase();
        self.parts.vault.hash("accounts/lockout", folded.as_bytes())
    }

    /// Whether the code is good for this account; one that is was used up by asking.
    async fn takes_code(&self, row: &AccountRow, code: &str) -> Result<bool, AccountError> {
        let store = &self.parts.store;
        if !totp::is_code_like(code) {
            let hash = self.recovery_hash(&row.name, code);
            let taken = store.take_recovery_code(&row.name, hash).await?;
            if taken {
                info!(account = row.name, "a recovery code was used");
            }
            return Ok(taken);
        }
        let Some(sealed) = &row.totp else {
            return Ok(false);
        };
        let secret = self.open_totp(&row.name, sealed)?;
        match totp::step_of(code, &secret, self.parts.clock.wall()) {
            Some(step) => Ok(store.take_totp_step(&row.name, step).await?),
            None => Ok(false),
        }
    }

    fn open_totp(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccountError> {
        self.parts
            .vault
            .open(&totp_purpose(name), sealed)
            .map_err(AccountError::unavailable)
    }

    fn recovery_hash(&self, name: &str, code: &str) -> [u8; 32] {
        let purpose = format!("accounts/{name}/recovery");
        let plain = totp::plain_recovery_code(code);
        self.parts.vault.hash(&purpose, plain.as_bytes())
    }

    /// Whether a password may be set. Off the threads that serve: estimating is slow.
    async fn vet(&self, password: &str, own: &[&str]) -> Result<(), AccountError> {
        let password = Zeroizing::new(password.to_owned());
        let mut own: Vec<String> = own.iter().map(ToString::to_string).collect();
        own.push(self.parts.site.base().to_owned());
        own.push("portcullis".to_owned());
        let vetted = tokio::task::spawn_blocking(move || {
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            password::ensure_strong(&password, &own)
        });
        vetted
            .await
            .map_err(AccountError::unavailable)?
            .map_err(AccountError::Weak)
    }
}

/// What the secret of one-time passwords is sealed for, in force or not.
pub(crate) fn totp_purpose(name: &str) -> String {
    format!("accounts/{name}/totp")
}

/// A name that an account may have.
fn account_name(text: &str) -> Result<PrincipalId, AccountError> {
    let id = PrincipalId::new(text).map_err(|error| AccountError::Name(error.to_string()))?;
    if text.contains('/') {
        return Err(AccountError::Name(
            "`/` cannot stand in an account's name: principals of other issuers have it".to_owned(),
        ));
    }
    if text.eq_ignore_ascii_case(RESERVED) {
        return Err(AccountError::Name(format!(
            "`{RESERVED}` is whoever uses the gate from its own machine; take another name"
        )));
    }
    Ok(id)
}

/// Roles as the store keeps them; a name that is none gives nothing.
fn role_names(roles: &[String]) -> BTreeSet<RoleName> {
    roles
        .iter()
        .filter_map(|role| RoleName::new(role).ok())
        .collect()
}

fn random<const LEN: usize>() -> Result<Zeroizing<[u8; LEN]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; LEN]);
    SystemRandom::new()
        .fill(&mut bytes[..])
        .map_err(|_unspecified| NoRandomness)?;
    Ok(bytes)
}

impl From<Undone> for AccountError {
    fn from(undone: Undone) -> Self {
        match undone {
            Undone::Busy => Self::Later {
                after: password::TURN_WAIT,
            },
            Undone::Broken(cause) => Self::Unavailable(cause),
        }
    }
}

/// Whether mail can be sent there, as far as one can see.
fn vet_email(email: Option<&str>) -> Result<(), AccountError> {
    match email {
        Some(email) if email.len() > EMAIL_BYTES_MAX || !net::mail::is_address(email) => {
            Err(AccountError::Email(email.to_owned()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
