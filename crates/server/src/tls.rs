//! TLS of the listeners: what is offered, who is let in with a client certificate, and which still holds.
//!
//! Offered are TLS 1.3 and, unless the config says otherwise, TLS 1.2, with [`CIPHER_SUITES`] and nothing else: forward
//! secret and authenticated throughout (RFC 9325 sections 3.1 and 4.2). What people write is `config::tls`; when
//! connections are taken, `http::connection`'s; whom a certificate stands for, `auth::certificate`'s.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use auth::ClientCertificate;
use rustls::crypto::aws_lc_rs::cipher_suite as suite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// All that is offered, best first: AEADs, with an ephemeral key exchange.
pub const CIPHER_SUITES: [SupportedCipherSuite; 9] = [
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The first byte of a TLS record that begins a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// What somebody hears who speaks HTTP here.
pub(crate) const NOT_PLAIN: &str = "This port speaks TLS; use https.\n";
/// So much of what they sent is read before the connection is closed; otherwise the answer might be lost with it.
const UNREAD_MAX: u64 = 64 * 1024;

/// What the listeners' TLS is made from. Everything in PEM.
pub struct Settings<'a> {
    /// The gate's certificate first, then those above it.
    pub chain: &'a [u8],
    /// Its private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: &'a [u8],
    /// Who may come with a certificate.
    pub clients: Option<Clients<'a>>,
    /// The oldest version spoken.
    pub oldest: Version,
    /// Whether listeners on a loopback address do without.
    pub loopback_plaintext: bool,
}

/// Who may come with a certificate.
#[derive(Clone, Copy)]
pub struct Clients<'a> {
    /// The authorities whose certificates are taken.
    pub authorities: &'a [u8],
    /// What they have revoked. Given one, there must be one of every authority on the way to a root, and a list past its
    /// `nextUpdate` lets nobody in (RFC 5280 section 5.1.2.5).
    pub revoked: &'a [Vec<u8>],
    /// Whether nobody may come without.
    pub required: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// Why the listeners cannot speak TLS like this.
#[derive(Debug, thiserror::Error)]
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
pub enum Error {
    /// The chain.
    #[error("there is no certificate in it, or a broken one")]
    Chain(#[source] pem::Error),
    /// The key.
    #[error("there is no private key in it, or one that is broken or encrypted")]
    Key(#[source] pem::Error),
    /// They do not fit.
    #[error("the certificate and the key do not fit each other, or cannot be used")]
    Pair(#[source] rustls::Error),
    /// An authority.
    #[error("there is no certificate of an authority in it, or a broken one")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A revocation list.
    #[error("there is no revocation list in it, or a broken one")]
    Revoked(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// At which addresses the listeners speak TLS: known without the private key, so to commands beside a gate too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// All is in the clear.
    Nowhere,
    /// Loopback addresses are in the clear.
    BeyondLoopback,
    /// At all of them.
    Everywhere,
}

impl Spoken {
    /// With TLS, and plain HTTP on loopback addresses or not.
    #[must_use]
    pub fn with(loopback_plaintext: bool) -> Self {
        if loopback_plaintext {
            Self::BeyondLoopback
        } else {
            Self::Everywhere
        }
    }

    /// Whether who connects to this address has to speak TLS.
    #[must_use]
    pub fn at(self, address: SocketAddr) -> bool {
        match self {
            Self::Nowhere => false,
            Self::BeyondLoopback => !address.ip().to_canonical().is_loopback(),
            Self::Everywhere => true,
        }
    }
}

/// TLS as the listeners speak it. An immutable snapshot: a reload makes a new one, for new connections.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    acceptor: TlsAcceptor,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    loopback_plaintext: bool,
    expires_at: Option<SystemTime>,
}

/// What a client proved in the handshake.
pub(crate) struct Proof {
    /// Its certificate.
    pub(crate) certificate: Arc<ClientCertificate>,
    chain: Vec<CertificateDer<'static>>,
    /// By which rules.
    by: Tls,
}

impl Tls {
    /// Whether clients are asked for certificates.
    pub(crate) fn knows_clients(&self) -> bool {
        self.0.clients.is_some()
    }

    /// Reads certificates and keys.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn new(settings: &Settings<'_>) -> Result<Self, Error> {
        let chain: Vec<CertificateDer<'static>> = all(settings.chain).map_err(Error::Chain)?;
        // What this cannot read, others may all the same.
        let own = chain
            .first()
            .and_then(|own| ClientCertificate::read(own).ok());
        let key = PrivateKeyDer::from_pem_slice(settings.key).map_err(Error::Key)?;
        let provider = Arc::new(CryptoProvider {
            cipher_suites: CIPHER_SUITES.to_vec(),
            ..aws_lc_rs::default_provider()
        });
        let clients = match &settings.clients {
            Some(clients) => Some(verifier(clients, Arc::clone(&provider))?),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&settings.oldest.and_newer())
            .map_err(Error::Pair)?;
        let builder = match &clients {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(Error::Pair)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if clients.is_some() {
            // A session taken up again is not verified again: who was revoked meanwhile would come in.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self(Arc::new(Inner {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            clients,
            loopback_plaintext: settings.loopback_plaintext,
            expires_at: own.map(|own| own.expires_at),
        })))
    }

