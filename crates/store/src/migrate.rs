//! Brings a database to the schema that this version knows. Forward only.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// All migrations, in order; the first is number 1. One that was released is never changed, only followed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_node.sql"),
    include_str!("migrations/0003_accounts.sql"),
    include_str!("migrations/0004_authority.sql"),
    include_str!("migrations/0005_secrets.sql"),
    include_str!("migrations/0006_revocations.sql"),
    include_str!("migrations/0007_replays.sql"),
    include_str!("migrations/0008_upstream_tokens.sql"),
    include_str!("migrations/0009_audit_policy.sql"),
    include_str!("migrations/0010_pins.sql"),
    include_str!("migrations/0011_consents.sql"),
    include_str!("migrations/0012_quotas.sql"),
    include_str!("migrations/0013_audit_log.sql"),
    include_str!("migrations/0014_audit_sinks.sql"),
];

/// Applies what is missing, all or nothing. Two processes that start at once take turns.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, checksum TEXT NOT NULL) STRICT",
    )?;
    let applied: Vec<(u32, String)> = transaction
        .prepare("SELECT version, checksum FROM migrations ORDER BY version")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;

    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if let Some((found, _)) = applied.last().filter(|(found, _)| *found > known) {
        return Err(Error::Newer {
            found: *found,
            known,
        });
    }
    for (version, sql) in (1_u32..).zip(MIGRATIONS) {
        let checksum = checksum(sql);
        match applied.iter().find(|(applied, _)| *applied == version) {
            Some((_, found)) if *found == checksum => {}
            Some(_) => return Err(Error::Altered { version }),
            None => {
                transaction.execute_batch(sql)?;
                transaction.execute(
                    "INSERT INTO migrations (version, checksum) VALUES (?1, ?2)",
                    (version, &checksum),
                )?;
            }
        }
    }
    Ok(transaction.commit()?)
}

fn checksum(sql: &str) -> String {
    let mut hex = String::new();
    for byte in digest::digest(&digest::SHA256, sql.as_bytes()).as_ref() {
        write!(hex, "{byte:02x}").expect("writing to a String cannot fail");
    }
    hex
}
