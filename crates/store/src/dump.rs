//! All that a database holds, as lines of JSON: what a backup is made of, and the way from one kind of database to the
//! other.
//!
//! The first line says what it is and which schema its rows have; then come the tables, each with its columns, then its
//! rows, an array each, bytes as `{"b": "<base64>"}`; the last line says how many rows there were. It is one moment's,
//! also while a gate is at work. How it is kept from other eyes is for those who write it somewhere.

use std::io::{self, BufRead, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::db::{self, Access, Connection, Durability, Failure, Role, Row, Value, values};
use crate::migrate::{self, migrate_to};
use crate::notes;
use crate::store::{Location, Place, create};
use crate::{Error, Store};

/// What the first line calls it.
const KIND: &str = "portcullis dump 1";
/// Longest line that is read: a row with an upstream's whole definition in it.
const LINE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// So many rows come from a server at once.
const ROWS: usize = 64;

/// All tables, those that others refer to first. Not here: how far the schema is, counters by which running gates notice
/// changes, and which batches of theirs were written.
pub(crate) const TABLES: [&str; 33] = [
    "audit_segments",
    "audit_names",
    "audit_head",
    "audit_nodes",
    "audit_open",
    "audit_checkpoints",
    "audit_keys",
    "audit_journals",
    "audit_sinks",
    "audit_holds",
    "keys",
    "notes",
    "node",
    "accounts",
    "recovery_codes",
    "account_links",
    "browser_sessions",
    "signing_keys",
    "oauth_clients",
    "oauth_grants",
    "oauth_codes",
    "oauth_refresh_tokens",
    "oauth_consents",
    "data_keys",
    "secrets",
    "revocations",
    "pins",
    "replays",
    "upstream_tokens",
    "upstream_clients",
    "consent_requests",
    "consents",
    "quotas",
];
/// Those that older schemas had, and the first that has them no more.
const GONE: [(&str, u32); 1] = [("audit", 18)];
/// Those that are not empty in a database that nobody has used.
const BORN_FULL: [&str; 2] = ["audit_head", "node"];
/// Those whose rows are numbered by the database, and the column with the number.
const NUMBERED: [(&str, &str); 2] = [("notes", "id"), ("data_keys", "seq")];

/// Why nothing was dumped, or nothing came of a dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// It is no dump, or not all of one.
    #[error("line {line}: {why}")]
    Damaged {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// What is there would be lost.
    #[error("the database is in use already: there are rows in `{table}`")]
    Occupied {
        /// The first table with rows in it.
        table: &'static str,
    },
}

impl From<Failure> for DumpError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// What a dump has in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Which schema its rows have.
    pub schema: u32,
    /// Its tables, and how many rows each has.
    pub tables: Vec<(String, u64)>,
}

impl Contents {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }
}

impl Store {
    /// Writes all that the database holds at this moment. Gates may go on writing.
    ///
    /// # Errors
    /// If the database cannot be read, or the dump not written.
    pub fn dump(&self, into: &mut impl Write) -> Result<Contents, DumpError> {
        let connection = self.place().open(Role::Reader).map_err(Error::from)?;
        connection.transaction(Access::Read, Durability::Soon, |connection| {
            dump(connection, into)
        })
    }

    /// Fills an empty database with what was dumped, whichever kind of database that was, and brings it up to date.
    /// All of it or nothing.
    ///
    /// # Errors
    /// If the database holds something, cannot be written, or the dump is damaged or of a newer version.
    pub fn restore(location: &Location, from: &mut impl BufRead) -> Result<Contents, DumpError> {
        let place = Place::of(location)?;
        if let Place::File(path) = &place {
            create(path)?;
        }
        let mut lines = Lines::new(from);
        let schema = lines.head()?;
        let connection = place.open(Role::Errand).map_err(Error::from)?;
        migrate_to(&connection, Some(schema))?;
        let contents = connection.transaction(Access::Write, Durability::Now, |connection| {
            load(connection, schema, &mut lines)
        })?;
        migrate_to(&connection, None)?;
        Ok(contents)
    }
}

/// What a dump has in it, read to its end.
///
/// # Errors
/// If it is damaged.
pub fn inspect(from: &mut impl BufRead) -> Result<Contents, DumpError> {
    let mut lines = Lines::new(from);
    let schema = lines.head()?;
    let mut contents = Contents {
        schema,
        tables: Vec::new(),
    };
    while let Some(line) = lines.part(&contents)? {
        match line {
            Part::Table { name, .. } => contents.tables.push((name, 0)),
            Part::Row(_) => match contents.tables.last_mut() {
                Some((_, rows)) => *rows += 1,
                None => return Err(lines.damaged("a row of no table")),
            },
        }
    }
    Ok(contents)
}

