//! A gate's way out, with a clock that is moved by hand, and a server that is an upstream and its authorization server.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Index;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use policy::{Clock, Credential, Instant, Principal, PrincipalId, Scopes, UpstreamId};
use serde_json::{Map, Value, json};
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::{Url, form_urlencoded};

use super::super::*;
use crate::authority::{self, Authority};
use crate::{MasterKey, Revocations, Site, Vault};

/// What every access token begins with.
pub(super) const ISSUED: &str = "access-secret-";

/// Stands still until it is moved; both clocks go together.
#[derive(Debug, Default)]
pub(super) struct HandClock(Mutex<Duration>);

impl HandClock {
    pub(super) fn pass(&self, time: Duration) {
        *self.0.lock() += time;
    }
}

impl Clock for HandClock {
    fn now(&self) -> Instant {
        Instant(*self.0.lock())
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + *self.0.lock()
    }
}

/// One member.
#[derive(Default)]
pub(super) struct Member(Mutex<Option<Value>>);

impl Member {
    pub(super) fn set(&self, value: Value) {
        *self.0.lock() = Some(value);
    }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) outbound: Arc<Outbound>,
    pub(super) id: UpstreamId,
    pub(super) clock: Arc<HandClock>,
    pub(super) store: Store,
    pub(super) folder: Arc<TempDir>,
    /// What the upstream says of itself.
    pub(super) resource: Arc<Members>,
    /// What the authorization server says of itself.
    pub(super) server: Arc<Members>,
    /// Vouches for principals.
    pub(super) authority: Arc<Authority>,
    parts: Parts,
    grant: Grant,
    peer: Arc<Peer>,
}

