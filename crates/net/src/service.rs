//! A connection to a service that speaks a protocol of its own: whoever asked for it says what is said over it.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use url::Host;

use crate::client::{Client, TIMEOUT_MAX};
use crate::connect::{Origin, connect};
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
        let origin = Origin {
            tls: service.encrypted.then(|| self.tls.clone()),
            host: service.host.clone(),
            port: service.port,
            reach: service.reach,
        };
        connect(&origin, Instant::now() + service.timeout.min(TIMEOUT_MAX)).await
    }
}
