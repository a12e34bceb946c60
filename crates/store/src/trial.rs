//! What the tests run over: a fresh SQLite file, and then a fresh PostgreSQL.

#[expect(
    dead_code,
    unreachable_pub,
    reason = "a part of testkit, which knows this room"
)]
#[path = "../../testkit/src/fixtures/postgres.rs"]
mod postgres;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::shared::{Carrier, Dial, Later};
use crate::{Location, PostgresLogin, PostgresSettings, Store};

pub(crate) use postgres::Postgres;

/// One database that a test has for itself.
pub(crate) enum Home {
    File(TempDir),
    Server(Postgres),
}

impl Home {
    /// One of each kind, made when its turn comes.
    pub(crate) fn both() -> impl Iterator<Item = Self> {
        let file = || Self::File(TempDir::new().unwrap());
        let server = || Self::Server(Postgres::start(None).unwrap());
        [file as fn() -> Self, server]
            .into_iter()
            .map(|make| make())
    }

    pub(crate) fn location(&self) -> Location {
        match self {
            Self::File(folder) => Location::File(folder.path().join("gate.db")),
            Self::Server(server) => Location::Postgres(settings(server)),
        }
    }

    /// A store over it, as another process would have one.
    pub(crate) fn open(&self) -> Store {
        Store::open(self.location()).unwrap()
    }

    /// Says something to the database past the store.
    pub(crate) fn sql(&self, sql: &str) {
        match self {
            Self::File(folder) => {
                let path = folder.path().join("gate.db");
                let connection = rusqlite::Connection::open(path).unwrap();
                connection.execute_batch(sql).unwrap();
            }
            Self::Server(server) => drop(server.sql(sql).unwrap()),
        }
    }
}

pub(crate) fn settings(server: &Postgres) -> PostgresSettings {
    PostgresSettings {
        dial: Arc::new(Socket(server.socket())),
        login: PostgresLogin {
            user: postgres::USER.to_owned(),
            password: None,
            database: postgres::DATABASE.to_owned(),
        },
        place: "PostgreSQL at its socket".to_owned(),
    }
}

#[derive(Debug)]
struct Socket(PathBuf);

impl Dial for Socket {
    fn dial(&self) -> Later<'_, io::Result<Box<dyn Carrier>>> {
        Box::pin(async {
            let stream = UnixStream::connect(&self.0).await?;
            Ok(Box::new(stream) as Box<dyn Carrier>)
        })
    }
}
