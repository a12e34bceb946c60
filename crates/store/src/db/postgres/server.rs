//! The server: where it is, as whom it is spoken to, and whether it is worth asking.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Config, NoTls};
use zeroize::Zeroizing;

use super::super::{Connection, Failure, Result, values};
use super::{Session, run_on};
use crate::Error;
use crate::shared::Dial;

/// How long opening a connection may take, with all that is said before the first statement.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_800);
/// How long nobody asks a server that could not be reached.
const AWAY: Duration = Duration::from_millis(500);

/// What every connection begins with. A transaction whose gate went silent ends, so that another may write; a server
/// that was told to lose what it says it has kept is told otherwise.
const GREETING: &str = "SET statement_timeout = '10s';
    SET idle_in_transaction_session_timeout = '10s';
    SET tcp_keepalives_idle = 20;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// As whom, and into which database.
#[derive(Clone)]
pub struct PostgresLogin {
    /// The role.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<Zeroizing<String>>,
    /// The database.
    pub database: String,
}

impl fmt::Debug for PostgresLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLogin")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A PostgreSQL, 12 or later, that keeps what is durable.
#[derive(Debug, Clone)]
pub struct PostgresSettings {
    /// Opens connections to it.
    pub dial: Arc<dyn Dial>,
    /// As whom.
    pub login: PostgresLogin,
    /// Host and database, for messages.
    pub place: String,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It only looks.
    Reader,
    /// It writes, for the gate that shows with this lock that it lives.
    Writer(i64),
    /// It does one thing and ends.
    Errand,
}

/// The server, and the thread that drives the connections to it.
pub(crate) struct Server {
    settings: PostgresSettings,
    config: Config,
    /// Taken when dropped.
    runtime: Option<Runtime>,
    /// When it may be asked again; `None`: it is there, as far as anybody knows.
    away_until: Mutex<Option<Instant>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("place", &self.settings.place)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(settings: PostgresSettings) -> std::result::Result<Arc<Self>, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("store-postgres")
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let mut config = Config::new();
        config
            .user(&settings.login.user)
            .dbname(&settings.login.database)
            .application_name("portcullis")
            // Whoever dials has encrypted the connection already.
            .ssl_mode(SslMode::Disable);
        if let Some(password) = &settings.login.password {
            config.password(password.as_bytes());
        }
        Ok(Arc::new(Self {
            settings,
            config,
            runtime: Some(runtime),
            away_until: Mutex::new(None),
        }))
    }

    /// Does something every so often, until it says `false` or the server is dropped.
    pub(crate) fn every(&self, period: Duration, mut work: impl FnMut() -> bool + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(async move {
                while work() {
                    tokio::time::sleep(period).await;
                }
            }));
        }
    }

    /// Opens a connection.
    pub(crate) fn connect_for(self: &Arc<Self>, role: Role) -> Result<Connection> {
        self.connect(role).map(Connection::Postgres)
    }

    /// The same while no gate has its lock; `None` while one does.
    pub(crate) fn connect_alone(self: &Arc<Self>) -> Result<Option<Connection>> {
        let connection = self.connect_for(Role::Errand)?;
        // Who writes has the writers' lock besides, for a moment; who waits for that with none of its own is no gate.
        let sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (classid::bigint << 32 | objid::bigint) <> ?1 AND pid <> pg_backend_pid()";
        let is_shared = connection.exists(sql, values![super::WRITER_LOCK])?;
        Ok((!is_shared).then_some(connection))
    }

    pub(super) fn connect(self: &Arc<Self>, role: Role) -> Result<Session> {
        self.ask()?;
        let connected = self.dial().and_then(|client| {
            // It asks as one that does, until it is ready: that it may was found out above.
            let mut session = Session::new(Arc::clone(self), client, Role::Errand);
            session.batch(GREETING)?;
            match role {
                Role::Reader => session.batch("SET default_transaction_read_only = on")?,
                Role::Writer(gate) => take_over(&session, gate)?,
                Role::Errand => {}
            }
            session.role = role;
            Ok(session)
        });
        match &connected {
            Ok(_) => self.is_there(),
            Err(_) => self.is_away(),
        }
        connected
    }

    fn dial(&self) -> Result<tokio_postgres::Client> {
        let (dial, config) = (Arc::clone(&self.settings.dial), self.config.clone());
        let place = || self.settings.place.clone();
        let dialed = self.run(CONNECT_TIMEOUT, async move {
            let carrier = dial.dial().await.map_err(Refused::Dial)?;
            let (client, connection) = config
                .connect_raw(carrier, NoTls)
                .await
                .map_err(Refused::Login)?;
            // Ends with its client; what goes wrong is said to whoever waits for an answer.
            drop(tokio::runtime::Handle::current().spawn(connection));
            Ok(client)
        })?;
        dialed.map_err(|refused| match refused {
            Refused::Dial(cause) => Failure::Dial {
                place: place(),
                cause,
            },
            Refused::Login(error) => error.into(),
        })
    }

    /// Runs something that is said to it, and waits.
    pub(super) fn run<T: Send + 'static>(
        &self,
        within: Duration,
        asking: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let silent = || Failure::Silent {
            place: self.settings.place.clone(),
            waited: within,
        };
        let runtime = self.runtime.as_ref().ok_or_else(silent)?;
        run_on(runtime.handle(), within, asking).ok_or_else(silent)
    }

    /// Whether it may be asked now. Of those that want to know whether it is back, one at a time finds out.
    pub(super) fn ask(&self) -> Result<()> {
        let mut away_until = self.away_until.lock();
        let now = Instant::now();
        match *away_until {
            None => Ok(()),
            Some(until) if now < until => Err(Failure::Away(self.settings.place.clone())),
            Some(_) => {
                *away_until = Some(now + CONNECT_TIMEOUT);
                Ok(())
            }
        }
    }

    pub(super) fn is_there(&self) {
        *self.away_until.lock() = None;
    }

    pub(super) fn is_away(&self) {
        *self.away_until.lock() = Some(Instant::now() + AWAY);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Not waited for: this may be a thread of the gate's runtime, and nothing is under way without its asker.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

enum Refused {
    Dial(io::Error),
    Login(tokio_postgres::Error),
}

/// Shows that the gate lives. Who still does so in its name is an earlier connection of its own that the server takes
/// for alive: that one is ended, with what it holds.
fn take_over(session: &Session, gate: i64) -> Result<()> {
    session.batch(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32 | objid::bigint) = {gate} AND pid <> pg_backend_pid();
        SELECT pg_advisory_lock({gate})"
    ))
}
