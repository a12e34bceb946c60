//! The one record of a call: opened before anything is spent on it, closed by its reply, whatever happens between.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use observe::trace::{Ending, Trace, Tracer};
use observe::{AuditLog, Call, Decided, Keeping, Metrics, OpenRecord, Stage, Stages, is_act};
use policy::screen::Found;
use policy::{Clock, Credential, Instant, Principal, ServerName, UpstreamId};
use store::audit::Fields;
use store::audit::text::hex;
use store::{AuditRow, Outcome};
use upstream::Link;
use uuid::Uuid;
use wire::{Method, Revision};

use crate::Rejection;
use crate::catalog::Entry;
use crate::flows::Taint;
use crate::metrics::Asking;

/// The status by which metrics know a call that its client gave up (nginx's word for it; no client sees it).
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// What every record needs: one thing to share, since every call does, on every thread.
#[derive(Debug)]
pub(crate) struct Recorder {
    audit: AuditLog,
    metrics: Metrics,
    tracer: Tracer,
    clock: Arc<dyn Clock>,
}

impl Recorder {
    pub(crate) fn new(
        audit: AuditLog,
        metrics: &Metrics,
        tracer: &Tracer,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        Self {
            audit,
            metrics: metrics.clone(),
            tracer: tracer.clone(),
            clock: Arc::clone(clock),
        }
    }
}

/// What has become known of a call so far. Dropped unclosed, it was abandoned: that is recorded too.
#[derive(Debug)]
pub(crate) struct CallRecord {
    /// The place in the audit log, and what goes there; `None` once it is written.
    ///
    /// In a box: the way of every call carries the record, and is copied where its parts meet.
    open: Option<Box<(OpenRecord, AuditRow)>>,
    recorder: Arc<Recorder>,
    call_id: String,
    opened: Instant,
    stages: Stages,
    /// The trace that it belongs to, if there is one.
    trace: Option<Box<Trace>>,
    arguments: Option<Arguments>,
    keeping: Arc<Keeping>,
    /// What screening found in what was sent and what came back.
    found: Found,
    taint: Taint,
    transport: &'static str,
    revision: &'static str,
    method: &'static str,
    /// It could not be recorded that it is about to have an effect, so it had none.
    is_unrecordable: bool,
}

/// A call's arguments, for as long as something of them may be kept.
#[derive(Debug)]
struct Arguments {
    upstream: UpstreamId,
    /// As the upstream calls it.
    entry: String,
    text: Bytes,
    /// What is kept of them: it costs something, and stands in two rows.
    kept: OnceLock<Option<String>>,
}

/// A record on its way to the disk.
pub(crate) type Written = Pin<Box<dyn Future<Output = Result<(), Rejection>> + Send>>;

/// What is known when a call comes in.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) principal: Option<&'a Principal>,
    pub(crate) client: String,
    /// Where the request comes from.
    pub(crate) address: Option<IpAddr>,
    pub(crate) transport: &'static str,
    pub(crate) revision: &'static str,
    pub(crate) method: &'static str,
    pub(crate) bytes_in: usize,
}

