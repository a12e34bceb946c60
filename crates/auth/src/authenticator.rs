//! Who is this? Decided by the credential that was presented, or by where the call came from if none was.
//!
//! A presented credential decides alone: a bad one is an error, never a fall to the local principal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use policy::{Clock, Credential, Instant, NameError, Principal, PrincipalId, RoleName, Rules};
use store::{KeyRow, Store};

use crate::cache::{Accepted, Cache, FRESH};
use crate::key::{self, KeyHash, Parsed};

/// Who the person at the keyboard is.
const LOCAL: &str = "local";

/// Where a call came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// This machine, over the loopback address.
    Loopback,
    /// Another machine.
    Remote,
    /// The parent process.
    Stdio,
    /// This process.
    InProcess,
}

/// What came with a call.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `X-API-Key` header.
    pub x_api_key: Option<&'a str>,
    /// Where it came from.
    pub peer: Peer,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            authorization,
            x_api_key,
            peer,
        } = self;
        let (authorization, x_api_key) = (authorization.is_some(), x_api_key.is_some());
        write!(
            f,
            "Presented(authorization: {authorization}, x_api_key: {x_api_key}, {peer:?})"
        )
    }
}

/// A key from the config.
#[derive(Debug, Clone)]
pub struct ConfiguredKey {
    /// What the config calls it.
    pub name: String,
    /// For whom it speaks.
    pub principal: PrincipalId,
    /// The roles it brings.
    pub roles: BTreeSet<RoleName>,
    /// What is kept of it.
    pub hash: KeyHash,
    /// From when on it is not accepted.
    pub expires_at: Option<SystemTime>,
}

/// Who a caller on this machine is that presents nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loopback {
    /// The owner, until somebody makes a key.
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
}

/// Why nobody is known by what was presented. `Display` speaks to the operator.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Nothing, where something is needed.
    #[error("no credential was presented")]
    Missing,
    /// Not one credential that we take.
    #[error("the credential is malformed: {0}")]
    Malformed(&'static str),
    /// Well formed, but not ours.
    #[error("the key is unknown")]
    Unknown,
    /// Ours, but too old.
    #[error("the key has expired")]
    Expired,
    /// Ours, but revoked.
    #[error("the key was revoked")]
    Revoked,
    /// It cannot be known now.
    #[error("the keys cannot be read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AuthError {
    /// What the client may hear. A bad key is told the same whatever is bad about it.
    #[must_use]
    pub fn public(&self) -> &'static str {
        match self {
            Self::Missing => "Authentication required",
            Self::Malformed(_) | Self::Unknown | Self::Expired | Self::Revoked => {
                "Invalid credentials"
            }
            Self::Unavailable(_) => "Authentication is not available now",
        }
    }
}

/// Knows principals by their credentials.
#[derive(Debug)]
pub struct Authenticator {
    configured: HashMap<[u8; 32], (Arc<Principal>, Option<SystemTime>)>,
    members: BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    loopback: Loopback,
    local: Arc<Principal>,
    store: Store,
    clock: Arc<dyn Clock>,
    accepted: Cache,
    /// Whether the store has keys, and when it was asked.
    any_keys: RwLock<Option<(bool, Instant)>>,
}

impl Authenticator {
    /// Knows the keys of the config and those in the store.
    ///
    /// # Panics
    /// Never: the built-in names are names.
    #[must_use]
    pub fn new(settings: Settings, store: Store, clock: Arc<dyn Clock>) -> Self {
        let Settings {
            keys,
            members,
            loopback,
        } = settings;
        let configured = keys
            .into_iter()
            .map(|key| {
                let principal = principal(
                    key.principal,
                    key.roles,
                    &members,
                    Credential::ApiKey(key.name),
                );
                (*key.hash.as_bytes(), (principal, key.expires_at))
            })
            .collect();
        let id = PrincipalId::new(LOCAL).expect("`local` is a name");
        let owner = BTreeSet::from([RoleName::new(Rules::OWNER).expect("`owner` is a name")]);
        Self {
            configured,
            local: principal(id, owner, &members, Credential::Local),
            members,
            loopback,
            store,
            clock,
            accepted: Cache::default(),
            any_keys: RwLock::new(None),
        }
    }

