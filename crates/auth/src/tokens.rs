//! Access tokens of issuers that the config trusts, and of the embedded authorization server.
//!
//! A token is judged in three steps: what it is (`compact`, `introspection`), what it says (`claims`), and whether its
//! sender may use it (`dpop`, or the certificate of the handshake). The first two are remembered for a while
//! (`verified`), the third never is. Keys come from `keys` and `jwks`; what the config says of an issuer is `issuer`.
//! Start at [`Tokens::verify`].

mod claims;
pub(crate) mod compact;
pub mod dpop;
pub mod introspection;
mod issuer;
pub mod jwks;
pub mod keys;
mod verified;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use policy::{Principal, PrincipalId, RoleName, Token};
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use self::claims::{Known, Reader};
use self::compact::{COMPACT_BYTES_MAX, Compact};
use self::dpop::{Expected, Proofs};
use self::introspection::Introspector;
use self::jwks::Remote;
use self::keys::Published;
use self::verified::{Cache, REMEMBERED_MAX, Verified};
use crate::{AuthError, Parts, Presented};

pub use introspection::{ClientSecret, Introspection};
pub use issuer::{
    ACCESS_TOKEN, ClaimPath, Claims, Dpop, EMBEDDED, Freshness, Issuer, KeySource, Place, Roles,
    SKEW_MAX, rsa_of,
};
pub use keys::{Algorithm, KeyError, KeySet, Thumbprint, VerifyingKey};

/// Most keys that one token's signature is tried with: a set whose keys have no `kid` may have several that fit.
const KEYS_TRIED_MAX: usize = 4;
/// Why a token was refused by all of its issuer's keys.
const BAD_SIGNATURE: AuthError = AuthError::Invalid("its signature does not hold");

type Members = BTreeMap<PrincipalId, BTreeSet<RoleName>>;

/// What outlives a config: proofs that were seen, keys that were fetched, the embedded server's keys.
#[derive(Debug)]
pub(crate) struct Lasting {
    parts: Parts,
    embedded: Arc<KeySet>,
    proofs: Proofs,
    remotes: Mutex<HashMap<(Place, Algorithm), Arc<Remote>>>,
}

impl Lasting {
    /// `embedded`: where the embedded authorization server publishes its keys.
    pub(crate) fn new(parts: &Parts, embedded: Arc<KeySet>) -> Arc<Self> {
        // The library would choose by itself. Naming it here makes a lost feature an error of the compiler.
        let _first = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        Arc::new(Self {
            parts: parts.clone(),
            embedded,
            proofs: Proofs::new(parts),
            remotes: Mutex::default(),
        })
    }

    fn remote(&self, place: &Place, rsa: Algorithm) -> Arc<Remote> {
        let mut remotes = self.remotes.lock();
        let remote = remotes.entry((place.clone(), rsa)).or_insert_with(|| {
            let (client, clock) = (self.parts.client.clone(), Arc::clone(&self.parts.clock));
            Arc::new(Remote::new(place.clone(), rsa, client, clock))
        });
        Arc::clone(remote)
    }

    /// Forgets the sets that no issuer of the config uses any more.
    fn keep_only(&self, issuers: &[Trusted]) {
        let is_used = |remote: &Arc<Remote>| {
            issuers.iter().any(|trusted| match &trusted.source {
                Source::Remote(own, _) => Arc::ptr_eq(own, remote),
                Source::Set(_) | Source::Nowhere => false,
            })
        };
        self.remotes.lock().retain(|_, remote| is_used(remote));
    }
}

/// Judges access tokens by one config.
#[derive(Debug)]
pub(crate) struct Tokens {
    issuers: Vec<Trusted>,
    by_iss: HashMap<Arc<str>, usize>,
    /// The one that is asked about tokens which name no issuer.
    opaque: Option<usize>,
    members: Members,
    verified: Cache,
    introspector: Introspector,
    lasting: Arc<Lasting>,
}

/// An issuer with its keys.
#[derive(Debug)]
struct Trusted {
    issuer: Issuer,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Set(Arc<KeySet>),
    Remote(Arc<Remote>, Freshness),
    Nowhere,
}

impl Tokens {
    pub(crate) fn new(issuers: Vec<Issuer>, members: &Members, lasting: &Arc<Lasting>) -> Self {
        let mut issuers: Vec<Trusted> = issuers
            .into_iter()
            .map(|issuer| Trusted {
                source: source(&issuer, lasting),
                issuer,
            })
            .collect();
        // The last of an `iss` is the one that counts: nobody else speaks for us.
        issuers.push(Trusted {
            issuer: Issuer::embedded(lasting.parts.site.base()),
            source: Source::Set(Arc::clone(&lasting.embedded)),
        });
        lasting.keep_only(&issuers);
        let parts = &lasting.parts;
        Self {
            by_iss: issuers
                .iter()
                .enumerate()
                .map(|(index, trusted)| (Arc::clone(&trusted.issuer.issuer), index))
                .collect(),
            opaque: issuers
                .iter()
                .position(|trusted| trusted.issuer.introspection.is_some()),
            issuers,
            members: members.clone(),
            verified: Cache::default(),
            introspector: Introspector::new(
                parts.client.clone(),
                Arc::clone(&parts.clock),
                Arc::clone(&parts.vault),
            ),
            lasting: Arc::clone(lasting),
        }
    }

