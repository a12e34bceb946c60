//! What stands between a test's clients and the gate: it passes bytes on as they come, and keeps a copy of them.
//!
//! Whoever a world's client is, other teams' included, what it was told is there at the end for
//! [`crate::schema::traffic`] to judge.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Exchange;

/// How long what the gate said last may take to reach a client that reads, once the gate has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
const CHUNK: usize = 64 * 1024;

/// Both directions of one connection, so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// From the client.
    pub(crate) sent: Mutex<Vec<u8>>,
    /// From the gate.
    pub(crate) came: Mutex<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Tap {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Arc<Heard>>>>,
    passing: Arc<tokio::sync::Mutex<JoinSet<()>>>,
    /// Dropped to take no more connections.
    accepting: JoinSet<()>,
}

impl Tap {
    /// Listens on a free port of its own, for the gate at `gate`.
    pub(super) async fn open(gate: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let heard = Arc::<Mutex<Vec<Arc<Heard>>>>::default();
        let passing = Arc::<tokio::sync::Mutex<JoinSet<()>>>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (heard, passing) = (Arc::clone(&heard), Arc::clone(&passing));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let copy = Arc::<Heard>::default();
                    heard.lock().push(Arc::clone(&copy));
                    let mut passing = passing.lock().await;
                    while passing.try_join_next().is_some() {}
                    passing.spawn(async move {
                        // How a connection ends is for its two ends to judge.
                        drop(pass(client, gate, &copy).await);
                    });
                }
            }
        });
        Ok(Self {
            address,
            heard,
            passing,
            accepting,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that was said, when the gate has ended.
    pub(super) async fn close(mut self) -> Vec<Arc<Heard>> {
        self.accepting.shutdown().await;
        let mut passing = self.passing.lock().await;
        let over = async { while passing.join_next().await.is_some() {} };
        // A client that does not read is not waited for.
        drop(timeout(LAST_WORDS, over).await);
        passing.shutdown().await;
        self.heard.lock().clone()
    }
}

async fn pass(client: TcpStream, gate: SocketAddr, heard: &Heard) -> Result<()> {
    let gate = Exchange::connect(gate).await?;
    client.set_nodelay(true)?;
    gate.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_gate, to_gate) = gate.into_split();
    let asks = copy(from_client, to_gate, &heard.sent);
    let answers = copy(from_gate, to_client, &heard.came);
    tokio::pin!(answers);
    // The gate's end ends it, whatever the client still says; that a client hangs up is told to the gate, which may
    // have something to say still.
    tokio::select! {
        done = &mut answers => done,
        _ = asks => answers.await,
    }
}

/// Copies until one side ends, and thereby says so to the other.
async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    kept: &Mutex<Vec<u8>>,
) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        kept.lock().extend_from_slice(bytes);
        to.write_all(bytes).await?;
    }
}
