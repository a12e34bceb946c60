//! Buckets in a Redis (5 or later, or Valkey) that several gates share.
//!
//! All takes of a call are one script, so one round trip and one step for Redis. The script goes by Redis's clock: the
//! gates' clocks may disagree, and the monotonic one means nothing in another process. Keys end with their bucket.
//!
//! Without Redis each gate counts by itself in memory, with the same numbers ([`Fail::Local`]): n gates then let through
//! up to n times the limit. What a gate lets through while Redis is there it counts in memory too, so that it does not
//! start afresh when Redis goes; what it counted alone it does not tell Redis afterwards, which is wrong for no longer
//! than a bucket takes to run out. [`Fail::Closed`] refuses instead. A call waits for Redis at most
//! [`RedisSettings::timeout`], and only until the first notices that it is gone: then nobody asks until
//! [`Shared::keep`] has made a take of its own over a connection. A Redis that is there and refuses (no memory left, no
//! permission) counts as gone too, but is asked again over the same connection.

use std::fmt;
use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind,
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::{Later, Memory, Shared, Status, Take, TakeError, Taking};

/// How long connecting may take, with everything that is said before the first take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause between two tries to connect.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How often it is tried whether takes still work; once they did for so long, pauses begin anew.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The bucket that it is tried with. Never full, and forgotten after milliseconds.
const PROBE: Take<'static> = Take {
    key: "probe",
    interval: NonZeroU64::new(1_000_000).unwrap(),
    max: NonZeroU32::MAX,
    cost: NonZeroU32::MIN,
};

/// Redis's own clock, in microseconds, for [`TAKE`].
const NOW: &str = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n";
/// What a take does there.
const TAKE: &str = include_str!("redis/take.lua");

/// A connection's two directions.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Carrier for T {}

/// Opens connections to Redis, encrypted if they are to be: only `net` goes out, so somebody above puts the two together.
pub trait Dial: Send + Sync + fmt::Debug + 'static {
    /// A connection, ready for the first byte of the protocol.
    fn dial(&self) -> Later<'_, io::Result<Box<dyn Carrier>>>;
}

/// As whom, and into which of Redis's databases.
#[derive(Clone, Default)]
pub struct Login {
    /// The user, if not the default one.
    pub user: Option<String>,
    /// The password, if there is one.
    pub password: Option<Zeroizing<String>>,
    /// The number of the database.
    pub database: i64,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// What happens without Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fail {
    /// Each gate counts by itself.
    Local,
    /// Nothing that is limited gets through.
    Closed,
}

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// As whom.
    pub login: Login,
    /// What all keys begin with, so that several installations can share a Redis.
    pub prefix: String,
    /// What happens without it.
    pub fail: Fail,
    /// How long a call waits for it at most.
    pub timeout: Duration,
}

/// Buckets in Redis.
#[derive(Debug)]
pub struct Redis {
    dial: Arc<dyn Dial>,
    settings: RedisSettings,
    local: Memory,
    link: Mutex<Option<Arc<Link>>>,
    without: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// Whether the log says that it is there; `None`: it says nothing yet.
    told: Mutex<Option<bool>>,
}

/// An open connection, with the script known at its other end.
#[derive(Debug)]
struct Link {
    connection: MultiplexedConnection,
    /// The script's SHA-1 as Redis told it: what `EVALSHA` takes.
    script: String,
    /// Nobody asks over it any more.
    dead: CancellationToken,
    /// Nobody asks over it for now.
    refusing: Notify,
}

