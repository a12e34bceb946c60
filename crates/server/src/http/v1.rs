//! The admin API, `/v1/…`: JSON in, JSON out, errors as problem details (RFC 9457).
//!
//! One table of operations, from which the dispatch, the audit records, the names that rules know and the OpenAPI
//! document come. Who may come in at all was decided before, by the table of routes; here the rules have their word over
//! what will be done. Every request leaves one record, opened before anything is done.

mod alerts;
mod consents;
mod keys;
mod logs;
mod me;
mod openapi;
mod pins;
mod problem;
mod revocations;
mod sessions;
mod shape;
mod users;

use std::sync::Arc;

use ::http::header::{self, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use auth::Auth;
use bytes::Bytes;
use gateway::AdminRecord;
use policy::{Decision, Principal};
use schemars::{Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::routes::{Access, Route};
use super::{Body, Edge, Facts, Inbound, check_media, read, text};
use crate::config;
use problem::Problem;

pub(super) use problem::worded;

/// The largest request body here.
const BODY_MAX: usize = 64 * 1024;

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Me,
    OpenApi,
    AlertsList,
    KeysList,
    KeysCreate,
    KeysRotate,
    KeysRevoke,
    SessionsList,
    SessionsEnd,
    RevocationsList,
    RevocationsCreate,
    ApprovalsList,
    ApprovalsShow,
    ApprovalsAnswer,
    ConsentsList,
    ConsentsShow,
    ConsentsRevoke,
    PinsList,
    PinsWithheld,
    PinsApprove,
    PinsForget,
    LogsList,
    LogsLevelShow,
    LogsLevelSet,
    LogsLevelReset,
    UsersList,
    UsersCreate,
    UsersShow,
    UsersChange,
    UsersDelete,
}

/// Whether a request brings a body.
#[derive(Debug, Clone, Copy)]
enum Input {
    None,
    /// An empty body says `{}`.
    Optional(fn(&mut SchemaGenerator) -> Schema),
    Needed(fn(&mut SchemaGenerator) -> Schema),
}

/// One row: a verb on a path.
#[derive(Debug)]
struct Operation {
    method: Method,
    /// As in the table of routes.
    path: &'static str,
    action: Action,
    /// Its name in audit records; without `admin/` the name by which rules know it.
    record: &'static str,
    /// For the OpenAPI document.
    summary: &'static str,
    input: Input,
    /// What the answer looks like; `None` if it has no body.
    output: Option<fn(&mut SchemaGenerator) -> Schema>,
}

/// All of them.
const OPERATIONS: &[Operation] = &[
    Operation {
        method: Method::GET,
        path: "/v1/me",
        action: Action::Me,
        record: "admin/me",
        summary: "Who the caller is",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<me::Me>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/openapi.json",
        action: Action::OpenApi,
        record: "admin/openapi",
        summary: "This document",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<Value>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/alerts",
        action: Action::AlertsList,
        record: "admin/alerts.list",
        summary: "What is wrong with the gate now, or might be, and what to do about it",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<alerts::Alert>>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/keys",
        action: Action::KeysList,
        record: "admin/keys.list",
        summary: "API keys, oldest first, revoked ones too",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<keys::Key>>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/keys",
        action: Action::KeysCreate,
        record: "admin/keys.create",
        summary: "Create an API key; its secret is in this answer and never again",
        input: Input::Needed(SchemaGenerator::subschema_for::<keys::Create>),
        output: Some(SchemaGenerator::subschema_for::<keys::Created>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/keys/{id}/rotate",
        action: Action::KeysRotate,
        record: "admin/keys.rotate",
        summary: "Replace an API key by a new one; the old one stays good for the overlap",
        input: Input::Optional(SchemaGenerator::subschema_for::<keys::Rotate>),
        output: Some(SchemaGenerator::subschema_for::<keys::Created>),
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/keys/{id}",
        action: Action::KeysRevoke,
        record: "admin/keys.revoke",
        summary: "Revoke an API key, at once and for good",
        input: Input::None,
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/sessions",
        action: Action::SessionsList,
        record: "admin/sessions.list",
        summary: "Sessions of legacy clients, of browsers, and what OAuth clients were allowed",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<sessions::Session>>),
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/sessions/{id}",
        action: Action::SessionsEnd,
        record: "admin/sessions.end",
        summary: "End a session, with all that hangs on it",
        input: Input::None,
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/revocations",
        action: Action::RevocationsList,
        record: "admin/revocations.list",
        summary: "What is revoked, newest first",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<revocations::Revocation>>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/revocations",
        action: Action::RevocationsCreate,
        record: "admin/revocations.create",
        summary: "Revoke a key, token, grant, session, client, certificate, signing key, or all that a user has",
        input: Input::Needed(SchemaGenerator::subschema_for::<revocations::Create>),
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/approvals",
        action: Action::ApprovalsList,
        record: "admin/approvals.list",
        summary: "Questions that wait for a person, and those that were answered, newest first",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<consents::Approval>>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/approvals/{id}",
        action: Action::ApprovalsShow,
        record: "admin/approvals.show",
        summary: "One question",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<consents::Approval>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/approvals/{id}",
        action: Action::ApprovalsAnswer,
        record: "admin/approvals.answer",
        summary: "Answer a question, once",
        input: Input::Needed(SchemaGenerator::subschema_for::<consents::Reply>),
        output: Some(SchemaGenerator::subschema_for::<consents::Approval>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/consents",
        action: Action::ConsentsList,
        record: "admin/consents.list",
        summary: "What was agreed to, newest first, what is over too",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<consents::Consent>>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/consents/{id}",
        action: Action::ConsentsShow,
        record: "admin/consents.show",
        summary: "One consent",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<consents::Consent>),
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/consents/{id}",
        action: Action::ConsentsRevoke,
        record: "admin/consents.revoke",
        summary: "Take a consent back, from the next call on",
        input: Input::None,
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/pins",
        action: Action::PinsList,
        record: "admin/pins.list",
        summary: "Entries of upstreams whose definitions are pinned",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<pins::Pin>>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/pins/withheld",
        action: Action::PinsWithheld,
        record: "admin/pins.withheld",
        summary: "Definitions that wait for approval, and how they differ from what is approved",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<pins::PinDiff>>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/pins/approve",
        action: Action::PinsApprove,
        record: "admin/pins.approve",
        summary: "Approve definitions, each by the digest of what was looked at",
        input: Input::Needed(SchemaGenerator::subschema_for::<pins::Approve>),
        output: Some(SchemaGenerator::subschema_for::<pins::Approved>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/pins/forget",
        action: Action::PinsForget,
        record: "admin/pins.forget",
        summary: "Forget what is pinned of an upstream: what it offers is new again",
        input: Input::Needed(SchemaGenerator::subschema_for::<pins::Forget>),
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/logs",
        action: Action::LogsList,
        record: "admin/logs.list",
        summary: "Log lines of the last while, newest first; `level`, `target`, `contains` and `since` choose among them",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<logs::LogPage>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/logs/level",
        action: Action::LogsLevelShow,
        record: "admin/logs.level.show",
        summary: "What is logged",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<logs::LogFilter>),
    },
    Operation {
        method: Method::PUT,
        path: "/v1/logs/level",
        action: Action::LogsLevelSet,
        record: "admin/logs.level.set",
        summary: "Have more or less logged, for a while or until the gate ends",
        input: Input::Needed(SchemaGenerator::subschema_for::<logs::SetFilter>),
        output: Some(SchemaGenerator::subschema_for::<logs::LogFilter>),
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/logs/level",
        action: Action::LogsLevelReset,
        record: "admin/logs.level.reset",
        summary: "Have logged again what the config says",
        input: Input::None,
        output: None,
    },
    Operation {
        method: Method::GET,
        path: "/v1/users",
        action: Action::UsersList,
        record: "admin/users.list",
        summary: "Local accounts, by name",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<shape::Page<users::User>>),
    },
    Operation {
        method: Method::POST,
        path: "/v1/users",
        action: Action::UsersCreate,
        record: "admin/users.create",
        summary: "Make an account; the link to set its password is in this answer and never again",
        input: Input::Needed(SchemaGenerator::subschema_for::<users::Create>),
        output: Some(SchemaGenerator::subschema_for::<users::Created>),
    },
    Operation {
        method: Method::GET,
        path: "/v1/users/{name}",
        action: Action::UsersShow,
        record: "admin/users.show",
        summary: "A local account",
        input: Input::None,
        output: Some(SchemaGenerator::subschema_for::<users::User>),
    },
    Operation {
        method: Method::PATCH,
        path: "/v1/users/{name}",
        action: Action::UsersChange,
        record: "admin/users.change",
        summary: "Give an account other roles, shut it out, or let it in again",
        input: Input::Needed(SchemaGenerator::subschema_for::<users::Change>),
        output: Some(SchemaGenerator::subschema_for::<users::User>),
    },
    Operation {
        method: Method::DELETE,
        path: "/v1/users/{name}",
        action: Action::UsersDelete,
        record: "admin/users.delete",
        summary: "Delete an account; its sessions and tokens end",
        input: Input::None,
        output: None,
    },
];

