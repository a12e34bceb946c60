//! A client, and what one may say about itself (RFC 7591 section 2, Client ID Metadata Documents).

use std::collections::BTreeSet;
use std::fmt;

use policy::screen::shows_as_itself;
use policy::{PrincipalId, RoleName, Scopes};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::OAuthError;
use super::redirect::{self, Leads};
use crate::tokens::VerifyingKey;

/// Most redirect URIs of a client.
const REDIRECTS_MAX: usize = 16;
/// Longest name that is shown, in characters.
const NAME_CHARS_MAX: usize = 100;

/// A client that the config names.
#[derive(Debug, Clone)]
pub struct ConfiguredClient {
    /// Its `client_id`.
    pub id: String,
    /// What people are shown.
    pub name: String,
    /// What it authenticates with; without one it is a public client.
    pub secret: Option<ClientSecret>,
    /// The public keys that it authenticates with, in place of a secret (`private_key_jwt`).
    pub keys: Vec<VerifyingKey>,
    /// Where codes may be sent. None: it gets no codes.
    pub redirect_uris: Vec<String>,
    /// What it can have at most.
    pub scopes: Scopes,
    /// Whom it stands for by itself (`client_credentials`), with which roles.
    pub machine: Option<(PrincipalId, BTreeSet<RoleName>)>,
    /// Its tokens are bound to the certificate that it came with (RFC 8705 section 3.4).
    pub certificate_bound: bool,
}

/// A client's secret, as the config has it. Cannot be printed.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

impl ClientSecret {
    /// Takes it over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// A client, wherever it is known from.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) metadata: Metadata,
    /// The keyed hash of its secret; a public client has none.
    pub(super) secret_hash: Option<[u8; 32]>,
    /// The keys that it signs assertions with.
    pub(super) keys: Vec<VerifyingKey>,
    /// What it can have at most.
    pub(super) scopes: Scopes,
    pub(super) machine: Option<(PrincipalId, BTreeSet<RoleName>)>,
    pub(super) origin: Origin,
}

/// Who vouches for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The operator.
    Config,
    /// Nobody: it registered itself.
    Registered,
    /// The host of its id, from which its metadata came.
    Document,
}

/// What a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) redirect_uris: Vec<String>,
    pub(super) method: Method,
    /// Whether it takes refresh tokens.
    pub(super) refreshes: bool,
    /// RFC 8705 section 3.4.
    pub(super) certificate_bound: bool,
    /// RFC 9449 section 5.2.
    pub(super) dpop_bound: bool,
}

/// How a client authenticates (RFC 7591 section 2, `token_endpoint_auth_method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    None,
    Basic,
    Post,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

impl Client {
    /// The registered redirect URI that `asked` names.
    pub(super) fn is_redirect(&self, asked: &str) -> bool {
        let mut own = self.metadata.redirect_uris.iter();
        own.any(|registered| redirect::is_same(registered, asked))
    }

    pub(super) fn is_public(&self) -> bool {
        self.secret_hash.is_none() && self.keys.is_empty()
    }
}

impl Metadata {
    /// Reads what a client says about itself; `unsaid` is how it authenticates if it does not say.
    pub(super) fn read(
        document: &Map<String, Value>,
        schemes: &[String],
        unsaid: Method,
    ) -> Result<Self, OAuthError> {
        let bad = OAuthError::Metadata;
        let text = |name: &str, why| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(bad(why)),
        };
        let flag = |name: &str, why| match document.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(bad(why)),
        };
        let method = match text(
            "token_endpoint_auth_method",
            "token_endpoint_auth_method is a text",
        )? {
            None => unsaid,
            Some("none") => Method::None,
            Some("client_secret_basic") => Method::Basic,
            Some("client_secret_post") => Method::Post,
            Some(_) => {
                return Err(bad(
                    "Use token_endpoint_auth_method none, client_secret_basic or client_secret_post",
                ));
            }
        };
        let grants = words(document, "grant_types", "grant_types is a list of texts")?;
        let is_asked = |grant: &str| grants.contains(&grant);
        if !grants.is_empty() && !is_asked("authorization_code") {
            return Err(bad("Only clients with authorization_code can register"));
        }
        let types = words(
            document,
            "response_types",
            "response_types is a list of texts",
        )?;
        if !types.is_empty() && !types.contains(&"code") {
            return Err(bad("The response type is code"));
        }
        let kind = text("application_type", "application_type is a text")?;
        let redirect_uris = redirect_uris(document, kind, schemes)?;
        let name = text("client_name", "client_name is a text")?;
        Ok(Self {
            name: shown(name.unwrap_or_default()),
            redirect_uris,
            method,
            // Clients that say nothing mean the default of RFC 7591, which has no refresh tokens.
            refreshes: is_asked("refresh_token"),
            certificate_bound: flag(
                "tls_client_certificate_bound_access_tokens",
                "tls_client_certificate_bound_access_tokens is true or false",
            )?,
            dpop_bound: flag(
                "dpop_bound_access_tokens",
                "dpop_bound_access_tokens is true or false",
            )?,
        })
    }

    /// As it is kept, and told to the client that registered.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let mut grants = vec!["authorization_code"];
        if self.refreshes {
            grants.push("refresh_token");
        }
        let Value::Object(mut document) = json!({
            "redirect_uris": self.redirect_uris,
            "token_endpoint_auth_method": self.method.as_str(),
            "grant_types": grants,
            "response_types": ["code"],
        }) else {
            return Map::new();
        };
        if !self.name.is_empty() {
            document.insert("client_name".to_owned(), self.name.as_str().into());
        }
        if self.certificate_bound {
            let name = "tls_client_certificate_bound_access_tokens";
            document.insert(name.to_owned(), true.into());
        }
        if self.dpop_bound {
            document.insert("dpop_bound_access_tokens".to_owned(), true.into());
        }
        document
    }
}

