//! PostgreSQL: statements over a connection that a thread of the store's own drives.
//!
//! Callers are threads, some of them of the gate's runtime. A statement goes to the store's runtime as owned data, and
//! its caller waits for the answer, no longer than [`STATEMENT_TIMEOUT`]; a connection that was silent for so long, or
//! is gone, is never used again. Opening connections, and not asking a server that is away, is `server`.

mod server;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::{Access, Durability, Failure, Mark, Result, Row, Value, values};
use words::{Owned, owned, translated};

pub use server::{PostgresLogin, PostgresSettings};
pub(crate) use server::{Role, Server};

/// How long a statement may take, with its way there and back.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3);
/// Most statements that a connection keeps prepared; then it forgets them all.
const STATEMENTS_MAX: usize = 256;
/// Whoever writes holds this until its transaction ends: one at a time, whichever gate it is in. Of our choosing, and the
/// same in all versions.
const WRITER_LOCK: i64 = 0x706f_7274_6375_6c01;
/// Each statement sees what was committed before it: what was, before the lock was had, above all.
const OPEN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

type Sent = (&'static str, Vec<Owned>);

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    server: Arc<Server>,
    client: Arc<Client>,
    role: Role,
    prepared: RefCell<HashMap<String, Statement>>,
    /// Sent with the next statement that somebody waits for.
    sent: RefCell<Vec<Sent>>,
    is_broken: Cell<bool>,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, client: Client, role: Role) -> Self {
        Self {
            server,
            client: Arc::new(client),
            role,
            prepared: RefCell::default(),
            sent: RefCell::default(),
            is_broken: Cell::new(false),
        }
    }

    /// Another one in its place, if it can no longer be used.
    pub(crate) fn renew(&mut self) -> Result<()> {
        if !self.is_good() {
            *self = self.server.connect(self.role)?;
        }
        Ok(())
    }

    pub(super) fn is_good(&self) -> bool {
        !self.is_broken.get() && !self.client.is_closed()
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        self.settle()?;
        let (statement, values) = (self.prepare(sql)?, owned(values));
        let client = Arc::clone(&self.client);
        let changed = self.wait(async move { client.execute_raw(&statement, values).await })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let rows = self.query(sql, values)?;
        rows.iter().map(|row| read(&Row::Postgres(row))).collect()
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        let rows = self.query(sql, values)?;
        let first = rows.first();
        first.map(|row| read(&Row::Postgres(row))).transpose()
    }

    pub(super) fn send(&self, sql: &'static str, values: &[Value<'_>]) {
        self.sent.borrow_mut().push((sql, owned(values)));
    }

    pub(super) fn settle(&self) -> Result<()> {
        let sent = self.take_sent()?;
        if sent.is_empty() {
            return Ok(());
        }
        let client = Arc::clone(&self.client);
        self.wait(async move { run_all(&client, &sent).await })
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.settle()?;
        let (client, sql) = (Arc::clone(&self.client), sql.to_owned());
        self.wait(async move { client.batch_execute(&sql).await })
    }

    pub(super) fn begin(&self, access: Access, durability: Durability) -> Result<()> {
        let lock = match access {
            Access::Read => String::new(),
            Access::Write => format!("; SELECT pg_advisory_xact_lock({WRITER_LOCK})"),
        };
        let soon = match durability {
            Durability::Now => "",
            Durability::Soon => "; SET LOCAL synchronous_commit = off",
        };
        self.batch(&format!("{OPEN}{lock}{soon}"))
    }

    pub(super) fn commit(&self) -> Result<()> {
        // Not in one trip: what failed before it was sent must not be missing from what is committed.
        self.settle()?;
        self.batch("COMMIT")
    }

    /// Whether the batch is there: its writer's last one is.
    pub(super) fn has(&self, mark: &Mark<'_>) -> Result<bool> {
        let sql = "SELECT 1 FROM writers WHERE id = ?1 AND batch = ?2";
        self.one(sql, values![mark.writer, mark.number], |_| Ok(()))
            .map(|found| found.is_some())
    }

    /// Has the batch be there once it is committed. What writers left a day ago nobody is in doubt of.
    pub(super) fn put(&self, mark: &Mark<'_>) {
        let sql = "INSERT INTO writers (id, batch, at) VALUES (?1, ?2, now())
            ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, at = excluded.at";
        self.send(sql, values![mark.writer, mark.number]);
        if mark.number == 1 {
            self.send(
                "DELETE FROM writers WHERE at < now() - interval '1 day'",
                &[],
            );
        }
    }

    pub(super) fn roll_back(&self) {
        self.sent.borrow_mut().clear();
        if self.is_good() && self.batch("ROLLBACK").is_err() {
            self.is_broken.set(true);
        }
    }

    fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>> {
        self.settle()?;
        let (statement, values) = (self.prepare(sql)?, owned(values));
        let client = Arc::clone(&self.client);
        self.wait(async move {
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
            client.query(&statement, &values).await
        })
    }

    fn prepare(&self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.prepared.borrow().get(sql) {
            return Ok(statement.clone());
        }
        let (client, text) = (Arc::clone(&self.client), translated(sql));
        let statement = self.wait(async move { client.prepare(&text).await })?;
        let mut prepared = self.prepared.borrow_mut();
        if prepared.len() >= STATEMENTS_MAX {
            prepared.clear();
        }
        prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// What was sent, each with its statement.
    fn take_sent(&self) -> Result<Vec<(Statement, Vec<Owned>)>> {
        let sent = std::mem::take(&mut *self.sent.borrow_mut());
        sent.into_iter()
            .map(|(sql, values)| Ok((self.prepare(sql)?, values)))
            .collect()
    }

    fn wait<T: Send + 'static>(
        &self,
        asking: impl Future<Output = std::result::Result<T, tokio_postgres::Error>> + Send + 'static,
    ) -> Result<T> {
        if self.role == Role::Reader {
            self.server.ask()?;
        }
        let answered = self.server.run(STATEMENT_TIMEOUT, asking);
        let failure = match answered {
            Ok(Ok(answer)) => {
                self.server.is_there();
                return Ok(answer);
            }
            Ok(Err(error)) => {
                self.is_broken
                    .set(self.is_broken.get() || self.client.is_closed() || ends(&error));
                Failure::Postgres(error)
            }
            Err(silent) => {
                self.is_broken.set(true);
                silent
            }
        };
        // That one writer waits for another says nothing of the server.
        if self.is_broken.get() && self.role == Role::Reader {
            self.server.is_away();
        } else {
            self.server.is_there();
        }
        Err(failure)
    }
}

