//! First start: the one-time link that `portcullis serve` prints makes the first account, an owner.

use std::sync::Arc;

use ::http::{Request, Response, StatusCode};
use askama::Template;

use super::page::{page_apart, see_other};
use super::{HOME, is_post, parameter, sentence, status_of};
use crate::http::browser::{self, Visit};
use crate::http::{Body, Edge, Facts, Inbound};

#[derive(Template)]
#[template(path = "setup.html")]
struct Page<'a> {
    csrf: &'a str,
    token: &'a str,
    name: &'a str,
    email: &'a str,
    trouble: Option<&'a str>,
}

/// `/console/setup`.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let visit = Visit::of(edge, request.headers());
    let accounts = edge.gate.auth().accounts();
    if accounts.any().unwrap_or(true) {
        return super::error(
            StatusCode::GONE,
            "This gate is set up",
            "It has an owner, so the link for its first start does nothing any more.",
        );
    }
    if !is_post(&request) {
        let token = parameter(request.uri(), "token");
        return ask(edge, &visit, [&token, "", ""], None);
    }
    let form = match browser::form(edge, None, request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let (token, name) = (form.text("token"), form.text("name").trim());
    let email = form.text("email").trim();
    let address = Some(email).filter(|email| !email.is_empty());
    let mut record = match super::record(edge, facts, "account/set_up").await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    let made = accounts
        .set_up(token, name, address, form.text("password"))
        .await;
    let status = match &made {
        Ok(new) => {
            record.by(&new.session.principal);
            StatusCode::OK
        }
        Err(error) => status_of(error),
    };
    if let Err(closed) = super::close(record, status, None).await {
        return closed;
    }
    match made {
        Ok(new) => {
            let mut response = see_other(HOME);
            browser::open(edge, &mut response, &new);
            response
        }
        Err(error) => {
            let trouble = (status_of(&error), sentence(&error));
            ask(
                edge,
                &visit,
                [token, name, email],
                Some((trouble.0, &trouble.1)),
            )
        }
    }
}

fn ask(
    edge: &Edge,
    visit: &Visit,
    [token, name, email]: [&str; 3],
    trouble: Option<(StatusCode, &str)>,
) -> Response<Body> {
    let template = Page {
        csrf: &visit.csrf(edge),
        token,
        name,
        email,
        trouble: trouble.map(|(_, text)| text),
    };
    let status = trouble.map_or(StatusCode::OK, |(status, _)| status);
    let mut response = page_apart(status, &template);
    visit.keep(edge, &mut response);
    response
}
