//! One sink at work: hold it, read what its receiver does not have yet, send, move on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use parking_lot::Mutex;
use policy::{Clock, Instant};
use store::audit::text::hex;
use store::{AuditFilter, Recorded, SinkHold, Store};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::file::JsonFile;
use super::format::Source;
use super::http::{Poster, Taken};
use super::syslog::Syslog;
use super::{SinkError, SinkKind, SinkSettings};
use crate::Metrics;
use crate::health::Component;

/// How often the end of the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// First and longest pause after a failure.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long a batch may take.
const BATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes of records, as the database has them, are sent at once; a single one may be larger.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// How long a sink stays this gate's after it was last heard of: longer than a batch may take.
const HOLD: Duration = Duration::from_secs(90);
/// How often it says so.
const RENEW_EVERY: Duration = Duration::from_secs(20);
/// How often a gate looks whether the one that has the sink is gone.
const WAIT_EVERY: Duration = Duration::from_secs(5);
/// How long what is left may take when the gate ends.
const LAST_TIMEOUT: Duration = Duration::from_secs(2);
/// Random bytes in the name by which this gate holds a sink.
const HOLDER_LEN: usize = 8;
/// Records named one by one in a log line, when a receiver refused them.
const NAMED_MAX: usize = 20;

/// What a sink needs around it.
#[derive(Debug, Clone)]
pub struct Around {
    /// Where the log is.
    pub store: Store,
    /// The way out.
    pub client: net::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where records come from.
    pub source: Arc<Source>,
}

/// One sink. A task of its own runs it: see [`Sink::run`].
pub struct Sink {
    settings: SinkSettings,
    around: Around,
    health: Component,
    holder: String,
    receiver: Receiver,
    held: Option<Held>,
    trouble: Option<Trouble>,
    search: Search,
}

/// The sink is this gate's.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// What the receiver has.
    position: i64,
    renewed: Instant,
}

/// The sink does not get on.
#[derive(Debug, Clone)]
struct Trouble {
    since: SystemTime,
    told: String,
    pause: Duration,
}

/// The search for a record for which the receiver refuses whole batches: they are halved until it is alone. It is left
/// behind only if the receiver takes one behind it, or else a receiver that is set up wrongly would lose them all.
#[derive(Debug, Clone, Copy)]
struct Search {
    /// Most records that are sent at once for now.
    most: u32,
    /// The last record that was refused alone: what is behind it is tried next.
    behind: Option<i64>,
    /// A record that was taken since: what lies in front of it and is refused alone is refused for what is in it.
    taken: i64,
}

/// How it went.
enum Step {
    /// There may be more to send.
    More,
    /// There is nothing to send.
    Done,
    /// Another gate sends.
    Others,
}

enum Receiver {
    File(Arc<Mutex<JsonFile>>),
    Syslog(Syslog),
    Http(Poster),
}

impl Sink {
    /// A sink that begins where the last one of its name was. Opens nothing yet.
    #[must_use]
    pub fn new(settings: SinkSettings, around: Around, health: Component) -> Self {
        let receiver = match &settings.kind {
            SinkKind::File(file) => {
                Receiver::File(Arc::new(Mutex::new(JsonFile::new(file.clone()))))
            }
            SinkKind::Syslog(syslog) => {
                Receiver::Syslog(Syslog::new(syslog.clone(), &around.client))
            }
            SinkKind::Http(http) => Receiver::Http(Poster::new(http.clone(), &around.client)),
        };
        let mut id = [0; HOLDER_LEN];
        // Without random bytes two gates might send what one should; nothing is lost by it.
        let _unspecified = rand::fill(&mut id);
        Self {
            holder: hex(&id),
            around,
            health,
            receiver,
            held: None,
            trouble: None,
            search: Search {
                most: settings.batch,
                behind: None,
                taken: 0,
            },
            settings,
        }
    }

    /// Sends what is recorded, until it is told to stop; then what is left, if that takes no time, and leaves the sink to
    /// other gates.
    pub async fn run(mut self, stop: &CancellationToken) {
        self.health.starting();
        while !stop.is_cancelled() {
            let pause = match self.step(stop).await {
                Ok(Step::More) => continue,
                Ok(Step::Done) => LOOK_EVERY,
                Ok(Step::Others) => WAIT_EVERY,
                Err(error) => self.failed(&error).await,
            };
            let _stopped = stop.run_until_cancelled(sleep(pause)).await;
        }
        if self.held.is_some() {
            let rest = async {
                while self.trouble.is_none() && matches!(self.step(stop).await, Ok(Step::More)) {}
            };
            // What is not sent now is sent by whoever comes next.
            drop(timeout(LAST_TIMEOUT, rest).await);
            let name = self.settings.name.clone();
            let released = self.around.store.release_audit_sink(name, self.holder);
            if let Err(error) = released.await {
                tracing::warn!(sink = self.settings.name, %error, "other gates have to wait for the sink");
            }
        }
    }