impl Redis {
    /// Knows how to connect; [`Shared::keep`] does it.
    #[must_use]
    pub fn new(dial: Arc<dyn Dial>, settings: RedisSettings) -> Self {
        Self {
            dial,
            settings,
            local: Memory::new(),
            link: Mutex::default(),
            without: AtomicU64::new(0),
            last_error: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// What is counted while there is no Redis.
    fn without(&self, takes: &[Take<'_>], now: Duration) -> Result<(), TakeError> {
        self.without.fetch_add(1, Ordering::Relaxed);
        match self.settings.fail {
            Fail::Local => self.local.take_now(takes, now),
            Fail::Closed => Err(TakeError::Unavailable),
        }
    }

    async fn take_there(
        &self,
        link: Arc<Link>,
        takes: &[Take<'_>],
        now: Duration,
    ) -> Result<(), TakeError> {
        let asked = timeout(
            self.settings.timeout,
            link.take(&self.settings.prefix, takes),
        );
        match asked.await {
            Ok(Ok(Ok(()))) => {
                // Redis decided; this is only so that memory knows if it must go on alone.
                let _full_here = self.local.take_now(takes, now);
                return Ok(());
            }
            Ok(Ok(Err(full))) => return Err(full),
            Ok(Err(error)) if is_refusal(&error) => {
                if self.withdraw(&link, error.to_string()) {
                    link.refusing.notify_one();
                }
            }
            Ok(Err(error)) => self.lose(&link, error.to_string()),
            Err(_elapsed) => self.lose(&link, self.too_late().to_string()),
        }
        self.without(takes, now)
    }

    fn too_late(&self) -> OpenError {
        OpenError::Silent(self.settings.timeout)
    }

    /// Nobody asks over this connection any more.
    fn lose(&self, link: &Arc<Link>, why: String) {
        if self.withdraw(link, why) {
            link.dead.cancel();
        }
    }

    /// Nobody asks over this connection until it is tried again; whether it was the first to notice.
    fn withdraw(&self, link: &Arc<Link>, why: String) -> bool {
        let is_first = self
            .link
            .lock()
            .take_if(|one| Arc::ptr_eq(one, link))
            .is_some();
        if is_first {
            self.is_down(why);
        }
        is_first
    }

    /// One connection, from its opening to its end.
    async fn connect(&self, pause: &mut Duration) -> Result<(), OpenError> {
        let login = &self.settings.login;
        let mut info = RedisConnectionInfo::default().set_db(login.database);
        if let Some(user) = &login.user {
            info = info.set_username(user);
        }
        if let Some(password) = &login.password {
            info = info.set_password(password.as_str());
        }
        // Deadlines are ours.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opening = async {
            let stream = self.dial.dial().await?;
            let (connection, driver) =
                MultiplexedConnection::new_with_config(&info, stream, config).await?;
            let mut driver = Box::pin(driver);
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg([NOW, TAKE].concat());
            let mut asking = connection.clone();
            let script = tokio::select! {
                script = load.query_async::<String>(&mut asking) => script?,
                () = &mut driver => return Err(OpenError::Closed),
            };
            let dead = CancellationToken::new();
            let link = Link {
                connection,
                script,
                dead,
                refusing: Notify::new(),
            };
            Ok((Arc::new(link), driver))
        };
        let (link, driver) = timeout(CONNECT_TIMEOUT, opening)
            .await
            .map_err(|_elapsed| OpenError::Silent(CONNECT_TIMEOUT))??;
        tokio::select! {
            why = self.lend(&link, pause) => Err(why),
            () = driver => Err(OpenError::Closed),
            () = link.dead.cancelled() => Ok(()),
        }
    }

    /// Has calls use a connection while takes work over it; why it is of no use any more.
    async fn lend(&self, link: &Arc<Link>, pause: &mut Duration) -> OpenError {
        // As patient as a call before calls use it; later a hiccup that no call noticed does no harm.
        let mut patience = self.settings.timeout;
        loop {
            let takes = [PROBE];
            match timeout(patience, link.take(&self.settings.prefix, &takes)).await {
                Ok(Ok(_counted)) => {
                    let was_lent = self.link.lock().replace(Arc::clone(link)).is_some();
                    if was_lent {
                        *pause = PAUSE_MIN;
                        self.is_up();
                    }
                    patience = CONNECT_TIMEOUT;
                    tokio::select! {
                        () = tokio::time::sleep(PROBE_EVERY) => continue,
                        () = link.refusing.notified() => *self.link.lock() = None,
                    }
                }
                Ok(Err(error)) if is_refusal(&error) => {
                    *self.link.lock() = None;
                    self.is_down(error.to_string());
                }
                Ok(Err(error)) => return error.into(),
                Err(_elapsed) => return OpenError::Silent(patience),
            }
            patience = self.settings.timeout;
            tokio::time::sleep(*pause).await;
            *pause = longer(*pause);
        }
    }

    /// Says so, unless it was said last. Only after a good while: what comes and goes fills no log.
    fn is_up(&self) {
        if self.told.lock().replace(true) != Some(true) {
            info!("the shared counters are there");
        }
    }

    fn is_down(&self, why: String) {
        if self.told.lock().replace(false) != Some(false) {
            warn!(error = why, fail = ?self.settings.fail, "the shared counters cannot be reached");
        }
        *self.last_error.lock() = Some(why);
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

/// Whether Redis itself said no, over a connection that works. One that became read-only is another matter: its successor
/// is found by connecting again.
fn is_refusal(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(why) => why != ServerErrorKind::ReadOnly,
        ErrorKind::Extension => true,
        _ => false,
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("cannot connect: {0}")]
    Dial(#[from] io::Error),
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error("the connection was closed")]
    Closed,
    #[error("no answer within {0:?}")]
    Silent(Duration),
}

impl Link {
    async fn take(
        &self,
        prefix: &str,
        takes: &[Take<'_>],
    ) -> Result<Result<(), TakeError>, RedisError> {
        // Arithmetic in the script would let it through in part only; here nothing is asked at all.
        if let Some(at) = takes.iter().position(|take| take.cost > take.max) {
            let wait = Duration::MAX;
            return Ok(Err(TakeError::Full { at, wait }));
        }
        let mut connection = self.connection.clone();
        let command = |verb: &str, script: &str| {
            let mut command = Cmd::new();
            command.arg(verb).arg(script).arg(takes.len());
            for take in takes {
                command.arg([prefix, take.key].concat());
            }
            for take in takes {
                command.arg(take.interval.get());
                command.arg(take.max.get());
                command.arg(take.cost.get());
            }
            command
        };
        let told = command("EVALSHA", &self.script)
            .query_async::<(usize, u64)>(&mut connection)
            .await;
        let (refusing, nanos) = match told {
            // Somebody had Redis forget its scripts.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", &[NOW, TAKE].concat())
                    .query_async(&mut connection)
                    .await?
            }
            told => told?,
        };
        Ok(match refusing.checked_sub(1) {
            None => Ok(()),
            Some(at) => Err(TakeError::Full {
                at,
                wait: Duration::from_nanos(nanos),
            }),
        })
    }
}

impl Shared for Redis {
    fn take<'a>(&'a self, takes: &'a [Take<'a>], now: Duration) -> Taking<'a> {
        if takes.is_empty() {
            return Taking::Done(Ok(()));
        }
        let link = self.link.lock().clone();
        match link {
            Some(link) => Taking::Asked(Box::pin(self.take_there(link, takes, now))),
            None => Taking::Done(self.without(takes, now)),
        }
    }

    fn keep<'a>(&'a self, stop: &'a CancellationToken) -> Later<'a, ()> {
        Box::pin(async move {
            let mut pause = PAUSE_MIN;
            while let Some(ended) = stop.run_until_cancelled(self.connect(&mut pause)).await {
                *self.link.lock() = None;
                if let Err(error) = ended {
                    self.is_down(error.to_string());
                }
                let _stopped = timeout(pause, stop.cancelled()).await;
                pause = longer(pause);
            }
            *self.link.lock() = None;
        })
    }

    fn status(&self) -> Status {
        Status {
            kind: "redis",
            is_up: self.link.lock().is_some(),
            without: self.without.load(Ordering::Relaxed),
            keys: self.local.len(),
            last_error: self.last_error.lock().clone(),
        }
    }
}

#[cfg(test)]
mod tests;
