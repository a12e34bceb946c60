//! What administration asks of the gate: a record of each act, and the sessions that are open.
//!
//! Who may administer was decided before, by the route; what an act does is done by whoever offers it.

use policy::{Principal, RoleName};
use store::Outcome;

use crate::record::{CallRecord, Opening};
use crate::{Gate, Rejection};

/// The name of the transport in records.
const TRANSPORT: &str = "http";

/// The record of one administrative act. Dropped unclosed, the act was abandoned: that is recorded too.
#[derive(Debug)]
pub struct AdminRecord(CallRecord);

impl AdminRecord {
    /// Notes who it was, if that came out on the way.
    pub fn by(&mut self, principal: &Principal) {
        self.0.note(|row| {
            row.principal = principal.id.to_string();
            row.credential = crate::record::credential(&principal.credential);
        });
    }

    /// Notes what the act is about: the id of a key, the name of a user.
    pub fn about(&mut self, subject: &str) {
        self.0.note(|row| row.entry = Some(subject.to_owned()));
    }

    /// The act is over: hands the record to the audit log. `reason` says why nothing was done, if nothing was.
    pub fn close(mut self, status: u16, reason: Option<String>, bytes_out: usize) {
        let outcome = match status {
            200..400 => Outcome::Ok,
            400..500 => Outcome::Refused,
            _ => Outcome::Failed,
        };
        self.0.note(|row| row.reason = reason);
        self.0.close(outcome, status, bytes_out);
    }
}

/// A legacy client's session over HTTP, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEntry {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub principal: String,
    /// The client's name and version, in its own words.
    pub client: String,
    /// What is spoken.
    pub revision: &'static str,
}

impl Gate {
    /// Takes a place in the audit log for an act, `admin/keys.create`. No room, no act.
    ///
    /// # Errors
    /// If the audit log has no room.
    pub async fn record_admin(
        &self,
        principal: &Principal,
        action: &'static str,
        bytes_in: usize,
    ) -> Result<AdminRecord, Rejection> {
        let opening = Opening {
            principal: Some(principal),
            client: String::new(),
            transport: TRANSPORT,
            revision: "-",
            method: action,
            bytes_in,
        };
        Ok(AdminRecord(self.open_record(opening).await?))
    }

    /// Takes a place in the audit log for a step of somebody who is not known yet: a sign-in, a first start, a new
    /// password. What was typed is not recorded: people type passwords where names belong. No room, no step.
    ///
    /// # Errors
    /// If the audit log has no room.
    pub async fn record_entry(&self, action: &'static str) -> Result<AdminRecord, Rejection> {
        let opening = Opening {
            principal: None,
            client: String::new(),
            transport: TRANSPORT,
            revision: "-",
            method: action,
            bytes_in: 0,
        };
        Ok(AdminRecord(self.open_record(opening).await?))
    }

    /// Whether the config has a role of that name.
    #[must_use]
    pub fn has_role(&self, role: &RoleName) -> bool {
        self.view().settings.rules.defines(role)
    }

    /// The open sessions of legacy clients over HTTP, in the order of their ids.
    #[must_use]
    pub fn list_sessions(&self) -> Vec<SessionEntry> {
        self.sessions.list()
    }

    /// Ends a legacy client's session, whosever it is; `false` if there is none.
    pub fn end_session(&self, id: &str) -> bool {
        self.sessions.end_by_id(id)
    }
}
