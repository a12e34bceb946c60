//! Who somebody is here, and what they can change about it themselves: password, one-time passwords, apps.

use std::sync::Arc;
use std::time::SystemTime;

use ::http::{Request, Response, StatusCode};
use askama::Template;
use auth::accounts::{Account, AccountError, BrowserSession, NewTotp};
use auth::sessions::{self, HeldSession, SessionKind};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use store::GrantRow;
use zeroize::Zeroizing;

use super::consent::Redirect;
use super::page::{page_apart, see_other};
use super::{HOME, is_post, notice, sentence, sign_in_first, status_of};
use crate::http::browser::{self, Form};
use crate::http::{Body, Edge, Facts, Inbound};

/// What was done, in a closed set of words: the query of the page that says so.
const DONE: &[(&str, &str)] = &[
    (
        "password",
        "Your password is changed. Every other browser and app of yours is signed out.",
    ),
    (
        "totp-off",
        "No code is asked for any more when you sign in.",
    ),
    ("app", "The app can no longer act for you."),
    ("browser", "That browser is signed out."),
];

#[derive(Template)]
#[template(path = "account.html")]
struct Page<'a> {
    session: &'a BrowserSession,
    account: Option<Account>,
    roles: Vec<String>,
    since: String,
    connections: usize,
    apps: Vec<App>,
    browsers: Vec<Browser>,
    notice: Option<&'static str>,
    trouble: Option<Trouble>,
}

/// An app that may act for somebody.
struct App {
    grant: String,
    /// Its own words.
    name: String,
    /// Who vouches for it, or where it was sent to.
    host: String,
    since: String,
    used: String,
}

/// A browser that is signed in.
struct Browser {
    session: String,
    is_this: bool,
    since: String,
    used: String,
}

/// What is wrong, and with which of the page's forms.
struct Trouble {
    form: &'static str,
    text: String,
}

#[derive(Template)]
#[template(path = "totp.html")]
struct TotpPage<'a> {
    session: &'a BrowserSession,
    /// Shown once, when it is made.
    new: Option<ShownTotp<'a>>,
    trouble: Option<&'a str>,
}

struct ShownTotp<'a> {
    /// In groups of four, to be typed.
    secret: Zeroizing<String>,
    uri: &'a str,
    /// The QR code as a `data:` URL, so that no template writes markup that it was given.
    image: Zeroizing<String>,
}

#[derive(Template)]
#[template(path = "recovery.html")]
struct RecoveryPage<'a> {
    session: &'a BrowserSession,
    codes: &'a [Zeroizing<String>],
}

/// `/console/account`.
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

/// Does what a form asks for, with a record of it.
async fn act(edge: &Edge, facts: &Facts, session: &BrowserSession, form: &Form) -> Response<Body> {
    let action = match form.text("act") {
        "password" => "account/password",
        "totp" => "account/totp.begin",
        "totp-confirm" => "account/totp.confirm",
        "totp-off" => "account/totp.off",
        "revoke" => "account/apps.end",
        "sign-out" => "account/sessions.end",
        _ => return nothing(),
    };
    let mut record = match super::record(edge, facts, action).await {
        Ok(record) => record,
        Err(closed) => return closed,
    };
    record.by(&session.principal);
    let subject = match action {
        "account/apps.end" => form.text("grant"),
        "account/sessions.end" => form.text("session"),
        _ => "",
    };
    if !subject.is_empty() {
        record.about(subject);
    }
    let response = Box::pin(done_by(edge, session, form)).await;
    match super::close(record, response.status(), None).await {
        Ok(()) => response,
        Err(closed) => closed,
    }
}

async fn done_by(edge: &Edge, session: &BrowserSession, form: &Form) -> Response<Body> {
    let accounts = edge.gate.auth().accounts();
    let who = &session.principal.id;
    match form.text("act") {
        "password" => {
            let (current, new) = (form.text("current"), form.text("password"));
            match accounts.change_password(session, current, new).await {
                Ok(new) => {
                    let mut response = see_other(&done("password"));
                    browser::open(edge, &mut response, &new);
                    response
                }
                Err(error) => refuse(edge, session, "password", &error),
            }
        }
        "totp" if session.is_local => match accounts.begin_totp(who).await {
            Ok(new) => enrol(session, Some(&new), None),
            Err(error) => refuse(edge, session, "totp", &error),
        },
        "totp-confirm" if session.is_local => {
            match accounts.confirm_totp(who, form.text("code").trim()).await {
                Ok(codes) => page_apart(
                    StatusCode::OK,
                    &RecoveryPage {
                        session,
                        codes: &codes,
                    },
                ),
                Err(AccountError::Wrong) => {
                    let text = "That code is not right. Codes change every half minute; type the one shown now.";
                    enrol(session, None, Some(text))
                }
                Err(error) => refuse(edge, session, "totp", &error),
            }
        }
        "totp-off" if session.is_local => {
            match accounts.disable_totp(who, form.text("code").trim()).await {
                Ok(()) => see_other(&done("totp-off")),
                Err(error) => refuse(edge, session, "totp", &error),
            }
        }
        "revoke" => end(edge, session, SessionKind::Grant, form.text("grant"), "app").await,
        "sign-out" => {
            let other = form.text("session");
            end(edge, session, SessionKind::Browser, other, "browser").await
        }
        _ => nothing(),
    }
}

