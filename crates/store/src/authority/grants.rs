//! What somebody allowed a client: the grant, its code, and the refresh tokens that follow each other.
//!
//! A code and a refresh token are good once. Which use was the first is decided here, in the one thread that writes.

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What somebody allowed a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    /// Names it in tokens and lists.
    pub id: String,
    /// Who allowed it.
    pub principal: String,
    /// The roles that they had.
    pub roles: Vec<String>,
    /// Which client.
    pub client_id: String,
    /// What the client called itself.
    pub client_name: String,
    /// Where its code was sent.
    pub redirect_uri: String,
    /// Space-separated.
    pub scopes: String,
    /// What its tokens are for (RFC 8707).
    pub resource: String,
    /// The thumbprint of the key that its refresh tokens, and before those its code, are bound to (RFC 9449).
    pub jkt: Option<String>,
    /// The fingerprint of the certificate that its refresh tokens are bound to (RFC 8705).
    pub certificate: Option<[u8; 32]>,
    /// When it was made.
    pub created_at: SystemTime,
    /// When a token was last given out.
    pub used_at: SystemTime,
    /// When it ends, however often it is used.
    pub expires_at: SystemTime,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
}

/// A code, as its keyed hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRow {
    /// The keyed hash.
    pub hash: [u8; 32],
    /// The PKCE challenge, S256.
    pub challenge: String,
    /// Until when it is good.
    pub expires_at: SystemTime,
}

/// A refresh token, as its keyed hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshRow {
    /// The keyed hash.
    pub hash: [u8; 32],
    /// Until when it is good.
    pub expires_at: SystemTime,
}

/// What a code turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redemption {
    /// None, or another client's.
    Unknown,
    /// Used before: what it gave out is revoked with this.
    Reused(GrantRow),
    /// Good until now, and no longer. Whether it expired, and the grant was revoked, is for the caller to look at.
    First(GrantRow, CodeRow),
}

/// What the exchange of a refresh token came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// It was used before: the grant is revoked with this.
    Reused,
    /// The new one is kept.
    Rotated,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT g.id, g.principal, g.roles, g.client_id, g.client_name, g.redirect_uri, g.scopes, g.resource,
            g.jkt, g.certificate, g.created_at, g.used_at, g.expires_at, g.revoked_at",
            $rest
        )
    };
}

/// Columns of a grant, before those of what it was joined with.
const GRANT_COLUMNS: usize = 14;