fn dump(connection: &Connection, into: &mut impl Write) -> Result<Contents, DumpError> {
    // The transaction has begun and nothing was read: from here on it sees one moment.
    connection.batch(connection.either(
        "",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    ))?;
    let schema = migrate::version(connection)?;
    let mut contents = Contents {
        schema,
        tables: Vec::new(),
    };
    writeln!(into, "{}", json!({ "kind": KIND, "schema": schema }))?;
    for table in TABLES {
        let columns = columns(connection, table)?;
        let head = json!({ "table": table, "columns": columns });
        writeln!(into, "{head}")?;
        let rows = rows(connection, table, &columns, into)?;
        contents.tables.push((table.to_owned(), rows));
    }
    writeln!(into, "{}", json!({ "rows": contents.rows() }))?;
    Ok(contents)
}

/// Writes the rows of a table; how many.
fn rows(
    connection: &Connection,
    table: &str,
    columns: &[String],
    into: &mut impl Write,
) -> Result<u64, DumpError> {
    let select = format!("SELECT {} FROM {table}", quoted(columns));
    let mut written = 0;
    let mut failed = None;
    let mut write = |row: &Row<'_>| {
        let values: Vec<Json> = (0..columns.len())
            .map(|column| row.value(column).map(to_json))
            .collect::<db::Result<_>>()?;
        written += 1;
        if let Err(error) = writeln!(into, "{}", Json::Array(values)) {
            failed = Some(error);
            return Err(Failure::Missing);
        }
        Ok(())
    };
    let read = match connection {
        Connection::Sqlite(_) => connection.all(&select, &[], write).map(drop),
        // A table can be larger than what fits into memory. Each has a cursor of another name: a statement is prepared
        // once, for the columns that it had then.
        Connection::Postgres(_) => connection
            .batch(&format!(
                "DECLARE dumped_{table} NO SCROLL CURSOR FOR {select}"
            ))
            .and_then(|()| {
                let fetch = format!("FETCH {ROWS} FROM dumped_{table}");
                while connection.all(&fetch, &[], &mut write)?.len() == ROWS {}
                connection.batch(&format!("CLOSE dumped_{table}"))
            }),
    };
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(read.map(|()| written)?),
    }
}

fn load<R: BufRead>(
    connection: &Connection,
    schema: u32,
    lines: &mut Lines<'_, R>,
) -> Result<Contents, DumpError> {
    for table in TABLES.into_iter().chain(GONE.map(|(table, _)| table)) {
        let is_there = !columns(connection, table)?.is_empty();
        if is_there
            && !BORN_FULL.contains(&table)
            && connection.exists(&format!("SELECT 1 FROM {table} LIMIT 1"), &[])?
        {
            return Err(DumpError::Occupied { table });
        }
    }
    for table in BORN_FULL {
        connection.execute(&format!("DELETE FROM {table}"), &[])?;
    }
    let mut contents = Contents {
        schema,
        tables: Vec::new(),
    };
    let mut insert = String::new();
    let mut width = 0;
    while let Some(part) = lines.part(&contents)? {
        match part {
            Part::Table {
                name,
                columns: given,
            } => {
                let known = columns(connection, &name)?;
                let is_known = TABLES.contains(&name.as_str())
                    || GONE
                        .iter()
                        .any(|(gone, since)| name == *gone && schema < *since);
                if !is_known || given.iter().any(|column| !known.contains(column)) {
                    return Err(lines.damaged("a table that this version does not know"));
                }
                width = given.len();
                insert = inserting(connection, &name, &given);
                contents.tables.push((name, 0));
            }
            Part::Row(row) => {
                let Some((_, rows)) = contents.tables.last_mut() else {
                    return Err(lines.damaged("a row of no table"));
                };
                *rows += 1;
                if row.len() != width {
                    return Err(lines.damaged("a row with other columns than its table"));
                }
                let row = row.iter().map(Held::read).collect::<Option<Vec<_>>>();
                let row = row.ok_or_else(|| lines.damaged("a value of no kind"))?;
                let row: Vec<Value<'_>> = row.iter().map(Held::value).collect();
                connection.execute(&insert, &row)?;
            }
        }
    }
    notes::index_all(connection)?;
    for (table, column) in NUMBERED {
        // A file goes on behind the highest number by itself.
        connection.batch(&connection.either(
            String::new(),
            format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), \
                 coalesce((SELECT max({column}) FROM {table}), 0) + 1, false)"
            ),
        ))?;
    }
    Ok(contents)
}

