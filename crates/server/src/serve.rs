//! A gate in service: store, gate and listeners brought up together, reloaded, and taken down in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use auth::{Auth, Revocations, Site};
use gateway::{Gate, Happened};
use observe::alerts::Alerts;
use observe::health::{Health, Order, Task, Tasks};
use observe::logs::Logs;
use observe::metrics::Pusher;
use observe::trace::Tracer;
use observe::{AuditMode, Metrics};
use parking_lot::Mutex;
use policy::Clock;
use store::{Outcome, Store};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{self, Upkeep};
use crate::config::Loaded;
use crate::expiry;
use crate::http::{Edge, Threads, listen};
use crate::sinks::Sinks;
use crate::{telemetry, vault};

/// How long upstreams and streams get to end once calls are done.
const STOP_TIMEOUT: Duration = Duration::from_secs(6);
/// How long what carries records away gets to end after that.
const RECORDS_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last push of metrics gets after that.
const METRICS_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a gate could not be brought into service.
#[expect(
    clippy::error_impl_error,
    reason = "each room has one error, named by its room"
)]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error("the database `{place}` cannot be used")]
    Store {
        /// Where it is.
        place: String,
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
    tasks: Tasks,
    /// How the audit log is looked after.
    upkeep: Arc<ArcSwap<Upkeep>>,
    sinks: Sinks,
    pusher: Pusher,
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
        let place = loaded.database();
        let unusable = |cause| Error::Store {
            place: place.to_string(),
            cause,
        };
        let store = Store::open(&place).map_err(unusable)?;
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
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
        let tasks = Tasks::new(Health::new(Arc::clone(&clock)), metrics.clone());
        let tracer = Tracer::new(loaded.tracing.clone(), env!("CARGO_PKG_VERSION"), &metrics);
        let pusher = Pusher::new(metrics.clone(), Arc::clone(&clock));
        telemetry::start(&tracer, &pusher, &client, &tasks);
        let parts = gateway::Parts {
            tracer,
            shared: crate::shared::open(loaded.shared.as_ref(), &client),
            client,
            store: store.clone(),
            audit: loaded.audit,
            clock,
            auth,
            metrics,
            tasks: tasks.clone(),
            supervisor: crate::supervise::program(),
        };
        let gate = Gate::start(parts, for_gate(loaded))?;
        let upkeep = Arc::new(ArcSwap::from_pointee(loaded.upkeep.clone()));
        audit::start(&tasks, &gate, &vault, &upkeep);
        Ok(Self {
            sinks: Sinks::new(&tasks, &gate),
            gate,
            store,
            tasks,
            upkeep,
            pusher,
            secrets_seen,
        })
    }

    /// Sends the audit log and metrics on to where the config says. Not for a gate that ends with one command: what it
    /// records is sent on by the next that stays, and its metrics are nobody's business. Needs a runtime.
    pub fn send_on(&self, loaded: &Loaded) {
        self.sinks.set(&loaded.sinks);
        self.pusher.set(loaded.pushing.clone());
    }

    /// The gate.
    #[must_use]
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Has the audit log's records written ahead, where calls wait for them: for a gate that stays, and has many.
    ///
    /// # Errors
    /// If the system gives no thread for it.
    pub fn keep_journal(&self, loaded: &Loaded) -> Result<(), Error> {
        if loaded.audit != AuditMode::Durable {
            return Ok(());
        }
        let place = loaded.database().to_string();
        let unusable = |cause| Error::Store { place, cause };
        self.store.keep_journal().map_err(unusable)
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
        self.tasks.stop(Order::Records, RECORDS_STOP_TIMEOUT).await;
        self.tasks.stop(Order::Metrics, METRICS_STOP_TIMEOUT).await;
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
    logs: Option<Logs>,
    alerts: Alerts,
    /// Of the config that holds.
    digest: Mutex<String>,
}

/// Why a config is taken over, or would have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// A file or a secret changed.
    Change,
}

impl Cause {
    /// The word in records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signal => "SIGHUP",
            Self::Change => "a change",
        }
    }
}

