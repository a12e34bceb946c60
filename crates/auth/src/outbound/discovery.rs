//! Where tokens for an upstream come from: what the upstream says of itself, and its authorization server of itself.
//!
//! All of it comes from outside, so nothing is believed that can be checked: the resource must be the upstream, the
//! issuer must be the one that was asked for, and no URL leads to this machine or its network unless the operator's own
//! does. Sources: RFC 9728 section 3, RFC 8414 section 3, MCP 2025-11-25 and 2026-07-28 "Authorization", and 2025-03-26
//! "Authorization" for servers that describe themselves nowhere.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use net::{Fetch, Fetched, Reach};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::challenge::{Challenge, scopes};
use super::error::OutboundError;

/// The largest document taken, in bytes.
const DOCUMENT_MAX: usize = 256 * 1024;
/// How long one may take.
const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Authorization servers that are looked at in one document.
const SERVERS_MAX: usize = 16;

const RESOURCE: &str = "the upstream's metadata";
const SERVER: &str = "the authorization server's metadata";

/// What an upstream says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resource {
    /// Its identifier, exactly as it writes it: what tokens are to be meant for (RFC 8707).
    pub(super) id: String,
    /// Its authorization server.
    pub(super) issuer: String,
    /// The scopes that it names.
    pub(super) scopes: Vec<String>,
    /// It describes itself nowhere, as servers of 2025-03-26 do.
    is_silent: bool,
}

/// An authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<Url>,
    pub(super) token_endpoint: Url,
    pub(super) registration_endpoint: Option<Url>,
    pub(super) scopes: Vec<String>,
    /// It takes PKCE with S256.
    pub(super) has_s256: bool,
    /// How clients may prove themselves at the token endpoint; `None` if it does not say.
    pub(super) proofs: Option<Vec<String>>,
    /// It reads a client's metadata where the client publishes it.
    pub(super) reads_documents: bool,
    /// It says who it is in each answer that comes through a browser (RFC 9207).
    pub(super) says_issuer: bool,
}

/// Finds these for one upstream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scout<'a> {
    pub(super) client: &'a net::Client,
    /// The upstream's endpoint, as the operator wrote it.
    pub(super) upstream: &'a Url,
    /// The authorization server, if the operator named one.
    pub(super) issuer: Option<&'a str>,
}

/// A document, or that there is none.
enum Document {
    Found(Map<String, Value>),
    Absent,
}