impl CallRecord {
    /// Takes a place in the audit log. No room, no call.
    pub(crate) async fn open(
        recorder: &Arc<Recorder>,
        keeping: Arc<Keeping>,
        opening: Opening<'_>,
    ) -> Result<Self, Rejection> {
        debug_assert!(
            is_act(opening.method) || is_method(opening.method),
            "`{}` is no row of `observe::ACTS`",
            opening.method
        );
        let opened = recorder.clock.now();
        let place = match recorder.audit.open().await {
            Ok(place) => place,
            Err(error) => {
                recorder.metrics.audit_refused();
                return Err(Rejection::Unrecordable(error));
            }
        };
        let wall = recorder
            .clock
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
            address: opening.address.map(|address| address.to_string()),
            actor: opening.principal.and_then(actor),
            subject: None,
            outcome: Outcome::Cancelled,
            code: None,
            reason: None,
            duration_us: 0,
            bytes_in: opening.bytes_in as u64,
            bytes_out: 0,
        };
        Ok(Self {
            open: Some(Box::new((place, row))),
            recorder: Arc::clone(recorder),
            call_id,
            opened,
            stages: Stages::begin(opened),
            trace: None,
            arguments: None,
            keeping,
            found: Found::default(),
            taint: Taint::default(),
            transport: opening.transport,
            revision: opening.revision,
            method: opening.method,
            is_unrecordable: false,
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

    /// Notes to which trace it belongs.
    pub(crate) fn of_trace(&mut self, trace: Option<Box<Trace>>) {
        let id = trace.as_ref().and_then(|trace| trace.id());
        self.note(|row| row.trace_id = id.map(|id| id.to_string()));
        self.trace = trace;
    }

    /// What an upstream is told of the trace.
    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }

    /// What was asked for.
    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    /// When it came in.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    /// The call is in that stage from now on.
    pub(crate) fn enter(&mut self, stage: Stage) {
        self.stages.enter(stage, self.recorder.clock.now());
    }

    /// Notes what became known; nothing once the record is closed.
    pub(crate) fn note(&mut self, note: impl FnOnce(&mut AuditRow)) {
        if let Some(open) = &mut self.open {
            note(&mut open.1);
        }
    }

    /// Notes the arguments as they are so far: what is sent in the end, or what was refused.
    pub(crate) fn note_arguments(&mut self, entry: &Entry, arguments: Bytes) {
        let digest = hex(digest(&SHA256, &arguments).as_ref());
        self.note(|row| row.arguments_digest = Some(digest));
        self.arguments = self.keeping.keeps_any().then(|| Arguments {
            upstream: entry.link.id().clone(),
            entry: entry.item.key.clone(),
            text: arguments,
            kept: OnceLock::new(),
        });
    }

    /// Notes what screening found.
    pub(crate) fn note_found(&mut self, found: &Found) {
        self.recorder.metrics.screened(found);
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

    /// The call leaves for this upstream.
    pub(crate) fn asking(&self, link: &Arc<Link>, method: &'static Method) -> Asking {
        Asking::begin(link, method, &self.recorder.metrics, &self.recorder.clock)
    }

    /// The call is about to have an effect: it is in the log before that.
    pub(crate) async fn begin(&mut self) -> Result<(), Rejection> {
        // Asked first: what is kept of the arguments costs something.
        let Some(open) = self.open.as_ref().filter(|_| self.recorder.audit.begins()) else {
            return Ok(());
        };
        let screened = screened(&self.found, self.taint);
        let row = Fields {
            screened: screened.as_deref(),
            arguments: self.kept(),
            duration_us: self.taken_us(),
            ..open.1.fields()
        };
        let _waiting = self.recorder.metrics.audit_waiting();
        let begun = self.recorder.audit.begin(row).await;
        begun.map_err(|error| {
            self.is_unrecordable = true;
            self.recorder.metrics.audit_refused();
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
        let mut ended = self.ended(status, &row);
        if self.is_unrecordable {
            // Who gets that answer has waited, and is told nothing that is not so: nothing was done.
            place.abandon(&row);
            return Box::pin(async { Ok(()) });
        }
        let written = place.close(&row);
        Box::pin(async move {
            let _waiting = ended.recorder.metrics.audit_waiting();
            let written = written.await.map_err(Rejection::Unconfirmed);
            if let Err(rejection) = &written {
                ended.refuse(rejection);
            }
            written
        })
    }

    /// Gives the place back. It is counted as a refusal that is not recorded.
    pub(crate) fn discard(mut self) {
        self.open = None;
        self.recorder.metrics.refusal_unrecorded();
    }

    /// What metrics and traces are told once it is over.
    fn ended(&self, status: u16, row: &AuditRow) -> Ended {
        Ended {
            ending: self
                .trace
                .as_ref()
                .and_then(|trace| self.recorder.tracer.end(trace, row)),
            opened: self.opened,
            stages: self.stages.clone(),
            status,
            transport: self.transport,
            revision: self.revision,
            method: self.method,
            outcome: row.outcome,
            code: row.code,
            decided: Decided::of(&row.decision),
            recorder: Arc::clone(&self.recorder),
        }
    }

    /// What is kept of its arguments.
    fn kept(&self) -> Option<&str> {
        let Arguments {
            upstream,
            entry,
            text,
            kept,
        } = self.arguments.as_ref()?;
        let kept = kept.get_or_init(|| {
            self.keeping
                .kept(Some((upstream, entry)), &self.call_id, text)
        });
        kept.as_deref()
    }

    /// How long it has taken so far, in microseconds.
    fn taken_us(&self) -> u64 {
        let taken = self.recorder.clock.now().since(self.opened);
        u64::try_from(taken.as_micros()).unwrap_or(u64::MAX)
    }

    fn finish(&mut self) -> Option<(OpenRecord, AuditRow)> {
        let (place, mut row) = *self.open.take()?;
        row.screened = screened(&self.found, self.taint);
        row.arguments = self.kept().map(str::to_owned);
        row.duration_us = self.taken_us();
        Some((place, row))
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        self.note(|row| row.reason = Some("abandoned by the client".to_owned()));
        if let Some((place, row)) = self.finish() {
            let ended = self.ended(CLIENT_CLOSED_REQUEST, &row);
            place.abandon(&row);
            drop(ended);
        }
    }
}

/// A call that is over, but for its place on the disk. Metrics and traces are told when it is dropped, waited for or not.
struct Ended {
    /// Its span, if it is kept.
    ending: Option<Ending>,
    opened: Instant,
    stages: Stages,
    status: u16,
    transport: &'static str,
    revision: &'static str,
    method: &'static str,
    outcome: Outcome,
    code: Option<i64>,
    decided: Decided,
    recorder: Arc<Recorder>,
}

impl Ended {
    /// The answer cannot be given.
    fn refuse(&mut self, rejection: &Rejection) {
        self.recorder.metrics.audit_refused();
        self.recorder.metrics.rejected(rejection.reason());
        let response = rejection.response(Revision::LATEST);
        self.status = response.status;
        (self.outcome, self.code) = (Outcome::Failed, Some(i64::from(response.code)));
        if let Some(ending) = &mut self.ending {
            ending.failed(i64::from(response.code));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let now = self.recorder.clock.now();
        self.stages.leave(now);
        let taken = now.since(self.opened);
        if let Some(ending) = self.ending.take() {
            ending.end(&self.stages, taken);
        }
        self.recorder.metrics.call(&Call {
            method: self.method,
            transport: self.transport,
            revision: self.revision,
            status: self.status,
            outcome: self.outcome,
            code: self.code,
            decided: self.decided,
            stages: &self.stages,
            took: taken,
        });
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

/// Whether the protocol has it, or it stands for what the config routes to upstreams.
fn is_method(name: &str) -> bool {
    wire::method::find(name).is_some() || name == wire::method::EXTENSION.name
}

/// The app that acts for a principal, in records.
pub(crate) fn actor(principal: &Principal) -> Option<String> {
    principal.client.as_deref().map(str::to_owned)
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
