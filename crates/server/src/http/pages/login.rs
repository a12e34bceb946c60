//! Signing in with a name and a password, and out again.
//!
//! An account with one-time passwords needs two pages. Between them, what was typed on the first one waits in the
//! second, sealed for this browser and for a few minutes: nothing is kept here of somebody who is not signed in yet.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::header::{self, HeaderValue};
use ::http::{Request, Response, StatusCode};
use askama::Template;
use auth::accounts::SignInError;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::page::{page, see_other};
use super::{go_on, is_post, next, parameter, provider, sentence, with_next};
use crate::http::browser::{self, Form, Visit};
use crate::http::{Body, Edge, Facts, Inbound};

/// How long somebody may look for the code.
const TICKET_AGE: Duration = Duration::from_mins(5);

#[derive(Template)]
#[template(path = "login.html")]
struct Page<'a> {
    csrf: &'a str,
    next: &'a str,
    /// Where to go on to without signing in with a password here.
    query: &'a str,
    name: &'a str,
    trouble: Option<&'a str>,
    providers: &'a [provider::Choice],
    /// Whether there is any account to sign in with.
    is_set_up: bool,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    csrf: &'a str,
    next: &'a str,
    ticket: &'a str,
    name: &'a str,
    trouble: Option<&'a str>,
}

/// `/console/login`.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let visit = Visit::of(edge, request.headers());
    if !is_post(&request) {
        let wanted = parameter(request.uri(), "next");
        if browser::current(edge, request.headers()).await.is_some() {
            return see_other(next(&wanted));
        }
        return ask(edge, &visit, next(&wanted), "", None);
    }
    let from = browser::address(facts);
    let form = match browser::form(edge, None, request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let next = next(form.text("next"));
    let Some(typed) = Typed::of(edge, &visit, &form) else {
        let late = "That took too long. Please start again.";
        return ask(edge, &visit, next, "", Some((StatusCode::FORBIDDEN, late)));
    };
    let code = Some(form.text("code").trim()).filter(|code| !code.is_empty());
    let accounts = edge.gate.auth().accounts();
    let mut record = match super::record(edge, facts, "account/sign_in").await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    let signed_in = accounts
        .sign_in(&typed.name, &typed.password, code, from)
        .await;
    let (code, reason) = match &signed_in {
        Ok(new) => {
            record.by(&new.session.principal);
            (StatusCode::OK, None)
        }
        Err(error) => (status(error), Some(error.to_string())),
    };
    if let Err(closed) = super::close(record, code, reason).await {
        return closed;
    }
    match signed_in {
        Ok(new) => {
            let mut response = go_on(next);
            browser::open(edge, &mut response, &new);
            response
        }
        Err(SignInError::CodeNeeded) => ask_code(edge, &visit, next, &typed, None),
        Err(error) => {
            let (trouble, status) = (sentence(&error), status(&error));
            let mut response = if typed.is_sealed {
                ask_code(edge, &visit, next, &typed, Some((status, &trouble)))
            } else {
                ask(edge, &visit, next, &typed.name, Some((status, &trouble)))
            };
            if let SignInError::Later { after } = error {
                let seconds = HeaderValue::from(after.as_secs().max(1));
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            if let SignInError::Unavailable(cause) = error {
                tracing::warn!(error = %cause, "nobody can sign in");
            }
            response
        }
    }
}

/// `/console/logout`.
pub(super) async fn leave(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let mut response = see_other("/console/login");
    if let Some(session) = browser::current(edge, request.headers()).await {
        if let Err(refusal) = browser::form(edge, Some(&session), request).await {
            return refusal;
        }
        let mut record = match super::record(edge, facts, "account/sign_out").await {
            Ok(record) => record,
            Err(closed) => return closed,
        };
        record.by(&session.principal);
        if let Err(error) = edge.gate.auth().accounts().sign_out(&session.id).await {
            tracing::warn!(%error, "a session cannot be ended");
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let closed = super::close(record, status, Some(error.to_string())).await;
            return closed.err().unwrap_or_else(super::unavailable);
        }
        if let Err(closed) = super::close(record, StatusCode::OK, None).await {
            return closed;
        }
    }
    browser::close(edge, &mut response);
    response
}

fn ask(
    edge: &Edge,
    visit: &Visit,
    next: &str,
    name: &str,
    trouble: Option<(StatusCode, &str)>,
) -> Response<Body> {
    let template = Page {
        csrf: &visit.csrf(edge),
        next,
        query: &with_next("", next),
        name,
        trouble: trouble.map(|(_, text)| text),
        providers: &provider::choices(edge),
        is_set_up: edge.gate.auth().accounts().any().unwrap_or(true),
    };
    let status = trouble.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = page(status, &template);
    visit.keep(edge, &mut response);
    response
}

fn ask_code(
    edge: &Edge,
    visit: &Visit,
    next: &str,
    typed: &Typed,
    trouble: Option<(StatusCode, &str)>,
) -> Response<Body> {
    let Some(ticket) = typed.seal(edge, visit) else {
        return super::unavailable();
    };
    let template = CodePage {
        csrf: &visit.csrf(edge),
        next,
        ticket: &ticket,
        name: &typed.name,
        trouble: trouble.map(|(_, text)| text),
    };
    page(
        trouble.map_or(StatusCode::OK, |(status, _)| status),
        &template,
    )
}

fn status(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Wrong | SignInError::CodeNeeded => StatusCode::FORBIDDEN,
        SignInError::Later { .. } => StatusCode::TOO_MANY_REQUESTS,
        SignInError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What somebody typed on the first page.
struct Typed {
    name: String,
    password: Zeroizing<String>,
    /// Whether it waited in a ticket since.
    is_sealed: bool,
}

impl Typed {
    /// From the first page, or from the ticket in the second; `None` for a ticket that is not good any more.
    fn of(edge: &Edge, visit: &Visit, form: &Form) -> Option<Self> {
        let ticket = form.text("ticket");
        if !ticket.is_empty() {
            return Self::open(edge, visit, ticket);
        }
        Some(Self {
            name: form.text("name").trim().to_owned(),
            password: Zeroizing::new(form.text("password").to_owned()),
            is_sealed: false,
        })
    }

    fn seal(&self, edge: &Edge, visit: &Visit) -> Option<String> {
        let parts = edge.gate.auth().parts();
        let until = seconds(parts.clock.wall()) + TICKET_AGE.as_secs();
        let mut plain = Zeroizing::new(Vec::with_capacity(
            size_of::<u64>() + self.name.len() + 1 + self.password.len(),
        ));
        plain.extend_from_slice(&until.to_be_bytes());
        plain.extend_from_slice(self.name.as_bytes());
        // Stands in no name that is one.
        plain.push(0);
        plain.extend_from_slice(self.password.as_bytes());
        let sealed = parts.vault.seal(&purpose(edge, visit), &plain).ok()?;
        Some(BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    fn open(edge: &Edge, visit: &Visit, ticket: &str) -> Option<Self> {
        let parts = edge.gate.auth().parts();
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(ticket).ok()?;
        let plain = parts.vault.open(&purpose(edge, visit), &sealed).ok()?;
        let (until, rest) = plain.split_first_chunk()?;
        if u64::from_be_bytes(*until) <= seconds(parts.clock.wall()) {
            return None;
        }
        let (name, password) = std::str::from_utf8(rest).ok()?.split_once('\0')?;
        Some(Self {
            name: name.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            is_sealed: true,
        })
    }
}

fn purpose(edge: &Edge, visit: &Visit) -> String {
    format!("browser/login/{}", visit.fingerprint(edge))
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
