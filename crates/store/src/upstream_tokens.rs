//! What authorization servers gave the gate for upstreams: tokens by principal, and the clients that we are there.
//!
//! Sealed bytes; what is in them, and for what they are sealed, is `auth::outbound`'s.

use std::time::SystemTime;

use crate::db::{self, Row, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What a principal has with one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTokenRow {
    /// Who gave it out.
    pub issuer: String,
    /// For which upstream.
    pub upstream: String,
    /// Who granted it.
    pub principal: String,
    /// The tokens, sealed.
    pub sealed: Vec<u8>,
    /// When the principal granted it.
    pub since: SystemTime,
    /// It no longer holds; the principal has to connect anew.
    pub is_stale: bool,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT issuer, upstream, principal, sealed, since, is_stale FROM upstream_tokens ",
            $rest
        )
    };
}

impl Store {
    /// Keeps what a principal has with an upstream, in the place of what it had, from this issuer or another.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_upstream_token(&self, row: UpstreamTokenRow) -> Result<(), Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM upstream_tokens
                    WHERE upstream = ?1 AND principal = ?2 AND issuer <> ?3",
                values![row.upstream, row.principal, row.issuer],
            )?;
            connection.execute(
                "INSERT INTO upstream_tokens
                    (issuer, upstream, principal, sealed, since, is_stale)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                    ON CONFLICT (issuer, upstream, principal) DO UPDATE SET
                    sealed = excluded.sealed, since = excluded.since, is_stale = excluded.is_stale",
                values![
                    row.issuer,
                    row.upstream,
                    row.principal,
                    row.sealed,
                    to_micros(row.since),
                    row.is_stale,
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// Puts refreshed tokens in the place of those that were; `false` if they are gone or others by now.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn refresh_upstream_token(
        &self,
        old: UpstreamTokenRow,
        sealed: Vec<u8>,
    ) -> Result<bool, Error> {
        self.change(move |connection| {
            let sql = "UPDATE upstream_tokens SET sealed = ?4, is_stale = 0
                WHERE issuer = ?1 AND upstream = ?2 AND principal = ?3 AND since = ?5";
            let changed = connection.execute(
                sql,
                values![
                    old.issuer,
                    old.upstream,
                    old.principal,
                    sealed,
                    to_micros(old.since)
                ],
            )?;
            Ok(changed > 0)
        })
        .await
    }

    /// Notes that what a principal has with an upstream since then no longer holds.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn stale_upstream_token(
        &self,
        upstream: &str,
        principal: &str,
        since: SystemTime,
    ) -> Result<(), Error> {
        let (upstream, principal) = (upstream.to_owned(), principal.to_owned());
        self.change(move |connection| {
            let sql = "UPDATE upstream_tokens SET is_stale = 1
                WHERE upstream = ?1 AND principal = ?2 AND since = ?3";
            connection.execute(sql, values![upstream, principal, to_micros(since)])?;
            Ok(())
        })
        .await
    }

    /// What a principal has with an upstream.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_upstream_token(
        &self,
        upstream: &str,
        principal: &str,
    ) -> Result<Option<UpstreamTokenRow>, Error> {
        let sql = select!("WHERE upstream = ?1 AND principal = ?2");
        self.read(|connection| connection.one(sql, values![upstream, principal], token))
    }

    /// What all principals have with an upstream and still holds, oldest first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_upstream_tokens(
        &self,
        upstream: &str,
        limit: usize,
    ) -> Result<Vec<UpstreamTokenRow>, Error> {
        let sql =
            select!("WHERE upstream = ?1 AND is_stale = 0 ORDER BY since, principal LIMIT ?2");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(|connection| connection.all(sql, values![upstream, limit], token))
    }

    /// Forgets what a principal has with an upstream, or with all of them. How many that were.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_upstream_tokens(
        &self,
        principal: &str,
        upstream: Option<&str>,
    ) -> Result<usize, Error> {
        let (principal, upstream) = (principal.to_owned(), upstream.map(str::to_owned));
        self.change(move |connection| {
            let sql = "DELETE FROM upstream_tokens
                WHERE principal = ?1 AND (upstream = ?2 OR ?2 IS NULL)";
            connection.execute(sql, values![principal, upstream])
        })
        .await
    }

    /// Keeps the client that we are at an authorization server, for an upstream.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_upstream_client(
        &self,
        issuer: &str,
        upstream: &str,
        sealed: Vec<u8>,
        at: SystemTime,
    ) -> Result<(), Error> {
        let (issuer, upstream) = (issuer.to_owned(), upstream.to_owned());
        self.change(move |connection| {
            let sql = "INSERT INTO upstream_clients
                (issuer, upstream, sealed, created_at) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (issuer, upstream) DO UPDATE SET
                sealed = excluded.sealed, created_at = excluded.created_at";
            connection.execute(sql, values![issuer, upstream, sealed, to_micros(at)])?;
            Ok(())
        })
        .await
    }

    /// The client that we are at an authorization server, for an upstream: sealed.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_upstream_client(
        &self,
        issuer: &str,
        upstream: &str,
    ) -> Result<Option<Vec<u8>>, Error> {
        let sql = "SELECT sealed FROM upstream_clients WHERE issuer = ?1 AND upstream = ?2";
        self.read(|connection| connection.one(sql, values![issuer, upstream], |row| row.get(0)))
    }

    /// Forgets the client that we were at an authorization server, for an upstream.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn delete_upstream_client(&self, issuer: &str, upstream: &str) -> Result<(), Error> {
        let (issuer, upstream) = (issuer.to_owned(), upstream.to_owned());
        self.change(move |connection| {
            let sql = "DELETE FROM upstream_clients WHERE issuer = ?1 AND upstream = ?2";
            connection.execute(sql, values![issuer, upstream])?;
            Ok(())
        })
        .await
    }
}

fn token(row: &Row<'_>) -> db::Result<UpstreamTokenRow> {
    Ok(UpstreamTokenRow {
        issuer: row.get(0)?,
        upstream: row.get(1)?,
        principal: row.get(2)?,
        sealed: row.get(3)?,
        since: from_micros(row.get(4)?),
        is_stale: row.get(5)?,
    })
}

#[cfg(test)]
mod tests;
