//! The token endpoint: codes, refresh tokens and a client's own credentials, for access tokens.
//!
//! An access token is a JWT (RFC 9068) that this gate verifies like any other issuer's. Codes and refresh tokens are
//! random, good once, and kept as keyed hashes; the second use of one revokes all that the first gave out.
//! Sources: OAuth 2.1 sections 4.1.3, 4.2 and 4.3, RFC 7636, RFC 8707, RFC 8705 sections 3 and 4, RFC 9449 sections 5 and 8.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use policy::{Credential, Principal, PrincipalId, Scopes, Token};
use serde_json::{Map, Value, json};
use store::{GrantRow, Redemption, RefreshRow, Rotation};
use subtle::ConstantTimeEq as _;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::assertion::{Assertion, JWT_BEARER};
use super::client::Client;
use super::clients::{Shown, seconds};
use super::params::{Params, random};
use super::{Authority, CODE, Now, OAuthError, REFRESH};
use crate::tokens::compact::{Compact, date};
use crate::tokens::dpop::Expected;
use crate::tokens::{EMBEDDED, KeySet, Thumbprint};
use crate::{ClientCertificate, Revoked};

/// Longest code verifier (RFC 7636 section 4.1), and shortest.
const VERIFIER_CHARS: std::ops::RangeInclusive<usize> = 43..=128;

/// How long beyond a token's end it stays revoked.
const REVOKED_BEYOND: Duration = Duration::from_mins(5);

/// A request of a client to the token or revocation endpoint.
#[derive(Clone, Copy)]
pub struct ClientRequest<'a> {
    /// The form.
    pub body: &'a [u8],
    /// The `Authorization` header.
    pub authorization: Option<&'a str>,
    /// The `DPoP` header.
    pub dpop: Option<&'a str>,
    /// The URL that was asked for, without query.
    pub url: &'a str,
    /// The certificate that the client proved to hold.
    pub certificate: Option<&'a ClientCertificate>,
    /// Where it came from, if that is known.
    pub address: Option<IpAddr>,
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest")
            .field("authorization", &self.authorization.is_some())
            .field("dpop", &self.dpop.is_some())
            .field("url", &self.url)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// What a client gets. Shows nothing of it.
pub struct Issued {
    access_token: Zeroizing<String>,
    refresh_token: Option<Zeroizing<String>>,
    is_dpop: bool,
    expires_in: u64,
    scopes: Scopes,
    principal: String,
    client: String,
}

impl Issued {
    /// Whom it stands for.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// Which client has it.
    #[must_use]
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The answer (RFC 6749 section 5.1), in JSON.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<String> {
        let mut answer = json!({
            "access_token": self.access_token.as_str(),
            "token_type": if self.is_dpop { "DPoP" } else { "Bearer" },
            "expires_in": self.expires_in,
            "scope": self.scopes.to_string(),
        });
        if let (Some(answer), Some(token)) = (answer.as_object_mut(), &self.refresh_token) {
            answer.insert("refresh_token".to_owned(), token.as_str().into());
        }
        Zeroizing::new(answer.to_string())
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("is_dpop", &self.is_dpop)
            .field("expires_in", &self.expires_in)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// What a token is bound to: only who holds these can use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Bound {
    jkt: Option<Thumbprint>,
    certificate: Option<[u8; 32]>,
}

/// Whom a token stands for, and what it is good for.
#[derive(Debug)]
struct Subject<'a> {
    principal: &'a str,
    roles: Value,
    client: &'a str,
    grant: Option<&'a str>,
    resource: &'a str,
    scopes: Scopes,
}

impl Authority {
    /// Gives out tokens.
    ///
    /// # Errors
    /// Why the client gets none.
    pub async fn token(&self, request: &ClientRequest<'_>) -> Result<Issued, OAuthError> {
        let now = self.on()?;
        let params = Params::read(request.body)?;
        let client = self.client(&params, request, &now).await?;
        match params.need("grant_type", "Send a grant_type")? {
            "authorization_code" => self.redeem(&now, &params, &client, request).await,
            "refresh_token" => self.refresh(&now, &params, &client, request).await,
            "client_credentials" => self.own(&now, &params, &client, request).await,
            _ => Err(OAuthError::GrantType),
        }
    }

