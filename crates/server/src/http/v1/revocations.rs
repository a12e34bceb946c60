//! Revocations: listed and made.

use auth::sessions::{self, SessionKind};
use auth::{KeyringError, Revoked};
use policy::PrincipalId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::RevocationRow;

use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// Most characters of an id, an issuer's name or a reason.
const TEXT_CHARS_MAX: usize = 2048;

/// Something that no longer holds.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Revocation {
    kind: String,
    /// Whose token or signing key it is.
    issuer: Option<String>,
    id: String,
    revoked_at: String,
    /// When it will be forgotten, since nothing that it could match holds any longer.
    until: Option<String>,
    by: String,
    reason: String,
}

/// The kinds of what can be revoked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Key,
    Token,
    Grant,
    Session,
    User,
    SigningKey,
    Client,
    Certificate,
}

/// What is to be revoked.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "RevocationCreate")]
pub(super) struct Create {
    kind: Kind,
    /// The key's id, the token's `jti`, the grant's or session's id, the user's name, the signing key's `kid`, the
    /// client's id, or the SHA-256 of the certificate in hex.
    id: String,
    /// The config's name for the issuer of a token or signing key.
    issuer: Option<String>,
    /// Why.
    #[serde(default)]
    reason: String,
}

impl From<RevocationRow> for Revocation {
    fn from(row: RevocationRow) -> Self {
        Self {
            kind: row.kind,
            issuer: (!row.issuer.is_empty()).then_some(row.issuer),
            id: row.id,
            revoked_at: time(row.revoked_at),
            until: row.until.map(time),
            by: row.by,
            reason: row.reason,
        }
    }
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let rows = asked.auth().revocations().list();
    let rows = rows.map_err(|error| Problem::ours(&error))?;
    let all = rows.into_iter().map(Revocation::from).collect();
    Answer::ok(&page(all, asked.query, |one: &Revocation| {
        let issuer = one.issuer.as_deref().unwrap_or_default();
        format!("{}:{issuer}:{}", one.kind, one.id)
    })?)
}

pub(super) async fn create(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Create = asked.read()?;
    let Create {
        kind,
        id,
        issuer,
        reason,
    } = &wanted;
    let texts = [id, reason, issuer.as_ref().unwrap_or(reason)];
    if id.is_empty()
        || texts
            .iter()
            .any(|text| text.chars().count() > TEXT_CHARS_MAX)
    {
        let detail =
            format!("`id` must be given, and no text has more than {TEXT_CHARS_MAX} characters");
        return Err(Problem::bad(detail));
    }
    asked.subject = Some(id.clone());
    asked.is_person = matches!(kind, Kind::User);
    let user;
    let what = match (kind, issuer.as_deref()) {
        (Kind::Token, Some(issuer)) => Revoked::Token { issuer, jti: id },
        (Kind::SigningKey, Some(issuer)) => Revoked::SigningKey { issuer, kid: id },
        (Kind::Token | Kind::SigningKey, None) => {
            return Err(Problem::bad(
                "`issuer` must be given with this kind".to_owned(),
            ));
        }
        (_, Some(_)) => {
            return Err(Problem::bad(
                "`issuer` does not go with this kind".to_owned(),
            ));
        }
        (Kind::Key, None) => Revoked::Key(id),
        (Kind::Grant, None) => Revoked::Grant(id),
        (Kind::Session, None) => Revoked::Session(id),
        (Kind::User, None) => {
            user = PrincipalId::new(id).map_err(|error| Problem::bad(error.to_string()))?;
            Revoked::User(&user)
        }
        (Kind::Client, None) => Revoked::Client(id),
        (Kind::Certificate, None) => Revoked::Certificate(id),
    };
    if !ended(asked, what, reason).await? {
        let by = asked.principal.id.as_str();
        let revocations = asked.auth().revocations();
        revocations
            .revoke(what, None, by, reason)
            .await
            .map_err(|error| Problem::ours(&error))?;
    }
    Ok(Answer::nothing())
}

/// Ends what the store has of it: so it is gone from the lists too.
async fn ended(asked: &Asked<'_>, what: Revoked<'_>, reason: &str) -> Result<bool, Problem> {
    let session = match what {
        Revoked::Key(id) => {
            return match asked.auth().keyring().revoke(id).await {
                Ok(()) => Ok(true),
                Err(KeyringError::Unknown(_)) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        Revoked::Grant(id) => (SessionKind::Grant, id),
        Revoked::Session(id) => (SessionKind::Browser, id),
        Revoked::Token { .. }
        | Revoked::User(_)
        | Revoked::Disabled(_)
        | Revoked::SigningKey { .. }
        | Revoked::Client(_)
        | Revoked::Certificate(_) => return Ok(false),
    };
    let parts = asked.auth().parts();
    let (now, by) = (parts.clock.wall(), asked.principal.id.as_str());
    sessions::end(&parts.store, &parts.revocations, session, now, by, reason)
        .await
        .map_err(|error| Problem::ours(&error))
}
