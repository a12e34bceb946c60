//! Who we are to an authorization server, and how we prove it there.
//!
//! In the order of the specification: the client that an operator registered, the metadata that we publish, dynamic
//! registration. What one server gave us is kept under its issuer and never shown to another. Sources: RFC 7591, OAuth
//! Client ID Metadata Documents, RFC 6749 section 2.3, RFC 7523, MCP 2026-07-28 "Client Registration".

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::Fetch;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::config::{self, Proof, SigningKey};
use super::discovery::{Scout, Server};
use super::error::OutboundError;
use crate::Site;

/// The largest answer to a registration, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// How long a registration may take.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an assertion holds.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);
/// Characters of an id or a secret that a server chose for us.
const TEXT_MAX: usize = 4096;

/// Where browsers come back to.
pub(super) fn redirect_uri(site: &Site) -> String {
    format!("{}/oauth/callback", site.base())
}

/// Our id where we publish what we are. An https URL, so there is none without TLS.
pub(super) fn document_url(site: &Site) -> Option<String> {
    site.is_https()
        .then(|| format!("{}/oauth/client.json", site.base()))
}

/// What we are as a client, in the words of RFC 7591.
pub(super) fn metadata(site: &Site, proof: &str) -> Value {
    json!({
        "client_name": "Portcullis",
        "client_uri": site.base(),
        "redirect_uris": [redirect_uri(site)],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": proof,
        // A redirect to the loopback address is one of a program on the person's own machine.
        "application_type": if site.is_https() { "web" } else { "native" },
    })
}

/// Who we are to one authorization server.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) proof: ProofBy,
}

/// How we prove it.
#[derive(Clone)]
pub(super) enum ProofBy {
    None,
    Basic(Zeroizing<String>),
    Post(Zeroizing<String>),
    Key(SigningKey),
}

/// What is kept of a registration, sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct Registered {
    client_id: String,
    client_secret: Option<Zeroizing<String>>,
    method: String,
    redirect_uri: String,
    /// When the secret ends, in seconds since 1970; 0 for never.
    expires_at: u64,
}

impl Client {
    /// The client that an operator registered.
    pub(super) fn configured(
        client: &config::Client,
        server: &Server,
    ) -> Result<Self, OutboundError> {
        let takes = |method: &str| match &server.proofs {
            // RFC 8414 section 2: who does not say takes this one.
            None => method == "client_secret_basic",
            Some(methods) => methods.iter().any(|one| one == method),
        };
        let proof = match &client.proof {
            Proof::None => ProofBy::None,
            Proof::Key(key) => ProofBy::Key(key.clone()),
            Proof::Secret(secret) if takes("client_secret_basic") => ProofBy::Basic(secret.clone()),
            Proof::Secret(secret) if takes("client_secret_post") => ProofBy::Post(secret.clone()),
            Proof::Secret(_) => {
                let why = "it takes no client that proves itself by a secret";
                return Err(OutboundError::NoClient(why.to_owned()));
            }
        };
        Ok(Self {
            id: client.id.clone(),
            proof,
        })
    }

    /// The client whose metadata we publish.
    pub(super) fn published(url: String) -> Self {
        Self {
            id: url,
            proof: ProofBy::None,
        }
    }