    /// Revokes a token of the client's (RFC 7009): with a refresh token goes its grant, with an access token nothing
    /// else. A token that is not the client's, or none, is nobody's trouble. Which client it was.
    ///
    /// # Errors
    /// If the client did not authenticate, or it cannot be written.
    pub async fn revoke(&self, request: &ClientRequest<'_>) -> Result<String, OAuthError> {
        let now = self.on()?;
        let params = Params::read(request.body)?;
        let client = self.client(&params, request, &now).await?;
        let token = params.need("token", "Send a token")?;
        let hash = self.parts.vault.hash(REFRESH, token.as_bytes());
        if let Some((grant, _, _)) = self.parts.store.get_refresh_token(&hash)? {
            if grant.client_id == client.id {
                self.end(&grant, &client.id, "the client revoked it")
                    .await?;
            }
            return Ok(client.id);
        }
        let Some((jti, expires_at)) = own_token(token, self.keys.set(), &client.id) else {
            return Ok(client.id);
        };
        let revoked = Revoked::Token {
            issuer: EMBEDDED,
            jti: &jti,
        };
        self.parts
            .revocations
            .revoke(
                revoked,
                // Clocks may differ, and the token must not come back to life at its end.
                Some(expires_at + REVOKED_BEYOND),
                &client.id,
                "the client revoked it",
            )
            .await?;
        Ok(client.id)
    }

    /// The client that a request comes from (RFC 6749 section 2.3.1): one way to authenticate, not two.
    async fn client(
        &self,
        params: &Params,
        request: &ClientRequest<'_>,
        now: &Now,
    ) -> Result<Client, OAuthError> {
        let basic = request.authorization.map(basic).transpose()?;
        let (named, secret) = (params.get("client_id"), params.get("client_secret"));
        let address = request.address.map(network).unwrap_or_default();
        if let Some(assertion) = params.get("client_assertion") {
            if params.get("client_assertion_type") != Some(JWT_BEARER) {
                return Err(OAuthError::Request(
                    "There is no such client_assertion_type",
                ));
            }
            if basic.is_some() || secret.is_some() {
                return Err(OAuthError::Request("The client authenticates twice"));
            }
            let assertion = Assertion::read(assertion)?;
            if named.is_some() && named != assertion.client_id() {
                return Err(OAuthError::Request("The request names two clients"));
            }
            let audiences = [self.parts.site.base(), request.url];
            return self
                .clients
                .authenticate_by(&assertion, audiences, &address, &now.configured)
                .await;
        }
        let (id, secret) = match &basic {
            Some(_) if secret.is_some() => {
                return Err(OAuthError::Request("The client authenticates twice"));
            }
            Some((id, _)) if named.is_some_and(|named| named != id) => {
                return Err(OAuthError::Request("The request names two clients"));
            }
            Some((id, secret)) => (id.as_str(), Some(secret.as_str())),
            None => (named.ok_or(OAuthError::Client)?, secret),
        };
        let shown = Shown {
            id,
            secret: secret.filter(|secret| !secret.is_empty()),
        };
        self.clients
            .authenticate(&shown, &address, &now.configured, &now.settings)
    }

    /// A code for tokens.
    async fn redeem(
        &self,
        now: &Now,
        params: &Params,
        client: &Client,
        request: &ClientRequest<'_>,
    ) -> Result<Issued, OAuthError> {
        const UNKNOWN: &str = "The code is unknown, used, expired, or of another client";
        let code = params.need("code", "Send a code")?;
        let verifier = params.need("code_verifier", "Send a code_verifier")?;
        let bound = self.bound(client, request).await?;
        let wall = self.parts.clock.wall();
        let hash = self.parts.vault.hash(CODE, code.as_bytes());
        // From here on the code is used up, whatever else is wrong with the request.
        let (grant, code) = match self.parts.store.redeem_code(hash, &client.id, wall).await? {
            Redemption::First(grant, code) => (grant, code),
            Redemption::Unknown => return Err(OAuthError::Grant(UNKNOWN)),
            Redemption::Reused(grant) => {
                warn!(
                    client = client.id,
                    grant = grant.id,
                    "a code was used twice"
                );
                self.end(&grant, &client.id, "its code was used twice")
                    .await?;
                return Err(OAuthError::Grant(UNKNOWN));
            }
        };
        let is_late = code.expires_at <= wall;
        // Some leave the redirect URI out, as OAuth 2.1 has it; one that is there must be the one that was asked with.
        let redirect_uri = params.get("redirect_uri");
        let is_other = redirect_uri.is_some_and(|uri| uri != grant.redirect_uri);
        if is_late || is_other || !is_verified(verifier, &code.challenge) {
            self.end(&grant, &client.id, "its code was presented wrongly")
                .await?;
            return Err(OAuthError::Grant(match (is_late, is_other) {
                (true, _) => UNKNOWN,
                (false, true) => "The redirect_uri is another than in the authorization request",
                (false, false) => "The code_verifier does not fit the code_challenge",
            }));
        }
        self.is_good(&grant, client, wall)?;
        if let Some(wanted) = &grant.jkt
            && bound.jkt != Thumbprint::parse(wanted)
        {
            return Err(OAuthError::Proof("The code is bound to another key"));
        }
        let resource = narrowed(&grant.resource, params.resource()?)?;
        let scopes = Scopes::parse(&grant.scopes);
        let issued = self
            .issue(now, subject(&grant, resource, scopes), bound, wall)
            .await?;
        let refreshes = client.metadata.refreshes;
        let lasts = if refreshes {
            now.settings.refresh_lifetime
        } else {
            now.settings.token_lifetime
        };
        // RFC 9449 section 5, RFC 8705 section 4: a client that can prove itself need not hold on to a key.
        let is_held = client.is_public();
        let grant = GrantRow {
            jkt: bound.jkt.filter(|_| is_held).map(|jkt| jkt.to_string()),
            certificate: bound.certificate.filter(|_| is_held),
            used_at: wall,
            expires_at: wall + lasts,
            ..grant
        };
        let (token, row) = if refreshes {
            let (token, row) = self.refresh_token(now, &grant, wall)?;
            (Some(token), Some(row))
        } else {
            (None, None)
        };
        self.parts.store.begin_grant(&grant, row).await?;
        Ok(Issued {
            refresh_token: token,
            ..issued
        })
    }

