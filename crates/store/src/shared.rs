//! Shared state: rate counters, in this process's memory or in a Redis that several gates share.
//!
//! One trait, two implementations. Both count in leaky buckets (GCRA, the generic cell rate algorithm) with the same
//! whole numbers of nanoseconds: [`memory`] in Rust, [`redis`] in the script beside it. Which buckets a call takes from
//! is the caller's business; all of them, or none.

mod memory;
mod redis;

use std::fmt::Debug;
use std::num::{NonZeroU32, NonZeroU64};
use std::pin::Pin;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use memory::Memory;
pub use redis::{Carrier, Dial, Fail, Login, Redis, RedisSettings};

/// A future that borrows.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a call takes from one bucket.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// The bucket's name.
    pub key: &'a str,
    /// Nanoseconds in which one unit runs out of the bucket.
    pub interval: NonZeroU64,
    /// How many units it holds.
    pub max: NonZeroU32,
    /// How many are taken.
    pub cost: NonZeroU32,
}

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// A bucket is too full. Of several that are, the one that it takes longest to wait for.
    #[error("too many, for another {wait:?}")]
    Full {
        /// Which of the takes.
        at: usize,
        /// When it could be had, if nothing else happens meanwhile; `Duration::MAX` for never, because the cost is more
        /// than the bucket holds.
        wait: Duration,
    },
    /// The counters cannot be had, and the config says to count nowhere else.
    #[error("the shared counters cannot be reached")]
    Unavailable,
}

/// Either it is known at once, or somebody has to be asked. Memory answers without a boxed future.
pub enum Taking<'a> {
    /// Known.
    Done(Result<(), TakeError>),
    /// Asked.
    Asked(Later<'a, Result<(), TakeError>>),
}

impl Debug for Taking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done(outcome) => f.debug_tuple("Done").field(outcome).finish(),
            Self::Asked(_) => f.write_str("Asked"),
        }
    }
}

/// How it is doing, for health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// `memory` or `redis`.
    pub kind: &'static str,
    /// Whether it counts where it should.
    pub is_up: bool,
    /// How many takes were counted in this process alone, or refused, because it was not.
    pub without: u64,
    /// How many buckets this process keeps.
    pub keys: usize,
    /// Why it is not, or was not the last time.
    pub last_error: Option<String>,
}

/// State that gates may share.
pub trait Shared: Send + Sync + Debug + 'static {
    /// Takes from all of these buckets, or from none. `now` is the caller's monotonic clock, which counts if the
    /// counters are its own alone; a shared store counts by its own.
    fn take<'a>(&'a self, takes: &'a [Take<'a>], now: Duration) -> Taking<'a>;

    /// What it needs done beside calls, until `stop`.
    fn keep<'a>(&'a self, stop: &'a CancellationToken) -> Later<'a, ()>;

    /// How it is doing.
    fn status(&self) -> Status;
}
