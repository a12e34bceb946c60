//! API keys: those of the config and those of the store, and whom they stand for.
//!
//! What the store says of a key holds until any key changes there, which `revocation` notices: so a key that is known
//! costs no query. Making, rotating and revoking keys is `keyring`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use policy::{Clock, Credential, NameError, Principal, PrincipalId, RoleName, Scopes};
use store::{KeyHashKind, KeyRow, Store};

use crate::auth::principal;
use crate::cache::{Accepted, Cache, Uses};
use crate::key::{self, KeyHash, Parsed};
use crate::{AuthError, Parts, Revocations, Vault};

/// What the hashes of keys are made for.
const PURPOSE: &str = "api-key";

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

/// What the database keeps of a key: of no use to anybody without the installation's master key.
pub(crate) fn keyed(vault: &Vault, hash: &KeyHash) -> KeyHash {
    vault.hash(PURPOSE, hash.as_bytes()).into()
}

/// Knows principals by their keys.
#[derive(Debug)]
pub(crate) struct Keys {
    configured: HashMap<[u8; 32], Arc<Principal>>,
    configured_names: HashSet<String>,
    store: Store,
    clock: Arc<dyn Clock>,
    vault: Arc<Vault>,
    revocations: Arc<Revocations>,
    accepted: Cache,
    uses: Arc<Uses>,
    /// Whether the store has keys, and in which state of it.
    any_keys: RwLock<Option<(bool, i64)>>,
}

impl Keys {
    /// Knows the keys of the config and those in the store.
    pub(crate) fn new(
        keys: Vec<ConfiguredKey>,
        members: &Members,
        parts: &Parts,
        uses: Arc<Uses>,
    ) -> Self {
        let configured_names = keys.iter().map(|key| key.name.clone()).collect();
        let configured = keys
            .into_iter()
            .map(|key| {
                let credential = Credential::ApiKey(key.name);
                let principal = Principal {
                    expires_at: key.expires_at,
                    ..principal(key.principal, key.roles, members, credential)
                };
                (*key.hash.as_bytes(), Arc::new(principal))
            })
            .collect();
        Self {
            configured,
            configured_names,
            store: parts.store.clone(),
            clock: Arc::clone(&parts.clock),
            vault: Arc::clone(&parts.vault),
            revocations: Arc::clone(&parts.revocations),
            accepted: Cache::default(),
            uses,
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
        let now = self.clock.wall();
        // Finding a hash in a map takes no constant time, and need not: nobody can steer a SHA-256.
        if let Some(principal) = self.configured.get(parsed.hash.as_bytes()) {
            return unexpired(principal, now);
        }
        let key = match self.accepted.get(parsed.id, self.revocations.keys()) {
            Some(key) => key,
            None => self.ask_store(&parsed, members)?,
        };
        if key.hash != parsed.hash {
            return Err(AuthError::Unknown);
        }
        let principal = unexpired(&key.principal, now)?;
        key.used.now(now);
        Ok(principal)
    }

    /// Whether the config has a key of this name.
    pub(crate) fn is_configured(&self, id: &str) -> bool {
        self.configured_names.contains(id)
    }

    /// Whose keys of the config are gone, be it that their names have others now.
    pub(crate) fn lost(&self, now: &Self) -> Vec<PrincipalId> {
        let gone = self
            .configured
            .iter()
            .filter(|(hash, _)| !now.configured.contains_key(*hash));
        gone.map(|(_, principal)| principal.id.clone()).collect()
    }

    /// Whether the key of this id is still there and would make the same principal: neither revoked nor over, with the
    /// same roles.
    pub(crate) fn is_current(&self, id: &str, principal: &Principal, members: &Members) -> bool {
        let now = self.clock.wall();
        let same = |found: &Principal| {
            let is_over = found.expires_at.is_some_and(|at| at <= now);
            !is_over && found.roles == principal.roles && found.scopes == principal.scopes
        };
        if self.is_configured(id) {
            return self.configured.values().any(|found| {
                found.credential == principal.credential && found.id == principal.id && same(found)
            });
        }
        if let Some(key) = self.accepted.get(id, self.revocations.keys()) {
            return same(&key.principal);
        }
        match self.store.get_key(id) {
            Ok(Some(row)) if row.revoked_at.is_none() => {
                holder(row, members).is_ok_and(|found| same(&found))
            }
            Ok(_) => false,
            // It cannot be known now, and was true a moment ago; for how long that counts is the revocations' to say.
            Err(_) => self.revocations.ensure_fresh().is_ok(),
        }
    }

    fn ask_store(&self, parsed: &Parsed<'_>, members: &Members) -> Result<Accepted, AuthError> {
        // Before the question: what changes while it is answered makes the answer an old one.
        let version = self.revocations.keys();
        let row = self
            .store
            .get_key(parsed.id)
            .map_err(AuthError::unavailable)?
            .ok_or(AuthError::Unknown)?;
        let presented = match row.hash_kind {
            KeyHashKind::Plain => parsed.hash,
            KeyHashKind::Keyed => keyed(&self.vault, &parsed.hash),
        };
        if KeyHash::from(row.hash) != presented {
            return Err(AuthError::Unknown);
        }
        if row.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        let accepted = Accepted {
            hash: parsed.hash,
            principal: holder(row, members).map_err(AuthError::unavailable)?,
            used: self.uses.of(parsed.id),
            version,
        };
        self.accepted.keep(parsed.id, accepted.clone());
        Ok(accepted)
    }

    /// Whether any key exists, in config or store.
    pub(crate) fn any(&self) -> Result<bool, AuthError> {
        if !self.configured.is_empty() {
            return Ok(true);
        }
        let version = self.revocations.keys();
        if let Some((any, asked)) = *self.any_keys.read()
            && asked == version
        {
            return Ok(any);
        }
        let any = self.store.has_keys().map_err(AuthError::unavailable)?;
        *self.any_keys.write() = Some((any, version));
        Ok(any)
    }
}

fn unexpired(principal: &Arc<Principal>, now: SystemTime) -> Result<Arc<Principal>, AuthError> {
    if principal.expires_at.is_some_and(|at| at <= now) {
        return Err(AuthError::Expired);
    }
    Ok(Arc::clone(principal))
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
        scopes: row.scopes.as_deref().map_or(Scopes::EVERY, Scopes::parse),
        ..principal(id, roles, members, Credential::ApiKey(row.id))
    }))
}