fn for_gate(loaded: &Loaded) -> gateway::Loaded {
    gateway::Loaded {
        settings: loaded.gateway.clone(),
        upstreams: loaded.upstreams.clone(),
        digest: Some(loaded.digest.clone()),
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

/// Brings a gate into service whose log is somebody else's.
///
/// # Errors
/// If the database, an address or a built-in upstream cannot be used.
pub async fn start(loaded: Loaded, clock: Arc<dyn Clock>) -> Result<Serving, Error> {
    Box::pin(serve(loaded, clock, None)).await
}

/// Brings a gate into service that shows its log, and takes over what its config says of it.
///
/// # Errors
/// As [`start`].
pub async fn start_logged(
    loaded: Loaded,
    clock: Arc<dyn Clock>,
    logs: Logs,
) -> Result<Serving, Error> {
    Box::pin(serve(loaded, clock, Some(logs))).await
}

async fn serve(
    loaded: Loaded,
    clock: Arc<dyn Clock>,
    logs: Option<Logs>,
) -> Result<Serving, Error> {
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
    let core = Core::start(&loaded, &addresses, Arc::clone(&clock))?;
    core.keep_journal(&loaded)?;
    core.send_on(&loaded);
    let gate = Arc::clone(core.gate());
    let alerts = Alerts::new(
        loaded.alerts.clone(),
        base(&loaded, &addresses),
        (gate.metrics(), core.tasks.health()),
        gate.auth().parts().client.clone(),
        Arc::clone(&clock),
    );
    let edge = Arc::new(Edge::new(
        gate,
        loaded.http.clone(),
        loaded.tls.clone(),
        loaded.drain,
        logs.clone(),
        alerts.clone(),
    ));
    crate::alerts::start(&alerts, &core.tasks);
    expiry::start(&core.tasks, &edge, &clock);
    if let Some(logs) = &logs {
        let logs = logs.clone();
        core.tasks.supervise(Task::Logs, move |stop| {
            let logs = logs.clone();
            async move { logs.keep(&stop).await }
        });
    }
    let places = Arc::new(Semaphore::new(loaded.http.connections_max));
    let threads = Arc::new(Threads::start(&edge).map_err(Error::Threads)?);
    let looked = crate::metrics::Looked {
        edge: Arc::downgrade(&edge),
        connections_max: loaded.http.connections_max,
        data_dir: loaded.data_dir.clone(),
        main: tokio::runtime::Handle::current(),
        http: threads.runtimes().to_vec(),
    };
    crate::metrics::tell(core.gate().metrics(), looked);
    let (listeners, closing) = (TaskTracker::new(), CancellationToken::new());
    for (_, listener) in bound {
        listeners.spawn(listen(
            listener,
            Arc::clone(&places),
            Arc::clone(&threads),
            core.gate().metrics().clone(),
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
        logs,
        alerts,
        digest: Mutex::new(loaded.digest),
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
    pub fn reload(&self, loaded: &Loaded, cause: Cause) -> Result<(), Error> {
        if let Err(error) = self.core.gate().reload(for_gate(loaded)) {
            self.refused(cause, upstream::chain(&error));
            return Err(error.into());
        }
        let before = std::mem::replace(&mut *self.digest.lock(), loaded.digest.clone());
        self.gate().note(Happened {
            about: Some(cause.as_str().to_owned()),
            digest: Some(loaded.digest.clone()),
            reason: Some(format!("before: {before}")),
            ..Happened::new("config/reload")
        });
        self.core.upkeep.store(Arc::new(loaded.upkeep.clone()));
        self.core.send_on(loaded);
        self.gate().tracer().reload(loaded.tracing.clone());
        self.core.gate().auth().reload(loaded.auth.clone());
        self.edge.settings.store(Arc::new(loaded.http.clone()));
        self.alerts.reload(loaded.alerts.clone());
        if let Some(logs) = &self.logs {
            logs.configure(&loaded.log.filter);
        }
        // Whether there is TLS decides what the gate is called from outside, which stays.
        let is_on = self.edge.tls.borrow().is_some();
        if let Some(tls) = loaded.tls.clone().filter(|_| is_on) {
            self.edge.tls.send_replace(Some(tls));
        }
        Ok(())
    }

    /// Records that a config was not taken over. `why` has keys and no values.
    pub fn refused(&self, cause: Cause, why: String) {
        self.gate().note(Happened {
            about: Some(cause.as_str().to_owned()),
            outcome: Outcome::Refused,
            reason: Some(why),
            ..Happened::new("config/reload")
        });
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