    async fn step(&mut self, stop: &CancellationToken) -> Result<Step, SinkError> {
        if let Some(behind) = self.search.behind.take() {
            return self.step_behind(behind, stop).await;
        }
        let Some(held) = self.hold().await? else {
            self.health.ok(None);
            self.around.metrics.audit_sink_lag(&self.settings.name, 0);
            return Ok(Step::Others);
        };
        let (end, records, is_all) = self.read(held.position, self.search.most).await?;
        let behind = u64::try_from(end - held.position).unwrap_or_default();
        let lag = if records.is_empty() { 0 } else { behind };
        self.around.metrics.audit_sink_lag(&self.settings.name, lag);
        let Some(last) = records.last().map(|last| last.seq) else {
            // What lies between is not for this sink. After a start it is looked at again, which costs less than a write.
            let position = end.max(held.position);
            self.held = Some(Held { position, ..held });
            // There was trouble, and there is nothing left that it could be with.
            if self.trouble.is_some() {
                self.moved(position).await?;
            }
            self.health.ok(None);
            return Ok(Step::Done);
        };
        let asked = self.around.clock.now();
        let sent = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let taken = match self.send(records, stop).await {
            Err(error) if error.is_refusal() && sent > 1 => {
                self.search.most = sent / 2;
                return Ok(Step::More);
            }
            Err(error) if error.is_refusal() && last <= self.search.taken => Taken {
                refused: 1,
                which: vec![last],
                why: Some(error.to_string()),
            },
            Err(error) => {
                self.search.taken = 0;
                self.search.behind = error.is_refusal().then_some(last);
                return Err(error);
            }
            Ok(taken) => taken,
        };
        self.tell_refused(&taken);
        self.search.most = sent
            .saturating_mul(2)
            .clamp(self.search.most, self.settings.batch);
        // Without the place being kept it is the same batch again after a start; here and now it goes on.
        let position = if is_all { end.max(last) } else { last };
        self.held = Some(Held { position, ..held });
        self.moved(position).await?;
        let now = self.around.clock.now();
        self.health.ok(Some(now.since(asked)));
        if let Some(held) = &mut self.held {
            held.renewed = now;
        }
        Ok(if is_all { Step::Done } else { Step::More })
    }

    /// Sends one record from behind the one that was refused alone, to see whether the receiver takes any. It comes again
    /// when it is its turn.
    async fn step_behind(
        &mut self,
        behind: i64,
        stop: &CancellationToken,
    ) -> Result<Step, SinkError> {
        if self.hold().await?.is_none() {
            return Ok(Step::Others);
        }
        let (_end, records, _is_all) = self.read(behind, 1).await?;
        // With nothing behind it, it is tried again itself.
        let Some(next) = records.last().map(|next| next.seq) else {
            return Ok(Step::More);
        };
        match self.send(records, stop).await {
            Ok(_taken) => {
                self.search.taken = next;
                Ok(Step::More)
            }
            Err(error) => {
                self.search.behind = error.is_refusal().then_some(next);
                Err(error)
            }
        }
    }

    /// Keeps the place in the database; nothing is wrong any more.
    async fn moved(&mut self, position: i64) -> Result<(), SinkError> {
        let hold = self.lease();
        match self.around.store.move_audit_sink(hold, position).await {
            Ok(true) => {}
            Ok(false) => self.held = None,
            Err(error) => return Err(error.into()),
        }
        if self.trouble.take().is_some() {
            tracing::info!(
                sink = self.settings.name,
                "the receiver takes records again"
            );
        }
        Ok(())
    }

    /// Keeps the sink this gate's, or takes it. `None` while it is another's.
    async fn hold(&mut self) -> Result<Option<Held>, SinkError> {
        let now = self.around.clock.now();
        if let Some(held) = self.held
            && now.since(held.renewed) < RENEW_EVERY
        {
            return Ok(Some(held));
        }
        let hold = self.lease();
        let kept = self.around.store.hold_audit_sink(hold, self.settings.start);
        let kept = kept.await?;
        self.held = kept.map(|stored| Held {
            // What lies behind the place that was kept was sent, but for a gate that has just got the sink.
            position: self.held.map_or(stored, |held| held.position.max(stored)),
            renewed: now,
        });
        Ok(self.held)
    }

    fn lease(&self) -> SinkHold {
        let now = self.around.clock.wall();
        SinkHold {
            name: self.settings.name.clone(),
            holder: self.holder.clone(),
            now,
            until: now + HOLD,
        }
    }

