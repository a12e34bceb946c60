//! `portcullis consent`: what waits for a person, and what was agreed to. A running gate beside notices at once.
//!
//! Whoever may write the database file answers as the owner at this machine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use gateway::{ConsentError, Consents, Yes};
use policy::{Credential, Principal, PrincipalId, Remember, RoleName, Rules, Scopes};
use serde_json::{Value, json};
use store::{ConsentRequestRow, ConsentRow, RequestState, Store};

use super::arguments::Unusable;
use super::key::{local, utc};
use super::record::Act;
use super::{Common, Consent, Exit, output};
use crate::SystemClock;

/// Who answers here.
const BY: &str = "local";

pub(super) fn consent(common: &Common, consent: &Consent) -> anyhow::Result<Exit> {
    let loaded = common.load_settings()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Store::open(loaded.database())?;
        let consents = Consents::new(store.clone(), Arc::new(SystemClock::start()));
        let who = owner()?;
        let act = match consent {
            Consent::List { .. } | Consent::Show { .. } => None,
            Consent::Approve(asked) => Some(("admin/approvals.answer", asked.id.clone())),
            Consent::Deny { id } => Some(("admin/approvals.answer", id.clone())),
            Consent::Revoke { id } => Some(("admin/consents.revoke", id.clone())),
        };
        let act = match act {
            Some((action, about)) => {
                let act = Act::begin(&store, action).await?;
                act.intend(&about).await?;
                Some((act, about))
            }
            None => None,
        };
        let exit = match consent {
            Consent::List { all } => list(common, &consents, &who, *all),
            Consent::Show { id } => show(common, &consents, &who, id),
            Consent::Approve(asked) => match hold(asked) {
                Ok(yes) => done(
                    common,
                    &asked.id,
                    "approved",
                    consents.approve(&asked.id, &who, yes).await.map(|_| ()),
                ),
                Err(unusable) => Err(unusable.into()),
            },
            Consent::Deny { id } => done(common, id, "denied", consents.deny(id, &who).await),
            Consent::Revoke { id } => done(common, id, "revoked", consents.revoke(id, &who).await),
        };
        if let Some((act, about)) = act {
            act.end(&about, &exit).await?;
        }
        drop(consents);
        store.close().await;
        exit
    })
}

fn owner() -> anyhow::Result<Principal> {
    Ok(Principal {
        id: PrincipalId::new(BY)?,
        roles: BTreeSet::from([RoleName::new(Rules::OWNER)?]),
        credential: Credential::Local,
        client: None,
        scopes: Scopes::EVERY,
        expires_at: None,
        claims: Arc::default(),
    })
}

fn hold(asked: &super::ApproveConsent) -> Result<Yes, Unusable> {
    let hold = match (&asked.span, asked.session) {
        (Some(span), _) => Remember::For(policy::config::duration(span).map_err(Unusable)?),
        (None, true) => Remember::Session,
        (None, false) => Remember::Once,
    };
    Ok(Yes {
        hold,
        any_arguments: asked.any_arguments,
    })
}

fn done(
    common: &Common,
    id: &str,
    word: &str,
    result: Result<(), ConsentError>,
) -> anyhow::Result<Exit> {
    let exit = match result {
        Ok(()) => {
            output::say(format!("{word} {id}"));
            Exit::Done
        }
        Err(error @ (ConsentError::Unknown(_) | ConsentError::Over(_))) => {
            output::say(format!("{error}; `portcullis consent list` shows them all"));
            Exit::Failed
        }
        Err(error @ ConsentError::NotYours(_)) => {
            output::say(error.to_string());
            Exit::Refused
        }
        Err(
            error @ (ConsentError::NoSession | ConsentError::TooLong(_) | ConsentError::NotShown),
        ) => {
            return Err(Unusable(error.to_string()).into());
        }
        Err(error @ ConsentError::Store(_)) => return Err(error.into()),
    };
    if common.json {
        output::json(&json!({ "id": id, word: exit == Exit::Done }))?;
    }
    Ok(exit)
}