fn words<'a>(
    document: &'a Map<String, Value>,
    name: &str,
    why: &'static str,
) -> Result<Vec<&'a str>, OAuthError> {
    match document.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|word| word.as_str().ok_or(OAuthError::Metadata(why)))
            .collect(),
        Some(_) => Err(OAuthError::Metadata(why)),
    }
}

fn redirect_uris(
    document: &Map<String, Value>,
    kind: Option<&str>,
    schemes: &[String],
) -> Result<Vec<String>, OAuthError> {
    let uris = match document.get("redirect_uris") {
        Some(Value::Array(uris)) if (1..=REDIRECTS_MAX).contains(&uris.len()) => uris,
        _ => return Err(OAuthError::RedirectUri("Register 1 to 16 redirect_uris")),
    };
    let one = |uri: &Value| {
        let uri = uri
            .as_str()
            .ok_or(OAuthError::RedirectUri("A redirect URI is a text"))?;
        let leads = redirect::leads(uri, schemes)?;
        // OpenID Connect Dynamic Client Registration 1.0 section 2; those who do not say may be either.
        if kind == Some("web") && leads != Leads::Site {
            return Err(OAuthError::RedirectUri(
                "With application_type web, a redirect URI is https",
            ));
        }
        Ok(uri.to_owned())
    };
    if !matches!(kind, None | Some("web" | "native")) {
        return Err(OAuthError::Metadata("application_type is web or native"));
    }
    uris.iter().map(one).collect()
}

/// A name as people see it: nothing that breaks lines, hides, or turns the direction of writing.
fn shown(name: &str) -> String {
    let plain: String = name.chars().filter(|c| shows_as_itself(*c)).collect();
    plain.trim().chars().take(NAME_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &Value) -> Result<Metadata, OAuthError> {
        Metadata::read(document.as_object().unwrap(), &[], Method::Basic)
    }

    #[test]
    fn what_is_kept_reads_the_same_again() {
        let said = json!({
            "redirect_uris": ["https://a.example/cb", "http://127.0.0.1/cb"],
            "client_name": "An\u{202e}  App\n",
            "grant_types": ["authorization_code", "refresh_token", "implicit"],
            "token_endpoint_auth_method": "none",
            "dpop_bound_access_tokens": true,
            "jwks_uri": "http://169.254.169.254/",
        });
        let metadata = read(&said).unwrap();
        assert_eq!(metadata.name, "An  App");
        assert!(metadata.refreshes && metadata.dpop_bound && !metadata.certificate_bound);
        assert_eq!(read(&metadata.to_json().into()).unwrap(), metadata);
        assert_eq!(
            read(&json!({ "redirect_uris": ["https://a.example/"] }))
                .unwrap()
                .method,
            Method::Basic
        );
    }

    #[test]
    fn what_cannot_be_done_is_not_registered() {
        let good = "https://a.example/cb";
        for (bad, code) in [
            (json!({}), "invalid_redirect_uri"),
            (json!({ "redirect_uris": [] }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": good }), "invalid_redirect_uri"),
            (json!({ "redirect_uris": [7] }), "invalid_redirect_uri"),
            (
                json!({ "redirect_uris": vec![good; 17] }),
                "invalid_redirect_uri",
            ),
            (
                json!({ "redirect_uris": [good, "http://a.example/cb"] }),
                "invalid_redirect_uri",
            ),
            (
                json!({ "redirect_uris": ["http://localhost/cb"], "application_type": "web" }),
                "invalid_redirect_uri",
            ),
            (
                json!({ "redirect_uris": [good], "application_type": "robot" }),
                "invalid_client_metadata",
            ),
            (
                json!({ "redirect_uris": [good], "grant_types": ["client_credentials"] }),
                "invalid_client_metadata",
            ),
            (
                json!({ "redirect_uris": [good], "grant_types": "authorization_code" }),
                "invalid_client_metadata",
            ),
            (
                json!({ "redirect_uris": [good], "response_types": ["token"] }),
                "invalid_client_metadata",
            ),
            (
                json!({ "redirect_uris": [good], "token_endpoint_auth_method": "tls_client_auth" }),
                "invalid_client_metadata",
            ),
            (
                json!({ "redirect_uris": [good], "client_name": 7 }),
                "invalid_client_metadata",
            ),
        ] {
            assert_eq!(read(&bad).unwrap_err().code(), code, "{bad}");
        }
    }
}