    /// When the gate's own certificate ends, if that can be read.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.expires_at
    }

    /// Whether who connects to this address has to speak TLS.
    #[must_use]
    pub fn is_spoken_at(&self, address: SocketAddr) -> bool {
        Spoken::with(self.0.loopback_plaintext).at(address)
    }

    /// Shakes hands. Has no deadline of its own.
    ///
    /// # Errors
    /// If the client does not speak TLS as offered, or its certificate does not pass.
    pub(crate) async fn accept(
        &self,
        mut stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Proof>)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
            if first[0].is_ascii_uppercase() {
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{NOT_PLAIN}",
                    NOT_PLAIN.len()
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await?;
                let mut unread = stream.take(UNREAD_MAX);
                tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
            }
            return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no TLS"));
        }
        let session = self.0.acceptor.accept(stream).await?;
        let proof = match session.get_ref().1.peer_certificates() {
            Some([first, ..]) => {
                let certificate = ClientCertificate::read(first).map_err(io::Error::other)?;
                let chain = session.get_ref().1.peer_certificates().unwrap_or_default();
                Some(Proof {
                    certificate: Arc::new(certificate),
                    chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
                    by: self.clone(),
                })
            }
            Some([]) | None => None,
        };
        Ok((session, proof))
    }

    /// Whether what was proved before would still pass.
    pub(crate) fn accepts(&self, proof: &Proof) -> bool {
        if Arc::ptr_eq(&self.0, &proof.by.0) {
            return true;
        }
        let (Some(clients), [certificate, above @ ..]) = (&self.0.clients, &proof.chain[..]) else {
            return false;
        };
        clients
            .verify_client_cert(certificate, above, UnixTime::now())
            .is_ok()
    }
}

impl Version {
    fn and_newer(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V1_2 => vec![&version::TLS13, &version::TLS12],
            Self::V1_3 => vec![&version::TLS13],
        }
    }
}

impl fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("clients", &self.clients)
            .field("oldest", &self.oldest)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Clients<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients")
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("clients", &self.0.clients.is_some())
            .field("loopback_plaintext", &self.0.loopback_plaintext)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// All things of a kind in a PEM text; at least one.
fn all<T: PemObject>(text: &[u8]) -> Result<Vec<T>, pem::Error> {
    let found: Vec<T> = T::pem_slice_iter(text).collect::<Result<_, _>>()?;
    if found.is_empty() {
        return Err(pem::Error::NoItemsFound);
    }
    Ok(found)
}

fn verifier(
    clients: &Clients<'_>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in all(clients.authorities).map_err(|error| Error::Authority(error.into()))? {
        roots
            .add(authority)
            .map_err(|error| Error::Authority(error.into()))?;
    }
    let mut revoked: Vec<CertificateRevocationListDer<'static>> = Vec::new();
    for text in clients.revoked {
        revoked.extend(all(text).map_err(|error| Error::Revoked(error.into()))?);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .with_crls(revoked)
        .enforce_revocation_expiration();
    let builder = match clients.required {
        true => builder,
        false => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| match error {
        VerifierBuilderError::InvalidCrl(_) => Error::Revoked(error.into()),
        error => Error::Authority(error.into()),
    })
}