fn list(common: &Common, consents: &Consents, who: &Principal, all: bool) -> anyhow::Result<Exit> {
    let mut requests = consents.requests(who)?;
    let mut given = consents.list(who)?;
    if !all {
        requests.retain(|row| consents.is_open(row));
        given.retain(|row| consents.holds(row));
    }
    if common.json {
        output::json(&json!({
            "requests": requests.iter().map(|row| request(consents, row)).collect::<Vec<_>>(),
            "consents": given.iter().map(|row| yes(consents, row)).collect::<Vec<_>>(),
        }))?;
        return Ok(Exit::Done);
    }
    if requests.is_empty() && given.is_empty() {
        output::say("nothing waits for an answer, and no consent is in force");
        return Ok(Exit::Done);
    }
    let waiting = requests.iter().map(|row| {
        let subject = &row.subject;
        vec![
            row.id.clone(),
            state(consents, row).to_owned(),
            subject.principal.clone(),
            subject.upstream.clone(),
            subject.entry.clone(),
            local(row.expires_at),
        ]
    });
    let in_force = given.iter().map(|row| {
        let subject = &row.subject;
        vec![
            row.id.clone(),
            held(consents, row).to_owned(),
            subject.principal.clone(),
            subject.upstream.clone(),
            subject.entry.clone(),
            local(row.expires_at),
        ]
    });
    let rows: Vec<Vec<String>> = waiting.chain(in_force).collect();
    let headings = ["id", "state", "principal", "upstream", "entry", "until"];
    output::data(output::table(&headings, &rows).as_bytes())?;
    Ok(Exit::Done)
}

fn show(common: &Common, consents: &Consents, who: &Principal, id: &str) -> anyhow::Result<Exit> {
    // A consent has the id of its request.
    let asked = known(consents.request(id, who))?;
    let given = known(consents.get(id, who))?;
    if asked.is_none() && given.is_none() {
        output::say(format!(
            "there is no `{id}`; `portcullis consent list` shows them all"
        ));
        return Ok(Exit::Failed);
    }
    let asked = asked.map(|row| request(consents, &row));
    let given = given.map(|row| yes(consents, &row));
    if common.json {
        output::json(&json!({ "request": asked, "consent": given }))?;
        return Ok(Exit::Done);
    }
    for (title, value) in [("request", asked), ("consent", given)] {
        let Some(Value::Object(members)) = value else {
            continue;
        };
        let rows: Vec<Vec<String>> = members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                vec![name, text]
            })
            .collect();
        output::data(output::table(&[title, ""], &rows).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// `None` for what does not exist.
fn known<T>(found: Result<T, ConsentError>) -> anyhow::Result<Option<T>> {
    match found {
        Ok(row) => Ok(Some(row)),
        Err(ConsentError::Unknown(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn state(consents: &Consents, row: &ConsentRequestRow) -> &'static str {
    match row.state {
        RequestState::Open if consents.is_open(row) => "waits",
        RequestState::Open => "expired",
        state => state.as_str(),
    }
}

fn held(consents: &Consents, row: &ConsentRow) -> &'static str {
    match (consents.holds(row), row.used_at, row.ended_at) {
        (true, _, _) if row.is_once => "allowed once",
        (true, _, _) if row.conversation.is_some() => "allowed in a session",
        (true, _, _) => "allowed",
        (false, Some(_), _) => "used",
        (false, None, Some(_)) => "revoked",
        (false, None, None) => "over",
    }
}

fn request(consents: &Consents, row: &ConsentRequestRow) -> Value {
    let subject = &row.subject;
    json!({
        "id": row.id,
        "state": state(consents, row),
        "principal": subject.principal,
        "client": row.client,
        "server": subject.server,
        "method": subject.method,
        "upstream": subject.upstream,
        "entry": subject.entry,
        "arguments": row.shown,
        "digest": row.digest,
        "definition": subject.definition,
        "rule": subject.rule,
        "approvers": row.approvers,
        "other_person": row.other_person,
        "created_at": utc(row.created_at),
        "expires_at": utc(row.expires_at),
        "decided_at": row.decided_at.map(utc),
        "decided_by": row.decided_by,
    })
}

fn yes(consents: &Consents, row: &ConsentRow) -> Value {
    let subject = &row.subject;
    let time = |at: Option<SystemTime>| at.map(utc);
    json!({
        "id": row.id,
        "state": held(consents, row),
        "principal": subject.principal,
        "server": subject.server,
        "method": subject.method,
        "upstream": subject.upstream,
        "entry": subject.entry,
        "digest": row.digest,
        "definition": subject.definition,
        "rule": subject.rule,
        "given_by": row.given_by,
        "given_at": utc(row.given_at),
        "expires_at": utc(row.expires_at),
        "used_at": time(row.used_at),
        "revoked_at": time(row.ended_at),
        "revoked_by": row.ended_by,
    })
}
