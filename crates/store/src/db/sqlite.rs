//! SQLite: a file that this process opens itself.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, ToSql, ffi, params_from_iter};

use super::{Access, Durability, Failure, Result, Row, Value};

/// How long one connection waits for another process's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Most statements that a connection keeps prepared.
const STATEMENTS_MAX: usize = 64;

/// An open file.
#[derive(Debug)]
pub(crate) struct File {
    connection: Connection,
    /// How soon its commits are on the disk: said to SQLite where it changes, since that is read as a statement.
    durability: Cell<Durability>,
}

impl File {
    pub(crate) fn new(connection: Connection) -> Result<Self> {
        let file = Self {
            connection,
            durability: Cell::new(Durability::Now),
        };
        file.synchronise(Durability::Now)?;
        Ok(file)
    }

    fn synchronise(&self, durability: Durability) -> Result<()> {
        let level = match durability {
            Durability::Now => "full",
            Durability::Soon => "normal",
        };
        self.connection.pragma_update(None, "synchronous", level)?;
        self.durability.set(durability);
        Ok(())
    }
}

/// Opens a file that is there.
pub(crate) fn open(path: &Path, access: Access) -> Result<super::Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    set_up(connection, access)
}

/// The same while no other process, and nothing else in this one, has it open; `None` while somebody does.
pub(crate) fn open_alone(path: &Path) -> Result<Option<super::Connection>> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::ZERO)?;
    // Before its first look at the file: with that it takes the lock which all others have a share in, for as long as they
    // have the file open.
    connection.pragma_update(None, "locking_mode", "exclusive")?;
    match set_up(connection, Access::Write) {
        Ok(alone) => Ok(Some(alone)),
        Err(Failure::Sqlite(error))
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn set_up(connection: Connection, access: Access) -> Result<super::Connection> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "foreign_keys", true)?;
    match access {
        Access::Write => {
            connection.pragma_update(None, "journal_mode", "wal")?;
            // What is deleted, or written again elsewhere, is overwritten: it may be erased later.
            connection.pragma_update(None, "secure_delete", true)?;
        }
        Access::Read => connection.pragma_update(None, "query_only", true)?,
    }
    Ok(super::Connection::Sqlite(File::new(connection)?))
}

pub(super) fn begin(file: &File, access: Access, durability: Durability) -> Result<()> {
    if file.durability.get() != durability {
        file.synchronise(durability)?;
    }
    let begin = match access {
        Access::Read => "BEGIN",
        Access::Write => "BEGIN IMMEDIATE",
    };
    execute(file, begin, &[]).map(drop)
}

pub(super) fn commit(file: &File) -> Result<()> {
    execute(file, "COMMIT", &[]).map(drop)
}

pub(super) fn roll_back(file: &File) -> Result<()> {
    batch(file, "ROLLBACK")
}

/// Statements without values.
pub(super) fn batch(file: &File, sql: &str) -> Result<()> {
    Ok(file.connection.execute_batch(sql)?)
}

/// Writes what is in the WAL into the database file, syncs that, and begins the WAL anew.
///
/// A commit that need not be on the disk at once leaves frames in the WAL that are not. When the disk then refuses to
/// sync the next commit's, the system holds them for written, and no later sync says otherwise; but after a crash the WAL
/// is read only as far as it is whole.
pub(super) fn mend(file: &File) -> Result<()> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy: bool = file.connection.query_row(sql, [], |row| row.get(0))?;
    if is_busy {
        // Somebody reads from it: the next try may find it alone.
        return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None).into());
    }
    Ok(())
}

pub(super) fn execute(file: &File, sql: &str, values: &[Value<'_>]) -> Result<usize> {
    let mut statement = file.connection.prepare_cached(sql)?;
    Ok(statement.execute(params_from_iter(values))?)
}

pub(super) fn all<T>(
    file: &File,
    sql: &str,
    values: &[Value<'_>],
    mut read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    let mut statement = file.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(&Row::Sqlite(row))?);
    }
    Ok(found)
}

pub(super) fn one<T>(
    file: &File,
    sql: &str,
    values: &[Value<'_>],
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let mut statement = file.connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let row = rows.next()?;
    row.map(|row| read(&Row::Sqlite(row))).transpose()
}

pub(super) fn value<'a>(row: &'a rusqlite::Row<'_>, column: usize) -> Result<Value<'a>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Number(number),
        ValueRef::Real(_) => return Err(Failure::column(column, "it holds a broken number")),
        ValueRef::Text(text) => match str::from_utf8(text) {
            Ok(text) => Value::Text(text),
            Err(error) => return Err(Failure::column(column, error)),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes),
    })
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Number(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
