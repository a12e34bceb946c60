//! With whom a connection is encrypted, and as whom.
//!
//! Authorities, a client certificate, pinned keys and the server's name: read once, kept apart from each other by their
//! [`Tls`], which is part of what two requests must share to share a connection. Opening connections is `connect`.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tracing::warn;
use url::Host;

#[cfg(test)]
mod tests;

/// What is particular about the connections to one server. Empty: the authorities of the operating system, no client
/// certificate, no pins.
#[derive(Default)]
pub struct TlsSettings<'a> {
    /// Authorities in PEM, in place of those of the operating system.
    pub authorities: Option<&'a [u8]>,
    /// The client certificate: its chain, and its private key.
    pub identity: Option<Identity<'a>>,
    /// SHA-256 of the `SubjectPublicKeyInfo`s of which the server's own certificate must have one; none: any (RFC 7469
    /// section 2.4, but for the certificate itself and not those above it).
    pub pins: Vec<[u8; 32]>,
    /// The name that the certificate must be for, in place of the URL's host.
    pub server_name: Option<&'a str>,
}

/// A client certificate in PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate first, then those above it.
    pub chain: &'a [u8],
    /// PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: &'a [u8],
}

/// Why TLS cannot be done like this.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate in the PEM text, or a broken one.
    #[error("there is no certificate in it, or a broken one")]
    Certificates(#[source] pem::Error),
    /// There is no private key in the PEM text, or a broken one.
    #[error("there is no private key in it, or a broken one")]
    Key(#[source] pem::Error),
    /// A certificate cannot be trusted as an authority's.
    #[error("a certificate in it is no authority's")]
    Authority(#[source] rustls::Error),
    /// Key and certificate do not belong together, or cannot be used.
    #[error("this certificate and this key cannot be used")]
    Identity(#[source] rustls::Error),
    /// No name of a server.
    #[error("it is no name that a certificate could be for")]
    Name,
}

/// With whom connections are encrypted, and as whom. Cheap to clone; equal if made from the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    /// A digest of all that it was made from.
    id: [u8; 32],
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads certificates and keys, and the system's authorities from disk if there are no others.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(settings: &TlsSettings<'_>) -> Result<Self, TlsError> {
        let roots = match settings.authorities {
            Some(pem) => authorities(pem)?,
            None => native_roots(),
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = versioned(Arc::clone(&provider));
        let builder = if settings.pins.is_empty() {
            builder.with_root_certificates(roots)
        } else {
            let pinned = Pinned::new(roots, settings.pins.clone(), provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(pinned))
        };
        let mut config = match settings.identity {
            Some(Identity { chain, key }) => builder
                .with_client_auth_cert(certificates(chain)?, private_key(key)?)
                .map_err(TlsError::Identity)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = match settings.server_name {
            Some(name) => {
                Some(ServerName::try_from(name.to_owned()).map_err(|_invalid| TlsError::Name)?)
            }
            None => None,
        };
        Ok(Self(Arc::new(Inner {
            id: id(settings),
            connector: TlsConnector::from(Arc::new(config)),
            server_name,
        })))
    }

    /// What the operating system trusts, and nothing particular.
    pub(crate) fn of_system() -> Self {
        Self::new(&TlsSettings::default()).expect("nothing is set that could be wrong")
    }

    pub(crate) fn connector(&self) -> &TlsConnector {
        &self.0.connector
    }

    /// The same for another protocol than HTTP, by its ALPN name.
    pub(crate) fn connector_for(&self, protocol: &[u8]) -> TlsConnector {
        let mut config = ClientConfig::clone(self.0.connector.config());
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    /// The name that the certificate of `host` must be for.
    pub(crate) fn server_name(&self, host: &Host<String>) -> io::Result<ServerName<'static>> {
        match (&self.0.server_name, host) {
            (Some(name), _) => Ok(name.clone()),
            (None, Host::Domain(name)) => {
                ServerName::try_from(name.clone()).map_err(io::Error::other)
            }
            (None, Host::Ipv4(v4)) => Ok(ServerName::from(std::net::IpAddr::V4(*v4))),
            (None, Host::Ipv6(v6)) => Ok(ServerName::from(std::net::IpAddr::V6(*v6))),
        }
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for Tls {}

impl Hash for Tls {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl fmt::Debug for TlsSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").finish_non_exhaustive()
    }
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

fn versioned(provider: Arc<CryptoProvider>) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("this provider has cipher suites for TLS 1.2 and 1.3")
}

/// Each part with its length before it, so that none can be taken for another.
fn id(settings: &TlsSettings<'_>) -> [u8; 32] {
    let TlsSettings {
        authorities,
        identity,
        pins,
        server_name,
    } = settings;
    let pins = pins.concat();
    let parts = [
        *authorities,
        identity.map(|identity| identity.chain),
        identity.map(|identity| identity.key),
        Some(&pins[..]),
        server_name.map(str::as_bytes),
    ];
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        context.update(&length.to_be_bytes());
        context.update(part.unwrap_or_default());
    }
    sha256(context)
}

fn sha256(context: digest::Context) -> [u8; 32] {
    let digest = context.finish();
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(TlsError::Certificates(pem::Error::NoItemsFound)),
        Ok(found) => Ok(found),
        Err(error) => Err(TlsError::Certificates(error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(TlsError::Key)
}

fn authorities(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(TlsError::Authority)?;
    }
    Ok(roots)
}

fn native_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        warn!(%error, "some of the system's certificate authorities could not be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        warn!("the system has no certificate authorities; no https upstream can be reached");
    }
    roots
}

/// A good certificate with a key that is not pinned.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is good, but its key is none of the pinned ones")]
struct Unpinned;

/// Verifies as usual, and then that the server's key is a pinned one.
#[derive(Debug)]
struct Pinned {
    usual: Arc<WebPkiServerVerifier>,
    pins: Vec<[u8; 32]>,
}

impl Pinned {
    fn new(
        roots: RootCertStore,
        pins: Vec<[u8; 32]>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| TlsError::Authority(rustls::Error::General(error.to_string())))?;
        Ok(Self { usual, pins })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.usual.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let mut key = digest::Context::new(&SHA256);
        key.update(&certificate.subject_public_key_info());
        if self.pins.contains(&sha256(key)) {
            return Ok(verified);
        }
        Err(OtherError(Arc::new(Unpinned)).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
