//! The one record of a call: opened before anything is spent on it, closed by its reply, whatever happens between.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use observe::{AuditLog, Metrics, OpenRecord, Stage, Stages};
use policy::screen::Found;
use policy::{Clock, Credential, Instant, Principal, ServerName};
use store::{AuditRow, Outcome};
use uuid::Uuid;
use wire::Revision;

use crate::Rejection;
use crate::flows::Taint;

/// The status by which metrics know a call that its client gave up (nginx's word for it; no client sees it).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What has become known of a call so far. Dropped unclosed, it was abandoned: that is recorded too.
#[derive(Debug)]
pub(crate) struct CallRecord {
    /// The place in the audit log, and what goes there; `None` once it is written.
    open: Option<(OpenRecord, AuditRow)>,
    audit: AuditLog,
    call_id: String,
    opened: Instant,
    stages: Stages,
    /// What screening found in what was sent and what came back.
    found: Found,
    taint: Taint,
    method: &'static str,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

/// A record on its way to the disk.
pub(crate) type Written = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>;

/// What is known when a call comes in.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) client: String,
    pub(crate) transport: &'static str,
    pub(crate) revision: &'static str,
    pub(crate) method: &'static str,
    pub(crate) bytes_in: usize,
}

impl CallRecord {
    /// Takes a place in the audit log. No room, no call.
    pub(crate) async fn open(
        audit: &AuditLog,
        metrics: &Metrics,
        clock: &Arc<dyn Clock>,
        opening: Opening<'_>,
    ) -> Result<Self, Rejection> {
        let opened = clock.now();
        let place = match audit.open().await {
            Ok(place) => place,
            Err(error) => {
                metrics.audit_refused();
                return Err(Rejection::Unrecordable(error));
            }
        };
        let wall = clock
            .wall()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let call_id = call_id(wall).to_string();
        let row = AuditRow {
            at_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX),
            call_id: call_id.clone(),
            principal: opening
                .principal
                .map_or_else(|| "-".to_owned(), |p| p.id.to_string()),
            credential: opening
                .principal
                .map_or_else(|| "-".to_owned(), |p| credential(&p.credential)),
            client: opening.client,
            transport: opening.transport.into(),
            revision: opening.revision.into(),
            method: opening.method.into(),
            upstream: None,
            entry: None,
            arguments_digest: None,
            decision: "-".into(),
            rule: None,
            server: None,
            definition: None,
            consent: None,
            screened: None,
            trace_id: None,
            arguments: None,
            outcome: Outcome::Cancelled,
            code: None,
            reason: None,
            duration_us: 0,
            bytes_in: opening.bytes_in as u64,
            bytes_out: 0,
        };
        Ok(Self {
            open: Some((place, row)),
            audit: audit.clone(),
            call_id,
            opened,
            stages: Stages::begin(opened),
            found: Found::default(),
            taint: Taint::default(),
            method: opening.method,
            metrics: metrics.clone(),
            clock: Arc::clone(clock),
        })
    }

    /// Notes to which virtual server it came.
    pub(crate) fn of_server(&mut self, server: Option<&ServerName>) {
        if let Some(server) = server {
            self.note(|row| row.server = Some(server.to_string()));
        }
    }

    /// The id under which the audit log has the call.
    pub(crate) fn id(&self) -> &str {
        &self.call_id
    }

    /// When it came in.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// The call is in that stage from now on.
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stages.enter(stage, self.clock.now());
    }

    /// Notes what became known; nothing once the record is closed.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut AuditRow)) {
        if let Some((_, row)) = &mut self.open {
            note(row);
        }
    }

    /// Notes what screening found.
    pub(crate) fn note_found(&mut self, found: &Found) {
        self.metrics.screened(found);
        self.found.merge(found);
    }

    /// Notes what screening found in what is shown: it was found, and counted, before.
    pub(crate) fn note_shown(&mut self, found: &Found) {
        self.found.merge(found);
    }

    /// Notes what the principal has seen before this call.
    pub(crate) fn note_taint(&mut self, taint: Taint) {
        self.taint = taint;
    }

    /// The call is about to have an effect: it is in the log before that.
    pub(crate) async fn begin(&self) -> Result<(), Rejection> {
        let Some((_, row)) = &self.open else {
            return Ok(());
        };
        let mut row = row.clone();
        self.complete(&mut row);
        let _waiting = self.metrics.audit_waiting();
        self.audit.begin(row).await.map_err(|error| {
            self.metrics.audit_refused();
            Rejection::Unrecordable(error)
        })
    }

    /// The reply is ready: it may be given once the record is in the audit log.
    ///
    /// What is waited for is in a box: the way of every call would otherwise carry the record to its end.
    pub(crate) fn close(mut self, outcome: Outcome, status: u16, bytes_out: usize) -> Written {
        self.note(|row| (row.outcome, row.bytes_out) = (outcome, bytes_out as u64));
        self.enter(Stage::Record);
        let Some((place, row)) = self.finish() else {
            return Box::pin(async { Ok(()) });
        };
        let mut ended = self.ended(status);
        Box::pin(async move {
            let _waiting = ended.metrics.audit_waiting();
            let written = place.close(row).await.map_err(Rejection::Unrecordable);
            if let Err(rejection) = &written {
                ended.refuse(rejection);
            }
            written
        })
    }

    /// What metrics are told once it is over.
    fn ended(&self, status: u16) -> Ended {
        Ended {
            opened: self.opened,
            stages: self.stages.clone(),
            status,
            method: self.method,
            metrics: self.metrics.clone(),
            clock: Arc::clone(&self.clock),
        }
    }

    fn complete(&self, row: &mut AuditRow) {
        let taken = self.clock.now().since(self.opened);
        row.screened = screened(&self.found, self.taint);
        row.duration_us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
    }

    fn finish(&mut self) -> Option<(OpenRecord, AuditRow)> {
        let (place, mut row) = self.open.take()?;
        self.complete(&mut row);
        Some((place, row))
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        self.note(|row| row.reason = Some("abandoned by the client".to_owned()));
        if let Some((place, row)) = self.finish() {
            place.abandon(row);
            drop(self.ended(CLIENT_CLOSED_REQUEST));
        }
    }
}

