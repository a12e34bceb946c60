//! API keys: those of the config and those of the store, and whom they stand for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use policy::{Clock, Credential, Instant, NameError, Principal, PrincipalId, RoleName};
use store::{KeyRow, Store};

use crate::AuthError;
use crate::auth::principal;
use crate::cache::{Accepted, Cache, FRESH};
use crate::key::{self, KeyHash, Parsed};

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

type Members = BTreeMap<PrincipalId, BTreeSet<RoleName>>;

/// Knows principals by their keys.
#[derive(Debug)]
pub(crate) struct Keys {
    configured: HashMap<[u8; 32], (Arc<Principal>, Option<SystemTime>)>,
    store: Store,
    clock: Arc<dyn Clock>,
    accepted: Cache,
    /// Whether the store has keys, and when it was asked.
    any_keys: RwLock<Option<(bool, Instant)>>,
}

impl Keys {
    /// Knows the keys of the config and those in the store.
    pub(crate) fn new(
        keys: Vec<ConfiguredKey>,
        members: &Members,
        store: Store,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let configured = keys
            .into_iter()
            .map(|key| {
                let credential = Credential::ApiKey(key.name);
                let principal = Principal {
                    expires_at: key.expires_at,
                    ..principal(key.principal, key.roles, members, credential)
                };
                (*key.hash.as_bytes(), (Arc::new(principal), key.expires_at))
            })
            .collect();
        Self {
            configured,
            store,
            clock,
            accepted: Cache::default(),
            any_keys: RwLock::new(None),
        }
    }

    /// Who holds this key.
    pub(crate) fn holder(
        &self,
        text: &str,
        members: &Members,
    ) -> Result<Arc<Principal>, AuthError> {
        let parsed =
            key::parse(text).ok_or(AuthError::Malformed("not an API key of this program"))?;
        // Finding a hash in a map takes no constant time, and need not: nobody can steer a SHA-256.
        if let Some((principal, expires_at)) = self.configured.get(parsed.hash.as_bytes()) {
            self.unexpired(*expires_at)?;
            return Ok(Arc::clone(principal));
        }
        let key = match self.accepted.get(parsed.id, self.clock.now()) {
            Some(key) => key,
            None => self.ask_store(&parsed, members)?,
        };
        if key.hash != parsed.hash {
            return Err(AuthError::Unknown);
        }
        self.unexpired(key.expires_at)?;
        Ok(key.principal)
    }

    /// Whether the key of this id is still there and not revoked.
    pub(crate) fn is_current(&self, id: &str) -> bool {
        if self.configured.values().any(
            |(principal, _)| matches!(&principal.credential, Credential::ApiKey(own) if own == id),
        ) {
            return true;
        }
        match self.store.get_key(id) {
            Ok(row) => row.is_some_and(|row| row.revoked_at.is_none()),
            // It cannot be known now, and was true a moment ago.
            Err(_) => true,
        }
    }

    fn ask_store(&self, parsed: &Parsed<'_>, members: &Members) -> Result<Accepted, AuthError> {
        let asked_at = self.clock.now();
        let row = self
            .store
            .get_key(parsed.id)
            .map_err(AuthError::unavailable)?
            .ok_or(AuthError::Unknown)?;
        if KeyHash::from(row.hash) != parsed.hash {
            return Err(AuthError::Unknown);
        }
        if row.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        let (hash, expires_at) = (parsed.hash, row.expires_at);
        let principal = holder(row, members).map_err(AuthError::unavailable)?;
        let accepted = Accepted {
            hash,
            principal,
            expires_at,
            asked_at,
        };
        self.accepted.keep(parsed.id, accepted.clone());
        Ok(accepted)
    }

    /// Whether any key exists, in config or store; asked at most once a second.
    pub(crate) fn any(&self) -> Result<bool, AuthError> {
        if !self.configured.is_empty() {
            return Ok(true);
        }
        let now = self.clock.now();
        if let Some((any, asked_at)) = *self.any_keys.read()
            && now.since(asked_at) < FRESH
        {
            return Ok(any);
        }
        let any = self.store.has_keys().map_err(AuthError::unavailable)?;
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

fn holder(row: KeyRow, members: &Members) -> Result<Arc<Principal>, NameError> {
    let id = PrincipalId::new(&row.principal)?;
    let roles = row
        .roles
        .iter()
        .map(|role| RoleName::new(role))
        .collect::<Result<_, _>>()?;
    Ok(Arc::new(Principal {
        expires_at: row.expires_at,
        ..principal(id, roles, members, Credential::ApiKey(row.id))
    }))
}