/// The names of a table's columns, sorted; none if there is no such table. Not what the database makes of others.
fn columns(connection: &Connection, table: &str) -> db::Result<Vec<String>> {
    let sql = connection.either(
        "SELECT name FROM pragma_table_info(?1) ORDER BY name",
        "SELECT column_name::text FROM information_schema.columns
            WHERE table_schema = current_schema() AND table_name = ?1
                AND is_generated = 'NEVER' AND data_type <> 'tsvector'
            ORDER BY column_name::text COLLATE \"C\"",
    );
    connection.all(sql, values![table], |row| row.get(0))
}

/// Both the table and its columns are names that the database has.
fn inserting(connection: &Connection, table: &str, columns: &[String]) -> String {
    let places: Vec<String> = (1..=columns.len())
        .map(|place| format!("?{place}"))
        .collect();
    let is_numbered = NUMBERED.iter().any(|(numbered, _)| *numbered == table);
    let overriding = if is_numbered {
        connection.either("", "OVERRIDING SYSTEM VALUE")
    } else {
        ""
    };
    format!(
        "INSERT INTO {table} ({}) {overriding} VALUES ({})",
        quoted(columns),
        places.join(", ")
    )
}

fn quoted(columns: &[String]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| format!("\"{name}\"")).collect();
    columns.join(", ")
}

fn to_json(value: Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Number(number) => number.into(),
        Value::Text(text) => text.into(),
        Value::Bytes(bytes) => json!({ "b": STANDARD.encode(bytes) }),
    }
}

/// A value that was read from a line.
enum Held<'a> {
    Null,
    Number(i64),
    Text(&'a str),
    Bytes(Vec<u8>),
}

impl<'a> Held<'a> {
    fn read(json: &'a Json) -> Option<Self> {
        match json {
            Json::Null => Some(Self::Null),
            Json::Number(number) => number.as_i64().map(Self::Number),
            Json::String(text) => Some(Self::Text(text)),
            Json::Object(members) if members.len() == 1 => {
                let text = members.get("b")?.as_str()?;
                STANDARD.decode(text).ok().map(Self::Bytes)
            }
            Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }

    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

/// A line after the first and before the last.
enum Part {
    Table { name: String, columns: Vec<String> },
    Row(Vec<Json>),
}

struct Lines<'a, R> {
    from: &'a mut R,
    /// How many were read.
    line: u64,
}

impl<'a, R: BufRead> Lines<'a, R> {
    fn new(from: &'a mut R) -> Self {
        Self { from, line: 0 }
    }

    fn damaged(&self, why: impl Into<String>) -> DumpError {
        DumpError::Damaged {
            line: self.line,
            why: why.into(),
        }
    }

    fn next(&mut self) -> Result<Json, DumpError> {
        let mut line = Vec::new();
        let mut bounded = io::Read::take(&mut *self.from, LINE_BYTES_MAX);
        bounded.read_until(b'\n', &mut line)?;
        self.line += 1;
        if line.is_empty() {
            return Err(self.damaged("the end is missing"));
        }
        serde_json::from_slice(&line).map_err(|error| self.damaged(error.to_string()))
    }

    /// The first line: which schema.
    fn head(&mut self) -> Result<u32, DumpError> {
        let head = self.next()?;
        let schema = head.get("schema").and_then(Json::as_u64);
        let schema = schema.and_then(|schema| u32::try_from(schema).ok());
        match schema {
            Some(schema) if head.get("kind").and_then(Json::as_str) == Some(KIND) => {
                let known = migrate::latest();
                if schema > known {
                    let found = schema;
                    return Err(Error::Newer { found, known }.into());
                }
                Ok(schema)
            }
            _ => Err(self.damaged("this is no dump of a version that is known here")),
        }
    }

    /// The next part; `None` at the end, which must have as many rows as were read.
    fn part(&mut self, so_far: &Contents) -> Result<Option<Part>, DumpError> {
        match self.next()? {
            Json::Array(row) => Ok(Some(Part::Row(row))),
            Json::Object(members) if members.contains_key("table") => {
                let part = Self::table(&members).ok_or_else(|| self.damaged("a table of no form"));
                part.map(Some)
            }
            Json::Object(members) if members.contains_key("rows") => {
                let rows = members.get("rows").and_then(Json::as_u64);
                if rows != Some(so_far.rows()) {
                    return Err(self.damaged("some rows are missing"));
                }
                Ok(None)
            }
            _ => Err(self.damaged("neither a table nor a row")),
        }
    }

    fn table(members: &Map<String, Json>) -> Option<Part> {
        let columns = members.get("columns")?.as_array()?.iter();
        let columns = columns.map(|name| name.as_str().map(str::to_owned));
        Some(Part::Table {
            name: members.get("table")?.as_str()?.to_owned(),
            columns: columns.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
