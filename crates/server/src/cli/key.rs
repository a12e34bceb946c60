//! `portcullis key`: who holds which key. The key itself is seen once, by whoever creates it.

use std::time::SystemTime;

use auth::Loopback;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use policy::{PrincipalId, RoleName, Rules};
use serde_json::json;
use store::{KeyRow, Store};

use super::arguments::Unusable;
use super::{Common, Exit, Key, now, output};
use crate::config::Loaded;

pub(super) fn key(common: &Common, key: Key) -> anyhow::Result<Exit> {
    let loaded = common.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(&loaded.database())?;
        let exit = match key {
            Key::Create {
                principal,
                roles,
                expires,
            } => {
                create(
                    common,
                    &loaded,
                    &store,
                    &principal,
                    &roles,
                    expires.as_deref(),
                )
                .await
            }
            Key::List => list(common, &loaded, &store),
            Key::Revoke { id } => revoke(common, &loaded, &store, &id).await,
        };
        store.close().await;
        exit
    })
}

async fn create(
    common: &Common,
    loaded: &Loaded,
    store: &Store,
    principal: &str,
    roles: &[String],
    expires: Option<&str>,
) -> anyhow::Result<Exit> {
    let unusable = |error: &dyn std::fmt::Display| Unusable(error.to_string());
    let principal = PrincipalId::new(principal).map_err(|error| unusable(&error))?;
    for role in roles {
        let name = RoleName::new(role).map_err(|error| unusable(&error))?;
        if role != Rules::OWNER && !loaded.roles.contains(&name) {
            return Err(Unusable(format!(
                "there is no role `{role}`; add a [roles.{role}] to the config, or use `owner`"
            ))
            .into());
        }
    }
    let good_for = expires
        .map(policy::config::duration)
        .transpose()
        .map_err(Unusable)?;
    let created_at = now();
    let expires_at = match good_for {
        Some(long) => Some(
            created_at
                .checked_add(long)
                .ok_or_else(|| Unusable("--expires is too long".to_owned()))?,
        ),
        None => None,
    };
    let first = !store.has_keys()? && loaded.auth.keys.is_empty();

    let minted = auth::key::mint()?;
    store
        .put_key(KeyRow {
            id: minted.id.clone(),
            principal: principal.to_string(),
            roles: roles.to_vec(),
            scopes: None,
            hash: *minted.hash.as_bytes(),
            hash_kind: store::KeyHashKind::Plain,
            created_at,
            expires_at,
            revoked_at: None,
            last_used_at: None,
            rotated_from: None,
            note: String::new(),
        })
        .await?;

    if common.json {
        output::json(&json!({
            "id": minted.id,
            "key": minted.text.expose(),
            "hash": minted.hash.to_string(),
            "principal": principal.as_str(),
            "roles": roles,
            "expires_at": expires_at.map(utc),
        }))?;
    } else {
        output::line(minted.text.expose())?;
    }
    let until = expires_at.map_or_else(
        || "until it is revoked".to_owned(),
        |at| format!("until {}", local(at)),
    );
    output::say(format!(
        "created key {} for {principal}, good {until}; it is not shown again",
        minted.id
    ));
    output::say("send it as `Authorization: Bearer KEY`, or as `X-API-Key: KEY`");
    output::say(format!(
        "to have it in a config file instead: [keys.{}] hash = \"{}\"",
        minted.id, minted.hash
    ));
    let held = loaded.gateway.rules.roles_of(&principal);
    if roles.is_empty() && held.is_empty() {
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

fn list(common: &Common, loaded: &Loaded, store: &Store) -> anyhow::Result<Exit> {
    let kept = store.list_keys()?;
    let now = now();
    if common.json {
        let configured = loaded.auth.keys.iter().map(|key| {
            json!({
                "id": key.name,
                "principal": key.principal.as_str(),
                "roles": key.roles.iter().map(RoleName::as_str).collect::<Vec<_>>(),
                "expires_at": key.expires_at.map(utc),
                "state": state(None, key.expires_at, now),
                "kept_in": "config",
            })
        });
        let kept = kept.iter().map(|key| {
            json!({
                "id": key.id,
                "principal": key.principal,
                "roles": key.roles,
                "created_at": utc(key.created_at),
                "expires_at": key.expires_at.map(utc),
                "revoked_at": key.revoked_at.map(utc),
                "state": state(key.revoked_at, key.expires_at, now),
                "kept_in": "database",
            })
        });
        output::json(&configured.chain(kept).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let never = || "never".to_owned();
    let configured = loaded.auth.keys.iter().map(|key| {
        let roles: Vec<&str> = key.roles.iter().map(RoleName::as_str).collect();
        let expires = key.expires_at.map_or_else(never, local);
        let state = state(None, key.expires_at, now).to_owned();
        vec![
            key.name.clone(),
            key.principal.to_string(),
            roles.join(","),
            "config".to_owned(),
            expires,
            state,
        ]
    });
    let kept = kept.iter().map(|key| {
        let expires = key.expires_at.map_or_else(never, local);
        let state = state(key.revoked_at, key.expires_at, now).to_owned();
        vec![
            key.id.clone(),
            key.principal.clone(),
            key.roles.join(","),
            local(key.created_at),
            expires,
            state,
        ]
    });
    let rows: Vec<Vec<String>> = configured.chain(kept).collect();
    if rows.is_empty() {
        output::say("there are no keys; `portcullis key create PRINCIPAL --role owner` makes one");
        return Ok(Exit::Done);
    }
    let headings = ["id", "principal", "roles", "created", "expires", "state"];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

async fn revoke(common: &Common, loaded: &Loaded, store: &Store, id: &str) -> anyhow::Result<Exit> {
    if loaded.auth.keys.iter().any(|key| key.name == id) {
        let origin = loaded
            .origins()
            .of(&format!("keys.{id}"))
            .map(ToString::to_string)
            .unwrap_or_default();
        output::say(format!(
            "key {id} stands in the config ({origin}); take it out there"
        ));
        return Ok(Exit::Failed);
    }
    let known = store.revoke_key(id, now()).await?;
    if common.json {
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
    if loaded.auth.loopback == Loopback::Auto
        && loaded.auth.keys.is_empty()
        && !store.list_keys()?.iter().any(usable)
    {
        output::say(
            "it was the last one, and callers from this machine still need one: create another, \
             or set auth.loopback = \"owner\" to let them in without",
        );
    }
    Ok(Exit::Done)
}

fn state(
    revoked_at: Option<SystemTime>,
    expires_at: Option<SystemTime>,
    now: SystemTime,
) -> &'static str {
    if revoked_at.is_some() {
        "revoked"
    } else if expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "good"
    }
}

fn utc(at: SystemTime) -> String {
    Timestamp::try_from(at)
        .unwrap_or_default()
        .strftime("%Y-%m-%dT%H:%M:%SZ")
        .to_string()
}

fn local(at: SystemTime) -> String {
    let at = Timestamp::try_from(at).unwrap_or_default();
    at.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}
