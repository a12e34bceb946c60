//! TLS as a client does it, against servers with certificates made for the test.

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData as _,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use url::Url;

use super::*;
use crate::{Client, Dial, Error, Reach, Sent, Settings};

const SOON: Duration = Duration::from_secs(5);

/// Somebody who signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate with its key, in PEM.
struct Holder {
    chain: String,
    key: String,
    pin: [u8; 32],
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn sign(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> Holder {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages.push(purpose);
        let key = KeyPair::generate().unwrap();
        let mut spki = digest::Context::new(&SHA256);
        spki.update(&key.subject_public_key_info());
        Holder {
            chain: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
            pin: sha256(spki),
        }
    }

    fn server(&self) -> Holder {
        self.sign("localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }
}

impl Holder {
    fn identity(&self) -> Identity<'_> {
        Identity {
            chain: self.chain.as_bytes(),
            key: self.key.as_bytes(),
        }
    }
}

/// A server that answers who its client is, on connections that stay open.
struct Peer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Peer {
    async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                open.spawn(async move {
                    let Ok(mut session) = acceptor.accept(tcp).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::SeqCst);
                    let certificates = session.get_ref().1.peer_certificates();
                    let who = certificates.map_or(0, <[_]>::len).to_string();
                    let mut head = Vec::new();
                    while session
                        .read_buf(&mut head)
                        .await
                        .is_ok_and(|count| count > 0)
                    {
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            let length = who.len();
                            let answer =
                                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{who}");
                            session.write_all(answer.as_bytes()).await.unwrap();
                            session.flush().await.unwrap();
                        }
                    }
                });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn server(holder: &Holder, clients: Option<&Authority>) -> ServerConfig {
    server_of(holder, clients, rustls::ALL_VERSIONS)
}

fn server_of(
    holder: &Holder,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        Some(authority) => {
            let roots = Arc::new(authorities(authority.pem.as_bytes()).unwrap());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .allow_unauthenticated()
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let chain = certificates(holder.chain.as_bytes()).unwrap();
    builder
        .with_single_cert(chain, private_key(holder.key.as_bytes()).unwrap())
        .unwrap()
}

fn trusting(authority: &Authority) -> TlsSettings<'_> {
    TlsSettings {
        authorities: Some(authority.pem.as_bytes()),
        ..TlsSettings::default()
    }
}

fn client(settings: &TlsSettings<'_>) -> Client {
    Client::new(Settings::default()).with_tls(Tls::new(settings).unwrap())
}

async fn ask(client: &Client, peer: &Peer, host: &str) -> Result<String, Error> {
    let url = format!("https://{host}:{}/", peer.address.port());
    let request = crate::Request {
        method: Method::GET,
        url: Url::parse(&url).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        reach: Reach::Operator,
        timeout: SOON,
    };
    let mut response = client.send(request).await?;
    let body = response.body.read_to_end(100, SOON).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

fn whole(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(next) = source {
        text = format!("{text}: {next}");
        source = next.source();
    }
    text
}

#[tokio::test]
async fn tls_is_kept_alive_like_the_rest() {
    let authority = Authority::new("ours");
    let peer = Peer::start(server(&authority.server(), None)).await;
    let client = client(&trusting(&authority));
    for _ in 0..3 {
        assert_eq!(ask(&client, &peer, "localhost").await.unwrap(), "0");
    }
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let authority = Authority::new("ours");
    for version in rustls::ALL_VERSIONS {
        let peer = Peer::start(server_of(&authority.server(), None, &[version])).await;
        let client = client(&trusting(&authority));
        assert_eq!(ask(&client, &peer, "localhost").await.unwrap(), "0");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_not_for_this_host_ends_it() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let peer = Peer::start(server(&authority.server(), None)).await;
    for (client, host) in [
        (Client::new(Settings::default()), "localhost"),
        (client(&trusting(&other)), "localhost"),
        (client(&trusting(&authority)), "127.0.0.1"),
    ] {
        let error = ask(&client, &peer, host).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
        assert_eq!(error.sent(), Sent::No);
    }
}

#[tokio::test]
async fn a_certificate_may_be_for_another_name_if_the_config_says_which() {
    let authority = Authority::new("ours");
    let holder = authority.sign("inner.example", ExtendedKeyUsagePurpose::ServerAuth);
    let peer = Peer::start(server(&holder, None)).await;
    let named = |name| TlsSettings {
        server_name: Some(name),
        ..trusting(&authority)
    };
    let good = client(&named("inner.example"));
    assert_eq!(ask(&good, &peer, "127.0.0.1").await.unwrap(), "0");
    let bad = client(&named("other.example"));
    assert!(ask(&bad, &peer, "127.0.0.1").await.is_err());
    assert!(matches!(Tls::new(&named("no name")), Err(TlsError::Name)));
}

#[tokio::test]
async fn a_client_certificate_is_shown_and_its_connections_are_nobody_elses() {
    let authority = Authority::new("ours");
    let peer = Peer::start(server(&authority.server(), Some(&authority))).await;
    let agent = authority.sign("agent.example", ExtendedKeyUsagePurpose::ClientAuth);
    let nobody = client(&trusting(&authority));
    let tls = Tls::new(&TlsSettings {
        identity: Some(agent.identity()),
        ..trusting(&authority)
    });
    let somebody = nobody.with_tls(tls.unwrap());
    for _ in 0..2 {
        assert_eq!(ask(&nobody, &peer, "localhost").await.unwrap(), "0");
        assert_eq!(ask(&somebody, &peer, "localhost").await.unwrap(), "1");
    }
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn only_a_pinned_key_will_do() {
    let authority = Authority::new("ours");
    let (one, two) = (authority.server(), authority.server());
    let pinned = client(&TlsSettings {
        pins: vec![[7; 32], one.pin],
        ..trusting(&authority)
    });
    for version in rustls::ALL_VERSIONS {
        let peer = Peer::start(server_of(&one, None, &[version])).await;
        assert_eq!(ask(&pinned, &peer, "localhost").await.unwrap(), "0");
        let peer = Peer::start(server_of(&two, None, &[version])).await;
        let error = ask(&pinned, &peer, "localhost").await.unwrap_err();
        assert_eq!(error.sent(), Sent::No);
        assert!(
            whole(&error).contains("none of the pinned ones"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_pin_does_not_replace_trust() {
    let (authority, other) = (Authority::new("ours"), Authority::new("theirs"));
    let holder = other.server();
    let peer = Peer::start(server(&holder, None)).await;
    let pinned = client(&TlsSettings {
        pins: vec![holder.pin],
        ..trusting(&authority)
    });
    assert!(ask(&pinned, &peer, "localhost").await.is_err());
}

#[test]
fn what_is_made_from_the_same_is_the_same() {
    let authority = Authority::new("ours");
    let agent = authority.sign("agent.example", ExtendedKeyUsagePurpose::ClientAuth);
    let one = Tls::new(&trusting(&authority)).unwrap();
    assert_eq!(one, Tls::new(&trusting(&authority)).unwrap());
    for other in [
        TlsSettings::default(),
        TlsSettings {
            pins: vec![[0; 32]],
            ..trusting(&authority)
        },
        TlsSettings {
            server_name: Some("a.example"),
            ..trusting(&authority)
        },
        TlsSettings {
            identity: Some(agent.identity()),
            ..trusting(&authority)
        },
    ] {
        assert_ne!(one, Tls::new(&other).unwrap());
    }
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let authority = Authority::new("ours");
    let (one, two) = (authority.server(), authority.server());
    let torn = TlsSettings {
        identity: Some(Identity {
            chain: one.chain.as_bytes(),
            key: two.key.as_bytes(),
        }),
        ..TlsSettings::default()
    };
    assert!(matches!(Tls::new(&torn), Err(TlsError::Identity(_))));
    let keyless = TlsSettings {
        identity: Some(Identity {
            chain: one.chain.as_bytes(),
            key: one.chain.as_bytes(),
        }),
        ..TlsSettings::default()
    };
    assert!(matches!(Tls::new(&keyless), Err(TlsError::Key(_))));
    let empty = TlsSettings {
        authorities: Some(b""),
        ..TlsSettings::default()
    };
    assert!(matches!(Tls::new(&empty), Err(TlsError::Certificates(_))));
}

#[tokio::test]
async fn a_websocket_goes_through_the_same_tls() {
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
        let protocol = HeaderValue::from_static("mcp");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    }
    let authority = Authority::new("ours");
    let holder = authority.server();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(server(&holder, None)));
    let dial = Dial {
        url: Url::parse(&format!("wss://localhost:{port}/ws")).unwrap(),
        headers: HeaderMap::new(),
        protocol: "mcp",
        reach: Reach::Operator,
        timeout: SOON,
        message_max: 1024,
    };
    let accept = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let session = acceptor.accept(tcp).await.ok()?;
        Box::pin(accept_hdr_async(session, agree)).await.ok()
    };
    let trusted = client(&TlsSettings {
        pins: vec![holder.pin],
        ..trusting(&authority)
    });
    let (ours, theirs) = tokio::join!(trusted.websocket(dial.clone()), accept);
    let ((mut sender, _), mut theirs) = (ours.unwrap(), theirs.unwrap());
    sender.send([Bytes::from_static(b"hello")]).await.unwrap();
    let heard = futures_util::StreamExt::next(&mut theirs).await.unwrap();
    assert_eq!(heard.unwrap().into_data(), "hello");
    drop((sender, theirs));

    let accept = async {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.is_ok()
    };
    let stranger = Client::new(Settings::default());
    let (refused, opened) = tokio::join!(stranger.websocket(dial), accept);
    assert!(matches!(refused, Err(Error::Tls { .. })) && !opened);
}
