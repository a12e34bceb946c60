//! What the gate records of its own accord: that it began and ended, and what became of its upstreams and its config.
//!
//! Nobody asked for it, so nobody is made to wait for the disk: it is handed to one task that writes in order. What an
//! upstream's ups and downs come to, and how many of them are told, is `lifecycle`'s.

use std::time::Duration;

use observe::SYSTEM;
use policy::UpstreamId;
use store::Outcome;
use tokio::sync::{Mutex, mpsc};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upstream::chain;

use crate::record::{CallRecord, Opening};
use crate::{Gate, Rejection};

/// Most of it that waits for the disk. What finds no place is in the log, as an error.
const WAITING_MAX: usize = 1024;
/// How long the log is left alone that has no place.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Something that happened to the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Its row of [`observe::ACTS`].
    pub what: &'static str,
    /// To which upstream.
    pub upstream: Option<UpstreamId>,
    /// What it is about; cannot be erased.
    pub about: Option<String>,
    /// The digest of what holds now, hex.
    pub digest: Option<String>,
    /// `Ok`, `Refused` or `Failed`.
    pub outcome: Outcome,
    /// Why, and what came before; can be erased.
    pub reason: Option<String>,
}

impl Happened {
    /// That something happened, and nothing more.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            upstream: None,
            about: None,
            digest: None,
            outcome: Outcome::Ok,
            reason: None,
        }
    }
}

/// Where it waits for the disk.
#[derive(Debug)]
pub(crate) struct Happenings {
    sender: mpsc::Sender<Happened>,
    /// For one task at a time.
    receiver: Mutex<mpsc::Receiver<Happened>>,
}

impl Default for Happenings {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(receiver),
        }
    }
}

impl Gate {
    /// Has it recorded, soon and in order.
    pub fn note(&self, happened: Happened) {
        if let Err(error) = self.happenings.sender.try_send(happened) {
            let happened = match &error {
                mpsc::error::TrySendError::Full(happened)
                | mpsc::error::TrySendError::Closed(happened) => happened,
            };
            tracing::error!(
                what = happened.what,
                upstream = happened.upstream.as_ref().map(UpstreamId::as_str),
                reason = happened.reason,
                "not recorded: too much waits for the disk"
            );
        }
    }

    /// Records what happens until the gate ends, and what is left then. While the log has no place, what came first waits
    /// for one, and all else behind it.
    pub(crate) async fn record_happenings(&self, stop: &CancellationToken) {
        let mut happenings = self.happenings.receiver.lock().await;
        while let Some(Some(happened)) = stop.run_until_cancelled(happenings.recv()).await {
            let mut place = self.place_for(happened.what).await;
            while place.is_err() && !stop.is_cancelled() {
                let _stopped = stop.run_until_cancelled(sleep(AGAIN_AFTER)).await;
                place = self.place_for(happened.what).await;
            }
            record(place, happened).await;
        }
        happenings.close();
        while let Some(happened) = happenings.recv().await {
            self.record_happened(happened).await;
        }
    }

    /// Records it, and waits for that; for the end, after which there is no task.
    pub(crate) async fn record_happened(&self, happened: Happened) {
        record(self.place_for(happened.what).await, happened).await;
    }

    async fn place_for(&self, what: &'static str) -> Result<CallRecord, Rejection> {
        let opening = Opening {
            principal: None,
            client: String::new(),
            address: None,
            transport: "-",
            revision: "-",
            method: what,
            bytes_in: 0,
        };
        self.open_record(opening).await
    }
}

async fn record(place: Result<CallRecord, Rejection>, happened: Happened) {
    let what = happened.what;
    let mut record = match place {
        Ok(record) => record,
        Err(rejection) => {
            let error = chain(&rejection);
            tracing::error!(what, error, "not recorded");
            return;
        }
    };
    record.note(|row| {
        row.principal = SYSTEM.to_owned();
        row.upstream = happened.upstream.map(|upstream| upstream.to_string());
        row.entry = happened.about;
        row.definition = happened.digest;
        row.reason = happened.reason;
    });
    if let Err(rejection) = record.close(happened.outcome, 200, 0).await {
        let error = chain(&rejection);
        tracing::error!(what, error, "not recorded yet; it keeps its place");
    }
}