/// Members by name, each of which a test may set.
#[derive(Default)]
pub(super) struct Members(Vec<(&'static str, Member)>);

impl Members {
    fn of(names: &[&'static str]) -> Arc<Self> {
        Arc::new(Self(
            names
                .iter()
                .map(|name| (*name, Member::default()))
                .collect(),
        ))
    }

    /// Puts what a test set over what stands there; `null` takes it out.
    fn over(&self, document: &mut Map<String, Value>) {
        for (name, member) in &self.0 {
            match member.0.lock().clone() {
                None => {}
                Some(Value::Null) => drop(document.remove(*name)),
                Some(value) => drop(document.insert((*name).to_owned(), value)),
            }
        }
    }
}

impl Index<&str> for Members {
    type Output = Member;

    fn index(&self, name: &str) -> &Member {
        let found = self.0.iter().find(|(known, _)| *known == name);
        &found.expect("a member that tests set").1
    }
}

struct Peer {
    address: SocketAddr,
    answers: Mutex<HashMap<String, (u16, String)>>,
    asked: Mutex<Vec<(String, String)>>,
    resource: Arc<Members>,
    server: Arc<Members>,
    tasks: Mutex<JoinSet<()>>,
}

impl World {
    pub(super) async fn start(grant: Grant) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let resource = Members::of(&["resource", "authorization_servers", "scopes_supported"]);
        let server = Members::of(&[
            "issuer",
            "token_endpoint",
            "authorization_endpoint",
            "code_challenge_methods_supported",
            "authorization_response_iss_parameter_supported",
        ]);
        let peer = Arc::new(Peer {
            address: listener.local_addr().unwrap(),
            answers: Mutex::default(),
            asked: Mutex::default(),
            resource: Arc::clone(&resource),
            server: Arc::clone(&server),
            tasks: Mutex::default(),
        });
        let accepting = Arc::downgrade(&peer);
        peer.tasks.lock().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let peer = accepting.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let peer = peer.upgrade();
                        async move {
                            let reply = match peer {
                                Some(peer) => peer.answer(request).await,
                                None => http::Response::default(),
                            };
                            Ok::<_, Infallible>(reply)
                        }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    drop(http.serve_connection(TokioIo::new(tcp), service).await);
                });
            }
        });
        let folder = Arc::new(TempDir::new().unwrap());
        let store = Store::open(&folder.path().join("gate.db")).unwrap();
        let clock = Arc::new(HandClock::default());
        let shared_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let parts = Parts {
            store: store.clone(),
            clock: Arc::clone(&shared_clock),
            client: net::Client::new(net::Settings::default()),
            site: Site::new("http://127.0.0.1:8080"),
            vault: Vault::new(&MasterKey::new([1; 32])).unwrap(),
            revocations: Revocations::open(store.clone(), shared_clock).unwrap(),
        };
        let id = UpstreamId::new("docs").unwrap();
        let settings = settings(&id, &grant, peer.address);
        let authority = Arc::new(Authority::new(&parts, authority::Settings::default()));
        Self {
            outbound: outbound(&parts, &authority, settings),
            authority,
            id,
            clock,
            store,
            folder,
            resource,
            server,
            parts,
            grant,
            peer,
        }
    }

    /// The same gate after another start.
    pub(super) fn restarted(&self) -> Self {
        Self {
            outbound: outbound(&self.parts, &self.authority, self.settings()),
            ..self.clone()
        }
    }

    pub(super) fn settings(&self) -> Settings {
        settings(&self.id, &self.grant, self.peer.address)
    }

    pub(super) fn revocations(&self) -> &Revocations {
        &self.parts.revocations
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.peer.address)
    }

    /// What is answered at `path` from now on.
    pub(super) fn answer(&self, path: &str, status: u16, body: &Value) {
        let answer = (status, body.to_string());
        self.peer.answers.lock().insert(path.to_owned(), answer);
    }

    /// The forms that came to a path, each as the query of a URL.
    pub(super) fn asked(&self, path: &str) -> Vec<Url> {
        let asked = self.peer.asked.lock();
        let forms = asked.iter().filter(|(to, _)| to == path);
        forms
            .map(|(_, form)| {
                let mut url = Url::parse("https://form.example").unwrap();
                url.set_query(Some(form));
                url
            })
            .collect()
    }

    pub(super) async fn begin(&self, principal: &Principal) -> Result<Url, OutboundError> {
        self.outbound.begin(&self.id, principal).await
    }

    /// Comes back from where `url` leads, with a code and what else is said.
    pub(super) async fn finish(
        &self,
        principal: &Principal,
        url: &Url,
        more: &str,
    ) -> Result<UpstreamId, OutboundError> {
        let state = parameter(url, "state");
        let query = format!("code=one-time-code&state={state}{more}");
        self.outbound.finish(principal, &query).await
    }

    pub(super) async fn connect(&self, principal: &Principal) {
        let url = self.begin(principal).await.unwrap();
        self.finish(principal, &url, "").await.unwrap();
    }

    pub(super) fn at_hand(&self, principal: &str) -> Option<HeaderValue> {
        self.outbound.at_hand(&self.id, Some(principal))
    }

    pub(super) async fn obtain(&self, principal: &str) -> Result<HeaderValue, OutboundError> {
        let obtained = self.outbound.obtain(&self.id, Some(principal)).await;
        obtained.map(Option::unwrap)
    }

    pub(super) async fn is_not_connected(&self, principal: &str) -> bool {
        let obtained = self.obtain(principal).await;
        matches!(
            obtained,
            Err(OutboundError::NotConnected { more: false, .. })
        )
    }

    /// The upstream refuses what is at hand.
    pub(super) async fn refused(
        &self,
        principal: &str,
        status: u16,
        challenge: &'static str,
    ) -> Result<HeaderValue, OutboundError> {
        let used = self.at_hand(principal);
        let mut headers = HeaderMap::new();
        headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        );
        let refusal = Refusal {
            used: used.as_ref(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: &headers,
        };
        self.outbound
            .refused(&self.id, Some(principal), refusal)
            .await
    }
}