impl Scout<'_> {
    /// What the upstream says of itself; `challenge` is what it said to whoever came without a token.
    pub(super) async fn resource(
        &self,
        challenge: Option<&Challenge>,
    ) -> Result<Resource, OutboundError> {
        let named = challenge.and_then(|challenge| challenge.resource_metadata.as_deref());
        if let Some(named) = named {
            let url = Url::parse(named)
                .map_err(|_bad| OutboundError::untrusted(RESOURCE, "its address is none"))?;
            return match self.document(url, RESOURCE).await? {
                Document::Found(said) => self.read_resource(&said),
                Document::Absent => Err(OutboundError::untrusted(
                    RESOURCE,
                    "there is none where the upstream says",
                )),
            };
        }
        for url in well_known(self.upstream, "oauth-protected-resource") {
            if let Document::Found(said) = self.document(url, RESOURCE).await? {
                return self.read_resource(&said);
            }
        }
        let origin = self.upstream.origin().ascii_serialization();
        Ok(Resource {
            id: canonical(self.upstream),
            issuer: self.issuer.map_or(origin, str::to_owned),
            scopes: Vec::new(),
            is_silent: self.issuer.is_none(),
        })
    }

    fn read_resource(&self, said: &Map<String, Value>) -> Result<Resource, OutboundError> {
        let wrong = |why: &str| OutboundError::untrusted(RESOURCE, why);
        let id = text(said, "resource").ok_or_else(|| wrong("it names no resource"))?;
        if !is_for(id, self.upstream) {
            return Err(wrong("it is another resource's"));
        }
        let servers = texts(said, "authorization_servers").unwrap_or_default();
        let servers = servers.get(..SERVERS_MAX).unwrap_or(&servers);
        let issuer = match self.issuer {
            Some(wanted) => servers.iter().find(|server| *server == wanted),
            None => servers.first(),
        };
        let issuer = issuer.ok_or_else(|| match self.issuer {
            Some(_) => wrong("it does not name the configured authorization server"),
            None => wrong("it names no authorization server"),
        })?;
        Ok(Resource {
            id: id.to_owned(),
            issuer: issuer.clone(),
            scopes: scopes(
                &texts(said, "scopes_supported")
                    .unwrap_or_default()
                    .join(" "),
            ),
            is_silent: false,
        })
    }

    /// What the resource's authorization server says of itself.
    pub(super) async fn server(&self, resource: &Resource) -> Result<Server, OutboundError> {
        let wrong = |why: &str| OutboundError::untrusted(SERVER, why);
        let issuer = Url::parse(&resource.issuer).map_err(|_bad| wrong("its issuer is no URL"))?;
        if issuer.query().is_some() || issuer.fragment().is_some() {
            return Err(wrong("its issuer has a query or a fragment"));
        }
        for url in server_documents(&issuer) {
            if let Document::Found(said) = self.document(url, SERVER).await? {
                return self.read_server(&said, resource);
            }
        }
        if !resource.is_silent {
            return Err(wrong("there is none"));
        }
        let at = |path: &str| {
            issuer
                .join(path)
                .map_err(|_bad| wrong("its issuer is no URL"))
        };
        Ok(Server {
            issuer: resource.issuer.clone(),
            authorization_endpoint: Some(at("/authorize")?),
            token_endpoint: at("/token")?,
            registration_endpoint: Some(at("/register")?),
            scopes: Vec::new(),
            // OAuth 2.1 has it, and nobody is here to say otherwise.
            has_s256: true,
            proofs: None,
            reads_documents: false,
            says_issuer: false,
        })
    }

    fn read_server(
        &self,
        said: &Map<String, Value>,
        resource: &Resource,
    ) -> Result<Server, OutboundError> {
        let wrong = |why: &str| OutboundError::untrusted(SERVER, why);
        let issuer = text(said, "issuer").ok_or_else(|| wrong("it names no issuer"))?;
        // Who asks at an origin, because nothing else is known, has no spelling to hold it against.
        let is_same = issuer == resource.issuer
            || resource.is_silent && issuer.strip_suffix('/') == Some(&resource.issuer);
        if !is_same {
            return Err(wrong("it is another issuer's"));
        }
        let endpoint = |name: &str| match text(said, name).map(Url::parse) {
            None => Ok(None),
            Some(Ok(url)) if self.is_good(&url) => Ok(Some(url)),
            Some(_) => Err(wrong(&format!("its `{name}` cannot be used"))),
        };
        let flag = |name: &str| said.get(name).and_then(Value::as_bool) == Some(true);
        let methods = texts(said, "code_challenge_methods_supported").unwrap_or_default();
        Ok(Server {
            issuer: issuer.to_owned(),
            authorization_endpoint: endpoint("authorization_endpoint")?,
            token_endpoint: endpoint("token_endpoint")?
                .ok_or_else(|| wrong("it names no token endpoint"))?,
            registration_endpoint: endpoint("registration_endpoint")?,
            scopes: scopes(
                &texts(said, "scopes_supported")
                    .unwrap_or_default()
                    .join(" "),
            ),
            has_s256: methods.iter().any(|method| method == "S256"),
            proofs: texts(said, "token_endpoint_auth_methods_supported"),
            reads_documents: flag("client_id_metadata_document_supported"),
            says_issuer: flag("authorization_response_iss_parameter_supported"),
        })
    }

    /// Whether a URL may be used: https, or http on this machine for an upstream that is here too.
    fn is_good(&self, url: &Url) -> bool {
        let is_scheme_good = url.scheme() == "https"
            || url.scheme() == "http" && is_loopback(url) && is_loopback(self.upstream);
        is_scheme_good
            && url.has_host()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    }

    /// Whether the operator's own URL leads into this machine or its network, written out as an address.
    fn is_near(&self) -> bool {
        let closed = |address| Reach::Public.check(address).is_err();
        match self.upstream.host() {
            Some(Host::Ipv4(address)) => closed(address.into()),
            Some(Host::Ipv6(address)) => closed(address.into()),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }

    /// How far a URL from outside may reach: as far as the operator's own.
    pub(super) fn reach(&self, url: &Url) -> Reach {
        let is_named = |own: &Url| own.origin() == url.origin();
        let issuer = self.issuer.and_then(|issuer| Url::parse(issuer).ok());
        if self.is_near() || is_named(self.upstream) || issuer.as_ref().is_some_and(is_named) {
            Reach::Operator
        } else {
            Reach::Public
        }
    }

    async fn document(&self, url: Url, what: &'static str) -> Result<Document, OutboundError> {
        if !self.is_good(&url) {
            return Err(OutboundError::untrusted(what, "its address cannot be used"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let fetched = self
            .client
            .fetch(Fetch {
                method: Method::GET,
                reach: self.reach(&url),
                url,
                headers,
                body: Bytes::new(),
                redirects_max: 2,
                body_max: DOCUMENT_MAX,
                timeout: DOCUMENT_TIMEOUT,
            })
            .await
            .map_err(|error| OutboundError::unavailable(what, error))?;
        read(&fetched, what)
    }
}

fn read(fetched: &Fetched, what: &'static str) -> Result<Document, OutboundError> {
    let status = fetched.status.as_u16();
    match status {
        200 => {}
        400..=499 => return Ok(Document::Absent),
        _ => return Err(OutboundError::unavailable(what, format!("HTTP {status}"))),
    }
    let is_json = fetched
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains("json"));
    if !is_json {
        // Some sites answer every path with a page.
        return Ok(Document::Absent);
    }
    match wire::json::strict_value(&fetched.body) {
        Ok(Value::Object(said)) => Ok(Document::Found(said)),
        Ok(_) | Err(_) => Err(OutboundError::untrusted(what, "it is no JSON object")),
    }
}

/// The places for a document about `about`: with its path after the well-known part, then at the root.
fn well_known(about: &Url, name: &str) -> Vec<Url> {
    let path = about.path().trim_end_matches('/');
    let mut urls = Vec::new();
    for path in [path, ""] {
        let mut url = about.clone();
        url.set_path(&format!("/.well-known/{name}{path}"));
        url.set_fragment(None);
        if path.is_empty() {
            url.set_query(None);
        }
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The places for an authorization server's metadata, in their order (MCP 2025-11-25, "Authorization Server Metadata
/// Discovery").
fn server_documents(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        paths.push(format!("{path}/.well-known/openid-configuration"));
    }
    let at = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    paths.into_iter().map(at).collect()
}

/// A URL as an identifier: without a fragment, and without a slash at the end if that is its whole path.
pub(super) fn canonical(url: &Url) -> String {
    let mut url = url.clone();
    url.set_fragment(None);
    let text = url.to_string();
    if url.path() == "/" && url.query().is_none() {
        return text.trim_end_matches('/').to_owned();
    }
    text
}

/// Whether a resource identifier names this endpoint, or a whole of which it is a part: the same origin, and a path that
/// its path begins with, segment by segment.
fn is_for(resource: &str, endpoint: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else {
        return false;
    };
    if resource.origin() != endpoint.origin()
        || !resource.username().is_empty()
        || resource.fragment().is_some()
        || resource
            .query()
            .is_some_and(|query| endpoint.query() != Some(query))
    {
        return false;
    }
    let whole = resource.path().trim_end_matches('/');
    endpoint
        .path()
        .strip_prefix(whole)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_loopback(url: &Url) -> bool {
    url.host().is_some_and(|host| net::is_here(&host))
}

fn text<'a>(said: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    said.get(name)?.as_str()
}

fn texts(said: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    let list = said.get(name)?.as_array()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(list.iter().filter_map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn documents_are_looked_for_in_the_order_of_the_specification() {
        let texts = |urls: Vec<Url>| -> Vec<String> { urls.iter().map(Url::to_string).collect() };
        assert_eq!(
            texts(well_known(
                &url("https://a.example/public/mcp"),
                "oauth-protected-resource"
            )),
            [
                "https://a.example/.well-known/oauth-protected-resource/public/mcp",
                "https://a.example/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(
            texts(server_documents(&url("https://as.example/tenant1"))),
            [
                "https://as.example/.well-known/oauth-authorization-server/tenant1",
                "https://as.example/.well-known/openid-configuration/tenant1",
                "https://as.example/tenant1/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            texts(server_documents(&url("https://as.example"))),
            [
                "https://as.example/.well-known/oauth-authorization-server",
                "https://as.example/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn a_resource_is_the_endpoint_or_a_whole_around_it() {
        let endpoint = url("https://mcp.example.com/team/mcp");
        for good in [
            "https://mcp.example.com/team/mcp",
            "https://mcp.example.com/team/mcp/",
            "https://mcp.example.com/team",
            "https://mcp.example.com",
            "https://MCP.example.com:443/",
        ] {
            assert!(is_for(good, &endpoint), "{good}");
        }
        for bad in [
            "https://evil.example.com/team/mcp",
            "https://mcp.example.com.evil.com/team/mcp",
            "https://mcp.example.com/te",
            "https://mcp.example.com/team/mcp/more",
            "http://mcp.example.com/team/mcp",
            "https://mcp.example.com:8443/team/mcp",
            "https://user@mcp.example.com/team/mcp",
            "https://mcp.example.com/team/mcp#part",
            "https://mcp.example.com/team/mcp?tenant=1",
            "mcp.example.com",
            "",
        ] {
            assert!(!is_for(bad, &endpoint), "{bad}");
        }
    }

    #[test]
    fn an_identifier_has_no_slash_that_nobody_wrote() {
        assert_eq!(canonical(&url("https://a.example")), "https://a.example");
        assert_eq!(
            canonical(&url("https://a.example/mcp#x")),
            "https://a.example/mcp"
        );
        assert_eq!(
            canonical(&url("https://a.example/mcp/")),
            "https://a.example/mcp/"
        );
    }

    #[test]
    fn urls_from_outside_reach_this_machine_only_if_the_operators_own_does() {
        let client = net::Client::new(net::Settings::default());
        let (far, near) = (
            url("https://mcp.example.com/mcp"),
            url("http://127.0.0.1:9/mcp"),
        );
        let scout = |upstream| Scout {
            client: &client,
            upstream,
            issuer: None,
        };
        for bad in [
            "http://127.0.0.1/token",
            "http://localhost/token",
            "http://as.example/token",
            "https://user:pass@as.example/token",
            "ftp://as.example/token",
            "javascript:alert(1)",
            "https://as.example/token#x",
        ] {
            assert!(!scout(&far).is_good(&url(bad)), "{bad}");
        }
        assert!(scout(&near).is_good(&url("http://127.0.0.1/token")));
        assert!(!scout(&near).is_good(&url("http://10.0.0.1/token")));
        assert_eq!(
            scout(&far).reach(&url("https://10.0.0.1/token")),
            Reach::Public
        );
        assert_eq!(
            scout(&far).reach(&url("https://mcp.example.com/x")),
            Reach::Operator
        );
        let named = Scout {
            issuer: Some("https://as.corp.example/tenant"),
            ..scout(&far)
        };
        assert_eq!(
            named.reach(&url("https://as.corp.example/token")),
            Reach::Operator
        );
    }
}