    /// Whom `token` stands for. `is_dpop`: it came under the scheme `DPoP`.
    pub(crate) async fn verify(
        &self,
        token: &str,
        is_dpop: bool,
        presented: &Presented<'_>,
    ) -> Result<Arc<Principal>, AuthError> {
        if token.len() > COMPACT_BYTES_MAX {
            return Err(AuthError::Invalid("it is too long"));
        }
        let (known, trusted) = self.known(token).await?;
        if !known.audience.covers(presented.server) {
            return Err(claims::OTHER_AUDIENCE.into());
        }
        self.check_binding(&known, trusted.issuer.dpop, token, is_dpop, presented)
            .await?;
        Ok(Arc::clone(&known.principal))
    }

    /// The issuers whose keys are fetched, by name.
    pub(crate) fn remotes(&self) -> impl Iterator<Item = (&str, &Arc<Remote>, Freshness)> {
        self.issuers
            .iter()
            .filter_map(|trusted| match &trusted.source {
                Source::Remote(remote, freshness) => {
                    Some((&*trusted.issuer.name, remote, *freshness))
                }
                Source::Set(_) | Source::Nowhere => None,
            })
    }

    /// Whether what a token rests on is still there: its issuer, and the key that signed it.
    pub(crate) fn is_current(&self, token: &Token) -> bool {
        let same_name = |trusted: &&Trusted| trusted.issuer.name == token.issuer;
        let Some(trusted) = self.issuers.iter().find(same_name) else {
            return false;
        };
        match (&token.key, trusted.published()) {
            (Some(id), Some(published)) => published.contains(id),
            (None, _) | (_, None) => true,
        }
    }

    async fn known(&self, token: &str) -> Result<(Arc<Known>, &Trusted), AuthError> {
        let clock = &self.lasting.parts.clock;
        let (hash, now) = (verified::hash(token), clock.now());
        if let Some(verified) = self.verified.get(&hash, now, clock.wall())
            && let Some(trusted) = self.issuers.get(verified.issuer)
            && trusted.generation() == verified.generation
        {
            return Ok((verified.known, trusted));
        }
        if !compact::is_compact(token) {
            let index = self.opaque.ok_or(AuthError::Unknown)?;
            let trusted = self.issuers.get(index).ok_or(AuthError::Unknown)?;
            return Ok((self.introspected(trusted, token).await?, trusted));
        }
        let compact = Compact::read(token).map_err(AuthError::Invalid)?;
        let index = match compact.claims.get("iss") {
            Some(Value::String(iss)) => self.by_iss.get(&**iss).copied(),
            _ => None,
        };
        let index = index.ok_or(AuthError::Invalid("it is of an issuer that is not trusted"))?;
        let trusted = self.issuers.get(index).ok_or(AuthError::Unknown)?;
        if matches!(trusted.source, Source::Nowhere) {
            return Ok((self.introspected(trusted, token).await?, trusted));
        }
        let signed = self.signed(trusted, &compact).await?;
        let verified = Verified {
            known: Arc::new(signed.known),
            issuer: index,
            generation: signed.generation,
            until: now + signed.fresh_for,
        };
        let known = Arc::clone(&verified.known);
        self.verified.keep(hash, verified, now);
        Ok((known, trusted))
    }

    /// Holds a signed token against its issuer: type, algorithm, key, signature, and then its claims.
    async fn signed(&self, trusted: &Trusted, compact: &Compact<'_>) -> Result<Signed, AuthError> {
        let issuer = &trusted.issuer;
        let kind = media_type(compact.header_text("typ").map_err(AuthError::Invalid)?);
        if !issuer.types.contains(&kind) {
            return Err(AuthError::Invalid("it is of another type"));
        }
        if !issuer.algorithms.contains(&compact.algorithm) {
            return Err(AuthError::Invalid("its algorithm is not its issuer's"));
        }
        let id = compact.header_text("kid").map_err(AuthError::Invalid)?;
        let keys = trusted.keys(id, compact.algorithm).await?;
        let mut fitting = keys.published.fitting(id, compact.algorithm).peekable();
        if fitting.peek().is_none() {
            return Err(AuthError::Invalid("its issuer has no such key"));
        }
        let key = fitting
            .take(KEYS_TRIED_MAX)
            .find(|key| compact.is_signed_by(key))
            .ok_or(BAD_SIGNATURE)?;
        let known = self
            .reader(trusted)
            .read(&compact.claims, key.id().map(|id| &**id))?;
        Ok(Signed {
            known,
            generation: keys.published.generation,
            fresh_for: keys.fresh_for.min(REMEMBERED_MAX),
        })
    }

