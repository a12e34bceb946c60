//! A gate in service: store, gate and listeners brought up together, reloaded, and taken down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auth::{Auth, Revocations, Site};
use gateway::Gate;
use observe::Metrics;
use policy::Clock;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::Keeper;
use crate::config::Loaded;
use crate::http::{Edge, Threads, listen};
use crate::vault;

/// How long upstreams and streams get to end once calls are done.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);

/// Why a gate could not be brought into service.
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the database `{path}` cannot be used")]
    Store {
        /// Where it is.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        cause: store::Error,
    },
    /// An address.
    #[error(
        "cannot listen on {address}; is another gate running? `portcullis serve --listen 127.0.0.1:0` takes any free port"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The config was read for a command that starts nothing.
    #[error("the config was read without its secrets")]
    WithoutSecrets,
    /// The master key.
    #[error("the secrets cannot be opened")]
    Vault(#[from] vault::Error),
    /// The threads that serve connections.
    #[error("no threads could be started")]
    Threads(#[source] std::io::Error),
    /// The gate itself.
    #[error("the gate cannot start")]
    Start(#[from] gateway::StartError),
    /// A built-in upstream.
    #[error("an upstream cannot be set up")]
    Upstream(#[from] upstream::Error),
}

/// A gate without listeners: what every command that makes calls runs on.
#[derive(Debug)]
pub struct Core {
    gate: Arc<Gate>,
    store: Store,
    keeper: Keeper,
    secrets_seen: Option<i64>,
}

impl Core {
    /// Opens the store and starts gate and upstreams. Needs a runtime. `addresses` are those on which it will
    /// be reached; none for a gate that serves only this process.
    ///
    /// # Errors
    /// If the database or a built-in upstream cannot be used.
    pub fn start(
        loaded: &Loaded,
        addresses: &[SocketAddr],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        if !loaded.is_whole() {
            return Err(Error::WithoutSecrets);
        }
        let path = loaded.database();
        let unusable = |cause| Error::Store {
            path: path.clone(),
            cause,
        };
        let store = Store::open(&path).map_err(unusable)?;
        let secrets_seen = store.secrets_version().ok();
        let vault = vault::open(&store, &loaded.master_key, clock.wall())?;
        let revocations = Revocations::open(store.clone(), Arc::clone(&clock)).map_err(unusable)?;
        let client = net::Client::new(net::Settings::default());
        let auth = Auth::new(
            auth::Parts {
                store: store.clone(),
                clock: Arc::clone(&clock),
                client: client.clone(),
                site: Site::new(&base(loaded, addresses)),
                vault: Arc::clone(&vault),
                revocations,
            },
            loaded.auth.clone(),
        );
        let parts = gateway::Parts {
            shared: crate::shared::open(loaded.shared.as_ref(), &client),
            client,
            store: store.clone(),
            audit: loaded.audit,
            clock: Arc::clone(&clock),
            auth,
            metrics: Metrics::new(env!("CARGO_PKG_VERSION")),
            supervisor: crate::supervise::program(),
        };
        let gate = Gate::start(parts, for_gate(loaded))?;
        Ok(Self {
            keeper: Keeper::start(store.clone(), vault, clock),
            gate,
            store,
            secrets_seen,
        })
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Its durable state.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Ends upstreams and tasks, and writes what is still to be written.
    pub async fn stop(self) {
        self.gate.stop(STOP_TIMEOUT).await;
        self.gate.auth().accounts().stop().await;
        self.keeper.stop().await;
        self.store.close().await;
    }
}

/// A gate with its listeners.
#[derive(Debug)]
pub struct Serving {
    core: Core,
    edge: Arc<Edge>,
    addresses: Vec<SocketAddr>,
    listeners: TaskTracker,
    threads: Arc<Threads>,
    closing: CancellationToken,
    drain: Duration,
}

fn for_gate(loaded: &Loaded) -> gateway::Loaded {
    gateway::Loaded {
        settings: loaded.gateway.clone(),
        upstreams: loaded.upstreams.clone(),
    }
}

/// The origin at which clients reach the gate: what the config says, or else the first address that it listens on.
pub(crate) fn base(loaded: &Loaded, addresses: &[SocketAddr]) -> String {
    if let Some(url) = &loaded.http.public_url {
        return url.clone();
    }
    let first = addresses.first().or(loaded.listen.first()).copied();
    origin(
        loaded,
        first.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8080))),
    )
}

/// An address as a client on this machine reaches it: scheme, host and port.
pub(crate) fn origin(loaded: &Loaded, address: SocketAddr) -> String {
    let ip = if address.ip().is_unspecified() {
        std::net::Ipv4Addr::LOCALHOST.into()
    } else {
        address.ip()
    };
    let address = SocketAddr::new(ip, address.port());
    let scheme = if loaded.tls_spoken.at(address) {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{address}")
}

/// Brings a gate into service.
///
/// # Errors
/// If the database, an address or a built-in upstream cannot be used.
pub async fn start(loaded: Loaded, clock: Arc<dyn Clock>) -> Result<Serving, Error> {
    // Addresses first: nothing else is begun if another gate has them.
    let mut bound = Vec::with_capacity(loaded.listen.len());
    for address in &loaded.listen {
        let failed = |cause| Error::Listen {
            address: *address,
            cause,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        bound.push((listener.local_addr().map_err(failed)?, listener));
    }
    let addresses: Vec<SocketAddr> = bound.iter().map(|(address, _)| *address).collect();
    let core = Core::start(&loaded, &addresses, clock)?;
    let gate = Arc::clone(core.gate());
    let edge = Arc::new(Edge::new(
        gate,
        loaded.http.clone(),
        loaded.tls.clone(),
        loaded.drain,
    ));
    let places = Arc::new(Semaphore::new(loaded.http.connections_max));
    let threads = Arc::new(Threads::start(&edge).map_err(Error::Threads)?);
    let (listeners, closing) = (TaskTracker::new(), CancellationToken::new());
    for (_, listener) in bound {
        listeners.spawn(listen(
            listener,
            Arc::clone(&places),
            Arc::clone(&threads),
            closing.clone(),
        ));
    }
    listeners.close();
    Ok(Serving {
        core,
        edge,
        addresses,
        listeners,
        threads,
        closing,
        drain: loaded.drain,
    })
}

impl Serving {
    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        self.core.gate()
    }

    /// Its durable state.
    #[must_use]
    pub fn store(&self) -> &Store {
        self.core.store()
    }

    /// The version of the secrets before anything was started with them; `None` if it could not be read.
    #[must_use]
    pub fn secrets_seen(&self) -> Option<i64> {
        self.core.secrets_seen
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes over another config: rules, limits, keys, upstreams, HTTP bounds, certificates. Listeners and the database
    /// stay, and so does whether there is TLS. Open connections notice nothing, but for those of clients whose
    /// certificate no longer passes: they end.
    ///
    /// # Errors
    /// If a built-in upstream cannot be set up.
    pub fn reload(&self, loaded: &Loaded) -> Result<(), Error> {
        self.core.gate().reload(for_gate(loaded))?;
        self.core.gate().auth().reload(loaded.auth.clone());
        self.edge.settings.store(Arc::new(loaded.http.clone()));
        // Whether there is TLS decides what the gate is called from outside, which stays.
        let is_on = self.edge.tls.borrow().is_some();
        if let Some(tls) = loaded.tls.clone().filter(|_| is_on) {
            self.edge.tls.send_replace(Some(tls));
        }
        Ok(())
    }

    /// Takes no more connections, lets calls in flight finish, then ends everything.
    pub async fn stop(self) {
        self.closing.cancel();
        self.core.gate().drain();
        self.listeners.wait().await;
        if !self.threads.finish(self.drain).await {
            tracing::warn!(waited = ?self.drain, "some calls were still running and are given up");
        }
        self.core.stop().await;
    }
}
