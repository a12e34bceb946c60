//! API keys: listed, created, rotated, revoked.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use ::http::StatusCode;
use auth::{KeyDraft, KeyringError, NewKey, Revoked, keyring};
use policy::{PrincipalId, RoleName, Scope, Scopes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::KeyRow;

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// An API key, but not its secret.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Key {
    /// Its public part.
    id: String,
    /// Whom it stands for.
    principal: String,
    /// The roles it brings, besides those whose members name the principal.
    roles: Vec<String>,
    /// What it may be used for at most; null if that is not narrowed.
    scopes: Option<String>,
    /// `good`, `expired` or `revoked`.
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// To the minute.
    last_used_at: Option<String>,
    /// The key that it replaces.
    rotated_from: Option<String>,
    note: String,
}

/// A new key.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "KeyCreated")]
pub(super) struct Created {
    key: Key,
    /// The key itself: shown here and never again.
    secret: String,
}

/// What a key is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeyCreate")]
pub(super) struct Create {
    /// Whom it stands for.
    principal: String,
    /// The roles it brings, besides those whose members name the principal.
    #[serde(default)]
    roles: Vec<String>,
    /// What it may be used for at most; not narrowed if left out.
    scopes: Option<Vec<String>>,
    /// How long it is good, as `90d`; until it is revoked if left out.
    expires_in: Option<String>,
    /// To remember it by.
    #[serde(default)]
    note: String,
}

/// How a key is to be replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "KeyRotate")]
pub(super) struct Rotate {
    /// How long the old one stays good, as `1h`; a day if left out.
    overlap: Option<String>,
}

impl Key {
    fn of(row: KeyRow, now: SystemTime) -> Self {
        Self {
            state: keyring::state(&row, now),
            id: row.id,
            principal: row.principal,
            roles: row.roles,
            scopes: row.scopes,
            created_at: time(row.created_at),
            expires_at: row.expires_at.map(time),
            revoked_at: row.revoked_at.map(time),
            last_used_at: row.last_used_at.map(time),
            rotated_from: row.rotated_from,
            note: row.note,
        }
    }
}

impl From<KeyringError> for Problem {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Unknown(_) => Self::missing(error.to_string()),
            KeyringError::Over(_) | KeyringError::Replaced { .. } => {
                Self::conflict(error.to_string())
            }
            KeyringError::NoTime | KeyringError::TooLong | KeyringError::NoteTooLong => {
                Self::bad(error.to_string())
            }
            KeyringError::NoRandomness(_) | KeyringError::Store(_) => Self::ours(&error),
        }
    }
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let now = asked.auth().parts().clock.wall();
    let rows = asked.auth().keyring().list()?;
    let keys = rows.into_iter().map(|row| Key::of(row, now)).collect();
    Answer::ok(&page(keys, asked.query, |key: &Key| key.id.clone())?)
}

pub(super) async fn create(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Create = asked.read()?;
    let bad = |error: &dyn std::fmt::Display| Problem::bad(error.to_string());
    // A key is good for no more than the credential that makes it.
    let held = asked.principal.scopes;
    let scopes = match wanted.scopes.as_deref().map(scopes).transpose()? {
        None if held == Scopes::EVERY => None,
        wanted => Some(wanted.unwrap_or(Scopes::EVERY).intersection(held)),
    };
    let principal = PrincipalId::new(&wanted.principal).map_err(|error| bad(&error))?;
    let roles = roles(asked, &wanted.roles)?;
    check_hand_out(asked, &principal, &roles)?;
    let draft = KeyDraft {
        principal,
        roles,
        scopes,
        good_for: wanted.expires_in.as_deref().map(duration).transpose()?,
        note: wanted.note,
    };
    let new = asked.auth().keyring().create(draft).await?;
    created(asked, new)
}

pub(super) async fn rotate(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Rotate = asked.read()?;
    let overlap = wanted.overlap.as_deref().map(duration).transpose()?;
    let overlap = overlap.unwrap_or(keyring::OVERLAP);
    let rows = asked.auth().keyring().list()?;
    if let Some(row) = rows.into_iter().find(|row| row.id == asked.id) {
        let names = PrincipalId::new(&row.principal).ok().zip(
            row.roles
                .iter()
                .map(|name| RoleName::new(name).ok())
                .collect::<Option<Vec<_>>>(),
        );
        // What is no name any more holds nothing that could be handed out; the keyring says so.
        if let Some((principal, roles)) = names {
            check_hand_out(asked, &principal, &roles)?;
        }
    }
    let new = asked.auth().keyring().rotate(asked.id, overlap).await?;
    created(asked, new)
}

pub(super) async fn revoke(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let auth = asked.auth();
    match auth.keyring().revoke(asked.id).await {
        // One of the config is not in the store, and can be revoked all the same.
        Err(KeyringError::Unknown(_)) if auth.is_configured_key(asked.id) => {
            let by = asked.principal.id.as_str();
            auth.revocations()
                .revoke(Revoked::Key(asked.id), None, by, "")
                .await
                .map_err(|error| Problem::ours(&error))?;
        }
        revoked => revoked?,
    }
    Ok(Answer::nothing())
}

fn created(asked: &mut Asked<'_>, new: NewKey) -> Result<Answer, Problem> {
    asked.subject = Some(new.row.id.clone());
    let now = asked.auth().parts().clock.wall();
    let created = Created {
        key: Key::of(new.row, now),
        secret: new.text.expose().to_owned(),
    };
    Answer::json(StatusCode::CREATED, &created)
}

/// Whether the caller may make somebody who can do as much as that.
pub(super) fn check_hand_out(
    asked: &Asked<'_>,
    to: &PrincipalId,
    roles: &[RoleName],
) -> Result<(), Problem> {
    let roles: BTreeSet<RoleName> = roles.iter().cloned().collect();
    if asked.edge.gate.may_hand_out(asked.principal, to, &roles) {
        return Ok(());
    }
    let detail = "Only an owner can give somebody roles that the giver does not have";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Roles that there are.
pub(super) fn roles(asked: &Asked<'_>, names: &[String]) -> Result<Vec<RoleName>, Problem> {
    let role = |name: &String| {
        let role = RoleName::new(name).map_err(|error| Problem::bad(error.to_string()))?;
        if asked.edge.gate.has_role(&role) {
            Ok(role)
        } else {
            Err(Problem::bad(format!("there is no role `{name}`")))
        }
    };
    names.iter().map(role).collect()
}

fn scopes(names: &[String]) -> Result<Scopes, Problem> {
    let scope = |name: &String| {
        Scope::parse(name).ok_or_else(|| Problem::bad(format!("there is no scope `{name}`")))
    };
    names.iter().map(scope).collect()
}

fn duration(text: &str) -> Result<Duration, Problem> {
    policy::config::duration(text).map_err(Problem::bad)
}