    async fn introspected(&self, trusted: &Trusted, token: &str) -> Result<Arc<Known>, AuthError> {
        let place = trusted.issuer.introspection.as_ref();
        let place = place.ok_or(AuthError::Unknown)?;
        let asked = self.introspector.ask(place, token, |claims| {
            match claims.get("iss") {
                None => {}
                Some(Value::String(iss)) if **iss == *trusted.issuer.issuer => {}
                Some(_) => return Err(claims::Refusal::Invalid("it is of another issuer")),
            }
            self.reader(trusted).read(claims, None)
        });
        Box::pin(asked).await
    }

    fn reader<'a>(&'a self, trusted: &'a Trusted) -> Reader<'a> {
        Reader {
            issuer: &trusted.issuer,
            site: &self.lasting.parts.site,
            members: &self.members,
            now: self.lasting.parts.clock.wall(),
        }
    }

    /// Whether the sender has what the token is bound to. A bound token is worth nothing without; a proof is worth
    /// nothing beside a token that is bound to no key (RFC 9449 section 7).
    async fn check_binding(
        &self,
        known: &Known,
        dpop: Dpop,
        token: &str,
        is_dpop: bool,
        presented: &Presented<'_>,
    ) -> Result<(), AuthError> {
        if let Some(bound_to) = known.binding.certificate {
            // The handshake may be long ago.
            let now = self.lasting.parts.clock.wall();
            let shown = presented
                .certificate
                .filter(|certificate| now < certificate.expires_at);
            if !shown.is_some_and(|shown| shown.sha256.ct_eq(&bound_to).into()) {
                return Err(AuthError::Invalid("it is bound to another certificate"));
            }
        }
        match (known.binding.key, is_dpop) {
            (None, false) if dpop.required => {
                Err(AuthError::Invalid("it is bound to no key, as it must be"))
            }
            (None, false) => Ok(()),
            (None, true) => Err(AuthError::Invalid("it is bound to no key")),
            (Some(_), false) => Err(AuthError::Invalid(
                "it is bound to a key that is not proved",
            )),
            (Some(key), true) => {
                let proof = presented
                    .dpop
                    .ok_or(AuthError::Proof("there is no proof"))?;
                let expected = Expected {
                    method: presented.method,
                    url: presented.url,
                    token: Some(token),
                    key: Some(key),
                    nonce: dpop.nonce,
                };
                // Boxed: few requests come this way, and all would carry its size.
                Box::pin(self.lasting.proofs.check(proof, &expected)).await?;
                Ok(())
            }
        }
    }
}

/// A signed token that holds.
struct Signed {
    known: Known,
    generation: u64,
    fresh_for: Duration,
}

/// Keys to try, and how long they need not be looked at again.
struct Candidates {
    published: Arc<Published>,
    fresh_for: Duration,
}

impl Trusted {
    async fn keys(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Candidates, AuthError> {
        match &self.source {
            Source::Set(set) => Ok(Candidates {
                published: Arc::clone(&set.load()),
                fresh_for: REMEMBERED_MAX,
            }),
            Source::Remote(remote, freshness) => {
                let keys = Box::pin(remote.keys(*freshness, id, algorithm)).await?;
                Ok(Candidates {
                    published: keys.published,
                    fresh_for: keys.fresh_for,
                })
            }
            Source::Nowhere => Err(AuthError::Unknown),
        }
    }

    /// The keys as they are; `None` if it has none because its tokens are introspected.
    fn published(&self) -> Option<Arc<Published>> {
        match &self.source {
            Source::Set(set) => Some(Arc::clone(&set.load())),
            Source::Remote(remote, _) => Some(remote.published()),
            Source::Nowhere => None,
        }
    }

    fn generation(&self) -> u64 {
        match &self.source {
            Source::Set(set) => set.load().generation,
            Source::Remote(remote, _) => remote.generation(),
            Source::Nowhere => 0,
        }
    }
}

fn source(issuer: &Issuer, lasting: &Lasting) -> Source {
    match &issuer.keys {
        KeySource::Fixed(keys) => {
            let set = KeySet::new();
            set.publish(keys.clone());
            Source::Set(set)
        }
        KeySource::Remote { place, freshness } => {
            Source::Remote(lasting.remote(place, issuer.rsa()), *freshness)
        }
        KeySource::Nowhere => Source::Nowhere,
    }
}

/// `typ` as it is compared: media types know no case, and `application/` may be left out (RFC 7515 section 4.1.9).
fn media_type(text: Option<&str>) -> String {
    let text = text.unwrap_or_default().to_ascii_lowercase();
    match text.strip_prefix("application/") {
        Some(short) => short.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