fn nothing() -> Response<Body> {
    super::error(
        StatusCode::BAD_REQUEST,
        "That cannot be done here",
        "Go back to your account and try again.",
    )
}

/// Ends an app's grant or another browser's session, if it is this person's own.
async fn end(
    edge: &Edge,
    session: &BrowserSession,
    kind: SessionKind,
    id: &str,
    word: &str,
) -> Response<Body> {
    let auth = edge.gate.auth();
    let who = session.principal.id.as_str();
    let ended = match held(edge, session) {
        Ok(held) if !held.iter().any(|held| held.kind == kind && held.id == id) => Ok(false),
        Ok(_) if kind == SessionKind::Grant => auth.authority().revoke_grant(id, who).await,
        Ok(_) => {
            let parts = auth.parts();
            let (store, now) = (&parts.store, parts.clock.wall());
            let it = (kind, id);
            sessions::end(store, &parts.revocations, it, now, who, "signed out").await
        }
        Err(error) => Err(error),
    };
    match ended {
        // Gone is gone, whoever was faster.
        Ok(_) => see_other(&done(word)),
        Err(error) => {
            tracing::warn!(%error, "a session cannot be ended");
            super::unavailable()
        }
    }
}

/// What this person holds: browsers and apps.
fn held(edge: &Edge, session: &BrowserSession) -> Result<Vec<HeldSession>, store::Error> {
    let parts = edge.gate.auth().parts();
    let mut held = sessions::list(&parts.store, parts.clock.wall())?;
    held.retain(|one| one.principal == session.principal.id.as_str());
    Ok(held)
}

fn done(word: &str) -> String {
    format!("{HOME}?done={word}")
}

fn refuse(
    edge: &Edge,
    session: &BrowserSession,
    form: &'static str,
    error: &AccountError,
) -> Response<Body> {
    let text = sentence(error);
    let mut response = show(edge, session, None, Some(Trouble { form, text }));
    *response.status_mut() = status_of(error);
    response
}

fn show(
    edge: &Edge,
    session: &BrowserSession,
    notice: Option<&'static str>,
    trouble: Option<Trouble>,
) -> Response<Body> {
    let auth = edge.gate.auth();
    let who = &session.principal.id;
    let account = match auth.accounts().get(who.as_str()) {
        Ok(account) => account.filter(|_| session.is_local),
        Err(error) => {
            tracing::warn!(%error, "an account cannot be read");
            return super::unavailable();
        }
    };
    let listed = auth
        .authority()
        .grants(Some(who))
        .and_then(|grants| Ok((grants, held(edge, session)?)));
    let (grants, held) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(%error, "sessions cannot be listed");
            return super::unavailable();
        }
    };
    let browser = |held: HeldSession| Browser {
        is_this: held.id == session.id,
        session: held.id,
        since: date(held.created_at),
        used: date(held.used_at),
    };
    let template = Page {
        session,
        account,
        apps: grants.into_iter().map(app).collect(),
        browsers: held
            .into_iter()
            .filter(|held| held.kind == SessionKind::Browser)
            .map(browser)
            .collect(),
        roles: session
            .principal
            .roles
            .iter()
            .map(ToString::to_string)
            .collect(),
        since: date(session.signed_in_at),
        connections: auth.outbound().connections(who).map_or(0, |all| all.len()),
        notice,
        trouble,
    };
    page_apart(StatusCode::OK, &template)
}

fn app(grant: GrantRow) -> App {
    // A client that publishes its own metadata is known by its host; another one by where its answers go.
    let host = |text: &str| {
        let url = url::Url::parse(text).ok()?;
        let is_web = matches!(url.scheme(), "http" | "https");
        is_web.then(|| match super::consent::redirect(text) {
            Redirect::ThisMachine => "this computer".to_owned(),
            Redirect::Host(host) | Redirect::App(host) => host,
        })
    };
    App {
        host: host(&grant.client_id)
            .or_else(|| host(&grant.redirect_uri))
            .unwrap_or(grant.client_id),
        grant: grant.id,
        name: grant.client_name,
        since: date(grant.created_at),
        used: date(grant.used_at),
    }
}

fn enrol(session: &BrowserSession, new: Option<&NewTotp>, trouble: Option<&str>) -> Response<Body> {
    let new = new.map(|new| ShownTotp {
        secret: grouped(&new.secret),
        uri: &new.uri,
        image: Zeroizing::new(format!(
            "data:image/svg+xml;base64,{}",
            BASE64_STANDARD.encode(new.svg.as_bytes())
        )),
    });
    let status = match trouble {
        Some(_) => StatusCode::FORBIDDEN,
        None => StatusCode::OK,
    };
    let template = TotpPage {
        session,
        new,
        trouble,
    };
    page_apart(status, &template)
}

/// In groups of four.
fn grouped(secret: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(secret.len() * 2));
    for (index, letter) in secret.chars().enumerate() {
        if index > 0 && index % 4 == 0 {
            text.push(' ');
        }
        text.push(letter);
    }
    text
}

/// A date and time for people.
pub(super) fn date(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(
        |_out_of_range| String::new(),
        |at| at.strftime("%-d %B %Y, %H:%M UTC").to_string(),
    )
}
