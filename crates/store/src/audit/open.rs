//! Calls that were begun and not answered: whose they are, and what becomes of those whose gate is gone.
//!
//! A gate holds a lock for as long as it lives: on a file of its own beside the database, or in the PostgreSQL, with the
//! connection that it writes over. The system lets go of it whatever ended the gate, so who holds none is gone.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError, remove_file};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::search::{self, Range};
use super::text::{SALT_LEN, hex};
use super::{AuditRow, Fields, Outcome};
use crate::db::{self, Connection, Failure, Role, values};
use crate::store::Place;
use crate::{Error, Store, journal};

/// Random bytes in a gate's name.
const ID_LEN: usize = 8;
/// Salts that are made at once.
const SALTS: usize = 64;
/// Within which a gate that lives takes its lock in a PostgreSQL back, when the connection broke that had it.
const BACK_AFTER: Duration = Duration::from_secs(5);
/// Why a call that its gate left behind is `unknown`.
const LEFT: &str = "the gate ended before the call did";

/// This gate among those that write to the database.
#[derive(Debug)]
pub(crate) struct Instance {
    id: String,
    sign: Sign,
    /// The calls that it has begun and that are not over, as the database has them: no more than there are places in the
    /// queue.
    begun: HashSet<String>,
    /// Those that were begun in this batch, and their rows' numbers: most are over in the same one.
    fresh: BTreeMap<String, i64>,
    salts: Salts,
}

/// Random bytes, fetched for many rows at once.
#[derive(Debug)]
struct Salts {
    bytes: Box<[[u8; SALT_LEN]; SALTS]>,
    used: usize,
}

impl Salts {
    fn next(&mut self) -> Result<[u8; SALT_LEN], Error> {
        if self.used == SALTS {
            let bytes = self.bytes.as_flattened_mut();
            rand::fill(bytes).map_err(|_none| Error::NoRandomness)?;
            self.used = 0;
        }
        let salt = self.bytes.get(self.used).copied();
        self.used += 1;
        salt.ok_or(Error::NoRandomness)
    }
}

/// How a gate shows that it lives.
#[derive(Debug)]
enum Sign {
    /// Locked once there is a call that could be left behind.
    File { path: PathBuf, held: Option<File> },
    /// The connection that writes has the lock from its beginning.
    Connection,
    /// It does not.
    None,
}

impl Sign {
    fn of(place: &Place, gate: &str) -> Self {
        match place {
            Place::File(database) => Self::File {
                path: lock_of(database, gate),
                held: None,
            },
            Place::Server(_) => Self::Connection,
        }
    }
}

impl Instance {
    pub(crate) fn new(place: &Place) -> Result<Self, Error> {
        let mut id = [0; ID_LEN];
        rand::fill(&mut id).map_err(|_none| Error::NoRandomness)?;
        let id = hex(&id);
        let sign = Sign::of(place, &id);
        Ok(Self::with(id, sign))
    }

    /// A gate that is gone, for what it has left to be written.
    pub(crate) fn gone(id: &str) -> Self {
        Self::with(id.to_owned(), Sign::None)
    }

    fn with(id: String, sign: Sign) -> Self {
        Self {
            id,
            sign,
            begun: HashSet::new(),
            fresh: BTreeMap::new(),
            salts: Salts {
                bytes: Box::new([[0; SALT_LEN]; SALTS]),
                used: SALTS,
            },
        }
    }

    /// What it is called among the gates of its database.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The number of its lock in a PostgreSQL.
    pub(crate) fn key(&self) -> i64 {
        key_of(&self.id)
    }

    /// Random bytes for one row.
    pub(super) fn salt(&mut self) -> db::Result<[u8; SALT_LEN]> {
        let salt = self.salts.next();
        salt.map_err(|error| Failure::Beside(error.into()))
    }

    /// A batch begins: of one that failed nothing is left.
    pub(crate) fn begin(&mut self) {
        self.fresh.clear();
    }

    /// Keeps account of calls that were begun and are not over; the database has them by the next
    /// [`settle`](Self::settle). `is_again`: it was tried before, and what is known here may be ahead of the database.
    pub(crate) fn note(
        &mut self,
        connection: &Connection,
        row: &Fields<'_>,
        seq: i64,
        is_again: bool,
    ) -> db::Result<()> {
        if row.outcome == Outcome::Pending {
            self.fresh.insert(row.call_id.to_owned(), seq);
            return Ok(());
        }
        self.fresh.remove(row.call_id);
        // Nearly all calls were not begun, or in this batch: they only read, or are over soon.
        let was_begun = !self.begun.is_empty() && self.begun.remove(row.call_id);
        if was_begun || is_again || row.outcome == Outcome::Unknown {
            connection.send(
                "DELETE FROM audit_open WHERE call_id = ?1",
                values![row.call_id],
            )?;
        }
        Ok(())
    }

    /// Has the database know all calls that were begun and are not over.
    pub(crate) fn settle(&mut self, connection: &Connection) -> db::Result<()> {
        if !self.fresh.is_empty() {
            self.hold().map_err(|error| Failure::Beside(error.into()))?;
        }
        for (call_id, seq) in std::mem::take(&mut self.fresh) {
            connection.send(
                "INSERT INTO audit_open (call_id, seq, gate) VALUES (?1, ?2, ?3)
                ON CONFLICT (call_id) DO UPDATE SET seq = excluded.seq, gate = excluded.gate",
                values![call_id, seq, self.id],
            )?;
            self.begun.insert(call_id);
        }
        Ok(())
    }

