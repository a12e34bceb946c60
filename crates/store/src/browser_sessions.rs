//! Browsers that signed in: what is kept of a session, which is never its cookie.

use std::time::SystemTime;

use crate::accounts::folded;
use crate::db::{self, Row, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What is kept of a browser's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSessionRow {
    /// Its public id.
    pub id: String,
    /// Hash of the cookie's value.
    pub hash: [u8; 32],
    /// Who signed in.
    pub principal: String,
    /// The local account behind it; `None` if an external provider vouched.
    pub account: Option<String>,
    /// Roles of an external principal.
    pub roles: Vec<String>,
    /// When it began.
    pub created_at: SystemTime,
    /// When it was last used, to within some minutes.
    pub seen_at: SystemTime,
    /// When it ends, used or not.
    pub expires_at: SystemTime,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, hash, principal, account, roles, created_at, seen_at, expires_at FROM browser_sessions ",
            $rest
        )
    };
}

impl Store {
    /// Keeps a new session. Those that ended go, and of its principal's all but the newest `max`; with those that
    /// nobody used since `idle_since`.
    ///
    /// # Errors
    /// If it cannot be written, or its account is gone.
    pub async fn put_browser_session(
        &self,
        session: BrowserSessionRow,
        max: u32,
        idle_since: SystemTime,
    ) -> Result<(), Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM browser_sessions WHERE expires_at <= ?1 OR seen_at <= ?2",
                values![to_micros(session.created_at), to_micros(idle_since)],
            )?;
            connection.execute(
                "INSERT INTO browser_sessions (id, hash, principal, account, roles, created_at, seen_at, expires_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                values![
                    session.id,
                    session.hash,
                    session.principal,
                    session.account,
                    list::to_text(&session.roles),
                    to_micros(session.created_at),
                    to_micros(session.seen_at),
                    to_micros(session.expires_at),
                ],
            )?;
            connection.execute(
                "DELETE FROM browser_sessions WHERE lower(principal) = ?1 AND id <> ?2 AND id NOT IN (
                    SELECT id FROM browser_sessions WHERE lower(principal) = ?1 AND id <> ?2
                    ORDER BY created_at DESC, id LIMIT ?3)",
                values![folded(&session.principal), session.id, max.saturating_sub(1)],
            )?;
            Ok(())
        })
        .await
    }

    /// The session with this hash of a cookie, ended or not.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_browser_session(&self, hash: [u8; 32]) -> Result<Option<BrowserSessionRow>, Error> {
        let sql = select!("WHERE hash = ?1");
        self.read(|connection| connection.one(sql, values![hash], session))
    }

    /// All sessions, newest first, with those that ended and were not tidied up yet.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_browser_sessions(&self) -> Result<Vec<BrowserSessionRow>, Error> {
        let sql = select!("ORDER BY created_at DESC, id");
        self.read(|connection| connection.all(sql, &[], session))
    }

    /// Writes down that a session was used.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn touch_browser_session(&self, id: &str, at: SystemTime) -> Result<(), Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let sql = "UPDATE browser_sessions SET seen_at = CASE WHEN seen_at > ?2 THEN seen_at ELSE ?2 END WHERE id = ?1";
            connection.execute(sql, values![id, to_micros(at)])?;
            Ok(())
        })
        .await
    }

    /// Ends a session; returns when it would have ended by itself, or `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_browser_session(&self, id: &str) -> Result<Option<SystemTime>, Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let sql = "DELETE FROM browser_sessions WHERE id = ?1 RETURNING expires_at";
            let ended: Option<i64> = connection.one(sql, values![id], |row| row.get(0))?;
            Ok(ended.map(from_micros))
        })
        .await
    }

    /// Ends all sessions of a principal, and forgets what it allowed clients for the future: whoever held one of them
    /// may have allowed it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_browser_sessions(&self, principal: &str) -> Result<(), Error> {
        let principal = principal.to_owned();
        self.change(move |connection| {
            let (sessions, consents) = (
                "DELETE FROM browser_sessions WHERE lower(principal) = ?1",
                "DELETE FROM oauth_consents WHERE principal = ?1",
            );
            connection.execute(sessions, values![folded(&principal)])?;
            connection.execute(consents, values![principal])?;
            Ok(())
        })
        .await
    }
}

fn session(row: &Row<'_>) -> db::Result<BrowserSessionRow> {
    Ok(BrowserSessionRow {
        id: row.get(0)?,
        hash: row.get(1)?,
        principal: row.get(2)?,
        account: row.get(3)?,
        roles: list::from_text(row, 4)?,
        created_at: from_micros(row.get(5)?),
        seen_at: from_micros(row.get(6)?),
        expires_at: from_micros(row.get(7)?),
    })
}