/// What comes before the name of an operation in records.
const RECORDS: &str = "admin/";

impl Operation {
    /// As rules know it.
    fn name(&self) -> &'static str {
        self.record.strip_prefix(RECORDS).unwrap_or(self.record)
    }
}

/// The name of what a request for this route asks for, as rules know it; `None` if the route has no such verb.
pub(super) fn action(route: &Route, method: &Method) -> Option<&'static str> {
    find(route, method).map(Operation::name)
}

/// The name of what is asked for in audit records, `admin/keys.create`.
pub(super) fn recorded(route: &Route, method: &Method) -> Option<&'static str> {
    find(route, method).map(|operation| operation.record)
}

fn find(route: &Route, method: &Method) -> Option<&'static Operation> {
    OPERATIONS
        .iter()
        .find(|one| one.path == route.path && one.method == *method)
}

/// What an operation has to go by.
struct Asked<'a> {
    edge: &'a Edge,
    principal: &'a Principal,
    /// The segment of the path that the route leaves open.
    id: &'a str,
    query: &'a str,
    body: Bytes,
    /// What it is about, for the record.
    subject: Option<String>,
    /// That is a person's name, though with the same operation it can be something else.
    is_person: bool,
}

/// What comes of it.
struct Answer {
    status: StatusCode,
    body: Option<Bytes>,
}

