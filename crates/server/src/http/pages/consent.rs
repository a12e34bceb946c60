//! The page that asks whether an app may act for somebody. What is asked and what an answer means is `oauth`'s.

use ::http::{Response, StatusCode};
use askama::Template;
use policy::{Scope, Scopes};

use super::page::{form_target, page_to};
use crate::http::Body;

/// What somebody is asked. Only the hosts were verified; the names are the app's own words.
#[derive(Debug)]
pub(in crate::http) struct ConsentView<'a> {
    /// What the app calls itself.
    pub(in crate::http) client_name: &'a str,
    /// Its id: a URL for an app that publishes its own metadata.
    pub(in crate::http) client_id: &'a str,
    /// The host that vouches for the id: that of a client id metadata document.
    pub(in crate::http) client_host: Option<&'a str>,
    /// Where the browser goes with the answer.
    pub(in crate::http) redirect_uri: &'a str,
    /// What is asked for.
    pub(in crate::http) scopes: Scopes,
    /// Who is signed in.
    pub(in crate::http) account: &'a str,
    /// The session's token against forged forms; comes back as `csrf`.
    pub(in crate::http) csrf: &'a str,
    /// Where the form goes: a path of ours.
    pub(in crate::http) action: &'a str,
    /// What the form brings back besides `csrf` and `answer` (`allow` or `deny`).
    pub(in crate::http) fields: &'a [(&'a str, &'a str)],
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Page<'a> {
    view: &'a ConsentView<'a>,
    redirect: Redirect,
    wishes: Vec<Wish>,
}

/// Where the answer goes, in the words of who has to judge it.
pub(super) enum Redirect {
    /// A program on this very computer.
    ThisMachine,
    /// A web site.
    Host(String),
    /// An app that registered a scheme of its own.
    App(String),
}

/// A scope, in words.
struct Wish {
    title: &'static str,
    about: &'static str,
    is_grave: bool,
}

/// Asks.
pub(in crate::http) fn consent(view: &ConsentView<'_>) -> Response<Body> {
    let target = form_target(view.redirect_uri);
    let template = Page {
        view,
        redirect: redirect(view.redirect_uri),
        wishes: view.scopes.iter().map(wish).collect(),
    };
    page_to(StatusCode::OK, &template, target.as_deref())
}

/// Where that leads.
pub(super) fn redirect(uri: &str) -> Redirect {
    let Ok(url) = url::Url::parse(uri) else {
        return Redirect::App(uri.to_owned());
    };
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(host)) => {
            if net::is_here(&host) {
                Redirect::ThisMachine
            } else {
                Redirect::Host(host.to_string())
            }
        }
        (scheme, _) => Redirect::App(format!("{scheme}:")),
    }
}

fn wish(scope: Scope) -> Wish {
    let (title, about, is_grave) = match scope {
        Scope::Tools => (
            "Use tools",
            "See and call the tools that you may call.",
            false,
        ),
        Scope::Prompts => (
            "Use prompts",
            "See and get the prompts that you may use.",
            false,
        ),
        Scope::Resources => (
            "Read resources",
            "See, read and watch the resources that you may read.",
            false,
        ),
        Scope::Admin => (
            "Administer the gate",
            "Everything an owner may do, keys and revocations included.",
            true,
        ),
    };
    Wish {
        title,
        about,
        is_grave,
    }
}

#[cfg(test)]
mod tests;