    /// Shows that it lives, from now on.
    fn hold(&mut self) -> std::io::Result<()> {
        match &mut self.sign {
            Sign::File { path, held } if held.is_none() => {
                let file = OpenOptions::new()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .mode(0o600)
                    .open(path)?;
                file.lock()?;
                *held = Some(file);
            }
            Sign::File { .. } | Sign::Connection | Sign::None => {}
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // One that stays is no harm: nobody holds its lock.
        if let Sign::File {
            path,
            held: Some(_),
        } = &self.sign
        {
            drop(remove_file(path));
        }
    }
}

impl Store {
    /// Waits until the log has what other gates before the same file have told anybody is written.
    ///
    /// # Errors
    /// If one does not write it, or it cannot be read.
    pub(super) async fn others_caught_up(&self) -> Result<(), Error> {
        if let Place::Server(_) = self.place() {
            return Ok(());
        }
        let store = self.clone();
        let caught_up = spawn_blocking(move || {
            let place = store.place();
            let open = store.recover_journals()?;
            match journal::catch_up(place, &place.open(Role::Reader)?, &open)? {
                Some(gate) => Err(Error::Behind(gate)),
                None => Ok(()),
            }
        });
        caught_up.await.map_err(|_panicked| Error::Closed)?
    }

    /// Ends the calls that a gate which is gone had begun: nobody can say what became of them. `at_us` is now, in
    /// microseconds since 1970. How many there were.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub async fn settle_begun(&self, at_us: i64) -> Result<usize, Error> {
        let store = self.clone();
        let recovered = spawn_blocking(move || store.recover_journals()).await;
        let open = recovered.map_err(|_panicked| Error::Closed)??;
        let gates: Vec<String> = self.read(|connection| {
            let sql = "SELECT DISTINCT gate FROM audit_open ORDER BY gate";
            connection.all(sql, &[], |row| row.get(0))
        })?;
        let mut settled = 0;
        // The journal may have more than the log.
        for gate in gates.into_iter().filter(|gate| !open.contains(gate)) {
            // Kept until the last of its calls is settled: two gates that start at once do not settle them twice.
            let Some(mut left) = left_behind(self.place(), &gate)? else {
                continue;
            };
            if !left.stays_gone().await {
                continue;
            }
            let begun: Vec<i64> = self.read(|connection| {
                let sql = "SELECT seq FROM audit_open WHERE gate = ?1 ORDER BY seq";
                connection.all(sql, values![gate], |row| row.get(0))
            })?;
            for seq in begun {
                let found = self.read(|connection| {
                    let mut found = search::first(connection, Range::one(seq), 1, |_| true)?;
                    found.pop().ok_or(Failure::Missing)
                })?;
                let row = AuditRow {
                    at_us,
                    outcome: Outcome::Unknown,
                    reason: Some(LEFT.to_owned()),
                    ..found.row
                };
                let slot = self.reserve_audit(super::SETTLE_WAIT).await?;
                slot.commit(&row, super::SETTLE_WAIT).await?;
                settled += 1;
            }
            left.forget();
        }
        Ok(settled)
    }
}

/// The lock of a gate that is gone.
enum Left {
    File {
        path: PathBuf,
        _lock: File,
    },
    /// Ends with it.
    Connection {
        lock: Connection,
    },
}

impl Left {
    /// Whether its gate does not come back: who does ends the connection that has its lock now.
    async fn stays_gone(&mut self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Connection { lock } => {
                sleep(BACK_AFTER).await;
                lock.exists("SELECT 1", &[]).is_ok()
            }
        }
    }

    fn forget(self) {
        match self {
            Self::File { path, _lock } => drop(remove_file(path)),
            Self::Connection { lock } => drop(lock),
        }
    }
}

/// `None` if it lives.
fn left_behind(place: &Place, gate: &str) -> Result<Option<Left>, Error> {
    match place {
        Place::File(database) => {
            let path = lock_of(database, gate);
            // Made if it is not there: two that start at once do not both settle.
            let mut options = OpenOptions::new();
            let options = options.create(true).truncate(false).write(true).mode(0o600);
            let Ok(file) = options.open(&path) else {
                return Ok(None);
            };
            match file.try_lock() {
                Ok(()) => Ok(Some(Left::File { path, _lock: file })),
                Err(TryLockError::WouldBlock | TryLockError::Error(_)) => Ok(None),
            }
        }
        Place::Server(server) => {
            let connection = server.connect_for(Role::Errand)?;
            let sql = "SELECT pg_try_advisory_lock(?1)";
            let is_gone: bool = connection.only(sql, values![key_of(gate)], |row| row.get(0))?;
            Ok(is_gone.then_some(Left::Connection { lock: connection }))
        }
    }
}

/// The file that a gate holds locked.
fn lock_of(database: &Path, gate: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(format!(".gate-{gate}"));
    PathBuf::from(name)
}

/// The number of a gate's lock in a PostgreSQL. What is no gate's name has one that no gate holds.
fn key_of(gate: &str) -> i64 {
    u64::from_str_radix(gate, 16)
        .unwrap_or_default()
        .cast_signed()
}
