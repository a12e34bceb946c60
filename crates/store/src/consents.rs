//! What people were asked before something was done, and what they agreed to.
//!
//! Each answer is one statement that succeeds once, whoever else answers or uses it at the same moment, in whichever
//! process. Who may answer, and what an answer covers, is `gateway`'s.

use std::time::{Duration, SystemTime};

use crate::db::{self, Connection, Row, values};
use crate::list;
use crate::time::{from_micros, to_micros};
use crate::{Error, Store};

/// What exactly somebody wants done: the same in each call that is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentSubject {
    /// Who wants it done.
    pub principal: String,
    /// Through which virtual server; empty for the whole catalog.
    pub server: String,
    /// How: a method of the protocol, or of the admin API.
    pub method: String,
    /// With which upstream.
    pub upstream: String,
    /// With which tool, prompt or resource.
    pub entry: String,
    /// SHA-256 over the canonical form of the entry's definition, hex.
    pub definition: String,
    /// Which rule asks.
    pub rule: String,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestState {
    /// Nobody has answered.
    Open,
    /// Somebody said yes.
    Approved,
    /// Somebody said no.
    Denied,
    /// Who was asked would not say.
    Withdrawn,
}

impl RequestState {
    /// As lists and the database call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
        }
    }

    fn read(row: &Row<'_>, column: usize) -> db::Result<Self> {
        // The table takes no other.
        Ok(match row.get::<String>(column)?.as_str() {
            "approved" => Self::Approved,
            "denied" => Self::Denied,
            "withdrawn" => Self::Withdrawn,
            _ => Self::Open,
        })
    }
}

/// How long a yes to a request may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longest {
    /// For one call.
    Once,
    /// For calls of the same conversation.
    Session,
    /// For so long.
    For(Duration),
}

impl Longest {
    fn to_column(self) -> i64 {
        match self {
            Self::Once => 0,
            Self::Session => 1,
            Self::For(long) => i64::try_from(long.as_micros()).unwrap_or(i64::MAX).max(2),
        }
    }

    fn read(row: &Row<'_>, column: usize) -> db::Result<Self> {
        let micros: i64 = row.get(column)?;
        Ok(match u64::try_from(micros) {
            Ok(0) | Err(_) => Self::Once,
            Ok(1) => Self::Session,
            Ok(micros) => Self::For(Duration::from_micros(micros)),
        })
    }
}

/// A question that a person is to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRequestRow {
    /// Its public id.
    pub id: String,
    /// What is to be done.
    pub subject: ConsentSubject,
    /// SHA-256 over the canonical form of what would be sent, hex.
    pub digest: String,
    /// The same for people: bounded, secrets taken out.
    pub shown: String,
    /// The program through which it is wanted, in its own words.
    pub client: String,
    /// Which conversation it belongs to, if there is one.
    pub conversation: Option<String>,
    /// How long a yes may hold.
    pub longest: Longest,
    /// Roles whose members may answer; empty: the requester too.
    pub approvers: Vec<String>,
    /// Whether the requester may not.
    pub other_person: bool,
    /// When it was asked.
    pub created_at: SystemTime,
    /// When it can no longer be answered.
    pub expires_at: SystemTime,
    /// What has become of it.
    pub state: RequestState,
    /// When it was answered.
    pub decided_at: Option<SystemTime>,
    /// Who answered.
    pub decided_by: Option<String>,
}

/// A yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsentRow {
    /// Its public id: that of the request.
    pub id: String,
    /// To what.
    pub subject: ConsentSubject,
    /// The digest of what may be sent; `None`: whatever the arguments.
    pub digest: Option<String>,
    /// Whether it is for one call.
    pub is_once: bool,
    /// The conversation that it holds for; `None`: for all.
    pub conversation: Option<String>,
    /// Who said it.
    pub given_by: String,
    /// When.
    pub given_at: SystemTime,
    /// When it ends by itself.
    pub expires_at: SystemTime,
    /// When it was used, if it is for one call.
    pub used_at: Option<SystemTime>,
    /// When it was taken back.
    pub ended_at: Option<SystemTime>,
    /// Who took it back.
    pub ended_by: Option<String>,
}

