//! Who is this? Decided by the credential that was presented, or by where the request came from if none was.
//!
//! A presented credential decides alone: a bad one is an error, never a fall to a weaker one or to the local
//! principal. What the credential is, is [`Presented::form`]'s; whether it holds, `keys`', `tokens`' and
//! `certificate`'s; whether it still holds, `revocation`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use policy::{Clock, Credential, Principal, PrincipalId, RoleName, Rules, Scopes};
use store::Store;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::accounts::{self, Accounts};
use crate::authority::{self, Authority};
use crate::cache::Uses;
use crate::keyring::Keyring;
use crate::keys::{ConfiguredKey, Keys};
use crate::outbound::{self, Outbound};
use crate::presented::Form;
use crate::revocation::Revocations;
use crate::sign_in::{Provider, SignIn};
use crate::tokens::jwks::KeysStatus;
use crate::tokens::{self, Issuer, Tokens};
use crate::{AuthError, ClientCertificate, Peer, Presented, Site, Vault, certificate};

/// How often it is noted when keys were last used.
const NOTE_USES_EVERY: Duration = Duration::from_secs(60);
/// Who the person at the keyboard is.
const LOCAL: &str = "local";

/// Who a caller on this machine is that presents nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// The owner, until somebody makes a key or an account.
    #[default]
    Auto,
    /// The owner.
    Owner,
    /// Nobody.
    Off,
}

/// What the config says about identity.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Keys that the config holds, by their hashes.
    pub keys: Vec<ConfiguredKey>,
    /// The roles that name a principal as their member.
    pub members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    /// Who a caller on this machine is.
    pub loopback: Loopback,
    /// Whose tokens are taken, besides the embedded server's.
    pub issuers: Vec<Issuer>,
    /// Whose certificates are taken.
    pub certificates: certificate::Settings,
    /// The embedded authorization server.
    pub authority: authority::Settings,
    /// Local accounts.
    pub accounts: accounts::Settings,
    /// With whose accounts people may sign in, besides local ones.
    pub sign_in: Vec<Provider>,
    /// Credentials for upstreams.
    pub outbound: outbound::Settings,
}

/// What it all rests on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Durable state.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way out, for keys of issuers and the like.
    pub client: net::Client,
    /// What the gate is called from outside.
    pub site: Site,
    /// Seals what is durable and secret.
    pub vault: Arc<Vault>,
    /// What was revoked.
    pub revocations: Arc<Revocations>,
}

/// Knows principals by their credentials, for as long as the gate lives.
#[derive(Debug)]
pub struct Auth {
    parts: Parts,
    /// How often a reload changed what the config gives to a principal. Only those whom a config named are in it.
    epochs: RwLock<BTreeMap<PrincipalId, u64>>,
    now: ArcSwap<Now>,
    tokens: Arc<tokens::Lasting>,
    authority: Arc<Authority>,
    accounts: Accounts,
    sign_in: SignIn,
    outbound: Outbound,
    uses: Arc<Uses>,
}

/// What a config comes to.
#[derive(Debug)]
struct Now {
    keys: Keys,
    tokens: Tokens,
    /// The identifiers of those whose tokens are taken, the embedded server apart.
    issuers: Vec<Arc<str>>,
    certificates: certificate::Settings,
    members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    loopback: Loopback,
    local: Arc<Principal>,
}