    /// The log's end, what of it is to be sent next, no more than so many, and whether that is all up to the end.
    async fn read(&self, after: i64, most: u32) -> Result<(i64, Vec<Recorded>, bool), SinkError> {
        let store = self.around.store.clone();
        let filter = AuditFilter {
            begun: self.settings.begun,
            ..AuditFilter::default()
        };
        let read = tokio::task::spawn_blocking(move || {
            // The end first: whatever is read after it has all that was there.
            let end = store.audit_end()?;
            let records = match end > after {
                true => store.audit_tail(most, Some(after), &filter)?,
                false => Vec::new(),
            };
            Ok::<_, store::Error>((end, records))
        });
        let (end, mut records) = read.await.map_err(|_gone| SinkError::Interrupted)??;
        let fits = within(&records, BATCH_BYTES_MAX);
        let is_all =
            fits == records.len() && records.len() < usize::try_from(most).unwrap_or(usize::MAX);
        records.truncate(fits);
        Ok((end, records, is_all))
    }

    async fn send(
        &mut self,
        records: Vec<Recorded>,
        stop: &CancellationToken,
    ) -> Result<Taken, SinkError> {
        let ends = async {
            stop.cancelled().await;
            sleep(LAST_TIMEOUT).await;
        };
        let sent = timeout(BATCH_TIMEOUT, self.receiver.take(records, &self.around));
        tokio::select! {
            sent = Box::pin(sent) => sent.unwrap_or(Err(SinkError::Late(BATCH_TIMEOUT))),
            () = ends => Err(SinkError::Interrupted),
        }
    }

    /// Says what is wrong, once; how long to leave it alone.
    async fn failed(&mut self, error: &SinkError) -> Duration {
        let told = error.chain();
        self.around.metrics.audit_sink_error(&self.settings.name);
        self.health.down(&told);
        let before = self.trouble.take();
        let since = before
            .as_ref()
            .map_or_else(|| self.around.clock.wall(), |trouble| trouble.since);
        let pause = before
            .as_ref()
            .map_or(PAUSE_MIN, |trouble| (trouble.pause * 2).min(PAUSE_MAX));
        if before.is_none_or(|before| before.told != told) {
            tracing::warn!(
                sink = self.settings.name,
                error = told,
                "nothing of the audit log gets to the receiver; it is kept, and sent later"
            );
            let noted = self
                .around
                .store
                .fail_audit_sink(self.lease(), told.clone(), since);
            if let Err(error) = noted.await {
                tracing::debug!(sink = self.settings.name, %error, "what is wrong could not be kept");
            }
        }
        self.trouble = Some(Trouble { since, told, pause });
        jittered(pause).max(error.after().unwrap_or_default())
    }

    /// Says which records the receiver will never take: they are in the audit log, and nowhere else.
    fn tell_refused(&self, taken: &Taken) {
        if taken.refused == 0 {
            return;
        }
        let refused = u64::try_from(taken.refused).unwrap_or(u64::MAX);
        self.around
            .metrics
            .audit_sink_refused(&self.settings.name, refused);
        let which: Vec<i64> = taken.which.iter().copied().take(NAMED_MAX).collect();
        tracing::error!(
            sink = self.settings.name,
            records = taken.refused,
            ?which,
            why = taken.why,
            "the receiver refused records for what is in them; they are in the audit log alone"
        );
    }
}

impl Receiver {
    async fn take(&mut self, records: Vec<Recorded>, around: &Around) -> Result<Taken, SinkError> {
        match self {
            Self::File(file) => {
                let (file, now) = (Arc::clone(file), around.clock.wall());
                let source = Arc::clone(&around.source);
                // On a thread where it may wait for the disk; nobody else waits for a disk that does not answer.
                let append = move || match file.try_lock() {
                    Some(mut file) => file.append(&records, &source, now),
                    None => Err(SinkError::Busy),
                };
                let appended = tokio::task::spawn_blocking(append).await;
                appended.map_err(|_gone| SinkError::Interrupted)??;
                Ok(Taken::default())
            }
            Self::Syslog(syslog) => {
                syslog.send(&records, &around.source).await?;
                Ok(Taken::default())
            }
            Self::Http(poster) => poster.post(&records, &around.source).await,
        }
    }
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink")
            .field("name", &self.settings.name)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// How many of them, from the first on, are no more than so many bytes; at least one.
fn within(records: &[Recorded], bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = records.iter().take_while(|record| {
        let row = &record.row;
        let texts = [&row.arguments, &row.reason, &row.entry];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        // The rest of a row has bounds.
        bytes = bytes.saturating_add(texts).saturating_add(1024);
        bytes <= bytes_max
    });
    fits.count().max(1).min(records.len())
}

/// Between half and the whole of `pause`, so that gates that failed together do not try again together.
fn jittered(pause: Duration) -> Duration {
    let mut dice = [0];
    let _unspecified = rand::fill(&mut dice);
    pause / 2 + (pause / 512) * u32::from(dice[0])
}

#[cfg(test)]
mod tests;