/// How many questions one principal may have asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestBounds {
    /// Unanswered at once.
    pub open_max: u32,
    /// Since [`since`](Self::since).
    pub recent_max: u32,
    /// From when on they are counted.
    pub since: SystemTime,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// It is asked now.
    New,
    /// The very same is open already, under this id.
    Same(String),
    /// Too many were asked.
    Full,
}

/// The columns of a subject, in both tables.
macro_rules! subject {
    () => {
        "principal, server, method, upstream, entry, definition, rule"
    };
}

/// Whether a row has the subject that [`about!`] hands over.
macro_rules! is_same {
    () => {
        "principal = ?1 AND server = ?2 AND method = ?3 AND upstream = ?4 AND entry = ?5 AND definition = ?6 \
         AND rule = ?7"
    };
}

/// The parameters of a statement: a subject from ?1 to ?7, in the order of its columns, and from ?8 on what follows.
macro_rules! about {
    ($subject:expr, $($rest:expr),+ $(,)?) => {
        values![
            $subject.principal,
            $subject.server,
            $subject.method,
            $subject.upstream,
            $subject.entry,
            $subject.definition,
            $subject.rule,
            $($rest),+
        ]
    };
}

macro_rules! requests {
    ($($rest:tt)+) => {
        concat!(
            "SELECT id, ", subject!(), ", digest, shown, client, conversation, longest, approvers, other_person, \
             created_at, expires_at, state, decided_at, decided_by FROM consent_requests ",
            $($rest)+
        )
    };
}

macro_rules! consents {
    ($($rest:tt)+) => {
        concat!(
            "SELECT id, ", subject!(), ", digest, is_once, conversation, given_by, given_at, expires_at, used_at, \
             ended_at, ended_by FROM consents ",
            $($rest)+
        )
    };
}

