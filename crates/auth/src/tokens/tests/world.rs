//! What these tests share: a gate with a clock that is moved by hand, issuers that sign, and a server that they stand on.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use policy::{Clock, Instant};
use serde_json::json;
use store::Store;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use super::super::*;
use crate::{Auth, Peer, Presented, Revocations, Settings, Site, Vault};

pub(super) const SITE: &str = "https://gate.example.com";
pub(super) const RESOURCE: &str = "https://gate.example.com/mcp";
pub(super) const ISSUER: &str = "https://login.example.com";
/// When these tests play.
pub(super) const START: u64 = 1_800_000_000;

/// Stands still until it is moved; both clocks go together.
#[derive(Debug)]
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
        UNIX_EPOCH + Duration::from_secs(START) + *self.0.lock()
    }
}

pub(super) struct World {
    pub(super) auth: Arc<Auth>,
    pub(super) clock: Arc<HandClock>,
    pub(super) store: Store,
    _folder: Arc<TempDir>,
}

impl World {
    pub(super) fn new(issuers: Vec<Issuer>) -> Self {
        let folder = TempDir::new().unwrap();
        Self::on(Arc::new(folder), issuers)
    }

    fn on(folder: Arc<TempDir>, issuers: Vec<Issuer>) -> Self {
        let store = Store::open(&folder.path().join("gate.db")).unwrap();
        let clock = Arc::new(HandClock(Mutex::default()));
        let parts = Parts {
            store: store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            client: net::Client::new(net::Settings::default()),
            site: Site::new(SITE),
            vault: Vault::new(&crate::MasterKey::new([1; 32])).unwrap(),
            revocations: Revocations::open(store.clone(), Arc::clone(&clock) as Arc<dyn Clock>)
                .unwrap(),
        };
        let auth = Auth::new(parts, settings(issuers));
        Self {
            auth,
            clock,
            store,
            _folder: folder,
        }
    }

    /// Another process on the same database.
    pub(super) async fn restarted(self, issuers: Vec<Issuer>) -> Self {
        let Self {
            auth,
            store,
            _folder: folder,
            clock: _,
        } = self;
        store.close().await;
        drop((auth, store));
        Self::on(folder, issuers)
    }

    pub(super) async fn bearer(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        let header = format!("Bearer {token}");
        let presented = Presented {
            authorization: Some(&header),
            ..request()
        };
        self.auth.authenticate(&presented).await
    }

    pub(super) async fn dpop(
        &self,
        token: &str,
        proof: Option<&str>,
    ) -> Result<Arc<Principal>, AuthError> {
        let header = format!("DPoP {token}");
        let presented = Presented {
            authorization: Some(&header),
            dpop: proof,
            ..request()
        };
        self.auth.authenticate(&presented).await
    }

    /// Why a bearer token is refused.
    pub(super) async fn refusal(&self, token: &str) -> String {
        self.bearer(token).await.unwrap_err().to_string()
    }
}

pub(super) fn settings(issuers: Vec<Issuer>) -> Settings {
    Settings {
        issuers,
        ..Settings::default()
    }
}

/// A request for [`RESOURCE`], without credentials.
pub(super) fn request() -> Presented<'static> {
    Presented {
        method: "POST",
        url: RESOURCE,
        ..Presented::nothing(Peer::Remote(None))
    }
}

/// `corp`, whose tokens are of the type that RFC 9068 has.
pub(super) fn corp(keys: KeySource) -> Issuer {
    Issuer {
        name: Arc::from("corp"),
        issuer: Arc::from(ISSUER),
        keys,
        algorithms: Algorithm::ALL.into(),
        types: BTreeSet::from([ACCESS_TOKEN.to_owned()]),
        audiences: BTreeSet::new(),
        skew: Duration::from_secs(30),
        lifetime_max: Duration::from_hours(1),
        claims: Claims {
            principal: ClaimPath::new("sub"),
            prefix: "corp/".to_owned(),
            roles: Roles::Ignored,
            permissions: None,
            scopes: BTreeMap::new(),
            check_scopes: true,
            kept: BTreeSet::new(),
        },
        dpop: Dpop::default(),
        introspection: None,
    }
}

/// `corp` with these keys in the config.
pub(super) fn fixed(signers: &[&Signer]) -> Issuer {
    corp(KeySource::Fixed(
        signers.iter().map(|signer| signer.key()).collect(),
    ))
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": RESOURCE, "client_id": "cli",
        "iat": START, "exp": START + 600, "scope": "mcp:tools", "jti": "t1",
    })
}

/// `claims` with other members; `null` leaves one out.
pub(super) fn but(mut claims: Value, changes: Value) -> Value {
    let Value::Object(changes) = changes else {
        panic!("changes are members");
    };
    let members = claims.as_object_mut().unwrap();
    for (name, value) in changes {
        if value.is_null() {
            members.remove(&name);
        } else {
            members.insert(name, value);
        }
    }
    claims
}

/// Holds a private key.
pub(super) struct Signer {
    pub(super) id: &'static str,
    pub(super) algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn rsa(id: &'static str) -> Self {
        Self {
            id,
            algorithm: "RS256",
            pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        }
    }