    /// A refresh token for the next one, and an access token.
    async fn refresh(
        &self,
        now: &Now,
        params: &Params,
        client: &Client,
        request: &ClientRequest<'_>,
    ) -> Result<Issued, OAuthError> {
        const UNKNOWN: &str =
            "The refresh token is unknown, used, expired, revoked, or of another client";
        let presented = params.need("refresh_token", "Send a refresh_token")?;
        let hash = self.parts.vault.hash(REFRESH, presented.as_bytes());
        let wall = self.parts.clock.wall();
        let found = self.parts.store.get_refresh_token(&hash)?;
        let Some((grant, row, is_used)) =
            found.filter(|(grant, _, _)| grant.client_id == client.id)
        else {
            return Err(OAuthError::Grant(UNKNOWN));
        };
        if is_used {
            return self.reused(&grant, client).await;
        }
        if row.expires_at <= wall {
            return Err(OAuthError::Grant(UNKNOWN));
        }
        self.is_good(&grant, client, wall)?;
        let bound = self.bound(client, request).await?;
        let jkt = grant.jkt.as_deref().map(Thumbprint::parse);
        if jkt.is_some_and(|jkt| jkt.is_none() || bound.jkt != jkt) {
            return Err(OAuthError::Proof(
                "The refresh token is bound to another key",
            ));
        }
        let presented = request.certificate.map(|certificate| certificate.sha256);
        if grant.certificate.is_some() && grant.certificate != presented {
            return Err(OAuthError::Grant(
                "The refresh token is bound to another certificate",
            ));
        }
        let resource = narrowed(&grant.resource, params.resource()?)?;
        let allowed = Scopes::parse(&grant.scopes);
        let scopes = match params.get("scope").map(Scopes::parse) {
            None => allowed,
            // Words that we do not know, as `offline_access`, ask for nothing.
            Some(asked) if asked.is_empty() => allowed,
            Some(asked) if asked.intersection(allowed) == asked => asked,
            Some(_) => return Err(OAuthError::Scope),
        };
        let (token, row) = self.refresh_token(now, &grant, wall)?;
        let rotated = self
            .parts
            .store
            .rotate_refresh_token(&grant.id, hash, row, wall)
            .await?;
        if rotated == Rotation::Reused {
            return self.reused(&grant, client).await;
        }
        let issued = self
            .issue(now, subject(&grant, resource, scopes), bound, wall)
            .await?;
        Ok(Issued {
            refresh_token: Some(token),
            ..issued
        })
    }

