//! The PostgreSQL that the config names, over a connection of `net`'s.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use net::Service;
use store::shared::{Carrier, Dial, Later};
use store::{PostgresLogin, PostgresSettings};

/// How long opening a connection may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a PostgreSQL is, and as whom it is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub door: Door,
    /// With whom the connection is encrypted, if not with whomever the operating system trusts.
    pub tls: Option<net::Tls>,
    /// As whom, and into which database.
    pub login: PostgresLogin,
    /// Host and database, for messages.
    pub place: String,
}

/// Where a PostgreSQL takes connections.
#[derive(Debug, Clone)]
pub enum Door {
    /// At a port.
    Port(Service),
    /// At a socket in the file system.
    Socket(PathBuf),
}

impl From<Settings> for PostgresSettings {
    fn from(settings: Settings) -> Self {
        Self {
            dial: Arc::new(Dialer {
                client: OnceLock::new(),
                door: settings.door,
                tls: settings.tls,
            }),
            login: settings.login,
            place: settings.place,
        }
    }
}

struct Dialer {
    /// Made when it is needed: it reads whom the operating system trusts.
    client: OnceLock<net::Client>,
    door: Door,
    tls: Option<net::Tls>,
}

impl Dialer {
    fn client(&self) -> &net::Client {
        self.client.get_or_init(|| {
            let client = net::Client::new(net::Settings::default());
            match &self.tls {
                Some(tls) => client.with_tls(tls.clone()),
                None => client,
            }
        })
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer")
            .field("door", &self.door)
            .finish_non_exhaustive()
    }
}

impl Dial for Dialer {
    fn dial(&self) -> Later<'_, io::Result<Box<dyn Carrier>>> {
        Box::pin(async {
            match &self.door {
                Door::Port(service) => {
                    let stream = self.client().connect_postgres(service).await;
                    let stream = stream.map_err(io::Error::other)?;
                    Ok(Box::new(stream) as Box<dyn Carrier>)
                }
                Door::Socket(path) => {
                    let stream = net::connect_socket(path, CONNECT_TIMEOUT).await?;
                    Ok(Box::new(stream) as Box<dyn Carrier>)
                }
            }
        })
    }
}
