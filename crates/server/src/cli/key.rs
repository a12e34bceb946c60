//! `portcullis key`: who holds which key. The key itself is seen once, by whoever creates it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::{KeyDraft, Keyring, KeyringError, Loopback, NewKey, Revocations, Revoked, keyring};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::{Clock, PrincipalId, RoleName, Scope, Scopes};
use serde_json::json;
use store::{KeyRow, Store};

use super::arguments::Unusable;
use super::record::Act;
use super::{Common, Exit, Key, NewKeyArguments, now, output};
use crate::config::Loaded;
use crate::{SystemClock, vault};

/// What the commands work with.
struct Bench<'a> {
    common: &'a Common,
    loaded: &'a Loaded,
    keyring: Keyring,
    revocations: Arc<Revocations>,
}

pub(super) fn key(common: &Common, key: Key) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let vault = vault::open(&store, &loaded.master_key, clock.wall())?;
        let revocations = Revocations::open(store.clone(), Arc::clone(&clock))?;
        let bench = Bench {
            common,
            loaded: &loaded,
            keyring: Keyring::new(store.clone(), vault, clock, Arc::clone(&revocations)),
            revocations,
        };
        let act = match &key {
            Key::Create(arguments) => Some(("admin/keys.create", arguments.principal.clone())),
            Key::Rotate { id, .. } => Some(("admin/keys.rotate", id.clone())),
            Key::Revoke { id } => Some(("admin/keys.revoke", id.clone())),
            Key::List => None,
        };
        let act = match act {
            Some((action, about)) => {
                let act = Act::begin(&store, action).await?;
                let is_person = matches!(key, Key::Create(_));
                let act = if is_person { act.of_person() } else { act };
                act.intend(&about).await?;
                Some((act, about))
            }
            None => None,
        };
        let exit = match key {
            Key::Create(arguments) => bench.create(&arguments).await,
            Key::Rotate { id, overlap } => bench.rotate(&id, overlap.as_deref()).await,
            Key::List => bench.list(),
            Key::Revoke { id } => bench.revoke(&id).await,
        };
        if let Some((act, about)) = act {
            act.end(&about, &exit).await?;
        }
        drop(bench);
        store.close().await;
        exit
    })
}

