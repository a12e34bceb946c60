//! What administration asks of the gate: a record of each act, and the sessions that are open.
//!
//! Who may administer is decided here, by the same rules as calls; what an act does is done by whoever offers it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use observe::SYSTEM;
use policy::{
    Decision, Facts, Principal, PrincipalId, RoleName, Subject, SubjectKind, Traits, UpstreamId,
    Verb,
};
use serde_json::Value;
use store::Outcome;

use crate::record::{CallRecord, Opening};
use crate::{Gate, Rejection};

/// The name of the transport in records.
const TRANSPORT: &str = "http";

/// The record of one administrative act. Dropped unclosed, the act was abandoned: that is recorded too.
#[derive(Debug)]
pub struct AdminRecord(CallRecord);

impl AdminRecord {
    /// Notes where the request comes from.
    pub fn from_address(&mut self, address: IpAddr) {
        self.0.note(|row| row.address = Some(address.to_string()));
    }

    /// Notes who it was, if that came out on the way.
    pub fn by(&mut self, principal: &Principal) {
        self.0.note(|row| {
            row.actor = crate::record::actor(principal);
            row.principal = principal.id.to_string();
            row.credential = crate::record::credential(&principal.credential);
        });
    }

    /// Notes who it was, by name, if that came out on the way: whom an app acts for, and which app.
    pub fn by_name(&mut self, principal: &str, app: &str) {
        self.0.note(|row| {
            row.principal = principal.to_owned();
            row.actor = Some(app.to_owned());
        });
    }

    /// Nothing is recorded: for strangers who would fill the log. They are counted.
    pub fn discard(self) {
        self.0.discard();
    }

    /// Notes what the act is about: the id of a key, the name of a user.
    pub fn about(&mut self, subject: &str) {
        if observe::is_about_person(self.0.method()) {
            self.about_person(subject);
        } else {
            self.0.note(|row| row.entry = Some(subject.to_owned()));
        }
    }

    /// Notes whom the act is about: a person can have the name erased.
    pub fn about_person(&mut self, name: &str) {
        self.0.note(|row| row.subject = Some(name.to_owned()));
    }

    /// The act is about to be done: it is in the log before that.
    ///
    /// # Errors
    /// If the log does not take it: then it must not be done.
    pub async fn begin(&mut self) -> Result<(), Rejection> {
        self.0.begin().await
    }

    /// Notes what the rules say of it.
    pub fn decided(&mut self, decision: &Decision) {
        let (word, rule) = match decision {
            Decision::Allow(rule) => ("allow", Some(rule)),
            Decision::Ask(ask) => ("ask", Some(&ask.rule)),
            Decision::Deny(rule) => ("deny", Some(rule)),
            Decision::Unseen => ("unseen", None),
        };
        self.0
            .note(|row| (row.decision, row.rule) = (word.into(), rule.map(ToString::to_string)));
    }

    /// Notes who agreed to it: the id of a consent.
    pub fn agreed(&mut self, consent: String) {
        self.0.note(|row| row.consent = Some(consent));
    }

    /// The act is over: its answer may be given once the record is in the audit log. `reason` says why nothing was done,
    /// if nothing was.
    ///
    /// # Errors
    /// If the log does not take it: whoever asked is told that, in the place of what came of the act.
    pub async fn close(
        mut self,
        status: u16,
        reason: Option<String>,
        bytes_out: usize,
    ) -> Result<(), Rejection> {
        let outcome = match status {
            200..400 => Outcome::Ok,
            400..500 => Outcome::Refused,
            _ => Outcome::Failed,
        };
        self.0.note(|row| row.reason = reason);
        self.0.close(outcome, status, bytes_out).await
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
            address: None,
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
            address: None,
            transport: TRANSPORT,
            revision: "-",
            method: action,
            bytes_in: 0,
        };
        Ok(AdminRecord(self.open_record(opening).await?))
    }

    /// Records what the gate is about to do of its own accord, and waits for that. No record, no deed.
    ///
    /// # Errors
    /// If the audit log does not take it.
    pub async fn record_upkeep(&self, what: &'static str, about: String) -> Result<(), Rejection> {
        let opening = Opening {
            principal: None,
            client: String::new(),
            address: None,
            transport: "-",
            revision: "-",
            method: what,
            bytes_in: 0,
        };
        let mut record = AdminRecord(self.open_record(opening).await?);
        record.0.note(|row| {
            row.principal = SYSTEM.to_owned();
            row.entry = Some(about);
        });
        record.close(200, None, 0).await
    }

    /// Whether the rules let `principal` do `keys.create`, say, in the admin API with some arguments; `None`: anything in
    /// it.
    #[must_use]
    pub fn may_administer(&self, principal: &Principal, action: Option<&str>) -> bool {
        let rules = &self.view().settings.rules;
        match action.and_then(act) {
            Some((area, name)) => rules.may_see(principal, &subject(&area, name), &self.facts("")),
            None => rules.may_administer(principal),
        }
    }

    /// What the rules say of an act with the arguments that it would be done with.
    #[must_use]
    pub fn decide_act(&self, principal: &Principal, action: &str, arguments: &Value) -> Decision {
        let Some((area, name)) = act(action) else {
            return Decision::Unseen;
        };
        let facts = Facts {
            arguments: Some(arguments),
            ..self.facts("")
        };
        let rules = &self.view().settings.rules;
        rules.decide(principal, &subject(&area, name), &facts)
    }

    /// Whether `principal` may make somebody `to` with these roles: an owner may make anybody, others only those who can
    /// do no more than they themselves. Otherwise a rule that lets somebody make keys would let him do everything.
    #[must_use]
    pub fn may_hand_out(
        &self,
        principal: &Principal,
        to: &PrincipalId,
        roles: &BTreeSet<RoleName>,
    ) -> bool {
        let by_config = self.view().settings.rules.roles_of(to);
        principal.is_owner()
            || roles
                .union(&by_config)
                .all(|role| principal.roles.contains(role))
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

/// An action's area and its name there: `keys` and `create`.
fn act(action: &str) -> Option<(UpstreamId, &str)> {
    let (area, name) = action.split_once('.')?;
    Some((UpstreamId::parse(area).ok()?, name))
}

fn subject<'a>(area: &'a UpstreamId, name: &'a str) -> Subject<'a> {
    Subject {
        verb: Verb::Administer,
        kind: SubjectKind::Admin,
        server: None,
        upstream: area,
        name,
        traits: Traits::default(),
        memo: None,
    }
}