impl Asked<'_> {
    fn auth(&self) -> &Arc<Auth> {
        self.edge.gate.auth()
    }

    /// An account is found in any case of its letters, and recorded by its own name.
    fn name_subject(&mut self, action: Action) -> Result<(), Problem> {
        match action {
            Action::UsersShow | Action::UsersChange | Action::UsersDelete => {
                if let Some(account) = self.auth().accounts().get(self.id)? {
                    self.subject = Some(account.name.to_string());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note_subject(&self, record: &mut AdminRecord) {
        match &self.subject {
            Some(name) if self.is_person => record.about_person(name),
            Some(subject) => record.about(subject),
            None => {}
        }
    }

    /// The body, as the operation has it.
    fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(body).map_err(|error| Problem::bad(error.to_string()))
    }
}

impl Answer {
    fn json(status: StatusCode, value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| Problem::ours(&error))?;
        Ok(Self {
            status,
            body: Some(body.into()),
        })
    }

    fn ok(value: &impl Serialize) -> Result<Self, Problem> {
        Self::json(StatusCode::OK, value)
    }

    fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
        }
    }
}

/// Answers a request for one of its paths.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    principal: &Arc<Principal>,
    settings: &config::Http,
    route: &Route,
    request: Request<Inbound>,
) -> Response<Body> {
    let Some(operation) = find(route, request.method()) else {
        // No route says so, and a test sees to it.
        return Problem::missing("no such operation").response();
    };
    let (head, body) = request.into_parts();
    let id = open_segment(route.path, head.uri.path());
    let body = match operation.input {
        Input::None => Ok(Bytes::new()),
        Input::Optional(_) | Input::Needed(_) => taken(&head.headers, body, settings).await,
    };
    let bytes_in = body.as_ref().map_or(0, Bytes::len);
    let mut record = match edge
        .gate
        .record_admin(principal, operation.record, bytes_in)
        .await
    {
        Ok(record) => record,
        Err(rejection) => return Problem::of(&rejection).response(),
    };
    record.from_address(facts.address);
    let done = match (id, body) {
        (None, _) => Err(Problem::bad("the path is not UTF-8".to_owned())),
        (_, Err(problem)) => Err(problem),
        (Some(id), Ok(body)) => {
            let mut asked = Asked {
                edge,
                principal,
                id: &id,
                query: head.uri.query().unwrap_or_default(),
                body,
                subject: (!id.is_empty()).then(|| id.clone()),
                is_person: false,
            };
            let named = asked.name_subject(operation.action);
            let permitted = match route.access {
                Access::Owner => permit(operation, &asked, &mut record).await,
                // What is here looks for itself at what is whose.
                Access::Public | Access::Browser | Access::Principal | Access::Scoped => Ok(()),
            };
            let ready = match permitted.and(named) {
                // Whatever becomes of this process: what changes something is in the log before.
                Ok(()) if operation.method != Method::GET => {
                    asked.note_subject(&mut record);
                    record.begin().await.map_err(|full| Problem::of(&full))
                }
                ready => ready,
            };
            let done = match ready {
                Ok(()) => Box::pin(run(operation.action, &mut asked)).await,
                Err(problem) => Err(problem),
            };
            asked.note_subject(&mut record);
            done
        }
    };
    let (response, reason, bytes_out) = match done {
        Ok(answer) => {
            let bytes = answer.body.as_ref().map_or(0, Bytes::len);
            (response(&answer), None, bytes)
        }
        Err(problem) => {
            let (reason, bytes) = (problem.reason(), problem.body().len());
            (problem.response(), Some(reason), bytes)
        }
    };
    let closed = record.close(response.status().as_u16(), reason, bytes_out);
    match closed.await {
        Ok(()) => response,
        Err(full) => Problem::of(&full).response(),
    }
}