    /// A client's own credentials for an access token.
    async fn own(
        &self,
        now: &Now,
        params: &Params,
        client: &Client,
        request: &ClientRequest<'_>,
    ) -> Result<Issued, OAuthError> {
        let (Some((principal, roles)), false) = (&client.machine, client.is_public()) else {
            return Err(OAuthError::Unauthorized(
                "The client stands for nobody by itself",
            ));
        };
        let site = &self.parts.site;
        let resource = match params.resource()? {
            None => site.base(),
            Some(resource) if site.is_resource(resource) => resource.trim_end_matches('/'),
            Some(_) => return Err(OAuthError::Target("The resource is not of this gate")),
        };
        let asked = params.get("scope").map(Scopes::parse);
        let asked = asked.filter(|asked| !asked.is_empty());
        let scopes = asked.unwrap_or(Scopes::CALLS).intersection(client.scopes);
        if scopes.is_empty() {
            return Err(OAuthError::Scope);
        }
        let wall = self.parts.clock.wall();
        let bound = self.bound(client, request).await?;
        let subject = Subject {
            principal: principal.as_str(),
            roles: roles.iter().map(ToString::to_string).collect(),
            client: &client.id,
            grant: None,
            resource,
            scopes,
        };
        info!(client = client.id, %principal, "a client took a token for itself");
        self.issue(now, subject, bound, wall).await
    }

    /// What the tokens of this request are bound to: what the client proves to hold.
    async fn bound(
        &self,
        client: &Client,
        request: &ClientRequest<'_>,
    ) -> Result<Bound, OAuthError> {
        let metadata = &client.metadata;
        let certificate = match request.certificate {
            _ if !metadata.certificate_bound => None,
            Some(certificate) => Some(certificate.sha256),
            None => {
                return Err(OAuthError::Request(
                    "The client's tokens are bound to a certificate, and it presented none",
                ));
            }
        };
        let jkt = match request.dpop {
            Some(proof) => {
                let expected = Expected {
                    method: "POST",
                    url: request.url,
                    token: None,
                    key: None,
                    nonce: false,
                };
                Some(self.proofs.check(proof, &expected).await?)
            }
            None if metadata.dpop_bound => {
                return Err(OAuthError::Proof("The client's tokens need a proof"));
            }
            None => None,
        };
        Ok(Bound { jkt, certificate })
    }

    /// Whether nothing ended a grant. What ends a token ends what it would be renewed with, too.
    fn is_good(
        &self,
        grant: &GrantRow,
        client: &Client,
        wall: SystemTime,
    ) -> Result<(), OAuthError> {
        const OVER: OAuthError = OAuthError::Grant("The grant has ended, or was revoked");
        let id = PrincipalId::new(&grant.principal).map_err(|_no_name| OVER)?;
        let token = Token {
            issuer: EMBEDDED.into(),
            id: None,
            key: None,
            grant: Some(grant.id.as_str().into()),
            issued_at: Some(grant.created_at),
        };
        let holder = Principal {
            id,
            roles: BTreeSet::new(),
            credential: Credential::Token(token),
            client: Some(client.id.as_str().into()),
            scopes: Scopes::NONE,
            expires_at: None,
            claims: Default::default(),
        };
        let is_over = grant.revoked_at.is_some() || grant.expires_at <= wall;
        if is_over || self.parts.revocations.is_revoked(&holder) {
            return Err(OVER);
        }
        Ok(())
    }

    async fn reused(&self, grant: &GrantRow, client: &Client) -> Result<Issued, OAuthError> {
        warn!(
            client = client.id,
            grant = grant.id,
            "a refresh token was used twice; its grant is revoked"
        );
        self.end(grant, &client.id, "its refresh token was used twice")
            .await?;
        Err(OAuthError::Grant("The refresh token was used before"))
    }

    fn refresh_token(
        &self,
        now: &Now,
        grant: &GrantRow,
        wall: SystemTime,
    ) -> Result<(Zeroizing<String>, RefreshRow), OAuthError> {
        let token = random::<32>()?;
        let row = RefreshRow {
            hash: self.parts.vault.hash(REFRESH, token.as_bytes()),
            expires_at: (wall + now.settings.refresh_idle).min(grant.expires_at),
        };
        Ok((token, row))
    }

