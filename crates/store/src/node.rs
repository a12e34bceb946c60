//! The key of this installation: made at the first start, kept with everything else that is durable.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::Error;
use crate::db::{Connection, values};

/// Bytes of the key.
pub(crate) const KEY_LEN: usize = 32;

/// The key itself, which no log line shows.
pub(crate) struct NodeKey(pub(crate) [u8; KEY_LEN]);

impl std::fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeKey(…)")
    }
}

/// The key; made now if there is none. Of two processes that start at once, both get the one that was first.
pub(crate) fn key(connection: &Connection) -> Result<NodeKey, Error> {
    let mut fresh = [0_u8; KEY_LEN];
    SystemRandom::new()
        .fill(&mut fresh)
        .map_err(|_unspecified| Error::NoRandomness)?;
    connection.execute(
        "INSERT INTO node (one, key) VALUES (1, ?1) ON CONFLICT DO NOTHING",
        values![fresh],
    )?;
    Ok(NodeKey(connection.only(
        "SELECT key FROM node",
        &[],
        |row| row.get(0),
    )?))
}
