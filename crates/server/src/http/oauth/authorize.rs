//! `/oauth/authorize`: a client sends somebody's browser here, to be allowed something, and gets it back with the answer.

use std::sync::Arc;

use ::http::header::{self, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use auth::accounts::BrowserSession;
use auth::authority::{Asked, NoClient, OAuthError, Question, Visitor};
use url::Url;

use super::do_not_store;
use crate::http::pages::{self, ConsentView};
use crate::http::{Body, Edge, Facts, Inbound, browser, text};

const PATH: &str = "/oauth/authorize";
/// In records.
const ACTION: &str = "oauth/authorize";
/// The field that names the request which is answered.
const REQUEST: &str = "request";

/// Asks, or takes the answer.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    facts: &Facts,
    request: Request<Inbound>,
) -> Response<Body> {
    let since = edge.gate.auth().parts().clock.wall();
    let Some(session) = browser::current(edge, request.headers()).await else {
        // Before anything is looked up: strangers learn nothing here, and have nothing fetched.
        return match *request.method() {
            Method::GET => pages::sign_in_first(request.uri()),
            _ => gone(),
        };
    };
    let visitor = Visitor {
        session: &session.id,
        principal: &session.principal,
        roles: &session.roles,
        since,
    };
    let authority = edge.gate.auth().authority();
    if request.method() == Method::POST {
        let form = match browser::form(edge, Some(&session), request).await {
            Ok(form) => form,
            Err(response) => return response,
        };
        let allows = match form.text("answer") {
            "allow" => true,
            "deny" => false,
            _ => return gone(),
        };
        let mut record = match pages::record(edge, facts, ACTION).await {
            Ok(record) => record,
            Err(closed) => return closed,
        };
        record.by(&session.principal);
        let request = form.text(REQUEST);
        if let Some(client) = authority.asking(request) {
            record.about(&client);
        }
        let (word, status) = match allows {
            true => ("allowed", StatusCode::SEE_OTHER),
            false => ("denied", StatusCode::FORBIDDEN),
        };
        let answered = authority.answer(request, visitor, allows).await;
        let (status, reason) = match &answered {
            Ok(_) => (status, word.to_owned()),
            Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        };
        if let Err(closed) = pages::close(record, status, Some(reason)).await {
            return closed;
        }
        return match answered {
            Ok(url) => to_client(&url),
            Err(error) => trouble(&error),
        };
    }
    let query = request.uri().query().unwrap_or_default();
    match authority.ask(query, visitor).await {
        Ok(Asked::Person(question)) => ask(&session, &question),
        Ok(Asked::Answer(url)) => {
            // Nobody was asked: it was answered before, or cannot be asked.
            let mut record = match pages::record(edge, facts, ACTION).await {
                Ok(record) => record,
                Err(closed) => return closed,
            };
            record.by(&session.principal);
            record.about(&pages::parameter(request.uri(), "client_id"));
            let is_error = url.query_pairs().any(|(name, _)| name == "error");
            let (status, reason) = match is_error {
                true => (
                    StatusCode::BAD_REQUEST,
                    "the app was sent back with an error",
                ),
                false => (StatusCode::SEE_OTHER, "allowed before"),
            };
            if let Err(closed) = pages::close(record, status, Some(reason.to_owned())).await {
                return closed;
            }
            to_client(&url)
        }
        Err(error) => trouble(&error),
    }
}

fn ask(session: &BrowserSession, question: &Question) -> Response<Body> {
    pages::consent(&ConsentView {
        client_name: &question.client_name,
        client_id: &question.client_id,
        client_host: question.client_host.as_deref(),
        redirect_uri: &question.redirect_uri,
        scopes: question.scopes,
        account: session.principal.id.as_str(),
        csrf: &session.csrf,
        action: PATH,
        fields: &[(REQUEST, &question.request)],
    })
}

/// Back to the client (RFC 9700 section 4.12: with 303, so that no form goes along).
fn to_client(url: &Url) -> Response<Body> {
    let Ok(location) = HeaderValue::try_from(url.as_str()) else {
        return gone();
    };
    let mut response = text(StatusCode::SEE_OTHER, "text/plain", "");
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    do_not_store(headers);
    response
}

fn trouble(error: &NoClient) -> Response<Body> {
    match error {
        NoClient::Unknown(why) => {
            pages::error(StatusCode::BAD_REQUEST, "This app is not let in", why)
        }
        NoClient::Gone => gone(),
        NoClient::Unavailable(OAuthError::TooMany(_)) => later(),
        NoClient::Unavailable(cause) => {
            tracing::error!(%cause, "a client's request cannot be judged");
            later()
        }
    }
}

fn gone() -> Response<Body> {
    pages::error(
        StatusCode::BAD_REQUEST,
        "That request is over",
        "It was answered already, waited too long, or was somebody else's. Go back to the app and connect again.",
    )
}

fn later() -> Response<Body> {
    pages::error(
        StatusCode::SERVICE_UNAVAILABLE,
        "Not now",
        "Something that this needs does not work at the moment. Try again in a minute.",
    )
}