    /// An access token. `wall` is from before it was looked whether its subject may have one: a revocation in between
    /// ends it.
    async fn issue(
        &self,
        now: &Now,
        subject: Subject<'_>,
        bound: Bound,
        wall: SystemTime,
    ) -> Result<Issued, OAuthError> {
        let lifetime = now.settings.token_lifetime;
        let Value::Object(mut claims) = json!({
            "iss": self.parts.site.base(),
            "sub": subject.principal,
            "aud": subject.resource,
            "client_id": subject.client,
            // Finer than a second: a revocation ends what was issued before it, and not what comes just after.
            "iat": fraction(wall),
            "exp": seconds(wall + lifetime),
            "jti": *random::<16>()?,
            "scope": subject.scopes.to_string(),
            "roles": subject.roles,
        }) else {
            return Err(OAuthError::Scope);
        };
        if let Some(grant) = subject.grant {
            claims.insert("sid".to_owned(), grant.into());
        }
        let mut cnf = Map::new();
        if let Some(jkt) = &bound.jkt {
            cnf.insert("jkt".to_owned(), jkt.to_string().into());
        }
        if let Some(certificate) = &bound.certificate {
            let thumbprint = BASE64_URL_SAFE_NO_PAD.encode(certificate);
            cnf.insert("x5t#S256".to_owned(), thumbprint.into());
        }
        if !cnf.is_empty() {
            claims.insert("cnf".to_owned(), cnf.into());
        }
        let token = self.keys.current().await?.sign(&claims)?;
        Ok(Issued {
            access_token: Zeroizing::new(token),
            refresh_token: None,
            is_dpop: bound.jkt.is_some(),
            expires_in: lifetime.as_secs(),
            scopes: subject.scopes,
            principal: subject.principal.to_owned(),
            client: subject.client.to_owned(),
        })
    }
}

fn subject<'a>(grant: &'a GrantRow, resource: &'a str, scopes: Scopes) -> Subject<'a> {
    Subject {
        principal: &grant.principal,
        roles: grant.roles.clone().into(),
        client: &grant.client_id,
        grant: Some(&grant.id),
        resource,
        scopes,
    }
}

/// The resource that a token is for: the one that was allowed, or a part of it (RFC 8707 section 2.2).
fn narrowed<'a>(allowed: &'a str, asked: Option<&'a str>) -> Result<&'a str, OAuthError> {
    let Some(asked) = asked else {
        return Ok(allowed);
    };
    let asked = asked.trim_end_matches('/');
    let rest = asked.strip_prefix(allowed);
    match rest {
        Some("") => Ok(asked),
        // Allowed was the whole gate; which of its resources there are was known when that was asked for.
        Some(path) if crate::Place::at(path).is_some() => Ok(asked),
        Some(_) | None => Err(OAuthError::Target(
            "The resource is not the one that was allowed",
        )),
    }
}

/// RFC 7636 section 4.6.
fn is_verified(verifier: &str, challenge: &str) -> bool {
    let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
    let found = BASE64_URL_SAFE_NO_PAD.encode(hash);
    let is_same: bool = found.as_bytes().ct_eq(challenge.as_bytes()).into();
    is_same && VERIFIER_CHARS.contains(&verifier.len())
}

/// Id and secret of a client (RFC 6749 section 2.3.1): each encoded as in a form, then joined.
fn basic(header: &str) -> Result<(String, Zeroizing<String>), OAuthError> {
    let encoded = match header.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => rest.trim(),
        _ => return Err(OAuthError::Client),
    };
    let bytes = BASE64_STANDARD
        .decode(encoded)
        .map_err(|_not_base64| OAuthError::Client)?;
    let text = Zeroizing::new(String::from_utf8(bytes).map_err(|_not_utf8| OAuthError::Client)?);
    let (id, secret) = text.split_once(':').ok_or(OAuthError::Client)?;
    let decoded = |text: &str| {
        // A name without a value, so that `=` and `&` in it are read as they stand.
        let plain = text.replace('&', "%26").replace('=', "%3D");
        url::form_urlencoded::parse(plain.as_bytes())
            .next()
            .map(|(name, _)| name.into_owned())
            .unwrap_or_default()
    };
    Ok((decoded(id), Zeroizing::new(decoded(secret))))
}

/// Whose failures are counted together: an IPv4 address, or the network of an IPv6 one.
pub(super) fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// The id and end of an access token that we gave this client.
fn own_token(token: &str, keys: &KeySet, client: &str) -> Option<(String, SystemTime)> {
    let token = Compact::read(token).ok()?;
    let kid = token.header_text("kid").ok()?;
    let keys = keys.load();
    let is_ours = keys
        .fitting(kid, token.algorithm)
        .any(|key| token.is_signed_by(key));
    let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
    if !is_ours || text("client_id") != Some(client) {
        return None;
    }
    let expires_at = date(token.claims.get("exp")?)?;
    Some((text("jti")?.to_owned(), expires_at))
}

/// Milliseconds since 1970, in seconds.
fn fraction(at: SystemTime) -> f64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_millis(since.as_millis().try_into().unwrap_or(u64::MAX)).as_secs_f64()
}