impl Store {
    /// Keeps a grant and the code that redeems it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_grant(&self, grant: GrantRow, code: CodeRow) -> Result<(), Error> {
        self.change(move |connection| {
            insert(connection, &grant)?;
            connection.execute(
                "INSERT INTO oauth_codes (hash, grant_id, challenge, expires_at)
                    VALUES (?1, ?2, ?3, ?4)",
                values![
                    code.hash,
                    grant.id,
                    code.challenge,
                    to_micros(code.expires_at)
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Uses a code of this client's up.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn redeem_code(
        &self,
        hash: [u8; 32],
        client_id: &str,
        now: SystemTime,
    ) -> Result<Redemption, Error> {
        let client_id = client_id.to_owned();
        self.change(move |connection| redeem(connection, &hash, &client_id, now))
            .await
    }

    /// Has a grant last as long as it is to, bound to what it is to be bound to, once its code was redeemed; and keeps its
    /// first refresh token, if there is one.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn begin_grant(
        &self,
        grant: &GrantRow,
        token: Option<RefreshRow>,
    ) -> Result<(), Error> {
        let grant = grant.clone();
        self.change(move |connection| {
            connection.execute(
                "UPDATE oauth_grants SET jkt = ?2, certificate = ?3, used_at = ?4, expires_at = ?5
                    WHERE id = ?1",
                values![
                    grant.id,
                    grant.jkt,
                    grant.certificate,
                    to_micros(grant.used_at),
                    to_micros(grant.expires_at)
                ],
            )?;
            match &token {
                Some(token) => insert_refresh(connection, &grant.id, token),
                None => Ok(()),
            }
        })
        .await
    }

    /// The refresh token of this hash: its grant, itself, and whether it was used.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_refresh_token(
        &self,
        hash: &[u8; 32],
    ) -> Result<Option<(GrantRow, RefreshRow, bool)>, Error> {
        let sql = select!(
            ", r.hash, r.expires_at, r.used_at IS NOT NULL
            FROM oauth_refresh_tokens r JOIN oauth_grants g ON g.id = r.grant_id WHERE r.hash = ?1"
        );
        self.read(|connection| {
            connection.one(sql, values![hash], |row| {
                let refresh = RefreshRow {
                    hash: row.get(GRANT_COLUMNS)?,
                    expires_at: from_micros(row.get(GRANT_COLUMNS + 1)?),
                };
                Ok((grant(row)?, refresh, row.get(GRANT_COLUMNS + 2)?))
            })
        })
    }

    /// Uses the refresh token `old` of a grant up and keeps `new` in its place.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn rotate_refresh_token(
        &self,
        grant_id: &str,
        old: [u8; 32],
        new: RefreshRow,
        now: SystemTime,
    ) -> Result<Rotation, Error> {
        let grant_id = grant_id.to_owned();
        self.change(move |connection| {
            let is_first = connection.execute(
                "UPDATE oauth_refresh_tokens SET used_at = ?2 WHERE hash = ?1 AND used_at IS NULL",
                values![old, to_micros(now)],
            )? > 0;
            if !is_first {
                revoke(connection, &grant_id, now)?;
                return Ok(Rotation::Reused);
            }
            connection.execute(
                "UPDATE oauth_grants SET used_at = ?2 WHERE id = ?1",
                values![grant_id, to_micros(now)],
            )?;
            insert_refresh(connection, &grant_id, &new)?;
            Ok(Rotation::Rotated)
        })
        .await
    }

    /// The grant of this id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_grant(&self, id: &str) -> Result<Option<GrantRow>, Error> {
        let sql = select!(" FROM oauth_grants g WHERE g.id = ?1");
        self.read(|connection| connection.one(sql, values![id], grant))
    }

    /// The grants that hold at `now`, newest first: one principal's, or everybody's.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_grants(
        &self,
        principal: Option<&str>,
        now: SystemTime,
    ) -> Result<Vec<GrantRow>, Error> {
        let sql = select!(
            " FROM oauth_grants g
            WHERE g.revoked_at IS NULL AND g.expires_at > ?2 AND (g.principal = ?1 OR ?1 IS NULL)
            ORDER BY g.created_at DESC, g.id"
        );
        self.read(|connection| connection.all(sql, values![principal, to_micros(now)], grant))
    }

    /// Revokes a grant; `false` if there is none, or it was revoked before.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn revoke_grant(&self, id: &str, now: SystemTime) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change(move |connection| revoke(connection, &id, now))
            .await
    }

    /// Deletes grants that ended before `ended_before`, with all that hangs on them.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_grants(&self, ended_before: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            let ended = to_micros(ended_before);
            // A refresh token that was used tells of its reuse as long as its grant holds.
            connection.execute(
                "DELETE FROM oauth_grants WHERE expires_at < ?1 OR revoked_at < ?1",
                values![ended],
            )
        })
        .await
    }

    /// Remembers that `principal` allowed this client, at this address, these scopes.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_consent(&self, grant: &GrantRow) -> Result<(), Error> {
        let grant = grant.clone();
        self.change(move |connection| {
            connection.execute(
                "INSERT INTO oauth_consents (principal, client_id, redirect_uri, scopes, granted_at)
                    VALUES (?1, ?2, ?3, ?4, ?5)
                    ON CONFLICT (principal, client_id, redirect_uri) DO UPDATE SET scopes = excluded.scopes, granted_at = excluded.granted_at",
                values![grant.principal, grant.client_id, grant.redirect_uri, grant.scopes, to_micros(grant.created_at)],
            )?;
            Ok(())
        })
        .await
    }

    /// The scopes, space-separated, that `principal` allowed this client at this address, since `since`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_consent(
        &self,
        principal: &str,
        client_id: &str,
        redirect_uri: &str,
        since: SystemTime,
    ) -> Result<Option<String>, Error> {
        self.read(|connection| {
            connection.one(
                "SELECT scopes FROM oauth_consents
                    WHERE principal = ?1 AND client_id = ?2 AND redirect_uri = ?3 AND granted_at >= ?4",
                values![principal, client_id, redirect_uri, to_micros(since)],
                |row| row.get(0),
            )
        })
    }

    /// Forgets what `principal` allowed this client for the future.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_consents(&self, principal: &str, client_id: &str) -> Result<(), Error> {
        let named = [principal.to_owned(), client_id.to_owned()];
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM oauth_consents WHERE principal = ?1 AND client_id = ?2",
                values![named[0], named[1]],
            )?;
            Ok(())
        })
        .await
    }
}