/// The rules' word over exactly what will be done; where they ask, somebody has to have agreed to it.
///
/// Conditions find the members of the body in `context.args`, and there as `id` what the path leaves open.
async fn permit(
    operation: &Operation,
    asked: &Asked<'_>,
    record: &mut AdminRecord,
) -> Result<(), Problem> {
    let body: &[u8] = if asked.body.is_empty() {
        b"{}"
    } else {
        &asked.body
    };
    let arguments = wire::json::strict_value(body).map_err(|error| Problem::bad(error.to_string()));
    let Value::Object(mut arguments) = arguments? else {
        return Err(Problem::bad("the body is not an object".to_owned()));
    };
    if !asked.id.is_empty() {
        arguments.insert("id".to_owned(), asked.id.into());
    }
    let (gate, name) = (&asked.edge.gate, operation.name());
    let arguments = Value::Object(arguments);
    let decision = gate.decide_act(asked.principal, name, &arguments);
    record.decided(&decision);
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Ask(ask) => {
            let agreed = gate
                .agree_to_act(asked.principal, &ask, name, &arguments)
                .await;
            record.agreed(agreed.map_err(|rejection| Problem::of(&rejection))?);
            Ok(())
        }
        Decision::Deny(_) | Decision::Unseen => {
            let detail = "The rules do not let you do that, with what you sent";
            Err(Problem::new(StatusCode::FORBIDDEN, detail))
        }
    }
}

async fn run(action: Action, asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    match action {
        Action::Me => me::show(asked),
        Action::OpenApi => Answer::ok(&openapi::document()),
        Action::AlertsList => alerts::list(asked),
        Action::KeysList => keys::list(asked),
        Action::KeysCreate => keys::create(asked).await,
        Action::KeysRotate => keys::rotate(asked).await,
        Action::KeysRevoke => keys::revoke(asked).await,
        Action::SessionsList => sessions::list(asked),
        Action::SessionsEnd => sessions::end(asked).await,
        Action::RevocationsList => revocations::list(asked),
        Action::RevocationsCreate => revocations::create(asked).await,
        Action::ApprovalsList => consents::list_approvals(asked),
        Action::ApprovalsShow => consents::show_approval(asked),
        Action::ApprovalsAnswer => consents::answer(asked).await,
        Action::ConsentsList => consents::list(asked),
        Action::ConsentsShow => consents::show(asked),
        Action::ConsentsRevoke => consents::revoke(asked).await,
        Action::PinsList => pins::list(asked),
        Action::PinsWithheld => pins::withheld(asked),
        Action::PinsApprove => pins::approve(asked).await,
        Action::PinsForget => pins::forget(asked).await,
        Action::LogsList => logs::list(asked),
        Action::LogsLevelShow => logs::show_filter(asked),
        Action::LogsLevelSet => logs::set_filter(asked),
        Action::LogsLevelReset => logs::reset_filter(asked),
        Action::UsersList => users::list(asked),
        Action::UsersCreate => users::create(asked).await,
        Action::UsersShow => users::show(asked),
        Action::UsersChange => users::change(asked).await,
        Action::UsersDelete => users::delete(asked).await,
    }
}

/// The body, within the bounds of HTTP and of this API.
async fn taken(
    headers: &::http::HeaderMap,
    body: Inbound,
    settings: &config::Http,
) -> Result<Bytes, Problem> {
    let body = read(body, settings)
        .await
        .map_err(|rejection| Problem::of(&rejection))?;
    if body.len() > BODY_MAX {
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        return Err(Problem::new(status, "The body is too large"));
    }
    if !body.is_empty() {
        check_media(headers).map_err(|rejection| Problem::of(&rejection))?;
    }
    Ok(body)
}

fn response(answer: &Answer) -> Response<Body> {
    let mut response = text(
        answer.status,
        "application/json",
        answer.body.clone().unwrap_or_default(),
    );
    let headers = response.headers_mut();
    if answer.body.is_none() {
        headers.remove(header::CONTENT_TYPE);
    }
    private(headers);
    response
}

/// Nothing of this API is for a cache, or for a browser to guess about.
fn private(headers: &mut ::http::HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}

/// What stands in the path where the route has `{…}`, decoded; empty if it has none, `None` if it is no text.
fn open_segment(pattern: &str, path: &str) -> Option<String> {
    let segments = pattern.split('/').zip(path.split('/'));
    let open = segments
        .filter(|(wanted, _)| wanted.starts_with('{'))
        .map(|(_, found)| found)
        .next();
    decoded(open.unwrap_or_default())
}

/// Without percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