impl Bench<'_> {
    async fn create(&self, arguments: &NewKeyArguments) -> anyhow::Result<Exit> {
        let loaded = self.loaded;
        let draft = KeyDraft {
            principal: PrincipalId::new(&arguments.principal).map_err(|error| unusable(&error))?,
            roles: roles(loaded, &arguments.roles)?,
            scopes: scopes(&arguments.scopes)?,
            good_for: arguments.expires.as_deref().map(duration).transpose()?,
            note: arguments.note.clone().unwrap_or_default(),
        };
        let principal = draft.principal.clone();
        let first = self.keyring.list()?.is_empty() && loaded.auth.keys.is_empty();
        let new = self.keyring.create(draft).await.map_err(said)?;
        self.show(&new, "created")?;
        output::say("send it as `Authorization: Bearer KEY`, or as `X-API-Key: KEY`");
        output::say(format!(
            "to have it in a config file instead: [keys.{}] hash = \"{}\"",
            new.row.id, new.hash
        ));
        let held = loaded.gateway.rules.roles_of(&principal);
        if new.row.roles.is_empty() && held.is_empty() {
            output::say(format!(
                "it has no role and may do nothing yet: name {principal} among the members of a role, or create one with --role"
            ));
        }
        if first && loaded.auth.loopback == Loopback::Auto {
            output::say(
                "this is the first key: with auth.loopback = \"auto\", callers from this machine now need one too; \
                 set auth.loopback = \"owner\" to let them in without",
            );
        }
        Ok(Exit::Done)
    }

    async fn rotate(&self, id: &str, overlap: Option<&str>) -> anyhow::Result<Exit> {
        if self.is_configured(id) {
            output::say(format!(
                "key {id} stands in the config; create another and put its hash there"
            ));
            return Ok(Exit::Failed);
        }
        let overlap = overlap.map(duration).transpose()?;
        let overlap = overlap.unwrap_or(keyring::OVERLAP);
        let new = match self.keyring.rotate(id, overlap).await {
            Err(error @ (KeyringError::Unknown(_) | KeyringError::Over(_))) => {
                output::say(format!("{error}; `portcullis key list` shows them all"));
                return Ok(Exit::Failed);
            }
            Err(error @ KeyringError::Replaced { .. }) => {
                output::say(error.to_string());
                return Ok(Exit::Failed);
            }
            rotated => rotated.map_err(said)?,
        };
        self.show(&new, "created")?;
        let until = local(new.row.created_at + overlap);
        output::say(format!(
            "it replaces key {id}, which is good until {until} at most"
        ));
        Ok(Exit::Done)
    }

    /// The one time that a key is seen.
    fn show(&self, new: &NewKey, done: &str) -> anyhow::Result<()> {
        let NewKey { row, text, hash } = new;
        if self.common.json {
            output::json(&json!({
                "id": row.id,
                "key": text.expose(),
                "hash": hash.to_string(),
                "principal": row.principal,
                "roles": row.roles,
                "scopes": row.scopes,
                "expires_at": row.expires_at.map(utc),
                "rotated_from": row.rotated_from,
            }))?;
        } else {
            output::line(text.expose())?;
        }
        let until = row.expires_at.map_or_else(
            || "until it is revoked".to_owned(),
            |at| format!("until {}", local(at)),
        );
        output::say(format!(
            "{done} key {} for {}, good {until}; it is not shown again",
            row.id, row.principal
        ));
        Ok(())
    }

    fn is_configured(&self, id: &str) -> bool {
        self.loaded.auth.keys.iter().any(|key| key.name == id)
    }

    fn list(&self) -> anyhow::Result<Exit> {
        let kept = self.keyring.list()?;
        let configured = &self.loaded.auth.keys;
        let now = now();
        if self.common.json {
            let configured = configured.iter().map(|key| {
                json!({
                    "id": key.name,
                    "principal": key.principal.as_str(),
                    "roles": key.roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
                    "expires_at": key.expires_at.map(utc),
                    "state": configured_state(key.expires_at, now),
                    "kept_in": "config",
                })
            });
            let kept = kept.iter().map(|key| {
                json!({
                    "id": key.id,
                    "principal": key.principal,
                    "roles": key.roles,
                    "scopes": key.scopes,
                    "created_at": utc(key.created_at),
                    "expires_at": key.expires_at.map(utc),
                    "revoked_at": key.revoked_at.map(utc),
                    "last_used_at": key.last_used_at.map(utc),
                    "rotated_from": key.rotated_from,
                    "note": key.note,
                    "state": keyring::state(key, now),
                    "kept_in": "database",
                })
            });
            output::json(&configured.chain(kept).collect::<Vec<_>>())?;
            return Ok(Exit::Done);
        }
        let never = || "never".to_owned();
        let configured = configured.iter().map(|key| {
            let roles: Vec<&str> = key.roles.iter().map(RoleName::as_str).collect();
            vec![
                key.name.clone(),
                key.principal.to_string(),
                roles.join(","),
                "all".to_owned(),
                "config".to_owned(),
                String::new(),
                key.expires_at.map_or_else(never, local),
                configured_state(key.expires_at, now).to_owned(),
                String::new(),
            ]
        });
        let kept = kept.iter().map(|key| {
            vec![
                key.id.clone(),
                key.principal.clone(),
                key.roles.join(","),
                key.scopes.clone().unwrap_or_else(|| "all".to_owned()),
                local(key.created_at),
                key.last_used_at.map_or_else(never, local),
                key.expires_at.map_or_else(never, local),
                keyring::state(key, now).to_owned(),
                key.note.clone(),
            ]
        });
        let rows: Vec<Vec<String>> = configured.chain(kept).collect();
        if rows.is_empty() {
            output::say(
                "there are no keys; `portcullis key create PRINCIPAL --role owner` makes one",
            );
            return Ok(Exit::Done);
        }
        let headings = [
            "id",
            "principal",
            "roles",
            "scopes",
            "created",
            "last used",
            "expires",
            "state",
            "note",
        ];
        output::data(output::table(&headings, &rows).as_bytes())?;
        Ok(Exit::Done)
    }

    async fn revoke(&self, id: &str) -> anyhow::Result<Exit> {
        if self.is_configured(id) {
            let by = "the command line";
            self.revocations
                .revoke(Revoked::Key(id), None, by, "")
                .await?;
            let origin = self
                .loaded
                .origins()
                .of(&format!("keys.{id}"))
                .map(ToString::to_string)
                .unwrap_or_default();
            output::say(format!(
                "revoked key {id}; it stands in the config ({origin}), where it can be taken out now"
            ));
            return Ok(Exit::Done);
        }
        let known = match self.keyring.revoke(id).await {
            Err(KeyringError::Unknown(_)) => false,
            revoked => revoked.map(|()| true).map_err(said)?,
        };
        if self.common.json {
            output::json(&json!({ "id": id, "revoked": known }))?;
        }
        if !known {
            output::say(format!(
                "there is no key {id}; `portcullis key list` shows them all"
            ));
            return Ok(Exit::Failed);
        }
        output::say(format!("revoked key {id}"));
        let usable = |key: &KeyRow| key.revoked_at.is_none();
        if self.loaded.auth.loopback == Loopback::Auto
            && self.loaded.auth.keys.is_empty()
            && !self.keyring.list()?.iter().any(usable)
        {
            output::say(
                "it was the last one, and callers from this machine still need one: create another, \
                 or set auth.loopback = \"owner\" to let them in without",
            );
        }
        Ok(Exit::Done)
    }
}