/// All of them down the line at once, in their order; the first that failed.
async fn run_all(
    client: &Client,
    sent: &[(Statement, Vec<Owned>)],
) -> std::result::Result<(), tokio_postgres::Error> {
    let mut flying = Vec::with_capacity(sent.len());
    for (statement, values) in sent {
        let mut asking = Box::pin(client.execute_raw(statement, values));
        // Its message leaves when it is first polled.
        match poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await {
            Poll::Ready(done) => drop(done?),
            Poll::Pending => flying.push(asking),
        }
    }
    for asking in flying {
        asking.await?;
    }
    Ok(())
}

/// Whether nothing good comes over a connection on which this was said.
fn ends(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Of the connection; of the operator's doing; a server that became a follower of another.
        Some(code) => {
            code.code().starts_with("08")
                || code.code().starts_with("57P")
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        }
        None => {
            error.is_closed()
                || error
                    .source()
                    .is_some_and(<dyn std::error::Error>::is::<io::Error>)
        }
    }
}

/// Waits without holding up what else its thread has to do.
pub(crate) fn blocking<T>(wait: impl FnOnce() -> T) -> T {
    let is_shared = Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if is_shared {
        tokio::task::block_in_place(wait)
    } else {
        wait()
    }
}

/// Runs something on the store's own runtime, and waits for it here.
fn run_on<T: Send + 'static>(
    handle: &Handle,
    within: Duration,
    asking: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let (answer, answered) = sync_channel(1);
    let task = handle.spawn(async move {
        // Whoever asked is there: it waits for just this.
        drop(answer.send(tokio::time::timeout(within, asking).await.ok()));
    });
    drop(task);
    blocking(|| answered.recv()).ok().flatten()
}

#[cfg(test)]
mod tests;
