//! What people are asked before it is done, their answers, and what they agreed to.
//!
//! Not for owners alone: who may know of a request or answer it is for [`gateway::Consents`] to say. Only a credential
//! that is good for administration gets here, so that what an agent holds for its calls answers nothing; and a yes is
//! taken from no key and no token.

use ::http::StatusCode;
use gateway::{ConsentError, Consents, Yes};
use policy::Remember;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{ConsentRequestRow, ConsentRow, Longest};

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// A question that a person is to answer, or has answered.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Approval {
    id: String,
    /// `open`, `approved`, `denied`, `withdrawn` or `expired`.
    state: &'static str,
    /// Who wants it done.
    principal: String,
    /// Through which program, in its own words.
    client: String,
    /// The virtual server that is asked; null for the whole catalog.
    server: Option<String>,
    method: String,
    upstream: String,
    entry: String,
    /// What would be sent: cut short, and without what looks secret.
    arguments: String,
    /// SHA-256 over the canonical form (RFC 8785) of what would be sent.
    digest: String,
    /// The same over the entry's definition.
    definition: String,
    /// Which rule asks.
    rule: String,
    /// How long a yes may hold: `once`, `session`, or so many seconds.
    longest: String,
    /// Roles whose members may answer; none: owners and the requester.
    approvers: Vec<String>,
    /// Whether the requester may not.
    other_person: bool,
    created_at: String,
    expires_at: String,
    decided_at: Option<String>,
    decided_by: Option<String>,
}

/// What somebody agreed to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Consent {
    /// That of the approval.
    id: String,
    /// Whether it allows anything still.
    holds: bool,
    principal: String,
    server: Option<String>,
    method: String,
    upstream: String,
    entry: String,
    /// The digest of what may be sent; null: whatever the arguments.
    digest: Option<String>,
    definition: String,
    rule: String,
    /// `once`, `session` or `time`.
    hold: &'static str,
    given_by: String,
    given_at: String,
    expires_at: String,
    used_at: Option<String>,
    revoked_at: Option<String>,
    revoked_by: Option<String>,
}

/// An answer. With a key or a token it can only be `deny`: a yes is a person's, in the console or on the gate's machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ApprovalAnswer")]
pub(super) struct Reply {
    answer: Word,
    /// How long a yes holds; for one call unless said.
    #[serde(default)]
    hold: Hold,
    /// With `hold` = `time`: how long, as `8h` or `30d`.
    #[serde(rename = "for")]
    span: Option<String>,
    /// Whether a yes is for other arguments too.
    #[serde(default)]
    any_arguments: bool,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Word {
    Approve,
    Deny,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ConsentHold")]
enum Hold {
    #[default]
    Once,
    Session,
    Time,
}

pub(super) fn list_approvals(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let rows = consents
        .requests(asked.principal)
        .map_err(|error| problem(&error))?;
    let all = rows.into_iter().map(|row| approval(consents, row));
    Answer::ok(&page(all.collect(), asked.query, |one: &Approval| {
        one.id.clone()
    })?)
}

pub(super) fn show_approval(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let row = consents.request(asked.id, asked.principal);
    Answer::ok(&approval(consents, row.map_err(|error| problem(&error))?))
}

pub(super) async fn answer(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let reply: Reply = asked.read()?;
    if let Word::Deny = reply.answer {
        let denied = consents.deny(asked.id, asked.principal).await;
        denied.map_err(|error| problem(&error))?;
        return show_approval(asked);
    }
    let hold = match (reply.hold, &reply.span) {
        (Hold::Once, None) => Remember::Once,
        (Hold::Session, None) => Remember::Session,
        (Hold::Time, Some(span)) => {
            let span = policy::config::duration(span);
            Remember::For(span.map_err(|why| Problem::bad(format!("`for`: {why}")))?)
        }
        (Hold::Time, None) => {
            return Err(Problem::bad(
                "`for` must be given with this hold".to_owned(),
            ));
        }
        (Hold::Once | Hold::Session, Some(_)) => {
            return Err(Problem::bad("`for` does not go with this hold".to_owned()));
        }
    };
    let yes = Yes {
        hold,
        any_arguments: reply.any_arguments,
    };
    let given = consents.approve(asked.id, asked.principal, yes).await;
    given.map_err(|error| problem(&error))?;
    show_approval(asked)
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let rows = consents
        .list(asked.principal)
        .map_err(|error| problem(&error))?;
    let all = rows.into_iter().map(|row| consent(consents, row));
    Answer::ok(&page(all.collect(), asked.query, |one: &Consent| {
        one.id.clone()
    })?)
}

pub(super) fn show(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let row = consents.get(asked.id, asked.principal);
    Answer::ok(&consent(consents, row.map_err(|error| problem(&error))?))
}

pub(super) async fn revoke(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let consents = desk(asked);
    let revoked = consents.revoke(asked.id, asked.principal).await;
    revoked.map_err(|error| problem(&error))?;
    Ok(Answer::nothing())
}

fn desk<'a>(asked: &Asked<'a>) -> &'a Consents {
    asked.edge.gate.consents()
}

fn approval(consents: &Consents, row: ConsentRequestRow) -> Approval {
    let is_open = consents.is_open(&row);
    Approval {
        state: match row.state {
            store::RequestState::Open if !is_open => "expired",
            state => state.as_str(),
        },
        id: row.id,
        principal: row.subject.principal,
        client: row.client,
        server: Some(row.subject.server).filter(|server| !server.is_empty()),
        method: row.subject.method,
        upstream: row.subject.upstream,
        entry: row.subject.entry,
        arguments: row.shown,
        digest: row.digest,
        definition: row.subject.definition,
        rule: row.subject.rule,
        longest: match row.longest {
            Longest::Once => "once".to_owned(),
            Longest::Session => "session".to_owned(),
            Longest::For(span) => span.as_secs().to_string(),
        },
        approvers: row.approvers,
        other_person: row.other_person,
        created_at: time(row.created_at),
        expires_at: time(row.expires_at),
        decided_at: row.decided_at.map(time),
        decided_by: row.decided_by,
    }
}

fn consent(consents: &Consents, row: ConsentRow) -> Consent {
    Consent {
        holds: consents.holds(&row),
        hold: match (row.is_once, &row.conversation) {
            (true, _) => "once",
            (false, Some(_)) => "session",
            (false, None) => "time",
        },
        id: row.id,
        principal: row.subject.principal,
        server: Some(row.subject.server).filter(|server| !server.is_empty()),
        method: row.subject.method,
        upstream: row.subject.upstream,
        entry: row.subject.entry,
        digest: row.digest,
        definition: row.subject.definition,
        rule: row.subject.rule,
        given_by: row.given_by,
        given_at: time(row.given_at),
        expires_at: time(row.expires_at),
        used_at: row.used_at.map(time),
        revoked_at: row.ended_at.map(time),
        revoked_by: row.ended_by,
    }
}

fn problem(error: &ConsentError) -> Problem {
    let status = match error {
        ConsentError::Store(cause) => return Problem::ours(cause),
        ConsentError::Unknown(_) => StatusCode::NOT_FOUND,
        ConsentError::Over(_) => StatusCode::CONFLICT,
        ConsentError::NotYours(_) => StatusCode::FORBIDDEN,
        ConsentError::NoSession | ConsentError::TooLong(_) | ConsentError::NotShown => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    };
    Problem::new(status, error.to_string())
}