impl Auth {
    /// Knows what the config and the store know.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Arc<Self> {
        let uses = Arc::default();
        let authority = Arc::new(Authority::new(&parts, settings.authority.clone()));
        let tokens = tokens::Lasting::new(&parts, Arc::clone(authority.keys()));
        Arc::new(Self {
            accounts: Accounts::new(&parts, settings.accounts.clone(), settings.members.clone()),
            sign_in: SignIn::new(&parts, settings.sign_in.clone(), settings.members.clone()),
            outbound: Outbound::new(&parts, Arc::clone(&authority), settings.outbound.clone()),
            authority,
            now: ArcSwap::from_pointee(Now::new(&parts, &tokens, settings, Arc::clone(&uses))),
            tokens,
            uses,
            epochs: RwLock::default(),
            parts,
        })
    }

    /// Takes over another config.
    pub fn reload(&self, settings: Settings) {
        self.authority.reload(settings.authority.clone());
        self.outbound.reload(settings.outbound.clone());
        self.accounts
            .reload(settings.accounts.clone(), settings.members.clone());
        self.sign_in
            .reload(settings.sign_in.clone(), settings.members.clone());
        let now = Now::new(&self.parts, &self.tokens, settings, Arc::clone(&self.uses));
        let before = self.now.swap(Arc::new(now));
        let now = self.now.load();
        let mut epochs = self.epochs.write();
        for id in now.taken_from(&before) {
            *epochs.entry(id).or_default() += 1;
        }
        drop(epochs);
        // Whoever holds a stream open asks again.
        self.parts.revocations.tell();
    }

    /// Another number whenever the config gave this principal roles, or took roles or a key from it: what it opened under
    /// another one is opened anew.
    #[must_use]
    pub fn epoch(&self, principal: &PrincipalId) -> u64 {
        self.epochs
            .read()
            .get(principal)
            .copied()
            .unwrap_or_default()
    }

    /// The embedded authorization server.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Local accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Signing in with accounts that people have elsewhere.
    #[must_use]
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// Where clients may get tokens for this gate (RFC 9728 section 2): the issuers that the config names, in its order,
    /// then the embedded server.
    #[must_use]
    pub fn authorization_servers(&self) -> Vec<Arc<str>> {
        let mut servers = self.now.load().issuers.clone();
        if self.authority.is_enabled() {
            servers.push(self.parts.site.base().into());
        }
        servers
    }

    /// Credentials for upstreams.
    #[must_use]
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// What it all rests on.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// What the gate is called from outside.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.parts.site
    }

    /// What was revoked.
    #[must_use]
    pub fn revocations(&self) -> &Revocations {
        &self.parts.revocations
    }

    /// Who presents this. Waits only for what is not known yet: keys of an issuer, an introspection.
    ///
    /// # Errors
    /// Why nobody is known by it.
    pub async fn authenticate(
        &self,
        presented: &Presented<'_>,
    ) -> Result<Arc<Principal>, AuthError> {
        self.parts.revocations.ensure_fresh()?;
        let now = self.now.load_full();
        let principal = match presented.form()? {
            Form::Key(text) => now.keys.holder(text, &now.members)?,
            Form::Bearer(token) => now.tokens.verify(token, false, presented).await?,
            Form::Dpop(token) => now.tokens.verify(token, true, presented).await?,
            Form::Nothing => match presented.certificate {
                // The handshake may be long ago.
                Some(certificate) if certificate.expires_at <= self.parts.clock.wall() => {
                    return Err(AuthError::Expired);
                }
                Some(certificate) => now.certificate_holder(certificate)?,
                None => self.uncredentialed(&now, presented.peer)?,
            },
        };
        if self.parts.revocations.is_revoked(&principal) {
            return Err(AuthError::Revoked);
        }
        Ok(principal)
    }

    fn uncredentialed(&self, now: &Now, peer: Peer) -> Result<Arc<Principal>, AuthError> {
        let local = match (peer, now.loopback) {
            (Peer::Stdio | Peer::InProcess, _) | (Peer::Loopback, Loopback::Owner) => true,
            (Peer::Loopback, Loopback::Auto) => {
                // Whoever has set up another way in did not mean to leave this one open.
                // So does who gave the gate a name for others: a proxy on this machine may add no header that tells.
                let has_others = !now.issuers.is_empty()
                    || !now.certificates.mappings.is_empty()
                    || !self.parts.site.is_loopback();
                let any_account = self.accounts.any().map_err(AuthError::unavailable)?;
                !has_others && !any_account && !now.keys.any()?
            }
            (Peer::Loopback, Loopback::Off) | (Peer::Remote(_), _) => false,
        };
        if local {
            Ok(Arc::clone(&now.local))
        } else {
            Err(AuthError::Missing)
        }
    }

    /// Whether what this principal presented some time ago would still be taken.
    #[must_use]
    pub fn is_current(&self, principal: &Principal) -> bool {
        let is_over = principal
            .expires_at
            .is_some_and(|at| at <= self.parts.clock.wall());
        !is_over && !self.is_withdrawn(principal)
    }

    /// Whether what this principal presented some time ago was taken back before its time. That it ended by itself is
    /// no withdrawal: whoever goes on with a fresh one may.
    #[must_use]
    pub fn is_withdrawn(&self, principal: &Principal) -> bool {
        self.parts.revocations.is_revoked(principal) || !self.now.load().is_current(principal)
    }

    /// How the keys of those issuers are from whom they are fetched.
    #[must_use]
    pub fn issuers(&self) -> Vec<KeysStatus> {
        let now = self.now.load();
        let remotes = now.tokens.remotes();
        remotes
            .map(|(name, remote, freshness)| remote.status(name, freshness))
            .collect()
    }

    /// Fetches the keys of this issuer, unless that was done a moment ago, and says how they are; `None` if there is no such
    /// issuer whose keys are fetched.
    pub async fn try_issuer(&self, name: &str) -> Option<KeysStatus> {
        let (remote, freshness) = {
            let now = self.now.load();
            let mut remotes = now.tokens.remotes();
            let (_, remote, freshness) = remotes.find(|(own, ..)| *own == name)?;
            (Arc::clone(remote), freshness)
        };
        remote.try_now().await;
        Some(remote.status(name, freshness))
    }

    /// The keys in the store, for those who may change them.
    #[must_use]
    pub fn keyring(&self) -> Keyring {
        let Parts {
            store,
            clock,
            vault,
            revocations,
            ..
        } = self.parts.clone();
        Keyring::new(store, vault, clock, revocations)
    }

    /// Whether the config has a key of this name.
    #[must_use]
    pub fn is_configured_key(&self, name: &str) -> bool {
        self.now.load().keys.is_configured(name)
    }

    /// What goes on beside the calls, until `stop`: noticing what other processes revoke, and noting which keys were
    /// used.
    pub async fn upkeep(&self, stop: &CancellationToken) {
        match self.keyring().upgrade().await {
            Ok(0) => {}
            Ok(keys) => info!(keys, "hashes of keys are keyed now"),
            Err(error) => {
                warn!(%error, "hashes of keys could not be keyed; the next start tries again");
            }
        }
        tokio::join!(self.parts.revocations.watch(stop), self.note_uses(stop));
    }

    async fn note_uses(&self, stop: &CancellationToken) {
        loop {
            let stopped = tokio::time::timeout(NOTE_USES_EVERY, stop.cancelled()).await;
            let uses = self.uses.take();
            if !uses.is_empty()
                && let Err(error) = self.parts.store.note_key_uses(uses).await
            {
                warn!(%error, "the last uses of keys are not noted");
            }
            if stopped.is_ok() {
                return;
            }
        }
    }
}

