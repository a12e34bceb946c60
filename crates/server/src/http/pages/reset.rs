//! A forgotten password: asking for a link, and setting another password with it.
//!
//! What is answered is the same whether there is such an account or not.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use askama::Template;
use auth::accounts::Reset;

use super::page::page_apart;
use super::{is_post, parameter, sentence, status_of};
use crate::http::browser::{self, Visit};
use crate::http::{Body, Edge, Facts, Inbound};

#[derive(Template)]
#[template(path = "reset.html")]
struct Page<'a> {
    csrf: &'a str,
    step: Step<'a>,
    trouble: Option<&'a str>,
}

enum Step<'a> {
    /// Whose password?
    Ask,
    /// A mail is under way, if there is anybody to get it.
    Sent,
    /// No mail is ever sent here.
    NoMail,
    /// Which password?
    New { token: &'a str },
    /// It is set.
    Done { name: &'a str },
}

/// `/console/reset`.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let visit = Visit::of(edge, request.headers());
    let accounts = edge.gate.auth().accounts();
    if !is_post(&request) {
        let token = parameter(request.uri(), "token");
        let step = if token.is_empty() {
            Step::Ask
        } else {
            Step::New { token: &token }
        };
        return show(edge, &visit, step, None);
    }
    let from = browser::address(facts);
    let form = match browser::form(edge, None, request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let token = form.text("token");
    if token.is_empty() {
        let step = match accounts.begin_reset(form.text("name").trim(), from) {
            Reset::Queued => Step::Sent,
            Reset::NoMail => Step::NoMail,
        };
        return show(edge, &visit, step, None);
    }
    let mut record = match super::record(edge, facts, "account/reset").await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    let reset = accounts.reset(token, form.text("password")).await;
    let status = match &reset {
        Ok(name) => {
            record.about(name.as_str());
            StatusCode::OK
        }
        Err(error) => status_of(error),
    };
    if let Err(closed) = super::close(record, status, None).await {
        return closed;
    }
    match reset {
        Ok(name) => {
            let step = Step::Done {
                name: name.as_str(),
            };
            show(edge, &visit, step, None)
        }
        Err(error) => {
            let (status, text) = (status_of(&error), sentence(&error));
            show(edge, &visit, Step::New { token }, Some((status, &text)))
        }
    }
}

fn show(
    edge: &Edge,
    visit: &Visit,
    step: Step<'_>,
    trouble: Option<(StatusCode, &str)>,
) -> Response<Body> {
    let template = Page {
        csrf: &visit.csrf(edge),
        step,
        trouble: trouble.map(|(_, text)| text),
    };
    let status = trouble.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = page_apart(status, &template);
    visit.keep(edge, &mut response);
    response
}
