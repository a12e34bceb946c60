//! Who the caller is, as the gate sees it.

use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use super::shape::time;
use super::{Answer, Asked};

/// The caller.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Me {
    /// Its name.
    principal: String,
    /// What it may do.
    roles: Vec<String>,
    /// `local`, `api_key`, `token`, `certificate` or `session`.
    credential: &'static str,
    /// The OAuth client that acts for it.
    client: Option<String>,
    /// What the credential may be used for at most.
    scopes: Vec<&'static str>,
    /// When the credential ends.
    expires_at: Option<String>,
}

pub(super) fn show(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let principal = asked.principal;
    Answer::ok(&Me {
        principal: principal.id.to_string(),
        roles: principal.roles.iter().map(ToString::to_string).collect(),
        credential: principal.credential.kind(),
        client: principal.client.as_deref().map(str::to_owned),
        scopes: principal.scopes.iter().map(policy::Scope::as_str).collect(),
        expires_at: principal.expires_at.map(time),
    })
}
