//! Connections that read, kept open between two queries.

use std::ops::Deref;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::db::{Connection, Failure, Result};

/// Most connections to a file that are kept open; more are opened when they are needed at once.
const FILE_KEPT: usize = 4;
/// Most connections to a server: who finds none waits for one.
const SERVER_MAX: usize = 8;
/// How long.
const WAIT: Duration = Duration::from_secs(3);

/// The connections.
#[derive(Debug)]
pub(crate) struct Readers {
    state: Mutex<State>,
    returned: Condvar,
    open_max: usize,
    kept_max: usize,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Connection>,
    /// Those lent out too.
    open: usize,
}

impl Readers {
    pub(crate) fn of_file() -> Self {
        Self::new(usize::MAX, FILE_KEPT)
    }

    pub(crate) fn of_server() -> Self {
        Self::new(SERVER_MAX, SERVER_MAX)
    }

    fn new(open_max: usize, kept_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            returned: Condvar::new(),
            open_max,
            kept_max,
        }
    }

    /// One that is idle, or else another.
    pub(crate) fn take(&self, open: impl FnOnce() -> Result<Connection>) -> Result<Lent<'_>> {
        let mut state = self.state.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                drop(state);
                return Ok(Lent::new(self, Some(connection)));
            }
            if state.open < self.open_max {
                state.open += 1;
                drop(state);
                // Counted while it is not there yet; not any more if it never is.
                let mut lent = Lent::new(self, None);
                lent.connection = Some(open()?);
                return Ok(lent);
            }
            let waited = crate::db::blocking(|| self.returned.wait_for(&mut state, WAIT));
            if waited.timed_out() {
                return Err(Failure::Busy(WAIT));
            }
        }
    }

    /// Closes those that nobody uses.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.open -= state.idle.len();
        state.idle.clear();
    }
}

/// A connection, for a while.
pub(crate) struct Lent<'a> {
    readers: &'a Readers,
    connection: Option<Connection>,
}

impl<'a> Lent<'a> {
    fn new(readers: &'a Readers, connection: Option<Connection>) -> Self {
        Self {
            readers,
            connection,
        }
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is lent with one")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take().filter(Connection::is_good);
        let mut state = self.readers.state.lock();
        let fits = state.idle.len() < self.readers.kept_max;
        match connection.filter(|_| fits) {
            Some(connection) => state.idle.push(connection),
            None => state.open -= 1,
        }
        drop(state);
        self.readers.returned.notify_one();
    }
}
