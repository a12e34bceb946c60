//! The embedded authorization server: its signing keys and its clients. What clients were allowed is in [`grants`].

mod grants;

use std::time::SystemTime;

use crate::db::{self, Connection, Row, values};
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

pub use grants::{CodeRow, GrantRow, Redemption, RefreshRow, Rotation};

/// A key that signs access tokens, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// Names it in tokens (RFC 7638).
    pub kid: String,
    /// Its public part, a JWK.
    pub public: String,
    /// Its private part, sealed.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: SystemTime,
    /// From when on nothing that it signed is good; `None` for the one that signs.
    pub retires_at: Option<SystemTime>,
}

/// A client that registered itself, or whose own document was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Its `client_id`.
    pub id: String,
    /// JSON, in the words of RFC 7591.
    pub metadata: String,
    /// The keyed hash of its secret, if it has one.
    pub secret_hash: Option<[u8; 32]>,
    /// When it was first known.
    pub created_at: SystemTime,
    /// Until when a document need not be fetched again.
    pub fresh_until: Option<SystemTime>,
    /// When it was last of use.
    pub used_at: SystemTime,
}

impl Store {
    /// Keeps `key` as the one that signs, unless another process was first; gives back the one that does.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_first_signing_key(&self, key: SigningKeyRow) -> Result<SigningKeyRow, Error> {
        self.change(move |connection| match signing(connection)? {
            Some(first) => Ok(first),
            None => insert_key(connection, &key).map(|()| key.clone()),
        })
        .await
    }

    /// Keeps `key` as the one that signs; the one before it retires at `retires_at`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn rotate_signing_key(
        &self,
        key: SigningKeyRow,
        retires_at: SystemTime,
    ) -> Result<(), Error> {
        self.change(move |connection| {
            connection.execute(
                "UPDATE signing_keys SET retires_at = ?1 WHERE retires_at IS NULL",
                values![to_micros(retires_at)],
            )?;
            insert_key(connection, &key)
        })
        .await
    }

    /// The keys whose tokens may still be good at `now`, the one that signs first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_signing_keys(&self, now: SystemTime) -> Result<Vec<SigningKeyRow>, Error> {
        self.read(|connection| {
            connection.all(
                "SELECT kid, public, sealed, created_at, retires_at FROM signing_keys
                    WHERE retires_at IS NULL OR retires_at > ?1
                    ORDER BY retires_at IS NOT NULL, created_at DESC, kid",
                values![to_micros(now)],
                signing_key,
            )
        })
    }

    /// Deletes the keys that retired before `now`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_signing_keys(&self, now: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM signing_keys WHERE retires_at <= ?1",
                values![to_micros(now)],
            )
        })
        .await
    }

    /// Keeps a client, or takes over what is new about it; `false` if there are `max` others.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn put_oauth_client(&self, client: ClientRow, max: u32) -> Result<bool, Error> {
        self.change(move |connection| {
            let others: u32 = connection.only(
                "SELECT count(*) FROM oauth_clients WHERE id <> ?1",
                values![client.id],
                |row| row.get(0),
            )?;
            if others >= max {
                return Ok(false);
            }
            connection.execute(
                "INSERT INTO oauth_clients (id, metadata, secret_hash, created_at, fresh_until, used_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (id) DO UPDATE
                SET metadata = excluded.metadata, fresh_until = excluded.fresh_until, used_at = excluded.used_at",
                values![
                client.id,
                client.metadata,
                client.secret_hash,
                to_micros(client.created_at),
                client.fresh_until.map(to_micros),
                to_micros(client.used_at),
            ],
            )?;
            Ok(true)
        })
        .await
    }

    /// The client of this id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_oauth_client(&self, id: &str) -> Result<Option<ClientRow>, Error> {
        self.read(|connection| {
            connection.one(
                "SELECT id, metadata, secret_hash, created_at, fresh_until, used_at
                    FROM oauth_clients WHERE id = ?1",
                values![id],
                client,
            )
        })
    }

    /// Notes that a client is of use.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn touch_oauth_client(&self, id: &str, now: SystemTime) -> Result<(), Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            connection.execute(
                "UPDATE oauth_clients SET used_at = CASE WHEN used_at > ?2 THEN used_at ELSE ?2 END WHERE id = ?1",
                values![id, to_micros(now)],
            )?;
            Ok(())
        })
        .await
    }

    /// Deletes clients that nobody used since `unused_since`, and those of no use since `untried_since` that nobody
    /// ever allowed anything. A client with a grant that holds stays.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_oauth_clients(
        &self,
        unused_since: SystemTime,
        untried_since: SystemTime,
    ) -> Result<usize, Error> {
        self.change(move |connection| {
            connection.execute(
                "DELETE FROM oauth_clients
                    WHERE (used_at < ?1 OR (used_at < ?2 AND used_at = created_at))
                    AND id NOT IN (SELECT client_id FROM oauth_grants WHERE revoked_at IS NULL)",
                values![to_micros(unused_since), to_micros(untried_since)],
            )
        })
        .await
    }
}

fn signing(connection: &Connection) -> db::Result<Option<SigningKeyRow>> {
    connection.one(
        "SELECT kid, public, sealed, created_at, retires_at FROM signing_keys
            WHERE retires_at IS NULL",
        &[],
        signing_key,
    )
}

fn insert_key(connection: &Connection, key: &SigningKeyRow) -> db::Result<()> {
    connection.execute(
        "INSERT INTO signing_keys (kid, public, sealed, created_at, retires_at)
        VALUES (?1, ?2, ?3, ?4, ?5)",
        values![
            key.kid,
            key.public,
            key.sealed,
            to_micros(key.created_at),
            key.retires_at.map(to_micros),
        ],
    )?;
    Ok(())
}

fn signing_key(row: &Row<'_>) -> db::Result<SigningKeyRow> {
    Ok(SigningKeyRow {
        kid: row.get(0)?,
        public: row.get(1)?,
        sealed: row.get(2)?,
        created_at: from_micros(row.get(3)?),
        retires_at: row.get::<Option<i64>>(4)?.map(from_micros),
    })
}

fn client(row: &Row<'_>) -> db::Result<ClientRow> {
    Ok(ClientRow {
        id: row.get(0)?,
        metadata: row.get(1)?,
        secret_hash: row.get(2)?,
        created_at: from_micros(row.get(3)?),
        fresh_until: row.get::<Option<i64>>(4)?.map(from_micros),
        used_at: from_micros(row.get(5)?),
    })
}

#[cfg(test)]
mod tests;
