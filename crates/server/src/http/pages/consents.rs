//! What waits for somebody's word, and what they agreed to. Who may answer what is the gate's desk of consents'.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use askama::Template;
use auth::accounts::BrowserSession;
use gateway::{ConsentError, Consents, Yes};
use policy::Remember;
use store::{ConsentRequestRow, ConsentRow};

use super::account::date;
use super::page::{page_apart, see_other};
use super::{is_post, notice, sentence, sign_in_first};
use crate::http::browser::{self, Form};
use crate::http::{Body, Edge, Facts, Inbound};

const HERE: &str = "/console/consents";
/// What is shown at once of what is in force.
const SHOWN_MAX: usize = 200;
/// What was done, in a closed set of words: the query of the page that says so.
const DONE: &[(&str, &str)] = &[
    ("approve", "Allowed. The same call goes through now."),
    (
        "deny",
        "Refused. The same call is refused for a while without asking you again.",
    ),
    ("revoke", "Taken back. The next call is asked about again."),
];

#[derive(Template)]
#[template(path = "consents.html")]
struct Page<'a> {
    session: &'a BrowserSession,
    waiting: Vec<Waiting>,
    given: Vec<Given>,
    notice: Option<&'static str>,
    trouble: Option<String>,
}

/// A question.
struct Waiting {
    row: ConsentRequestRow,
    since: String,
    until: String,
    /// How a yes may hold; empty if it is somebody else's to say.
    choices: Vec<String>,
}

/// A yes in force.
struct Given {
    row: ConsentRow,
    since: String,
    until: String,
}

/// `/console/consents`.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let Some(session) = browser::current(edge, request.headers()).await else {
        return sign_in_first(request.uri());
    };
    if is_post(&request) {
        return match browser::form(edge, Some(&session), request).await {
            Ok(form) => act(edge, facts, &session, &form).await,
            Err(refusal) => refusal,
        };
    }
    show(edge, &session, notice(request.uri(), DONE), None)
}

async fn act(edge: &Edge, facts: &Facts, session: &BrowserSession, form: &Form) -> Response<Body> {
    let (word, id) = (form.text("act"), form.text("id"));
    let action = match word {
        "approve" | "deny" => "admin/approvals.answer",
        "revoke" => "admin/consents.revoke",
        _ => {
            return super::error(
                StatusCode::BAD_REQUEST,
                "That cannot be done here",
                "Go back to what waits for you and try again.",
            );
        }
    };
    let who = &session.principal;
    let mut record = match edge.gate.record_admin(who, action, 0).await {
        Ok(record) => record,
        Err(error) => {
            tracing::error!(%error, action, "a step cannot be recorded");
            return super::unavailable();
        }
    };
    record.from_address(facts.address);
    record.about(id);
    let consents = edge.gate.consents();
    let done = match word {
        "approve" => approve(consents, session, form, id).await,
        "deny" => consents.deny(id, who).await,
        _ => consents.revoke(id, who).await,
    };
    match done {
        Ok(()) => {
            if let Err(closed) = super::close(record, StatusCode::SEE_OTHER, None).await {
                return closed;
            }
            see_other(&format!("{HERE}?done={word}"))
        }
        Err(error) => {
            let status = match &error {
                ConsentError::Unknown(_) => StatusCode::NOT_FOUND,
                ConsentError::Over(_) => StatusCode::CONFLICT,
                ConsentError::NotYours(_) => StatusCode::FORBIDDEN,
                ConsentError::NoSession | ConsentError::TooLong(_) | ConsentError::NotShown => {
                    StatusCode::UNPROCESSABLE_ENTITY
                }
                ConsentError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            if let Err(closed) = super::close(record, status, Some(error.to_string())).await {
                return closed;
            }
            let mut response = show(edge, session, None, Some(sentence(&error)));
            *response.status_mut() = status;
            response
        }
    }
}

async fn approve(
    consents: &Consents,
    session: &BrowserSession,
    form: &Form,
    id: &str,
) -> Result<(), ConsentError> {
    let who = &session.principal;
    let request = consents.request(id, who)?;
    let hold = consents
        .choices(&request)
        .into_iter()
        .find(|(word, _)| word == form.text("hold"))
        // Nothing chosen is the least.
        .map_or(Remember::Once, |(_, hold)| hold);
    let yes = Yes {
        hold,
        any_arguments: form.text("any") == "yes",
    };
    consents.approve(id, who, yes).await.map(|_| ())
}

fn show(
    edge: &Edge,
    session: &BrowserSession,
    notice: Option<&'static str>,
    trouble: Option<String>,
) -> Response<Body> {
    let consents = edge.gate.consents();
    let who = &session.principal;
    let listed = consents
        .requests(who)
        .and_then(|requests| Ok((requests, consents.list(who)?)));
    let (mut requests, mut given) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "consents cannot be listed");
            return super::unavailable();
        }
    };
    requests.retain(|row| consents.is_open(row));
    given.retain(|row| consents.holds(row));
    let waiting = |row: ConsentRequestRow| Waiting {
        since: date(row.created_at),
        until: date(row.expires_at),
        choices: if consents.may_answer(&row, who) {
            let choices = consents.choices(&row).into_iter();
            choices.map(|(word, _)| word).collect()
        } else {
            Vec::new()
        },
        row,
    };
    let given_row = |row: ConsentRow| Given {
        since: date(row.given_at),
        until: date(row.expires_at),
        row,
    };
    let template = Page {
        session,
        waiting: requests.into_iter().take(SHOWN_MAX).map(waiting).collect(),
        given: given.into_iter().take(SHOWN_MAX).map(given_row).collect(),
        notice,
        trouble,
    };
    page_apart(StatusCode::OK, &template)
}
