//! Brings a database to the schema that this version knows. Forward only.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::time::Instant;

use crate::db::{self, Access, Connection, Durability, Role, values};
use crate::store::Place;
use crate::{Error, audit};

/// A step from one schema to the next.
struct Migration {
    version: u32,
    sql: &'static str,
    /// What statements cannot say, done after them.
    then: Option<fn(&Connection) -> db::Result<()>>,
}

macro_rules! migrations {
    ($($version:literal $file:literal $(then $then:path)?),* $(,)?) => {
        &[$(Migration {
            version: $version,
            sql: include_str!(concat!("migrations/", $file)),
            then: migrations!(@ $($then)?),
        }),*]
    };
    (@ $then:path) => { Some($then) };
    (@) => { None };
}

/// All migrations of a file, in order. One that was released is never changed, only followed.
const SQLITE: &[Migration] = migrations![
    1 "0001_first.sql",
    2 "0002_node.sql",
    3 "0003_accounts.sql",
    4 "0004_authority.sql",
    5 "0005_secrets.sql",
    6 "0006_revocations.sql",
    7 "0007_replays.sql",
    8 "0008_upstream_tokens.sql",
    9 "0009_audit_policy.sql",
    10 "0010_pins.sql",
    11 "0011_consents.sql",
    12 "0012_quotas.sql",
    13 "0013_audit_log.sql",
    14 "0014_audit_sinks.sql",
    15 "0015_names.sql",
    16 "0016_audit_privacy.sql",
    17 "0017_audit_journals.sql",
    18 "0018_audit_segments.sql" then audit::into_segments,
];

/// The same for a PostgreSQL. The first makes what the first fifteen of a file do; those after it have the same numbers.
const POSTGRES: &[Migration] = migrations![
    15 "postgres/0015_first.sql",
    16 "postgres/0016_audit_privacy.sql",
    17 "postgres/0017_audit_journals.sql",
    18 "postgres/0018_audit_segments.sql" then audit::into_segments,
];

/// Those after which nobody of an earlier version that has the database open could go on: made while nobody has.
const ALONE: &[u32] = &[18];
/// How long is waited for that, and how often it is looked.
const ALONE_WAIT: Duration = Duration::from_secs(3);
const ALONE_LOOK: Duration = Duration::from_millis(50);

/// Applies what is missing, all or nothing. Several processes that start at once take turns.
///
/// # Errors
/// Also if somebody has the database open and could not go on with it.
pub(crate) fn bring_up(place: &Place) -> Result<(), Error> {
    let end = Instant::now() + ALONE_WAIT;
    loop {
        // Not as one who writes: those who wait for each other here would be taken for gates.
        let connection = place.open(Role::Errand)?;
        if !wants_alone(&connection)? {
            return migrate(&connection);
        }
        drop(connection);
        if let Some(connection) = place.open_alone()? {
            return migrate(&connection);
        }
        if Instant::now() >= end {
            return Err(Error::Shared);
        }
        sleep(ALONE_LOOK);
    }
}

/// Whether others would be left behind by what is missing.
fn wants_alone(connection: &Connection) -> db::Result<bool> {
    let is_there = connection.either(
        "SELECT 1 FROM sqlite_schema WHERE name = 'migrations'",
        "SELECT 1 WHERE to_regclass('migrations') IS NOT NULL",
    );
    if !connection.exists(is_there, &[])? {
        return Ok(false);
    }
    let found = version(connection)?;
    Ok(ALONE.iter().any(|alone| *alone > found))
}

/// The same, whoever has it open.
pub(crate) fn migrate(connection: &Connection) -> Result<(), Error> {
    migrate_to(connection, None)
}

/// The last schema that this version knows.
pub(crate) fn latest() -> u32 {
    SQLITE.last().map_or(0, |last| last.version)
}

/// The schema that a database has.
pub(crate) fn version(connection: &Connection) -> db::Result<u32> {
    connection.only("SELECT max(version) FROM migrations", &[], |row| row.get(0))
}

/// The same up to a schema and no further, for what is to be filled with rows of that one.
pub(crate) fn migrate_to(connection: &Connection, end: Option<u32>) -> Result<(), Error> {
    let encoding = connection.either("PRAGMA encoding", "SHOW server_encoding");
    let encoding: String = connection.only(encoding, &[], |row| row.get(0))?;
    if !matches!(&*encoding, "UTF-8" | "UTF8") {
        return Err(Error::Encoding(encoding));
    }
    connection.transaction(Access::Write, Durability::Now, |connection| {
        apply(connection, end)
    })
}

fn apply(connection: &Connection, end: Option<u32>) -> Result<(), Error> {
    let (table, migrations) = connection.either(
        (
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL) STRICT",
            SQLITE,
        ),
        (
            "CREATE TABLE IF NOT EXISTS migrations (version BIGINT PRIMARY KEY, checksum TEXT NOT NULL)",
            POSTGRES,
        ),
    );
    connection.batch(table)?;
    let sql = "SELECT version, checksum FROM migrations ORDER BY version";
    let applied: Vec<(u32, String)> =
        connection.all(sql, &[], |row| Ok((row.get(0)?, row.get(1)?)))?;

    let known = migrations.last().map_or(0, |last| last.version);
    if let Some((found, _)) = applied.last().filter(|(found, _)| *found > known) {
        return Err(Error::Newer {
            found: *found,
            known,
        });
    }
    // The first that a server has is there whatever is wanted: it knows no older one.
    let wanted = migrations
        .iter()
        .enumerate()
        .filter(|(at, one)| *at == 0 || end.is_none_or(|end| one.version <= end));
    for (_, Migration { version, sql, then }) in wanted {
        let checksum = checksum(sql);
        match applied.iter().find(|(applied, _)| applied == version) {
            Some((_, found)) if *found == checksum => {}
            Some(_) => return Err(Error::Altered { version: *version }),
            None => {
                connection.batch(sql)?;
                if let Some(then) = then {
                    then(connection)?;
                }
                connection.execute(
                    "INSERT INTO migrations (version, checksum) VALUES (?1, ?2)",
                    values![version, checksum],
                )?;
            }
        }
    }
    Ok(())
}

fn checksum(sql: &str) -> String {
    let mut hex = String::new();
    for byte in digest::digest(&digest::SHA256, sql.as_bytes()).as_ref() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}