fn redeem(
    connection: &Connection,
    hash: &[u8; 32],
    client_id: &str,
    now: SystemTime,
) -> db::Result<Redemption> {
    let sql = select!(
        ", c.challenge, c.expires_at, c.used_at IS NOT NULL
        FROM oauth_codes c JOIN oauth_grants g ON g.id = c.grant_id
        WHERE c.hash = ?1 AND g.client_id = ?2"
    );
    let found = connection.one(sql, values![hash, client_id], |row| {
        let code = CodeRow {
            hash: *hash,
            challenge: row.get(GRANT_COLUMNS)?,
            expires_at: from_micros(row.get(GRANT_COLUMNS + 1)?),
        };
        Ok((grant(row)?, code, row.get::<bool>(GRANT_COLUMNS + 2)?))
    })?;
    match found {
        None => Ok(Redemption::Unknown),
        Some((grant, _, true)) => {
            revoke(connection, &grant.id, now)?;
            Ok(Redemption::Reused(grant))
        }
        Some((grant, code, false)) => {
            connection.execute(
                "UPDATE oauth_codes SET used_at = ?2 WHERE hash = ?1",
                values![hash, to_micros(now)],
            )?;
            Ok(Redemption::First(grant, code))
        }
    }
}

fn revoke(connection: &Connection, id: &str, now: SystemTime) -> db::Result<bool> {
    let sql = "UPDATE oauth_grants SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
    Ok(connection.execute(sql, values![id, to_micros(now)])? > 0)
}

fn insert(connection: &Connection, grant: &GrantRow) -> db::Result<()> {
    connection.execute(
        "INSERT INTO oauth_grants (id, principal, roles, client_id, client_name, redirect_uri, scopes, resource,
            jkt, certificate, created_at, used_at, expires_at, revoked_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        values![
        grant.id,
        grant.principal,
        list::to_text(&grant.roles),
        grant.client_id,
        grant.client_name,
        grant.redirect_uri,
        grant.scopes,
        grant.resource,
        grant.jkt,
        grant.certificate,
        to_micros(grant.created_at),
        to_micros(grant.used_at),
        to_micros(grant.expires_at),
        grant.revoked_at.map(to_micros),
    ],
    )?;
    Ok(())
}

fn insert_refresh(connection: &Connection, grant_id: &str, token: &RefreshRow) -> db::Result<()> {
    connection.execute(
        "INSERT INTO oauth_refresh_tokens (hash, grant_id, expires_at) VALUES (?1, ?2, ?3)",
        values![token.hash, grant_id, to_micros(token.expires_at)],
    )?;
    Ok(())
}

fn grant(row: &Row<'_>) -> db::Result<GrantRow> {
    Ok(GrantRow {
        id: row.get(0)?,
        principal: row.get(1)?,
        roles: list::from_text(row, 2)?,
        client_id: row.get(3)?,
        client_name: row.get(4)?,
        redirect_uri: row.get(5)?,
        scopes: row.get(6)?,
        resource: row.get(7)?,
        jkt: row.get(8)?,
        certificate: row.get(9)?,
        created_at: from_micros(row.get(10)?),
        used_at: from_micros(row.get(11)?),
        expires_at: from_micros(row.get(12)?),
        revoked_at: row.get::<Option<i64>>(13)?.map(from_micros),
    })
}