    pub(super) fn pss(id: &'static str) -> Self {
        Self {
            algorithm: "PS256",
            ..Self::rsa(id)
        }
    }

    pub(super) fn p256(id: &'static str) -> Self {
        Self {
            id,
            algorithm: "ES256",
            pair: Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
        }
    }

    pub(super) fn p384(id: &'static str) -> Self {
        Self {
            id,
            algorithm: "ES384",
            pair: Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
        }
    }

    pub(super) fn ed25519(id: &'static str) -> Self {
        Self {
            id,
            algorithm: "EdDSA",
            pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    pub(super) fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = self.bare_jwk(&text);
        jwk["kid"] = json!(self.id);
        jwk["alg"] = json!(self.algorithm);
        jwk
    }

    fn bare_jwk(&self, text: &dyn Fn(&[u8]) -> String) -> Value {
        match &self.pair {
            Pair::Rsa(pair) => {
                let public: RsaPublicKeyComponents<Vec<u8>> = pair.public_key().into();
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": curve, "x": text(x), "y": text(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
        }
    }

    pub(super) fn key(&self) -> VerifyingKey {
        let jwk = self.jwk();
        VerifyingKey::from_jwk(jwk.as_object().unwrap(), Algorithm::Rs256).unwrap()
    }

    /// The header of an access token.
    pub(super) fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.id, "typ": "at+jwt" })
    }

    /// An access token.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header().to_string(), &claims.to_string())
    }

    /// Any two texts, signed.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", text(header.as_bytes()), text(claims.as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let encoding = if self.algorithm == "PS256" {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                let encoding: &'static dyn aws_lc_rs::signature::RsaEncoding = encoding;
                pair.sign(encoding, &random, message.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message.as_bytes()).unwrap();
                signature.as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", text(&signature))
    }

    /// A proof of possession over a request for [`RESOURCE`] with `token`.
    pub(super) fn proof(&self, token: &str, changes: Value) -> String {
        let hash = digest_of(token);
        let claims = but(
            json!({ "htm": "POST", "htu": RESOURCE, "iat": START, "jti": "p1", "ath": hash }),
            changes,
        );
        self.sign(&self.proof_header().to_string(), &claims.to_string())
    }

    pub(super) fn proof_header(&self) -> Value {
        let jwk = self.bare_jwk(&|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes));
        json!({ "typ": "dpop+jwt", "alg": self.algorithm, "jwk": jwk })
    }
}

fn digest_of(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    BASE64_URL_SAFE_NO_PAD.encode(hash)
}

/// A server of an issuer: answers what it was told to, and counts. Its tasks end with it.
pub(super) struct Server {
    address: SocketAddr,
    answers: Arc<Mutex<HashMap<String, (StatusCode, String)>>>,
    seen: Arc<watch::Sender<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) body: String,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::<Mutex<HashMap<_, _>>>::default();
        let seen = Arc::new(watch::channel(Vec::new()).0);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&answers), Arc::clone(&seen)));
        Self {
            address,
            answers,
            seen,
            _tasks: tasks,
        }
    }

    pub(super) fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.address)).unwrap()
    }

    /// What is answered at `path` from now on; elsewhere it is 404.
    pub(super) fn answer(&self, path: &str, status: u16, body: &Value) {
        let status = StatusCode::from_u16(status).unwrap();
        self.answers
            .lock()
            .insert(path.to_owned(), (status, body.to_string()));
    }

    pub(super) fn publish(&self, path: &str, signers: &[&Signer]) {
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
        self.answer(path, 200, &json!({ "keys": keys }));
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// How many requests there were.
    pub(super) fn count(&self) -> usize {
        self.seen.borrow().len()
    }

    pub(super) async fn until(&self, count: usize) {
        let mut seen = self.seen.subscribe();
        let reached = seen.wait_for(|seen| seen.len() >= count);
        tokio::time::timeout(Duration::from_secs(10), reached)
            .await
            .expect("in time")
            .expect("a server");
    }
}

type Answers = Arc<Mutex<HashMap<String, (StatusCode, String)>>>;

async fn accept(listener: TcpListener, answers: Answers, seen: Arc<watch::Sender<Vec<Seen>>>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
        connections.spawn(async move {
            let service = service_fn(|request: http::Request<Incoming>| {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                async move { Ok::<_, Infallible>(serve(request, &answers, &seen).await) }
            });
            // A client that goes away is nothing to these tests.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tcp), service)
                    .await,
            );
        });
    }
}

async fn serve(
    request: http::Request<Incoming>,
    answers: &Answers,
    seen: &watch::Sender<Vec<Seen>>,
) -> http::Response<Full<Bytes>> {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(frame)) = incoming.frame().await {
        body.extend_from_slice(frame.data_ref().map(|data| &data[..]).unwrap_or_default());
    }
    let authorization = head.headers.get(http::header::AUTHORIZATION);
    let request = Seen {
        path: head.uri.path().to_owned(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        body: String::from_utf8(body).unwrap(),
    };
    let (status, body) = answers
        .lock()
        .get(&request.path)
        .cloned()
        .unwrap_or((StatusCode::NOT_FOUND, String::new()));
    seen.send_modify(|seen| seen.push(request));
    let mut response = http::Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}