impl Store {
    /// Asks, unless the same is asked already or its principal has asked too much. What is over does not count as open.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn request_consent(
        &self,
        row: ConsentRequestRow,
        bounds: RequestBounds,
    ) -> Result<Requested, Error> {
        self.change(move |connection| request(connection, &row, bounds))
            .await
    }

    /// One request, if there is one of that id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_consent_request(&self, id: &str) -> Result<Option<ConsentRequestRow>, Error> {
        self.read(|connection| connection.one(requests!("WHERE id = ?1"), values![id], request_row))
    }

    /// Requests, newest first, no more than `max`: those that are over too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_consent_requests(&self, max: u32) -> Result<Vec<ConsentRequestRow>, Error> {
        self.read(|connection| {
            connection.all(
                requests!("ORDER BY created_at DESC, id LIMIT ?1"),
                values![max],
                request_row,
            )
        })
    }

    /// A no to this very question that was given after `since`, if there is one.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find_consent_refusal(
        &self,
        subject: &ConsentSubject,
        digest: &str,
        since: SystemTime,
    ) -> Result<Option<String>, Error> {
        self.read(|connection| {
            connection.one(
                concat!(
                    "SELECT id FROM consent_requests WHERE ",
                    is_same!(),
                    " AND digest = ?8 AND state = 'denied' AND decided_at > ?9"
                ),
                about!(subject, digest, to_micros(since)),
                |row| row.get(0),
            )
        })
    }

    /// Answers an open request with a yes, and keeps what it yields; `false` if somebody has answered it, or it is over.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn approve_consent(&self, consent: ConsentRow) -> Result<bool, Error> {
        self.change(move |connection| {
            let id = &consent.id;
            let (by, at) = (&consent.given_by, consent.given_at);
            if !decide(connection, id, RequestState::Approved, by, at)? {
                return Ok(false);
            }
            insert(connection, &consent)?;
            Ok(true)
        })
        .await
    }

    /// Answers an open request with anything but a yes; `false` if somebody has answered it, or it is over.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn refuse_consent(
        &self,
        id: &str,
        state: RequestState,
        by: &str,
        at: SystemTime,
    ) -> Result<bool, Error> {
        let (id, by) = (id.to_owned(), by.to_owned());
        self.change(move |connection| decide(connection, &id, state, &by, at))
            .await
    }

    /// One consent, if there is one of that id.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn get_given_consent(&self, id: &str) -> Result<Option<ConsentRow>, Error> {
        self.read(|connection| connection.one(consents!("WHERE id = ?1"), values![id], consent_row))
    }

    /// Consents, newest first, no more than `max`: those that are over too.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn list_consents(&self, max: u32) -> Result<Vec<ConsentRow>, Error> {
        self.read(|connection| {
            connection.all(
                consents!("ORDER BY given_at DESC, id LIMIT ?1"),
                values![max],
                consent_row,
            )
        })
    }

    /// Those that hold for a subject and a digest at `now`, in the conversation or in all; those for one call last, so
    /// that none is used up without need.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn find_consents(
        &self,
        subject: &ConsentSubject,
        digest: &str,
        conversation: Option<&str>,
        now: SystemTime,
    ) -> Result<Vec<ConsentRow>, Error> {
        self.read(|connection| {
            connection.all(
                consents!(
                    "WHERE ",
                    is_same!(),
                    " AND (digest IS NULL OR digest = ?8) AND (conversation IS NULL OR conversation = ?9) \
                     AND expires_at > ?10 AND used_at IS NULL AND ended_at IS NULL ORDER BY is_once, given_at"
                ),
                about!(subject, digest, conversation, to_micros(now)),
                consent_row,
            )
        })
    }

    /// Uses a consent for one call; `false` if it was used, taken back, or is over.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn use_consent(&self, id: &str, at: SystemTime) -> Result<bool, Error> {
        let id = id.to_owned();
        self.change(move |connection| {
            let used = connection.execute(
                "UPDATE consents SET used_at = ?2 WHERE id = ?1 AND is_once = 1 AND used_at IS NULL
                    AND ended_at IS NULL AND expires_at > ?2",
                values![id, to_micros(at)],
            )?;
            Ok(used > 0)
        })
        .await
    }

    /// Takes a consent back; `false` if there is none of that id that still holds.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn end_consent(&self, id: &str, by: &str, at: SystemTime) -> Result<bool, Error> {
        let (id, by) = (id.to_owned(), by.to_owned());
        self.change(move |connection| {
            let ended = connection.execute(
                "UPDATE consents SET ended_at = ?3, ended_by = ?2 WHERE id = ?1 AND used_at IS NULL
                    AND ended_at IS NULL AND expires_at > ?3",
                values![id, by, to_micros(at)],
            )?;
            Ok(ended > 0)
        })
        .await
    }

    /// Forgets what was over before that: how many requests and consents.
    ///
    /// # Errors
    /// If it cannot be written.
    pub async fn prune_consents(&self, before: SystemTime) -> Result<usize, Error> {
        self.change(move |connection| {
            let before = to_micros(before);
            let requests = connection.execute(
                "DELETE FROM consent_requests WHERE expires_at <= ?1",
                values![before],
            )?;
            let consents = connection.execute(
                "DELETE FROM consents WHERE expires_at <= ?1 OR used_at <= ?1 OR ended_at <= ?1",
                values![before],
            )?;
            Ok(requests + consents)
        })
        .await
    }
}

