//! `portcullis user`: local accounts, and links by which their holders set passwords.
//!
//! No password stands on the command line, which other users can read: it is set by a link that works once, or comes
//! from stdin. A running gate beside notices what is done here within a second.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;

use anyhow::Context as _;
use auth::accounts::{Account, AccountError, Link, NewAccount, PASSWORD_BYTES_MAX};
use auth::{Accounts, Loopback, Parts, Revocations, Site};
use policy::{Clock, RoleName};
use serde_json::json;
use store::Store;
use zeroize::Zeroizing;

use super::arguments::Unusable;
use super::key::{local, utc};
use super::record::Act;
use super::{Common, Exit, NewUser, User, output, terminal};
use crate::config::Loaded;
use crate::serve::base;
use crate::{SystemClock, vault};

/// Who disables and enables, in lists.
const BY: &str = "the command line";

/// What the commands work with.
struct Bench<'a> {
    common: &'a Common,
    loaded: &'a Loaded,
    accounts: Accounts,
    store: Store,
}

pub(super) fn user(common: &Common, user: User) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let parts = Parts {
            store: store.clone(),
            client: net::Client::new(net::Settings::default()),
            site: Site::new(&base(&loaded, &[])),
            vault: vault::open(&store, &loaded.master_key, clock.wall())?,
            revocations: Revocations::open(store.clone(), Arc::clone(&clock))?,
            clock,
        };
        let (settings, members) = (loaded.auth.accounts.clone(), loaded.auth.members.clone());
        let bench = Bench {
            common,
            loaded: &loaded,
            accounts: Accounts::new(&parts, settings, members),
            store: store.clone(),
        };
        let act = match &user {
            User::Add(new) => Some(("admin/users.create", &new.name)),
            User::Roles { name, .. }
            | User::Email { name, .. }
            | User::Disable { name }
            | User::Enable { name }
            | User::TotpOff { name } => Some(("admin/users.change", name)),
            User::ResetLink { name } => Some(("admin/users.reset", name)),
            User::Delete { name, .. } => Some(("admin/users.delete", name)),
            User::List => None,
        };
        let act = match act {
            Some((action, typed)) => {
                // An account is found in any case of its letters, and recorded by its own name.
                let account = store.get_account(typed)?;
                let about = account.map_or_else(|| typed.clone(), |row| row.name);
                let act = Act::begin(&store, action).await?;
                act.intend(&about).await?;
                Some((act, about))
            }
            None => None,
        };
        let exit = bench.run(user).await;
        if let Some((act, about)) = act {
            act.end(&about, &exit).await?;
        }
        drop((bench, parts));
        store.close().await;
        exit
    })
}

