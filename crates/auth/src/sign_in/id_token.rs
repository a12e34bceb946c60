//! What an ID token proves, and whom it stands for here (OpenID Connect Core 1.0 sections 2 and 3.1.3.7).
//!
//! Pure: the claims of a token whose signature holds go in, a principal and its roles come out.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use policy::{PrincipalId, RoleName};
use serde_json::{Map, Value};

use super::{Provider, ProviderError, is_same};
use crate::tokens::compact::{Compact, date};

pub(super) type Claims = Map<String, Value>;

/// The most that clocks may differ.
const SKEW: Duration = Duration::from_mins(1);
/// How old a token may be that was made just now.
const AGE_MAX: Duration = Duration::from_mins(10);

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) nonce: &'a str,
    pub(super) now: SystemTime,
}

/// Whether these claims are an ID token for us, for this sign-in, and for now. The signature was checked.
pub(super) fn check(token: &Compact<'_>, expected: &Expected<'_>) -> Result<(), ProviderError> {
    let bad = |reason| Err(ProviderError::Untrusted(reason));
    let kind = token.header_text("typ").map_err(ProviderError::Untrusted)?;
    if kind.is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
        return bad("it sent something else than an ID token");
    }
    let claims = &token.claims;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer) {
        return bad("the ID token is of another issuer");
    }
    if !is_for(claims, expected.client_id) {
        return bad("the ID token is for somebody else");
    }
    if !text("nonce").is_some_and(|nonce| is_same(nonce, expected.nonce)) {
        return bad("the ID token is for another sign-in");
    }
    let at = |name: &str| claims.get(name).map(date);
    let (Some(Some(expires_at)), Some(Some(issued_at))) = (at("exp"), at("iat")) else {
        return bad("the ID token does not say when it was made and when it ends");
    };
    let (now, latest) = (expected.now, expected.now + SKEW);
    if expires_at + SKEW <= now || issued_at + AGE_MAX <= now {
        return bad("the ID token is too old");
    }
    let begins = match at("nbf") {
        None => issued_at,
        Some(Some(at)) => at.max(issued_at),
        Some(None) => return bad("a time in the ID token is malformed"),
    };
    if begins > latest {
        return bad("the ID token is from the future");
    }
    Ok(())
}

/// Whether we are the audience, and if there are others, the party that asked.
fn is_for(claims: &Claims, client_id: &str) -> bool {
    let azp = claims.get("azp").map(Value::as_str);
    let is_ours = match claims.get("aud") {
        Some(Value::String(aud)) => aud == client_id,
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(aud)] => aud == client_id,
            list => azp.is_some() && list.iter().any(|aud| aud.as_str() == Some(client_id)),
        },
        _ => false,
    };
    is_ours && azp.is_none_or(|azp| azp == Some(client_id))
}

/// Whom these claims stand for: `NAME/…`, so that two providers never mean the same.
pub(super) fn principal(
    provider: &Provider,
    claims: &Claims,
) -> Result<PrincipalId, ProviderError> {
    let path = &provider.principal;
    let Some(Value::String(subject)) = path.find(claims) else {
        return Err(ProviderError::Untrusted("the ID token names nobody"));
    };
    // An address that nobody has proved to have is anybody's.
    if path.as_str() == "email" && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(ProviderError::Untrusted(
            "the e-mail address is not verified",
        ));
    }
    if subject.is_empty() {
        return Err(ProviderError::Untrusted("the ID token names nobody"));
    }
    PrincipalId::new(&format!("{}/{subject}", provider.name)).map_err(|_not_a_name| {
        ProviderError::Untrusted("the principal's name is none that we can use")
    })
}

/// The roles that these claims bring.
pub(super) fn roles(provider: &Provider, claims: &Claims) -> BTreeSet<RoleName> {
    let mut roles = provider.everybody.clone();
    if let Some((path, map)) = &provider.roles {
        let words = words(path.find(claims));
        roles.extend(
            words
                .iter()
                .filter_map(|word| map.get(&**word))
                .flatten()
                .cloned(),
        );
    }
    roles
}

/// A list of words: an array of strings, or one string.
fn words(value: Option<&Value>) -> Vec<Cow<'_, str>> {
    match value {
        Some(Value::String(text)) => vec![Cow::from(text)],
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(Cow::from)
            .collect(),
        _ => Vec::new(),
    }
}