    /// Adds who we are to a request to the token endpoint of `server`.
    pub(super) fn prove(
        &self,
        server: &Server,
        now: SystemTime,
        form: &mut form_urlencoded::Serializer<'_, String>,
        headers: &mut HeaderMap,
    ) -> Result<(), OutboundError> {
        let unfit = || OutboundError::NoClient("its secret fits no header".to_owned());
        match &self.proof {
            ProofBy::None => {
                form.append_pair("client_id", &self.id);
            }
            ProofBy::Post(secret) => {
                form.append_pair("client_id", &self.id)
                    .append_pair("client_secret", secret);
            }
            ProofBy::Basic(secret) => {
                let encode = |text: &str| -> Zeroizing<String> {
                    Zeroizing::new(form_urlencoded::byte_serialize(text.as_bytes()).collect())
                };
                let pair = Zeroizing::new(format!("{}:{}", *encode(&self.id), *encode(secret)));
                let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
                let mut value = HeaderValue::try_from(value.as_str()).map_err(|_bad| unfit())?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
            ProofBy::Key(key) => {
                let assertion = self.assertion(key, server, now)?;
                form.append_pair("client_id", &self.id)
                    .append_pair(
                        "client_assertion_type",
                        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                    )
                    .append_pair("client_assertion", &assertion);
            }
        }
        Ok(())
    }

    fn assertion(
        &self,
        key: &SigningKey,
        server: &Server,
        now: SystemTime,
    ) -> Result<Zeroizing<String>, OutboundError> {
        let now = seconds(now);
        let claims = json!({
            "iss": self.id,
            "sub": self.id,
            // Its issuer and nothing else: an assertion for one server must not do at another.
            "aud": server.issuer,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME.as_secs(),
            "jti": super::random_text()?,
        });
        key.sign(&claims)
            .ok_or_else(|| OutboundError::NoClient("our key does not sign".to_owned()))
    }
}

impl Registered {
    /// Whether it is still good for `site`.
    pub(super) fn holds(&self, site: &Site, now: SystemTime) -> bool {
        self.redirect_uri == redirect_uri(site)
            && (self.expires_at == 0 || self.expires_at > seconds(now))
    }

    pub(super) fn client(self) -> Client {
        let proof = match (self.method.as_str(), self.client_secret) {
            ("client_secret_basic", Some(secret)) => ProofBy::Basic(secret),
            ("client_secret_post", Some(secret)) => ProofBy::Post(secret),
            _ => ProofBy::None,
        };
        Client {
            id: self.client_id,
            proof,
        }
    }
}

/// Registers us (RFC 7591 section 3).
pub(super) async fn register(
    scout: &Scout<'_>,
    server: &Server,
    site: &Site,
) -> Result<Registered, OutboundError> {
    let no = |why: &str| OutboundError::NoClient(why.to_owned());
    let endpoint = server.registration_endpoint.clone().ok_or_else(|| {
        no("it registers nobody by itself; register the gate there and configure `client_id`")
    })?;
    let wanted = wanted_proof(server.proofs.as_deref())
        .ok_or_else(|| no("it takes no proof that a registered client has"))?;
    let mut headers = HeaderMap::new();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, json.clone());
    headers.insert(header::ACCEPT, json);
    let answer = scout
        .client
        .fetch(Fetch {
            method: Method::POST,
            reach: scout.reach(&endpoint),
            url: endpoint,
            headers,
            body: Bytes::from(metadata(site, wanted).to_string()),
            redirects_max: 0,
            body_max: ANSWER_MAX,
            timeout: REGISTER_TIMEOUT,
        })
        .await
        .map_err(|error| OutboundError::unavailable("a registration", error))?;
    let said = wire::json::strict_value(&answer.body).unwrap_or_default();
    if !answer.status.is_success() {
        let code = super::token::error_code(&said);
        let code = code.unwrap_or_else(|| format!("HTTP {}", answer.status.as_u16()));
        return Err(OutboundError::NoClient(format!(
            "it did not register us: {code}"
        )));
    }
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    let fits = |text: &&str| !text.is_empty() && text.len() <= TEXT_MAX && text.is_ascii();
    let client_id = text("client_id")
        .filter(fits)
        .ok_or_else(|| no("it registered us without an id"))?;
    let method = text("token_endpoint_auth_method").unwrap_or(wanted);
    let client_secret = text("client_secret")
        .filter(fits)
        .map(|secret| Zeroizing::new(secret.to_owned()));
    match (method, &client_secret) {
        ("none", _) | ("client_secret_basic" | "client_secret_post", Some(_)) => {}
        _ => return Err(no("it registered us with a proof that we do not have")),
    }
    Ok(Registered {
        client_id: client_id.to_owned(),
        client_secret,
        method: method.to_owned(),
        redirect_uri: redirect_uri(site),
        expires_at: said
            .get("client_secret_expires_at")
            .and_then(Value::as_u64)
            .unwrap_or(0),
    })
}

/// The proof to ask for, of those that the server takes.
fn wanted_proof(taken: Option<&[String]>) -> Option<&'static str> {
    let Some(taken) = taken else {
        return Some("client_secret_basic");
    };
    ["client_secret_basic", "client_secret_post", "none"]
        .into_iter()
        .find(|method| taken.iter().any(|one| one == method))
}

pub(super) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
