//! `portcullis session`: who is signed in where, and an end to it. A running gate beside notices within a second.

use std::sync::Arc;

use auth::sessions::{self, SessionKind};
use auth::tokens::EMBEDDED;
use auth::{Revocations, Revoked, certificate};
use policy::PrincipalId;
use serde_json::json;
use store::Store;

use super::arguments::Unusable;
use super::key::{local, utc};
use super::record::Act;
use super::{Common, Exit, Revoke, Session, now, output};
use crate::SystemClock;
use crate::config::Loaded;

/// Who revokes, in lists.
const BY: &str = "the command line";

pub(super) fn session(common: &Common, session: Session) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let exit = match session {
            Session::List => list(common, &store),
            Session::Revoke(revoke) => {
                let act = Act::begin(&store, "admin/revocations.create").await?;
                let act = if revoke.user.is_some() {
                    act.of_person()
                } else {
                    act
                };
                let about = about(&revoke);
                act.intend(&about).await?;
                let exit = end(common, &loaded, &store, &revoke).await;
                act.end(&about, &exit).await?;
                exit
            }
        };
        store.close().await;
        exit
    })
}

fn list(common: &Common, store: &Store) -> anyhow::Result<Exit> {
    let all = sessions::list(store, now())?;
    if common.json {
        let all = all.iter().map(|session| {
            json!({
                "id": format!("{}:{}", session.kind.as_str(), session.id),
                "kind": session.kind.as_str(),
                "principal": session.principal,
                "client": session.client,
                "created_at": utc(session.created_at),
                "last_used_at": utc(session.used_at),
                "expires_at": utc(session.expires_at),
            })
        });
        output::json(&all.collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    if all.is_empty() {
        output::say("nobody is signed in, and no OAuth client was allowed anything");
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = all
        .into_iter()
        .map(|session| {
            vec![
                format!("{}:{}", session.kind.as_str(), session.id),
                session.principal,
                session.client.unwrap_or_default(),
                local(session.created_at),
                local(session.used_at),
                local(session.expires_at),
            ]
        })
        .collect();
    let headings = [
        "id",
        "principal",
        "client",
        "created",
        "last used",
        "expires",
    ];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

async fn end(
    common: &Common,
    loaded: &Loaded,
    store: &Store,
    asked: &Revoke,
) -> anyhow::Result<Exit> {
    let revocations = Revocations::open(store.clone(), Arc::new(SystemClock::start()))?;
    if let Some(id) = &asked.id {
        let known = end_session(store, &revocations, id, &asked.reason).await?;
        if common.json {
            output::json(&json!({ "id": id, "revoked": known }))?;
        }
        if known {
            output::say(format!("revoked {id}"));
            return Ok(Exit::Done);
        }
        output::say(format!(
            "there is no session {id}; `portcullis session list` shows them all"
        ));
        return Ok(Exit::Failed);
    }
    let (user, fingerprint);
    let (what, id, said) = match asked {
        Revoke {
            user: Some(name), ..
        } => {
            user = PrincipalId::new(name).map_err(|error| Unusable(error.to_string()))?;
            if !is_user_known(loaded, store, &user)? {
                output::say(format!(
                    "nothing of {name} is known here: no account, key, role or session; is it spelled right?"
                ));
            }
            (
                Revoked::User(&user),
                user.to_string(),
                format!("what {name} had until now"),
            )
        }
        Revoke {
            client: Some(id), ..
        } => {
            if !is_client_known(loaded, store, id)? {
                output::say(format!(
                    "nothing of a client {id} is known here; is it spelled right?"
                ));
            }
            (Revoked::Client(id), id.clone(), format!("the client {id}"))
        }
        Revoke {
            token: Some(named), ..
        } => {
            let (issuer, jti) = pair(loaded, named)?;
            (
                Revoked::Token { issuer, jti },
                jti.to_owned(),
                format!("the token {jti} of {issuer}"),
            )
        }
        Revoke {
            signing_key: Some(named),
            ..
        } => {
            let (issuer, kid) = pair(loaded, named)?;
            (
                Revoked::SigningKey { issuer, kid },
                kid.to_owned(),
                format!("what {issuer} signed with {kid}"),
            )
        }
        Revoke {
            certificate: Some(hash),
            ..
        } => {
            fingerprint = certificate::fingerprint(hash).ok_or_else(|| {
                Unusable(format!(
                    "`{hash}` is no SHA-256 in hex: 64 digits, as `openssl x509 -noout -fingerprint -sha256` shows them"
                ))
            })?;
            (
                Revoked::Certificate(&fingerprint),
                fingerprint.clone(),
                format!("the certificate {fingerprint}"),
            )
        }
        Revoke { .. } => return Err(Unusable("say what to revoke".to_owned()).into()),
    };
    revocations.revoke(what, None, BY, &asked.reason).await?;
    if common.json {
        output::json(&json!({ "kind": what.kind(), "id": id, "revoked": true }))?;
    }
    output::say(format!("revoked {said}"));
    Ok(Exit::Done)
}

async fn end_session(
    store: &Store,
    revocations: &Revocations,
    id: &str,
    reason: &str,
) -> anyhow::Result<bool> {
    let named = id
        .split_once(':')
        .and_then(|(kind, id)| Some((SessionKind::parse(kind)?, id)));
    match named {
        Some(session) => Ok(sessions::end(store, revocations, session, now(), BY, reason).await?),
        None => Ok(false),
    }
}

/// What is revoked, for the record.
fn about(asked: &Revoke) -> String {
    let one = [&asked.id, &asked.user, &asked.client, &asked.certificate];
    let two = [&asked.token, &asked.signing_key];
    let one = one.into_iter().flatten().cloned();
    let two = two.into_iter().flatten().map(|words| words.join(" "));
    one.chain(two).next().unwrap_or_default()
}

/// Whether anything here is this principal's. Somebody of another issuer may well have tokens and nothing here.
fn is_user_known(loaded: &Loaded, store: &Store, user: &PrincipalId) -> anyhow::Result<bool> {
    let name = user.as_str();
    Ok(loaded.auth.members.contains_key(user)
        || loaded.auth.keys.iter().any(|key| key.principal == *user)
        || store.get_account(name)?.is_some()
        || store.list_keys()?.iter().any(|key| key.principal == name)
        || sessions::list(store, now())?
            .iter()
            .any(|session| session.principal == name))
}

/// Whether it is in the config, registered itself, or was allowed something.
fn is_client_known(loaded: &Loaded, store: &Store, id: &str) -> anyhow::Result<bool> {
    let configured = &loaded.auth.authority.clients;
    Ok(configured.iter().any(|client| client.id == id)
        || store.get_oauth_client(id)?.is_some()
        || sessions::list(store, now())?
            .iter()
            .any(|session| session.client.as_deref() == Some(id)))
}

/// The two words of an option that takes two, of which the first is an issuer that the config names.
fn pair<'a>(loaded: &Loaded, words: &'a [String]) -> Result<(&'a str, &'a str), Unusable> {
    let [issuer, id] = words else {
        return Err(Unusable("give an issuer and an id".to_owned()));
    };
    let issuers = loaded.auth.issuers.iter().map(|issuer| &*issuer.name);
    let known: Vec<&str> = std::iter::once(EMBEDDED).chain(issuers).collect();
    if !known.contains(&issuer.as_str()) {
        let known = known.join(", ");
        return Err(Unusable(format!(
            "the config names no issuer `{issuer}`; there are {known}"
        )));
    }
    Ok((issuer, id))
}