/// A call that is over, but for its place on the disk. Metrics are told when it is dropped, waited for or not.
struct Ended {
    opened: Instant,
    stages: Stages,
    status: u16,
    method: &'static str,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl Ended {
    /// The answer cannot be given.
    fn refuse(&mut self, rejection: &Rejection) {
        self.metrics.audit_refused();
        self.status = rejection.response(Revision::LATEST).status;
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.stages.leave(now);
        self.metrics.stages(&self.stages);
        let taken = now.since(self.opened);
        self.metrics.request(self.method, self.status, taken);
    }
}

/// What screening found and what the principal had seen, in words from closed sets with counts.
fn screened(found: &Found, taint: Taint) -> Option<String> {
    let found = (!found.is_empty()).then(|| found.to_string());
    let words: Vec<String> = found
        .into_iter()
        .chain(taint.words().map(str::to_owned))
        .collect();
    (!words.is_empty()).then(|| words.join(","))
}

/// A credential in records: its kind and its public id.
pub(crate) fn credential(credential: &Credential) -> String {
    match credential {
        Credential::Local => credential.kind().to_owned(),
        Credential::ApiKey(id) | Credential::Certificate(id) | Credential::Session(id) => {
            format!("{}:{id}", credential.kind())
        }
        Credential::Token(token) => {
            let id = token.id.as_deref().unwrap_or_default();
            format!("{}:{}:{id}", credential.kind(), token.issuer)
        }
    }
}

/// A UUID of version 7. An identifier, not a secret: random per process, counted up per call.
fn call_id(wall: Duration) -> Uuid {
    static SEED: LazyLock<[u8; 16]> = LazyLock::new(|| Uuid::new_v4().into_bytes());
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let [a, b, c, d, e, ..] = *SEED;
    // The last five bytes count 10^12 calls before they come round, and the millisecond has moved on by then.
    let [.., v, w, x, y, z] = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let tail = [a, b, c, d, e, v, w, x, y, z];
    let millis = u64::try_from(wall.as_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}