fn request(
    connection: &Connection,
    row: &ConsentRequestRow,
    bounds: RequestBounds,
) -> db::Result<Requested> {
    let (subject, now) = (&row.subject, to_micros(row.created_at));
    // One that is over makes room for the same question.
    connection.execute(
        "UPDATE consent_requests SET state = 'withdrawn' WHERE principal = ?1 AND state = 'open' AND expires_at <= ?2",
        values![subject.principal, now],
    )?;
    let same: Option<String> = connection.one(
        concat!(
            "SELECT id FROM consent_requests WHERE ",
            is_same!(),
            " AND digest = ?8 AND coalesce(conversation, '') = coalesce(?9, '') AND state = 'open'"
        ),
        about!(subject, row.digest, row.conversation),
        |row| row.get(0),
    )?;
    if let Some(id) = same {
        return Ok(Requested::Same(id));
    }
    let (open, recent): (u32, u32) = connection.only(
        "SELECT count(*) FILTER (WHERE state = 'open'), count(*) FILTER (WHERE created_at > ?2)
            FROM consent_requests WHERE principal = ?1",
        values![subject.principal, to_micros(bounds.since)],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if open >= bounds.open_max || recent >= bounds.recent_max {
        return Ok(Requested::Full);
    }
    connection.execute(
        concat!(
            "INSERT INTO consent_requests (",
            subject!(),
            ", id, digest, shown, client, conversation, longest, approvers, other_person, created_at, expires_at, state)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 'open')",
        ),
        about!(
            subject,
            row.id,
            row.digest,
            row.shown,
            row.client,
            row.conversation,
            row.longest.to_column(),
            list::to_text(&row.approvers),
            row.other_person,
            now,
            to_micros(row.expires_at),
        ),
    )?;
    Ok(Requested::New)
}

fn decide(
    connection: &Connection,
    id: &str,
    state: RequestState,
    by: &str,
    at: SystemTime,
) -> db::Result<bool> {
    let decided = connection.execute(
        "UPDATE consent_requests SET state = ?2, decided_by = ?3, decided_at = ?4
            WHERE id = ?1 AND state = 'open' AND expires_at > ?4",
        values![id, state.as_str(), by, to_micros(at)],
    )?;
    Ok(decided > 0)
}

fn insert(connection: &Connection, consent: &ConsentRow) -> db::Result<()> {
    let subject = &consent.subject;
    connection.execute(
        concat!(
            "INSERT INTO consents (",
            subject!(),
            ", id, digest, is_once, conversation, given_by, given_at, expires_at, used_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        ),
        about!(
            subject,
            consent.id,
            consent.digest,
            consent.is_once,
            consent.conversation,
            consent.given_by,
            to_micros(consent.given_at),
            to_micros(consent.expires_at),
            consent.used_at.map(to_micros),
        ),
    )?;
    Ok(())
}

/// The first seven columns after the id, in both tables.
fn subject(row: &Row<'_>) -> db::Result<ConsentSubject> {
    Ok(ConsentSubject {
        principal: row.get(1)?,
        server: row.get(2)?,
        method: row.get(3)?,
        upstream: row.get(4)?,
        entry: row.get(5)?,
        definition: row.get(6)?,
        rule: row.get(7)?,
    })
}

fn request_row(row: &Row<'_>) -> db::Result<ConsentRequestRow> {
    Ok(ConsentRequestRow {
        id: row.get(0)?,
        subject: subject(row)?,
        digest: row.get(8)?,
        shown: row.get(9)?,
        client: row.get(10)?,
        conversation: row.get(11)?,
        longest: Longest::read(row, 12)?,
        approvers: list::from_text(row, 13)?,
        other_person: row.get(14)?,
        created_at: from_micros(row.get(15)?),
        expires_at: from_micros(row.get(16)?),
        state: RequestState::read(row, 17)?,
        decided_at: row.get::<Option<i64>>(18)?.map(from_micros),
        decided_by: row.get(19)?,
    })
}

fn consent_row(row: &Row<'_>) -> db::Result<ConsentRow> {
    let time = |column| row.get::<Option<i64>>(column).map(|at| at.map(from_micros));
    Ok(ConsentRow {
        id: row.get(0)?,
        subject: subject(row)?,
        digest: row.get(8)?,
        is_once: row.get(9)?,
        conversation: row.get(10)?,
        given_by: row.get(11)?,
        given_at: from_micros(row.get(12)?),
        expires_at: from_micros(row.get(13)?),
        used_at: time(14)?,
        ended_at: time(15)?,
        ended_by: row.get(16)?,
    })
}

#[cfg(test)]
mod tests;
