//! A connection to a service that speaks a protocol of its own: whoever asked for it says what is said over it.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use url::Host;

use crate::client::{Client, TIMEOUT_MAX};
use crate::connect::{Origin, connect, connect_postgres};
use crate::{Error, Reach};

/// Where a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its host.
    pub host: Host<String>,
    /// Its port.
    pub port: u16,
    /// Whether the connection is encrypted, from its first byte.
    pub encrypted: bool,
    /// Who chose it, and so which addresses it may have.
    pub reach: Reach,
    /// How long until the connection must be open.
    pub timeout: Duration,
}

impl Client {
    /// Opens a connection. It is nobody else's, and not kept.
    ///
    /// # Errors
    /// See [`Error`]; nothing was said.
    pub async fn connect(
        &self,
        service: &Service,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Error> {
        connect(&self.origin(service), deadline(service)).await
    }

    /// The same to a PostgreSQL, which does not begin with TLS: it is asked for it first.
    ///
    /// # Errors
    /// See [`Error`]; nothing but that question was said.
    pub async fn connect_postgres(
        &self,
        service: &Service,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>, Error> {
        connect_postgres(&self.origin(service), deadline(service)).await
    }

    fn origin(&self, service: &Service) -> Origin {
        Origin {
            tls: service.encrypted.then(|| self.tls.clone()),
            host: service.host.clone(),
            port: service.port,
            reach: service.reach,
        }
    }
}

fn deadline(service: &Service) -> Instant {
    Instant::now() + service.timeout.min(TIMEOUT_MAX)
}

/// Opens a connection to a service of this machine, at a socket in the file system.
///
/// # Errors
/// If nobody takes it within `within`.
pub async fn connect_socket(
    path: &Path,
    within: Duration,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
    timeout(within.min(TIMEOUT_MAX), UnixStream::connect(path)).await?
}