impl Peer {
    async fn answer(&self, request: http::Request<Incoming>) -> http::Response<Full<Bytes>> {
        let (head, mut incoming) = request.into_parts();
        let mut form = Vec::new();
        while let Some(Ok(frame)) = incoming.frame().await {
            form.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
        }
        let path = head.uri.path().to_owned();
        let form = String::from_utf8(form).unwrap();
        let told = self.answers.lock().get(&path).cloned();
        let nth = {
            let mut asked = self.asked.lock();
            asked.push((path.clone(), form));
            asked.iter().filter(|(to, _)| *to == path).count()
        };
        let own = format!("http://{}", self.address);
        let (status, body) = told.unwrap_or_else(|| match path.as_str() {
            "/.well-known/oauth-protected-resource/mcp" => {
                let mut document = Map::new();
                document.insert("resource".to_owned(), format!("{own}/mcp").into());
                document.insert("authorization_servers".to_owned(), json!([own]));
                self.resource.over(&mut document);
                (200, Value::Object(document).to_string())
            }
            "/.well-known/oauth-authorization-server" => {
                let document = json!({
                    "issuer": own,
                    "authorization_endpoint": format!("{own}/authorize?tenant=1"),
                    "token_endpoint": format!("{own}/token"),
                    "registration_endpoint": format!("{own}/register"),
                    "code_challenge_methods_supported": ["S256"],
                });
                let Value::Object(mut document) = document else {
                    unreachable!("it is an object")
                };
                self.server.over(&mut document);
                (200, Value::Object(document).to_string())
            }
            "/register" => {
                let client = json!({
                    "client_id": "registered",
                    "client_secret": "registered-secret",
                    "token_endpoint_auth_method": "client_secret_basic",
                });
                (201, client.to_string())
            }
            "/token" => (200, issued(nth).to_string()),
            _ => (404, String::new()),
        });
        let mut reply = http::Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = StatusCode::from_u16(status).unwrap();
        let json = HeaderValue::from_static("application/json");
        reply.headers_mut().insert(header::CONTENT_TYPE, json);
        reply
    }
}

/// The tokens that a token endpoint gives out as its `nth`, for an hour.
pub(super) fn issued(nth: usize) -> Value {
    json!({
        "access_token": format!("{ISSUED}{nth}"),
        "token_type": "bearer",
        "expires_in": 3600,
        "refresh_token": format!("refresh-secret-{nth}"),
    })
}

fn outbound(parts: &Parts, authority: &Arc<Authority>, settings: Settings) -> Arc<Outbound> {
    Arc::new(Outbound::new(parts, Arc::clone(authority), settings))
}

fn settings(id: &UpstreamId, grant: &Grant, address: SocketAddr) -> Settings {
    let client = (*grant != Grant::PerUser).then(|| ClientSettings {
        id: "gate".to_owned(),
        proof: Proof::Secret("configured-secret".to_owned().into()),
    });
    Settings {
        upstreams: vec![Upstream {
            id: id.clone(),
            url: Url::parse(&format!("http://{address}/mcp")).unwrap(),
            grant: grant.clone(),
            client,
            scopes: None,
            issuer: matches!(grant, Grant::TokenExchange(_)).then(|| format!("http://{address}")),
        }],
    }
}

fn principal(name: &str) -> Principal {
    Principal {
        id: PrincipalId::new(name).unwrap(),
        roles: BTreeSet::new(),
        credential: Credential::Session("browser".to_owned()),
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::default(),
    }
}

pub(super) fn alice() -> Principal {
    principal("alice")
}

pub(super) fn bob() -> Principal {
    principal("bob")
}

/// One parameter of a URL; empty if it has none of that name.
pub(super) fn parameter(url: &Url, name: &str) -> String {
    let mut pairs = form_urlencoded::parse(url.query().unwrap_or_default().as_bytes());
    let found = pairs.find(|(known, _)| known == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