fn unusable(error: &dyn std::fmt::Display) -> Unusable {
    Unusable(error.to_string())
}

/// What was asked wrongly, and what went wrong, are two exits.
fn said(error: KeyringError) -> anyhow::Error {
    match error {
        KeyringError::NoTime | KeyringError::TooLong | KeyringError::NoteTooLong => {
            unusable(&error).into()
        }
        KeyringError::Unknown(_)
        | KeyringError::Over(_)
        | KeyringError::Replaced { .. }
        | KeyringError::NoRandomness(_)
        | KeyringError::Store(_) => error.into(),
    }
}

fn roles(loaded: &Loaded, names: &[String]) -> Result<Vec<RoleName>, Unusable> {
    let role = |name: &String| {
        let role = RoleName::new(name).map_err(|error| unusable(&error))?;
        if loaded.gateway.rules.defines(&role) {
            return Ok(role);
        }
        Err(Unusable(format!(
            "there is no role `{name}`; add a [roles.{name}] to the config, or use `owner`"
        )))
    };
    names.iter().map(role).collect()
}

/// `None` if there are none: then the key is not narrowed.
fn scopes(names: &[String]) -> Result<Option<Scopes>, Unusable> {
    let scope = |name: &String| {
        Scope::parse(name).ok_or_else(|| {
            let known: Vec<&str> = Scope::ALL.into_iter().map(Scope::as_str).collect();
            let known = known.join(", ");
            Unusable(format!("there is no scope `{name}`; there are {known}"))
        })
    };
    let scopes: Scopes = names.iter().map(scope).collect::<Result<_, _>>()?;
    Ok((!names.is_empty()).then_some(scopes))
}

fn duration(text: &str) -> Result<Duration, Unusable> {
    policy::config::duration(text).map_err(Unusable)
}

fn configured_state(expires_at: Option<SystemTime>, now: SystemTime) -> &'static str {
    if expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "good"
    }
}

pub(super) fn utc(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

pub(super) fn local(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
