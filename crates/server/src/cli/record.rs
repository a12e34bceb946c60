//! A record in the audit log of what was changed from the command line.
//!
//! Whoever may write the database file is not asked who it is: the record says that it was done on this machine, and by
//! which of its users.

use std::time::{SystemTime, UNIX_EPOCH};

use observe::{AuditLog, AuditMode, OpenRecord};
use store::{AuditRow, Outcome, Store};
use uuid::Uuid;

use super::{Exit, now};

/// Who changes things here, in records and lists.
pub(super) const BY: &str = "local";

/// An act that is under way. Dropped unended and unsaid, nothing was done; one that was said is recorded as unknown, by the
/// gate.
#[derive(Debug)]
pub(super) struct Act {
    log: AuditLog,
    place: OpenRecord,
    call_id: String,
    action: &'static str,
    began: SystemTime,
    /// Whether it is about a person, whose name can be erased.
    is_about_person: bool,
}

impl Act {
    /// Takes a place in the audit log. No room, no act.
    pub(super) async fn begin(store: &Store, action: &'static str) -> anyhow::Result<Self> {
        debug_assert!(
            observe::is_act(action),
            "`{action}` is no row of `observe::ACTS`"
        );
        let log = AuditLog::new(store.clone(), AuditMode::Durable);
        Ok(Self {
            place: log.open().await?,
            log,
            call_id: Uuid::now_v7().to_string(),
            action,
            began: now(),
            is_about_person: observe::is_about_person(action),
        })
    }

    /// What it is said to be about is a person's name.
    pub(super) fn of_person(mut self) -> Self {
        self.is_about_person = true;
        self
    }

    /// Says that it is about to be done, and waits until that is on the disk: whatever becomes of this process, the log
    /// tells of it. `about` is as for [`end`](Self::end).
    pub(super) async fn intend(&self, about: &str) -> anyhow::Result<()> {
        let row = self.row(about, Outcome::Pending);
        Ok(self.log.begin(row.fields()).await?)
    }

    /// Records how it ended; `about` is the id of a key, the name of a user.
    pub(super) async fn end(self, about: &str, exit: &anyhow::Result<Exit>) -> anyhow::Result<()> {
        let (outcome, reason) = match exit {
            Ok(Exit::Done) => (Outcome::Ok, None),
            Ok(Exit::Failed | Exit::Usage | Exit::Refused) => (Outcome::Refused, None),
            Err(error) => (Outcome::Failed, Some(format!("{error:#}"))),
        };
        let row = AuditRow {
            reason,
            ..self.row(about, outcome)
        };
        Ok(self.place.close(&row).await?)
    }

    fn row(&self, about: &str, outcome: Outcome) -> AuditRow {
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let taken = now().duration_since(self.began).unwrap_or_default();
        let is_person = self.is_about_person;
        AuditRow {
            at_us: i64::try_from(began.as_micros()).unwrap_or(i64::MAX),
            call_id: self.call_id.clone(),
            principal: BY.to_owned(),
            credential: format!("{BY}:{}", nix::unistd::geteuid()),
            client: String::new(),
            transport: "cli".into(),
            revision: "-".into(),
            method: self.action.into(),
            upstream: None,
            entry: Some(about.to_owned()).filter(|about| !about.is_empty() && !is_person),
            arguments_digest: None,
            decision: "-".into(),
            rule: None,
            server: None,
            definition: None,
            consent: None,
            screened: None,
            trace_id: None,
            arguments: None,
            address: None,
            actor: None,
            subject: Some(about.to_owned()).filter(|about| !about.is_empty() && is_person),
            outcome,
            code: None,
            reason: None,
            duration_us: u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
            bytes_in: 0,
            bytes_out: 0,
        }
    }
}