impl Now {
    fn new(
        parts: &Parts,
        lasting: &Arc<tokens::Lasting>,
        settings: Settings,
        uses: Arc<Uses>,
    ) -> Self {
        let Settings {
            keys,
            members,
            loopback,
            issuers,
            certificates,
            authority: _,
            accounts: _,
            sign_in: _,
            outbound: _,
        } = settings;
        let id = PrincipalId::new(LOCAL).expect("`local` is a name");
        let owner = BTreeSet::from([RoleName::new(Rules::OWNER).expect("`owner` is a name")]);
        Self {
            keys: Keys::new(keys, &members, parts, uses),
            issuers: issuers
                .iter()
                .map(|issuer| Arc::clone(&issuer.issuer))
                .collect(),
            tokens: Tokens::new(issuers, &members, lasting),
            local: Arc::new(principal(id, owner, &members, Credential::Local)),
            certificates,
            members,
            loopback,
        }
    }

    fn certificate_holder(
        &self,
        certificate: &ClientCertificate,
    ) -> Result<Arc<Principal>, AuthError> {
        // A certificate that stands for nobody is a credential all the same: there is no fall to the local user.
        let mapping = self
            .certificates
            .holder(certificate)
            .ok_or(AuthError::Unknown)?;
        let holder = principal(
            mapping.principal.clone(),
            mapping.roles.clone(),
            &self.members,
            Credential::Certificate(certificate.fingerprint().to_string()),
        );
        Ok(Arc::new(Principal {
            expires_at: Some(certificate.expires_at),
            ..holder
        }))
    }

    /// Who has other roles by the config than before, or a key less.
    fn taken_from(&self, before: &Self) -> BTreeSet<PrincipalId> {
        let named = before.members.keys().chain(self.members.keys());
        named
            .filter(|id| before.members.get(*id) != self.members.get(*id))
            .cloned()
            .chain(before.keys.lost(&self.keys))
            .collect()
    }

    /// Whether the config and the store of this moment still know the credential.
    fn is_current(&self, principal: &Principal) -> bool {
        match &principal.credential {
            Credential::Local => true,
            Credential::ApiKey(id) => self.keys.is_current(id, principal, &self.members),
            // Besides this, their ends are their expiry and the revocations.
            Credential::Token(token) => self.tokens.is_current(token),
            Credential::Session(_) => true,
            Credential::Certificate(_) => {
                let Principal { id, roles, .. } = principal;
                self.certificates.stands_for(id, roles)
            }
        }
    }
}

/// Somebody, with the roles that the credential brings and those that the config gives.
pub(crate) fn principal(
    id: PrincipalId,
    mut roles: BTreeSet<RoleName>,
    members: &BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    credential: Credential,
) -> Principal {
    roles.extend(members.get(&id).into_iter().flatten().cloned());
    Principal {
        id,
        roles,
        credential,
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::default(),
    }
}

#[cfg(test)]
mod tests;
