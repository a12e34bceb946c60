//! The few things that this room asks of a database, whichever it is: SQLite here, PostgreSQL there.
//!
//! A statement is written once, in what both understand, with `?1`, `?2` … for its values, and nothing from outside is
//! ever part of its text. Columns hold whole numbers, texts and bytes, and are read by their place. Where the two need
//! other words, [`Connection::either`] has both. How a file is opened is in `sqlite`, how a server is spoken to in
//! `postgres`.

mod postgres;
mod sqlite;
mod value;

use std::time::Duration;

use rusqlite::ErrorCode;

pub use postgres::{PostgresLogin, PostgresSettings};
pub(crate) use postgres::{Role, Server, Session, blocking};
pub(crate) use value::{Row, ToValue, Value};

/// What came instead of what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What SQLite said.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// What PostgreSQL said, or what became of the connection to it.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// No connection to PostgreSQL could be opened.
    #[error("no connection to {place}")]
    Dial {
        /// Host and database.
        place: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// PostgreSQL could not be reached a moment ago: nobody asks again before the next try.
    #[error("{0} could not be reached a moment ago")]
    Away(String),
    /// PostgreSQL said nothing in time.
    #[error("{place} did not answer within {waited:?}")]
    Silent {
        /// Host and database.
        place: String,
        /// How long was waited.
        waited: Duration,
    },
    /// All connections were in use.
    #[error("all connections to the database were in use for {0:?}")]
    Busy(Duration),
    /// A column holds what this version cannot read.
    #[error("column {column} of a row cannot be read: {why}")]
    Column {
        /// Its place in the row.
        column: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A segment of the audit log is not what was written.
    #[error("the audit log is damaged: the records from number {0} on cannot be read")]
    Segment(i64),
    /// There is no row where there always is one.
    #[error("a row is missing")]
    Missing,
    /// What had to be done beside the database could not be done.
    #[error("the transaction cannot go on")]
    Beside(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Failure {
    pub(crate) fn column(column: usize, why: impl std::fmt::Display) -> Self {
        Self::Column {
            column,
            why: why.to_string(),
        }
    }

    /// Whether the disk failed, under what was committed before as well.
    pub(crate) fn is_of_disk(&self) -> bool {
        matches!(self, Self::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// How soon a commit has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Before it counts as done: whoever waits may rely on it, whatever becomes of the machine.
    Now,
    /// When it suits: it survives the end of this process, not that of the machine.
    Soon,
}

/// Whether a transaction may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It only looks.
    Read,
    /// It is alone: of those that write, one at a time begins.
    Write,
}

/// A batch of changes, told from all others: its commit may have got there though nobody heard of it.
#[derive(Debug)]
pub(crate) struct Mark<'a> {
    /// Who writes it: no two have the same name.
    pub(crate) writer: &'a str,
    /// Grows with every batch of the writer's.
    pub(crate) number: i64,
    /// It was tried before.
    pub(crate) is_again: bool,
}

/// An open connection, used by one thread at a time.
#[derive(Debug)]
pub(crate) enum Connection {
    /// To a file.
    Sqlite(File),
    /// To a server.
    Postgres(Session),
}

/// The values of a statement, in the order of their numbers: `values![id, to_micros(at)]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        &[$($crate::db::ToValue::to_value(&$value)),*]
    };
}
pub(crate) use values;

impl Connection {
    /// Makes a change; how many rows it is about.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize> {
        match self {
            Self::Sqlite(file) => sqlite::execute(file, sql, values),
            Self::Postgres(session) => session.execute(sql, values),
        }
    }

    /// Makes a change, of which it is enough to know by the next [`settle`](Self::settle), or by the commit, that it
    /// worked: many of these cost one trip to the server.
    pub(crate) fn send(&self, sql: &'static str, values: &[Value<'_>]) -> Result<()> {
        match self {
            Self::Sqlite(file) => sqlite::execute(file, sql, values).map(drop),
            Self::Postgres(session) => {
                session.send(sql, values);
                Ok(())
            }
        }
    }

    /// Fails if something that was sent did.
    pub(crate) fn settle(&self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.settle(),
        }
    }

    /// All rows that a query finds.
    pub(crate) fn all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        match self {
            Self::Sqlite(file) => sqlite::all(file, sql, values, read),
            Self::Postgres(session) => session.all(sql, values, read),
        }
    }

    /// The first row that a query finds.
    pub(crate) fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<Option<T>> {
        match self {
            Self::Sqlite(file) => sqlite::one(file, sql, values, read),
            Self::Postgres(session) => session.one(sql, values, read),
        }
    }

    /// The row that a query always finds.
    pub(crate) fn only<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.one(sql, values, read)?.ok_or(Failure::Missing)
    }

    /// Whether a query finds anything.
    pub(crate) fn exists(&self, sql: &str, values: &[Value<'_>]) -> Result<bool> {
        self.one(sql, values, |_| Ok(())).map(|row| row.is_some())
    }

    /// Several statements of ours without values, one after the other.
    pub(crate) fn batch(&self, sql: &str) -> Result<()> {
        match self {
            Self::Sqlite(file) => sqlite::batch(file, sql),
            Self::Postgres(session) => session.batch(sql),
        }
    }

    /// The words that this database understands, where the two have no common ones.
    pub(crate) fn either<T>(&self, sqlite: T, postgres: T) -> T {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Runs all of it or nothing.
    pub(crate) fn transaction<T, E: From<Failure>>(
        &self,
        access: Access,
        durability: Durability,
        run: impl FnOnce(&Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let begun = match self {
            Self::Sqlite(file) => sqlite::begin(file, access, durability),
            Self::Postgres(session) => session.begin(access, durability),
        };
        let done = begun.map_err(E::from).and_then(|()| run(self));
        let done = done.and_then(|done| {
            match self {
                Self::Sqlite(file) => sqlite::commit(file)?,
                Self::Postgres(session) => session.commit()?,
            }
            Ok(done)
        });
        if done.is_err() {
            // One that cannot be rolled back is none any more, or its connection is gone.
            match self {
                Self::Sqlite(file) => drop(sqlite::roll_back(file)),
                Self::Postgres(session) => session.roll_back(),
            }
        }
        done
    }

    /// The same for changes that must not be made twice: what a try before this one committed is not made again.
    pub(crate) fn transaction_once(
        &self,
        mark: &Mark<'_>,
        durability: Durability,
        run: impl FnOnce(&Self) -> Result<()>,
    ) -> Result<()> {
        self.transaction(Access::Write, durability, |connection| match connection {
            // Here a commit that was not confirmed has not happened.
            Self::Sqlite(_) => run(connection),
            Self::Postgres(session) => {
                if mark.is_again && session.has(mark)? {
                    return Ok(());
                }
                session.put(mark);
                run(connection)
            }
        })
    }

    /// Runs a part of a transaction; `false` undoes that part, and no other.
    pub(crate) fn savepoint(&self, run: impl FnOnce(&Self) -> bool) -> Result<()> {
        self.batch("SAVEPOINT part")?;
        if !run(self) {
            self.batch("ROLLBACK TO SAVEPOINT part")?;
        }
        self.batch("RELEASE SAVEPOINT part")
    }

    /// Puts another in its place, if it can no longer be used.
    pub(crate) fn renew(&mut self) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.renew(),
        }
    }

    /// Has all that was committed reach the disk, by another way than the one on which the disk failed. Needed before
    /// anything is committed again: what that loses on its way, all behind it is lost with.
    pub(crate) fn mend(&self) -> Result<()> {
        match self {
            Self::Sqlite(file) => sqlite::mend(file),
            Self::Postgres(_) => Ok(()),
        }
    }

    /// Whether it can be used again.
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(session) => session.is_good(),
        }
    }
}

pub(crate) use sqlite::{File, open as open_file, open_alone as open_file_alone};