impl Bench<'_> {
    async fn run(&self, user: User) -> anyhow::Result<Exit> {
        let accounts = &self.accounts;
        match user {
            User::Add(new) => self.add(&new).await,
            User::List => self.list(),
            User::Roles { name, roles } => {
                accounts
                    .set_roles(&name, &self.roles(&roles)?)
                    .await
                    .map_err(|error| said(&name, error))?;
                self.done(&name, "changed", json!({ "roles": roles }))?;
                output::say(format!(
                    "{name} has {} now, and has to sign in again",
                    listed(&roles)
                ));
                Ok(Exit::Done)
            }
            User::Email { name, address } => {
                accounts
                    .set_email(&name, address.as_deref())
                    .await
                    .map_err(|error| said(&name, error))?;
                self.done(&name, "changed", json!({ "email": address }))?;
                output::say(match address {
                    Some(address) => format!("links for {name} go to {address} now"),
                    None => format!("{name} has no address now"),
                });
                Ok(Exit::Done)
            }
            User::Disable { name } => {
                accounts
                    .disable(&name, BY)
                    .await
                    .map_err(|error| said(&name, error))?;
                self.done(&name, "disabled", json!({}))?;
                output::say(format!(
                    "{name} is shut out: sessions, tokens and keys; `portcullis user enable {name}` lets it in again"
                ));
                Ok(Exit::Done)
            }
            User::Enable { name } => {
                let was_out = accounts
                    .enable(&name, BY)
                    .await
                    .map_err(|error| said(&name, error))?;
                self.done(&name, "enabled", json!({}))?;
                output::say(if was_out {
                    format!("{name} may sign in again; sessions and tokens from before stay ended")
                } else {
                    format!("{name} was not shut out")
                });
                Ok(Exit::Done)
            }
            User::ResetLink { name } => {
                let link = accounts
                    .link_for(&name)
                    .await
                    .map_err(|error| said(&name, error))?;
                self.show(&name, &link, "link")?;
                Ok(Exit::Done)
            }
            User::TotpOff { name } => {
                accounts
                    .clear_totp(&name)
                    .await
                    .map_err(|error| said(&name, error))?;
                self.done(&name, "totp_off", json!({}))?;
                output::say(format!(
                    "{name} signs in with the password alone; one-time passwords can be switched on again at {}/console/account",
                    self.base()
                ));
                Ok(Exit::Done)
            }
            User::Delete { name } => self.delete(&name).await,
        }
    }

    async fn add(&self, new: &NewUser) -> anyhow::Result<Exit> {
        let roles = self.roles(&new.roles)?;
        let password = match new.password_stdin {
            true => Some(typed_or_piped()?),
            false => None,
        };
        let is_first = !self.store.has_accounts()?;
        let id = self
            .accounts
            .add(NewAccount {
                name: &new.name,
                email: new.email.as_deref(),
                roles,
                password: password.as_ref().map(|password| password.as_str()),
            })
            .await
            .map_err(|error| said(&new.name, error))?;
        if password.is_some() {
            self.done(id.as_str(), "created", json!({ "roles": new.roles }))?;
        } else {
            let link = self.accounts.link_for(id.as_str()).await?;
            self.show(id.as_str(), &link, "created")?;
        }
        output::say(format!("made the account {id} with {}", listed(&new.roles)));
        let held = self.loaded.gateway.rules.roles_of(&id);
        if new.roles.is_empty() && held.is_empty() {
            output::say(format!(
                "it has no role and may do nothing yet: `portcullis user roles {id} ROLE`, or name it among the members of a role"
            ));
        }
        if self
            .accounts
            .get(id.as_str())?
            .is_some_and(|new| new.is_disabled)
        {
            output::say(format!(
                "a principal of this name was shut out before and still is: `portcullis user enable {id}`"
            ));
        }
        if is_first && self.loaded.auth.loopback == Loopback::Auto {
            output::say(
                "this is the first account: with auth.loopback = \"auto\", callers from this machine now need a \
                 credential; set auth.loopback = \"owner\" to let them in without",
            );
        }
        Ok(Exit::Done)
    }

    fn list(&self) -> anyhow::Result<Exit> {
        let all = self.accounts.list()?;
        if self.common.json {
            let all = all.iter().map(|account| {
                json!({
                    "name": account.name.as_str(),
                    "email": account.email,
                    "roles": account.roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
                    "state": state(account),
                    "totp": account.has_totp,
                    "recovery_codes": account.recovery_codes,
                    "created_at": utc(account.created_at),
                    "signed_in_at": account.signed_in_at.map(utc),
                })
            });
            output::json(&all.collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        if all.is_empty() {
            output::say("there are no accounts; `portcullis user add NAME --role owner` makes one");
            return Ok(Exit::Done);
        }
        let row = |account: &Account| {
            let roles: Vec<&str> = account.roles.iter().map(RoleName::as_str).collect();
            vec![
                account.name.to_string(),
                account.email.clone().unwrap_or_default(),
                roles.join(","),
                if account.has_totp { "on" } else { "off" }.to_owned(),
                local(account.created_at),
                account
                    .signed_in_at
                    .map_or_else(|| "never".to_owned(), local),
                state(account).to_owned(),
            ]
        };
        let rows: Vec<Vec<String>> = all.iter().map(row).collect();
        let headings = [
            "name",
            "email",
            "roles",
            "totp",
            "created",
            "signed in",
            "state",
        ];
        output::data(output::table(&headings, &rows).as_bytes())?;
        Ok(Exit::Done)
    }

    async fn delete(&self, name: &str) -> anyhow::Result<Exit> {
        self.accounts
            .delete(name)
            .await
            .map_err(|error| said(name, error))?;
        self.done(name, "deleted", json!({}))?;
        output::say(format!(
            "deleted {name}; its API keys, if it has any, stay: `portcullis key list`"
        ));
        if !self.store.has_accounts()? && self.loaded.auth.loopback == Loopback::Auto {
            output::say(
                "it was the last account: as long as there is no key either, callers from this machine need no \
                 credential; set auth.loopback = \"off\" to have everybody need one",
            );
        }
        Ok(Exit::Done)
    }

    fn roles(&self, names: &[String]) -> Result<BTreeSet<RoleName>, Unusable> {
        let role = |name: &String| {
            let role = RoleName::new(name).map_err(|error| Unusable(error.to_string()))?;
            if self.loaded.gateway.rules.defines(&role) {
                return Ok(role);
            }
            Err(Unusable(format!(
                "there is no role `{name}`; add a [roles.{name}] to the config, or use `owner`"
            )))
        };
        names.iter().map(role).collect()
    }

    /// A link, which is the one thing that goes to stdout.
    fn show(&self, name: &str, link: &Link, action: &str) -> io::Result<()> {
        if self.common.json {
            output::json(&json!({
                "name": name,
                "action": action,
                "link": link.url.as_str(),
                "expires_at": utc(link.expires_at),
            }))?;
        } else {
            output::line(link.url.as_str())?;
        }
        output::say(format!(
            "give this link to {name} to set a password; it works once, until {}",
            local(link.expires_at)
        ));
        Ok(())
    }

    fn done(&self, name: &str, action: &str, more: serde_json::Value) -> io::Result<()> {
        if !self.common.json {
            return Ok(());
        }
        let mut said = json!({ "name": name, "action": action });
        if let (Some(said), serde_json::Value::Object(more)) = (said.as_object_mut(), more) {
            said.extend(more);
        }
        output::json(&said)
    }

    fn base(&self) -> String {
        base(self.loaded, &[])
    }
}

/// What was asked wrongly, and what went wrong, are two exits.
fn said(name: &str, error: AccountError) -> anyhow::Error {
    match error {
        AccountError::Unknown => Unusable(format!(
            "there is no account `{name}`; `portcullis user list` shows them all"
        ))
        .into(),
        AccountError::Name(_)
        | AccountError::Email(_)
        | AccountError::Taken
        | AccountError::Weak(_)
        | AccountError::TotpOn
        | AccountError::TotpOff => Unusable(error.to_string()).into(),
        AccountError::Disabled
        | AccountError::Link
        | AccountError::Wrong
        | AccountError::Later { .. }
        | AccountError::Unavailable(_) => error.into(),
    }
}

fn state(account: &Account) -> &'static str {
    if account.is_disabled {
        "disabled"
    } else if account.has_password {
        "good"
    } else {
        "no password yet"
    }
}

fn listed(roles: &[String]) -> String {
    match roles {
        [] => "no role".to_owned(),
        [role] => format!("the role {role}"),
        roles => format!("the roles {}", roles.join(", ")),
    }
}

/// A password: from whoever is at the terminal, unseen and twice, or from what is piped in, without the newline at its end.
fn typed_or_piped() -> anyhow::Result<Zeroizing<String>> {
    let stdin = terminal::stdin()?;
    let (question, again) = (
        "password (not shown): ",
        "the same password again (not shown): ",
    );
    let typed = terminal::typed_twice(&stdin, question, again).context("nobody was added")?;
    let text = match typed {
        Some(typed) => typed,
        None => piped(&stdin).context("no password could be read from stdin")?,
    };
    let text = std::str::from_utf8(&text).context("a password is text")?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

fn piped(stdin: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for one byte too many, so that a longer one is refused and not cut.
    let most = PASSWORD_BYTES_MAX + "\r\n".len() + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(most));
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    stdin.take(limit).read_to_end(&mut text)?;
    Ok(text)
}