    /// Who presents this.
    ///
    /// # Errors
    /// Why nobody is known by it.
    pub fn authenticate(&self, presented: &Presented<'_>) -> Result<Arc<Principal>, AuthError> {
        match (presented.authorization, presented.x_api_key) {
            (Some(_), Some(_)) => Err(AuthError::Malformed("two credentials at once")),
            (Some(header), None) => self.key_holder(bearer(header)?),
            (None, Some(text)) => self.key_holder(text),
            (None, None) => self.uncredentialed(presented.peer),
        }
    }

    fn uncredentialed(&self, peer: Peer) -> Result<Arc<Principal>, AuthError> {
        let local = match (peer, self.loopback) {
            (Peer::Stdio | Peer::InProcess, _) | (Peer::Loopback, Loopback::Owner) => true,
            (Peer::Loopback, Loopback::Auto) => !self.any_keys()?,
            (Peer::Loopback, Loopback::Off) | (Peer::Remote, _) => false,
        };
        if local {
            Ok(Arc::clone(&self.local))
        } else {
            Err(AuthError::Missing)
        }
    }

    fn key_holder(&self, text: &str) -> Result<Arc<Principal>, AuthError> {
        let parsed =
            key::parse(text).ok_or(AuthError::Malformed("not an API key of this program"))?;
        // Finding a hash in a map takes no constant time, and need not: nobody can steer a SHA-256.
        if let Some((principal, expires_at)) = self.configured.get(parsed.hash.as_bytes()) {
            self.unexpired(*expires_at)?;
            return Ok(Arc::clone(principal));
        }
        let key = match self.accepted.get(parsed.id, self.clock.now()) {
            Some(key) => key,
            None => self.ask_store(&parsed)?,
        };
        if key.hash != parsed.hash {
            return Err(AuthError::Unknown);
        }
        self.unexpired(key.expires_at)?;
        Ok(key.principal)
    }

    fn ask_store(&self, parsed: &Parsed<'_>) -> Result<Accepted, AuthError> {
        let asked_at = self.clock.now();
        let row = self
            .store
            .get_key(parsed.id)
            .map_err(unavailable)?
            .ok_or(AuthError::Unknown)?;
        if KeyHash::from(row.hash) != parsed.hash {
            return Err(AuthError::Unknown);
        }
        if row.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        let (hash, expires_at) = (parsed.hash, row.expires_at);
        let principal = self.holder(row).map_err(unavailable)?;
        let accepted = Accepted {
            hash,
            principal,
            expires_at,
            asked_at,
        };
        self.accepted.keep(parsed.id, accepted.clone());
        Ok(accepted)
    }

    fn holder(&self, row: KeyRow) -> Result<Arc<Principal>, NameError> {
        let id = PrincipalId::new(&row.principal)?;
        let roles = row
            .roles
            .iter()
            .map(|role| RoleName::new(role))
            .collect::<Result<_, _>>()?;
        Ok(principal(
            id,
            roles,
            &self.members,
            Credential::ApiKey(row.id),
        ))
    }

    /// Whether any key exists, in config or store; asked at most once a second.
    fn any_keys(&self) -> Result<bool, AuthError> {
        if !self.configured.is_empty() {
            return Ok(true);
        }
        let now = self.clock.now();
        if let Some((any, asked_at)) = *self.any_keys.read()
            && now.since(asked_at) < FRESH
        {
            return Ok(any);
        }
        let any = self.store.has_keys().map_err(unavailable)?;
        *self.any_keys.write() = Some((any, now));
        Ok(any)
    }

    fn unexpired(&self, expires_at: Option<SystemTime>) -> Result<(), AuthError> {
        match expires_at {
            Some(expires_at) if expires_at <= self.clock.wall() => Err(AuthError::Expired),
            _ => Ok(()),
        }
    }
}

fn principal(
    id: PrincipalId,
    mut roles: BTreeSet<RoleName>,
    members: &BTreeMap<PrincipalId, BTreeSet<RoleName>>,
    credential: Credential,
) -> Arc<Principal> {
    roles.extend(members.get(&id).into_iter().flatten().cloned());
    Arc::new(Principal {
        id,
        roles,
        credential,
    })
}

/// The token of `Bearer <token>`; schemes know no case.
fn bearer(header: &str) -> Result<&str, AuthError> {
    match header.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim_start()),
        _ => Err(AuthError::Malformed("not a bearer token")),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> AuthError {
    AuthError::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests;
