//! Local accounts: listed, made, changed, deleted.

use ::http::StatusCode;
use auth::accounts::{Account, AccountError, NewAccount};
use policy::{PrincipalId, RoleName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::{check_hand_out, roles};
use super::problem::Problem;
use super::shape::{page, time};
use super::{Answer, Asked};

/// An account, but nothing secret of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct User {
    name: String,
    email: Option<String>,
    /// The roles it brings, besides those whose members name it.
    roles: Vec<String>,
    /// Whether a password was set yet.
    has_password: bool,
    /// Whether a one-time password is asked for.
    has_totp: bool,
    /// Whether it is shut out, with all that it has.
    disabled: bool,
    created_at: String,
    signed_in_at: Option<String>,
}

/// What an account is to be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserCreate")]
pub(super) struct Create {
    name: String,
    email: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
}

/// A new account.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "UserCreated")]
pub(super) struct Created {
    user: User,
    /// Where its holder sets a password: works once, and is shown here and never again.
    link: String,
    link_expires_at: String,
}

/// What is to be different; what is left out stays as it is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserChange")]
pub(super) struct Change {
    /// Its sessions and tokens end, since they have the old ones.
    roles: Option<Vec<String>>,
    /// Shuts it out with all that it has, or lets it in again.
    disabled: Option<bool>,
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            name: account.name.to_string(),
            email: account.email,
            roles: account.roles.iter().map(ToString::to_string).collect(),
            has_password: account.has_password,
            has_totp: account.has_totp,
            disabled: account.is_disabled,
            created_at: time(account.created_at),
            signed_in_at: account.signed_in_at.map(time),
        }
    }
}

impl From<AccountError> for Problem {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Unknown => Self::missing(error.to_string()),
            AccountError::Taken
            | AccountError::Disabled
            | AccountError::TotpOn
            | AccountError::TotpOff => Self::conflict(error.to_string()),
            AccountError::Name(_)
            | AccountError::Email(_)
            | AccountError::Weak(_)
            | AccountError::Link
            | AccountError::Wrong => Self::bad(error.to_string()),
            AccountError::Later { .. } | AccountError::Unavailable(_) => Self::ours(&error),
        }
    }
}

pub(super) fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let accounts = asked.auth().accounts().list()?;
    let users = accounts.into_iter().map(User::from).collect();
    Answer::ok(&page(users, asked.query, |user: &User| user.name.clone())?)
}

pub(super) fn show(asked: &Asked<'_>) -> Result<Answer, Problem> {
    Answer::ok(&user(asked, asked.id)?)
}

pub(super) async fn create(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Create = asked.read()?;
    asked.subject = Some(wanted.name.clone());
    let roles = roles(asked, &wanted.roles)?;
    check_name_and_roles(asked, &wanted.name, &roles)?;
    let new = NewAccount {
        name: &wanted.name,
        email: wanted.email.as_deref(),
        roles: roles.into_iter().collect(),
        password: None,
    };
    let accounts = asked.auth().accounts();
    let name = accounts.add(new).await?;
    let link = accounts.link_for(name.as_str()).await?;
    let created = Created {
        user: user(asked, name.as_str())?,
        link: link.url.to_string(),
        link_expires_at: time(link.expires_at),
    };
    let answer = Answer::json(StatusCode::CREATED, &created);
    drop(Zeroizing::new(created.link));
    answer
}

pub(super) async fn change(asked: &mut Asked<'_>) -> Result<Answer, Problem> {
    let wanted: Change = asked.read()?;
    let roles = wanted.roles.as_deref().map(|names| roles(asked, names));
    let roles = roles.transpose()?;
    if let Some(roles) = &roles {
        check_name_and_roles(asked, asked.id, roles)?;
    }
    let (accounts, by) = (asked.auth().accounts(), asked.principal.id.as_str());
    if let Some(roles) = roles {
        let roles = roles.into_iter().collect();
        accounts.set_roles(asked.id, &roles).await?;
    }
    match wanted.disabled {
        Some(true) => accounts.disable(asked.id, by).await?,
        Some(false) => {
            // One that was in already stays in.
            let _was_out = accounts.enable(asked.id, by).await?;
        }
        None => {}
    }
    Answer::ok(&user(asked, asked.id)?)
}

pub(super) async fn delete(asked: &Asked<'_>) -> Result<Answer, Problem> {
    asked.auth().accounts().delete(asked.id).await?;
    Ok(Answer::nothing())
}

/// Whether the caller may make somebody of that name with these roles; whether it is a name is for the accounts to say.
fn check_name_and_roles(asked: &Asked<'_>, name: &str, roles: &[RoleName]) -> Result<(), Problem> {
    match PrincipalId::new(name) {
        Ok(name) => check_hand_out(asked, &name, roles),
        Err(_) => Ok(()),
    }
}

fn user(asked: &Asked<'_>, name: &str) -> Result<User, Problem> {
    let account = asked.auth().accounts().get(name)?;
    Ok(account.ok_or(AccountError::Unknown)?.into())
}
